"""The ladder over bodies that die at once, late, never, or may not be touched."""

from __future__ import annotations

from _signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING

import pytest

from okoomer.events.model import BY_KERNEL, Died, Ran, Recovered, Run, Signalled, Stuck, Warned
from okoomer.guard.act import Act
from okoomer.guard.ladder import ASIDE, DRY_REST, LONG_PATIENCE, PATIENCE, SETTLE, Ladder
from okoomer.policy.engine import FIRED, QUIET, Engine, RuleVerdict, Verdict
from okoomer.policy.model import Comparison, Held, Instead, Policy, Rule, Step
from tests.unit import strategies as some
from tests.unit.bodies import NEVER, Body, World
from tests.unit.strategies import cases

if TYPE_CHECKING:
    from random import Random

    from okoomer.record import Record

LOW = Comparison("mem.available", "<", 0.1, share=True)
KILL = (Step("kill"),)
GENTLE = (Step("warn"), Step("term", 3.0), Step("kill"))
FREED, BEFORE = 1000, 500


def rule(name: str, *steps: Step) -> Rule:
    return Rule(name, LOW, "", steps=steps)


class Scene:
    """A ladder on bodies; time passes in hundredths of a second."""

    def __init__(
        self,
        *bodies: Body,
        steps: tuple[Step, ...] = KILL,
        urgent: tuple[Step, ...] = KILL,
        instead: tuple[Instead, ...] = (),
        runs: bool = False,
    ) -> None:
        self.world = World(*bodies)
        self.events: list[Record] = []
        self.ladder = Ladder(
            self.world, self.events.append, Policy("p", (rule("urgent", *urgent), rule("low", *steps)), instead=instead)
        )
        self.ladder.runs = runs
        self.states = [QUIET, FIRED]
        self.available = BEFORE
        self.ladder.begin(Act(1, self.ladder.policy.rules[1], "body", self.world.processes(), FREED, BEFORE), 0.0)

    def until(self, time: float) -> Scene:
        while self.world.now < time - 1e-9:
            self.world.now = round(self.world.now + 0.01, 9)
            rules = tuple(RuleVerdict(name, state, ()) for name, state in zip("ab", self.states, strict=True))
            self.ladder.advance(self.world.now, self.available, Verdict(self.world.now, rules, None, (), 0.0))
        return self

    @property
    def last(self) -> Record:
        return self.events[-1]

    @property
    def done(self) -> bool:
        assert self.ladder.busy(self.world.now) or not any(body.held for body in self.world.bodies.values())
        return not self.ladder.busy(self.world.now)

    def sent(self) -> list[tuple[float, int]]:
        return [signal for body in self.world.bodies.values() for signal in body.signals]


# --- its end ----------------------------------------------------------------------------------------------------


def test_a_body_that_dies_at_once_is_done_when_its_bytes_are_back() -> None:
    scene = Scene(Body(7)).until(0.2)
    assert not scene.done
    scene.available = BEFORE + FREED // 2
    assert scene.until(0.21).done
    assert scene.last == Died("low", "body", (7,), 0.01, FREED // 2)


def test_bytes_that_do_not_come_back_are_waited_for_until_a_deadline() -> None:
    scene = Scene(Body(7)).until(SETTLE - 0.02)
    assert not scene.done
    assert scene.until(SETTLE + 0.02).done
    assert scene.last == Died("low", "body", (7,), 0.01, 0)


def test_nothing_that_vanished_is_waited_for_longer_than_that() -> None:
    scene = Scene(Body(7, vanished=True), Body(8, leaves=0.0)).until(SETTLE + 0.02)
    assert scene.done
    assert scene.events[0] == Signalled("low", "SIGKILL", "body", (), (7, 8), reason="other")
    assert isinstance(scene.last, Died)


def test_a_body_that_does_not_die_is_set_aside_for_a_while() -> None:
    scene = Scene(Body(7, on_kill=NEVER), Body(8)).until(PATIENCE - 0.01)
    assert not scene.done
    assert scene.until(PATIENCE + 0.01).done
    assert isinstance(scene.last, Stuck)
    assert scene.last.pids == (7,)
    assert scene.ladder.aside.pids(scene.world.now) == {7}
    assert scene.ladder.aside.pids(scene.world.now + ASIDE) == frozenset()


def test_a_body_that_lets_go_slowly_is_waited_for_longer_but_not_for_ever() -> None:
    scene = Scene(Body(7, on_kill=NEVER))
    scene.available += FREED // 10
    assert not scene.until(LONG_PATIENCE - 0.1).done
    assert scene.until(LONG_PATIENCE + PATIENCE / 4 + 0.1).done
    assert isinstance(scene.last, Stuck)


@pytest.mark.parametrize("steps", [KILL, GENTLE])
def test_a_body_that_may_not_be_signalled_is_given_up_at_once(steps: tuple[Step, ...]) -> None:
    scene = Scene(Body(7, refuses=True), steps=steps)
    assert scene.done
    assert isinstance(scene.last, Stuck)
    assert scene.last.why == "Operation not permitted"
    assert scene.ladder.aside.pids(0.0) == {7}


def test_one_refusal_does_not_save_the_others_of_a_unit() -> None:
    scene = Scene(Body(7, refuses=True), Body(8)).until(PATIENCE - 0.1)
    assert scene.events == [Signalled("low", "SIGKILL", "body", (8,), (7,), reason="other")]
    scene.until(PATIENCE + 0.1)
    assert scene.done
    assert scene.ladder.aside.pids(scene.world.now) == {7}


# --- its steps --------------------------------------------------------------------------------------------------


def test_a_body_is_warned_asked_and_killed_each_in_its_time() -> None:
    scene = Scene(Body(7, on_term=NEVER), steps=GENTLE).until(4.0)
    assert [type(event) for event in scene.events] == [Warned, Signalled, Signalled, Died]
    assert scene.sent() == [(0.0, SIGTERM), (3.0, SIGKILL)]


def test_a_body_that_ends_when_asked_is_not_killed() -> None:
    scene = Scene(Body(7, on_term=1.0), steps=GENTLE).until(5.0)
    assert scene.sent() == [(0.0, SIGTERM)]
    assert scene.last == Died("low", "body", (7,), 1.0, 0)


def test_a_warning_with_a_time_comes_that_long_before_the_rest() -> None:
    scene = Scene(Body(7), steps=(Step("warn", 2.0), Step("kill"))).until(1.99)
    assert scene.sent() == []
    assert scene.until(2.0).sent() == [(2.0, SIGKILL)]


@pytest.mark.parametrize(("steps", "asked"), [(GENTLE, True), ((Step("warn", 3.0), Step("kill")), False)])
def test_nobody_is_killed_if_the_rule_does_not_hold_any_more(steps: tuple[Step, ...], asked: bool) -> None:
    scene = Scene(Body(7, on_term=NEVER), steps=steps).until(2.9)
    scene.states = [QUIET, QUIET]
    assert scene.until(4.0).done
    assert scene.last == Recovered("low", asked)
    assert scene.world.signals(SIGKILL) == []
    assert scene.ladder.aside.pids(scene.world.now) == frozenset()


def test_a_ladder_without_a_kill_gives_up() -> None:
    scene = Scene(Body(7, on_term=NEVER), steps=(Step("term", 1.0),)).until(1.1)
    assert scene.done
    assert isinstance(scene.last, Stuck)
    assert scene.world.signals(SIGKILL) == []


# --- a more urgent rule -----------------------------------------------------------------------------------------


def test_a_more_urgent_rule_takes_over_at_its_first_stronger_step() -> None:
    scene = Scene(Body(7, on_term=NEVER), steps=GENTLE).until(1.0)
    scene.states = [FIRED, FIRED]
    assert scene.until(2.0).sent() == [(0.0, SIGTERM), (1.01, SIGKILL)]
    assert isinstance(scene.last, Died)
    assert scene.last.rule == "urgent"


def test_a_more_urgent_rule_does_not_ask_again() -> None:
    scene = Scene(Body(7, on_term=NEVER), steps=GENTLE, urgent=(Step("term", 9.0), Step("kill"))).until(1.0)
    scene.states = [FIRED, QUIET]
    assert scene.until(1.5).sent() == [(0.0, SIGTERM), (1.01, SIGKILL)]


def test_a_more_urgent_rule_that_only_warns_takes_nothing_over() -> None:
    scene = Scene(Body(7, on_term=NEVER), steps=GENTLE, urgent=(Step("warn"),)).until(1.0)
    scene.states = [FIRED, FIRED]
    assert scene.until(2.9).sent() == [(0.0, SIGTERM)]


# --- waiting ----------------------------------------------------------------------------------------------------


def test_the_ladder_says_when_it_has_to_be_looked_after() -> None:
    scene = Scene(Body(7, on_term=1.0), steps=GENTLE)
    assert (scene.ladder.wait(0.5), scene.ladder.pidfds()) == (2.5, [7])
    scene.until(1.0)
    assert scene.ladder.wait(1.0) <= 0.01
    assert scene.ladder.pidfds() == []
    scene.until(3.0)
    assert scene.ladder.wait(3.0) == float("inf")


def test_a_dry_run_rests_and_then_chooses_again() -> None:
    ladder = Ladder(World(), print, Policy("p", (rule("low"),)))
    ladder.rest(5.0)
    assert ladder.busy(5.0 + DRY_REST - 0.1)
    assert ladder.wait(6.0) == DRY_REST - 1.0
    assert not ladder.busy(5.0 + DRY_REST)


# --- any policy, any bodies, any fall of memory -----------------------------------------------------------------


def some_body(random: Random, pid: int) -> Body:
    return Body(
        pid,
        on_term=random.choice((0.0, 0.3, 1.5, NEVER)),
        on_kill=random.choice((0.0, 0.1, 1.5, 5.0, NEVER)),
        refuses=random.random() < 0.15,
        vanished=random.random() < 0.1,
        leaves=random.uniform(0, 30) if random.random() < 0.1 else NEVER,
    )


class Emergency:
    """A policy over a falling memory, as the loop runs it, with what must be true checked at each instant."""

    def __init__(self, random: Random) -> None:
        self.rules = tuple(
            Rule(
                f"rule {number}",
                random.choice((low, Held(low, 0.5))),
                "",
                steps=random.choice(some.LADDERS),
                rest=random.choice((0.0, 1.0)),
            )
            for number, share in enumerate(sorted(random.random() for _ in range(random.randint(1, 3))))
            for low in (Comparison("mem.available", "<", share, share=True),)
        )
        self.world = World(*(some_body(random, pid) for pid in range(10, 16)))
        self.events: list[Record] = []
        self.engine = Engine(Policy("emergency", self.rules))
        self.ladder = Ladder(self.world, self.tell, Policy("p", self.rules))
        self.verdict: Verdict | None = None
        self.unit: tuple[int, ...] = ()
        self.began, self.begun_by = 0.0, ""
        self.longest = sum(step.seconds for rule in self.rules for step in rule.steps)
        self.longest += LONG_PATIENCE + PATIENCE + SETTLE

    def tell(self, event: Record) -> None:
        self.events.append(event)
        if isinstance(event, Signalled):
            assert self.verdict
            states = {rule.name: rule.state for rule in self.verdict.rules}
            assert states[event.rule] == FIRED
            if event.signal == "SIGKILL" and event.rule == self.begun_by:
                self.check_asked(event)

    def check_asked(self, kill: Signalled) -> None:
        rule = next(rule for rule in self.rules if rule.name == kill.rule)
        term = next((step for step in rule.steps if step.kind == "term"), None)
        for pid in kill.pids if term else ():
            asked = [time for time, number in self.world.bodies[pid].signals if number == SIGTERM]
            assert asked and asked[-1] <= self.world.now - (term.seconds if term else 0)

    def run(self, random: Random) -> None:
        pace = random.choice((0.05, 0.3, 1.0))
        share = random.random()
        for _ in range(40):
            now = self.world.now = self.world.now + pace * random.random()
            share = random.random() if random.random() < 0.1 else min(1.0, max(0.0, share + random.uniform(-0.1, 0.1)))
            self.step(random, int(8 * some.GIB * share), now)
            if self.ladder.busy(now):
                assert now - self.began <= self.longest + 3 * pace
            else:
                assert not any(body.held for body in self.world.bodies.values())

    def step(self, random: Random, available: int, now: float) -> None:
        busy, told = self.ladder.busy(now), len(self.events)
        signalled = {pid: len(body.signals) for pid, body in self.world.bodies.items()}
        snapshot = some.facts_at(now, available)
        self.verdict = self.engine.step(snapshot, acting=busy)
        if busy:
            self.ladder.advance(now, available, self.verdict)
        elif self.verdict.act is not None:
            self.begin(random, self.verdict.act, available, now)
        ends = [event for event in self.events[told:] if isinstance(event, (Died, Stuck, Recovered))]
        assert len(ends) == ((busy or len(self.events) > told) and not self.ladder.busy(now))
        for event in ends:
            if isinstance(event, Stuck):
                assert self.ladder.aside.pids(now) >= set(event.pids)
                assert self.ladder.aside.pids(now) & set(self.unit)
        for pid, body in self.world.bodies.items():
            assert pid in self.unit or len(body.signals) == signalled[pid]

    def begin(self, random: Random, index: int, available: int, now: float) -> None:
        aside = self.ladder.aside.pids(now)
        there = [pid for pid, body in self.world.bodies.items() if body.dies > now and pid not in aside]
        self.unit = tuple(random.sample(there, min(len(there), random.randint(1, 3))))
        if self.unit:
            self.began, self.begun_by = now, self.rules[index].name
            processes = self.world.processes(self.unit)
            act = Act(index, self.rules[index], "unit", processes, random.randrange(2**30), available)
            self.ladder.begin(act, now)


@cases(8_000)
def test_one_act_at_a_time_each_ends_and_none_goes_beyond_its_rule_or_its_unit(random: Random) -> None:
    Emergency(random).run(random)


# --- commands, and the kernel's own killer ----------------------------------------------------------------------

BEFORE_KILL = (Step("run", 0.2, ("/bin/before", "$PID")), *KILL)


def asked(scene: Scene) -> list[Run]:
    return [event for event in scene.events if isinstance(event, Run)]


def test_a_command_is_waited_for_until_it_has_ended() -> None:
    scene = Scene(Body(1), steps=BEFORE_KILL, runs=True).until(0.1)
    [run] = asked(scene)
    assert (run.command, run.pid, run.seconds) == (("/bin/before", "$PID"), 1, 0.2)
    assert scene.sent() == []
    scene.ladder.ran(run.request, 0, 0.1)
    assert Ran(run.request, 0, 0.1) in scene.events
    assert scene.until(0.2).sent() == [(0.11, SIGKILL)]


def test_a_command_that_takes_too_long_is_not_waited_for() -> None:
    assert Scene(Body(1), steps=BEFORE_KILL, runs=True).until(0.5).sent() == [(0.2, SIGKILL)]


def test_where_nobody_runs_commands_the_ladder_goes_on_at_once() -> None:
    scene = Scene(Body(1), steps=BEFORE_KILL).until(0.1)
    assert scene.sent() == [(0.0, SIGKILL)] and not asked(scene)


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    scene = Scene(Body(1), steps=BEFORE_KILL, runs=True).until(0.1)
    scene.ladder.ran(asked(scene)[0].request + 1, 0, 0.1)
    scene.ladder.ran(0, 0, 0.1)
    assert scene.until(0.15).sent() == []
    assert scene.until(1.0).done
    scene.ladder.ran(asked(scene)[0].request, 0, 1.0)


def instead_of_term(name: str) -> tuple[Instead, ...]:
    return (Instead(some.selector(f"name:{name}"), ("/bin/stop", "$SERVICE")),)


def test_a_command_asks_in_place_of_sigterm() -> None:
    scene = Scene(Body(1, on_term=NEVER), steps=GENTLE, instead=instead_of_term(".*"), runs=True).until(3.5)
    assert [run.command for run in asked(scene)] == [("/bin/stop", "$SERVICE")]
    assert scene.sent() == [(3.0, SIGKILL)]


@pytest.mark.parametrize("status", [1, -9, -1000])
def test_whom_the_command_could_not_ask_gets_sigterm_at_once(status: int) -> None:
    scene = Scene(Body(1), steps=GENTLE, instead=instead_of_term(".*"), runs=True).until(0.3)
    scene.ladder.ran(asked(scene)[0].request, status, 0.3)
    assert scene.sent() == [(0.3, SIGTERM)]


@pytest.mark.parametrize(("name", "runs"), [("somebody-else", True), (".*", False)])
def test_whom_no_command_is_for_gets_sigterm(name: str, runs: bool) -> None:
    scene = Scene(Body(1), steps=GENTLE, instead=instead_of_term(name), runs=runs).until(0.1)
    assert scene.sent() == [(0.0, SIGTERM)]


def test_the_kernel_may_choose_and_nobody_is_said_to_have_died() -> None:
    scene = Scene(Body(1), steps=(Step("oom"),)).until(SETTLE + 0.1)
    assert scene.world.left_to_kernel == 1
    assert scene.sent() == [] and scene.done
    assert [event.signal for event in scene.events if isinstance(event, Signalled)] == [BY_KERNEL]
    assert not any(isinstance(event, Died) for event in scene.events)


def test_where_the_kernel_may_not_be_asked_the_chosen_is_killed() -> None:
    scene = Scene(Body(1), steps=(Step("warn", 0.1), Step("oom")))
    scene.world.left_to_kernel = None
    assert scene.until(0.3).sent() == [(0.1, SIGKILL)]
