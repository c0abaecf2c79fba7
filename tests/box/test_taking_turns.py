"""A family of jobs in a box takes turns: real processes, pretended memory."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest

from tests.box.guards import OKOOMER, events, state_of
from tests.box.procfiles import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.box.box import Box
    from tests.box.process import Proc

POLICY = """
[[rule]]
name  = "exhausted"
when  = "mem.available < 1%"
steps = ["kill"]
rest  = "1min"
[[rule]]
name  = "crowded"
when  = "mem.available < 24%"
until = "mem.available > 60%"
steps = ["turns"]
"""
JOBS = 5
#: A forker whose jobs hold 30 MiB each and work until there is a file with their number.
BUILD = f"""
import mmap, os, pathlib, sys, time
where = sys.argv[1]
def job(number):
    pathlib.Path("/proc/self/comm").write_text(f"job-{{number}}")
    memory = mmap.mmap(-1, 30 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, len(memory), 4096):
        memory[at] = 1
    pathlib.Path(f"{{where}}/ready-{{number}}").touch()
    while not os.path.exists(f"{{where}}/end-{{number}}"):
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
        time.sleep(0.02)
    os._exit(0)
for number in range({JOBS}):
    time.sleep(0.03)
    if os.fork() == 0:
        job(number)
for number in range({JOBS}):
    os.wait()
"""


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, "it takes too long"
        sleep(0.02)


def state(box: Box, pid: int) -> str:
    """The letter that /proc has for what a process does, "" if it is gone."""
    try:
        return state_of(box.proc / str(pid))
    except OSError:
        return ""


class Build:
    """The forker and its jobs, oldest first."""

    def __init__(self, box: Box, where: Path) -> None:
        self._box = box
        self._where = where
        self.forker = box.spawn([sys.executable, "-I", "-S", "-c", BUILD, str(where)])
        until(lambda: all((where / f"ready-{n}").exists() for n in range(JOBS)))
        text = (box.proc / f"{self.forker.pid}/task/{self.forker.pid}/children").read_text()
        self.jobs = [int(pid) for pid in text.split()]

    def waiting(self) -> list[int]:
        """The numbers of those who stand still."""
        return [number for number, pid in enumerate(self.jobs) if state(self._box, pid) == "T"]

    def lives(self, pid: int) -> bool:
        return (self._box.proc / str(pid)).exists()

    def end(self, number: int) -> None:
        (self._where / f"end-{number}").touch()


@pytest.fixture
def guard(box: Box, tmp_path: Path) -> Callable[[], Proc]:
    """Starts a guard in the box, on a machine of 1 GiB."""
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    box.memory(total=GIB, available=800 * MIB)

    def start() -> Proc:
        argv = [OKOOMER, "run", "--json", "--force", "--runtime-dir", "/run/okoomer-0", "--policy", str(file)]
        started = box.daemon(argv)
        started.wait_line('"event": "started"', 60)
        return started

    return start


def test_the_youngest_wait_and_each_goes_on_when_its_turn_comes(
    box: Box, guard: Callable[[], Proc], tmp_path: Path
) -> None:
    started, build = guard(), Build(box, tmp_path)
    box.memory(available=40 * MIB)
    until(lambda: build.waiting() == [1, 2, 3, 4])
    assert state(box, build.forker.pid) != "T"
    status = box.spawn([OKOOMER, "status", "--runtime-dir", "/run/okoomer-0"])
    status.wait(60)
    waits = [line.text for line in status.lines if "waits for its turn" in line.text]
    assert len(waits) == JOBS - 1, status.lines
    assert all(any(f"(pid {build.jobs[number]}), waits" in line for line in waits) for number in (1, 2, 3, 4)), waits
    # One ends, and the next goes on though nothing else has changed.
    build.end(0)
    until(lambda: build.waiting() == [2, 3, 4])
    box.memory(available=300 * MIB)
    until(lambda: build.waiting() == [])
    for number in range(1, JOBS):
        build.end(number)
    build.forker.wait(60)
    until(lambda: len(events(started, "resumed")) == JOBS - 1)
    assert started.alive and not events(started, "chosen")
    assert [event["by"] for event in events(started, "paused")] == ["turns crowded"] * (JOBS - 1)


def test_of_a_family_that_takes_turns_the_youngest_is_killed_and_the_others_go_on(
    box: Box, guard: Callable[[], Proc], tmp_path: Path
) -> None:
    started, build = guard(), Build(box, tmp_path)
    box.memory(available=40 * MIB)
    until(lambda: build.waiting() == [1, 2, 3, 4])
    box.memory(available=9 * MIB)
    started.wait_line('"event": "died"', 60)
    box.memory(available=700 * MIB)
    (chosen,) = events(started, "chosen")
    assert chosen["pids"] == [build.jobs[4]] and "take turns" in chosen["why"]
    until(lambda: build.waiting() == [])
    assert [build.lives(pid) for pid in build.jobs[:4]] == [True] * 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_whoever_waits_goes_on_when_the_guard_ends(
    box: Box, guard: Callable[[], Proc], number: signal.Signals, tmp_path: Path
) -> None:
    started, build = guard(), Build(box, tmp_path)
    box.memory(available=40 * MIB)
    until(lambda: len(build.waiting()) == JOBS - 1)
    started.kill(number)
    until(lambda: build.waiting() == [])


def test_whom_a_person_lets_go_on_is_not_paused_again(box: Box, guard: Callable[[], Proc], tmp_path: Path) -> None:
    started, build = guard(), Build(box, tmp_path)
    box.memory(available=40 * MIB)
    until(lambda: build.waiting() == [1, 2, 3, 4])
    argv = [OKOOMER, "resume", str(build.jobs[4]), "--runtime-dir", "/run/okoomer-0"]
    assert box.spawn(argv).wait(60).code == 0
    until(lambda: 4 not in build.waiting())
    box.memory(available=38 * MIB)
    with pytest.raises(AssertionError):
        until(lambda: 4 in build.waiting(), 3)
    assert started.alive


def test_who_waits_goes_on_when_its_forker_is_gone_and_gets_what_was_meant_for_it(
    box: Box, guard: Callable[[], Proc], tmp_path: Path
) -> None:
    started, build = guard(), Build(box, tmp_path)
    box.memory(available=40 * MIB)
    until(lambda: build.waiting() == [1, 2, 3, 4])
    # As a Ctrl-C does it.
    for pid in (build.forker.pid, *build.jobs):
        box.spawn(["sh", "-c", f"kill -INT {pid}"]).wait(60)
    until(lambda: not any(build.lives(pid) for pid in build.jobs))
    assert started.alive
