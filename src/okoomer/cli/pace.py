"""How fast this machine could fill its memory: the guard sleeps as long as that takes at the fastest.

A phone or an emulated machine fills a hundredth of what a server does. A guard that took it for a server would look
thirty times a second at nothing.
"""

from __future__ import annotations

import mmap
import os
import time

from okoomer.policy.engine import FILL_RATE
from okoomer.units import MIB

#: So much is filled, so many times; the fastest counts, as a start-up is a busy moment.
SIZE, TIMES = 8 * MIB, 5
#: What is measured is the interpreter's copy as well, and a processor that may be slowed down just now.
MARGIN = 4
#: No machine is taken to be slower than this.
SLOWEST = 512 * MIB


def fill_rate() -> float:
    """Bytes per second that all processors together could take at the most, each as fast as one does now, with a
    margin; never more than FILL_RATE."""
    page = b"\1" * SIZE
    seconds = min(_fill(page) for _ in range(TIMES))
    processors = len(os.sched_getaffinity(0))
    return min(FILL_RATE, max(SLOWEST, MARGIN * processors * SIZE / seconds))


def _fill(data: bytes) -> float:
    start = time.perf_counter()
    with mmap.mmap(-1, len(data), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[:] = data
        return max(1e-6, time.perf_counter() - start)
