"""What a daemon could do if it were tuned: its main threshold at several points, stall against unneeded kills."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lab.board import Cell, Key, cells_of
from lab.daemons import DAEMONS
from lab.run import Run
from lab.scenarios import SCENARIOS


@dataclass(frozen=True)
class Point:
    label: str
    stall_s: float
    """The blackouts of all the sweep's scenarios."""
    unneeded: float
    """Kills in those where nothing was wrong."""
    best: bool = False
    """No point of any daemon is better in one and as good in the other."""


@dataclass(frozen=True)
class Sweep:
    lines: tuple[str, ...]
    """Its scenarios, each with its swap layout."""
    curves: dict[str, tuple[Point, ...]]
    """Of each daemon, in the order of its settings."""
    missing: dict[str, tuple[str, ...]]
    """Points that lack a scenario, which cannot be told beside the others."""

    @property
    def front(self) -> dict[str, list[str]]:
        """The best points by daemon."""
        best = {name: [point.label for point in curve if point.best] for name, curve in self.curves.items()}
        return {name: labels for name, labels in best.items() if labels}


def sweep(runs: Iterable[Run]) -> Sweep:
    cells = cells_of(run for run in runs if run.point)
    lines = list(dict.fromkeys((scenario, swap) for scenario, swap, _, _ in cells))
    curves: dict[str, tuple[Point, ...]] = {}
    missing: dict[str, tuple[str, ...]] = {}
    for name in DAEMONS:
        at = {label: [cells.get((*line, name, label)) for line in lines] for label in _labels(name, cells)}
        curves[name] = tuple(_point(label, whole) for label, found in at.items() if (whole := _whole(found)))
        missing[name] = tuple(label for label, found in at.items() if not _whole(found))
    places = {(point.unneeded, point.stall_s) for curve in curves.values() for point in curve}
    front = {a for a in places if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in places)}
    return Sweep(
        lines=tuple(f"{scenario} {swap}" for scenario, swap in lines),
        curves={
            name: tuple(replace(point, best=(point.unneeded, point.stall_s) in front) for point in curve)
            for name, curve in curves.items()
            if curve
        },
        missing={name: labels for name, labels in missing.items() if labels},
    )


def _labels(name: str, cells: Iterable[Key]) -> list[str]:
    """The points of a daemon that were run, in the order of its settings."""
    run = dict.fromkeys(label for _, _, daemon, label in cells if daemon == name)
    known = [setting.label for setting in DAEMONS[name].sweep if setting.label in run]
    return [*known, *(label for label in run if label not in known)]


def _whole(cells: Sequence[Cell | None]) -> list[Cell]:
    """The cells if each of them has a result; otherwise none."""
    found = [cell for cell in cells if cell is not None and cell.runs]
    return found if len(found) == len(cells) else []


def _point(label: str, cells: Sequence[Cell]) -> Point:
    benign = [cell for cell in cells if SCENARIOS[cell.middle.scenario].benign]
    return Point(
        label=label,
        stall_s=round(sum(cell.median.blackout_s for cell in cells), 2),
        unneeded=sum(cell.median.unneeded for cell in benign),
    )
