"""What was done and why, in words: what came of an act."""

from __future__ import annotations

import json
from typing import Any

import pytest

from okoomer.events import model
from okoomer.events.account import came_of, told
from okoomer.events.text import line
from okoomer.record import Record

ACT: dict[str, Any] = {"event": "refused", "sequence": 3, "at": 100.0, "rule": "low", "why": "all are spared"}
QUESTION = model.Question(
    7, "low", "make", (42, 43), 1000, "/a", 20.0, ("resume", "end"), "term", 1 << 30, 1 << 28, True, 1 << 26, "x"
)
STEPS: dict[str, tuple[Record, str]] = {
    "a signal": (model.Signalled("low", "SIGTERM", "make", (42,), ()), "SIGTERM to pid 42"),
    "an end": (model.Died("low", "make", (42,), 0.25, 1 << 30), "gone 0.250 s after the signal, 1.0 GiB came back"),
    "another rule": (
        model.TakenOver("urgent", "low", "stall", (("psi.memory.full", 0.5),), "make", (42,), 1 << 30),
        "rule urgent goes on: psi.memory.full 50.0% (stall)",
    ),
    "no end": (model.Stuck("low", "make", (42,), 9.0, "it sl\x1beeps"), "set aside: it sl\\x1beeps"),
    "a pause": (model.Paused("rule low", "make", (42, 43), 1000, "/a", False), "pid 42 43 paused"),
    "the end of it": (
        model.Resumed("make", (42,), 1000, "/a", 3.25, "memory came back"),
        "resumed after 3.2 s: memory came back",
    ),
    "a ceiling": (model.Limited("make", (42,), 1000, "/a", 1 << 29, "memory.high"), "limited to 512 MiB"),
    "a slowing down": (model.Slowed("low", "hog", (42,), 7, "/a", 1 << 30, 0.5, 30.0), "slowed down at 1.0 GiB"),
    "its end": (
        model.Eased("low", "hog", (42,), 7, "/a", 3.25, "its time is over"),
        "slowed down no more after 3.2 s: its time is over",
    ),
    "a question": (QUESTION, "asked for 20 s (question 7)"),
    "an answer": (model.Closed(7, "answered", "end", 1000), "the question is over: user 1000 answers end"),
    "no answer": (model.Closed(7, "late"), "the question is over: nobody has answered"),
    "something more urgent": (model.Closed(7, "urgent"), "the question is over: a more urgent rule cannot wait"),
    "memory": (model.Recovered("low", asked=False), "memory had come back by itself"),
}


def fields(event: Record, sequence: int, at: float) -> dict[str, Any]:
    """An event as it stands in the ring."""
    found: dict[str, Any] = json.loads(line(event, at, sequence))
    return found


@pytest.mark.parametrize("what", STEPS)
def test_what_came_of_an_act_is_told_in_words(what: str) -> None:
    event, words = STEPS[what]
    came = came_of(ACT, [ACT, fields(event, 4, 101.5)])
    assert told(ACT, came)[-1] == f"  after 1.500 s: {words}"


def test_what_came_before_it_or_of_another_act_is_not_told() -> None:
    before, after = fields(STEPS["a signal"][0], 2, 99.0), fields(STEPS["an end"][0], 5, 102.0)
    other = {"event": "chosen", "sequence": 4, "at": 101.0}
    assert came_of(ACT, [before, ACT, other, after]) == []
    assert came_of(ACT, [before, ACT, after]) == [after]
