"""The two clocks that matter, in seconds since boot: `monotonic` stands still while the machine sleeps, `since_boot`
does not."""

from __future__ import annotations

from time import CLOCK_BOOTTIME, clock_gettime, monotonic

__all__ = ["asleep", "monotonic", "since_boot"]


def since_boot() -> float:
    """Seconds since boot, the time asleep included: the clock of the start times in /proc/PID/stat."""
    return clock_gettime(CLOCK_BOOTTIME)


def asleep() -> float:
    """Seconds that the machine has slept since boot, to a tenth: the clocks are read one after the other."""
    return round(since_boot() - monotonic(), 1)
