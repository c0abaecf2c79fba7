"""What makes a question unnecessary, and what has become of the unit by then."""

from __future__ import annotations

from _signal import SIGKILL, SIGTERM

import pytest

from okoomer.events import model
from okoomer.events.model import Closed, Died, Limited, Question, Resumed, Signalled, Stuck
from okoomer.guard.ladder import SETTLE
from okoomer.guard.question import NONE, OK
from okoomer.policy.engine import FIRED, QUIET
from okoomer.policy.model import Instead, Policy, Rule, Step
from okoomer.policy.scope import scope_of
from okoomer.record import replace
from tests.unit import strategies as some
from tests.unit.bodies import Body
from tests.unit.stands import ASK, KILL, LADDER, LOW, Scene

# --- what makes a question unnecessary --------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0.5, 5.0])
def test_a_more_urgent_rule_does_not_wait_for_an_answer(at: float) -> None:
    scene = Scene().until(at)
    scene.states = [FIRED, FIRED]
    scene.until(at + 0.05)
    assert scene.sent() == [(at + 0.01, SIGKILL)]
    assert scene.told(Closed) == ([Closed(1, model.URGENT)] if at > 1 else [])
    assert scene.holds.ends == ["released"] and scene.answer(model.RESUME) == NONE


def test_a_more_urgent_rule_that_asks_too_leaves_alone_whom_somebody_wanted_to_keep() -> None:
    scene = Scene(steps=ASK, urgent=LADDER).until(1)
    assert scene.answer(model.RESUME) == OK
    patient = Rule("low", LOW, "", steps=(Step("warn", 9.0), *KILL))
    scene.ladder.policy = Policy("p", (scene.ladder.policy.rules[0], patient))
    scene.begin()
    scene.states = [FIRED, FIRED]
    assert scene.until(5).sent() == [] and len(scene.told(Question)) == 1


@pytest.mark.parametrize(
    ("fired_before", "about", "closed"),
    [(False, "/a", model.URGENT), (True, "/a", ""), (False, "/b/c", model.URGENT)],
)
def test_a_more_urgent_rule_that_begins_to_hold_for_another_cgroup_does_not_wait_either(
    fired_before: bool, about: str, closed: str
) -> None:
    scene = Scene(steps=ASK)
    scene.processes[0] = replace(scene.processes[0], cgroup="/b/c/d")
    scene.ladder.close()
    rules = scene.ladder.policy.rules
    scene.ladder.policy = Policy("p", (replace(rules[0], scope=scope_of("/*")), rules[1]))
    scene.begin()
    scene.about = (about,)
    scene.states = [FIRED if fired_before else QUIET, FIRED]
    scene.until(1).states = [FIRED, FIRED]
    scene.until(2)
    assert [one.how for one in scene.told(Closed)[1:]] == ([closed] if closed else [])
    assert scene.done == bool(closed)
    assert bool(scene.sent()) == (about == "/b/c")


@pytest.mark.parametrize("steps", [LADDER, ASK])
def test_a_unit_that_ends_by_itself_is_not_asked_about_any_more(steps: tuple[Step, ...]) -> None:
    scene = Scene(Body(7, leaves=5.0), steps=steps).until(5 + SETTLE + 0.1)
    assert scene.told(Closed) == [Closed(1, model.GONE)]
    assert isinstance(scene.events[-1], Died) and scene.done
    assert scene.told(Signalled) == [] and not scene.told(Resumed)


def test_a_unit_that_is_gone_before_it_is_paused_is_not_asked_about() -> None:
    scene = Scene(Body(7, leaves=0.0, vanished=True)).until(1)
    assert scene.done and [type(event) for event in scene.events] == [Question, Closed, Died]


def test_when_okoomer_ends_the_question_is_over_and_the_unit_goes_on() -> None:
    scene = Scene().until(2)
    scene.ladder.close()
    assert scene.done
    assert scene.events[-2] == Closed(1, model.STOPPED)
    assert isinstance(scene.events[-1], Resumed)


# --- the unit, later --------------------------------------------------------------------------------------------


def test_who_was_born_while_a_unit_was_asked_about_ends_with_it() -> None:
    scene = Scene(Body(7), Body(8), steps=ASK, born=(8,)).until(2)
    scene.later = [*scene.processes, *scene.world.processes((8,))]
    assert scene.answer(model.END) == OK
    assert scene.world.signals(SIGTERM) == [7, 8]


def test_who_was_born_while_a_unit_was_asked_about_gets_the_ceiling_with_it() -> None:
    scene = Scene(Body(7), Body(8), steps=ASK, born=(8,)).until(2)
    scene.later = [*scene.processes, *scene.world.processes((8,))]
    assert scene.answer(model.LIMIT) == OK
    assert [limited.pids for limited in scene.told(Limited)] == [(7, 8)]


def test_a_unit_is_not_gone_while_one_lives_who_was_found_when_somebody_had_it_stopped() -> None:
    scene = Scene(Body(7, leaves=5.0), Body(8), steps=ASK, born=(8,)).until(2)
    assert scene.answer(model.PAUSE) == OK
    assert scene.until(6).ladder.questions() and not scene.told(Closed)


def test_who_was_found_while_a_unit_was_stopped_ends_with_it() -> None:
    scene = Scene(Body(7), Body(8), born=(8,)).until(12)
    assert scene.world.signals(SIGTERM) == [7, 8]


def test_who_is_asked_to_end_by_a_command_goes_on_so_that_it_can() -> None:
    instead = (Instead(some.selector("name:.*"), ("/bin/stop",)),)
    scene = Scene(instead=instead)
    scene.ladder.runs = True
    assert scene.until(12).holds.ends == ["released"]
    assert scene.sent() == []


def test_who_cannot_be_killed_goes_on() -> None:
    scene = Scene(Body(7, refuses=True)).until(12)
    assert isinstance(scene.events[-2], Stuck) and isinstance(scene.events[-1], Resumed)
    assert scene.done


def test_children_of_whom_somebody_wanted_to_keep_are_kept_and_others_are_not() -> None:
    scene = Scene(steps=ASK).until(1)
    assert scene.answer(model.RESUME) == OK
    [body] = scene.processes
    child, grandchild = replace(body, pid=20, parent=7), replace(body, pid=21, parent=20)
    rule = scene.ladder.policy.rules[1]
    assert scene.ladder.passed_over(rule, [body, child, grandchild, replace(body, pid=30)], 1.0)[0] == {7, 20, 21}
    assert scene.ladder.passed_over(rule, [child, replace(body, pid=1)], 1.0)[0] == frozenset()


def test_another_process_that_gets_the_number_of_one_that_was_kept_is_not_kept() -> None:
    scene = Scene(steps=ASK)
    scene.ladder.close()
    scene.processes[0] = replace(scene.processes[0], started=5.0)
    scene.begin()
    assert scene.answer(model.RESUME, question=2) == OK
    rule = scene.ladder.policy.rules[1]
    assert scene.ladder.passed_over(rule, scene.processes, 1.0)[0] == {7}
    assert scene.ladder.passed_over(rule, [replace(scene.processes[0], started=9.0)], 1.0)[0] == frozenset()
