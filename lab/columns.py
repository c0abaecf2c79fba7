"""The columns of the tables about runs and daemons: their heads, what they mean, how their figures are written."""

from collections.abc import Callable
from dataclasses import dataclass

from lab.board import Cell
from lab.run import By, Kill

NOTHING = "–"  # noqa: RUF001 the dash of a table


@dataclass(frozen=True)
class Column:
    head: str
    says: str
    text: Callable[[Cell], str]


def number(value: float | None) -> str:
    """Three digits of it, at most two of them behind the point."""
    if value is None:
        return NOTHING
    if abs(value) < 0.005:
        return "0"
    digits = 2 if abs(value) < 1 else 1 if abs(value) < 99.95 else 0
    text = f"{value:,.{digits}f}".replace(",", "\u202f")
    return text.removesuffix(".0").replace("-", "\u2212")


def lost(cell: Cell) -> str:
    """The median, and the worst if it was run more than once."""
    middle, worst = number(cell.median.lost_s), number(cell.worst_s)
    return middle if middle == worst else f"{middle} ({worst})"


def marks(cell: Cell) -> str:
    """What a number does not say, in any of the runs; the legend is MARKS."""
    of = cell.median
    found = {
        "H": of.hung,
        "S": of.session_lost,
        "K": any(one.by_kernel for one in cell.figures),
        "~": cell.noisy,
        "¹": len(cell.runs) == 1,
    }
    return "".join(mark for mark, is_so in found.items() if is_so)


MARKS = {
    "H": "the machine hung",
    "S": "the session was lost",
    "K": "the kernel had to kill",
    "~": "the host was noisy",
    "¹": "run once",
}


def killed(kill: Kill | None) -> str:
    """Who killed first, and whom."""
    if kill is None:
        return "nobody"
    by = "kernel" if kill.by is By.KERNEL else "daemon"
    return f"{by}: {kill.comm} ({kill.role})"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share * 100:.0f}"


def _ms(seconds: float) -> str:
    return number(seconds * 1000)


def _yes(value: bool | None) -> str:
    return NOTHING if value is None else "yes" if value else "no"


FELT = (
    Column("lost", "Lost seconds: median, and the worst of the repeats in brackets.", lost),
    Column("blackout", "The longest that the screen or a login stood still, s.", lambda c: number(c.median.blackout_s)),
    Column("> 250 ms", "Seconds that the screen was late by more than that.", lambda c: number(c.median.over_250ms_s)),
    Column(
        "PSI some / full",
        "Seconds in which a task, and in which all tasks, waited for memory.",
        lambda c: f"{number(c.median.some_s)} / {number(c.median.full_s)}",
    ),
    Column(
        "UI p50 / p99 / max",
        "How late the screen was, at a random moment and at worst, ms.",
        lambda c: f"{_ms(c.median.late_p50_s)} / {_ms(c.median.late_p99_s)} / {_ms(c.median.late_max_s)}",
    ),
    Column("login", "The slowest start of a program, s.", lambda c: number(c.median.login_max_s)),
    Column(
        "isolation p01 / p50",
        "Of its requests a service answered so many in its worst seconds and in the middle, %.",
        lambda c: f"{percent(c.median.isolation_p01)} / {percent(c.median.isolation_p50)}",
    ),
    Column("recovery", "From the first stall until the screen was well, s.", lambda c: number(c.median.recovery_s)),
)
"""What a person at the machine felt."""

FATE = (
    Column(
        "score",
        "1: culprits only, or nobody where nothing was wrong. 0.5: innocents too. 0.25: the kernel had to. "
        "0: innocents alone, or a session. -1: hung.",
        lambda c: number(c.median.score),
    ),
    Column("first kill", "When the daemon or the kernel first killed, s.", lambda c: number(c.median.first_kill_s)),
    Column("killer: victim", "Of that kill, in the middle run.", lambda c: killed(c.first_kill)),
    Column(
        "innocents",
        "How many of them died, and the MiB that they held.",
        lambda c: f"{number(c.median.collateral)}, {number(c.median.collateral_mib)}",
    ),
    Column("unneeded", "Kills that were not needed.", lambda c: number(c.median.unneeded)),
    Column("by kernel", "Kills by the kernel.", lambda c: number(c.median.by_kernel)),
    Column("work lost", "Work thrown away, s.", lambda c: number(c.median.work_lost_s)),
    Column(
        "work saved",
        "The share of all work that was done by the end, and not thrown away, %.",
        lambda c: percent(c.median.work_saved),
    ),
    Column("over", "When the scenario was over, s.", lambda c: number(c.median.took_s)),
    Column("reason", "Each kill by the daemon has a reason that a program can read.", lambda c: _yes(c.median.reason)),
    Column(
        "runs, noise",
        "How often it was run, and the worst delay by the host, s.",
        lambda c: f"{len(c.runs)}, {number(c.noise_s)}" + (f", {len(c.failed)} failed" if c.failed else ""),
    ),
)
"""Who died and what became of the work."""
