"""The scoreboard as one HTML file: no script, nothing to fetch, all of the data in it."""

import csv
import io
import lzma
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict, fields
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lab import charts, columns, curves, figures, matrix, stage
from lab.behind import behind, trailing
from lab.board import OURS, PARTS, SWAPS, Board, board
from lab.columns import number, percent
from lab.daemons import DAEMONS
from lab.facts import facts
from lab.figures import Figures
from lab.front import sweep
from lab.run import Run, encoded
from lab.upkeep import EXPENSES, upkeep

TEMPLATES = Path(__file__).parent / "templates"
HEAT_S = (1, 3, 10, 30, 100, 300)
"""Where the colour of lost seconds changes: equal steps of their logarithm."""


def html(runs: Sequence[Run]) -> str:
    of = board(runs)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["percent"] = percent
    environment.globals.update(
        DAEMONS=DAEMONS,
        EXPENSES=EXPENSES,
        OURS=OURS,
        PARTS=PARTS,
        SWAPS=SWAPS,
        HEAT_S=HEAT_S,
        heat=heat,
        charts=charts,
        columns=columns,
        curves=curves,
        figures=figures,
        matrix=matrix,
        stage=stage,
    )
    return environment.get_template("page.html").render(
        board=of,
        facts=facts(of),
        scenarios=[(scenario, list(lines)) for scenario, lines in groupby(of.lines, key=lambda line: line.scenario)],
        behind=behind(of),
        trailing=trailing(of),
        sweep=sweep(of.runs),
        upkeep=upkeep(of),
        raw=_link("application/x-xz", lzma.compress(b"".join(map(encoded, of.runs)))),
        figures_csv=_link("text/csv", _csv(of).encode()),
    )


def heat(lost_s: float) -> int:
    """The class of a number's colour."""
    return sum(lost_s >= limit for limit in HEAT_S)


def _csv(of: Board) -> str:
    """The figures of each run, without the sweep."""
    text = io.StringIO()
    names = [field.name for field in fields(Figures)]
    table = csv.DictWriter(text, ["scenario", "swap", "daemon", "repeat", "noise_s", *names])
    table.writeheader()
    for line in of.lines:
        for cell in line.cells.values():
            for run, found in zip(cell.runs, cell.figures, strict=True):
                head = {"scenario": run.scenario, "swap": run.swap, "daemon": run.daemon, "repeat": run.repeat}
                table.writerow({**head, "noise_s": run.seen.noise_s, **asdict(found)})
    return text.getvalue()


def _link(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"
