"""How far memory falls below the levels before a signal arrives, at several speeds."""

from __future__ import annotations

import contextlib
import math
import random
import time
from contextlib import ExitStack

from bench.daemons import KILL_PERCENT, TERM_PERCENT, Daemon
from bench.result import Measure
from tests.box.box import Box
from tests.box.procfiles import MIB

TRIALS = 5
RATES = (0.2e9, 1e9, 5e9, 10e9)
RUN_UP = 3.0
PATIENCE = 15.0
# Small enough to be dead within a few milliseconds of the signal.
HOG = 64 * MIB


def run(daemons: list[Daemon], trials: int | None) -> list[Measure]:
    """MiB below 10 % at the first signal, and below 5 % at the death of a hog that ignores SIGTERM."""
    measures = []
    with ExitStack() as stack:
        boxes = {daemon.name: stack.enter_context(Box()) for daemon in daemons}
        for daemon in daemons:
            daemon.start(boxes[daemon.name], daemon.live)
        for rate in RATES:
            first = Measure(f"{rate / 1e9:g} GB/s: below {TERM_PERCENT} % at the first signal", "MiB")
            death = Measure(f"{rate / 1e9:g} GB/s: below {KILL_PERCENT} % at the death", "MiB")
            for _ in range(trials or TRIALS):
                for name, box in boxes.items():
                    below_term, below_kill = _fall(box, rate)
                    first.add(name, below_term / MIB)
                    death.add(name, below_kill / MIB)
            measures += [first, death]
    return measures


def _fall(box: Box, rate: float) -> tuple[float, float]:
    """Bytes below the two levels, by the fall's own line, which goes on below zero."""
    term, kill = box.total * TERM_PERCENT // 100, box.total * KILL_PERCENT // 100
    box.memory(available=min(box.total * 8 // 10, term + int(rate * RUN_UP)))
    hog = box.spawn(rss_bytes=HOG, ignore_term=True)
    time.sleep(random.uniform(1.2, 2.2))
    fall = box.fall(rate)
    with contextlib.suppress(TimeoutError):
        hog.wait(PATIENCE)
    box.memory(available=box.total * 8 // 10)
    if not hog.death:
        hog.stop()
        return math.inf, math.inf

    def available(at: float) -> float:
        return fall.start - rate * (at - fall.since)

    return term - available(hog.wait_signal(0).at), kill - available(hog.death.at)
