"""Where a machine's facts lie: the live one below /proc and /sys, a recorded one below a directory."""

from __future__ import annotations

from okoomer.record import Record


class Machine(Record):
    """Roots of the kernel's file systems. Only a live machine has clocks, triggers and processes to act on."""

    proc: str = "/proc"
    sys: str = "/sys"
    live: bool = True


LIVE = Machine()


def recorded(directory: str) -> Machine:
    """The machine that `okoomer snapshot` wrote to a directory."""
    return Machine(f"{directory}/proc", f"{directory}/sys", live=False)
