"""What the board says in words: who won, when and on what it was run, what went wrong."""

from collections.abc import Iterable
from dataclasses import dataclass

from lab.board import Board, Total, project
from lab.columns import number
from lab.daemons import DAEMONS
from lab.matrix import NOISY_S
from lab.run import Ending, Run

KERNEL = "none"


@dataclass(frozen=True)
class Facts:
    verdict: str
    first: str
    """The day of the first run and of the last; empty if there is none."""
    last: str
    hours: float
    """Of the host, for all runs."""
    daemons: dict[str, str]
    """The version of each daemon as it was asked in the guest."""
    versions: dict[str, str]
    """Of all else."""
    noisy: list[str]
    failed: list[str]


def facts(board: Board) -> Facts:
    days = sorted(run.began[:10] for run in board.runs)
    versions: dict[str, str] = {}
    for key in dict.fromkeys(key for run in board.runs for key in run.seen.versions if key != "daemon"):
        versions[key] = _said(board.runs, key)
    return Facts(
        verdict=verdict(board),
        first=days[0] if days else "",
        last=days[-1] if days else "",
        hours=sum(run.took_s for run in board.runs) / 3600,
        daemons={name: _said((run for run in board.runs if run.daemon == name), "daemon") for name in DAEMONS},
        versions={key: said for key, said in versions.items() if said},
        noisy=[f"{_name(run)}: {number(run.seen.noise_s)} s" for run in board.runs if run.seen.noise_s > NOISY_S],
        failed=[
            f"{_name(run)}: {run.seen.notes[-1] if run.seen.notes else 'said nothing'}"
            for run in board.runs
            if run.seen.ending is Ending.FAILED
        ],
    )


def _said(runs: Iterable[Run], key: str) -> str:
    return ", ".join(dict.fromkeys(said for run in runs if (said := run.seen.versions.get(key, ""))))


def _name(run: Run) -> str:
    point = f", {run.point}" if run.point else ""
    return f"{run.scenario} {run.swap}, {DAEMONS[run.daemon].title}{point}, repeat {run.repeat}"


def verdict(board: Board) -> str:
    """Who lost least, who is the best of the other projects, and what the kernel does alone."""
    whole = [total for total in board.totals if total.lost_s is not None]
    if not whole:
        return "There is no scenario yet for which all main rivals have a result."
    first = [total for total in whole if total.rank == 1]
    if len(first) == 1:
        said = f"{_title(first[0])} loses least: {_lost(first[0])}."
    else:
        each = [f"{_title(total)} ({_lost(total)})" for total in first]
        said = f"{', '.join(each[:-1])} and {each[-1]} lose least, too close to call."
    projects = {project(total.daemon) for total in first}
    others = [total for total in whole if project(total.daemon) not in projects]
    if others:
        said += f" The best of another project, {_title(others[0])}, loses {_lost(others[0])}"
        kernel = next((total for total in others[1:] if total.daemon == KERNEL), None)
        said += f"; the {_title(kernel)} loses {_lost(kernel)}." if kernel else "."
    return said


def _title(total: Total) -> str:
    return DAEMONS[total.daemon].title


def _lost(total: Total) -> str:
    return f"{number(total.lost_s)} s"
