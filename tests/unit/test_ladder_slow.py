"""The step `slow` on the ladder: when it ends, what comes then, and that nobody stays slow."""

from __future__ import annotations

import pytest

from okoomer.events.model import END, LIMIT, RESUME, Died, Eased, Recovered, Signalled, Slowed, Trouble
from okoomer.facts import Cgroup
from okoomer.guard.launch import pauses
from okoomer.policy.engine import FIRED, QUIET
from okoomer.policy.model import Amount, Policy, Step
from okoomer.policy.scope import scope_of
from okoomer.record import replace
from tests.unit.bodies import NEVER, Body
from tests.unit.stands import BEFORE, NEED, Scene

SLOW = Step("slow", 3.0)
LADDER = (SLOW, Step("term", 1.0), Step("kill"))


def eased(scene: Scene) -> tuple[float, str]:
    """After how many seconds, and why, somebody was slowed no more."""
    [one] = scene.told(Eased)
    return round(one.seconds, 2), one.why


def test_a_unit_is_slowed_down_and_told_to_end_if_the_rule_holds_still() -> None:
    scene = Scene(steps=LADDER).until(2.9)
    [told] = scene.told(Slowed)
    assert (told.rule, told.pids, told.seconds, told.cpu) == ("low", (7,), 3.0, 0.0)
    assert scene.slows.slowed and not scene.sent()
    scene.until(3.1)
    assert eased(scene) == (3.0, "it ends") and [one.signal for one in scene.told(Signalled)] == ["SIGTERM"]
    scene.until(8.0)
    assert scene.done and scene.told(Died)


def test_who_has_ended_before_he_was_told_to_is_slow_no_more() -> None:
    scene = Scene(Body(7, leaves=2.0), steps=(Step("slow", 1.0), Step("ask", 10.0), *LADDER[1:])).until(1.5)
    assert scene.slows.slowed and scene.ladder.questions()
    scene.world.now = 2.5
    assert scene.answer(END) == "ok" and not scene.sent() and not scene.slows.slowed
    assert scene.until(5.0).done and scene.told(Died)


def test_the_share_of_a_processor_is_passed_on() -> None:
    scene = Scene(steps=(Step("slow", 3.0, amount=Amount(0.5, True)),))
    assert [told.cpu for told in scene.told(Slowed)] == [0.5]


def test_alone_it_ends_by_its_time_and_nobody_is_touched_nor_passed_over() -> None:
    scene = Scene(steps=(SLOW,)).until(3.1)
    assert scene.done and not scene.sent() and eased(scene) == (3.0, "its time is over")
    assert not scene.kept()
    scene.begin()
    assert scene.slows.slowed, "a rule that still holds may slow it down once more"


def test_it_ends_as_soon_as_all_is_well() -> None:
    scene = Scene(steps=LADDER).until(1.0)
    scene.states[1] = QUIET
    scene.until(1.5)
    assert scene.slows.slowed, "what is needed is not there yet"
    scene.available = BEFORE + NEED
    scene.until(1.6)
    assert scene.done and eased(scene) == (1.51, "memory came back") and scene.told(Recovered)


def test_a_rule_that_holds_has_it_slowed_on_though_there_is_room() -> None:
    scene = Scene(steps=LADDER)
    scene.available = BEFORE + NEED
    assert scene.until(2.9).slows.slowed


def test_who_is_slowed_shows_no_more_what_it_did_so_what_is_needed_decides_what_comes_next() -> None:
    scene = Scene(steps=LADDER)
    scene.states[1] = QUIET
    scene.until(3.1)
    assert [one.signal for one in scene.told(Signalled)] == ["SIGTERM"]


def test_for_a_cgroups_sake_it_is_slowed_as_long_as_it_is_at_its_limit() -> None:
    scene = Scene(steps=LADDER, target=Cgroup("/a")).until(0.5)
    scene.states[1] = QUIET
    assert scene.until(1.0).slows.slowed
    scene.slows.all[0].at_limit = False
    scene.until(1.1)
    assert scene.done and eased(scene) == (1.01, "memory came back")


@pytest.mark.parametrize("next_one", ["term", "pause"])
def test_who_cannot_be_slowed_down_is_passed_to_the_next_step_at_once_and_it_is_said_why(next_one: str) -> None:
    scene = Scene(steps=(SLOW, Step(next_one, 1.0), Step("kill")), slowed="it is not all of a cgroup").until(0.1)
    [trouble] = scene.told(Trouble)
    assert trouble.text == "rule low: body is not slowed down: it is not all of a cgroup"
    assert not scene.told(Slowed)
    assert scene.sent() if next_one == "term" else scene.holds.still


def test_who_alone_cannot_be_slowed_down_is_left_alone() -> None:
    scene = Scene(steps=(SLOW,), slowed="it is at a limit of its own already").until(0.1)
    assert scene.done and not scene.sent() and scene.kinds() == ["Trouble"]
    # Otherwise the rule, which still holds, would try the same one again at each look.
    assert scene.kept() == {7} == scene.kept(59.0) and not scene.kept(61.0)
    kills = scene.ladder.policy.rules[0]
    assert not scene.ladder.passed_over(kills, scene.processes, scene.world.now)[0]


def test_where_the_kernel_refuses_it_the_next_step_comes_at_once() -> None:
    scene = Scene(steps=LADDER).until(0.2)
    scene.slows.all[0].refused = "memory.high: Invalid argument"
    scene.until(0.3)
    assert eased(scene) == (0.21, "it cannot be (memory.high: Invalid argument)") and scene.sent()
    assert not scene.kept(), "there are other steps"


def test_who_ends_while_it_is_slowed_is_noticed() -> None:
    scene = Scene(Body(7, leaves=1.0), steps=LADDER).until(2.0)
    assert scene.done and eased(scene) == (1.0, "it has ended") and scene.told(Died) and not scene.sent()


def test_a_more_urgent_rule_takes_it_over() -> None:
    scene = Scene(steps=LADDER).until(1.0)
    scene.states[0] = FIRED
    scene.until(1.1)
    assert [one.signal for one in scene.told(Signalled)] == ["SIGKILL"] and eased(scene) == (1.01, "it ends")


def test_a_more_urgent_rule_about_somebody_else_does_not_wait_for_it() -> None:
    scene = Scene(steps=LADDER)
    urgent, low = scene.ladder.policy.rules
    scene.ladder.policy = Policy("p", (replace(urgent, scope=scope_of("/*")), low))
    scene.until(1.0)
    scene.states[0], scene.about = FIRED, ("/b",)
    scene.until(1.1)
    assert scene.done and not scene.sent() and eased(scene) == (1.01, "rule urgent is more urgent")


def test_when_the_guard_ends_it_is_slowed_no_more() -> None:
    scene = Scene(steps=LADDER).until(1.0)
    scene.ladder.close()
    assert eased(scene) == (1.0, "okoomer ends") and not scene.sent()


def test_it_stays_slow_while_it_is_paused_and_asked_about() -> None:
    scene = Scene(Body(7, on_term=NEVER), steps=(SLOW, Step("pause", 1.0), Step("ask", 5.0), Step("kill"))).until(5.0)
    assert scene.slows.slowed and scene.holds.still and scene.ladder.questions()
    scene.until(9.5)
    assert eased(scene) == (9.0, "it ends") and scene.holds.ends == ["released"]


@pytest.mark.parametrize(
    ("word", "why"), [(RESUME, "user 1000 wants it"), (LIMIT, "it gets a ceiling"), (END, "it ends")]
)
def test_an_answer_ends_it(word: str, why: str) -> None:
    scene = Scene(steps=(SLOW, Step("ask", 5.0), Step("kill"))).until(4.0)
    assert scene.answer(word) == "ok"
    assert eased(scene) == (4.0, why)
    if word == LIMIT:
        kinds = scene.kinds()
        assert kinds.index("Eased") < kinds.index("Limited"), "a ceiling is not taken for our own limit"


def test_what_slows_is_made_once_and_only_for_a_policy_that_wants_it() -> None:
    scene, made = Scene(steps=LADDER), []
    asking, slowing = scene.ladder.asking, scene.slows
    asking.slows, asking.slowing = None, lambda: made.append(1) or slowing
    rule = scene.ladder.policy.rules[0]
    asking.adopt(Policy("p", (rule,)))
    assert not made and not pauses(Policy("p", (rule,))) and asking.slowed is None
    slows = Policy("p", (rule, replace(rule, steps=(Step("warn"), SLOW))))
    assert pauses(slows), "somebody has to look after what has to be undone"
    asking.adopt(slows)
    asking.adopt(slows)
    assert made == [1] and asking.slowed


def test_a_second_time_it_is_slowed_anew() -> None:
    scene = Scene(steps=(SLOW, Step("slow", 2.0, amount=Amount(0.5, True)), Step("kill"))).until(4.0)
    assert [one.cpu for one in scene.told(Slowed)] == [0.0, 0.5] and eased(scene) == (3.0, "it is slowed down anew")
