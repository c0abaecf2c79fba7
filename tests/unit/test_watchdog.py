"""The watchdog of a loop that hangs, on a clock that the test turns."""

from __future__ import annotations

import subprocess
from _signal import SIGKILL
from typing import TYPE_CHECKING

import pytest

from okoomer.events.model import Late
from okoomer.guard import watchdog
from okoomer.guard.scan import look
from okoomer.guard.victim import Hands
from okoomer.guard.watchdog import PATIENCE, Watchdog
from okoomer.kernel.machine import Machine
from okoomer.record import replace
from tests.unit.bodies import Body, World
from tests.unit.strategies import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from okoomer.facts import Process
    from okoomer.record import Record

SHORT = 400 * MIB


class Enough(Exception):
    """The test has seen enough of a thread that never ends."""


class Kennel:
    """A watchdog over bodies, and a machine with so much memory available."""

    def __init__(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.meminfo = proc / "meminfo"
        self.available(100 * MIB)
        self.world = World(Body(10), Body(11), Body(12))
        self.events: list[Record] = []
        self.until = 0.0
        monkeypatch.setattr(watchdog, "monotonic", lambda: self.world.now)
        monkeypatch.setattr(watchdog, "sleep", self.sleep)
        monkeypatch.setattr(watchdog, "set_name", lambda name: None)
        self.dog = Watchdog(Machine(str(proc)), self.world, self.events.append)  # type: ignore[arg-type]
        self.dog.short = SHORT
        self.dog.best = ("hog and 1 more", tuple(self.world.processes((10, 11))))

    def available(self, size: int) -> None:
        self.meminfo.write_text(f"MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: {size // 1024} kB\n")

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.world.now = min(self.world.now + seconds, self.until)
        if self.world.now == self.until:
            raise Enough

    def watch(self, until: float) -> list[Record]:
        """Lets the watchdog's thread run until then; what it said."""
        self.until = until
        with pytest.raises(Enough):
            self.dog._run()
        return self.events


@pytest.fixture
def kennel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kennel:
    return Kennel(tmp_path, monkeypatch)


def test_a_loop_that_hangs_while_memory_is_short_ends_the_best_known_victim(kennel: Kennel) -> None:
    kennel.dog.expect(0.5)
    assert kennel.watch(0.5 + PATIENCE + 1) == [Late(PATIENCE, 10, "hog and 1 more")]
    assert kennel.world.signals(SIGKILL) == [10, 11]
    assert not any(body.held for body in kennel.world.bodies.values())


def test_a_loop_that_hangs_while_memory_is_not_short_costs_nobody_anything(kennel: Kennel) -> None:
    kennel.available(SHORT)
    kennel.dog.expect(0.5)
    assert kennel.watch(0.5 + PATIENCE + 1) == [Late(PATIENCE, 0, "")]
    assert kennel.world.signals(SIGKILL) == []


def test_memory_that_becomes_short_while_the_loop_hangs_is_seen(kennel: Kennel) -> None:
    kennel.available(SHORT)
    kennel.dog.expect(0.5)
    kennel.watch(0.5 + PATIENCE + 1)
    kennel.available(SHORT - MIB)
    assert kennel.watch(0.5 + 2 * PATIENCE + 1)[1:] == [Late(2 * PATIENCE, 10, "hog and 1 more")]


def test_a_loop_that_is_only_a_little_late_is_left_alone(kennel: Kennel) -> None:
    kennel.dog.expect(0.5)
    assert kennel.watch(0.5 + PATIENCE - 0.1) == []
    kennel.dog.expect(0.5)
    assert kennel.watch(5.0 + PATIENCE) == []


def test_nothing_happens_before_the_loop_has_begun(kennel: Kennel) -> None:
    assert kennel.watch(1e6) == []


def test_memory_that_cannot_be_read_is_no_reason_to_kill(kennel: Kennel) -> None:
    kennel.meminfo.unlink()
    kennel.dog.rescue(9.0)
    assert kennel.events == [Late(9.0, 0, "")]
    assert kennel.world.signals(SIGKILL) == []


def test_one_who_is_gone_or_refuses_does_not_save_the_others(kennel: Kennel) -> None:
    kennel.world.bodies[10].vanished = True
    kennel.world.bodies[11].refuses = True
    kennel.dog.best = ("all", tuple(kennel.world.processes()))
    kennel.dog.rescue(9.0)
    assert kennel.events == [Late(9.0, 12, "all")]


# --- whoever it kills is who was seen ---------------------------------------------------------------------------


@pytest.fixture
def child() -> Iterator[tuple[subprocess.Popen[bytes], Process]]:
    with subprocess.Popen(["sleep", "600"]) as running:
        process = look("/proc", running.pid, frozenset())
        assert process
        try:
            yield running, process
        finally:
            running.kill()


def real(kennel: Kennel, *processes: Process) -> Watchdog:
    dog = Watchdog(Machine(str(kennel.meminfo.parent)), Hands("/proc", None), kennel.events.append)
    dog.short = SHORT
    dog.best = ("child", processes)
    return dog


def test_a_process_that_is_still_the_one_that_was_seen_is_killed(
    kennel: Kennel, child: tuple[subprocess.Popen[bytes], Process]
) -> None:
    running, process = child
    real(kennel, process).rescue(9.0)
    assert kennel.events == [Late(9.0, running.pid, "child")]
    assert running.wait(60) == -SIGKILL


def test_a_pid_that_has_become_another_process_is_left_alone(
    kennel: Kennel, child: tuple[subprocess.Popen[bytes], Process]
) -> None:
    running, process = child
    real(kennel, replace(process, started=process.started - 1)).rescue(9.0)
    assert kennel.events == [Late(9.0, 0, "")]
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(0.2)
