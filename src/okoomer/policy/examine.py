"""Examining a policy against a machine: what can never act there, and what would act at once."""

from __future__ import annotations

from okoomer.policy.engine import FIRED, Engine, inside
from okoomer.policy.metrics import METRICS
from okoomer.policy.model import And, Comparison, Held, Or
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.facts import Snapshot
    from okoomer.policy.model import Condition, Policy, Rule


def absent(rule: Rule, snapshot: Snapshot) -> list[str]:
    """The metrics of a rule's condition that this machine does not offer."""
    named = dict.fromkeys(comparison.metric for comparison in inside(rule.when))
    return [metric for metric in named if METRICS[metric].read(snapshot) is None]


def inert(policy: Policy, snapshot: Snapshot) -> dict[str, list[str]]:
    """The rules that cannot fire on this machine whatever happens, and the absent metrics that are the reason."""
    found = {}
    for rule in policy.rules:
        missing = absent(rule, snapshot)
        if missing and not _can_hold(rule.when, frozenset(missing)):
            found[rule.name] = missing
    return found


def firing(policy: Policy, snapshot: Snapshot) -> list[str]:
    """The rules that would act on the machine as it stands. Hold times count as passed: a machine that is well does
    not become ill by waiting."""
    rules = tuple(replace(rule, when=_without_holds(rule.when)) for rule in policy.rules)
    verdict = Engine(replace(policy, rules=rules)).step(snapshot)
    return [
        rule.name
        for rule, found in zip(policy.rules, verdict.rules, strict=True)
        if found.state == FIRED and not rule.only_warns
    ]


def _can_hold(condition: Condition, missing: frozenset[str]) -> bool:
    """Whether a condition could be true if what is there took any value: what is missing is unknown for ever."""
    if isinstance(condition, Comparison):
        return condition.metric not in missing
    if isinstance(condition, And):
        return all(_can_hold(part, missing) for part in condition.parts)
    if isinstance(condition, Or):
        return any(_can_hold(part, missing) for part in condition.parts)
    return _can_hold(condition.condition if isinstance(condition, Held) else condition.part, missing)


def _without_holds(condition: Condition) -> Condition:
    if isinstance(condition, Held):
        return _without_holds(condition.condition)
    if isinstance(condition, (And, Or)):
        return replace(condition, parts=tuple(_without_holds(part) for part in condition.parts))
    return condition
