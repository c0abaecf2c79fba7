"""What in a rule has to go together, each mistake at its place. For the short-lived front only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from okoomer.policy.model import CGROUP_RANKS, HOLDERS, POINTED, RANKS, Rule, Step
from okoomer.policy.source import Section, Text

#: The rank that is what the kernel says and nothing more.
KERNELS = "oom_score"
#: The keys of Ratios, and the rank that has them.
RATIO_KEYS = ("dominant", "percentile", "growth_ratio")
RATIO_RANK = "size_or_growth"
#: Units that the kernel's own killer ends, and steps that would be in vain if it chose among everybody.
_WHOLE = ("auto", "cgroup")
_ABOUT_THE_CHOSEN = ("slow", "pause", "ask")
#: What the units can be that each of these keys is for.
_OF_UNITS = {"among": ("cgroup", "auto"), "descend": ("cgroup",), "least_swap": ("cgroup",)}


def check(table: Section, fields: Mapping[str, Any]) -> None:
    """Refuses what does not go together.

    Args:
        table: A rule's keys.
        fields: What they hold.

    Raises:
        PolicyError: A key or a value means nothing beside the others.
    """
    rank, unit = fields.get("rank", RANKS[0]), fields.get("unit", "family")
    scoped = "scope" in fields or "managed" in fields
    for key, value in table.pairs:
        name = key.value
        if name == "rank":
            _check_rank(value.string(), unit)
        elif name in ("least_score", "raised") and rank not in POINTED:
            raise key.error(f"rank {rank} has no scores", f"this key with rank {' or '.join(POINTED)} only")
        elif name == "points" and unit == "cgroup":
            raise key.error("unit cgroup takes no points", "prefer and avoid, or another unit")
        elif name == "points" and rank == KERNELS:
            raise key.error(f"rank {rank} takes no points", "rank badness, which is the same with points")
        elif name in _OF_UNITS and unit not in _OF_UNITS[name]:
            raise key.error(f"unit {unit} is not of cgroups", f"this key with unit {' or '.join(_OF_UNITS[name])} only")
        elif name in RATIO_KEYS and rank != RATIO_RANK:
            raise key.error(f"rank {rank} has no such ratio", f"this key with rank {RATIO_RANK} only")
        elif name == "scope" and "managed" in fields:
            raise key.error("a scope beside managed", "one of them: what systemd manages is the scope")
        elif name == "among" and fields["among"].relative and not scoped:
            raise value.string().error("a rule that is about no cgroup", "paths from the root, or scope in the rule")
        elif name == "by":
            _check_by(value.string(), fields, unit)
        elif name == "share" and "by" not in fields:
            raise key.error("a share of nobody", f"by = {' or '.join(HOLDERS)} beside it")
        elif name == "steps":
            _check_steps(value.strings(), scoped, unit)


def check_prime(key: Text, rules: Iterable[Rule]) -> None:
    """Refuses to have the kernel's own killer told whom to take by a rule that goes by what that killer says.

    Raises:
        PolicyError: There is such a rule.
    """
    pointed = next((rule for rule in rules if rule.rank in POINTED), None)
    if pointed:
        problem = f"whom rule {pointed.name} takes by rank {pointed.rank} would follow from whom it has primed"
        raise key.error(problem, f"this key with ranks other than {' and '.join(POINTED)}")


def _check_rank(rank: Text, unit: str) -> None:
    if unit != "cgroup" and rank.value in CGROUP_RANKS:
        raise rank.error("a rank of cgroups", f'unit = "cgroup" with it, or one of {", ".join(RANKS)}')
    if unit == "cgroup" and rank.value in POINTED:
        known = [name for name in RANKS if name not in POINTED]
        raise rank.error("a rank of processes", f"one of {', '.join((*known, *CGROUP_RANKS))} with unit cgroup")


def _check_steps(steps: list[Text], scoped: bool, unit: str) -> None:
    kinds = [step.value.split()[0].partition(":")[0] for step in steps]
    for number, (kind, step) in enumerate(zip(kinds, steps, strict=True)):
        if kind == "shrink" and not scoped:
            raise step.error("no cgroup to shrink", "scope in the rule")
        if kind in _ABOUT_THE_CHOSEN and unit not in _WHOLE:
            # What comes of it has to be the end of the same, and not of whom the kernel finds.
            end = next((later for later in kinds[number:] if later in ("term", "oom", "kill")), "")
            if end == "oom":
                expected = f"kill as its end, or unit {' or '.join(_WHOLE)}"
                raise step.error(f"{kind} before oom, where the kernel chooses somebody else", expected)


def _check_by(by: Text, fields: Mapping[str, Any], unit: str) -> None:
    if unit == "cgroup":
        raise by.error("unit cgroup goes by what a cgroup holds, and not by whose it is", "another unit, or no by")
    steps = fields.get("steps", (Step("kill"),))
    if not Rule("", fields["when"], "", unit=unit, steps=steps).chooses:
        raise by.error("a rule that takes nobody", "a step that takes somebody, such as pause 10s, or no by")
