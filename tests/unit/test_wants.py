"""What of the cgroups is wanted: which fields at all, and at which instants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.policy.engine import FIRED, QUIET, Engine
from okoomer.policy.model import And, Comparison, Held, Not, Or, Policy
from okoomer.policy.wants import Want, wants_of
from okoomer.record import replace
from okoomer.units import GIB
from tests.unit.cgroups_at import (
    APPS,
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
    verdicts,
)

if TYPE_CHECKING:
    from okoomer.facts import Cgroup, Snapshot
    from okoomer.policy.model import Condition


def bare(time: float, available: float = 0.5, total: float | None = None) -> Snapshot:
    return replace(at(time, available=available, total=total), scoped=())


def wants(condition: Condition, *snapshots: Snapshot, then: Snapshot, until: Condition | None = None) -> bool:
    """Whether the scope is wanted at an instant, after some others."""
    engine = Engine(policy(rule(condition, until=until)))
    verdicts(engine, snapshots)
    return APPS.text in engine.wanted(then)


def calm(*there: Cgroup, until: int = 10) -> list[Snapshot]:
    return [at(t, *there, total=3.0) for t in range(until)]


# --- which fields -------------------------------------------------------------------------------------------


def test_of_each_scope_the_fields_of_all_its_conditions_are_wanted_once() -> None:
    both = policy(
        rule(And((sized(GIB), below(0.1))), until=Not(averages(0.1))),
        rule(Held(somewhere(Or((Comparison("cgroup.thrash", ">", 0.5, over=1.0), sized(1))), OTHERS), 1.0), "b", None),
        rule(And((averages(0.2), somewhere(Comparison("cgroup.dying", ">", 9.0)))), "c"),
    )
    assert wants_of(both) == (
        Want(APPS, frozenset(("memory", "memory_pressure", "dying"))),
        Want(OTHERS, frozenset(("refault", "steal", "memory"))),
    )


def test_a_scope_without_conditions_about_cgroups_is_wanted_and_a_pattern_is_not() -> None:
    assert wants_of(policy(rule(below(0.1)))) == (Want(APPS, frozenset()),)
    assert wants_of(policy(rule(averages(0.1), managed="ManagedOOMSwap"))) == ()
    assert wants_of(policy(rule(below(0.1), scope=None))) == ()


# --- at which instants --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "well", "ill"),
    [
        (And((below(0.1), sized(GIB))), False, True),
        (Held(And((below(0.1), averages(0.5))), 5.0), False, True),
        (Or((below(0.1), sized(GIB))), True, True),
        (Not(Or((Not(below(0.1)), sized(GIB)))), False, True),
        # What counts from before memory was short has to be known then.
        (And((below(0.1), Held(sized(GIB), 5.0))), True, True),
        (And((below(0.1), Comparison("cgroup.growth", ">", 1.0, over=1.0))), True, True),
    ],
)
def test_cgroups_are_read_when_the_machine_does_not_rule_the_rule_out(
    condition: Condition, well: bool, ill: bool
) -> None:
    assert wants(condition, then=bare(0, available=0.5)) == well
    assert wants(condition, then=bare(0, available=0.05)) == ill


def test_machine_stalls_rule_out_as_levels_do() -> None:
    condition = And((Comparison("psi.memory.some", ">", 0.5, over=1.0), sized(GIB)))
    engine = Engine(policy(rule(condition)))
    found = []
    for time, total in ((0, 0.0), (1, 0.1), (2, 0.9), (3, 0.9)):
        found.append(bool(engine.wanted(bare(time, total=total))))
        engine.step(at(time, cgroup("a", 1, memory=GIB // 2), total=total))
    assert found == [False, False, True, False]


@pytest.mark.parametrize(
    "condition",
    [stalls(0.2), And((stalls(0.2), sized(GIB))), averages(0.2), Held(averages(0.2), 5.0), somewhere(stalls(0.2))],
)
def test_nobody_is_read_for_stalls_while_nothing_stalls_on_the_whole_machine(condition: Condition) -> None:
    there = cgroup("a", 1, total=2.0), cgroup("b", 2, total=0.0, average=0.1)
    assert wants(condition, then=bare(0, total=3.0))
    assert wants(condition, *calm(*there, until=2), then=bare(2, total=3.1))
    assert not wants(condition, *calm(*there), then=bare(10, total=3.0))
    assert wants(condition, *calm(*there), then=bare(10, total=3.1))
    assert wants(condition, *calm(*there), then=bare(10))  # nobody can say
    engine = Engine(replace(policy(rule(condition)), pressure="/elsewhere"))
    verdicts(engine, calm(*there))
    assert engine.wanted(bare(10, total=3.0))


def test_an_average_goes_on_rising_after_the_stall() -> None:
    there = cgroup("a", 1)
    assert wants(averages(0.2), *calm(there, until=3), then=bare(3, total=3.0))
    assert not wants(averages(0.2), *calm(there, until=6), then=bare(6, total=3.0))
    assert wants(averages(0.2), *calm(cgroup("a", 1, average=0.5)), then=bare(10, total=3.0))


def test_a_window_is_read_until_it_has_forgotten_the_stall() -> None:
    trace = [at(t, cgroup("a", 1, total=min(t, 2)), total=float(min(t, 2))) for t in range(8)]
    assert wants(stalls(0.9, over=3.0), *trace[:4], then=bare(4, total=2.0))
    assert not wants(stalls(0.9, over=3.0), *trace, then=bare(8, total=2.0))


@pytest.mark.parametrize(
    "condition", [Not(stalls(0.2)), Or((stalls(0.2), sized(GIB))), Comparison("cgroup.scan", ">", 0.0, over=1.0)]
)
def test_cgroups_are_read_for_what_can_come_true_without_a_stall(condition: Condition) -> None:
    trace = [replace(one, paging=None) for one in calm(cgroup("a", 1, scan=3))]
    assert wants(condition, *trace, then=replace(bare(10, total=3.0), paging=None))


def test_nobody_is_read_for_scans_while_nothing_is_scanned_on_the_whole_machine() -> None:
    scans = Comparison("cgroup.scan", ">", 0.0, over=3.0)
    assert not wants(scans, *calm(cgroup("a", 1, scan=3)), then=bare(10, total=4.0))


def test_what_has_fired_or_holds_for_somebody_is_read_whatever_the_machine_is_like() -> None:
    hot = cgroup("a", 1, average=0.9)
    until = Comparison("mem.available", ">", 0.9, share=True)
    assert wants(And((below(0.1), averages(0.5))), at(0, hot, available=0.05), then=bare(1), until=until)
    assert not wants(And((below(0.1), averages(0.5))), at(0, hot), then=bare(1), until=until)
    assert wants(Held(averages(0.5), 60.0), *calm(hot), then=bare(10, total=3.0))


def test_one_rule_that_wants_a_scope_is_enough() -> None:
    engine = Engine(policy(rule(And((below(0.1), sized(1)))), rule(averages(0.9), "b", OTHERS)))
    assert engine.wanted(bare(0)) == {OTHERS.text}
    assert engine.wanted(bare(1, available=0.01)) == {APPS.text, OTHERS.text}


def test_what_is_seen_after_a_time_in_which_nobody_was_read_counts_in_full() -> None:
    engine = Engine(Policy("test", (rule(stalls(0.35)),)))
    verdicts(engine, calm(cgroup("a", 1, total=2.0)))
    verdicts(engine, [bare(t / 10, total=3.0) for t in range(100, 200)])
    found = verdicts(
        engine, (at(20.0, cgroup("a", 1, total=2.3), total=3.3), at(20.1, cgroup("a", 1, total=2.4), total=3.4))
    )
    assert [one.rules[0].state for one in found] == [QUIET, FIRED]
