"""Why a rule acted, as one word from a fixed list, so that acts can be counted and compared."""

from __future__ import annotations

from okoomer.policy.engine import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.policy.engine import Engine
    from okoomer.policy.model import Rule

LOW_MEMORY = "low-memory"
LOW_MEMORY_AND_SWAP = "low-memory-and-swap"
LOW_MEMORY_AND_STALL = "low-memory-and-stall"
LOW_SWAP = "low-swap"
STALL = "stall"
FORECAST = "forecast"
OWNERLESS = "ownerless-memory"
OTHER = "other"

#: The first row whose kinds of evidence are all there gives the reason.
_REASONS = (
    ({"mem", "stall"}, LOW_MEMORY_AND_STALL),
    ({"mem", "swap"}, LOW_MEMORY_AND_SWAP),
    ({"mem"}, LOW_MEMORY),
    ({"stall"}, STALL),
    ({"swap"}, LOW_SWAP),
    ({"forecast"}, FORECAST),
)
_EVIDENCE = {"mem": "mem", "swap": "swap", "zram": "swap", "psi": "stall", "vm": "stall", "forecast": "forecast"}


def reason_of(rule: Rule, engine: Engine, writes: bool = False) -> str:
    """The reason for which a fired rule acts: by those of its comparisons that hold, unless it takes somebody for what
    he `writes` into memory that belongs to nobody."""
    if writes:
        return OWNERLESS
    evidence = {
        _EVIDENCE[comparison.metric.split(".")[0]] for comparison in inside(rule.when) if engine.holds(comparison)
    }
    return next((reason for kinds, reason in _REASONS if kinds <= evidence), OTHER)
