"""Which cgroups a policy is about, and what it has to know of each."""

from __future__ import annotations

from okoomer.policy.metrics import METRICS
from okoomer.policy.model import Comparison, Held, Not, Somewhere
from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from okoomer.policy.model import Condition, Policy, Scope


class Want(Record):
    """A scope, and the fields of a `Cgroup` that its conditions are judged by."""

    scope: Scope
    fields: frozenset[str]


def wants_of(policy: Policy) -> tuple[Want, ...]:
    """The scopes whose cgroups a policy is judged for, each text once, in the order of the rules."""
    scopes: dict[str, Scope] = {}
    fields: dict[str, set[str]] = {}
    for rule in policy.rules:
        if rule.managed:
            continue
        if rule.scope:
            scopes.setdefault(rule.scope.text, rule.scope)
            fields.setdefault(rule.scope.text, set())
        for condition in (rule.when, rule.until):
            for scope, comparison in _asked(condition, rule.scope) if condition else ():
                scopes.setdefault(scope.text, scope)
                found = fields.setdefault(scope.text, set())
                if comparison:
                    found.update(METRICS[comparison.metric].fields)
    return tuple(
        Want(scope, frozenset(fields[text] | ({"tags"} if scope.tag else set()))) for text, scope in scopes.items()
    )


def _asked(condition: Condition, scope: Scope | None) -> Iterator[tuple[Scope, Comparison | None]]:
    """Each scope in a condition, and with each comparison about a cgroup the scope that this is of."""
    if isinstance(condition, Comparison):
        if scope and METRICS[condition.metric].of_cgroup:
            yield scope, condition
    elif isinstance(condition, Somewhere):
        yield condition.scope, None
        yield from _asked(condition.condition, condition.scope)
    elif isinstance(condition, Held):
        yield from _asked(condition.condition, scope)
    elif isinstance(condition, Not):
        yield from _asked(condition.part, scope)
    else:
        for part in condition.parts:
            yield from _asked(part, scope)
