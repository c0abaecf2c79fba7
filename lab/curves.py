"""The line charts: the course of a run, and what a daemon could do if it were tuned."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lab.board import OURS, Board, Cell, Line, project
from lab.charts import ACCENT, INK, Spec, quantity, svg, values
from lab.columns import number
from lab.daemons import DAEMONS
from lab.front import Point, Sweep
from lab.run import By, Role, Run

KILLS_APART_S = 0.5
"""Kills of the same kind closer than this are one mark."""
SHAPES = {
    "cross": "✚",
    "square": "■",
    "triangle-up": "▲",
    "diamond": "◆",
    "triangle-down": "▼",
    "triangle-right": "▶",
    "circle": "●",
}
"""Of a project's points, and how a legend shows it."""
LABEL_PX = (70, 16)
"""Labels that are closer than this would touch."""


# --- the course of a run ----------------------------------------------------------------------------------------


def courses(board: Board, line: Line) -> dict[str, Markup]:
    """Of each daemon the middle run: what was available, how long all had waited, and the kills. All on one scale."""
    middle = {name: line.cells[name].middle for name in board.daemons if name in line.cells}
    middle = {name: run for name, run in middle.items() if run.seen.memory}
    samples = [sample for run in middle.values() for sample in run.seen.memory]
    if not samples:
        return {}
    end = max(sample.at for sample in samples)
    tops = (max(sample.available for sample in samples), max(1.0, max(sample.full_s for sample in samples)))
    return {name: svg(_course(run, end, *tops), _told(name, line.cells[name])) for name, run in middle.items()}


def _told(name: str, cell: Cell) -> str:
    kills = len(cell.middle.seen.kills)
    return f"{DAEMONS[name].title}: {number(cell.median.full_s)} s of stall, {kills} kills"


def _course(run: Run, end: float, available: float, full: float) -> Spec:
    step = max(1, round(end / 40))  # s: the picture is not wider than so many points are worth
    samples = list({int(sample.at / step): sample for sample in run.seen.memory}.values())
    memory = [{"t": s.at, "v": s.available} for s in samples if s.at >= 0]
    stall = [{"t": s.at, "v": s.full_s} for s in samples if s.at >= 0]
    kills = {(round(kill.at / KILLS_APART_S), _kind(kill.role, kill.by)) for kill in run.seen.kills if kill.at <= end}
    marks = [{"t": at * KILLS_APART_S, "kind": kind} for at, kind in sorted(kills)]

    def panel(rows: Sequence[Mapping[str, object]], top: float, height: int, mark: Spec, labelled: bool) -> Spec:
        x = quantity("t", None, end, grid=False, labels=labelled, tickCount=3, labelExpr="datum.label + ' s'")
        y = quantity("v", None, top, tickCount=2, labelFontSize=9, minExtent=30, maxExtent=30, format="~s")
        return {
            "width": 136,
            "height": height,
            "layer": [
                {"data": values(rows), "mark": mark, "encoding": {"x": x, "y": y}},
                {
                    "data": values(marks),
                    "mark": {"type": "rule", "strokeWidth": 1.5},
                    "encoding": {"x": x, "color": _kinds()},
                },
            ],
        }

    area: Spec = {"type": "area", "color": "var(--memory)", "interpolate": "linear"}
    curve: Spec = {"type": "line", "color": "var(--stall)", "strokeWidth": 2}
    above, below = panel(memory, available, 52, area, False), panel(stall, full, 34, curve, True)
    return {"vconcat": [above, below], "spacing": 12, "padding": 0, "bounds": "flush"}


KINDS = {"culprit": "a culprit or worker", "innocent": "an innocent one", "kernel": "the kernel killed"}


def _kind(role: Role, by: By) -> str:
    if role in (Role.INNOCENT, Role.SESSION):
        return "innocent"
    return "kernel" if by is By.KERNEL else "culprit"


def _kinds() -> Spec:
    scale = {"domain": list(KINDS), "range": [f"var(--kill-{kind})" for kind in KINDS]}
    return {"field": "kind", "type": "nominal", "scale": scale, "legend": None}


# --- the sweep --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Style:
    """How a daemon's line looks: a colour and a shape for each project, dashes where its settings differ."""

    title: str
    colour: str
    shape: str
    dashed: bool

    @property
    def glyph(self) -> str:
        return SHAPES[self.shape]


def styles(sweep: Sweep) -> list[Style]:
    projects = list(dict.fromkeys(map(project, DAEMONS)))
    found: dict[str, Style] = {}
    for name in sweep.curves:
        place = projects.index(project(name))
        colour = ACCENT if projects[place] == OURS else f"var(--project-{place % len(SHAPES)})"
        dashed = any(project(other) == project(name) for other in found)
        found[name] = Style(DAEMONS[name].title, colour, list(SHAPES)[place % len(SHAPES)], dashed)
    return list(found.values())


def front(sweep: Sweep, width: int, says: str) -> Markup:
    """All daemons in one picture."""
    looks = styles(sweep)

    def by_daemon(range_: Sequence[object]) -> Spec:
        scale = {"domain": [look.title for look in looks], "range": range_}
        return {"field": "daemon", "type": "nominal", "scale": scale, "legend": None}

    x, y, _ = _axes(sweep)
    colour = by_daemon([look.colour for look in looks])
    dash = by_daemon([[5, 3] if look.dashed else [1, 0] for look in looks])
    shape = by_daemon([look.shape for look in looks])
    thick = {
        "condition": {"test": f"datum.daemon === {json.dumps(DAEMONS[OURS].title)}", "value": 3.5},
        "value": 1.75,
    }
    spec = {
        "width": width,
        "height": 420,
        "padding": 0,
        "autosize": {"type": "fit", "contains": "padding"},
        "data": values({**row, "daemon": DAEMONS[str(row["daemon"])].title} for row in _rows(sweep)),
        "encoding": {"x": x, "y": y, "order": {"field": "order"}, "color": colour},
        "layer": [
            {"mark": "line", "encoding": {"strokeDash": dash, "strokeWidth": thick}},
            {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1}, "encoding": {"shape": shape}},
        ],
    }
    return svg(spec, says)


def _axes(sweep: Sweep) -> tuple[Spec, Spec, tuple[float, float]]:
    points = [point for curve in sweep.curves.values() for point in curve]
    tops = (max([1.0, *(p.unneeded for p in points)]) * 1.05, max([1.0, *(p.stall_s for p in points)]) * 1.08)
    x = quantity("x", "unneeded kills", tops[0], tickCount=5, tickMinStep=1, format="d", labelFlush=False)
    return x, quantity("y", "stall, s", tops[1], tickCount=5), tops


def _rows(sweep: Sweep) -> list[Spec]:
    return [
        {"daemon": name, "order": order, "x": point.unneeded, "y": point.stall_s}
        for name, curve in sweep.curves.items()
        for order, point in enumerate(curve)
    ]


def fronts(board: Board, sweep: Sweep) -> dict[str, Markup]:
    """Each daemon's curve with its thresholds among all the others', on one scale."""
    order = [*board.daemons, *sweep.curves]
    curves = sorted(sweep.curves.items(), key=lambda pair: order.index(pair[0]))
    return {name: svg(_front(sweep, name), _points_told(name, curve)) for name, curve in curves}


def _points_told(name: str, curve: Iterable[Point]) -> str:
    points = "; ".join(f"{p.label}: {number(p.stall_s)} s, {number(p.unneeded)} kills" for p in curve)
    return f"{DAEMONS[name].title}: {points}"


def _front(sweep: Sweep, name: str, width: int = 190, height: int = 150) -> Spec:
    rows = _rows(sweep)
    x, y, tops = _axes(sweep)
    curve = [row for row in rows if row["daemon"] == name]
    ends = _ends(sweep.curves[name], width / tops[0], height / tops[1])
    colour = ACCENT if project(name) == OURS else INK
    return {
        "width": width,
        "height": height,
        "padding": 0,
        "encoding": {"x": x, "y": y, "order": {"field": "order"}},
        "layer": [
            {
                "data": values(row for row in rows if row["daemon"] != name),
                "mark": {"type": "line", "color": "var(--others)", "strokeWidth": 1},
                "encoding": {"detail": {"field": "daemon"}},
            },
            {
                "data": values(curve),
                "mark": {"type": "line", "color": colour, "strokeWidth": 2, "point": {"fill": colour}},
            },
            {
                "data": values(ends),
                "mark": {"type": "text", "align": "left", "dx": 7, "dy": -6, "fill": colour, "fontSize": 10.5},
                "encoding": {"text": {"field": "text"}},
            },
        ],
    }


def _ends(curve: Sequence[Point], x_px: float, y_px: float) -> list[Spec]:
    """The labels of the first and the last point, or one for both if they would touch."""
    first, last = curve[0], curve[-1]
    near = (
        abs(first.unneeded - last.unneeded) * x_px < LABEL_PX[0]
        and abs(first.stall_s - last.stall_s) * y_px < LABEL_PX[1]
    )
    if near and first is not last:
        upper = max(first, last, key=lambda point: point.stall_s)
        return [{"x": upper.unneeded, "y": upper.stall_s, "text": f"{first.label} … {last.label}"}]
    return [{"x": point.unneeded, "y": point.stall_s, "text": point.label} for point in dict.fromkeys((first, last))]
