"""A decision on one instant, made by the engine and the chooser that the guard uses, and told in JSON or words."""

from __future__ import annotations

import os
from collections.abc import Iterable
from math import isfinite
from typing import Any

from okoomer.events.account import ranking
from okoomer.events.text import harmless, readings
from okoomer.facts import Snapshot
from okoomer.guard.cgroups import Cgroups
from okoomer.guard.scan import Scan, floor_of, scan
from okoomer.guard.seek import Seeker, targets_of
from okoomer.guard.sense import Sense
from okoomer.guard.writers import Reading, Writers, joined, reading
from okoomer.kernel import clock
from okoomer.kernel.machine import Machine
from okoomer.policy import write
from okoomer.policy.choose import Choice, least_of, need_of, needs_of
from okoomer.policy.engine import Engine, Verdict
from okoomer.policy.model import Policy, Rule, Step
from okoomer.policy.ownerless import floods
from okoomer.policy.reason import reason_of
from okoomer.policy.scale import Candidate
from okoomer.policy.wants import wants_of
from okoomer.record import Record, replace
from okoomer.units import size


class Decision(Record):
    """What a policy says of one instant; `rule` and `choice` are None where no rule acts. `by` is the rule that chose:
    that one, or where none acts the one that would if it came to that."""

    clock: float
    verdict: Verdict
    scan: Scan | None = None
    rule: Rule | None = None
    reason: str = ""
    choice: Choice | None = None
    by: Rule | None = None


class Decider:
    """Decides on successive instants of one machine (or of its recordings)."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.engine = Engine(policy)
        self._wants = {want.scope.text: want for want in wants_of(policy)}
        self._cgroups: Cgroups | None = None
        self._seeker: Seeker | None = None
        self._earlier: Scan | None = None
        self._reading: Reading | None = None

    def decide(self, machine: Machine, snapshot: Snapshot, always: bool = False) -> Decision:
        """The decision on an instant.

        Args:
            always: Choose under the first rule if none acts: whom it would take if it came to that.

        Raises:
            OSError: The processes cannot be listed.
        """
        cgroups, seeker = self._turn(machine)
        snapshot = replace(snapshot, scoped=cgroups.scoped(self._wants.values(), snapshot.time))
        verdict = self.engine.step(snapshot)
        index, target = verdict.act, verdict.target
        if index is None:
            index, target = next(iter(verdict.warnings), (None, None))
        rule = self.policy.rules[index] if index is not None else None
        for rating in seeker.rating:
            for one in targets_of(self.policy.rules[rating], snapshot):
                seeker.note(rating, one, snapshot)
        choosing = [one for one in self.policy.rules if one.chooses and not one.managed] or [self.policy.rules[0]]
        found = self._scan(machine, snapshot, rule or choosing[0])
        if rule is None and not always:
            return Decision(snapshot.time, verdict, found)
        by = rule or choosing[0]
        choice = seeker.choice(by, target, snapshot, found)
        passed: set[int] = set()
        while choice.within and index is not None:
            # As in the guard: where nobody has more than his share the next rule that has fired has its turn.
            passed.add(index)
            self.engine.forgo(index, target)
            verdict = replace(self.engine.step(snapshot, passed_over=passed), warnings=verdict.warnings)
            if verdict.act is None:
                break
            index, target = verdict.act, verdict.target
            by = rule = self.policy.rules[index]
            choice = seeker.choice(rule, target, snapshot, found)
        for later in choosing[1:] if rule is None else ():
            if not choice.within:
                break
            by, choice = later, seeker.choice(later, None, snapshot, found)
        choice = replace(choice, ranking=tuple(seeker.filled(candidate) for candidate in choice.ranking))
        reason = reason_of(rule, self.engine, choice.writes, target) if rule else ""
        return Decision(snapshot.time, verdict, found, rule, reason, choice, by)

    def _turn(self, machine: Machine) -> tuple[Cgroups, Seeker]:
        """What reads the cgroups of this machine, and what chooses on it and remembers the instants before."""
        if self._cgroups is None or self._seeker is None:
            self._cgroups = Cgroups(machine)
            me, user = (os.getpid(), os.geteuid() or None) if machine.live else (0, None)
            self._seeker = Seeker(self.policy, machine.proc, self._cgroups, me, user)
        elif not machine.live:
            self._cgroups.turn(machine)
            self._seeker.turn(machine.proc)
        return self._cgroups, self._seeker

    def _scan(self, machine: Machine, snapshot: Snapshot, rule: Rule) -> Scan:
        assert self._cgroups is not None
        wants, need = needs_of(self.policy) | {"cgroup"}, need_of(rule, snapshot)
        self._earlier = found = scan(
            machine.proc,
            clock.since_boot() if machine.live else snapshot.time,
            snapshot.swap.total - snapshot.swap.free,
            wants,
            floor_of(least_of(rule, snapshot.memory.total)),
            self._earlier,
            os.getpid() if machine.live else 0,
            shmem=snapshot.memory.shmem,
            tags=self._cgroups.tags,
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
            **({"target": rule.target} if rule.target else {}),
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
    root = by_pid.get(candidate.pids[0]) if candidate.pids else None
    cgroup = candidate.cgroup or (root.cgroup if root else "")
    return {"kind": candidate.kind, "cgroup": cgroup, "pids": list(candidate.pids)}


def steps(rule: Rule) -> list[str]:
    """A rule's ladder as its author would write it."""
    return [" ".join((step.kind, *_behind(step))) for step in rule.steps]


def _behind(step: Step) -> Iterable[str]:
    if step.amount and step.kind != "slow":
        yield write.share(step.amount.value) if step.amount.share else write.size(step.amount.value)
    if step.seconds:
        yield f"{step.seconds:g}s"
    if step.amount and step.kind == "slow":
        yield f"cpu {write.share(step.amount.value)}"
    if step.times:
        yield f"{step.times} times"


def in_words(decision: Decision) -> Iterable[str]:
    """The decision for people, a line each."""
    for rule in decision.verdict.rules:
        where = f" for {harmless(rule.target)}" if rule.target else ""
        yield f"rule {harmless(rule.name)} is {rule.state}{where}: {readings(rule.values)}"
    choice = decision.choice
    if not choice:
        yield "no rule acts"
        return
    if decision.rule:
        yield f"rule {harmless(decision.rule.name)} acts ({decision.reason}): {', '.join(steps(decision.rule))}"
    if choice.victim:
        verb = "takes" if decision.rule and not decision.rule.only_warns else "would take, if it came to that,"
        yield f"it {verb} {harmless(choice.victim.name)}: {harmless(choice.victim.why)}; {size(choice.need)} needed"
    else:
        yield f"it takes nobody: {harmless(choice.refusal)}"
    yield from ranking((one.name, one.pids, one.why) for one in choice.ranking)
