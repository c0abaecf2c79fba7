"""The engine on rules about cgroups, on traces written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.facts import Cgroup, Snapshot
from okoomer.policy.engine import FIRED, HOLDING, QUIET, SCOPE_GLANCE, Engine
from okoomer.policy.judge import Judge
from okoomer.policy.model import And, Comparison, Held, Not, Or, Policy, Rule, Step
from okoomer.record import replace
from okoomer.units import GIB
from tests.unit.cgroups_at import (
    OTHERS,
    at,
    averages,
    below,
    cgroup,
    policy,
    rule,
    sized,
    somewhere,
    stalls,
    states,
    verdicts,
)  # fmt: skip

if TYPE_CHECKING:
    from okoomer.policy.judge import Node, State
    from okoomer.policy.places import Track

WARN = (Step("warn"),)


def engine(*rules: Rule) -> Engine:
    return Engine(policy(*rules))


def paths(verdict: object) -> str:
    target = getattr(verdict, "target", None)
    return target.path if target else ""


# --- each cgroup by itself ----------------------------------------------------------------------------------


def test_who_is_below_the_threshold_does_not_hide_who_is_above() -> None:
    masked = engine(rule(averages(0.4)))
    found = masked.step(at(0, cgroup("b", 1, average=0.3), cgroup("a", 2, average=0.5), cgroup("c", 3, average=0.0)))
    assert (found.act, paths(found), found.rules[0].target) == (0, "/apps/a", "/apps/a")
    assert found.rules[0].fired == ("/apps/a",)
    assert found.rules[0].values == (("cgroup.psi.memory.full.avg10", 0.5),)


def test_time_that_one_cgroup_was_above_does_not_count_for_the_next() -> None:
    held = engine(rule(Held(averages(0.4), 10.0)))
    first = [at(t, cgroup("a", 1, average=0.5), cgroup("b", 2)) for t in range(8)]
    second = [at(t, cgroup("a", 1), cgroup("b", 2, average=0.5)) for t in range(8, 19)]
    assert states(held, *first, *second) == [HOLDING] * 18 + [FIRED]


def test_each_cgroup_has_a_hold_of_its_own_also_in_any() -> None:
    held = engine(rule(somewhere(Held(averages(0.4), 10.0)), scope=None))
    first = [at(t, cgroup("a", 1, average=0.5), cgroup("b", 2)) for t in range(8)]
    second = [at(t, cgroup("a", 1), cgroup("b", 2, average=0.5)) for t in range(8, 19)]
    assert states(held, *first, *second) == [HOLDING] * 18 + [FIRED]


def test_a_hold_around_any_counts_whoever_it_is() -> None:
    held = engine(rule(Held(somewhere(averages(0.4)), 3.0), scope=None))
    trace = [at(t, cgroup("a", 1, average=t % 2), cgroup("b", 2, average=1 - t % 2)) for t in range(4)]
    assert states(held, *trace) == [HOLDING] * 3 + [FIRED]


def test_a_cgroup_that_was_made_anew_under_its_name_begins_anew() -> None:
    held = engine(rule(Held(averages(0.4), 2.0)))
    assert states(held, *(at(t, cgroup("a", 1 if t < 2 else 9, average=0.5)) for t in range(5))) == [
        HOLDING, HOLDING, HOLDING, HOLDING, FIRED,
    ]  # fmt: skip


def test_a_later_cgroup_with_the_inode_of_one_that_is_gone_begins_anew() -> None:
    held = engine(rule(Held(averages(0.4), 2.0)))
    assert states(held, *(at(t, cgroup("a" if t < 2 else "b", 1, average=0.5)) for t in range(4)))[-1] == HOLDING


def test_a_cgroup_that_has_vanished_never_acts() -> None:
    vanishing = engine(rule(averages(0.4), until=Comparison("mem.available", ">", 0.9, share=True), rest=5.0))
    assert paths(vanishing.step(at(0, cgroup("a", 1, average=0.9), cgroup("b", 2, average=0.5)))) == "/apps/a"
    gone = vanishing.step(at(6, cgroup("b", 2, average=0.5)))
    assert paths(gone) == "/apps/b" and gone.rules[0].fired == ("/apps/b",)
    nobody = vanishing.step(at(20))
    assert (nobody.act, nobody.rules[0].state, nobody.rules[0].target) == (None, QUIET, "")


def test_what_was_to_be_read_and_could_not_fires_for_nobody() -> None:
    lost = engine(rule(averages(0.4)), rule(Not(somewhere(averages(0.4))), "b", scope=None))
    assert lost.step(at(0, cgroup("a", 1, average=0.9))).rules[0].state == FIRED
    unread = lost.step(replace(at(1), scoped=()))
    assert [one.state for one in unread.rules] == [QUIET, QUIET]
    assert lost.step(at(2)).rules[1].state == FIRED  # there is nobody


# --- first looks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "field"),
    [
        (Comparison("cgroup.scan", ">", 0.0, over=30.0), "scan"),
        (Comparison("cgroup.refault", ">", 0.0, over=1.0), "refault"),
        (Comparison("cgroup.io.cost", ">", 0.0, over=1.0), "io_cost"),
        (Not(Comparison("cgroup.scan", "<=", 0.0, over=1.0)), "scan"),
    ],
)
def test_what_a_cgroup_did_before_the_first_look_does_not_count(condition: Comparison, field: str) -> None:
    flows = engine(rule(condition))
    readings = (10**9, 10**9, 2 * 10**9)
    assert states(flows, *(at(t, cgroup("a", 1, **{field: value})) for t, value in enumerate(readings))) == [
        QUIET, QUIET, FIRED,
    ]  # fmt: skip


def test_a_cgroup_that_was_made_anew_has_no_flow_from_the_difference_to_the_old_one() -> None:
    flows = engine(rule(Comparison("cgroup.scan", ">", 0.0, over=1.0)))
    assert states(flows, at(0, cgroup("a", 1, scan=5)), at(1, cgroup("a", 2, scan=9000))) == [QUIET, QUIET]


def test_a_stall_after_a_long_standstill_is_seen_at_its_full_height() -> None:
    stalled = engine(rule(stalls(0.35)))
    calm = [at(t / 10, cgroup("a", 1, total=7.0)) for t in range(1000)]
    assert set(states(stalled, *calm)) == {QUIET}
    assert states(stalled, at(100.0, cgroup("a", 1, total=7.3)), at(100.1, cgroup("a", 1, total=7.4))) == [QUIET, FIRED]


def test_stalling_at_a_limit_of_its_own_does_not_count() -> None:
    stalled = engine(rule(stalls(0.5, metric="cgroup.stall.full")))
    limited = [at(t, cgroup("a", 1, total=float(t), left=0)) for t in range(5)]
    assert set(states(stalled, *limited)) == {QUIET}
    free = [at(t, cgroup("a", 1, total=float(t), left=GIB)) for t in range(5, 8)]
    assert states(stalled, *free) == [QUIET, FIRED, FIRED]
    frozen = [at(t, cgroup("a", 1, total=float(t), left=GIB, frozen=True)) for t in range(8, 11)]
    assert states(stalled, *frozen)[1:] == [QUIET, QUIET]


def test_a_suspend_ends_the_holds_and_windows_of_cgroups_but_not_what_has_fired() -> None:
    held = engine(rule(Held(averages(0.4), 1.0)))
    assert states(held, at(0, cgroup("a", 1, average=0.5)), at(1.5, cgroup("a", 1, average=0.5), asleep=9)) == [
        HOLDING, HOLDING,
    ]  # fmt: skip
    flows = engine(rule(stalls(0.5)))
    trace = [at(0, cgroup("a", 1)), at(1, cgroup("a", 1, total=1.0)), at(2, cgroup("a", 1, total=2.0), asleep=9)]
    assert states(flows, *trace) == [QUIET, FIRED, QUIET]


def test_thrashing_is_a_share_of_what_was_taken_of_the_cgroup() -> None:
    thrashing = engine(rule(Comparison("cgroup.thrash", ">", 0.4, over=1.0)))
    assert states(thrashing, at(0, cgroup("a", 1, refault=0, steal=0)), at(1, cgroup("a", 1, refault=5, steal=10))) == [
        QUIET, FIRED,
    ]  # fmt: skip


# --- who acts -----------------------------------------------------------------------------------------------


def test_the_act_is_about_the_worst_then_about_the_next() -> None:
    several = engine(rule(averages(0.4), rest=10.0))
    there = cgroup("a", 1, average=0.5), cgroup("b", 2, average=0.9), cgroup("c", 3, average=0.6)
    first, second = several.step(at(0, *there)), several.step(at(1, *there))
    assert [paths(first), paths(second)] == ["/apps/b", "/apps/c"]
    assert first.rules[0].fired == ("/apps/b", "/apps/c", "/apps/a")
    assert [paths(several.step(at(t, *there))) for t in (2, 3, 9.9, 10)] == ["/apps/a", "", "", "/apps/b"]


def test_equals_go_by_how_long_and_then_by_path() -> None:
    equal = engine(rule(averages(0.4), rest=0.0))
    equal.step(at(0, cgroup("c", 3, average=0.5)), acting=True)
    there = cgroup("b", 2, average=0.5), cgroup("a", 1, average=0.5), cgroup("c", 3, average=0.5)
    assert equal.step(at(1, *there)).rules[0].fired == ("/apps/c", "/apps/a", "/apps/b")


def test_all_that_have_fired_rest_when_an_act_ends() -> None:
    resting = engine(rule(averages(0.4), rest=5.0))
    there = cgroup("a", 1, average=0.5), cgroup("b", 2, average=0.9)
    assert paths(resting.step(at(0, *there))) == "/apps/b"
    resting.step(at(3, *there), acting=True)
    assert [paths(resting.step(at(t, *there))) for t in (4, 7.9, 8)] == ["", "", "/apps/b"]


def test_who_found_nobody_is_passed_over_alone_or_with_the_whole_rule() -> None:
    there = cgroup("a", 1, average=0.5), cgroup("b", 2, average=0.9)
    assert paths(engine(rule(averages(0.4))).step(at(0, *there), passed_over={(0, 2)})) == "/apps/a"
    assert engine(rule(averages(0.4))).step(at(0, *there), passed_over={0}).act is None


def test_a_more_urgent_rule_comes_first_however_bad_the_others_are() -> None:
    two = engine(rule(averages(0.8), "urgent"), rule(averages(0.1), "other"))
    found = two.step(at(0, cgroup("a", 1, average=0.79), cgroup("b", 2, average=0.81)))
    assert (found.act, paths(found)) == (0, "/apps/b")


def test_warnings_are_given_for_each_cgroup_and_once_an_episode() -> None:
    warning = engine(rule(averages(0.4), steps=WARN))
    trace = [
        at(0, cgroup("a", 1, average=0.5), cgroup("b", 2)),
        at(1, cgroup("a", 1, average=0.5), cgroup("b", 2, average=0.5)),
        at(2, cgroup("a", 1), cgroup("b", 2, average=0.5)),
        at(3, cgroup("a", 1, average=0.5), cgroup("b", 2, average=0.5)),
    ]
    found = [[(i, one.path) for i, one in v.warnings if one] for v in verdicts(warning, trace)]
    assert found == [[(0, "/apps/a")], [(0, "/apps/b")], [], [(0, "/apps/a")]]


def test_what_has_fired_for_a_cgroup_goes_on_until_that_one_is_well() -> None:
    hysteresis = engine(rule(averages(0.4), until=Comparison("cgroup.psi.memory.full.avg10", "<", 0.1)))
    trace = [at(t, cgroup("a", 1, average=share), cgroup("b", 2)) for t, share in enumerate((0.5, 0.2, 0.1, 0.05, 0.2))]
    assert states(hysteresis, *trace) == [FIRED, FIRED, FIRED, QUIET, QUIET]


def test_what_is_well_and_as_bad_as_before_fires_at_every_other_look_as_without_a_scope() -> None:
    still = cgroup("a", 1)
    each = rule(below(0.1), until=below(0.2))
    trace = [at(t, still, available=share) for t, share in enumerate((0.05, 0.05, 0.05, 0.05, 0.5, 0.05))]
    for one in (each, replace(each, scope=None)):
        assert states(engine(one), *trace) == [FIRED, QUIET, FIRED, QUIET, QUIET, FIRED]


def test_machine_and_cgroup_stand_in_one_condition() -> None:
    both = engine(rule(And((below(0.1), averages(0.4)))))
    hot = cgroup("a", 1, average=0.5)
    assert states(both, at(0, hot), at(1, hot, available=0.05), at(2, hot), at(3, cgroup("a", 1), available=0.05)) == [
        QUIET, FIRED, QUIET, QUIET,
    ]  # fmt: skip


def test_any_stands_beside_a_scope_and_is_about_its_own_cgroups() -> None:
    both = engine(rule(And((somewhere(averages(0.4), OTHERS), sized(2 * GIB)))))
    snapshot = at(0, cgroup("a", 1, memory=3 * GIB), cgroup("b", 2))
    other = Cgroup("/others/x", 7, memory_pressure=cgroup("x", 7, average=0.5).memory_pressure)
    found = both.step(replace(snapshot, scoped=(*snapshot.scoped, (OTHERS.text, (other,)))))
    assert found.rules[0].fired == ("/apps/a",)
    assert dict(found.rules[0].values) == {"cgroup.psi.memory.full.avg10": 0.5, "cgroup.memory": 3 * GIB}


def test_a_pattern_for_units_never_fires_by_itself() -> None:
    pattern = engine(rule(averages(0.4), managed="ManagedOOMSwap"))
    verdict = pattern.step(at(0, cgroup("a", 1, average=0.9)))
    assert (verdict.act, verdict.rules[0].state, verdict.soonest) == (None, QUIET, float("inf"))
    assert not pattern.wanted(at(1))


def test_a_cgroup_metric_that_is_about_no_cgroup_is_unknown() -> None:
    assert states(engine(rule(Or((averages(0.0), Not(averages(0.0)))), scope=None)), at(0), at(1)) == [QUIET, QUIET]


# --- another policy -----------------------------------------------------------------------------------------


def test_what_is_remembered_of_rules_that_stay_stays() -> None:
    held = engine(rule(Held(averages(0.4), 3.0)), rule(averages(0.9), "b"))
    hot = cgroup("a", 1, average=0.5)
    verdicts(held, (at(0, hot), at(2, hot)))
    held.adopt(policy(rule(averages(0.95), "c"), rule(Held(averages(0.4), 3.0))))
    assert [one.state for one in held.step(at(3, hot)).rules] == [QUIET, FIRED]
    held.adopt(policy(rule(Held(averages(0.4), 4.0))))
    assert states(held, at(4, hot), at(8, hot)) == [HOLDING, FIRED]


def test_a_new_window_on_cgroups_that_are_known_begins_with_the_next_look() -> None:
    adopting = engine(rule(averages(0.4)))
    verdicts(adopting, (at(t, cgroup("a", 1, total=t)) for t in range(3)))
    adopting.adopt(policy(rule(averages(0.4)), rule(stalls(0.5), "b")))
    found = [v.rules[1].state for v in verdicts(adopting, (at(t, cgroup("a", 1, total=t)) for t in range(3, 5)))]
    assert found == [QUIET, FIRED]


# --- how long nothing can happen ----------------------------------------------------------------------------


def soonest(one: Rule, *snapshots: Snapshot, triggers: bool = False) -> float:
    return verdicts(Engine(Policy("test", (one,)), triggers), snapshots)[-1].soonest


def test_cgroups_are_looked_at_each_second_since_there_may_be_a_new_one() -> None:
    assert soonest(rule(averages(0.4)), at(0, cgroup("a", 1))) == SCOPE_GLANCE
    assert soonest(rule(averages(0.4)), at(0)) == SCOPE_GLANCE
    assert soonest(rule(stalls(0.3)), at(0, cgroup("a", 1)), at(1, cgroup("a", 1))) == pytest.approx(0.3)
    assert soonest(rule(stalls(0.3)), at(0, cgroup("a", 1)), at(1, cgroup("a", 1)), triggers=True) == SCOPE_GLANCE


def test_cgroups_are_not_looked_at_as_long_as_the_machine_rules_it_out() -> None:
    far = soonest(rule(And((below(0.1), sized(2 * GIB)))), replace(at(0, available=0.9), scoped=()))
    assert far == pytest.approx(0.8 * 8 * GIB / (10 * GIB))


def test_what_one_cgroup_lacks_another_does_not_bring() -> None:
    # One is large, the other stalls: neither is about to be both.
    both = And((sized(2 * GIB), averages(0.4)))
    there = cgroup("a", 1, memory=3 * GIB), cgroup("b", 2, average=0.5, memory=GIB)
    assert soonest(rule(both), at(0, *there)) == pytest.approx(0.1)
    assert soonest(rule(somewhere(both), scope=None), at(0, *there)) == pytest.approx(0.1)


def test_a_hold_of_a_cgroup_is_over_when_its_time_has_passed() -> None:
    hot = cgroup("a", 1, average=0.5)
    assert soonest(rule(Held(averages(0.4), 5.0)), at(0, hot), at(4.5, hot, cgroup("b", 2))) == pytest.approx(0.5)
    assert soonest(rule(Held(averages(0.4), 5.0)), at(0, hot), at(5, hot, cgroup("b", 2))) == pytest.approx(6.0)


# --- what it costs ------------------------------------------------------------------------------------------


def test_nobody_is_judged_again_as_long_as_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    many = engine(*(rule(stalls(0.2 + n / 100), str(n), rest=n) for n in range(10)), rule(averages(0.4), "average"))
    crowd = tuple(cgroup(str(n), n + 1) for n in range(1000))
    verdicts(many, (at(t, *crowd) for t in range(3)))
    judged: list[str] = []
    truth = Judge.truth

    def counted(self: Judge, node: Node, state: State, track: Track | None) -> bool | None:
        judged.append(state.path)
        return truth(self, node, state, track)

    monkeypatch.setattr(Judge, "truth", counted)
    verdicts(many, (at(t, *crowd) for t in range(3, 6)))
    verdicts(many, [at(6, *(cgroup(str(n), n + 1) for n in range(1000)))])  # others, with the same readings
    assert judged == []
    verdicts(many, [at(7, *crowd[:500], cgroup("500", 501, total=0.1), *crowd[501:])])
    assert judged == ["/apps/500"] * 11
