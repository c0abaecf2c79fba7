"""What it costs to have each daemon waiting: memory, CPU time, wake-ups."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.daemons import Daemon
from bench.process import cpu_seconds, family, memory_kib, wakeups
from bench.result import Measure
from tests.box.box import Box
from tests.box.process import Proc

REST = 60.0
SETTLE = 10.0
BARE = "bare Python"


def run(daemons: list[Daemon], trials: int | None) -> list[Measure]:
    """All beside each other in the real memory of the machine, so that real pressure triggers are at work.

    Each is measured as the one process that was started (okoomer's guard) and with its descendants. A bare
    interpreter sleeps beside them: the floor for anything in Python. `trials` counts minutes.
    """
    with Box(invented=False) as box:
        procs = {daemon.name: daemon.start(box, daemon.idle) for daemon in daemons}
        sleeper = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(1e9)"]
        procs[BARE] = box.spawn(sleeper)
        time.sleep(SETTLE)
        cpu = Measure("idle: CPU", "ms/min")
        cpu_all = Measure("idle: CPU, with descendants", "ms/min")
        wake = Measure("idle: wake-ups", "1/min")
        wake_all = Measure("idle: wake-ups, with descendants", "1/min")
        for _ in range(trials or 1):
            readings = [_counters(proc) for proc in procs.values()]
            time.sleep(REST)
            for (name, proc), before in zip(procs.items(), readings, strict=True):
                after = _counters(proc)
                for measure, new, old in zip((cpu, cpu_all, wake, wake_all), after, before, strict=True):
                    measure.add(name, (new - old) * 60 / REST)
        return [*_memory(procs), cpu, cpu_all, wake, wake_all]


def _counters(proc: Proc) -> tuple[float, float, float, float]:
    def total(count: Callable[[Path], float]) -> float:
        return sum(count(member) for member in family(proc))

    return (
        cpu_seconds(proc.proc) * 1000,
        total(cpu_seconds) * 1000,
        wakeups(proc.proc),
        total(wakeups),
    )


def _memory(procs: dict[str, Proc]) -> list[Measure]:
    measures = []
    for field in ("Rss", "Pss", "Anonymous"):
        one, all_of_it = Measure(field, "KiB"), Measure(f"{field}, with descendants", "KiB")
        for name, proc in procs.items():
            one.add(name, memory_kib(proc.proc)[field])
            all_of_it.add(name, sum(memory_kib(member)[field] for member in family(proc)))
        measures += [one, all_of_it]
    return measures
