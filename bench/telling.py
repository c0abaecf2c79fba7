"""Whether anything that happens to those who tell of an emergency slows the guard down: pairs of emergencies, one of
them undisturbed."""

from __future__ import annotations

from bench.daemons import Daemon
from bench.result import SUBJECT, Measure
from tests.box.disturbance import DISTURBANCES, Scenes

TRIALS = 50
CALM = "undisturbed"


def run(daemons: list[Daemon], trials: int | None) -> list[Measure]:
    """From the fall of memory to the hog's death, disturbed and not, in turn. okoomer alone."""
    measures = {name: Measure(f"{name}: to death", "s") for name in DISTURBANCES}
    with Scenes() as scenes:
        for _ in range(trials or TRIALS):
            for name, disturbance in DISTURBANCES.items():
                calm, disturbed = scenes.pair(disturbance)
                measures[name].add(SUBJECT, disturbed)
                measures[name].add(CALM, calm)
    return list(measures.values())
