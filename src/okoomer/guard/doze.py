"""Dozing: what the guard does for most of its life, on a machine that is well.

Most wake-ups come to the same end as the one before: memory is where it was. The price of such a wake-up is the
memory that it touches, cold as it is after seconds of sleep, so all of them are passed in one function that looks at
three figures, instead of making a snapshot and a verdict each time.
"""

from __future__ import annotations

import posix as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from select import poll

    from okoomer.facts import Snapshot

#: Seconds of certain peace from which dozing pays, and after which a full look is due in any case.
CALM, LONGEST = 1.0, 60.0
#: What a look sees; whether a rule about another level could fire is not known without a snapshot. (Stalls on memory
#: wake by trigger.)
SEEN = frozenset(("mem.total", "mem.available", "swap.total", "swap.free", "swap.used", "swap.effective"))
#: Dozing ends when memory has fallen so far that less than this share of the pause would be left.
ENOUGH = 0.875


def doze(
    poller: poll,
    meminfo: int,
    snapshot: Snapshot,
    pause: float,
    fill_rate: float,
    alive: Callable[[float], None],
) -> list[tuple[int, int]]:
    """Sleeps on, a pause at a time, while available memory and swap are what they were in a snapshot.

    Args:
        poller: Whatever else may end it.
        meminfo: A descriptor of /proc/meminfo.
        snapshot: The last one, after which nothing could happen for `pause` seconds.
        pause: Seconds to sleep between looks.
        fill_rate: Bytes per second by which memory can fall.
        alive: Is told before each sleep how long it will be.

    Returns:
        What the poller found; nothing if memory changed, cannot be read, or a full look is due.
    """
    poll, pread = poller.poll, os.pread
    before, swap = snapshot.memory.available, (snapshot.swap.total, snapshot.swap.free)
    sleep = pause
    for _ in range(int(LONGEST / pause)):
        alive(sleep)
        events = poll(int(sleep * 1000))
        if events:
            return events
        try:
            text = pread(meminfo, 8192, 0)
            at = text.index(b"\nMemAvailable:") + 14
            available = int(text[at : text.index(b" kB", at)]) * 1024
            at = text.index(b"\nSwapTotal:", at) + 11
            swap_total = int(text[at : text.index(b" kB", at)]) * 1024
            at = text.index(b"\nSwapFree:", at) + 10
            swap_free = int(text[at : text.index(b" kB", at)]) * 1024
        except (OSError, ValueError):
            break
        # What memory has fallen by is missing in the next sleep.
        sleep = min(pause, pause - (before - available) / fill_rate)
        if sleep < pause * ENOUGH or (swap_total, swap_free) != swap:
            break
    return []
