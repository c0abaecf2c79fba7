"""The two clocks that matter: one stands still while the machine sleeps, the other does not."""

from __future__ import annotations

from time import CLOCK_BOOTTIME, CLOCK_MONOTONIC, clock_gettime


def monotonic() -> float:
    """Seconds since boot without the time asleep."""
    return clock_gettime(CLOCK_MONOTONIC)


def since_boot() -> float:
    """Seconds since boot, the time asleep included: the clock of the start times in /proc/PID/stat."""
    return clock_gettime(CLOCK_BOOTTIME)


def asleep() -> float:
    """Seconds that the machine has slept since boot, to a tenth: the clocks are read one after the other."""
    return round(since_boot() - monotonic(), 1)
