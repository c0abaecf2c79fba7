"""Why a rule acted, as one word from a fixed list, so that acts can be counted and compared."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.facts import Cgroup
    from okoomer.policy.engine import Engine
    from okoomer.policy.model import Rule

LOW_MEMORY = "low-memory"
LOW_MEMORY_AND_SWAP = "low-memory-and-swap"
LOW_MEMORY_AND_STALL = "low-memory-and-stall"
LOW_SWAP = "low-swap"
STALL = "stall"
FORECAST = "forecast"
CGROUP_LIMIT = "cgroup-limit"
CGROUP_SIZE = "cgroup-size"
OWNERLESS = "ownerless-memory"
OVER_SHARE = "over-share"
OTHER = "other"

#: The first row whose kinds of evidence are all there gives the reason.
_REASONS = (
    ({"mem", "stall"}, LOW_MEMORY_AND_STALL),
    ({"mem", "swap"}, LOW_MEMORY_AND_SWAP),
    ({"mem"}, LOW_MEMORY),
    ({"stall"}, STALL),
    ({"swap"}, LOW_SWAP),
    ({"forecast"}, FORECAST),
    ({"limit"}, CGROUP_LIMIT),
    ({"size"}, CGROUP_SIZE),
)
_EVIDENCE = {
    "mem": "mem", "swap": "swap", "zram": "swap", "psi": "stall", "vm": "stall", "canary": "stall",
    "forecast": "forecast",
}  # fmt: skip
#: The same for what is of a cgroup, by the word after `cgroup.`
_EVIDENCE_OF_CGROUP = {
    **dict.fromkeys(("psi", "stall", "scan", "refault", "thrash"), "stall"),
    **dict.fromkeys(("left", "events"), "limit"),
    **dict.fromkeys(("memory", "anon", "file", "shmem", "swap", "growth", "processes"), "size"),
}


def reason_of(rule: Rule, engine: Engine, writes: bool = False, target: Cgroup | None = None) -> str:
    """The reason for which a fired rule acts (about a cgroup, if it has a scope): by those of its comparisons that
    hold, unless it takes somebody for what he `writes` into memory that belongs to nobody, or for what he holds beyond
    his share."""
    if writes:
        return OWNERLESS
    if rule.share:
        return OVER_SHARE
    evidence = {_evidence(comparison.metric) for comparison in engine.holding(rule, target)}
    return next((reason for kinds, reason in _REASONS if kinds <= evidence), OTHER)


def _evidence(metric: str) -> str:
    family, _, rest = metric.partition(".")
    return _EVIDENCE_OF_CGROUP.get(rest.partition(".")[0], "") if family == "cgroup" else _EVIDENCE[family]
