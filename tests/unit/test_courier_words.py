"""What is announced, and how fast."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okoomer.courier.subject import NOBODY, Subject
from okoomer.courier.words import GAP, LINES, ROOM, Spaced, announcement, happenings, rebuilt
from okoomer.events import model
from okoomer.events.text import line, sentence
from okoomer.policy.model import HAPPENINGS
from okoomer.record import Record

HOG = Subject(42, "<b>hog</b>", 7)
RANKED = model.Ranked("process", "hog", (42,), 3.0, 5 << 20, "large")
CHOSEN = model.Chosen(
    rule="low", when="mem.available < 5%", reason="low-memory", values=(("mem.available", 1e6), ("swap.free", None)),
    kind="process", name="hog", pids=(42,), command="hog", freed=5 << 20, need=1 << 20, why="large", steps=("kill",),
    ranking=(RANKED,), processes=4, scan_cpu_seconds=0.1, seconds=0.2, dry_run=False,
)  # fmt: skip
SIGNALLED = model.Signalled("low", "SIGTERM", "hog", (42,), ())
REFUSED = model.Refused("low", "all are spared", (RANKED,))
STUCK = model.Stuck("low", "hog", (42,), 2.0, "it does not die")
EVENTS: list[Record] = [
    CHOSEN, SIGNALLED, REFUSED, STUCK, model.Warned("low", "soon"), model.Died("low", "hog", (42,), 0.1, 5 << 20),
    model.Question(
        7, "low", "hog", (42,), 7, "/a", 20.0, ("resume", "end"), "kill", 5 << 20, 1 << 20, True, 1 << 26, "large"
    ),
    model.Closed(7, "answered", "end", 7), model.Paused("rule low", "hog", (42,), 7, "/a", True),
    model.Resumed("hog", (42,), 7, "/a", 3.0, "memory came back"),
    model.Limited("hog", (42,), 7, "/a", 1 << 30, "memory.high"),
    model.Slowed("low", "hog", (42,), 7, "/a", 1 << 30, 0.5, 30.0),
    model.Eased("low", "hog", (42,), 7, "/a", 3.25, "its time is over"), model.Level(100, 1 << 20, 3.0, ("low",)),
]  # fmt: skip


def as_read(event: Record) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(line(event, 1.0, 1))
    return fields


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_from_its_json(event: Record) -> None:
    assert rebuilt(as_read(event)) == event


def test_everything_that_can_be_announced_is_tried_here() -> None:
    assert {name for event in EVENTS for name in happenings(as_read(event))} | {"killed"} == set(HAPPENINGS)


def test_a_sigkill_is_called_killed_as_well() -> None:
    killed = model.Signalled("low", "SIGKILL", "hog", (42,), ())
    assert happenings(as_read(killed)) == ("signalled", "killed")
    assert happenings(as_read(SIGNALLED)) == ("signalled",)
    assert happenings(as_read(CHOSEN)) == ("chosen",)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("voice", ["", "nohang"])
def test_okoomer_announces_its_own_sentence(event: Record, voice: str) -> None:
    assert announcement(as_read(event), HOG, voice) == ("okoomer", sentence(event)[1])


@pytest.mark.parametrize(
    ("event", "body"),
    [
        (SIGNALLED, "Low memory! Killing process 42 &lt;b&gt;hog&lt;/b&gt;"),
        (model.Signalled("low", "SIGKILL", "x", (42,), ()), "Low memory! Killing process 42 &lt;b&gt;hog&lt;/b&gt;"),
        (model.Signalled("low", "SIGKILL", "x", (), (42,)), "Error: Failed to kill process"),
        (model.Signalled("low", "SysRq f", "x", (), ()), "Low memory! Triggered kernel OOM killer"),
        (STUCK, "Error: Failed to kill process"),
        (REFUSED, "Error: Could not find a process to kill. Sleeping 1 second."),
        (model.Warned("low", "a & b"), "rule low warns: a &amp; b"),
    ],
)
def test_earlyooms_words(event: Record, body: str) -> None:
    assert announcement(as_read(event), HOG, "earlyoom") == ("earlyoom", body)


def test_earlyooms_words_about_somebody_who_is_not_known() -> None:
    assert announcement(as_read(SIGNALLED), NOBODY, "earlyoom")[1] == "Low memory! Killing process 42 hog"


@pytest.mark.parametrize("voice", ["", "earlyoom"])
def test_a_hostile_name_is_neither_markup_nor_a_second_line(voice: str) -> None:
    name = "<a href='x'>&\n\x1b[31m\u202e"
    event = as_read(model.Signalled("low", "SIGTERM", name, (42,), ()))
    body = announcement(event, Subject(42, name), voice)[1]
    assert "&lt;a href='x'&gt;&amp;\\n\\x1b[31m\\u202e" in body
    assert not set("<>\n\x1b\u202e") & set(body)


@pytest.mark.parametrize("damage", [{"pids": 7}, {"signal": None, "pids": None}, {"event": "nothing"}, {"name": []}])
def test_an_event_that_is_none_raises_only_what_is_said(damage: dict[str, Any]) -> None:
    for voice in ("", "earlyoom"):
        try:
            announcement(as_read(SIGNALLED) | damage, HOG, voice)
        except (TypeError, ValueError, KeyError, AttributeError, IndexError):
            pass


def test_the_first_announcement_goes_at_once_and_the_next_waits() -> None:
    spaced = Spaced()
    assert spaced.wait(10.0) is None
    spaced.add("okoomer", "one")
    assert spaced.wait(10.0) == 0
    assert spaced.take(10.0) == ("okoomer", "one")
    assert spaced.wait(10.0) is None
    spaced.add("okoomer", "two")
    assert spaced.wait(10.05) == pytest.approx(GAP - 0.05)
    assert spaced.wait(11.0) == 0


def test_what_waits_goes_together() -> None:
    spaced = Spaced()
    for body in ("one", "two", "three"):
        spaced.add("okoomer", body)
    assert spaced.take(0.0) == ("okoomer", "one\ntwo\nthree")


def test_of_many_the_first_are_told_and_the_rest_counted() -> None:
    spaced = Spaced()
    for number in range(LINES + 5):
        spaced.add("okoomer", f"number {number}")
    body = spaced.take(0.0)[1]
    assert body.splitlines() == [*(f"number {number}" for number in range(LINES)), "and 5 more"]


@given(st.lists(st.text(max_size=2000), min_size=1, max_size=20))
def test_an_announcement_is_never_too_long(bodies: list[str]) -> None:
    spaced = Spaced()
    for body in bodies:
        spaced.add("okoomer", body)
    assert len(spaced.take(0.0)[1].encode()) <= ROOM


def test_a_body_that_is_cut_has_no_half_escape() -> None:
    spaced = Spaced()
    for extra in range(6):
        spaced.add("okoomer", "x" * extra + "&amp;" * 400)
        body = spaced.take(0.0)[1]
        assert body.endswith(";...")
