"""The one word for why a rule acted."""

from __future__ import annotations

import pytest

from okoomer.policy.engine import Engine
from okoomer.policy.model import Amount, And, Comparison, Or
from okoomer.policy.reason import reason_of
from okoomer.record import replace
from okoomer.units import GIB
from tests.unit.cgroups_at import OTHERS, at, averages, below, cgroup, policy, rule, sized, somewhere

LEFT = Comparison("cgroup.left", "<", 0.01, share=True)


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (below(0.9), "low-memory"),
        (And((below(0.9), averages(0.4))), "low-memory-and-stall"),
        (Or((below(0.1), averages(0.4))), "stall"),
        (And((LEFT, sized(GIB // 2))), "cgroup-limit"),
        (sized(GIB // 2), "cgroup-size"),
        (Or((averages(0.95), sized(GIB // 2))), "cgroup-size"),
        (Comparison("cgroup.age", ">", 5.0), "other"),
    ],
)
def test_a_reason_is_made_of_the_comparisons_that_hold_for_the_cgroup(condition: And, reason: str) -> None:
    one = rule(condition)
    engine, there = Engine(policy(one)), cgroup("a", 1, average=0.9, left=0, age=9.0)
    verdict = engine.step(at(0, cgroup("b", 2, total=None, memory=0), there))
    assert verdict.target == there or condition == below(0.9)
    assert reason_of(one, engine, target=there) == reason


def test_a_cgroup_that_is_well_gives_no_reason_for_another() -> None:
    one = rule(Or((averages(0.4), sized(4 * GIB))))
    engine = Engine(policy(one))
    stalled, large = cgroup("a", 1, average=0.9), cgroup("b", 2, memory=5 * GIB)
    engine.step(at(0, stalled, large))
    assert [reason_of(one, engine, target=who) for who in (stalled, large)] == ["stall", "cgroup-size"]


def test_of_any_it_counts_what_holds_for_one_of_them() -> None:
    one = rule(And((below(0.9), somewhere(averages(0.4)))), scope=None)
    engine = Engine(policy(one))
    engine.step(at(0, cgroup("a", 1), cgroup("b", 2, average=0.9)))
    assert reason_of(one, engine) == "low-memory-and-stall"
    elsewhere = rule(Or((below(0.9), somewhere(averages(0.4), OTHERS))), scope=None)
    engine = Engine(policy(elsewhere))
    engine.step(at(0, cgroup("b", 2, average=0.9)))
    assert reason_of(elsewhere, engine) == "low-memory"


def test_what_is_held_beyond_a_share_is_a_reason_by_itself_but_for_what_is_written() -> None:
    one = replace(rule(below(0.9), scope=None), by="user", share=Amount(0.4, share=True))
    assert reason_of(one, Engine(policy(one))) == "over-share"
    assert reason_of(one, Engine(policy(one)), writes=True) == "ownerless-memory"


def test_who_writes_into_memory_without_owner_is_a_reason_by_itself() -> None:
    one = rule(below(0.9), scope=None)
    assert reason_of(one, Engine(policy(one)), writes=True) == "ownerless-memory"
