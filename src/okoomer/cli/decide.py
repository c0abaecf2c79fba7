"""A decision on one instant, made by the engine and the chooser that the guard uses, and told in JSON or words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any

from okoomer.events.text import harmless, readings
from okoomer.facts import Snapshot
from okoomer.guard.scan import Scan, floor_of, scan
from okoomer.guard.sense import Sense
from okoomer.guard.writers import Reading, Writers, joined, reading
from okoomer.kernel import clock
from okoomer.kernel.machine import Machine
from okoomer.policy.choose import Choice, choose, least_of, need_of, needs_of
from okoomer.policy.engine import Engine, Verdict
from okoomer.policy.model import Policy, Rule
from okoomer.policy.ownerless import floods
from okoomer.policy.reason import reason_of
from okoomer.policy.scale import Candidate
from okoomer.record import Record
from okoomer.units import size


class Decision(Record):
    """What a policy says of one instant; `rule` and `choice` are None where no rule acts."""

    clock: float
    verdict: Verdict
    scan: Scan | None = None
    rule: Rule | None = None
    reason: str = ""
    choice: Choice | None = None


class Decider:
    """Decides on successive instants of one machine (or of its recordings)."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.engine = Engine(policy)
        self._earlier: Scan | None = None
        self._reading: Reading | None = None

    def decide(self, machine: Machine, snapshot: Snapshot, always: bool = False) -> Decision:
        """The decision on an instant.

        Args:
            always: Choose under the first rule if none acts: whom it would take if it came to that.

        Raises:
            OSError: The processes cannot be listed.
        """
        verdict = self.engine.step(snapshot)
        index = verdict.act if verdict.act is not None else next(iter(verdict.warnings), None)
        rule = self.policy.rules[index] if index is not None else None
        me = os.getpid() if machine.live else 0
        found = self._scan(machine, snapshot, rule or self.policy.rules[0], me)
        if rule is None and not always:
            return Decision(snapshot.time, verdict, found)
        choice = choose(
            rule or self.policy.rules[0],
            self.policy,
            snapshot,
            found.processes,
            me,
            user=os.geteuid() or None if machine.live else None,
            flood=found.flood,
        )
        reason = reason_of(rule, self.engine, choice.writes) if rule else ""
        return Decision(snapshot.time, verdict, found, rule, reason, choice)

    def _scan(self, machine: Machine, snapshot: Snapshot, rule: Rule, me: int) -> Scan:
        wants, need = needs_of(self.policy) | {"cgroup"}, need_of(rule, snapshot)
        self._earlier = found = scan(
            machine.proc,
            clock.since_boot() if machine.live else snapshot.time,
            snapshot.swap.total - snapshot.swap.free,
            wants,
            floor_of(least_of(rule, snapshot.memory.total)),
            self._earlier,
            me,
            shmem=snapshot.memory.shmem,
        )
        if machine.live:
            return Writers(machine, Sense(machine, ()), wants).join(found, need)
        before, self._reading = self._reading, reading(machine, snapshot, None)
        if before is None or not floods(found.flood, found.processes, need):
            return found
        return joined(machine.proc, found, before, self._reading, wants)


def as_json(decision: Decision) -> dict[str, Any]:
    """The decision as `why --json` gives it: sizes in bytes, shares 0..1, times in seconds."""
    rules = [
        {
            "name": rule.name,
            "state": rule.state,
            # JSON has no infinity: a forecast of never is null.
            "values": {metric: v if v is not None and isfinite(v) else None for metric, v in rule.values},
        }
        for rule in decision.verdict.rules
    ]
    act = None
    if decision.rule and decision.choice:
        victim = decision.choice.victim
        act = {
            "rule": decision.rule.name,
            "reason": decision.reason,
            "unit": _unit(victim, decision) if victim else None,
            "steps": steps(decision.rule),
            "ranking": [
                {**_unit(c, decision), "name": c.name, "score": round(c.score, 1), "why": c.why}
                for c in decision.choice.ranking
            ],
            "need": decision.choice.need,
            "refusal": decision.choice.refusal,
        }
    return {"clock": decision.clock, "rules": rules, "act": act}


def _unit(candidate: Candidate, decision: Decision) -> dict[str, Any]:
    by_pid = {process.pid: process for process in decision.scan.processes} if decision.scan else {}
    root = by_pid.get(candidate.pids[0])
    return {"kind": candidate.kind, "cgroup": root.cgroup if root else "", "pids": list(candidate.pids)}


def steps(rule: Rule) -> list[str]:
    """A rule's ladder as its author would write it."""
    return [f"{step.kind} {step.seconds:g}s" if step.seconds else step.kind for step in rule.steps]


def in_words(decision: Decision) -> Iterable[str]:
    """The decision for people, a line each."""
    for rule in decision.verdict.rules:
        yield f"rule {harmless(rule.name)} is {rule.state}: {readings(rule.values)}"
    choice = decision.choice
    if not choice:
        yield "no rule acts"
        return
    if decision.rule:
        yield f"rule {harmless(decision.rule.name)} acts ({decision.reason}): {', '.join(steps(decision.rule))}"
    if choice.victim:
        verb = "takes" if decision.rule else "would take, if it came to that,"
        yield f"it {verb} {harmless(choice.victim.name)}: {harmless(choice.victim.why)}; {size(choice.need)} needed"
    else:
        yield f"it takes nobody: {harmless(choice.refusal)}"
    yield from ranking((one.name, one.pids, one.why) for one in choice.ranking)


def ranking(ranked: Iterable[tuple[str, Sequence[int], str]]) -> Iterable[str]:
    """A ranking for people, of (name, pids, why): a heading, and a line each."""
    yield "ranking, best first:"
    for place, (name, pids, why) in enumerate(ranked, 1):
        yield f"  {place:2}. {harmless(name)} (pid {pids[0]}): {harmless(why)}"
