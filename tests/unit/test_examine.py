"""What of a policy about cgroups can never act on a machine, and what would at once."""

from __future__ import annotations

import pytest

from okoomer.facts import Cgroup, Memory, Pressure, Snapshot, Stall
from okoomer.policy.examine import absent, firing, inert
from okoomer.policy.language import parse
from okoomer.record import replace

GIB = 1024**3
WELL = Snapshot(time=0.0, memory=Memory(total=8 * GIB, free=6 * GIB, available=6 * GIB))
CALM = Stall(0.0, 0.0, 0.0, 0.0)
BIG = Cgroup("/a/x", 2, memory=GIB, memory_pressure=Pressure(CALM, CALM))


def rule(keys: str) -> str:
    return f"[[rule]]\nname = 'r'\n{keys}"


def machine(*cgroups: Cgroup, scope: str = "a/*") -> Snapshot:
    return replace(WELL, scoped=((scope, cgroups),))


SCOPED = rule("scope = 'a/*'\nwhen = 'cgroup.memory > 5%'")
STALLED = rule("scope = 'a/*'\nwhen = 'cgroup.psi.memory.full > 5% or cgroup.io.cost > 1/s'")
SOMEWHERE = rule("when = '''any in 'a/*' (cgroup.memory > 5% and cgroup.swap > 1MiB)'''")
LIMITED = rule("scope = 'a/*'\nwhen = 'cgroup.left < 5MiB'")


@pytest.mark.parametrize(
    ("text", "snapshot", "missing"),
    [
        (SCOPED, WELL, []),
        (SCOPED, machine(), []),
        (SCOPED, machine(BIG), []),
        (SCOPED, machine(replace(BIG, memory=None), BIG), []),
        (SCOPED, machine(replace(BIG, memory=None)), ["cgroup.memory"]),
        (SCOPED, machine(replace(BIG, memory=None), scope="b"), []),
        (STALLED, machine(BIG), []),
        (STALLED, machine(replace(BIG, memory_pressure=None)), ["cgroup.psi.memory.full", "cgroup.io.cost"]),
        (SOMEWHERE, WELL, []),
        (SOMEWHERE, machine(BIG), ["cgroup.swap"]),
        (LIMITED, machine(BIG), []),
        (rule("scope = 'a/*'\nwhen = 'psi.memory.full > 5%'"), machine(BIG), ["psi.memory.full"]),
        (rule("managed = 'ManagedOOMSwap'\nwhen = 'cgroup.swap > 5%'"), WELL, []),
        (rule("when = '''not any in 'a/*' (cgroup.swap > 5%)'''"), machine(BIG), ["cgroup.swap"]),
        (rule("when = '''mem.free < 5% or any in 'a/*' (cgroup.swap > 5%)'''"), machine(BIG), []),
    ],
)
def test_a_rule_can_act_where_a_cgroup_may_come_and_what_it_reads_is_offered(
    text: str, snapshot: Snapshot, missing: list[str]
) -> None:
    assert inert(parse(text, "p.toml"), snapshot) == ({"r": missing} if missing else {})


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (SCOPED, ["cgroup.memory"]),
        (SOMEWHERE, ["cgroup.memory", "cgroup.swap"]),
        (LIMITED, ["cgroup.left"]),
        (rule("scope = 'a'\nwhen = 'mem.free < 5%'"), ["cgroup.*"]),
        (rule("managed = 'ManagedOOMSwap'\nwhen = 'mem.free < 5%'"), ["cgroup.*"]),
        (rule("unit = 'cgroup'\nwhen = 'mem.free < 5%'"), ["cgroup.*"]),
        (rule("unit = 'cgroup'\nwhen = 'mem.free < 5%'\nsteps = ['warn']"), []),
        (rule("unit = 'auto'\nwhen = 'mem.free < 5%'"), []),
        (rule("when = '''mem.free < 5% or any in 'a' (cgroup.memory > 5%)'''"), []),
    ],
)
def test_without_a_unified_hierarchy_no_rule_about_cgroups_can_act(text: str, missing: list[str]) -> None:
    assert inert(parse(text, "p.toml"), WELL, unified=False) == ({"r": missing} if missing else {})


def test_absent_metrics_are_named_once_also_where_a_rule_can_act() -> None:
    text = rule("scope = 'a/*'\nwhen = 'cgroup.swap > 5% or cgroup.memory > 5% or cgroup.swap > 9%'")
    assert absent(parse(text, "p.toml").rules[0], machine(BIG)) == ["cgroup.swap"]


@pytest.mark.parametrize("text", [SCOPED, SCOPED.replace("5%", "5% for 1h")])
def test_a_rule_about_a_cgroup_as_it_stands_acts_at_once(text: str) -> None:
    assert firing(parse(text, "p.toml"), machine(BIG)) == ["r"]
    assert firing(parse(text, "p.toml"), machine(replace(BIG, memory=1))) == []
    assert firing(parse(text, "p.toml"), WELL) == []


def test_a_hold_time_within_any_in_counts_as_passed() -> None:
    text = rule("when = '''any in 'a/*' (cgroup.memory > 5% for 1h) for 1h'''")
    assert firing(parse(text, "p.toml"), machine(BIG)) == ["r"]


def test_a_rule_that_shrinks_may_act_at_once() -> None:
    text = SCOPED + "\nsteps = ['shrink 1%']"
    assert firing(parse(text, "p.toml"), machine(BIG)) == []
