"""Machines with cgroups for the engine: at one instant, and all along."""

from __future__ import annotations

from typing import TYPE_CHECKING

from okoomer.facts import Cgroup, Memory, Paging, Pressure, Snapshot, Stall
from okoomer.policy.model import Comparison, Policy, Rule, Scope, Somewhere
from okoomer.record import replace
from okoomer.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterable

    from okoomer.policy.engine import Engine, Verdict
    from okoomer.policy.model import Condition

APPS = Scope("apps/*", ((("apps", b""), ("*", b"*")),))
OTHERS = Scope("others/*", ((("others", b""), ("*", b"*")),))


def pressure(total: float = 0.0, average: float = 0.0) -> Pressure:
    line = Stall(average, average, average, total)
    return Pressure(line, line)


def cgroup(
    name: str, inode: int, total: float | None = 0.0, average: float = 0.0, memory: int = GIB, **more: object
) -> Cgroup:
    """A cgroup with so many seconds stalled in all, and so much of the time of late."""
    found = None if total is None else pressure(total, average)
    return replace(Cgroup(f"/apps/{name}", inode, memory=memory, memory_pressure=found), **more)


def at(
    time: float,
    *cgroups: Cgroup,
    available: float = 0.5,
    total: float | None = None,
    scope: Scope = APPS,
    asleep: float = 0.0,
) -> Snapshot:
    """A machine of 8 GiB on which a scope names these cgroups; and so many seconds stalled in all."""
    return Snapshot(
        time,
        Memory(8 * GIB, 0, int(8 * GIB * available)),
        memory_pressure=None if total is None else pressure(total),
        paging=Paging(),
        asleep=asleep,
        scoped=((scope.text, cgroups),),
    )


def rule(when: Condition, name: str = "a", scope: Scope | None = APPS, **more: object) -> Rule:
    return replace(Rule(name, when, "as written", scope=scope), **more)


def policy(*rules: Rule) -> Policy:
    return Policy("test", rules)


def somewhere(condition: Condition, scope: Scope = APPS) -> Somewhere:
    return Somewhere(scope, condition)


def averages(share: float) -> Comparison:
    return Comparison("cgroup.psi.memory.full.avg10", ">", share)


def stalls(share: float, over: float = 1.0, metric: str = "cgroup.psi.memory.full") -> Comparison:
    return Comparison(metric, ">", share, over=over)


def sized(size: float) -> Comparison:
    return Comparison("cgroup.memory", ">", size)


def below(share: float) -> Comparison:
    return Comparison("mem.available", "<", share, share=True)


def states(engine: Engine, *snapshots: Snapshot) -> list[str]:
    """The states of the first rule."""
    return [verdict.rules[0].state for verdict in verdicts(engine, snapshots)]


def verdicts(engine: Engine, snapshots: Iterable[Snapshot]) -> list[Verdict]:
    return [engine.step(snapshot) for snapshot in snapshots]
