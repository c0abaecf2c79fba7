"""How `okoomer top` draws what it sees."""

from __future__ import annotations

import time

import pytest
from rich.cells import cell_len

from okoomer.cli.top_events import Happened
from okoomer.cli.top_view import KEYS, Asked, First, Someone, View, lines, rows
from okoomer.record import replace
from tests.unit.strategies import GIB, MIB

#: 12:00:00 of some day, wherever that is.
NOON = time.mktime((2026, 1, 2, 12, 0, 0, 0, 0, -1))
CALM = View(
    at=NOON,
    guard=412,
    policy="server",
    total=8 * GIB,
    available=6 * GIB,
    swap_total=0,
    swap_free=0,
    effective=0,
    some=0.0,
    full=0.0,
    level=0,
    left=None,
    late=None,
    rules=(),
    standing=(),
    questions=(),
    rule="exhausted",
    acts=False,
    takes="java",
    why="2.0 GiB would come back",
    need=80 * MIB,
    refusal="",
    ranking=(First("java", 20, 9, 2 * GIB, "2.0 GiB would come back"),),
    events=(),
)
BUSY = replace(
    CALM,
    available=400 * MIB,
    swap_total=2 * GIB,
    swap_free=GIB // 2,
    some=0.42,
    full=0.221,
    level=255,
    left=12.4,
    rules=(("stalled", "fired"), ("low", "holding")),
    standing=(
        Someone("paused", 31, 5, "make", 12.3, "rule share"),
        Someone("waits", 32, 6, "cc1plus", 300.0, "the others of make fill what there is"),
        Someone("limited", 33, 7, "fire\x1b[31mfox", None, "at most 1.0 GiB"),
    ),
    questions=(Asked(7, "make", (31, 35), True, ("resume", "end"), "term", 14.2),),
    rule="stalled",
    acts=True,
    events=(Happened(NOON - 5, "rulechanged", "rule stalled fired: psi.memory.full 22.1%"),),
    unknown="its events are damaged",
)


def text(view: View, width: int = 80, height: int = 0, at: int = -1, note: str = "") -> list[str]:
    return [one.plain for one in lines(view, width, height, at, note)]


def test_a_calm_machine_at_80_columns() -> None:
    assert text(CALM) == [
        "12:00:00 a guard runs (pid 412) by policy server",
        "memory [||||||||                         ]  25%  6.0 GiB of 8.0 GiB available",
        "swap   none",
        "stall  [                                 ]   0%  some 0.0%, all 0.0%",
        "level  normal",
        "rules  all quiet",
        "",
        "rule exhausted would take java, 80 MiB needed",
        "  2.0 GiB would come back",
        "  1.   2.0 GiB  java (pid 20): 2.0 GiB would come back",
    ]


def test_a_machine_in_need_at_80_columns() -> None:
    assert text(BUSY, height=24) == [
        "12:00:00 a guard runs (pid 412) by policy server",
        "its events are damaged",
        "memory [|||||||||||||||||||||||||||||||  ]  95%  400 MiB of 8.0 GiB available",
        "swap   [|||||||||||||||||||||||||        ]  75%  512 MiB of 2.0 GiB free",
        "stall  [||||||||||||||                   ]  42%  some 42.0%, all 22.1%",
        "level  critical, at this rate nothing is left in 12 s",
        "rules  stalled fired, low holding",
        "",
        "asked  7: make (pid 31 35), paused, is told to end in 14 s: resume|end",
        "paused  make (pid 31) for 12 s: rule share",
        "waits   cc1plus (pid 32) for 5 min: the others of make fill what there is",
        "limited fire\\x1b[31mfox (pid 33): at most 1.0 GiB",
        "",
        "rule stalled takes java, 80 MiB needed",
        "  2.0 GiB would come back",
        "  1.   2.0 GiB  java (pid 20): 2.0 GiB would come back",
        "",
        "11:59:55 rule stalled fired: psi.memory.full 22.1%",
        KEYS,
    ]


def test_at_40_columns_there_are_no_bars_and_what_does_not_fit_is_cut() -> None:
    assert text(BUSY, 40)[:10] == [
        "12:00:00 a guard runs (pid 412) by poli…",
        "its events are damaged",
        "memory  95%  400 MiB of 8.0 GiB availab…",
        "swap    75%  512 MiB of 2.0 GiB free",
        "stall   42%  some 42.0%, all 22.1%",
        "level  critical, at this rate nothing i…",
        "rules  stalled fired, low holding",
        "",
        "asked  7: make (pid 31 35), paused, is …",
        "paused  make (pid 31) for 12 s: rule sh…",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"guard": None}, "12:00:00 no guard runs here; what one would see by policy server"),
        ({"guard": 0}, "12:00:00 a guard runs by policy server"),
        ({"some": None, "full": None}, "stall  unknown"),
        ({"full": None}, "stall  [                                 ]   0%  some 0.0%"),
        ({"level": 50}, "level  low"),
        ({"late": 0.234}, "level  normal; the canary is late by 0.23 s"),
        ({"takes": "", "refusal": "nobody\nis there"}, "rule exhausted takes nobody: nobody\\nis there"),
        ({"ranking": (First("/a.slice", 0, 0, GIB, "most"),)}, "  1.   1.0 GiB  /a.slice: most"),
        ({"total": 0, "available": 0}, "memory [                                 ]   0%  0 B of 0 B available"),
    ],
)
def test_what_is_absent_or_unknown_is_said(changes: dict[str, object], expected: str) -> None:
    assert expected in text(replace(CALM, **changes))


def test_whoever_is_chosen_is_marked_and_an_answer_takes_the_place_of_the_keys() -> None:
    assert rows(BUSY) == [("make", 31, 5), ("cc1plus", 32, 6), ("fire\x1b[31mfox", 33, 7), ("java", 20, 9)]
    for at, begins in enumerate(("paused", "waits", "limited", "  1.")):
        drawn = lines(BUSY, 80, 24, at, "java is paused")
        [marked] = [one.plain for one in drawn if any(str(span.style) == "reverse" for span in one.spans)]
        assert marked.startswith(begins)
        assert drawn[-1].plain == "java is paused"


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("height", [1, 5, 12, 24, 60])
def test_it_never_leaves_the_screen(width: int, height: int) -> None:
    wide = replace(BUSY, takes="\u6f22" * 200, events=BUSY.events * 90, ranking=BUSY.ranking * 30)
    drawn = text(wide, width, height)
    assert len(drawn) <= height
    assert all(cell_len(line) <= width for line in drawn)
    assert drawn[-1][:10] == KEYS[:10]
