"""The scoreboard as Markdown, docs/scoreboard.md: the text is in templates/scoreboard.md, the tables are made here."""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lab import figures, matrix, stage
from lab.behind import Behind, Trailing, behind, trailing
from lab.board import OURS, SWAPS, Board, Line, Total, board
from lab.columns import FATE, FELT, MARKS, NOTHING, Column, lost, marks, number, percent
from lab.daemons import DAEMONS
from lab.facts import Facts, facts
from lab.front import Sweep, sweep
from lab.run import Run
from lab.upkeep import EXPENSES, Upkeep, upkeep

TEMPLATES = Path(__file__).parent / "templates"
WIDTH = 7  # daemons beside each other


class Markdown(str):
    """What is not to be escaped."""


def markdown(runs: Sequence[Run]) -> str:
    of = board(runs)
    said, short, others, tuned = facts(of), behind(of), trailing(of), sweep(of.runs)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markdown) else plain(str(value)),
    )
    environment.filters["number"] = number
    return environment.get_template("scoreboard.md").render(
        DAEMONS=DAEMONS,
        EXPENSES=EXPENSES,
        FATE=FATE,
        FELT=FELT,
        MARKS=MARKS,
        SWAPS=SWAPS,
        figures=figures,
        matrix=matrix,
        stage=stage,
        board=of,
        facts=said,
        behind=short,
        trailing=others,
        sweep=tuned,
        uncounted=[line.name for line in of.lines if line not in of.counted],
        scenarios=[(scenario, list(lines)) for scenario, lines in groupby(of.lines, key=lambda line: line.scenario)],
        totals_table=partial(_totals, of),
        matrix_tables=partial(_matrix, of),
        behind_table=partial(_behind, short),
        trailing_table=partial(_trailing, others),
        sweep_table=partial(_sweep, tuned),
        upkeep_table=partial(_upkeep, upkeep(of)),
        settings_table=partial(_settings, said),
        cells_table=partial(_cells, of),
    )


def plain(text: str) -> str:
    """On one line, and nothing in it means anything to Markdown."""
    text = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: Sequence[int] = ()) -> Markdown:
    """Cells are Markdown already; the first column and those in ``texts`` are left-aligned."""
    rules = [":--" if place == 0 or place in texts else "--:" for place in range(len(head))]
    return Markdown("\n".join(f"| {' | '.join(row)} |" for row in (head, rules, *rows)))


def _title(daemon: str) -> str:
    title = plain(DAEMONS[daemon].title)
    return f"**{title}**" if daemon == OURS else title


def _totals(of: Board) -> Markdown:
    head = ["", "lost, s", "worst, s", "first alone", "first, shared", "hangs", "sessions lost", "innocents killed"]
    head += ["unneeded kills", "kernel had to kill", "mean score", "work saved, %"]
    return table(head, [_total(total, len(of.counted), len(head)) for total in of.totals])


def _total(total: Total, lines: int, width: int) -> list[str]:
    if total.lost_s is None:
        return [_title(total.daemon), f"{total.lines} of {lines} scenarios", *[NOTHING] * (width - 2)]
    counts = (total.won, total.shared, total.hangs, total.sessions, total.innocents, total.unneeded, total.by_kernel)
    numbers = map(number, (total.lost_s, total.worst_s, *counts, total.score))
    return [_title(total.daemon), *numbers, percent(total.work_saved)]


def _matrix(of: Board) -> list[Markdown]:
    """The main rivals, then all others, so many at a time as can be read."""
    main = [name for name in of.daemons if name in matrix.RIVALS]
    others = [name for name in of.daemons if name not in matrix.RIVALS]
    groups = [names[start : start + WIDTH] for names in (main, others) for start in range(0, len(names), WIDTH)]
    return [
        table(
            ["lost, s", *map(_title, names)],
            [[_line(line), *(_cell(line, name) for name in names)] for line in of.lines],
        )
        for names in groups
    ]


def _line(line: Line) -> str:
    return f"{line.scenario.name} {plain(line.title)}"


def _cell(line: Line, name: str) -> str:
    if name not in line.cells:
        return "failed" if name in line.failed else NOTHING
    cell = line.cells[name]
    text = f"**{lost(cell)}**" if line.ranks[name] == 1 else lost(cell)
    return f"{text} {plain(marks(cell))}".strip()


def _behind(found: Iterable[Behind]) -> Markdown:
    rows = []
    for one in found:
        numbers = [number(value) for value in (one.best_s, one.lost_s, one.rank, one.by_s)]
        first = "; ".join(map(_title, one.first))
        rows.append([_line(one.line), first, *numbers, plain(one.why) if one.rank else "no result"])
    return table(["", "first", "lost, s", "okoomer, s", "its rank", "more, s", "in what"], rows, texts=(1, 6))


def _trailing(found: Iterable[Trailing]) -> Markdown:
    rows = [[plain(one.measure), _title(one.best), one.value, one.ours, str(one.better)] for one in found]
    return table(["", "best", "it", "okoomer", "daemons that are better"], rows, texts=(1,))


def _sweep(of: Sweep) -> Markdown:
    rows = []
    for name, curve in of.curves.items():
        for point in curve:
            texts = [plain(point.label), number(point.stall_s), number(point.unneeded)]
            rows.append([_title(name), *(f"**{text}**" if point.best else text for text in texts)])
    return table(["", "threshold", "stall, s", "unneeded kills"], rows, texts=(1,))


def _upkeep(of: dict[str, Upkeep]) -> Markdown:
    rows = [[_title(name), *(column.text(one) for column in EXPENSES)] for name, one in of.items()]
    return table(["", *(column.head for column in EXPENSES)], rows)


def _settings(said: Facts) -> Markdown:
    rows = [
        [_title(name), plain(daemon.settings), plain(said.daemons[name]) or NOTHING] for name, daemon in DAEMONS.items()
    ]
    return table(["", "settings", "version"], rows, texts=(1, 2))


def _cells(of: Board, line: Line, columns: Sequence[Column]) -> Markdown:
    names = [name for name in of.daemons if name in line.cells]
    rows = [[_title(name), *(plain(column.text(line.cells[name])) for column in columns)] for name in names]
    return table(["", *(plain(column.head) for column in columns)], rows)
