"""Processes that would rather not be seen: what /proc tells of them in the usual place is not what they hold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGKILL

import pytest

from okoomer.cli import sort
from okoomer.facts import Process
from okoomer.guard.scan import look, scan
from okoomer.guard.victim import Hands
from okoomer.kernel import clock
from okoomer.kernel.process import stat
from okoomer.kernel.statm import Sizes
from tests.unit.standing import state, within

pytestmark = pytest.mark.timeout(180)
MIB = 1 << 20
HELD = 40 * MIB
WANTS = frozenset(("cmdline", "exe", "cgroup"))
#: It has a thousand times as many groups as others; these come before its sizes in /proc/PID/status.
MANY_GROUPS = "os.setgroups(range(100_000, 160_000)); print(1, flush=True); signal.pause()"
#: Its first thread ends, and another goes on.
WITHOUT_FIRST = "threading.Thread(target=signal.pause).start(); print(1, flush=True); libc.syscall(EXIT, 0)"
#: exit(2), which ends one thread.
EXIT = {"x86_64": 60}.get(os.uname().machine, 93)


@contextmanager
def hidden(how: str) -> Iterator[int]:
    program = (
        f"import ctypes, os, signal, threading; EXIT = {EXIT}; libc = ctypes.CDLL(None); held = b'x' * {HELD}; {how}"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert process.stdout and process.stdout.readline() == b"1\n"
        if how == WITHOUT_FIRST:
            assert within(lambda: state(process.pid) == "Z")
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def seen(pid: int, sizes: Sizes) -> Process:
    found = scan("/proc", clock.since_boot(), 0, WANTS, sizes=sizes)
    return next(process for process in found.processes if process.pid == pid)


HOW = [
    pytest.param(MANY_GROUPS, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can have any groups")),
    WITHOUT_FIRST,
]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("keep", [0, 4096])
def test_what_it_holds_is_seen(how: str, keep: int) -> None:
    sizes = Sizes("/proc", keep)
    with hidden(how) as pid:
        for _ in range(3):
            found = seen(pid, sizes)
            assert HELD < found.anon < HELD + 20 * MIB
            assert "signal" in found.command and "python" in found.executable and found.cgroup.startswith("/")
        row = sort.look("/proc", pid, 0.0)
        assert row and row.anon > HELD
    sizes.close()


@pytest.mark.parametrize("how", HOW)
def test_it_can_be_ended(how: str) -> None:
    with hidden(how) as pid:
        found = look("/proc", pid, frozenset())
        assert found
        victim = Hands("/proc", None).seize(found)
        assert victim and not victim.dead()
        victim.signal(SIGKILL)
        assert within(victim.dead)
        victim.close()


def is_kernel_thread(pid: int) -> bool:
    try:
        return stat("/proc", pid).kernel_thread
    except (OSError, ValueError, IndexError):
        return False  # it has ended meanwhile


def test_a_kernel_thread_is_looked_at_once_and_a_zombie_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, looks = Sizes("/proc", 4096), list[bytes]()
    genuine = sizes._beside

    def beside(name: bytes, text: bytes) -> tuple[bytes, bool]:
        looks.append(name)
        return genuine(name, text)

    monkeypatch.setattr(sizes, "_beside", beside)
    with subprocess.Popen(["true"]) as process:
        assert within(lambda: state(process.pid) == "Z")
        for _ in range(2):
            bounds, _ = sizes.bounds(0, 0)
            assert (0, process.pid) in bounds
        assert looks.count(b"%d" % process.pid) == 2
        again = {int(name) for name in looks if looks.count(name) > 1}
        assert not any(is_kernel_thread(pid) for pid in again), "they never have anything"
    sizes.close()
