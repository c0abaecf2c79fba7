"""A policy in plain words, for `okoomer check` and whoever wants to know what a file really says."""

from __future__ import annotations

from okoomer.policy.engine import comparisons
from okoomer.policy.metrics import (
    AVERAGE,
    COUNT,
    FLOW,
    LEVEL,
    METRICS,
    PORTION,
    RATIO,
    STALL,
    TIME,
    TREND,
    USER_AVAILABLE,
)
from okoomer.policy.model import LEVELS, POINTED, And, Comparison, Held, Not, Ratios, Somewhere
from okoomer.policy.tentative import ANEW
from okoomer.policy.write import command_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.policy.model import Amount, Condition, Hook, Policy, Rule, Selector, Step

_OPERATORS = {"<": "below", "<=": "at most", ">": "above", ">=": "at least"}
_UNITS = {
    "process": "one process",
    "group": "a process with its whole process group",
    "family": "a process with all that it started",
    "auto": "an application, service or container as a whole, or a process with all that it started",
}
_RANKS = {
    "freed": "whose end gives most memory back",
    "rss": "that holds most memory",
    "growth": "that grows fastest",
    "oom_score": "whose oom_score is highest",
    "badness": "whose oom_score with points is highest",
    "swap": "that holds most swap",
    "size_or_growth": "that has a great part of what all have, or else grows fastest among the largest",
    "swap_unprotected": "that holds most swap beyond its protection",
    "pressure": "that waits longest for memory",
    "io_pressure": "that waits longest for its devices",
    "pgscan": "that reclaim is busiest with",
    "io_cost": "that costs its devices most",
}
_HOLDERS = {
    "user": ("user", "users"),
    "app": ("application, service or container", "applications, services and containers"),
}
_DESCENTS = {
    "no": "one cgroup as a whole",
    "best": "one cgroup as a whole, the best of its siblings from the top down",
    "leaves": "one cgroup as a whole, of those without any below them",
}
_MANAGED = {
    "ManagedOOMSwap": "ManagedOOMSwap=kill",
    "ManagedOOMMemoryPressure": "ManagedOOMMemoryPressure=kill",
}
_STEPS = {
    "warn": "warns",
    "turns": "has fewer of a family run at a time, the others wait for their turn",
    "prekill": "has those prepare who asked to hear of a kill",
    "slow": "slows the chosen down at what it holds",
    "pause": "has the chosen stand still",
    "ask": "asks whose it is what is to become of it",
    "term": "asks the chosen to end (SIGTERM)",
    "oom": "has the kernel choose and kill somebody",
    "kill": "kills the chosen (SIGKILL)",
}
_HAPPENINGS = {
    "warned": "a warning is given",
    "level": "memory is shorter or less short than it was",
    "question": "somebody is asked",
    "closed": "a question is over",
    "paused": "somebody has to stand still",
    "resumed": "somebody who stood still goes on",
    "limited": "somebody gets a ceiling",
    "slowed": "somebody is slowed down",
    "eased": "somebody who was slowed down is so no more",
    "chosen": "somebody is chosen",
    "signalled": "somebody gets a signal",
    "killed": "somebody gets a SIGKILL",
    "died": "the chosen has ended",
    "stuck": "the chosen would not die",
    "refused": "nobody can be chosen",
}
_TOLD = {
    "cmdline": "the command line of whoever is chosen",
    "kernel_kills": "when the kernel's own killer was at work",
    "kmsg": "the kernel's log of each kill",
}
#: What a percentage of a level is a share of, told by the function that gives it.
_WHOLE = {
    METRICS["mem.total"].total: "memory",
    METRICS["swap.total"].total: "swap",
    METRICS[USER_AVAILABLE].total: "what programs can have",
}


def describe(policy: Policy) -> list[str]:
    """What a policy does, a line each, details indented; last, what the metrics that it names are."""
    lines = []
    for number, rule in enumerate(policy.rules, 1):
        lines.append(f'Rule {number}, "{rule.name}", acts{_about(rule)} when {_condition(rule.when)}.')
        lines += [f"  {line}" for line in _rule(rule)]
    lines.append("For all rules:")
    lines += [f"  {line}" for line in _lists(policy)]
    pointed = any(rule.rank in POINTED for rule in policy.rules)
    lines += [f"  {line}" for line in _scoring(policy, pointed)]
    supervisors = _selectors(policy.supervisors)
    lines.append(f"  What runs below these is chosen rather than they, who come last: {supervisors}.")
    lines += [f"  {line}" for line in _beside(policy)]
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
    if isinstance(condition, Somewhere):
        return f"in one of {condition.scope.text} ({_condition(condition.condition)})"
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
    if rule.level:
        name = next(name for name, level in LEVELS.items() if level == rule.level)
        lines.append(f"While it has fired, applications are told that memory is short: {name} ({rule.level} of 255).")
    if rule.steps:
        lines.append(f"It {', then '.join(_step(step, rule) for step in rule.steps)}.")
    if rule.chooses:
        lines.append(f"Its choice is {_choice(rule)}.")
    if rule.by:
        lines.append(f"It takes only of {_holder(rule)}.")
    if rule.target:
        lines.append(f"It wants {_amount(rule.target)} to be available afterwards.")
    if rule.least:
        lines.append(f"It ends nothing that gives back less than {_amount(rule.least)}.")
    if rule.least_swap:
        lines.append(f"It ends nothing that has {_amount(rule.least_swap, 'swap')} in swap or less.")
    if rule.rank == "size_or_growth":
        lines.append(f"{_ratios(rule.ratios)}.")
    if rule.least_score:
        lines.append(f"It takes nobody whose score is below {_number(rule.least_score)}.")
    if not rule.raised:
        lines.append("What a raised oom_score_adj adds to a score does not count.")
    lines += _lists(rule)
    lines += _scoring(rule, rule.rank in POINTED)
    if rule.rest:
        lines.append(f"Then it rests for {duration(rule.rest)}.")
    return lines


def _about(rule: Rule) -> str:
    """For whom a rule is judged, each by itself."""
    if rule.managed.startswith("OOMRules:"):
        return f" on each unit that has {rule.managed.replace(':', '=', 1)}"
    if rule.managed:
        return f" on each unit that has {_MANAGED[rule.managed]}"
    return f" on each cgroup of {rule.scope.text} by itself" if rule.scope else ""


def _choice(rule: Rule) -> str:
    unit = _DESCENTS[rule.descend] if rule.of_cgroups else _UNITS[rule.unit]
    where = f" among {rule.among.text}" if rule.among else " in that cgroup" if rule.scope or rule.managed else ""
    return f"{unit}{where}, {_RANKS[rule.rank]}"


def _holder(rule: Rule) -> str:
    one, several = _HOLDERS[rule.by]
    if rule.share:
        return f"{several} that hold more than {_amount(rule.share)}, of the one furthest over first"
    return f"the {one} that holds most, or of the next where that cannot be"


def _ratios(ratios: Ratios) -> str:
    return (
        f"A great part is {share(ratios.dominant)}; the largest are those above {share(ratios.percentile)} of all, "
        f"and to grow is to have {ratios.growth:g} times the average of late"
    )


def _step(step: Step, rule: Rule) -> str:
    if step.kind == "oom" and rule.unit in ("auto", "cgroup"):
        what = "leaves the chosen cgroup no memory, so that the kernel ends it; a part of one gets SIGKILL"
    elif step.kind == "run":
        what = f"runs {_command(step.command)}"
    elif step.kind == "slow" and step.amount:
        what = f"{_STEPS[step.kind]}, with {share(step.amount.value)} of one processor"
    elif step.amount:
        what = f"takes {_amount(step.amount, 'what it has')} away from the cgroup, without ending anybody"
    else:
        what = _STEPS[step.kind]
    if step.kind in ("slow", "pause"):
        lasts = f"{what} for {duration(step.seconds)}"
        if not step.times:
            return lasts
        often = "once" if step.times == 1 else f"{step.times} times no more than {duration(ANEW)} apart"
        onward = "" if step is rule.steps[-1] else ", and if it hurts on"
        return f"{lasts} and lets it run again, {often}{onward}"
    return what + (f" and waits up to {duration(step.seconds)}" if step.seconds else "")


def _scoring(of: Rule | Policy, pointed: bool) -> list[str]:
    lines = []
    if of.points:
        count = _number if pointed else size
        each = (f"{'-' if p.value < 0 else '+'}{count(abs(p.value))} for {p.selector.written}" for p in of.points)
        lines.append(f"These count more or less than they are: {', '.join(each)}.")
    if of.instead:
        each = (f"{one.selector.written} by {_command(one.command)}" for one in of.instead)
        lines.append(f"These are asked to end by a command instead of SIGTERM: {', '.join(each)}.")
    return lines


def _beside(policy: Policy) -> list[str]:
    """What is done besides acting."""
    lines = [
        f"When {_HAPPENINGS[hook.on]}, it runs {_command(hook.command)}{_as_whom(hook)}, "
        f"for at most {duration(hook.seconds)}."
        for hook in policy.hooks
    ]
    if policy.notify:
        lines.append(f"It announces on the system bus when {' or '.join(_HAPPENINGS[on] for on in policy.notify)}.")
    if policy.prime:
        lines.append("While memory is short, whom it would take first is first for the kernel's own killer, too.")
    if policy.report:
        lines.append(f"It tells the state of memory every {duration(policy.report)}.")
    if policy.tell:
        lines.append(f"It also tells {' and '.join(_TOLD[what] for what in policy.tell)}.")
    if policy.pressure:
        lines.append(f"Pressure of memory is that of {policy.pressure}.")
    return lines


def _as_whom(hook: Hook) -> str:
    return f" as {hook.user}" if hook.user else ""


def _command(command: tuple[str, ...]) -> str:
    return "".join(character if character.isprintable() else "?" for character in command_text(command))


def _amount(amount: Amount, whole: str = "memory") -> str:
    return f"{share(amount.value)} of {whole}" if amount.share else size(amount.value)


def _lists(of: Rule | Policy) -> list[str]:
    told = {"These go first": of.prefer, "These come last": of.avoid, "These are never touched": of.spare}
    return [f"{what}: {_selectors(selectors)}." for what, selectors in told.items() if selectors]


def _selectors(selectors: tuple[Selector, ...]) -> str:
    return ", ".join(selector.written for selector in selectors) or "none"
