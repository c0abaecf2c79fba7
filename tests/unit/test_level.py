"""The level of shortness: when it is told, that it is told again, and how the loop wakes for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.events import model
from okoomer.events.model import LOW, MEDIUM, NORMAL, SEVERE, Level
from okoomer.facts import Memory, Snapshot
from okoomer.guard.level import AGAIN, GLANCE, Levels
from okoomer.policy.engine import FIRED, HOLDING, LEISURE, QUIET, Engine, RuleVerdict, Verdict
from okoomer.policy.model import Comparison, Held, Policy, Rule, Step
from okoomer.record import replace
from tests.unit.bodies import NEVER
from tests.unit.strategies import GIB, cases
from tests.unit.test_loop import KILLS, TOTAL, Stage

if TYPE_CHECKING:
    from random import Random

    from okoomer.record import Record


def below(share: float) -> Comparison:
    return Comparison("mem.available", "<", share, share=True)


TIGHT = Rule("tight", below(0.2), "mem.available < 20%", steps=(), level=LOW)
SHORT = replace(TIGHT, name="short", when=below(0.1), level=MEDIUM)
CRITICAL = replace(TIGHT, name="critical", when=below(0.06), level=SEVERE)
RULES = (TIGHT, SHORT, CRITICAL)


class Told:
    """What was told of the level under a policy of these rules."""

    def __init__(self, *rules: Rule) -> None:
        self.rules = rules
        self.events: list[Record] = []
        self.levels = Levels(Policy("test", rules), self.events.append)

    def tell(self, time: float, *fired: str, ending: str = "", left: float | None = None) -> list[Record]:
        """What is told at a time at which these rules have fired."""
        self.events.clear()
        judged = tuple(RuleVerdict(rule.name, FIRED if rule.name in fired else QUIET, ()) for rule in self.rules)
        self.levels.tell(Verdict(time, judged, None, (), 0.0), ending, GIB, lambda: left)
        return [*self.events]


def test_it_is_the_greatest_of_the_rules_that_have_fired_and_these_say_so() -> None:
    told = Told(*RULES, replace(SHORT, name="again"))
    assert told.tell(0) == []
    assert told.tell(1, "tight", left=60.0) == [Level(LOW, GIB, 60.0, ("tight",))]
    assert told.tell(2, "tight", "short", "again") == [Level(MEDIUM, GIB, None, ("short", "again"))]
    assert told.tell(3, "tight", "critical") == [Level(SEVERE, GIB, None, ("critical",))]
    assert told.tell(4, "tight") == [Level(LOW, GIB, None, ("tight",))]
    assert told.tell(5) == [Level(NORMAL, GIB, None, ())]
    assert told.tell(6) == []


def test_a_rule_that_holds_has_not_fired() -> None:
    told = Told(TIGHT)
    judged = (RuleVerdict("tight", HOLDING, ()),)
    told.levels.tell(Verdict(0.0, judged, None, (), 0.0), "", GIB, lambda: None)
    assert not told.events


def test_it_is_told_again_while_it_lasts_and_never_once_it_is_over() -> None:
    told = Told(*RULES)
    heard = [at for at in range(60) if told.tell(at, "tight")]
    assert heard == [0, 15, 30, 45]
    assert told.tell(61)
    assert not any(told.tell(at) for at in range(62, 600))


def test_while_somebody_is_ended_it_is_the_greatest_whatever_fired() -> None:
    told = Told(*RULES)
    assert told.tell(0, "tight", ending="kills") == [Level(SEVERE, GIB, None, ("kills",))]
    assert told.tell(1, "critical", ending="kills") == []
    assert told.tell(2, "critical") == []
    assert told.tell(3, "tight") == [Level(LOW, GIB, None, ("tight",))]
    assert told.tell(4, "critical", ending="critical") == [Level(SEVERE, GIB, None, ("critical",))]


def test_a_policy_without_levels_says_nothing_whoever_is_ended() -> None:
    told = Told(KILLS)
    assert told.tell(0, "low", ending="low") == []
    assert told.levels.wait(0) == float("inf")


def test_another_policy_goes_on_from_where_the_last_one_was() -> None:
    told = Told(TIGHT)
    told.tell(0, "tight")
    told.rules = (SHORT,)
    told.levels = Levels(Policy("test", told.rules), told.events.append, told.levels)
    assert told.tell(1) == [Level(NORMAL, GIB, None, ())]
    assert told.tell(2, "short") == [Level(MEDIUM, GIB, None, ("short",))]
    told.levels = Levels(Policy("test", (KILLS,)), told.events.append, told.levels)
    told.rules = (KILLS,)
    assert told.tell(3) == [Level(NORMAL, GIB, None, ())]


@cases(2000)
def test_it_is_told_as_often_as_it_changes_and_once_in_fifteen_seconds(random: Random) -> None:
    told, time, level, told_at = Told(*RULES), 0.0, NORMAL, float("-inf")
    changes = repeats = 0
    for _ in range(random.randrange(1, 60)):
        time += random.choice((0.02, 0.1, 1.0, 7.0, 20.0))
        fired = random.sample(("tight", "short", "critical"), random.randrange(3))
        ending = random.choice(("", "", "kills"))
        expected = max((rule.level for rule in RULES if rule.name in fired), default=NORMAL)
        expected = SEVERE if ending else expected
        said = told.tell(time, *fired, ending=ending)
        assert len(said) <= 1
        if expected != level:
            assert [event.level for event in said] == [expected]  # type: ignore[attr-defined]
            changes += 1
        elif said:
            assert expected != NORMAL and time - told_at >= AGAIN
            repeats += 1
        else:
            assert expected == NORMAL or time - told_at < AGAIN
        level, told_at = expected, time if said else told_at
    assert repeats <= time / AGAIN + 1


# --- in the loop ------------------------------------------------------------------------------------------------


def levels(events: list[Record]) -> list[int]:
    return [event.level for event in events if isinstance(event, Level)]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch, KILLS, *RULES)


def test_a_fall_is_told_step_by_step_before_anybody_is_ended(stage: Stage) -> None:
    for share in (0.5, 0.15, 0.08, 0.055, 0.04):
        stage.cycle(share)
    assert levels(stage.events) == [LOW, MEDIUM, SEVERE]
    kinds = [type(event).__name__ for event in stage.events]
    assert kinds.index("Signalled") > max(index for index, kind in enumerate(kinds) if kind == "Level")


def test_a_kill_that_nobody_saw_coming_is_told_in_the_same_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, KILLS, TIGHT)
    stage.cycle(0.5)
    stage.cycle(0.04)
    assert levels(stage.events) == [LOW, SEVERE]
    assert stage.guard.level == SEVERE
    stage.run(5)
    assert levels(stage.events) == [LOW]


@pytest.mark.parametrize(("step", "severe"), [("warn", False), ("term", True), ("kill", True)])
def test_only_who_ends_somebody_makes_it_severe(monkeypatch: pytest.MonkeyPatch, step: str, severe: bool) -> None:
    rule = replace(KILLS, steps=(Step(step, 5.0), *(() if step == "kill" else (Step("kill"),))))
    stage = Stage(monkeypatch, rule, TIGHT)
    for body in stage.world.bodies.values():
        body.patience.update({15: NEVER, 9: NEVER})
    stage.cycle(0.04)
    assert stage.guard.level == (SEVERE if severe else LOW)


def test_its_end_is_told_within_a_second_and_the_loop_wakes_to_tell_it_again(stage: Stage) -> None:
    stage.guard.wake._trigger = 99  # otherwise it looks four times a second in any case
    assert stage.cycle(4.0) > LEISURE
    assert stage.cycle(0.15) <= GLANCE
    said = stage.run(61)
    assert len(levels(said)) == 4
    stage.share = 0.9
    assert levels(stage.run(GLANCE + 0.1)) == [NORMAL]
    assert levels(stage.run(60)) == []


def test_a_dry_run_tells_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, KILLS, *RULES, dry_run=True)
    stage.share = 0.04
    assert levels(stage.run(1)) == [SEVERE]
    stage.share = 0.5
    assert levels(stage.run(2)) == [NORMAL]


def test_of_a_rule_without_steps_nothing_but_the_level_is_told(stage: Stage) -> None:
    stage.share = 0.15
    assert {type(event) for event in stage.run(20)} == {Level}
    stage.share = 0.5
    assert {type(event) for event in stage.run(20)} == {Level}


def test_a_rule_with_a_level_and_steps_does_both(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, replace(TIGHT, steps=(Step("warn"),)))
    stage.cycle(0.15)
    assert [type(event) for event in stage.events] == [model.RuleChanged, model.Warned, Level]


# --- what it costs ----------------------------------------------------------------------------------------------


def test_a_rule_that_only_has_a_level_may_be_late_but_not_once_it_holds() -> None:
    held = replace(TIGHT, when=Held(below(0.2), 0.2))

    def soonest(rule: Rule, share: float) -> float:
        engine = Engine(Policy("test", (rule,)), triggers=True)
        return engine.step(Snapshot(0.0, Memory(TOTAL, 0, int(share * TOTAL)))).soonest

    acts = replace(held, steps=(Step("kill"),), level=NORMAL)
    assert soonest(acts, 0.3) < 0.5 and soonest(held, 0.3) == LEISURE
    assert soonest(acts, 0.15) == soonest(held, 0.15) == pytest.approx(0.2)


def test_a_rule_without_steps_neither_warns_nor_acts() -> None:
    verdict = Engine(Policy("test", RULES)).step(Snapshot(0.0, Memory(TOTAL, 0, TOTAL // 100)))
    assert [judged.state for judged in verdict.rules] == [FIRED] * 3
    assert verdict.act is None and verdict.warnings == ()
