"""A policy in plain words, for `okoomer check` and whoever wants to know what a file really says."""

from __future__ import annotations

from okoomer.policy.engine import comparisons
from okoomer.policy.metrics import AVERAGE, COUNT, FLOW, LEVEL, METRICS, PORTION, RATIO, STALL, TIME, TREND
from okoomer.policy.model import And, Comparison, Held, Not

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.policy.model import Amount, Condition, Policy, Rule, Selector, Step

_OPERATORS = {"<": "below", "<=": "at most", ">": "above", ">=": "at least"}
_UNITS = {
    "process": "one process",
    "family": "a process with all that it started",
}
_RANKS = {
    "freed": "whose end gives most memory back",
    "rss": "that holds most memory",
    "growth": "that grows fastest",
    "oom_score": "with the highest oom_score",
    "swap": "that holds most swap",
}
_STEPS = {
    "warn": "warns",
    "term": "asks the chosen to end (SIGTERM)",
    "kill": "kills the chosen (SIGKILL)",
}
#: What a percentage of a level is a share of, told by the function that gives it.
_WHOLE = {METRICS["mem.total"].total: "memory", METRICS["swap.total"].total: "swap"}


def describe(policy: Policy) -> list[str]:
    """What a policy does, a line each, details indented; last, what the metrics that it names are."""
    lines = []
    for number, rule in enumerate(policy.rules, 1):
        lines.append(f'Rule {number}, "{rule.name}", acts when {_condition(rule.when)}.')
        lines += [f"  {line}" for line in _rule(rule)]
    lines.append("For all rules:")
    lines += [f"  {line}" for line in _lists(policy)]
    supervisors = _selectors(policy.supervisors)
    lines.append(f"  What runs below these is chosen rather than they, who come last: {supervisors}.")
    lines.append("Where:")
    named = dict.fromkeys(comparison.metric for rule in policy.rules for comparison in comparisons(rule))
    lines += [f"  {name} is {METRICS[name].text}." for name in named]
    return lines


def quantity(metric: str, value: float) -> str:
    """A value of a metric for people, in binary units: 1.5 GiB, 20 %, 10 MiB/s, 100/s, 500 ms.

    Args:
        metric: Its name.
        value: In the metric's own unit: bytes, shares 0..1, seconds, bytes or events per second.
    """
    kind = METRICS[metric].kind
    return {
        LEVEL: size,
        STALL: share,
        AVERAGE: share,
        FLOW: lambda rate: f"{size(rate)}/s",
        TREND: lambda rate: f"{size(rate)}/s",
        COUNT: lambda rate: f"{_number(rate)}/s",
        PORTION: share,
        RATIO: _number,
        TIME: duration,
    }[kind](value)


def size(value: float) -> str:
    """Bytes as 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1023.95:  # what would be written as 1024 is one of the next
            return f"{_number(value)} {unit}"
        value /= 1024
    return f"{_number(value)} TiB"


def share(value: float) -> str:
    """A share 0..1 as 12.5 %."""
    return f"{_number(value * 100)} %"


def duration(value: float) -> str:
    """Seconds as 500 ms, 2.5 s, 2 min or 1.5 h; infinity as never."""
    if value == float("inf"):
        return "never"
    if value < 1:
        return f"{_number(value * 1000)} ms"
    for unit, length in (("h", 3600), ("min", 60)):
        if value >= length and value % (length / 10) == 0:
            return f"{_number(value / length)} {unit}"
    return f"{_number(value)} s"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _condition(condition: Condition, within: bool = False) -> str:
    if isinstance(condition, Comparison):
        return _comparison(condition)
    if isinstance(condition, Held):
        return f"{_condition(condition.condition, True)} for {duration(condition.seconds)}"
    if isinstance(condition, Not):
        return f"not ({_condition(condition.part)})"
    word = " and " if isinstance(condition, And) else " or "
    text = word.join(_condition(part, True) for part in condition.parts)
    return f"({text})" if within else text


def _comparison(comparison: Comparison) -> str:
    if comparison.share:
        whole = _WHOLE.get(METRICS[comparison.metric].total, "its whole")
        threshold = f"{share(comparison.threshold)} of {whole}"
    else:
        threshold = quantity(comparison.metric, comparison.threshold)
    window = f" over {duration(comparison.over)}" if comparison.over else ""
    return f"{comparison.metric}{window} is {_OPERATORS[comparison.operator]} {threshold}"


def _rule(rule: Rule) -> list[str]:
    lines = []
    if rule.until:
        lines.append(f"Once begun, it goes on until {_condition(rule.until)}.")
    lines.append(f"It {', then '.join(_step(step) for step in rule.steps)}.")
    if not rule.only_warns:
        lines.append(f"Its choice is {_UNITS[rule.unit]}, {_RANKS[rule.rank]}.")
    if rule.target:
        lines.append(f"It wants {_amount(rule.target)} to be available afterwards.")
    if rule.least:
        lines.append(f"It ends nothing that gives back less than {_amount(rule.least)}.")
    lines += _lists(rule)
    if rule.rest:
        lines.append(f"Then it rests for {duration(rule.rest)}.")
    return lines


def _step(step: Step) -> str:
    return _STEPS[step.kind] + (f" and waits up to {duration(step.seconds)}" if step.seconds else "")


def _amount(amount: Amount) -> str:
    return f"{share(amount.value)} of memory" if amount.share else size(amount.value)


def _lists(of: Rule | Policy) -> list[str]:
    told = {"These go first": of.prefer, "These come last": of.avoid, "These are never touched": of.spare}
    return [f"{what}: {_selectors(selectors)}." for what, selectors in told.items() if selectors]


def _selectors(selectors: tuple[Selector, ...]) -> str:
    return ", ".join(f"{selector.kind}:{selector.pattern}" for selector in selectors) or "none"
