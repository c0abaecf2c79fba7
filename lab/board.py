"""What the tables, the charts and the page show. Pure: runs in, and the same runs give the same board."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from statistics import fmean, median_high
from typing import Any

from lab import figures
from lab.daemons import DAEMONS
from lab.figures import COLLATERAL_S, SESSION_S, UNNEEDED_S, Figures
from lab.matrix import NOISY_S, RIVALS, latest
from lab.run import By, Ending, Kill, Run, Swap
from lab.scenario import Scenario
from lab.scenarios import SCENARIOS

Key = tuple[str, Swap, str, str]  # of a cell

OURS = "okoomer"
FLOOR_S = 1.0
"""Lost seconds that are closer than this are a tie, however well they repeat: nobody feels the difference."""
PARTS = {
    "blackout": "longest blackout",
    "work": "work thrown away",
    "innocent": "innocent programs killed",
    "unneeded": "unneeded kills",
    "session": "session lost or machine hung",
}
"""What lost seconds consist of."""
SWAPS = {Swap.NONE: "no swap", Swap.ZRAM: "swap on zram", Swap.DISK: "swap on disk"}


def project(daemon: str) -> str:
    """Whose daemon it is: settings of the same one differ behind the first dash."""
    return daemon.partition("-")[0]


def parts(of: Figures) -> dict[str, float]:
    """The lost seconds of a run by what they were lost to."""
    return {
        "blackout": of.blackout_s,
        "work": of.work_lost_s,
        "innocent": COLLATERAL_S * of.collateral,
        "unneeded": UNNEEDED_S * of.unneeded,
        "session": SESSION_S * (of.session_lost or of.hung),
    }


@dataclass(frozen=True)
class Cell:
    """A daemon in a scenario: all its repeats, those that lost least first, and those that could not be set up."""

    daemon: str
    runs: tuple[Run, ...]
    figures: tuple[Figures, ...]
    failed: tuple[Run, ...]

    @property
    def middle(self) -> Run:
        """The run that lost the median; of an even number, as with all medians here, the worse of the two."""
        return self.runs[len(self.runs) // 2]

    @property
    def parts(self) -> dict[str, float]:
        return parts(self.figures[len(self.runs) // 2])

    @cached_property
    def median(self) -> Figures:
        """Of each figure by itself; what is true or false is true if it was in any run."""
        return Figures(**{field.name: _median([getattr(one, field.name) for one in self.figures])
                          for field in fields(Figures)})  # fmt: skip

    @property
    def worst_s(self) -> float:
        return self.figures[-1].lost_s

    @property
    def noise_s(self) -> float:
        return max(run.seen.noise_s for run in self.runs)

    @property
    def noisy(self) -> bool:
        return self.noise_s > NOISY_S

    @property
    def first_kill(self) -> Kill | None:
        """Of the middle run, by the daemon or the kernel."""
        return next((kill for kill in self.middle.seen.kills if kill.by is not By.OTHER), None)

    def mean(self, count: Callable[[Figures], float]) -> float:
        return fmean(map(count, self.figures))


def _median(values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    if known and isinstance(known[0], bool):
        return any(known)
    return median_high(known) if known else None


@dataclass(frozen=True)
class Line:
    """A scenario with one swap layout."""

    scenario: Scenario
    swap: Swap
    cells: dict[str, Cell]
    """Of the daemons with a result."""
    failed: dict[str, Cell]
    """Of those that could not be set up, each time."""
    ranks: dict[str, int]

    @property
    def name(self) -> str:
        return f"{self.scenario.name} {self.swap}"

    @property
    def title(self) -> str:
        return f"{self.scenario.title}, {SWAPS[self.swap]}"

    @property
    def first(self) -> list[str]:
        """Who lost least, and whoever is as good as that."""
        return [name for name, rank in self.ranks.items() if rank == 1]


@dataclass(frozen=True)
class Total:
    """A daemon over the lines that count. What happened is told for one pass through them: means of repeats, summed."""

    daemon: str
    lines: int
    """That it has a result for."""
    lost_s: float | None
    """The sum of the medians; None if it lacks a scenario."""
    worst_s: float | None
    rank: int | None
    parts: dict[str, float]
    won: int
    shared: int
    hangs: float
    sessions: float
    innocents: float
    unneeded: float
    by_kernel: float
    """Scenarios in which the kernel had to kill."""
    score: float
    work_saved: float | None
    """The mean share over the scenarios in which there is work to be saved."""


@dataclass(frozen=True)
class Board:
    lines: tuple[Line, ...]
    margin_s: float
    """Differences up to this are ties."""
    totals: tuple[Total, ...]
    """Of all daemons with a result, the one that lost least first."""
    counted: tuple[Line, ...]
    """The lines for which all main rivals have a result: sums are over these."""
    runs: tuple[Run, ...]
    """The last of each cell and repeat, sweep and all."""
    strangers: int
    """Runs of a scenario or daemon that is no more; they are not shown."""

    @property
    def daemons(self) -> list[str]:
        return [total.daemon for total in self.totals]


def board(runs: Iterable[Run]) -> Board:
    last = latest(runs)
    last = [run for run in last if run.scenario not in SCENARIOS or not SCENARIOS[run.scenario].daemons]
    known = [run for run in last if run.scenario in SCENARIOS and run.daemon in DAEMONS]
    cells = cells_of(run for run in known if not run.point)
    found = [cell for cell in cells.values() if cell.runs]
    margin = margin_of(found)
    lines = tuple(_lines(cells, margin))
    rivals = {cell.daemon for cell in found} & set(RIVALS)
    counted = tuple(line for line in lines if line.cells and rivals <= line.cells.keys())
    names = [name for name in DAEMONS if any(cell.daemon == name for cell in cells.values())]
    return Board(
        lines=lines,
        margin_s=margin,
        totals=_totals(names, counted, margin),
        counted=counted,
        runs=tuple(known),
        strangers=len(last) - len(known),
    )


def cells_of(runs: Iterable[Run]) -> dict[Key, Cell]:
    repeats: dict[Key, list[Run]] = {}
    for run in runs:
        repeats.setdefault(run.cell, []).append(run)
    return {key: _cell(key[2], of) for key, of in repeats.items()}


def _cell(daemon: str, runs: Sequence[Run]) -> Cell:
    good = [(run, figures.of(run)) for run in runs if run.seen.ending is not Ending.FAILED]
    good.sort(key=lambda pair: pair[1].lost_s)
    failed = tuple(run for run in runs if run.seen.ending is Ending.FAILED)
    return Cell(daemon, tuple(run for run, _ in good), tuple(of for _, of in good), failed)


def margin_of(cells: Iterable[Cell]) -> float:
    """How far apart the blackouts of repeats usually are: the median of shortest to longest, and at least a second.

    Of three repeats that is about two standard deviations of the difference between two medians. Whom a daemon kills
    is no noise, and has no part in it.
    """
    blackouts = [[of.blackout_s for of in cell.figures] for cell in cells if len(cell.runs) > 1]
    spreads = [max(repeats) - min(repeats) for repeats in blackouts]
    return max(FLOOR_S, round(median_high(spreads), 1) if spreads else 0)


def ranks(lost: Mapping[str, float], margin: float) -> dict[str, int]:
    """Who is within the margin of the best of a rank shares it; the next has as many before it as there are."""
    found: dict[str, int] = {}
    best, rank = -math.inf, 0
    for place, (name, value) in enumerate(sorted(lost.items(), key=lambda pair: pair[1]), 1):
        if value - best > margin:
            best, rank = value, place
        found[name] = rank
    return found


def _lines(cells: Mapping[Key, Cell], margin: float) -> Iterable[Line]:
    for scenario in SCENARIOS.values():
        for swap in Swap:
            here = {name: cells[key] for name in DAEMONS if (key := (scenario.name, swap, name, "")) in cells}
            if here:
                good = {name: cell for name, cell in here.items() if cell.runs}
                failed = {name: cell for name, cell in here.items() if not cell.runs}
                places = ranks({name: cell.median.lost_s for name, cell in good.items()}, margin)
                yield Line(scenario, swap, good, failed, places)


def _totals(names: Sequence[str], counted: Sequence[Line], margin: float) -> tuple[Total, ...]:
    sums = {
        name: sum(line.cells[name].median.lost_s for line in counted)
        for name in names
        if counted and all(name in line.cells for line in counted)
    }
    # What is uncertain in each line adds up as independent errors do.
    places = ranks(sums, margin * math.sqrt(len(counted)))
    totals = [_total(name, counted, sums.get(name), places.get(name)) for name in names]
    return tuple(sorted(totals, key=lambda total: math.inf if total.lost_s is None else total.lost_s))


def _total(name: str, counted: Sequence[Line], lost_s: float | None, rank: int | None) -> Total:
    cells = [line.cells[name] for line in counted if name in line.cells]
    first = [line for line in counted if line.ranks.get(name) == 1]

    saved = [saved for cell in cells if (saved := cell.median.work_saved) is not None]

    def each(count: Callable[[Figures], float]) -> float:
        return sum(cell.mean(count) for cell in cells)

    return Total(
        daemon=name,
        lines=len(cells),
        lost_s=lost_s,
        worst_s=None if lost_s is None else sum(cell.worst_s for cell in cells),
        rank=rank,
        parts={part: sum(cell.parts[part] for cell in cells) for part in PARTS},
        won=sum(len(line.first) == 1 for line in first),
        shared=sum(len(line.first) > 1 for line in first),
        hangs=each(lambda of: of.hung),
        sessions=each(lambda of: of.session_lost),
        innocents=each(lambda of: of.collateral),
        unneeded=each(lambda of: of.unneeded),
        by_kernel=each(lambda of: of.by_kernel > 0),
        score=each(lambda of: of.score) / len(cells) if cells else 0,
        work_saved=fmean(saved) if saved else None,
    )
