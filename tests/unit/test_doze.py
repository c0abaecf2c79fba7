"""Dozing: only while nothing but memory could make a rule fire, and never past a change of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from okoomer.facts import Memory, Snapshot, Swap
from okoomer.guard import turns, wake
from okoomer.guard.doze import LONGEST, doze
from okoomer.guard.ladder import Ladder
from okoomer.guard.loop import Guard
from okoomer.kernel.machine import Machine
from okoomer.policy.engine import FILL_RATE
from okoomer.policy.language import PRESETS, load
from okoomer.policy.model import And, Comparison, Held, Or, Policy, Rule, Step
from okoomer.record import replace
from tests.unit.bodies import World
from tests.unit.strategies import GIB, MIB

if TYPE_CHECKING:
    from pathlib import Path

    from okoomer.policy.model import Condition

LOW = Comparison("mem.available", "<", 0.05, share=True)
STALLED = Comparison("psi.memory.full", ">", 0.2, over=2.0)
SNAPSHOT = Snapshot(0.0, Memory(64 * GIB, 0, 40 * GIB), Swap(GIB, GIB))


class Sleeper:
    """A machine whose meminfo changes at the given sleeps. It stands in for the poller."""

    def __init__(self, path: Path, *changes: tuple[int, int]) -> None:
        self.path = path
        self.left = [(40 * GIB, GIB), *changes]
        self.slept: list[float] = []
        self.write()
        self.fd = os.open(path, os.O_RDONLY)

    def write(self) -> None:
        available, swap = self.left[0]
        self.path.write_bytes(
            b"MemTotal: %d kB\nMemFree: 0 kB\nMemAvailable: %d kB\nSwapTotal: %d kB\nSwapFree: %d kB\n"
            % (64 * GIB // 1024, available // 1024, GIB // 1024, swap // 1024)
        )

    def poll(self, milliseconds: int) -> list[tuple[int, int]]:
        self.slept.append(milliseconds / 1000)
        if len(self.left) > 1:
            self.left.pop(0)
            self.write()
        return []

    def doze(self, pause: float) -> None:
        try:
            doze(self, self.fd, SNAPSHOT, pause, FILL_RATE, lambda _: None)  # type: ignore[arg-type]
        finally:
            os.close(self.fd)


def test_nothing_changes_and_it_sleeps_on_until_a_full_look_is_due(tmp_path: Path) -> None:
    sleeper = Sleeper(tmp_path / "meminfo")
    sleeper.doze(4.0)
    assert sum(sleeper.slept) == pytest.approx(LONGEST)


def test_what_memory_fell_by_is_missing_in_the_next_sleep(tmp_path: Path) -> None:
    sleeper = Sleeper(tmp_path / "meminfo", (38 * GIB, GIB), (34 * GIB, GIB))
    sleeper.doze(4.0)
    assert sleeper.slept == [4.0, pytest.approx(3.8)]


def test_swap_that_changed_during_the_first_sleep_ends_it(tmp_path: Path) -> None:
    sleeper = Sleeper(tmp_path / "meminfo", (40 * GIB, MIB))
    sleeper.doze(4.0)
    assert sleeper.slept == [4.0]


class Still:
    """A machine of 64 GiB that never changes. It stands in for sense, clock, poller and whoever listens."""

    def __init__(self, available: int) -> None:
        self.available = available

    def snapshot(self) -> Snapshot:
        return Snapshot(0.0, Memory(64 * GIB, 0, self.available))

    def troubles(self) -> list[str]:
        return []

    def poll(self, _milliseconds: int) -> list[tuple[int, int]]:
        return []


def dozes(
    monkeypatch: pytest.MonkeyPatch, when: Condition, available: int = 60 * GIB, report: float = 0.0, **more: object
) -> bool:
    """Whether a guard under one rule dozes once it has looked at a machine."""
    dozed: list[int] = []
    monkeypatch.setattr(wake, "doze", lambda *_: dozed.append(1) or [])
    still, policy = Still(available), Policy("test", (replace(Rule("a", when, ""), **more),), report=report)
    ladder = Ladder(World(), str, policy)
    machine = Machine("/nowhere", "/nowhere", live=False)
    guard = Guard(machine, policy, still, ladder, str, me=3, now=lambda: 0.0)  # type: ignore[arg-type]
    guard.wake._trigger, guard.wake._poller = 99, still  # type: ignore[assignment]
    guard.cycle()
    guard.wake.wait(2.0, (), guard.well(), guard.engine.fill_rate, lambda _: None)
    return bool(dozed)


def test_a_guard_dozes_while_only_memory_swap_or_a_trigger_could_make_a_rule_fire(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert dozes(monkeypatch, LOW)
    assert dozes(monkeypatch, And((LOW, STALLED, Comparison("swap.effective", "<=", 0.05, share=True))))


def test_what_changes_from_one_moment_to_the_next_beside_that_is_no_reason_not_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pending = Comparison("mem.pending", "<", 0.01, share=True)
    assert dozes(monkeypatch, And((LOW, STALLED, pending)))


@pytest.mark.parametrize("name", PRESETS)
def test_a_guard_dozes_under_the_presets(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for rule in load(name).rules:
        assert dozes(monkeypatch, rule.when)


def test_a_guard_does_not_doze_while_a_hold_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dozes(monkeypatch, Held(LOW, 5.0))
    assert not dozes(monkeypatch, Held(LOW, 5.0), available=GIB)


def test_a_guard_does_not_doze_while_a_warning_may_have_to_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not dozes(monkeypatch, LOW, available=GIB, steps=(Step("warn"),), rest=60.0)


@pytest.mark.parametrize("metric", ["mem.free", "mem.anon", "zram.used", "psi.io.full"])
def test_a_guard_does_not_doze_where_a_rule_is_about_what_no_look_sees(
    monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    assert not dozes(monkeypatch, Or((LOW, Comparison(metric, ">", 1e15, over=9.0))))


def test_a_guard_does_not_doze_when_it_soon_has_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dozes(monkeypatch, LOW, report=3600.0)
    assert not dozes(monkeypatch, LOW, report=30.0)


def test_a_guard_dozes_where_turns_could_be_taken_as_long_as_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dozes(monkeypatch, LOW, available=GIB, steps=(Step("turns"),))
    monkeypatch.setattr(turns.TakingTurns, "idle", False)
    assert not dozes(monkeypatch, LOW, available=GIB, steps=(Step("turns"),))
