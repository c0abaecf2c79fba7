"""The loop's cycle over a machine that is only simulated: memory, processes and time are the test's."""

from __future__ import annotations

import gc
import os
import sys
from _signal import SIGKILL, SIGTERM
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from okoomer.events import model
from okoomer.facts import Memory, Process, Snapshot, Swap
from okoomer.guard import loop, seek
from okoomer.guard.ladder import ASIDE, DRY_REST, PATIENCE, SETTLE, Ladder
from okoomer.guard.loop import AGAIN, LONGEST, LONGEST_BLIND, SHORTEST, WHILE_FIRED, Guard
from okoomer.guard.scan import Scan
from okoomer.guard.wake import trigger_of
from okoomer.kernel.machine import Machine
from okoomer.policy.engine import FILL_RATE
from okoomer.policy.model import Comparison, Held, Policy, Rule, Step
from okoomer.record import replace
from tests.unit.bodies import NEVER, Body, World
from tests.unit.strategies import GIB, MIB, selector

if TYPE_CHECKING:
    from okoomer.record import Record

TOTAL = 8 * GIB
LOW = Comparison("mem.available", "<", 0.05, share=True)
KILLS = Rule("low", LOW, "mem.available < 5%", rest=0.5)
ASKS = replace(KILLS, steps=(Step("warn"), Step("term", 3.0), Step("kill")))

#: Cycles that must leave nothing behind: half a day of a machine that is short of memory.
CYCLES = int(os.environ.get("OKOOMER_CYCLES", "1000000"))


class Stage:
    """A machine, the guard on it, and what the guard said. It is its own sense and its own scan."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *rules: Rule, dry_run: bool = False) -> None:
        self.world = World(Body(10), Body(11))
        self.sizes = {10: 900, 11: 300}
        self.share = 0.5
        self.swap = Swap()
        self.asleep = 0.0
        self.trouble: list[str] = []
        self.scans = 0
        self.unlistable = False
        self.recovers = False
        self.events: list[Record] = []
        monkeypatch.setattr(loop, "scan", self.scan)
        monkeypatch.setattr(seek, "descendants", lambda *_: [])
        monkeypatch.setattr(loop.clock, "since_boot", lambda: self.world.now)
        policy = Policy("test", rules or (KILLS,))
        ladder = Ladder(self.world, self.tell, policy)
        machine = Machine("/nowhere", "/nowhere", live=False)
        self.guard = Guard(machine, policy, self, ladder, self.tell, me=3, dry_run=dry_run, now=lambda: self.world.now)  # type: ignore[arg-type]

    def tell(self, event: Record) -> None:
        self.events.append(event)

    def snapshot(self) -> Snapshot:
        self.world.now += 1e-4
        freed = sum(self.sizes[pid] * MIB for pid, body in self.world.bodies.items() if body.dies <= self.world.now)
        return Snapshot(
            self.world.now, Memory(TOTAL, 0, int(TOTAL * self.share) + freed), self.swap, asleep=self.asleep
        )

    def troubles(self) -> list[str]:
        return self.trouble

    def scan(self, *_: object) -> Scan:
        self.scans += 1
        if self.unlistable:
            raise OSError(24, "Too many open files")
        if self.recovers:
            self.share = 0.5
        found = [Process(1, 0, "init", 0.0), Process(3, 1, "okoomer", 0.0, anon=9 * MIB)]
        for pid, body in self.world.bodies.items():
            if body.dies > self.world.now:
                size = self.sizes[pid] * MIB
                found.append(Process(pid, 1, f"body{pid}", float(pid), user=os.geteuid(), anon=size))
        return Scan(self.world.now, tuple(found), len(found))

    def cycle(self, share: float | None = None) -> float:
        if share is not None:
            self.share = share
        return self.guard.cycle()

    def run(self, seconds: float) -> list[Record]:
        """Cycles as the loop does, for so long; what was said meanwhile."""
        self.events.clear()
        until = self.world.now + seconds
        while self.world.now < until:
            self.world.now += max(self.cycle(), 1e-3)
        return self.events

    def told(self, kind: type[Record]) -> list[Record]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


# --- answering --------------------------------------------------------------------------------------------------


def test_a_fall_of_memory_is_answered_in_the_very_next_cycle(stage: Stage) -> None:
    stage.run(10)
    stage.cycle(0.04)
    assert stage.world.signals(SIGKILL) == [10]
    assert [type(event).__name__ for event in stage.events] == ["RuleChanged", "Chosen", "Signalled"]


def test_memory_that_falls_as_fast_as_it_can_is_caught_within_the_shortest_pause(stage: Stage) -> None:
    while pause := stage.cycle():
        if stage.world.signals(SIGKILL):
            break
        stage.world.now += pause
        stage.share -= pause * FILL_RATE / TOTAL
    assert stage.share > 0.05 - 2 * SHORTEST * FILL_RATE / TOTAL


def test_a_well_machine_is_looked_at_seldom_and_a_fired_rule_often(stage: Stage) -> None:
    assert stage.cycle(0.9) == LONGEST_BLIND
    stage.world.bodies.clear()
    assert stage.cycle(0.04) == WHILE_FIRED


def test_the_state_of_memory_is_told_at_once_and_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.guard.adopt(replace(stage.guard.policy, report=10.0), stage)  # type: ignore[arg-type]
    stage.cycle(0.5)
    assert stage.told(model.Report) == [model.Report(TOTAL, TOTAL // 2, 0, 0, 0)]
    stage.run(95)
    assert len(stage.told(model.Report)) == 9
    stage.world.bodies.clear()
    stage.share = 0.04
    stage.run(30)
    assert not stage.told(model.Report)[1:], "in an emergency there is better to be said"


def test_with_triggers_a_great_machine_sleeps_as_long_as_nothing_can_happen(stage: Stage) -> None:
    stage.guard.wake._trigger = 99
    stage.share = 100.0  # 800 GiB
    assert stage.cycle() == LONGEST
    assert stage.cycle(1.0) == pytest.approx(0.95 * TOTAL / FILL_RATE)


def test_a_body_is_asked_first_and_let_live_when_memory_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, ASKS)
    stage.world.bodies[10].patience[int(SIGTERM)] = NEVER
    stage.cycle(0.04)
    stage.share = 0.5
    assert model.Recovered("low", asked=True) in stage.run(5)
    assert stage.world.signals(SIGKILL) == []


def test_one_body_at_a_time_until_it_is_enough(stage: Stage) -> None:
    stage.share = 0.05 - 0.15
    stage.run(PATIENCE)
    first, second = stage.told(model.Signalled)
    assert (first.pids, second.pids) == ((10,), (11,))
    kills = [body.signals[0][0] for body in stage.world.bodies.values()]
    assert SETTLE < kills[1] - kills[0] < SETTLE + 1.0 or kills[1] - kills[0] >= KILLS.rest


def test_who_does_not_die_is_set_aside_and_the_next_is_taken(stage: Stage) -> None:
    stage.world.bodies[10].patience[int(SIGKILL)] = NEVER
    stage.share = 0.04
    stage.run(PATIENCE + 2)
    assert stage.told(model.Stuck)
    assert stage.world.signals(SIGKILL) == [10, 11]
    assert len(stage.world.bodies[10].signals) == 1
    stage.share = -0.5
    stage.run(ASIDE - PATIENCE - 4)
    assert len(stage.world.bodies[10].signals) == 1
    stage.run(PATIENCE + 4)
    assert len(stage.world.bodies[10].signals) == 2


def test_recovery_between_choice_and_act_touches_nobody(stage: Stage) -> None:
    stage.recovers = True
    stage.cycle(0.04)
    assert stage.told(model.Recovered) == [model.Recovered("low", asked=False)]
    assert stage.world.signals(SIGKILL) == []
    assert not stage.told(model.Chosen)


def test_a_warning_that_is_due_while_somebody_is_chosen_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    early = Rule("early", Held(LOW, 0.00005), "", steps=(Step("warn"),))
    stage = Stage(monkeypatch, KILLS, early)
    stage.share = 0.04
    stage.run(1)
    assert [warning.rule for warning in stage.told(model.Warned)] == ["early"]


def test_a_dry_run_says_whom_it_would_take_and_takes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, dry_run=True)
    stage.share = 0.04
    said = stage.run(1.5 * DRY_REST)
    assert [event.pids for event in said if isinstance(event, model.Chosen)] == [(10,), (10,)]
    assert stage.world.signals(SIGKILL) == []


# --- nobody -----------------------------------------------------------------------------------------------------


def test_that_nobody_is_worth_it_is_said_once_an_episode(stage: Stage) -> None:
    stage.sizes.update({10: 5, 11: 5})
    for _ in range(2):
        stage.share = 0.04
        assert len([event for event in stage.run(20) if isinstance(event, model.Refused)]) == 1
        stage.share = 0.5
        stage.run(1)
    assert stage.scans <= 2 * 20 / AGAIN + 4
    assert stage.world.signals(SIGKILL) == []


def test_who_appears_after_a_refusal_is_taken_soon(stage: Stage) -> None:
    stage.sizes.update({10: 5, 11: 5})
    stage.share = 0.04
    stage.run(3)
    stage.sizes[11] = 700
    stage.run(AGAIN + 0.2)
    assert stage.world.signals(SIGKILL) == [11]


def test_that_processes_cannot_be_listed_is_said_once_and_they_are_tried_again(stage: Stage) -> None:
    stage.unlistable = True
    stage.share = 0.04
    stage.run(30)
    assert stage.told(model.Trouble) == [model.Trouble("processes cannot be listed: Too many open files")]
    stage.unlistable = False
    stage.run(AGAIN + 0.2)
    assert stage.world.signals(SIGKILL) == [10]
    assert stage.told(model.Trouble) == [model.Trouble("processes cannot be listed: Too many open files", over=True)]


def test_those_whom_the_policy_spares_are_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, replace(KILLS, spare=(selector("name:body10"),)))
    stage.share = -0.5
    stage.run(5)
    assert stage.world.signals(SIGKILL) == [11]


# --- changes ----------------------------------------------------------------------------------------------------


def test_swap_that_comes_and_goes_and_a_suspend_are_said_once_each(stage: Stage) -> None:
    stage.run(1)
    stage.swap, stage.asleep = Swap(GIB, GIB), 60.0
    changes = [event.text for event in stage.run(3) if isinstance(event, model.Changed)]
    assert changes == ["the machine slept for 60 s", "swap is now 1.0 GiB, was 0 B"]


def test_a_trouble_is_said_when_it_begins_and_when_it_is_over(stage: Stage) -> None:
    stage.run(1)
    stage.trouble = ["meminfo: its text makes no sense"]
    assert stage.run(3) == [model.Trouble(stage.trouble[0])]
    stage.trouble = []
    assert stage.run(3) == [model.Trouble("meminfo: its text makes no sense", over=True)]


def test_the_watchdog_learns_of_the_best_victim_before_it_is_needed(stage: Stage) -> None:
    class Dog:
        best: tuple[str, tuple[Process, ...]] = ("", ())

    stage.guard.watchdog = Dog()  # type: ignore[assignment]
    stage.share = 0.2
    stage.run(1)
    assert stage.guard.watchdog
    name, processes = stage.guard.watchdog.best
    assert (name, [process.pid for process in processes]) == ("body10", [10])


def test_each_fall_of_memory_is_prepared_for_not_only_the_deepest(stage: Stage) -> None:
    stage.share = 0.2
    stage.run(1)
    stage.share = 0.04
    stage.run(5)
    assert stage.world.signals(SIGKILL) == [10]
    stage.share = 0.5
    stage.run(60)
    before = stage.scans
    for share in (0.2, 0.1):
        stage.share = share
        stage.run(2)
    assert stage.scans > before


# --- triggers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comparisons", "trigger"),
    [
        ([LOW], None),
        ([Comparison("psi.memory.full", ">", 0.2, over=2.0)], ("full", 0.1, 1.0)),
        (
            [Comparison("psi.memory.full", ">", 0.2, over=2.0), Comparison("psi.memory.some", ">", 0.6)],
            ("some", 0.1, 1.0),
        ),
        ([Comparison("psi.memory.some.avg10", ">", 0.01)], ("some", 0.02, 1.0)),
        ([Comparison("psi.io.full", ">", 0.2, over=2.0)], None),
    ],
)
def test_the_trigger_goes_off_before_any_rule_about_stalls(
    comparisons: list[Comparison], trigger: tuple[str, float, float] | None
) -> None:
    rules = tuple(Rule(str(number), one, "") for number, one in enumerate(comparisons))
    assert trigger_of(Policy("test", rules)) == trigger


# --- for ever ---------------------------------------------------------------------------------------------------


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def episodes(stage: Stage, cycles: int) -> None:
    """Cycles of which every thousandth finds memory falling; whoever is killed comes back."""
    cycle = stage.guard.cycle
    for number in range(cycles):
        stage.world.now += 0.05
        part = number % 1000
        if part < 3:
            stage.share = (0.1, 0.04, 0.5)[part]
            stage.events.clear()
            for body in stage.world.bodies.values():
                body.dies = NEVER
                body.signals.clear()
        cycle()


def test_any_number_of_cycles_leaves_nothing_behind(stage: Stage) -> None:
    episodes(stage, 5_000)
    gc.collect()
    blocks, size, scans = sys.getallocatedblocks(), resident(), stage.scans
    episodes(stage, CYCLES)
    gc.collect()
    assert stage.scans - scans >= CYCLES // 1000
    assert sys.getallocatedblocks() - blocks < 500
    assert resident() - size < 256 * 1024
