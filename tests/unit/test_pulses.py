"""A pause that is no more than that, a few times a minute: weak evidence is enough for it, and who goes on hurting is
asked about."""

from __future__ import annotations

from _signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING, ClassVar, cast

import pytest

from okoomer.events.model import BY_RULE, Died, Paused, Question, Recovered, Resumed, Stuck
from okoomer.facts import Memory, Process, Snapshot, Swap
from okoomer.guard.act import Act
from okoomer.guard.asking import GLANCE, LONGER, weighed
from okoomer.guard.pulses import ASIDE, CLOSELY, FEW, LEAST, LONGEST, MOST, PATIENCE, WEARY, Pulses, repeat
from okoomer.policy.engine import FIRED, QUIET
from okoomer.policy.model import And, Comparison, Policy, Rule, Step
from okoomer.policy.tentative import ANEW
from okoomer.record import replace
from tests.unit.bodies import NEVER, Body
from tests.unit.stands import BEFORE, FREED, LADDER, LOW, NEED, Scene

if TYPE_CHECKING:
    from okoomer.guard.room import Room

PULSE = (Step("pause", 1.5, times=2), *LADDER)


def again(scene: Scene, at: float) -> Scene:
    """The rule fires once more."""
    assert scene.until(at).done
    scene.begin()
    return scene


@pytest.mark.parametrize("state", [FIRED, QUIET])
def test_the_unit_runs_again_whatever_the_rule_says(state: str) -> None:
    scene = Scene(steps=PULSE).until(1)
    scene.states = [QUIET, state]
    scene.available = BEFORE + NEED  # and however much there is
    assert not scene.until(1.49).done and scene.kinds() == ["Paused"]
    assert scene.until(1.5).done
    assert scene.kinds() == ["Paused", "Resumed"] and scene.sent() == []
    assert scene.told(Paused)[0].by == f"{BY_RULE}low" and scene.told(Resumed)[0].seconds == pytest.approx(1.5)


def test_only_who_has_been_paused_so_often_one_after_the_other_is_asked_about() -> None:
    scene = again(again(Scene(steps=PULSE), 2), 4).until(5.2)
    assert scene.kinds() == ["Paused", "Resumed", "Paused", "Resumed", "Paused", "Question"]
    assert scene.told(Question)[0].paused
    assert scene.until(40).sent() == [(15.0, SIGTERM), (18.0, SIGKILL)]


def test_where_nothing_follows_the_unit_is_left_to_other_rules_for_a_while() -> None:
    scene = again(again(Scene(steps=PULSE[:1]), 2), 4)
    assert scene.done and scene.kinds() == ["Paused", "Resumed"] * 2
    urgent = scene.ladder.policy.rules[0]
    assert scene.kept() == {7} and scene.ladder.passed_over(urgent, scene.processes, 4.0)[0] == frozenset()
    assert not scene.ladder.asking.pulses.patient(4.0), "and they need not wait any more"


def test_where_a_long_pause_is_the_last_step_nobody_ends_by_it_and_it_comes_again() -> None:
    scene = again(again(Scene(steps=(*PULSE[:1], Step("pause", 30.0))), 2), 4)
    scene.states = [QUIET, QUIET]  # it stands still, so nothing shows what it did
    assert not scene.until(33.9).done
    assert scene.until(34).done and scene.sent() == [] and scene.kept() == frozenset()
    assert scene.told(Resumed)[-1].seconds == pytest.approx(30) and not scene.told(Recovered)
    assert not again(again(again(scene, 35), 37), 39).until(50).done
    scene.available = BEFORE + NEED
    assert scene.until(50.1).done and scene.told(Recovered) == [Recovered("low", asked=False)]


def test_who_has_not_had_to_be_paused_once_more_for_a_while_begins_anew() -> None:
    scene = again(again(Scene(steps=PULSE), 2), 2 + ANEW).until(3.5 + ANEW)
    assert scene.done and not scene.told(Question)
    # That was the first one again, and there is room for it.
    assert again(again(scene, 8), 10).until(11.5).kinds()[-2:] == ["Paused", "Question"]


def test_another_unit_is_another_matter() -> None:
    scene = Scene(Body(7, on_term=NEVER), Body(8, on_term=NEVER), steps=PULSE)
    for time in (2, 4, 6):
        scene.processes = scene.processes[::-1]
        again(scene, time)
    assert not scene.until(7.6).told(Question)


def test_of_those_who_hurt_by_turns_one_stands_still_for_longer_once_moments_do_not_help() -> None:
    scene = Scene(Body(7, on_term=NEVER), Body(8, on_term=NEVER), steps=PULSE)
    for time in (4, 8):
        scene.processes = scene.processes[::-1]
        again(scene, time)
    assert scene.until(9.6).done and not scene.told(Question)
    assert again(scene, 12).until(13.6).told(Question)


def test_where_nothing_else_comes_moments_are_all_there_is() -> None:
    scene = again(again(again(Scene(steps=PULSE[:1]), 4), 8), 12).until(14)
    assert scene.done and [event.by for event in scene.told(Paused)] == [f"{BY_RULE}low"] * 4


def test_a_pid_that_is_used_again_is_another_unit() -> None:
    scene = again(Scene(steps=PULSE), 2)
    assert scene.until(4).done
    scene.processes = [replace(scene.processes[0], started=99.0)]
    scene.begin()
    assert scene.until(5.6).done and not scene.told(Question)


def test_who_cannot_be_paused_is_left_alone_by_this_rule_for_a_while_and_nobody_is_asked() -> None:
    scene = Scene(steps=PULSE, able=False)
    assert scene.done and scene.sent() == []
    assert scene.told(Stuck) == [Stuck("low", "body", (7,), 0.0, "it cannot be paused")]
    ladder, (urgent, low) = scene.ladder, scene.ladder.policy.rules
    assert ladder.passed_over(low, scene.processes, ASIDE - 0.1) == ({7}, frozenset())
    assert ladder.passed_over(low, scene.processes, ASIDE + 0.1) == (frozenset(), frozenset())
    assert ladder.passed_over(urgent, scene.processes, 0.1) == (frozenset(), frozenset())
    assert ladder.keeps(low, 0.0) and not ladder.keeps(urgent, 0.0)  # that nobody is left is no news


def test_a_more_urgent_rule_takes_it_over_at_once() -> None:
    scene = Scene(steps=PULSE).until(0.5)
    scene.states = [FIRED, FIRED]
    scene.until(1)
    assert scene.sent() == [(0.51, SIGKILL)] and scene.holds.ends == ["released"]


def test_who_is_taken_over_by_a_rule_that_pauses_longer_is_not_let_go_after_a_moment() -> None:
    scene = Scene(steps=PULSE, urgent=(Step("term", 5.0), Step("kill"))).until(0.5)
    scene.states = [FIRED, FIRED]
    assert not scene.until(2).done and scene.sent() == [(0.51, SIGTERM)]


def test_who_ends_while_it_is_paused_has_ended() -> None:
    scene = Scene(Body(7, leaves=0.7), steps=PULSE).until(2)
    assert scene.done and isinstance(scene.events[-1], Died) and not scene.told(Recovered)


def test_where_nobody_can_be_paused_at_all_nobody_is_ended_for_it() -> None:
    scene = Scene(steps=PULSE)
    scene.until(1.6)
    scene.ladder.asking.holds = None
    scene.begin()
    assert scene.until(60).done and scene.sent() == []


def test_what_is_remembered_is_bounded_and_the_oldest_is_forgotten_first() -> None:
    pulses, rule = Pulses(), Rule("low", LOW, "", steps=PULSE)

    def act(pid: int) -> Act:
        return Act(0, rule, "x", [Process(pid, 1, "x", 1.0)], 0, 0)

    for pid in range(MOST + 1):
        pulses.note(act(pid), True, 0, pid / 100)
    assert not pulses.spent(act(0), 1, 1.0) and pulses.spent(act(1), 1, 1.0) and pulses.spent(act(MOST), 1, 1.0)
    crowd = act(7)
    crowd.beside = [Process(pid, 1, "x", 1.0) for pid in range(1000, 1000 + 2 * MOST)]
    pulses.note(crowd, True, 0, 1.0)
    assert len(pulses._past) == MOST and pulses.spent(act(1000 + FEW - 1), 1, 1.0)
    assert pulses.spent(act(7), 2, 1.0) and not pulses.spent(act(1000 + FEW), 1, 1.0)


def test_a_cgroup_is_known_by_its_inode() -> None:
    pulses, rule = Pulses(), Rule("low", LOW, "", steps=PULSE)

    def act(inode: int, pid: int = 7) -> Act:
        return Act(0, rule, "/a", [Process(pid, 1, "x", 1.0)], 0, 0, cgroup="/a", inode=inode)

    pulses.note(act(5), True, 0, 0.0)
    assert pulses.spent(act(5, pid=8), 1, 1.0) and not pulses.spent(act(6), 1, 1.0)
    pulses.note(act(6), False, 0, 0.0)
    assert pulses.unable.groups(1.0) == {6}


def test_others_make_room_in_the_first_of_them_and_the_unit_itself_in_all_that_follow() -> None:
    class Rooms:
        swept: ClassVar[list[float]] = []
        made: ClassVar[list[float]] = []

        def sweep(self, act: Act) -> None:
            self.swept.append(scene.world.now)

        def make(self, act: Act, since: float, now: float) -> None:
            self.made.append(now)

        def give_back(self, act: Act) -> None:
            pass

        def leave_off(self) -> None:
            pass

    scene = Scene(steps=PULSE)
    scene.ladder.asking.room = cast("Room", Rooms())
    again(again(scene, 2), 4).until(8)
    assert scene.told(Question)
    assert Rooms.swept and all(at < 2 for at in Rooms.swept)
    assert [at for at in Rooms.made if at < 4] and all(at > 2 for at in Rooms.made)
    assert [at for at in Rooms.made if at > 4]


def test_others_stand_still_with_it_but_only_for_a_moment() -> None:
    scene = Scene(Body(7, on_term=NEVER), Body(8, on_term=NEVER), steps=(Step("pause", 1.5, times=1), *LADDER))
    assert scene.until(2).done
    first, second = scene.processes
    for now in (70.0, 72.0):
        assert scene.until(now).done
        rule = scene.ladder.policy.rules[1]
        scene.ladder.begin(Act(1, rule, "a", [first], FREED, BEFORE, need=NEED, beside=[second]), now)
    scene.until(73.5)
    assert [event.pids for event in scene.told(Paused)] == [(7, 8), (7, 8), (7,)]
    assert [event.pids for event in scene.told(Question)] == [(7,)]
    scene.until(90)
    assert scene.world.bodies[7].signals and not scene.world.bodies[8].signals


def test_who_has_stood_still_with_another_has_been_paused_as_often() -> None:
    scene = Scene(Body(7, on_term=NEVER), Body(8, on_term=NEVER), steps=PULSE)
    first, second = scene.processes
    scene.until(70)
    rule = scene.ladder.policy.rules[1]
    for now, chosen, beside in ((70.0, first, [second]), (72.0, second, [first]), (74.0, second, [])):
        assert scene.until(now).done
        scene.ladder.begin(Act(1, rule, "a", [chosen], FREED, BEFORE, need=NEED, beside=beside), now)
    scene.until(75.5)
    assert [event.pids for event in scene.told(Paused)][-3:] == [(7, 8), (8, 7), (8,)]
    assert [event.pids for event in scene.told(Question)] == [(8,)]


# --- what waits for it ------------------------------------------------------------------------------------------


def test_rules_that_go_by_stalls_wait_for_what_comes_of_it_but_not_for_long() -> None:
    stall = Comparison("psi.memory.full", ">", 0.3, over=1.0)
    rules = (
        Rule("bytes", LOW, ""),
        Rule("stall", And((LOW, stall)), "", steps=(Step("kill"),)),
        Rule("moment", And((LOW, stall)), "", steps=PULSE),
    )
    asking = Scene(steps=PULSE).ladder.asking  # it has begun at 0
    policy = Policy("p", rules)
    assert asking.patient(policy, 1.0) == [1] and asking.patient(policy, PATIENCE) == []
    for now in (3.0, 6.0, 9.0, 12.5):
        asking.pulses.note(Act(0, rules[2], "x", [Process(9, 1, "x", 1.0)], 0, 0), True, 0, now)
    assert asking.patient(policy, LONGEST - 0.1) == [1] and asking.patient(policy, LONGEST) == []


def test_after_so_many_moments_they_wait_until_a_longer_pause_has_had_time_to_make_room() -> None:
    stall = Comparison("psi.memory.full", ">", 0.3, over=1.0)
    scene = again(again(Scene(steps=PULSE), 2), 4)
    asking, policy = scene.ladder.asking, Policy("p", (Rule("stall", stall, ""),))
    assert asking.patient(policy, 4 + WEARY - 0.1) == [0] and asking.patient(policy, 4 + WEARY) == []


def test_such_a_rule_takes_over_once_that_time_is_over_and_one_that_goes_by_bytes_at_once() -> None:
    stall = Comparison("psi.memory.full", ">", 0.3, over=1.0)
    for when, at in ((stall, PATIENCE), (LOW, 1.0)):
        scene = Scene(steps=(Step("pause", 60.0, times=1), *LADDER))
        first, second = scene.ladder.policy.rules
        scene.ladder.policy = Policy("p", (replace(first, when=when), second))
        scene.until(0.9)
        scene.states = [FIRED, FIRED]
        scene.until(8)
        assert scene.sent() == [(pytest.approx(at, abs=0.1), SIGKILL)]


# --- who is paused once more ------------------------------------------------------------------------------------


def moment(scene: Scene, held: list[int]) -> Scene:
    """The first pause of a unit that holds as much as is said then is over."""
    scene.ladder.asking.weigh = lambda act: held[0]
    return scene


def test_who_grows_on_is_paused_once_more_without_a_look_at_all_others() -> None:
    held = [100 << 20]
    scene = moment(Scene(Body(7, leaves=NEVER), steps=(Step("pause", 1.5, times=3), *LADDER)), held)
    assert scene.until(2).done
    scene.begin()  # now it is known what it held
    assert scene.until(4).done
    held[0] += LEAST
    assert repeat(scene.ladder, 1, BEFORE, 4.0)
    assert scene.until(5.5).done and [type(event) for event in scene.events] == [Paused, Resumed] * 3
    # It is the same room that is wanted, however much is there by now.
    held[0] += LEAST
    assert repeat(scene.ladder, 1, BEFORE + NEED // 2, 5.5)
    assert scene.ladder._act and scene.ladder._act.wanted == BEFORE + NEED


@pytest.mark.parametrize("what", ["does not grow", "is gone", "long ago", "another rule", "is to be kept"])
def test_otherwise_it_is_looked_for_anew(what: str) -> None:
    held = [0]
    scene = moment(Scene(steps=PULSE), held).until(2)
    held[0] = 0 if what == "does not grow" else 500 << 20
    scene.later = [] if what == "is gone" else scene.processes
    if what == "is to be kept":
        scene.ladder.asking.kept.note([7], 99.0, scene.processes)
    now = 2.0 + PATIENCE if what == "long ago" else 2.0
    assert not repeat(scene.ladder, 0 if what == "another rule" else 1, BEFORE, now)
    assert not scene.ladder.busy(now)


def test_while_somebody_may_have_to_be_paused_once_more_it_is_looked_at_often() -> None:
    pulses, rule = Pulses(), Rule("low", LOW, "", steps=PULSE)
    assert pulses.wait(1.0) == float("inf")
    pulses.note(Act(0, rule, "x", [Process(9, 1, "x", 1.0)], 0, 0), True, 0, 1.0)
    assert pulses.wait(1.0 + PATIENCE - 0.1) == CLOSELY and pulses.wait(1.0 + PATIENCE) == float("inf")


def seen(now: float, left: int, pending: int = 0) -> Snapshot:
    return Snapshot(now, Memory(1 << 30, 0, left, writeback=pending), Swap(1 << 30, 1 << 29, cached=pending))


@pytest.mark.parametrize(
    ("left", "grown", "pending", "now", "comes"),
    [
        (BEFORE - 1, LEAST, 0, 2.0, True),
        (BEFORE - 1, LEAST - 1, 0, 2.0, False),
        (BEFORE, LEAST, 0, 2.0, False),
        (BEFORE - 1, LEAST, 0, 1.6, False),
        (BEFORE - 1, LEAST, 0, PATIENCE, False),
        (BEFORE - 1, LEAST, 20 << 20, 2.0, False),
        # In half a second since it runs as much as it would have taken in all by then.
        (LEAST, LEAST, 0, 2.0, True),
        (LEAST + 1, LEAST, 0, 2.0, False),
    ],
    ids=[
        "it takes what little there is",
        "it does not grow",
        "there is room",
        "it has hardly run",
        "long ago",
        "much is on its way to swap",
        "it would take all of it in half a second",
        "it is in no hurry",
    ],
)
def test_who_takes_the_last_of_it_is_paused_once_more_before_the_rule_can_tell(
    left: int, grown: int, pending: int, now: float, comes: bool
) -> None:
    held = [100 << 20]
    scene = Scene(Body(7, leaves=NEVER), steps=(Step("pause", 1.5, times=3), *LADDER))
    ladder = scene.until(1.6).ladder
    rule = replace(ladder.policy.rules[1], rest=0.2)
    ladder.policy = replace(ladder.policy, rules=(ladder.policy.rules[0], rule))
    held[0], ladder.asking.weigh = weighed(ladder.asking.pulses._act), lambda act: held[0]  # type: ignore[arg-type]
    ladder.asking.pulses._act.rule = rule  # type: ignore[union-attr]
    held[0] += grown
    ladder.asking.pulses._level = max(BEFORE, left + (left >= LEAST))
    assert ladder.asking.again(ladder, seen(now, left, pending)) is comes and ladder.busy(now) is comes


def test_who_stands_still_or_was_never_paused_is_not_paused_once_more() -> None:
    scene = Scene(steps=PULSE)
    assert not scene.until(1).ladder.asking.again(scene.ladder, seen(1.0, 0))
    idle = Scene(steps=LADDER)
    assert not idle.ladder.asking.again(idle.ladder, seen(1.0, 0))


def test_a_moment_after_the_first_lasts_longer_as_long_as_room_is_lacking_but_not_by_much() -> None:
    def lasted(room_at: float) -> float:
        scene = again(Scene(steps=PULSE), 2)
        scene.ladder.asking.room = cast("Room", Rooms())
        while not scene.done:
            scene.available = BEFORE + NEED if scene.world.now >= 2 + room_at else BEFORE
            scene.until(scene.world.now + 0.01)
        return scene.world.now - 2

    class Rooms:
        def make(self, act: Act, since: float, now: float) -> None:
            pass

        def give_back(self, act: Act) -> None:
            pass

    assert lasted(room_at=1.0) == pytest.approx(1.5, abs=0.02)
    assert lasted(room_at=1.6) == pytest.approx(1.6, abs=GLANCE + 0.02)
    assert lasted(room_at=9.0) == pytest.approx(1.5 + LONGER, abs=0.02)
