"""Pattern rules: what systemd is told of a unit becomes a rule for that unit's cgroup, after the pattern that the
policy has for such a setting."""

from __future__ import annotations

from okoomer.policy.engine import comparisons
from okoomer.policy.glob import literal
from okoomer.policy.metrics import METRICS
from okoomer.policy.model import And, Comparison, Held, Not, Or, Scope
from okoomer.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from okoomer.policy.model import Condition, Policy, Rule

#: The metric whose limit a setting can have of its own.
LIMITED = "cgroup.psi.memory.full.avg10"


class Setting(Record):
    """A setting of one unit (see policy.model.MANAGED): its cgroup, and where they are its own the limit, a share 0..1,
    and for how many seconds it has to be exceeded."""

    kind: str
    path: str
    limit: float | None = None
    seconds: float | None = None


def instances(policy: Policy, settings: Iterable[Setting]) -> Policy:
    """The policy with a copy of each pattern for each unit that has the setting; for all of them together where the
    pattern is about the machine as a whole. The patterns stay: by themselves they never fire."""
    by_kind: dict[str, list[Setting]] = {}
    for setting in settings:
        by_kind.setdefault(setting.kind, []).append(setting)
    rules: list[Rule] = []
    for rule in policy.rules:
        rules.append(rule)
        concerned = by_kind.get(rule.managed, ()) if rule.managed else ()
        if concerned and is_joint(rule):
            rules.append(joint(rule, concerned))
        else:
            rules += [instance(rule, setting) for setting in concerned]
    return replace(policy, rules=tuple(rules)) if len(rules) > len(policy.rules) else policy


def is_joint(rule: Rule) -> bool:
    """Whether a pattern is about the machine as a whole: then it is judged once for all units."""
    return not any(METRICS[comparison.metric].of_cgroup for comparison in comparisons(rule))


def joint(rule: Rule, settings: Iterable[Setting]) -> Rule:
    """A pattern's copy that is judged once and chooses among all units with the setting."""
    units = [literal(setting.path) for setting in settings]
    among = Scope(",".join(unit.text for unit in units), tuple(path for unit in units for path in unit.paths))
    return replace(rule, name=f"{rule.name}:{among.text}", among=among, managed="")


def instance(rule: Rule, setting: Setting) -> Rule:
    """A pattern's copy for one unit."""
    own = []
    if setting.limit is not None:
        own.append(f"{setting.limit * 100:g}%")
    if setting.seconds is not None:
        own.append(f"for {setting.seconds:g}s")
    return replace(
        rule,
        name=f"{rule.name}:{setting.path}",
        when=_suited(rule.when, setting)[0],
        when_text=f"{rule.when_text} (here {' '.join(own)})" if own else rule.when_text,
        scope=literal(setting.path),
        managed="",
    )


def _suited(condition: Condition, setting: Setting) -> tuple[Condition, bool]:
    """A condition with a unit's own limit and time; whether the limit is in it and its time is still to be found."""
    if isinstance(condition, Comparison):
        if condition.metric != LIMITED:
            return condition, False
        threshold = condition.threshold if setting.limit is None else setting.limit
        return replace(condition, threshold=threshold), True
    if isinstance(condition, Held):
        part, sought = _suited(condition.condition, setting)
        seconds = setting.seconds if sought and setting.seconds is not None else condition.seconds
        return Held(part, seconds), False
    if isinstance(condition, Not):
        part, sought = _suited(condition.part, setting)
        return Not(part), sought
    if isinstance(condition, (And, Or)):
        suited = [_suited(part, setting) for part in condition.parts]
        return replace(condition, parts=tuple(part for part, _ in suited)), any(sought for _, sought in suited)
    return condition, False
