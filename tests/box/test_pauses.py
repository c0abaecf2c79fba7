"""The guard in a box ends while somebody is paused: whatever ends it, the paused one runs again."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from okoomer.cli.door import Door
from tests.box.guards import OKOOMER, state
from tests.box.procfiles import GIB, MIB
from tests.box.terminal import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.box.box import Box
    from tests.box.process import Proc

POLICY = """
[[rule]]
name  = "low"
when  = "mem.available <= 10%"
unit  = "family"
least = "8MiB"
steps = ["pause 1min", "kill"]
"""


@pytest.fixture
def guard(box: Box, tmp_path: Path) -> Callable[[], Proc]:
    """Starts a guard in the box."""
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)

    def start() -> Proc:
        argv = [OKOOMER, "run", "--json", "--force", "--runtime-dir", "/run/okoomer-0", "--policy", str(file)]
        started = box.daemon(argv)
        started.wait_line('"event": "started"', 60)
        return started

    return start


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_whom_a_guard_has_paused_runs_again_when_the_guard_ends(
    box: Box, guard: Callable[[], Proc], number: signal.Signals
) -> None:
    hog = box.spawn(rss_bytes=300 * MIB, gives_back=12 * GIB)
    first = guard()
    box.memory(available=int(box.total * 0.08))
    first.wait_line('"event": "paused"', 60)
    box.until(lambda: state(hog) == "T", 60, "the hog to stand still")
    first.kill(number)
    box.until(lambda: state(hog) != "T", 60, "the hog to run again")
    assert hog.alive
    first.wait(60)
    box.memory(available=int(box.total * 0.8))
    # The next one finds nobody who stands still, and is not troubled.
    second = guard()
    assert state(hog) != "T" and second.alive and hog.alive


def test_the_next_guard_resumes_whom_a_guard_and_its_watcher_left(box: Box, guard: Callable[[], Proc]) -> None:
    hog = box.spawn(rss_bytes=300 * MIB, gives_back=12 * GIB)
    first = guard()
    box.memory(available=int(box.total * 0.08))
    first.wait_line('"event": "paused"', 60)
    box.until(lambda: state(hog) == "T", 60, "the hog to stand still")
    [watcher] = [
        int(entry.name)
        for entry in box.proc.iterdir()
        if entry.name.isdigit() and b"okoomer-watcher" in (entry / "cmdline").read_bytes().split(b"\0")
    ]
    box.spawn(["sh", "-c", f"kill -KILL {watcher} {first.pid}"]).wait(60)
    first.wait(60)
    assert state(hog) == "T"
    box.memory(available=int(box.total * 0.8))
    guard()
    box.until(lambda: state(hog) != "T", 60, "the hog to run again")
    assert hog.alive


def test_ten_who_are_paused_run_again_when_the_guard_is_killed(box: Box, guard: Callable[[], Proc]) -> None:
    crowd = box.crowd(10)
    first = guard()
    door = Door(f"/proc/{box.init_pid}/root/run/okoomer-0")
    try:
        for proc in crowd:
            assert door.pause(proc.pid, 0)[0] == "ok"
    finally:
        door.close()
    until(lambda: {state(proc) for proc in crowd} == {"T"}, "all to stand still")
    first.kill(signal.SIGKILL)
    until(lambda: "T" not in {state(proc) for proc in crowd}, "all to run again")


def test_a_person_pauses_and_resumes_a_process_and_all_below_it_but_never_the_guard(
    box: Box, guard: Callable[[], Proc]
) -> None:
    hog = box.spawn("import os, signal\nos.fork()\nsignal.pause()", rss_bytes=20 * MIB)
    started = guard()
    [child] = (box.proc / f"{hog.pid}/task/{hog.pid}/children").read_text().split()

    def ask(*words: str) -> int | None:
        return box.spawn([OKOOMER, *words, "--runtime-dir", "/run/okoomer-0"]).wait(60).code

    def states() -> list[str]:
        stats = [(box.proc / f"{pid}/stat").read_text() for pid in (hog.pid, child)]
        return [stat.rsplit(")", 1)[1].split()[0] for stat in stats]

    assert ask("pause", str(hog.pid)) == 0
    box.until(lambda: states() == ["T", "T"], 60, "both to stand still")
    assert ask("resume", child) == 0
    box.until(lambda: "T" not in states(), 60, "both to run again")
    assert ask("resume", str(hog.pid)) == 1
    for never in (1, started.pid):
        assert ask("pause", str(never)) == 1
    assert started.alive and state(started) != "T"
    assert ask("pause", str(hog.pid)) == 0
    started.kill()
    box.until(lambda: "T" not in states(), 60, "both to run again")
