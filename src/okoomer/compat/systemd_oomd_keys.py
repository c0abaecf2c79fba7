"""systemd-oomd's settings, each with its default and with what becomes of it here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from okoomer.compat.systemd_oomd_values import permyriad, span
from okoomer.policy.source import Text, near
from okoomer.record import Record

#: What a ruleset does. systemd's own pages write them with hyphens, its program with underscores.
ACTIONS = ("kill-all", "kill-by-pgscan", "kill-by-swap")


class Key(Record):
    """A key of `[OOM]` or `[Rule]`: the version of systemd that brought it, its default and what it takes as a page
    shows them, what it becomes here, the field that holds it, and what reads its value."""

    section: str
    name: str
    since: int
    default: str
    takes: str
    here: str
    field: str
    read: Callable[[Text], Any]


class Ruleset(Record):
    """A file `NAME.oomrule`: shares in parts of ten thousand, None where no condition is set, and seconds."""

    name: str
    action: str
    pressure: int | None = None
    swap: int | None = None
    seconds: float = 0.0


def _lasting(text: Text) -> float:
    """How long pressure lasts; nothing and 0 are the default."""
    seconds = span(text) if text.value else 0.0
    if 0 < seconds < 1:
        raise text.error("too short", "at least 1s, or 0 for the default")
    return seconds or DEFAULT_SECONDS


def _wait(text: Text) -> float:
    return span(text) if text.value else 0.0


def _action(text: Text) -> str:
    word = text.value.replace("_", "-")
    if word not in ACTIONS:
        raise text.error("unknown action", f"one of {', '.join(ACTIONS)}{near(text.value, ACTIONS)}")
    return word


DEFAULT_SWAP, DEFAULT_PRESSURE, DEFAULT_SECONDS = 9000, 6000, 30.0
_SHARE = "a share in %, ‰ or ‱"

KEYS = (
    Key(
        "OOM", "SwapUsedLimit", 247, "90%", _SHARE,
        "rule `swap`: `mem.available < REST and swap.free < REST`, where REST is what is left to 100 %; at 100 % none",
        "swap", permyriad,
    ),
    Key(
        "OOM", "DefaultMemoryPressureLimit", 247, "60%", _SHARE,
        "rule `pressure`: `cgroup.psi.memory.full.avg10 > ...`, where the unit sets none; 100 % is taken as 99.99 %",
        "pressure", permyriad,
    ),
    Key(
        "OOM", "DefaultMemoryPressureDurationSec", 248, "30s", "a span of time, at least 1s; 0 is the default",
        "rule `pressure`: `... for ...`, where the unit sets none",
        "seconds", _lasting,
    ),
    Key(
        "OOM", "PrekillHookTimeoutSec", 260, "0", "a span of time; 0 is no hooks",
        "the step `prekill ...` before `kill` in each rule",
        "prekill", _wait,
    ),
    Key(
        "Rule", "MemoryPressureAbove", 261, "", _SHARE,
        "`cgroup.psi.memory.full.avg10 > ...` of the unit",
        "pressure", permyriad,
    ),
    Key(
        "Rule", "SwapUsageMax", 261, "", _SHARE,
        "`swap.free < REST` of the machine, where REST is what is left to 100 %",
        "swap", permyriad,
    ),
    Key(
        "Rule", "Action", 261, "needed", ", ".join(ACTIONS),
        "`descend = \"no\"`; or `rank = \"pgscan\"`; or `rank = \"swap\"` with `least_swap = \"5%\"`",
        "action", _action,
    ),
    Key(
        "Rule", "LastingSec", 261, "0", "a span of time",
        "`(...) for ...`",
        "seconds", _wait,
    ),
)  # fmt: skip


class Settings(Record):
    """All that is set: shares in parts of ten thousand, and seconds. `files` are those that were read, `notes` what
    was passed over in them."""

    swap: int = DEFAULT_SWAP
    pressure: int = DEFAULT_PRESSURE
    seconds: float = DEFAULT_SECONDS
    prekill: float = 0.0
    rulesets: tuple[Ruleset, ...] = ()
    files: tuple[str, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()


class UnitKey(Record):
    """A setting of a unit: since when, its default, what it takes, and what becomes of it here."""

    name: str
    since: int
    default: str
    takes: str
    here: str


#: Settings of units that concern systemd-oomd (systemd.resource-control(5), systemd.service(5)).
UNIT_KEYS = (
    UnitKey(
        "ManagedOOMSwap", 247, "auto", "auto, kill",
        "`kill`: a copy of the rule `swap` that chooses among all units with this setting",
    ),
    UnitKey(
        "ManagedOOMMemoryPressure", 247, "auto", "auto, kill",
        "`kill`: a copy of the rule `pressure` with the unit's cgroup as its scope",
    ),
    UnitKey(
        "ManagedOOMMemoryPressureLimit", 247, "0%", "a share; 0 is the default",
        "the limit in that copy: `cgroup.psi.memory.full.avg10 > ...`",
    ),
    UnitKey(
        "ManagedOOMMemoryPressureDurationSec", 257, "", "a span of time, at least 1s; nothing is the default",
        "the time in that copy: `... for ...`",
    ),
    UnitKey(
        "ManagedOOMPreference", 248, "none", "none, avoid, omit",
        "the marks that systemd puts on the cgroup: `avoid` has `tag:user\\.oomd_avoid`, `spare` has "
        "`tag:user\\.oomd_omit`",
    ),
    UnitKey(
        "OOMRules", 261, "", "names of rulesets",
        "for each a copy of the rule `oomrule NAME` with the unit's cgroup as its scope",
    ),
    UnitKey(
        "OOMPolicy", 251, "stop", "continue, stop, kill",
        "`kill`: systemd sets memory.oom.group, and the cgroup is one candidate that ends as a whole",
    ),
)  # fmt: skip
