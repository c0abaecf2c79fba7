"""The words on the screen."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okoomer.desktop import texts
from okoomer.desktop.okoomer import plain
from okoomer.events.markup import escape, unescape
from okoomer.policy import reason
from tests.unit.sessions import question, typed

MIB, GIB = 1024**2, 1024**3
NOW = 1_800_000_000.0
WARNED = {"rule": "low", "text": "", "name": "firefox", "pid": 4, "user": 1000, "available": 300 * MIB, "act": False}
SAVE = "Save your work, and close what you do not need."


@pytest.mark.parametrize(
    ("changes", "summary", "body"),
    [
        ({"left": 40.4}, "firefox is growing", f"At this rate memory is full in 40 s. 300 MiB is left. {SAVE}"),
        ({"left": 200.0}, "firefox is growing", f"At this rate memory is full in 3 min. 300 MiB is left. {SAVE}"),
        ({}, "firefox is growing", f"300 MiB is left. {SAVE}"),
        ({"left": float("inf")}, "firefox is growing", f"300 MiB is left. {SAVE}"),
        ({"left": 1e6}, "firefox is growing", f"300 MiB is left. {SAVE}"),
        ({"name": "", "left": 40.0}, "Memory is running out", "At this rate memory is full in 40 s. 300 MiB is left."),
        ({"act": True}, "firefox is the next to go", f"Unless memory comes back, it is ended. 300 MiB is left. {SAVE}"),
        ({"act": True, "name": ""}, "Memory is nearly full", "300 MiB is left."),
        ({"name": 7, "left": "soon", "available": None}, "Memory is running out", ""),
    ],
)
def test_a_warning_names_who_grows_and_how_long_is_left(changes: dict[str, Any], summary: str, body: str) -> None:
    note = texts.warning(WARNED | changes)
    assert (note.summary, note.body, note.actions) == (summary, body, ())


def test_another_persons_process_is_not_named() -> None:
    note = texts.warning(WARNED, known=False)
    assert note.summary == "a process of another user is growing"
    assert "firefox" not in note.body
    summary, _ = texts.result({"event": "died", "name": "firefox"}, {}, known=False)
    assert summary == "A process of another user was ended"


@pytest.mark.parametrize(
    ("changes", "summary", "first"),
    [
        ({}, "make is paused", "It wants more memory than there is: 210 MiB is left. Its end would free 3.2 GiB."),
        ({"paused": False}, "End make?", "Memory is nearly full: 210 MiB is left. Its end would free 3.2 GiB."),
        ({"freed": 0, "available": 0}, "make is paused", "It wants more memory than there is."),
        ({"name": "/user.slice/app-x.scope"}, "app-x.scope is paused", None),
        ({"name": ""}, "A process is paused", None),
    ],
)
def test_a_question_says_what_it_is_about(changes: dict[str, Any], summary: str, first: str | None) -> None:
    note = texts.question(3, question(until=NOW + 20, **changes), NOW)
    assert note.summary == summary
    assert first is None or note.body.splitlines()[0] == first
    assert (note.urgency, note.timeout) == (texts.URGENT, texts.STAYS)


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("resume", "it goes on"),
        ("term", "it is told to end"),
        ("kill", "it is ended"),
        ("oom", "it is ended"),
        ("what is that", "it is left to the policy"),
    ],
)
def test_a_question_says_what_happens_unanswered_and_when(then: str, said: str) -> None:
    body = texts.question(3, question(until=NOW + 20, then=then), NOW).body
    assert re.fullmatch(rf"Unless you answer, {said} at \d\d:\d\d:\d\d, in 20 s\.", body.splitlines()[1])
    assert "Unless" not in texts.question(3, question(until=NOW - 1, then=then), NOW).body


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["default", "resume", "end", "limit"]),
        ({"choices": ["pause", "limit", "end", "resume"]}, ["default", "resume", "end", "limit", "pause"]),
        ({"choices": ["end", "format the disk"]}, ["default", "end"]),
        ({"choices": []}, []),
        ({"choices": "end"}, []),
    ],
)
def test_the_buttons_are_the_choices_and_a_harmless_one(changes: dict[str, Any], expected: list[str]) -> None:
    actions = texts.question(3, question(**changes), NOW).actions
    assert list(actions[::2]) == expected
    assert len(actions) == 2 * len(expected)


def test_the_labels_say_what_they_do() -> None:
    labels = dict(zip(*[iter(texts.buttons(question()))] * 2, strict=True))
    assert labels == {
        "default": "Leave it to the policy", "resume": "Resume", "end": "End it", "limit": "Limit it to 512 MiB",
    }  # fmt: skip
    assert "Keep it running" in texts.buttons(question(paused=False))
    assert "Limit it" in texts.buttons(question(limit=0))


def test_without_buttons_the_command_is_named() -> None:
    assert texts.question(12, question(), NOW).otherwise == "To answer: okoomer answer 12 resume|end|limit"


@pytest.mark.parametrize(
    ("details", "acting", "told"),
    [
        (
            {"event": "died", "name": "hog", "came_back": 2 * GIB},
            {"reason": "low-memory", "freed": GIB},
            ("hog was ended", "Memory was nearly full; 2.0 GiB came back."),
        ),
        (
            {"event": "died", "name": "hog", "came_back": -5},
            {"reason": "stall", "freed": GIB},
            ("hog was ended", "The machine stalled for want of memory; it held 1.0 GiB."),
        ),
        ({"event": "died", "name": "hog"}, {}, ("hog was ended", "")),
        (
            {"event": "stuck", "name": "hog", "why": "it waits for a disk"},
            {},
            ("hog will not end", "It waits for a disk."),
        ),
        (
            {"event": "refused", "why": "all are spared"},
            {},
            ("Memory is nearly full, and nobody can be ended", "All are spared."),
        ),
        ({"event": "paused", "name": "hog"}, {"reason": "forecast"}, ("hog is paused", "Memory was about to run out.")),
        ({"event": "resumed", "name": "hog", "seconds": 3.2}, {}, ("hog runs again", "It stood still for 3 s.")),
        (
            {"event": "limited", "name": "hog", "bytes": 512 * MIB},
            {},
            ("hog is limited", "It gets no more than 512 MiB of memory."),
        ),
        (
            {"event": "slowed", "name": "hog"},
            {"reason": "forecast"},
            ("hog is slowed down", "Memory was about to run out."),
        ),
        ({"event": "eased", "name": "hog", "seconds": 3.2}, {}, ("hog is slowed down no more", "It was for 3 s.")),
        ({"event": "recovered"}, {"name": "hog"}, ("Memory came back", "hog goes on.")),
        ({"event": "recovered"}, {}, ("Memory came back", "")),
        ({"event": "level"}, {}, ("", "")),
        ({}, {}, ("", "")),
    ],
)
def test_a_result_says_what_was_done_and_why(
    details: dict[str, Any], acting: dict[str, Any], told: tuple[str, str]
) -> None:
    assert texts.result(details, acting) == told


def test_every_reason_has_words() -> None:
    words = {value for name, value in vars(reason).items() if name.isupper() and isinstance(value, str)}
    assert {word for word in words if not texts.reason_in_words(word)} == {reason.OTHER}
    assert texts.reason_in_words(["low-memory"]) == ""


def test_many_ends_are_one_notification() -> None:
    note = texts.ended([(f"hog {n} was ended", "Why.") for n in range(1, 9)])
    assert note.summary == "hog 8 was ended"
    assert note.body.splitlines() == ["Why.", *[f"hog {n} was ended. Why." for n in (7, 6, 5, 4)], "and 3 more"]
    assert note.timeout == texts.STAYS


@pytest.mark.parametrize(
    ("words", "summary", "body"),
    [
        (("earlyoom", "Low memory! Killing process 4 a &amp; b"), "earlyoom", "Low memory! Killing process 4 a & b"),
        (("only a summary",), "only a summary", ""),
        (("", "only a body"), "System", "only a body"),
        (("a\nb", "c\x1b[31m\nd"), "a\\nb", "c\\x1b[31m\nd"),
        (("x" * 500, "y" * 5000), None, None),
        (("x", "\n".join("abcdefghijkl")), "x", "\n".join("abcdefgh")),
    ],
)
def test_what_others_say_is_shown_harmless_and_short(
    words: tuple[str, ...], summary: str | None, body: str | None
) -> None:
    note = texts.foreign(words)
    assert note is not None
    assert summary is None or (note.summary, note.body) == (summary, body)
    assert len(note.summary) <= 2 * texts.NAME and len(note.body) <= 8 * (texts.SENTENCE + 1)


@pytest.mark.parametrize("words", [(), ("", ""), (7, 8)])
def test_nothing_said_is_nothing_shown(words: tuple[Any, ...]) -> None:
    assert texts.foreign(words) is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<b>big</b>", "<b>big</b>"),
        ("a\nb", "a\\nb"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("/a/b/c.service", "c.service"),
        ("x" * 100, "x" * 26 + "…" + "x" * 13),
    ],
)
def test_a_name_is_harmless(name: str, shown: str) -> None:
    assert texts.called({"name": name}) == shown
    assert "<" not in escape(shown) and unescape(escape(shown)) == shown


HOSTILE = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64), st.floats(), st.text(), st.lists(st.text(), max_size=3)
)
DETAILS = st.dictionaries(
    st.sampled_from([*question(), "event", "left", "act", "bytes", "came_back", "seconds", "by", "text", "reason"]),
    HOSTILE,
)


@settings(deadline=None, max_examples=300)
@given(DETAILS, DETAILS, st.sampled_from(["died", "stuck", "refused", "paused", "resumed", "limited", "recovered"]))
def test_whatever_is_told_something_can_be_shown(details: dict[str, Any], acting: dict[str, Any], event: str) -> None:
    notes = [texts.warning(details), texts.question(1, details, NOW), texts.not_taken("", details)]
    notes.append(texts.ended([texts.result({**details, "event": event}, acting)]))
    for note in notes:
        assert all(c.isprintable() or c == "\n" for c in note.summary + note.body)
        assert "\n" not in note.summary and len(note.summary) < 100
        assert len(note.actions) % 2 == 0


def test_variants_lose_their_signatures() -> None:
    assert plain(typed({"name": "a", "pids": [1], "paused": True})) == {"name": "a", "pids": [1], "paused": True}


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0 s"), (0.4, "0 s"), (90, "90 s"), (100, "2 min"), (3599, "60 min"), (7200, "2 h")]
)
def test_times_are_for_people(seconds: float, shown: str) -> None:
    assert texts.span(seconds) == shown
