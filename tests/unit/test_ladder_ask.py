"""The ladder asks and pauses: each answer, none, and one that comes too late."""

from __future__ import annotations

from _signal import SIGKILL, SIGTERM

import pytest

from okoomer.events import model
from okoomer.events.model import Closed, Paused, Question, Recovered, Resumed
from okoomer.guard.asking import KEPT
from okoomer.guard.question import BAD, DENIED, LEAST_CEILING, NONE, OK, QUANTUM, REFUSED, ceiling
from okoomer.policy.engine import FIRED, QUIET
from okoomer.policy.model import Step
from tests.unit.bodies import Body
from tests.unit.stands import ASK, BEFORE, FREED, LADDER, NEED, USER, Scene

# --- nobody answers ---------------------------------------------------------------------------------------------


def test_a_unit_is_paused_asked_about_and_ended_if_nobody_answers() -> None:
    scene = Scene().until(30)
    assert scene.kinds() == ["Paused", "Question", "Closed", "Signalled", "Signalled", "Died"]
    assert scene.sent() == [(11.0, SIGTERM), (14.0, SIGKILL)]
    assert scene.told(Closed) == [Closed(1, model.LATE)]
    assert scene.done and scene.holds.ends == ["released"]


def test_a_question_says_all_that_there_is_to_decide_upon() -> None:
    scene = Scene(Body(7), Body(8)).until(2)
    assert scene.told(Paused)[0].by == "rule low"
    assert scene.told(Question) == [
        Question(
            question=1,
            rule="low",
            name="body",
            pids=(7, 8),
            user=USER,
            cgroup="",
            seconds=10.0,
            choices=("resume", "end", "limit"),
            then="term",
            freed=FREED,
            available=BEFORE,
            paused=True,
            limit=208 << 20,
            why="it grows",
        )
    ]
    assert [(question.question, round(left, 3)) for question, left in scene.ladder.questions()] == [(1, 9.0)]


def test_what_follows_is_the_next_step_that_does_something_to_the_unit() -> None:
    [question] = Scene(steps=(Step("ask", 1.0), Step("warn"), Step("prekill", 5.0), Step("kill"))).told(Question)
    assert question.then == "kill" and question.choices == ("resume", "pause", "end", "limit")


def test_several_users_processes_are_nobodys() -> None:
    [question] = Scene(Body(7), Body(8), steps=ASK, users=(1, 2)).told(Question)
    assert question.user == -1


@pytest.mark.parametrize(
    ("held", "size"), [(0, LEAST_CEILING), (QUANTUM * 9 + 1, QUANTUM * 10), (QUANTUM * 9, QUANTUM * 9)]
)
def test_a_ceiling_that_nobody_names_is_what_the_unit_holds_and_enough_to_live_on(held: int, size: int) -> None:
    assert ceiling(held) == size


@pytest.mark.parametrize("at", [0.5, 5.0])
def test_who_is_paused_goes_on_when_memory_is_back(at: float) -> None:
    scene = Scene().until(at)
    scene.states, scene.available = [QUIET, QUIET], BEFORE + NEED
    assert scene.until(at + 1).done
    assert scene.told(Closed) == ([Closed(1, model.OVER)] if at > 1 else [])
    assert [type(event) for event in scene.events[-2:]] == [Resumed, Recovered]
    assert scene.sent() == [] and scene.holds.ends == ["resumed"]


def test_a_pause_is_over_as_soon_as_all_is_well_and_no_sooner() -> None:
    scene = Scene(steps=(Step("pause", 30.0), *LADDER[2:])).until(3)
    scene.states, scene.available = [QUIET, FIRED], BEFORE + NEED
    assert not scene.until(4).done, "its rule still holds"
    scene.states, scene.available = [QUIET, QUIET], BEFORE + NEED - 1
    assert not scene.until(5).done, "what it holds is needed"
    scene.available = BEFORE + NEED
    assert scene.until(5.1).done and scene.sent() == []
    assert scene.told(Resumed)[0].seconds == pytest.approx(5.01)


def test_who_is_in_the_way_of_others_when_a_long_pause_is_over_has_to_end() -> None:
    scene = Scene(steps=(Step("pause", 30.0), *LADDER[2:])).until(29)
    scene.states = [QUIET, QUIET]
    assert scene.until(40).sent() == [(30.0, SIGTERM)]


def test_who_is_paused_stays_so_while_what_it_holds_is_needed_though_its_rule_is_quiet_by_the_pause() -> None:
    scene = Scene().until(0.5)
    scene.states, scene.available = [QUIET, QUIET], BEFORE + NEED - 1
    assert scene.until(5).kinds() == ["Paused", "Question"]
    assert scene.until(30).sent() == [(11.0, SIGTERM)]
    assert scene.told(Recovered) == [Recovered("low", asked=True)]


def test_who_runs_on_is_not_ended_if_the_rule_does_not_hold_when_its_time_is_over() -> None:
    scene = Scene(steps=ASK).until(9)
    scene.states = [QUIET, QUIET]
    assert not scene.until(9.9).done
    assert scene.until(10).done
    assert scene.events[1:] == [Closed(1, model.OVER), Recovered("low", asked=False)]
    assert scene.sent() == []


def test_where_nobody_can_be_paused_the_ladder_goes_on_and_asks_for_less() -> None:
    scene = Scene(able=False).until(0.1)
    [question] = scene.told(Question)
    assert not question.paused
    scene = Scene(able=False)
    scene.ladder.asking.holds = None
    scene.until(10.5)
    assert scene.sent() == [(10.0, SIGTERM)]


def test_a_question_that_nothing_follows_leaves_the_unit_alone_and_is_not_asked_again_at_once() -> None:
    scene = Scene(steps=(Step("ask", 1.0),)).until(1.0)
    assert scene.done and scene.told(Question)[0].then == "resume"
    assert scene.told(Closed) == [Closed(1, model.LATE)]
    assert scene.sent() == [] and scene.kept() == {7}


# --- answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [LADDER, ASK])
def test_resume_ends_the_act_and_the_unit_is_passed_over_by_rules_that_ask_for_a_while(steps: tuple[Step, ...]) -> None:
    scene = Scene(steps=steps).until(2)
    assert scene.answer(model.RESUME) == OK
    assert scene.done and scene.sent() == []
    assert Closed(1, model.ANSWERED, "resume", USER) in scene.events
    assert scene.holds.ends == (["resumed"] if steps == LADDER else [])
    assert scene.kept() == scene.kept(KEPT - 1) == {7} and scene.kept(KEPT + 1) == frozenset()
    urgent, _ = scene.ladder.passed_over(scene.ladder.policy.rules[0], scene.processes, scene.world.now)
    assert urgent == frozenset()


def test_end_goes_on_at_once_with_the_next_step_that_ends() -> None:
    scene = Scene(steps=(Step("ask", 10.0), Step("pause", 5.0), Step("warn", 5.0), *LADDER[2:])).until(2)
    assert scene.answer(model.END) == OK
    assert scene.kinds() == ["Question", "Closed", "Signalled"]
    assert scene.sent() == [(2.0, SIGTERM)]


def test_whom_somebody_wants_to_end_ends_also_when_memory_is_back() -> None:
    scene = Scene().until(2)
    assert scene.answer(model.END) == OK
    assert scene.holds.ends == ["released"]
    scene.states, scene.available = [QUIET, QUIET], BEFORE + FREED
    assert scene.until(6).sent() == [(2.0, SIGTERM), (5.0, SIGKILL)]


def test_pause_has_the_unit_stand_still_and_the_question_goes_on_under_its_number() -> None:
    scene = Scene(steps=ASK).until(2)
    assert scene.answer(model.PAUSE) == OK
    first, second = scene.told(Question)
    assert (first.paused, second.paused, second.question) == (False, True, 1)
    assert second.choices == ("resume", "end", "limit")
    assert scene.told(Paused)[0].by == f"user {USER}" and not scene.told(Closed)
    assert scene.answer(model.PAUSE) == REFUSED
    assert scene.until(10.5).sent() == [(10.0, SIGTERM)]
    assert scene.holds.ends == ["released"]


def test_who_cannot_be_paused_is_not_and_the_question_stays_as_it_is() -> None:
    scene = Scene(steps=ASK, able=False).until(2)
    assert scene.answer(model.PAUSE) == REFUSED
    assert scene.kinds() == ["Question"] and scene.answer(model.RESUME) == OK


@pytest.mark.parametrize(("size", "given"), [(0, 112 << 20), (5 << 20, 5 << 20)])
def test_limit_gives_a_ceiling_and_the_unit_goes_on(size: int, given: int) -> None:
    scene = Scene().until(2)
    assert scene.answer(model.LIMIT, size) == OK
    assert scene.limits.given == [given]
    assert scene.kinds()[-3:] == ["Closed", "Limited", "Resumed"]
    assert scene.done and scene.kept() == {7} and scene.sent() == []


def test_a_ceiling_that_cannot_be_given_is_refused_and_the_question_goes_on() -> None:
    scene = Scene().until(2)
    scene.limits.able = False
    assert scene.answer(model.LIMIT) == REFUSED
    assert scene.kinds() == ["Paused", "Question"]
    assert scene.until(11.5).sent() == [(11.0, SIGTERM)]


@pytest.mark.parametrize(
    ("question", "word", "size", "user", "status"),
    [
        (1, "resume", 0, USER + 1, DENIED),
        (2, "resume", 0, USER, NONE),
        (0, "end", 0, 0, NONE),
        (1, "kill", 0, USER, BAD),
        (1, "", 0, 0, BAD),
        (1, "limit", -1, 0, BAD),
        (1, "pause", 0, 0, REFUSED),
    ],
)
def test_an_answer_that_is_none_changes_nothing(question: int, word: str, size: int, user: int, status: str) -> None:
    scene = Scene().until(2)
    before = [*scene.events]
    assert scene.answer(word, size, user, question) == status
    assert scene.events == before and scene.ladder.questions()


def test_root_may_answer_for_anybody() -> None:
    scene = Scene(users=(-1,)).until(2)
    assert scene.answer(model.RESUME, user=USER) == DENIED
    assert scene.answer(model.RESUME, user=0) == OK


def test_an_answer_that_comes_too_late_changes_nothing() -> None:
    scene = Scene().until(12)
    assert scene.answer(model.RESUME) == NONE
    assert scene.until(30).sent() == [(11.0, SIGTERM), (14.0, SIGKILL)]
    assert scene.answer(model.RESUME) == NONE
    assert scene.told(Closed) == [Closed(1, model.LATE)]


def test_questions_have_numbers_of_their_own() -> None:
    scene = Scene(steps=ASK).until(1)
    assert scene.answer(model.RESUME) == OK
    scene.begin()
    assert scene.ladder.questions()[0][0].question == 2
    assert scene.answer(model.RESUME) == NONE


def test_somebody_who_is_let_run_again_by_another_hand_is_not_paused_any_more() -> None:
    scene = Scene().until(2)
    scene.holds.resume(scene.holds.still[0], "user 0 wants it", 2.0)
    scene.until(2.1)
    assert [question.paused for question in scene.told(Question)] == [True, False]
    assert scene.answer(model.PAUSE) == OK
