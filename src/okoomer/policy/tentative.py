"""Whom a rule may pause for a moment on weak evidence: who grows, and takes no harm; and which rules that shows whether
they are right. Pure."""

from __future__ import annotations

from okoomer.policy.metrics import METRICS
from okoomer.policy.model import And, Comparison, Held, Or
from okoomer.policy.scale import LAST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from okoomer.facts import Process
    from okoomer.policy.model import Condition
    from okoomer.policy.scale import Candidate

#: Seconds since a unit's last pause of this kind began after which it begins anew: who has not filled what room there
#: was by then is no hog, or a slow one.
ANEW = 3.5
#: The share of all growth from which somebody's pause would be felt.
GROWTH_SHARE = 0.25


def bears(found: Candidate, members: Iterable[Process], growth: float) -> bool:
    """Whether a unit may be paused: nobody who holds others' work together or comes last, nor who has lowered his
    oom_score_adj, which programs do that others wait for.

    Args:
        growth: Bytes per second by which all together grow.
    """
    return (
        found.tier != LAST
        and (found.growth or 0.0) > 0
        and (found.growth or 0.0) >= GROWTH_SHARE * growth
        and all(process.adjustment >= 0 for process in members)
    )


def has_watchdog(pid: int, environment: str) -> bool:
    """Whether somebody ends a process that stands still: the service manager, by WatchdogSec= (sd_watchdog_enabled(3)).
    Who was started by such a one has the variables, too, but is not meant.

    Args:
        environment: What it was started with, spaces between the variables.
    """
    words = environment.split()
    if not any(word.startswith("WATCHDOG_USEC=") for word in words):
        return False
    meant = [word for word in words if word.startswith("WATCHDOG_PID=")]
    return not meant or f"WATCHDOG_PID={pid}" in meant


def goes_by_stalls(condition: Condition) -> bool:
    """Whether a condition can hold only if somebody waits. Whoever is to blame waits no longer once he stands still, so
    that a pause shows within a moment what a longer look at the stall would."""
    if isinstance(condition, Comparison):
        return METRICS[condition.metric].stalls and condition.operator in (">", ">=")
    if isinstance(condition, Held):
        return goes_by_stalls(condition.condition)
    if isinstance(condition, And):
        return any(map(goes_by_stalls, condition.parts))
    return isinstance(condition, Or) and all(map(goes_by_stalls, condition.parts))
