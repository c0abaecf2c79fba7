"""Examining a policy against a machine: what can never act there, and what would act at once."""

from __future__ import annotations

from okoomer.policy.engine import FIRED, Engine
from okoomer.policy.metrics import METRICS
from okoomer.policy.model import And, Comparison, Held, Not, Or, Somewhere
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from okoomer.facts import Snapshot
    from okoomer.policy.model import Condition, Policy, Rule, Scope

    #: Whether what a comparison reads, of the cgroups of a scope if it is of a cgroup, is offered.
    Offers = Callable[[Comparison, Scope | None], bool]

#: What stands for all metrics of cgroups, where there are none.
CGROUPS = "cgroup.*"
#: What a cgroup may have tomorrow that none has today.
_OPTIONAL = ("cgroup.left",)


def absent(rule: Rule, snapshot: Snapshot, unified: bool = True) -> list[str]:
    """The metrics of a rule's condition that this machine does not offer.

    Args:
        rule: Any rule.
        snapshot: The machine. Of scopes that were not read everything is taken to be offered.
        unified: Whether it has a hierarchy of cgroups of version 2.
    """
    offers = _offers(snapshot, unified)
    named = _compared(rule.when, rule.scope)
    return list(dict.fromkeys(comparison.metric for comparison, scope in named if not offers(comparison, scope)))


def inert(policy: Policy, snapshot: Snapshot, unified: bool = True) -> dict[str, list[str]]:
    """The rules that cannot act on this machine whatever happens, and the absent metrics that are the reason. That no
    cgroup of a scope is there now is none.

    Args:
        policy: Any policy.
        snapshot: The machine. Of scopes that were not read everything is taken to be offered.
        unified: Whether it has a hierarchy of cgroups of version 2.
    """
    found = {}
    for rule in policy.rules:
        missing = absent(rule, snapshot, unified)
        if not unified and (rule.scope or rule.managed or (rule.of_cgroups and rule.chooses)):
            found[rule.name] = missing or [CGROUPS]
        elif missing and not _can_hold(rule.when, rule.scope, _offers(snapshot, unified)):
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


def _offers(snapshot: Snapshot, unified: bool) -> Offers:
    scoped = dict(snapshot.scoped)

    def offers(comparison: Comparison, scope: Scope | None) -> bool:
        metric = METRICS[comparison.metric]
        if not metric.of_cgroup:
            return metric.read(snapshot) is not None
        cgroups = scoped.get(scope.text, ()) if scope else ()
        if not cgroups or metric.name in _OPTIONAL:
            return unified
        return any(metric.read(cgroup) is not None for cgroup in cgroups)

    return offers


def _compared(condition: Condition, scope: Scope | None) -> Iterator[tuple[Comparison, Scope | None]]:
    """All comparisons of a condition, each with the cgroups that it is about."""
    if isinstance(condition, Comparison):
        yield condition, scope
    elif isinstance(condition, Somewhere):
        yield from _compared(condition.condition, condition.scope)
    elif isinstance(condition, (And, Or)):
        for part in condition.parts:
            yield from _compared(part, scope)
    else:
        yield from _compared(condition.part if isinstance(condition, Not) else condition.condition, scope)


def _can_hold(condition: Condition, scope: Scope | None, offers: Offers) -> bool:
    """Whether a condition could be true if what is there took any value: what is missing is unknown for ever."""
    if isinstance(condition, Comparison):
        return offers(condition, scope)
    if isinstance(condition, Somewhere):
        return _can_hold(condition.condition, condition.scope, offers)
    if isinstance(condition, And):
        return all(_can_hold(part, scope, offers) for part in condition.parts)
    if isinstance(condition, Or):
        return any(_can_hold(part, scope, offers) for part in condition.parts)
    return _can_hold(condition.part if isinstance(condition, Not) else condition.condition, scope, offers)


def _without_holds(condition: Condition) -> Condition:
    if isinstance(condition, Held):
        return _without_holds(condition.condition)
    if isinstance(condition, Somewhere):
        return replace(condition, condition=_without_holds(condition.condition))
    if isinstance(condition, (And, Or)):
        return replace(condition, parts=tuple(_without_holds(part) for part in condition.parts))
    return condition
