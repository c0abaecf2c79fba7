"""Processes of the tests' own that stand still and run again."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from okoomer.guard.hold import Holds
from okoomer.guard.scan import look
from tests.unit.cgroups import alive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from okoomer.facts import Process
    from okoomer.record import Record

#: A shell with two children, of which the second has one of its own; all of them print when they are there.
TREE = "sleep 300 & sh -c 'sleep 300 & echo $!; wait' & echo $!; wait"


@contextmanager
def sleepers(count: int = 1) -> Iterator[list[int]]:
    """Children that sleep, so that nothing of them changes any more, each in a session of its own; and are gone
    afterwards, whatever state they are in."""
    children = [subprocess.Popen(["sleep", "300"], start_new_session=True) for _ in range(count)]
    pids = [child.pid for child in children]
    try:
        # One that is still being loaded has its name already, but never waits for anything that can be interrupted.
        assert within(lambda: all(name(pid) == "sleep" and state(pid) == "S" for pid in pids))
        yield pids
    finally:
        for child in children:
            child.kill()
            child.wait()


@contextmanager
def tree(script: str = TREE, size: int = 4) -> Iterator[list[int]]:
    """A shell and all below it, parents first."""
    child = subprocess.Popen(["sh", "-c", script], stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        assert within(lambda: len(below(child.pid)) == size)
        assert within(lambda: [name(pid) for pid in below(child.pid)].count("sleep") == script.count("sleep "))
        yield below(child.pid)
    finally:
        os.killpg(child.pid, 9)
        child.wait()


def below(pid: int) -> list[int]:
    """A process and all below it, parents first."""
    found = [pid]
    for one in found:
        found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found


def name(pid: int) -> str:
    """What a process calls itself; '' if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def state(pid: int) -> str:
    """The letter of /proc/PID/stat; '' if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


def stands(*pids: int) -> bool:
    """Whether all of them come to stand still."""
    return within(lambda: all(state(pid) == "T" for pid in pids))


def runs(*pids: int) -> bool:
    """Whether all of them come to run."""
    return within(lambda: all(alive(pid) and state(pid) != "T" for pid in pids))


def within(check: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether something comes true in time."""
    until = monotonic() + seconds
    while not check():
        if monotonic() > until:
            return False
        sleep(0.002)
    return True


def seen(*pids: int) -> list[Process]:
    """Processes as a scan finds them."""
    found = [look("/proc", pid, frozenset(("cgroup",))) for pid in pids]
    assert all(found)
    return [process for process in found if process]


class Kept(list["Record"]):
    """Events that were emitted."""

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self]


@contextmanager
def holds(note: Path | str = "", proc: str = "/proc") -> Iterator[tuple[Holds, Kept]]:
    """Holds, and what they tell of; all run again afterwards."""
    events = Kept()
    made = Holds(proc, str(note), events.append)
    try:
        yield made, events
    finally:
        made.close("the test ends", 0.0)
