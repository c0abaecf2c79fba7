"""The CPU time of one look at many cgroups, under ten rules with a scope: in this process, on files that only look
like a hierarchy, since no box has one of its own. A pressure file of the kernel's
costs some 4 us more than one of these."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.daemons import Daemon
from bench.result import SUBJECT, Measure
from okoomer.guard.cgroups import Cgroups
from okoomer.kernel.machine import Machine
from okoomer.policy.metrics import METRICS
from okoomer.policy.scope import scope_of
from okoomer.policy.wants import Want

TRIALS = 40
CROWDS = (100, 1000, 5000)
RULES = 10
#: Seconds from look to look, as the guard's clock shows them.
STEP = 0.1
LIMITS = {"memory.high": "max", "memory.max": "max", "cgroup.events": "populated 1\nfrozen 0"}


def run(_daemons: list[Daemon], trials: int | None) -> list[Measure]:
    """okoomer alone: the first look, one while nothing stalls, and one while some cgroup in each slice does."""
    measures = []
    for crowd in CROWDS:
        first = Measure(f"{crowd} cgroups, the first look", "ms")
        calm = Measure(f"{crowd} cgroups, nothing stalls", "ms")
        near = Measure(f"{crowd} cgroups, some stall in each slice", "ms")
        with _tree(crowd) as (machine, mount):
            cgroups = Cgroups(machine)
            wants = [
                Want(scope_of(f"*.slice/*,other{rule}.slice"), frozenset(METRICS["cgroup.stall.full"].fields))
                for rule in range(RULES)
            ]
            now = 100.0
            for trial in range(2 * (trials or TRIALS)):
                stalled = trial % 2 == 1
                if stalled:
                    for directory in (mount, *mount.glob("*.slice"), *mount.glob("*.slice/0")):
                        _stall(directory, trial)
                start = time.thread_time()
                cgroups.scoped(wants, now)
                spent = (time.thread_time() - start) * 1000
                (first if trial == 0 else near if stalled else calm).add(SUBJECT, spent)
                now += STEP
            cgroups.close()
        measures += [first, calm, near]
    return measures


@contextmanager
def _tree(crowd: int) -> Iterator[tuple[Machine, Path]]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        mount = Path(folder, "cgroup")
        paths = [mount / f"{number % 10}.slice/{number // 10}" for number in range(crowd)]
        for directory in (mount, *{path.parent for path in paths}, *paths):
            directory.mkdir(parents=True, exist_ok=True)
            _stall(directory, 0)
            if directory != mount:
                for name, text in LIMITS.items():
                    (directory / name).write_text(f"{text}\n")
        (Path(folder) / "proc/self").mkdir(parents=True)
        (Path(folder) / "proc/self/mounts").write_text(f"cgroup2 {mount} cgroup2 rw 0 0\n")
        yield Machine(f"{folder}/proc", f"{folder}/sys"), mount


def _stall(directory: Path, milliseconds: int) -> None:
    line = f"avg10=0.00 avg60=0.00 avg300=0.00 total={milliseconds * 1000}\n"
    (directory / "memory.pressure").write_text(f"some {line}full {line}")
