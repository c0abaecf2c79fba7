"""The ring's lock: it tells a writer from a reader that only keeps others out."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from okoomer.events.ring import WRITER, Held, Ring, read, writer

NOBODY = 65534

Holds = Callable[..., int]


@pytest.fixture
def holds(tmp_path: Path) -> Iterator[Holds]:
    """Has a process of some user hold the lock by a descriptor that it got for reading; its pid."""
    pids: list[int] = []

    def start(user: int, passed_on: bool = False) -> int:
        fd = os.open(tmp_path / "ring", os.O_RDONLY)
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
                if passed_on and os.fork() == 0:
                    fcntl.flock(fd, fcntl.LOCK_EX)
                    os._exit(0)
                if passed_on:
                    os.wait()
                else:
                    fcntl.flock(fd, fcntl.LOCK_EX)
                os.write(into, b"x")
                signal.pause()
            finally:
                os._exit(1)
        pids.append(pid)
        os.close(fd)
        assert os.read(out, 1) == b"x"
        os.close(out)
        os.close(into)
        return pid

    yield start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def leave(tmp_path: Path, pid: int) -> None:
    """The ring of a writer that has ended."""
    ring = Ring(str(tmp_path / "ring"))
    ring.write("{}")
    ring.close()
    note(tmp_path, pid)


def note(tmp_path: Path, pid: int) -> None:
    """Whoever has written a ring had this pid, which may be another's by now."""
    with (tmp_path / "ring").open("r+b") as file:
        file.seek(WRITER)
        file.write(pid.to_bytes(8, "little"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("passed_on", [False, True])
@pytest.mark.parametrize("taken_over", [False, True])
def test_a_reader_that_holds_the_lock_keeps_no_writer_out(
    tmp_path: Path, holds: Holds, passed_on: bool, taken_over: bool
) -> None:
    leave(tmp_path, 2**22 - 1)
    pid = holds(NOBODY, passed_on)
    if taken_over:
        note(tmp_path, pid)
    path = str(tmp_path / "ring")
    assert writer(path) is None
    ring = Ring(path)
    ring.write('{"event": "new"}')
    assert [text for _, text in read(path)] == ['{"event": "new"}']
    assert writer(path) == os.getpid()
    ring.close()


def test_a_writer_keeps_others_out_whoever_asks(tmp_path: Path, holds: Holds) -> None:
    path = str(tmp_path / "ring")
    ring = Ring(path)
    with pytest.raises(Held) as held:
        Ring(path)
    assert held.value.pid == os.getpid() == writer(path)
    ring.close()
    assert writer(path) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_whoever_is_of_the_files_user_counts_as_a_writer(tmp_path: Path, holds: Holds) -> None:
    leave(tmp_path, 2**22 - 1)
    holds(0)
    with pytest.raises(Held):
        Ring(str(tmp_path / "ring"))
    assert writer(str(tmp_path / "ring")) == 2**22 - 1
