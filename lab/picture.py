"""One run as a picture that needs no page around it: what there was, who waited, and how late the screen was."""

from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise

import vl_convert

from lab.charts import Spec, values
from lab.daemons import EVERYBODY
from lab.figures import stood
from lab.run import By, Run
from lab.scenarios import SCENARIOS

WIDTH, HEIGHT = 720, 80
INK, MUTED, FAINT, BACK = "#1f2328", "#59636e", "#d1d9e0", "#ffffff"
MEMORY, SWAP, STILL, WAIT, SCREEN = "#2f81f7", "#8c959f", "#1a7f37", "#bf8700", "#cf222e"
LEAST_LATE_S = 0.5
"""The axis of the screen shows at least this, so that what nobody feels never looks like a disaster."""
CONFIG: Spec = {
    "background": BACK,
    "font": "DejaVu Sans, sans-serif",
    "view": {"stroke": FAINT},
    "axis": {
        "labelColor": MUTED,
        "titleColor": INK,
        "gridColor": FAINT,
        "domain": False,
        "ticks": False,
        "labelPadding": 5,
        "titleFontWeight": "normal",
    },
    "title": {"color": INK, "anchor": "start", "fontSize": 13, "subtitleColor": MUTED, "subtitleFontSize": 11},
}

Rows = Iterable[Mapping[str, object]]


def svg(run: Run, end_s: float | None = None) -> str:
    """The picture of a run.

    Args:
        end_s: Where the axis of time ends; None is when listening ended. Pictures beside each other have one.
    """
    end = end_s or run.seen.end
    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "title": {
            "text": f"{SCENARIOS[run.scenario].title}: {EVERYBODY[run.daemon].title}",
            "subtitle": ["blue: available; grey: free swap; dashed: somebody is ended"],
        },
        "padding": 10,
        "spacing": 10,
        "vconcat": [
            _memory(run, end),
            *([_pauses(run, end)] if run.seen.pauses else []),
            _waits(run, end),
            _screen(run, end),
        ],
    }
    return str(vl_convert.vegalite_to_svg(whole, config=CONFIG))


def _memory(run: Run, end: float) -> Spec:
    samples = [sample for sample in run.seen.memory if 0 <= sample.at <= end]
    top = max((max(sample.available, sample.swap_free) for sample in samples), default=1)
    available = _layer(
        ({"at": sample.at, "is": sample.available} for sample in samples),
        {"type": "area", "color": MEMORY, "opacity": 0.35, "line": {"color": MEMORY, "strokeWidth": 1.5}},
    )
    swap = _layer(
        ({"at": sample.at, "is": sample.swap_free} for sample in samples),
        {"type": "line", "color": SWAP, "strokeWidth": 1.5},
    )
    return _strip(run, end, "MiB", top, "d", [available, swap])


def _pauses(run: Run, end: float) -> Spec:
    """How many stand still: until they run again, or are ended."""
    steps = [(0.0, 0)]
    for pause in run.seen.pauses:
        steps += [(pause.at, 1), (pause.at + stood(pause, run.seen), -1)]
    ats, changes = zip(*sorted(step for step in steps if 0 <= step[0] <= end), strict=True)
    counts = dict(zip(ats, accumulate(changes), strict=True))  # of changes at the same time, what comes of them all
    rows = [{"at": at, "is": count} for at, count in (*counts.items(), (end, counts[ats[-1]]))]
    curve: Spec = {"type": "area", "color": STILL, "opacity": 0.6, "interpolate": "step-after"}
    strip = _strip(run, end, "stand still", max(1, *counts.values()), "d", [_layer(rows, curve)], whole=True)
    return strip | {"height": HEIGHT // 2}


def _waits(run: Run, end: float) -> Spec:
    rows = [
        {"at": later.at, "is": (later.full_s - sooner.full_s) / (later.at - sooner.at)}
        for sooner, later in pairwise(run.seen.memory)
        if 0 < later.at <= end and later.at > sooner.at
    ]
    curve: Spec = {"type": "area", "color": WAIT, "opacity": 0.6, "interpolate": "step-before"}
    return _strip(run, end, "all wait", 1, "%", [_layer(rows, curve)])


def _screen(run: Run, end: float) -> Spec:
    """As wide as it was late: what should have been seen then was seen at its right edge."""
    late = [late for late in run.seen.screen_late if 0 <= late.at <= end]
    rows = [{"at": one.at, "until": min(end, one.at + one.late_s), "is": one.late_s} for one in late]
    top = max([LEAST_LATE_S, *(one.late_s for one in late)])
    blocks = _layer(rows, {"type": "rect", "color": SCREEN, "stroke": SCREEN, "strokeWidth": 1})
    blocks["encoding"] = {"x2": {"field": "until"}, "y2": {"datum": 0}}
    strip = _strip(run, end, "screen late, s", top, "~g", [blocks])
    strip["encoding"]["x"]["axis"] = {"title": "seconds", "tickCount": 10, "grid": False}
    return strip


def _layer(rows: Rows, mark: Spec) -> Spec:
    return {"data": values(rows), "mark": mark}


def _strip(run: Run, end: float, title: str, top: float, form: str, layers: list[Spec], whole: bool = False) -> Spec:
    """Curves above the same seconds, with a line down where somebody is ended; nothing is between `whole` numbers."""
    ended = [{"at": kill.at} for kill in run.seen.kills if kill.by is not By.OTHER and 0 <= kill.at <= end]
    dashed: Spec = {"type": "rule", "color": INK, "strokeDash": [4, 3]}
    x = {"field": "at", "type": "quantitative", "scale": {"domain": [0, end], "nice": False}}
    y = {"field": "is", "type": "quantitative", "scale": {"domain": [0, top], "nice": False, "clamp": True}}
    axis = {"tickCount": 3, "tickMinStep": int(whole), "format": form, "minExtent": 40, "maxExtent": 40}
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "encoding": {"x": {**x, "axis": {"labels": False, "title": None, "tickCount": 10, "grid": False}}},
        "layer": [
            *(
                {**layer, "encoding": {"y": {**y, "title": title, "axis": axis}, **layer.get("encoding", {})}}
                for layer in layers
            ),
            {"data": values(ended), "mark": dashed},
        ],
    }
