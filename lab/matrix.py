"""Which runs there are to be, and which of them are still missing."""

import os
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Self

import msgspec

from lab.daemons import DAEMONS, EVERYBODY
from lab.run import Ending, Run, Swap, encoded, read
from lab.scenarios import SCENARIOS, group
from tests.vm.host import HostError

REPEATED = {"S1", "S5", "S6", "S7", "S10", "S13", "S15"}
RIVALS = ("none", "earlyoom", "nohang-desktop", "systemd-oomd", "okoomer")
REPEATS = 3
SWEPT = (("S2-churn", Swap.DISK), ("S13-disk", Swap.DISK))
SWEPT_DAEMONS = ("earlyoom", "nohang-desktop", "systemd-oomd", "okoomer")
QUICK = {"S1", "S5", "S7", "S10", "S13", "S15"}
QUICK_DAEMONS = ("okoomer", "earlyoom", "nohang-desktop", "systemd-oomd")
NOISY_S = 1.0
"""A run in which the host delayed even the recorder for so long is made again, once."""
TRIES = 2
POLL_S = 0.1
CANNOT_HERE = 3  # the exit code


@dataclass(frozen=True)
class Cell:
    scenario: str
    swap: Swap
    daemon: str
    repeat: int = 1
    point: str = ""

    @classmethod
    def of(cls, run: Run) -> Self:
        """The cell that a run belongs to."""
        return cls(run.scenario, run.swap, run.daemon, run.repeat, run.point)

    def __str__(self) -> str:
        point = f" {self.point}" if self.point else ""
        return f"{self.scenario} {self.swap} {self.daemon}{point} #{self.repeat}"

    def arguments(self) -> list[str]:
        options = ["--swap", self.swap, "--repeat", str(self.repeat), "--json"]
        return ["run", *options, *(["--point", self.point] if self.point else []), self.scenario, self.daemon]


def full() -> list[Cell]:
    """Every scenario with every daemon on each of its swap layouts, what decides three times, and the sweep.

    All daemons meet a scenario one after another, so that what changes with the hour is the same for all of them.
    """
    return [
        Cell(scenario.name, swap, daemon, repeat)
        for repeat in range(1, REPEATS + 1)
        for scenario in SCENARIOS.values()
        for swap in scenario.swaps
        for daemon in scenario.daemons or DAEMONS
        if repeat == 1 or scenario.daemons or (group(scenario.name) in REPEATED and daemon in RIVALS)
    ] + sweep()


def sweep() -> list[Cell]:
    """Each daemon's main threshold at each of its points, where it hurts and where nothing is wrong."""
    return [
        Cell(scenario, swap, daemon.name, point=setting.label)
        for scenario, swap in SWEPT
        for daemon in DAEMONS.values()
        for setting in daemon.sweep
        if daemon.name in SWEPT_DAEMONS
    ]


def quick() -> list[Cell]:
    """What matters most, once, on each scenario's first swap layout."""
    return [
        Cell(scenario.name, scenario.swaps[0], daemon)
        for scenario in SCENARIOS.values()
        if group(scenario.name) in QUICK
        for daemon in QUICK_DAEMONS
    ]


def latest(runs: Iterable[Run]) -> list[Run]:
    """The last run of each cell, in the order of the first."""
    return list({Cell.of(run): run for run in runs}.values())


def missing(cells: Iterable[Cell], runs: Iterable[Run], key: Callable[[Cell], str]) -> list[Cell]:
    """Those cells that were never run, or with other programs, scripts or settings than those of today."""
    known = {Cell.of(run): run.key for run in runs}
    return [cell for cell in cells if known.get(cell) != key(cell)]


def start(cell: Cell) -> Popen[bytes]:
    """A cell in a process of its own, which ends with its guest when it is interrupted, and prints the run."""
    return Popen([sys.executable, "-m", "lab", *cell.arguments()], stdin=DEVNULL, stdout=PIPE, stderr=PIPE)


def fill(
    cells: Sequence[Cell],
    results: Path,
    jobs: int,
    say: Callable[[str], None],
    start: Callable[[Cell], Popen[bytes]] = start,
) -> int:
    """Run the cells, ``jobs`` at a time, and append each run to the results as it ends; returns how many failed."""
    results.parent.mkdir(parents=True, exist_ok=True)
    waiting, running = deque(cells), dict[Cell, Popen[bytes]]()
    free = places(jobs)
    place = dict[Cell, frozenset[int]]()
    tried = defaultdict[Cell, list[Run]](list)
    done = failed = 0
    begin = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                cell = waiting.popleft()
                place[cell] = free.pop()
                running[cell] = start(cell)
                # With all that it will start: guests that share a processor disturb one another.
                os.sched_setaffinity(running[cell].pid, place[cell])
            time.sleep(POLL_S)
            for cell in [cell for cell, process in running.items() if process.poll() is not None]:
                run, words = _ended(running.pop(cell))
                free.append(place.pop(cell))
                if run is not None:
                    tried[cell].append(run)
                    if not _good(run) and len(tried[cell]) < TRIES:
                        say(f"{cell}: {_state(run)}, once more")
                        waiting.appendleft(cell)
                        continue
                done += 1
                best = min(tried.pop(cell, []), key=lambda one: (_failed(one), one.seen.noise_s), default=None)
                if best is None or _failed(best):
                    failed += 1
                if best is not None:
                    with results.open("ab") as file:
                        file.write(encoded(best))
                left_min = (time.monotonic() - begin) / done * (len(cells) - done) / 60
                say(f"{done} of {len(cells)}: {cell}: {_state(best) if best else words}; {left_min:.0f} min left")
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.communicate()
    return failed


def places(jobs: int) -> list[frozenset[int]]:
    """The processors of this machine, dealt out to so many guests; some share one if there are too few."""
    processors = sorted(os.sched_getaffinity(0))
    return [frozenset(processors[place::jobs] or processors) for place in range(jobs)]


def _failed(run: Run) -> bool:
    return run.seen.ending is Ending.FAILED


def _good(run: Run) -> bool:
    return not _failed(run) and run.seen.noise_s <= NOISY_S


def _state(run: Run) -> str:
    return f"noise of {run.seen.noise_s:.1f} s" if not _failed(run) and not _good(run) else str(run.seen.ending)


def _ended(process: Popen[bytes]) -> tuple[Run | None, str]:
    """What a process printed: a run, or why there is none. ``HostError`` where there can be none for any cell."""
    out, errors = process.communicate()
    words = (errors or out).decode(errors="replace").strip().splitlines()[-1:] or [f"status {process.returncode}"]
    if process.returncode == CANNOT_HERE:
        raise HostError(words[0].removeprefix("lab: "))
    try:
        return msgspec.json.decode(out, type=Run), ""
    except msgspec.DecodeError:
        return None, words[0]


def compact(results: Path) -> None:
    """Keep the last run of each cell alone, in the order of the cells."""
    order = {name: number for number, name in enumerate((*SCENARIOS, *EVERYBODY))}
    runs = sorted(
        latest(read(results)),
        key=lambda run: (order.get(run.scenario, -1), run.swap, order.get(run.daemon, -1), run.point, run.repeat),
    )
    half = results.with_suffix(".half")
    half.write_bytes(b"".join(map(encoded, runs)))
    half.rename(results)
