"""What the daemons themselves take while memory runs out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median_high

from lab.board import Board, Line
from lab.columns import number
from lab.run import Cost


@dataclass(frozen=True)
class Upkeep:
    """What a daemon took, over the scenarios that count: medians, but for the peaks and the worst."""

    rss: float
    peak_rss: float
    anon: float
    cpu_ms: float
    """Of each second."""
    switches: float
    """In each second."""
    major_faults: float
    waited_s: float
    worst_waited_s: float
    untold: int
    """Runs at whose end it was gone, or the guest was."""


@dataclass(frozen=True)
class Expense:
    head: str
    says: str
    text: Callable[[Upkeep], str]


EXPENSES = (
    Expense("RSS", "Resident memory when all was over, MiB.", lambda u: number(u.rss)),
    Expense("peak", "The most that it ever had resident, MiB.", lambda u: number(u.peak_rss)),
    Expense("anon", "Of it its own alone, MiB.", lambda u: number(u.anon)),
    Expense("CPU", "Of each second of the incident, ms.", lambda u: number(u.cpu_ms)),
    Expense("switches", "Context switches in a second.", lambda u: number(u.switches)),
    Expense("major faults", "How often it had to wait for its own pages.", lambda u: number(u.major_faults)),
    Expense(
        "waited (worst)",
        "For how long it was ready to run and did not, s.",
        lambda u: f"{number(u.waited_s)} ({number(u.worst_waited_s)})",
    ),
    Expense("untold", "Runs at whose end it was gone or could not be asked.", lambda u: number(u.untold)),
)


def upkeep(board: Board) -> dict[str, Upkeep]:
    """Over the scenarios that count, or all if none does."""
    found = {name: _of(name, board.counted or board.lines) for name in board.daemons}
    return {name: one for name, one in found.items() if one}


def _of(name: str, lines: Iterable[Line]) -> Upkeep | None:
    runs = [run for line in lines if name in line.cells for run in line.cells[name].runs]
    had = [(run.seen.cost, run.seen.end) for run in runs if run.seen.cost is not None and run.seen.end > 0]
    if not had:
        return None

    def middle(value: Callable[[Cost, float], float]) -> float:
        return median_high([value(cost, end) for cost, end in had])

    return Upkeep(
        rss=middle(lambda cost, _: cost.rss),
        peak_rss=max(cost.peak_rss for cost, _ in had),
        anon=middle(lambda cost, _: cost.anon),
        cpu_ms=middle(lambda cost, end: cost.cpu_s * 1000 / end),
        switches=middle(lambda cost, end: cost.switches / end),
        major_faults=middle(lambda cost, _: cost.major_faults),
        waited_s=middle(lambda cost, _: cost.waited_s),
        worst_waited_s=max(cost.waited_s for cost, _ in had),
        untold=len(runs) - len(had),
    )
