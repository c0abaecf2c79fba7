"""The engine on traces written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.facts import Memory, Paging, Pressure, Snapshot, Stall, Swap
from okoomer.policy.engine import CLOSELY, FILL_RATE, FIRED, GLANCE, HOLDING, QUIET, Engine
from okoomer.policy.model import And, Comparison, Held, Not, Or, Policy, Rule, Step
from okoomer.record import replace

if TYPE_CHECKING:
    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Condition

MIB, GIB = 1024**2, 1024**3
WARN = (Step("warn"),)


def at(
    time: float, available: float = 0.5, stalled: float | None = None, asleep: float = 0.0, swap: Swap | None = None
) -> Snapshot:
    """A machine of 8 GiB with a share of it available and so many seconds stalled in all."""
    line = None if stalled is None else Stall(0.0, 0.0, 0.0, stalled)
    return Snapshot(
        time,
        Memory(8 * GIB, 0, int(8 * GIB * available)),
        swap or Swap(),
        memory_pressure=Pressure(line, line) if line else None,
        asleep=asleep,
    )


def below(share: float) -> Comparison:
    return Comparison("mem.available", "<", share, share=True)


def above(share: float) -> Comparison:
    return Comparison("mem.available", ">", share, share=True)


def stalls(share: float, over: float) -> Comparison:
    return Comparison("psi.memory.full", ">", share, over=over)


LOW = below(0.1)


def engine(*rules: Rule) -> Engine:
    return Engine(Policy("test", rules))


def rule(when: Condition, name: str = "a", until: Condition | None = None, rest: float = 0.0, **more: object) -> Rule:
    return replace(Rule(name, when, "as written", until=until, rest=rest), **more)


def states(engine: Engine, *snapshots: Snapshot) -> list[str]:
    """The states of the first rule."""
    return [engine.step(snapshot).rules[0].state for snapshot in snapshots]


def last(engine: Engine, *snapshots: Snapshot) -> Verdict:
    *before, now = snapshots
    for snapshot in before:
        engine.step(snapshot)
    return engine.step(now)


# --- for ----------------------------------------------------------------------------------------------------


def test_a_hold_fires_when_its_time_has_passed_and_not_before() -> None:
    held = engine(rule(Held(LOW, 1.0)))
    assert states(held, at(0, 0.05), at(0.999, 0.05), at(1.0, 0.05), at(2.0, 0.05), at(2.1, 0.5)) == [
        HOLDING, HOLDING, FIRED, FIRED, QUIET,
    ]  # fmt: skip


def test_a_hold_begins_anew_after_a_break() -> None:
    held = engine(rule(Held(LOW, 1.0)))
    assert states(held, at(0, 0.05), at(0.9, 0.5), at(1.0, 0.05), at(1.9, 0.05), at(2.0, 0.05))[1:] == [
        QUIET, HOLDING, HOLDING, FIRED,
    ]  # fmt: skip


def test_a_hold_of_what_is_not_offered_begins_when_it_appears() -> None:
    held = engine(rule(Held(Comparison("psi.memory.full.avg10", ">=", 0.0), 1.0)))
    assert states(held, at(0), at(5), at(6, stalled=0.0), at(7, stalled=0.0)) == [QUIET, QUIET, HOLDING, FIRED]


def test_a_hold_in_a_later_part_goes_on_while_an_earlier_part_decides() -> None:
    both = engine(rule(And((above(0.2), Held(below(0.5), 1.0)))))
    assert states(both, at(0, 0.1), at(1.0, 0.3)) == [HOLDING, FIRED]


def test_not_held_is_true_until_it_is() -> None:
    assert states(engine(rule(Not(Held(LOW, 1.0)))), at(0, 0.05), at(1, 0.05), at(2, 0.5)) == [FIRED, QUIET, FIRED]


# --- until --------------------------------------------------------------------------------------------------


def test_what_has_fired_goes_on_until_the_machine_is_well() -> None:
    hysteresis = engine(rule(LOW, until=above(0.2)))
    shares = (0.15, 0.05, 0.15, 0.2, 0.21, 0.15)
    assert states(hysteresis, *(at(i, share) for i, share in enumerate(shares))) == [
        QUIET, FIRED, FIRED, FIRED, QUIET, QUIET,
    ]  # fmt: skip


def test_a_hold_in_until_begins_anew_in_each_episode() -> None:
    patient = engine(rule(stalls(0.5, 1.0), until=Held(above(0.2), 5.0)))
    quiet = [at(0, 0.1, 0), at(1, 0.1, 0)]
    first = [at(2, 0.3, 1.0), at(7, 0.3, 1.0)]
    broken = [at(8, 0.1, 1.0), at(20, 0.1, 1.0)]
    second = [at(21, 0.3, 2.0), at(22, 0.3, 2.0), at(25.9, 0.3, 2.0), at(26, 0.3, 2.0)]
    found = states(patient, *quiet, *first, *broken, *second)
    assert found == [QUIET, QUIET, FIRED, QUIET, QUIET, QUIET, FIRED, FIRED, FIRED, QUIET]


def test_a_hold_in_until_does_not_show_as_holding() -> None:
    assert states(engine(rule(LOW, until=Held(above(0.2), 5.0))), at(0, 0.5), at(1, 0.5)) == [QUIET, QUIET]


# --- who acts -----------------------------------------------------------------------------------------------


def test_the_first_rule_that_has_fired_acts() -> None:
    two = engine(rule(below(0.05), "urgent"), rule(LOW, "low"))
    assert last(two, at(0, 0.5)).act is None
    assert last(two, at(1, 0.07)).act == 1
    assert last(two, at(2, 0.01)).act == 0


def test_a_rule_rests_from_when_it_acts() -> None:
    resting = engine(rule(LOW, rest=2.0))
    assert [resting.step(at(t, 0.05)).act for t in (0, 1, 1.9, 2.0, 3.9, 4.0)] == [0, None, None, 0, None, 0]


def test_rests_begin_when_an_act_ends() -> None:
    resting = engine(rule(LOW, rest=2.0))
    assert resting.step(at(0, 0.05)).act == 0
    for time in range(1, 11):
        assert resting.step(at(time, 0.05), acting=True).act is None
    assert [resting.step(at(t, 0.05)).act for t in (10.1, 11.9, 12.0)] == [None, None, 0]


def test_nothing_acts_while_an_act_is_in_flight() -> None:
    two = engine(rule(below(0.05), "urgent"), rule(LOW, "low"))
    assert two.step(at(0, 0.01), acting=True).act is None


def test_a_rule_that_only_warns_blocks_no_other() -> None:
    both = engine(rule(LOW, "early", steps=WARN), rule(LOW, "low"))
    verdict = both.step(at(0, 0.05))
    assert (verdict.act, verdict.warnings) == (1, ((0, None),))


def test_a_warning_without_rest_is_given_once_an_episode_also_during_an_act() -> None:
    warning = engine(rule(LOW, steps=WARN))
    found = [
        warning.step(at(t, share), acting=acting).warnings
        for t, share, acting in ((0, 0.05, True), (9, 0.05, False), (10, 0.5, False), (11, 0.05, False))
    ]
    assert found == [((0, None),), (), (), ((0, None),)]


def test_a_warning_with_a_rest_is_repeated_that_often() -> None:
    warning = engine(rule(LOW, steps=WARN, rest=60.0))
    assert [bool(warning.step(at(t, 0.05)).warnings) for t in (0, 30, 59, 60, 61, 120)] == [1, 0, 0, 1, 0, 1]


# --- what is unknown, what is gone --------------------------------------------------------------------------


def test_without_swap_free_swap_is_nothing_of_nothing() -> None:
    some_left = Comparison("swap.free", "<=", 0.05, share=True)
    assert states(engine(rule(some_left)), at(0)) == [FIRED]
    assert states(engine(rule(some_left)), at(0, swap=Swap(GIB, GIB))) == [QUIET]


def test_what_this_machine_does_not_offer_is_neither_true_nor_false() -> None:
    unknown = stalls(0.5, 1.0)
    for condition in (unknown, Not(unknown), Held(unknown, 0.0), And((unknown, LOW)), Or((unknown, above(0.5)))):
        assert states(engine(rule(condition)), at(0, 0.05), at(1, 0.05)) == [QUIET, QUIET]
    assert states(engine(rule(Or((unknown, LOW)))), at(0, 0.05)) == [FIRED]
    assert states(engine(rule(Not(And((unknown, above(0.5)))))), at(0, 0.05)) == [FIRED]


def test_a_suspend_ends_holds_and_windows_but_not_what_has_fired() -> None:
    held = engine(rule(Held(LOW, 1.0)))
    assert states(held, at(0, 0.05), at(1.5, 0.05, asleep=100)) == [HOLDING, HOLDING]
    stalled = engine(rule(stalls(0.5, 1.0)))
    assert states(stalled, at(0, stalled=0), at(1, stalled=1), at(1.1, stalled=1.1, asleep=9)) == [QUIET, FIRED, QUIET]
    hysteresis = engine(rule(LOW, until=above(0.2)))
    assert states(hysteresis, at(0, 0.05), at(1, 0.15, asleep=9)) == [FIRED, FIRED]


def test_pressure_that_goes_away_leaves_no_stall_behind() -> None:
    assert states(engine(rule(stalls(0.5, 1.0))), at(0, stalled=0), at(1, stalled=1), at(1.1)) == [QUIET, FIRED, QUIET]


# --- windows ------------------------------------------------------------------------------------------------


def test_a_short_window_is_as_quick_beside_a_long_one_of_the_same_metric() -> None:
    both = engine(rule(stalls(0.4, 1.0), "short"), rule(stalls(0.9, 600.0), "long"))
    for tick in range(10_000):
        both.step(at(tick / 10, stalled=0.0))
    found = states(both, *(at(1000 + tick / 10, stalled=tick / 10) for tick in range(7)))
    assert found[-2:] == [FIRED, FIRED]
    assert FIRED not in found[:4]


def test_growth_counts_memory_and_swap_and_what_is_in_both_once() -> None:
    growing = engine(rule(Comparison("mem.growth", ">", GIB / 10, over=1.0)))
    last(growing, at(0, 0.5, swap=Swap(GIB, GIB)), at(1, 0.5, swap=Swap(GIB, GIB // 2)))
    assert growing.value("mem.growth", 1.0) == GIB / 2
    # Half of that is back in memory, or still there: in the swap cache.
    last(growing, at(2, 0.5, swap=Swap(GIB, GIB // 2, cached=GIB // 4)))
    assert growing.value("mem.growth", 1.0) == -GIB / 4


def paging(time: float, refault: int, steal: int) -> Snapshot:
    return replace(at(time), paging=Paging(refault_anon=refault // 2, refault_file=refault - refault // 2, steal=steal))


def test_thrashing_is_the_share_of_what_was_taken_that_is_wanted_back() -> None:
    thrashing = engine(rule(Comparison("vm.thrash", ">", 0.08, over=1.0)))
    assert states(thrashing, paging(0, 0, 0), paging(1, 4 * MIB, 100 * MIB), paging(2, 16 * MIB, 200 * MIB)) == [
        QUIET,
        QUIET,
        FIRED,
    ]
    assert thrashing.value("vm.thrash", 1.0) == pytest.approx(0.12)
    # A program that starts reads pages again that were taken long ago: nothing is taken now.
    assert states(thrashing, paging(3, 80 * MIB, 200 * MIB)) == [QUIET]
    # More may come back than is taken.
    last(thrashing, paging(4, 180 * MIB, 210 * MIB))
    assert thrashing.value("vm.thrash", 1.0) == 1.0


def test_what_comes_back_is_forgotten_with_the_suspend() -> None:
    thrashing = engine(rule(Comparison("vm.thrash", ">", 0.08, over=1.0)))
    last(thrashing, paging(0, 0, 0), replace(paging(1, MIB, MIB), asleep=9.0))
    assert thrashing.value("vm.thrash", 1.0) is None


def test_what_is_in_use_is_a_share_of_all_that_reclaim_decides_on() -> None:
    busy = engine(rule(And((Comparison("vm.busy", ">", 0.5, over=1.0), Comparison("vm.circle", ">", 0.5, over=1.0)))))
    for time, (stays, goes) in enumerate(((0, 0), (3, 7), (60, 20))):
        counts = Paging(
            scan_kswapd=900 * MIB * time, activated=stays * MIB, steal=goes * MIB // 2, swapout=goes * MIB // 2
        )
        last(busy, replace(at(time), paging=counts))
    assert busy.value("vm.busy", 1.0) == pytest.approx(57 / 70)
    assert busy.value("vm.circle", 1.0) == pytest.approx(57 / (8 * 1024))


def test_what_is_on_its_way_to_swap_is_no_file_that_is_written_and_may_be_there_at_once() -> None:
    pending = engine(rule(Comparison("mem.pending", "<", 0.01, share=True)))
    machine = at(0, 0.1, swap=Swap(8 * GIB, 7 * GIB, cached=200 * MIB))
    verdict = last(pending, replace(machine, memory=replace(machine.memory, writeback=GIB)))
    assert pending.value("mem.pending") == 200 * MIB
    assert verdict.soonest == CLOSELY


def test_flows_are_looked_at_more_closely_while_nobody_tells_of_a_stall() -> None:
    for triggers, soonest in ((True, GLANCE), (False, CLOSELY)):
        flow = engine(rule(Comparison("vm.thrash", ">", 0.5, over=1.0)))
        flow.triggers = triggers
        assert last(flow, paging(0, 0, 0), paging(1, MIB, 9 * MIB)).soonest == soonest


@pytest.mark.parametrize(("growth", "soonest"), [(0.0, GLANCE), (1 / 16, GLANCE), (1 / 4, CLOSELY), (1 / 2, CLOSELY)])
def test_what_grows_by_a_part_of_what_a_rule_asks_for_is_looked_at_closely(growth: float, soonest: float) -> None:
    grows = engine(rule(Comparison("mem.growth", ">", 64 * MIB, over=0.2)))
    grows.triggers = True
    step = growth * 64 * MIB / (8 * GIB) / 10
    assert last(grows, *(at(t / 10, 0.5 - t * step) for t in range(11))).soonest == soonest


def test_a_forecast_tells_when_all_is_gone() -> None:
    soon = engine(rule(Comparison("forecast.exhausted", "<", 10.0)))
    swap = Swap(8 * GIB, 8 * GIB)
    # 0.8 GiB a second of 16: below ten seconds once less than 8 are left.
    found = states(soon, *(at(t / 4, 1 - t / 40, swap=swap) for t in range(40)), at(10, 0.0, swap=Swap(8 * GIB)))
    assert found[:39] == [QUIET] * 39
    assert found[-1] == FIRED


def test_a_forecast_of_a_machine_that_recovers_is_never() -> None:
    soon = engine(rule(Comparison("forecast.exhausted", "<", 1e12)))
    assert FIRED not in states(soon, *(at(t / 4, 0.1 + t / 100) for t in range(40)))
    assert soon.value("forecast.exhausted") == float("inf")


# --- how long nothing can happen ----------------------------------------------------------------------------


def test_soonest_is_how_long_the_fastest_fall_would_take() -> None:
    assert last(engine(rule(LOW)), at(0, 0.6)).soonest == pytest.approx(0.5 * 8 * GIB / FILL_RATE)
    assert last(engine(rule(Held(LOW, 3.0))), at(0, 0.6)).soonest == pytest.approx(3 + 0.5 * 8 * GIB / FILL_RATE)
    assert last(engine(rule(Held(LOW, 3.0))), at(0, 0.05), at(1, 0.05)).soonest == pytest.approx(2.0)
    assert last(engine(rule(LOW)), at(0, 0.05)).soonest == float("inf")  # it has fired, nothing is to come


def test_a_stall_takes_as_long_as_its_share_of_the_window() -> None:
    stalled = engine(rule(stalls(0.5, 4.0)))
    assert last(stalled, at(0, stalled=0), at(4, stalled=1)).soonest == pytest.approx(1.0)


def test_triggers_tell_of_stalls_so_nobody_has_to_look() -> None:
    stalled = Engine(Policy("test", (rule(stalls(0.5, 4.0)),)), triggers=True)
    assert last(stalled, at(0, stalled=0), at(4, stalled=1)).soonest == float("inf")


def test_nothing_can_happen_on_account_of_what_is_not_offered() -> None:
    for condition in (stalls(0.5, 1.0), Not(Held(stalls(0.5, 1.0), 1.0)), And((LOW, stalls(0.5, 1.0)))):
        assert last(engine(rule(condition)), at(0), at(1)).soonest == float("inf")


def test_not_that_is_true_already_does_not_put_off_what_stands_beside_it() -> None:
    never_well = Not(Held(above(0.9), 5.0))
    verdict = last(engine(rule(And((never_well, LOW)))), at(0, 0.1001))
    assert 0 < verdict.soonest < 1e-3 < GLANCE


def test_a_rule_that_only_warns_and_has_warned_is_waited_for_by_nobody() -> None:
    assert last(engine(rule(LOW, steps=WARN)), at(0, 0.05)).soonest == float("inf")
