"""Where okoomer is not first: found in the figures, so that nobody can forget one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.board import OURS, PARTS, Board, Cell, Line, project
from lab.columns import number
from lab.run import Cost

LEAST_S = 0.05
"""A part of the difference that is smaller is not told."""


@dataclass(frozen=True)
class Behind:
    """A line that another daemon is first in."""

    line: Line
    first: list[str]
    best_s: float
    lost_s: float | None
    """None: okoomer has no result where others have."""
    rank: int | None
    parts: dict[str, float]
    """In what okoomer lost more than the best, and less where negative."""

    @property
    def by_s(self) -> float | None:
        return None if self.lost_s is None else self.lost_s - self.best_s

    @property
    def why(self) -> str:
        """The parts, the greatest first."""
        found = sorted(self.parts.items(), key=lambda pair: -abs(pair[1]))
        return ", ".join(f"{'+' if by > 0 else '−'}{number(abs(by))} s {PARTS[part]}" for part, by in found)  # noqa: RUF001


def behind(board: Board) -> list[Behind]:
    return [_behind(line) for line in board.lines if line.cells and OURS not in line.first]


def _behind(line: Line) -> Behind:
    best, ours = line.cells[line.first[0]], line.cells.get(OURS)
    more = {} if ours is None else {part: value - best.parts[part] for part, value in ours.parts.items()}
    return Behind(
        line=line,
        first=line.first,
        best_s=best.median.lost_s,
        lost_s=None if ours is None else ours.median.lost_s,
        rank=line.ranks.get(OURS),
        parts={part: by for part, by in more.items() if abs(by) >= LEAST_S},
    )


@dataclass(frozen=True)
class Measure:
    """A figure of which less is better, or more."""

    name: str
    of: Callable[[Cell], float | None]
    more: bool = False


def _cost(of: Callable[[Cost], float]) -> Callable[[Cell], float | None]:
    return lambda cell: of(cell.middle.seen.cost) if cell.middle.seen.cost else None


MEASURES = (
    Measure("longest blackout, s", lambda c: c.median.blackout_s),
    Measure("late by more than 250 ms, s", lambda c: c.median.over_250ms_s),
    Measure("PSI some, s", lambda c: c.median.some_s),
    Measure("PSI full, s", lambda c: c.median.full_s),
    Measure("lateness of the screen, p99, ms", lambda c: c.median.late_p99_s * 1000),
    Measure("slowest start of a program, s", lambda c: c.median.login_max_s),
    Measure("isolation p01, %", lambda c: c.median.isolation_p01 * 100, more=True),
    Measure("isolation p50, %", lambda c: c.median.isolation_p50 * 100, more=True),
    Measure("victim score", lambda c: c.median.score, more=True),
    Measure("innocent programs killed", lambda c: c.mean(lambda of: of.collateral)),
    Measure("unneeded kills", lambda c: c.mean(lambda of: of.unneeded)),
    Measure("work thrown away, s", lambda c: c.median.work_lost_s),
    Measure("work saved, %", lambda c: None if (saved := c.median.work_saved) is None else saved * 100, more=True),
    Measure("recovery, s", lambda c: c.median.recovery_s),
    Measure("daemon: RSS, MiB", _cost(lambda cost: cost.rss)),
    Measure("daemon: anonymous memory, MiB", _cost(lambda cost: cost.anon)),
    Measure("daemon: CPU, s", _cost(lambda cost: cost.cpu_s)),
    Measure("daemon: context switches", _cost(lambda cost: cost.switches)),
    Measure("daemon: major faults", _cost(lambda cost: cost.major_faults)),
    Measure("daemon: ready to run and waiting, s", _cost(lambda cost: cost.waited_s)),
)


@dataclass(frozen=True)
class Trailing:
    """A figure in which another project's daemon is better on average."""

    measure: str
    best: str
    value: str
    ours: str
    better: int
    """How many daemons are better than okoomer."""


def trailing(board: Board) -> list[Trailing]:
    """Each figure as the mean over the scenarios that count, of the daemons that have them all."""
    return [found for measure in MEASURES if (found := _trailing(measure, board))]


def _trailing(measure: Measure, board: Board) -> Trailing | None:
    means = {
        total.daemon: mean
        for total in board.totals
        if total.lost_s is not None and (mean := _mean(measure, board.counted, total.daemon)) is not None
    }
    ours = means.get(OURS)
    if ours is None:
        return None
    better = {
        name: mean
        for name, mean in means.items()
        if (mean > ours if measure.more else mean < ours)
        and number(mean) != number(ours)
        and project(name) != project(OURS)
    }
    if not better:
        return None
    best = (max if measure.more else min)(better, key=lambda name: better[name])
    return Trailing(measure.name, best, number(better[best]), number(ours), len(better))


def _mean(measure: Measure, lines: Sequence[Line], daemon: str) -> float | None:
    values = [value for line in lines if (value := measure.of(line.cells[daemon])) is not None]
    return sum(values) / len(values) if values else None
