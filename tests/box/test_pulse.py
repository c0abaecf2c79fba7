"""A hog in a box that is paused for a moment, runs again, and is asked about only when that was not enough."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.box.guards import OKOOMER, events, state
from tests.box.procfiles import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.box.box import Box
    from tests.box.process import Proc

POLICY = """
[[rule]]
name  = "hurting"
when  = "mem.available <= 10%"
unit  = "process"
rank  = "growth"
least = "8MiB"
steps = ["pause 300ms 2 times", "pause 200ms", "ask 1s", "kill"]
rest  = "300ms"
"""
#: Takes 1 MiB more thirty times a second, for a while.
GROWS = """
import mmap, time
held = []
for _ in range(400):
    held.append(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    for at in range(0, 1 << 20, 4096):
        held[-1][at] = 1
    time.sleep(0.033)
time.sleep(100)
"""


@pytest.fixture
def guard(box: Box, tmp_path: Path) -> Callable[[], Proc]:
    """Starts a guard in the box and waits until it is ready."""

    def start() -> Proc:
        file = tmp_path / "policy.toml"
        file.write_text(POLICY)
        argv = [OKOOMER, "run", "--json", "--runtime-dir", "/run/okoomer", "--policy", str(file)]
        started = box.daemon(argv)
        started.wait_line('"event": "started"', 20)
        return started

    return start


def told(guard: Proc) -> list[str]:
    return [event["event"] for event in events(guard, "paused", "resumed", "question", "closed", "signalled", "died")]


def test_who_goes_on_hurting_is_asked_about_after_two_pauses_and_ends_if_nobody_answers(
    box: Box, guard: Callable[[], Proc]
) -> None:
    hog = box.spawn(GROWS, rss_bytes=50 * MIB, gives_back=12 * GIB)
    started = guard()
    box.memory(available=box.total * 8 // 100)
    assert hog.wait(30).signal == signal.SIGKILL
    started.wait_line('"event": "died"', 10)
    moments = ["paused", "resumed"] * 2
    assert told(started) == [*moments, "paused", "question", "closed", "signalled", "died"]
    assert all(event["seconds"] >= 0.3 for event in events(started, "resumed"))
    assert {event["by"] for event in events(started, "paused")} == {"rule hurting"}


def test_whom_memory_comes_back_for_has_lost_nothing_but_a_moment(box: Box, guard: Callable[[], Proc]) -> None:
    hog = box.spawn(rss_bytes=300 * MIB)
    started = guard()
    box.memory(available=box.total * 8 // 100)
    started.wait_line('"event": "paused"', 10)
    box.memory(available=box.total // 2)
    started.wait_line('"event": "resumed"', 10)
    box.until(lambda: state(hog) in "RS", 5, "the hog to run again")
    assert hog.alive and told(started) == ["paused", "resumed"]
