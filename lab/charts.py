"""The pictures: Vega-Lite specifications of what the board shows, rendered to SVG that takes its colours from the page.

Every colour is a variable of the page's style sheet, so that one picture serves light and dark.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import vl_convert
from markupsafe import Markup, escape

from lab.board import OURS, PARTS, Board, Line
from lab.columns import number
from lab.daemons import DAEMONS

Spec = dict[str, Any]

WIDE, NARROW = 1100, 346
"""The width of a picture in pixels, for a desk and for a phone."""
LEAST_AXIS_S = 10
"""No axis of lost seconds ends before this, so that a second never looks like a disaster."""

GROUPED = "replace(datum.label, /,/g, '\u202f')"
WIDEST = 0.62
"""The mean width of a letter beside its height, in the widest of common fonts."""

INK, MUTED, FAINT, ACCENT = "var(--ink)", "var(--muted)", "var(--line)", "var(--accent)"
CONFIG: Spec = {
    "aria": False,
    "background": None,
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "gridColor": FAINT,
        "domain": False,
        "ticks": False,
        "labelPadding": 5,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    },
}


def svg(spec: Spec, says: str) -> Markup:
    """The picture for a page; ``says`` is for who cannot see it."""
    whole = {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", **spec}
    drawn = vl_convert.vegalite_to_svg(whole, config=CONFIG)
    head = f'<svg role="img" aria-label="{escape(says)}"'
    return Markup(_slim(drawn).replace("<svg", head, 1))


def _slim(drawn: str) -> str:
    """Without what has no effect here, and tenths of a pixel at the finest."""
    drawn = re.sub(r'<path class="(?:back|fore)ground"[^>]*/>', "", drawn)
    drawn = re.sub(r' (?:class|role|aria-[a-z]+|pointer-events|font-family|xmlns(?::\w+)?|version)="[^"]*"', "", drawn)
    drawn = re.sub(r' (?:opacity="1"|stroke-width="1"|transform="translate\(0,0\)"|font-weight="normal")', "", drawn)
    drawn = re.sub(r' (?:d|transform|width|height|x2|y2)="[^"]*"', _rounded, drawn)
    while "<g></g>" in drawn:
        drawn = drawn.replace("<g></g>", "")
    return drawn


def _rounded(attribute: re.Match[str]) -> str:
    return re.sub(r"(\.\d)\d+", r"\1", attribute[0])


def values(rows: Iterable[Mapping[str, object]]) -> Spec:
    return {"values": [dict(row) for row in rows]}


def quantity(field: str, title: str | None, top: float, **axis: object) -> Spec:
    scale = {"domain": [0, top], "nice": False}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def totals(board: Board, width: int, says: str) -> Markup:
    """All daemons with a sum, by what their seconds were lost to."""
    bars = {total.daemon: total.parts for total in board.totals if total.lost_s is not None}
    texts = {total.daemon: f"{number(total.lost_s)} s" for total in board.totals if total.lost_s is not None}
    roomy = width > NARROW
    return svg(_stacks(bars, texts, width, step=30 if roomy else 23, size=13 if roomy else 11), says)


def bars(board: Board, line: Line, width: int, says: str) -> Markup:
    """The middle run of each daemon in one line; who has no result is told so."""
    stacks = {name: line.cells[name].parts if name in line.cells else {} for name in board.daemons}
    texts = {
        name: number(line.cells[name].median.lost_s) if name in line.cells else _why_not(line, name)
        for name in board.daemons
    }
    return svg(_stacks(stacks, texts, width, step=21, size=11), says)


def _why_not(line: Line, daemon: str) -> str:
    return "failed" if daemon in line.failed else "not run"


def _stacks(
    bars: Mapping[str, Mapping[str, float]], texts: Mapping[str, str], width: int, step: int, size: int
) -> Spec:
    titles = {name: DAEMONS[name].title for name in bars}
    # As wide as in the widest letters that a page may be set in; the picture cannot measure those of the reader.
    extent = max(map(len, titles.values())) * size * WIDEST
    plot = width - extent
    room = plot - max(map(len, texts.values())) * size * WIDEST - 8
    top = max([LEAST_AXIS_S, *(sum(stack.values()) for stack in bars.values())]) * plot / room
    order = list(PARTS)
    pieces = [
        {"daemon": titles[name], "part": part, "order": order.index(part), "s": seconds}
        for name, stack in bars.items()
        for part, seconds in stack.items()
        if seconds > 0
    ]
    ends = [{"daemon": titles[name], "s": sum(bars[name].values()), "text": texts[name]} for name in bars]
    ours = f"datum.value === {json.dumps(DAEMONS[OURS].title)}"
    axis = {
        "labelColor": INK,
        "labelFontSize": size,
        "labelFontWeight": {"condition": {"test": ours, "value": "bold"}, "value": "normal"},
        "labelLimit": 0,
        "minExtent": extent,
        "maxExtent": extent,
        "domain": True,
        "domainColor": FAINT,
    }
    y = {"field": "daemon", "type": "nominal", "title": None, "sort": list(titles.values()), "axis": axis}
    x = quantity("s", None, top, tickCount=max(3, width // 120), format=",~r", labelExpr=GROUPED)
    colour = {
        "field": "part",
        "scale": {"domain": order, "range": [f"var(--{part})" for part in order]},
        "legend": None,
    }
    return {
        "width": width,
        "height": {"step": step},
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": 0,
        "layer": [
            {
                "data": values(pieces),
                "mark": {"type": "bar", "height": {"band": 0.62}},
                "encoding": {"y": y, "x": {**x, "stack": "zero"}, "color": colour, "order": {"field": "order"}},
            },
            {
                "data": values(ends),
                "mark": {"type": "text", "align": "left", "dx": 6, "fontSize": size, "fill": INK},
                "encoding": {"y": y, "x": x, "text": {"field": "text"}},
            },
        ],
    }
