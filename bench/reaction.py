"""How long after memory is gone the victim is dead: a step from plenty to below the levels."""

from __future__ import annotations

import contextlib
import math
import random
import time
from contextlib import ExitStack

from bench.daemons import Daemon
from bench.result import Measure
from tests.box.box import Box
from tests.box.process import Proc
from tests.box.procfiles import MIB
from tests.box.signals import SignalTrace, machine_pid

TRIALS = 20
HOG = 200 * MIB
PATIENCE = 20.0
LADDER_PATIENCE = 30.0
LADDER_TRIALS = 3
CHURN = 500
# As many idle processes as a small machine has.
CROWD = 200


def run(daemons: list[Daemon], trials: int | None) -> list[Measure]:
    """Steps to 3 %, quiet and with processes coming and going; to 8 % with a hog that ignores SIGTERM."""
    trials = trials or TRIALS
    with ExitStack() as stack:
        try:
            trace: SignalTrace | None = stack.enter_context(SignalTrace())
        except OSError:
            trace = None
        boxes = {daemon.name: stack.enter_context(Box()) for daemon in daemons}
        for daemon in daemons:
            boxes[daemon.name].crowd(CROWD)
            daemon.start(boxes[daemon.name], daemon.live)
        return [
            *_steps("quiet", boxes, trials, trace, churn=0),
            *_steps(f"{CHURN} forks/s", boxes, trials, trace, churn=CHURN),
            *_ladder(boxes, min(trials, LADDER_TRIALS)),
        ]


def _steps(variant: str, boxes: dict[str, Box], trials: int, trace: SignalTrace | None, churn: int) -> list[Measure]:
    sent = Measure(f"{variant}: to SIGKILL sent", "s")
    dead = Measure(f"{variant}: to death", "s")
    for _ in range(trials):
        for name, box in boxes.items():
            churner = box.churn(churn) if churn else None
            hog = _hog(box, ignore_term=False)
            machine = machine_pid(hog)
            began = _step(box, 3)
            with contextlib.suppress(TimeoutError):
                hog.wait(PATIENCE)
            dead.add(name, hog.death.at - began if hog.death else math.inf)
            if trace and hog.death:
                sent.add(name, trace.sent_to(machine, since=began)[0].at - began)
            hog.stop()
            if churner:
                churner.stop()
            _plenty(box)
    return [sent, dead] if trace else [dead]


def _ladder(boxes: dict[str, Box], trials: int) -> list[Measure]:
    term = Measure("SIGTERM ignored at 8 %: to SIGTERM", "s")
    dead = Measure("SIGTERM ignored at 8 %: to death", "s")
    for _ in range(trials):
        for name, box in boxes.items():
            hog = _hog(box, ignore_term=True)
            began = _step(box, 8)
            with contextlib.suppress(TimeoutError):
                hog.wait(LADDER_PATIENCE)
            term.add(name, hog.signals[0].at - began if hog.signals else math.inf)
            dead.add(name, hog.death.at - began if hog.death else math.inf)
            hog.stop()
            _plenty(box)
    return [term, dead]


def _hog(box: Box, *, ignore_term: bool) -> Proc:
    """The victim; its death ends the shortage at once, so that nothing else has to die."""
    return box.spawn(rss_bytes=HOG, ignore_term=ignore_term, gives_back=box.total)


def _step(box: Box, percent: int) -> float:
    """Memory is short from the returned time on; a random while after the last event in this box."""
    time.sleep(random.uniform(0.5, 3.5))
    began = time.monotonic()
    box.memory(available=box.total * percent // 100)
    return began


def _plenty(box: Box) -> None:
    box.memory(available=box.total * 8 // 10)
