"""Whatever ends a guard: whom it has paused runs again. The guards here are small scripts with Holds of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from random import Random
from time import sleep
from typing import TYPE_CHECKING

import pytest

import okoomer
from okoomer.guard import watcher
from okoomer.guard.hold import Holds
from okoomer.guard.left import Left
from okoomer.guard.undo import recover
from tests.unit.standing import runs, seen, sleepers, stands, state, within

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(180)

SRC = Path(okoomer.__file__).parents[1]
#: A front that starts a watcher, and becomes a guard by exec.
FRONT = """if True:
    import os, sys
    src, note, guard, *rest = sys.argv[1:]
    sys.path.insert(0, src)
    from okoomer.guard.watcher import start
    watch = str(start(note))
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", guard, src, note, watch, *rest])
"""
#: It pauses and resumes those that it is told, again and again.
GUARD = """if True:
    import sys
    sys.path.insert(0, sys.argv[1])
    note, watch, mode, pids = sys.argv[2], int(sys.argv[3]), sys.argv[4], list(map(int, sys.argv[5:]))
    import time
    from okoomer.guard.hold import Holds
    from okoomer.guard.scan import look
    holds = Holds("/proc", note, lambda event: None)
    print(1, flush=True)
    processes = [look("/proc", pid, frozenset()) for pid in pids]
    while mode == "busy":
        hold = holds.pause("rule low", "hog", processes, "", 0, 0, 0.0)
        holds.resume(hold, "", 0.0)
    hold = holds.pause("rule low", "hog", processes, "", 0, 0, 0.0)
    print(2, flush=True)
    if mode == "orderly":
        sys.stdin.read(1)
        holds.close("", 0.0)
    time.sleep(300)
"""


@contextmanager
def guard(note: Path, mode: str, pids: list[int]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-I", "-S", "-c", FRONT, str(SRC), str(note), GUARD, mode, *map(str, pids)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout
    try:
        assert process.stdout.readline() == b"1\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def watching(note: Path) -> list[int]:
    """The watchers of a note, before or after they have become an interpreter."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if entry.name.isdigit() and (b"okoomer-watcher" in words) and str(note).encode() in words:
            found.append(int(entry.name))
    return found


def watcher_of(note: Path) -> int:
    """The only watcher of a note, when it has its name: a spawn returns as soon as the old memory is left, which is
    before the new command line is there."""
    assert within(lambda: bool(watching(note)))
    [pid] = watching(note)
    return pid


def owned(note: Path) -> str:
    """The guard whose note it is, or ''."""
    left = Left(str(note))
    left.close()
    return left.owner


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "paused"


def test_whom_a_guard_has_paused_runs_again_at_its_end(note: Path) -> None:
    with sleepers(3) as pids, guard(note, "still", pids) as process:
        assert process.stdout and process.stdout.readline() == b"2\n" and stands(*pids)
        process.kill()
        assert runs(*pids)
        assert within(lambda: not owned(note)) and within(lambda: not watching(note))


def test_twenty_guards_killed_at_any_moment_leave_nobody_paused(note: Path) -> None:
    random = Random(6)
    with sleepers(8) as pids:
        for _ in range(20):
            with guard(note, "busy", pids) as process:
                sleep(random.random() * 0.05)
                process.kill()
                process.wait()
                assert runs(*pids), [state(pid) for pid in pids]
                assert within(lambda: not watching(note))
                assert runs(*pids)


def test_a_guard_that_ends_in_order_takes_its_watcher_along(note: Path) -> None:
    with sleepers(2) as pids, guard(note, "orderly", pids) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b"2\n" and stands(*pids)
        assert watcher_of(note)
        process.stdin.write(b"x")
        process.stdin.flush()
        assert runs(*pids) and within(lambda: not note.exists())
        assert len(watching(note)) == 1
        process.kill()
        assert within(lambda: not watching(note))


def test_a_watcher_is_deaf_has_its_own_session_and_holds_nothing_of_the_front(note: Path) -> None:
    with sleepers() as pids, guard(note, "still", pids) as process:
        assert process.stdout and process.stdout.readline() == b"2\n"
        pid = watcher_of(note)
        assert os.getsid(pid) == pid != os.getsid(0)
        # A shell that is still being loaded hears, and holds more.
        assert within(lambda: is_deaf(pid) and state(pid) == "S")
        files = {fd.name: str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
        assert {files.pop(name) for name in ("1", "2")} == {"/dev/null"}
        assert files.pop("0").startswith("pipe:") and not files
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
            os.kill(pid, number)
        sleep(0.1)
        assert state(pid) == "S" and stands(*pids)
        process.kill()
        assert runs(*pids)


def is_deaf(pid: int) -> bool:
    """Whether a watcher has said what it does not want to hear, which is the first that it does."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.split("SigIgn:")[1].split()[0], 16) >> signal.SIGUSR2 - 1 & 1)


def test_it_takes_next_to_nothing(note: Path) -> None:
    with guard(note, "still", []):
        pid = watcher_of(note)
        assert within(lambda: is_deaf(pid) and state(pid) == "S")
        text = Path(f"/proc/{pid}/status").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in text if line.startswith("Rss")}
        assert sizes["RssAnon"] < 1024


def test_what_the_guard_starts_holds_its_watcher_up_only_as_long_as_it_lives(note: Path) -> None:
    watch = watcher.start(str(note))
    assert os.get_inheritable(watch)
    pid = watcher_of(note)
    os.close(watch)
    assert within(lambda: state(pid) in "ZX")
    os.waitpid(pid, 0)


def test_a_watcher_leaves_the_note_of_a_newer_guard_alone(note: Path) -> None:
    with sleepers() as pids, guard(note, "still", []) as first:
        watching_first = watcher_of(note)
        with guard(note, "still", pids) as second:
            assert second.stdout and second.stdout.readline() == b"2\n" and stands(*pids)
            first.kill()
            assert within(lambda: watching_first not in watching(note) or state(watching_first) == "")
            assert stands(*pids)
            second.kill()
            assert runs(*pids)


# --- what a dead guard leaves ---------------------------------------------------------------------------------------


def test_what_a_dead_guard_has_left_runs_again(note: Path) -> None:
    with sleepers(3) as pids:
        other = pids[2]
        os.kill(other, signal.SIGSTOP)
        assert stands(other)
        made = Holds("/proc", str(note), lambda event: None)
        assert made.pause("rule low", "hog", seen(*pids), "", 0, 0, 1.0)
        assert stands(*pids)
        # This process, which wrote the note, lives: its holds are its own.
        assert recover(str(note)) == 0 and stands(*pids)
        assert recover(str(note), guard="1 1") == 0 and stands(*pids)
        left = Left(str(note))
        assert recover(str(note), guard=left.owner) == 2
        left.close()
        assert runs(*pids[:2]) and state(other) == "T"
        assert not owned(note) and recover(str(note)) == 0
        made.close("", 1.0)


def test_without_a_note_there_is_nothing_to_be_done(note: Path) -> None:
    assert recover(str(note)) == 0
    assert recover(str(note), guard="1 1") == 0
