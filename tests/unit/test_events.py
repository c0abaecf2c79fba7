"""Events as text: JSON that is JSON, sentences of one line, and names that can do no harm."""

from __future__ import annotations

import ast
import inspect
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okoomer.events import model
from okoomer.events.text import harmless, line, reading, sentence, some_pids, to_json
from okoomer.policy.metrics import AVERAGE, FLOW, PORTION, STALL, TREND
from okoomer.policy.metrics_cgroup import METRICS
from okoomer.record import Record, replace
from okoomer.units import GIB

TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
HOSTILE = ["a'b\n<7>fake", "\x1b[31mred", "\u202egnp.exe", "back\\slash", "\r", "\x00", "\x85", "\u2028", "\udcff"]
NUMBERS = st.one_of(st.floats(), st.integers(-(2**64), 2**64))
VALUES = st.lists(st.tuples(TEXT, st.none() | NUMBERS), max_size=3, unique_by=lambda pair: pair[0]).map(tuple)
PIDS = st.lists(st.integers(1, 2**22), min_size=1, max_size=6).map(tuple)
RANKED = st.builds(model.Ranked, TEXT, TEXT, PIDS, NUMBERS, st.integers(0, 2**50), TEXT)
QUESTION = model.Question(
    question=3,
    rule="r",
    name="hog",
    pids=(4,),
    user=1000,
    cgroup="/a",
    seconds=20.0,
    choices=(model.RESUME, model.PAUSE, model.END, model.LIMIT),
    then="term",
    freed=GIB,
    available=GIB,
    paused=False,
    limit=64 << 20,
    why="it grows",
)
#: What stands in a field, by its annotation.
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "str": TEXT,
    "int": st.integers(0, 2**63),
    "float": NUMBERS,
    "float | None": st.none() | NUMBERS,
    "bool": st.booleans(),
    "tuple[str, ...]": st.lists(TEXT, max_size=3).map(tuple),
    "tuple[int, ...]": PIDS,
    "tuple[tuple[str, float | None], ...]": VALUES,
    "tuple[Ranked, ...]": st.lists(RANKED, max_size=2).map(tuple),
}


def events(kind: type[Record]) -> st.SearchStrategy[Record]:
    [definition] = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    fields = (node for node in definition.body if isinstance(node, ast.AnnAssign))
    return st.builds(kind, *(FIELDS[ast.unparse(field.annotation)] for field in fields))


def shown(value: object) -> object:
    """What JSON makes of a value."""
    if isinstance(value, Record):
        return {field: shown(item) for field, item in zip(value._fields, value, strict=True)}
    if isinstance(value, tuple):
        return [shown(item) for item in value]
    if isinstance(value, str):
        # Two halves of one character side by side come back as that character.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value


# --- harmless -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["firefox", "a'b", "Isolated Web Co", "naïve-日本", ""])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a'b\n<7>fake", "a'b\\n<7>fake"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066\u2069", "\\u2066\\u2069"),
        ("\\n", "\\\\n"),
        ("\x7f\x85\u2028\ufeff\u200b", "\\x7f\\x85\\u2028\\ufeff\\u200b"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
        ("cat\u3164", "cat\\u3164"),
        ("cat\ufe0f\u034f", "cat\\ufe0f\\u034f"),
    ],
)
def test_what_forges_colours_or_hides_is_escaped(text: str, escaped: str) -> None:
    assert harmless(text) == escaped


@given(TEXT)
def test_what_is_harmless_prints_on_one_line(text: str) -> None:
    safe = harmless(text)
    assert safe.isprintable()
    assert len(safe.splitlines()) <= 1


@given(TEXT)
def test_the_text_can_be_had_back_so_no_two_look_alike(text: str) -> None:
    back = harmless(text).encode("latin-1", "backslashreplace").decode("unicode_escape")
    assert back == text


@given(TEXT, TEXT)
def test_no_text_can_pass_for_another_by_writing_its_escapes(text: str, other: str) -> None:
    assert (harmless(text) == harmless(other)) == (text == other)


# --- JSON -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", model.EVENTS.values())
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_event_is_one_line_of_json_whatever_it_says(kind: type[Record], data: st.DataObject) -> None:
    event = data.draw(events(kind))
    text = line(event, 1700000000.1234567, 42)
    assert text.isascii() and text.isprintable()
    told = json.loads(text)
    expected: dict[str, Any] = shown(event)  # type: ignore[assignment]
    if "values" in expected:
        expected["values"] = dict(expected["values"])
    head = {"at": 1700000000.123457, "sequence": 42, "event": kind.__name__.lower()}
    assert told == head | expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (2**64, "18446744073709551616"),
        (0.1, "0.1"),
        (float("nan"), "null"),
        (float("-inf"), "null"),
        ('"\n\u20ac', '"\\"\\n\\u20ac"'),
        ((1, (2, "x")), '[1, [2, "x"]]'),
        ({"a": 1, 2: None}, '{"a": 1, "2": null}'),
        (model.Changed("x"), '{"text": "x"}'),
    ],
)
def test_plain_values_as_json(value: object, text: str) -> None:
    assert to_json(value) == text


# --- sentences ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", model.EVENTS.values())
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_event_has_a_sentence_of_one_printable_line(kind: type[Record], data: st.DataObject) -> None:
    priority, said = sentence(data.draw(events(kind)))
    assert said.isprintable()
    assert model.EMERGENCY <= priority <= model.DEBUG


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_cannot_begin_a_line_of_its_own(name: str) -> None:
    for event in (
        model.Signalled("low", "SIGTERM", name, (4,), (5,)),
        model.Died("low", name, (4,), 0.1, 0),
        model.Stuck("low", name, (4,), 0.1, name),
        model.Late(2.0, 4, name),
        model.Warned("low", name),
        model.Trouble(name),
        model.Warned("low", "short", name=name, pid=4),
        replace(QUESTION, name=name),
        replace(QUESTION, why=name),
        model.Paused("rule r", name, (4,), 0, "/", False),
        model.Resumed(name, (4,), 0, "/", 1.0, "why"),
        model.Limited(name, (4,), 0, "/", 1, "memory.high"),
        model.Slowed("low", name, (4,), 0, "/", 1, 0.0, 1.0),
        model.Eased("low", name, (4,), 0, "/", 1.0, name),
        model.Run(1, "low", ("/bin/x", name), 0.2, 4, "hog", 0, "/", ""),
        model.Run(1, "low", ("/bin/x",), 0.2, 4, name, 0, "/", ""),
    ):
        said = sentence(event)[1]
        assert said.isprintable()
        assert harmless(name) in said


def test_what_is_no_event_has_no_sentence() -> None:
    with pytest.raises(TypeError):
        sentence(model.Ranked("process", "x", (1,), 0.0, 0, ""))


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (model.Stopped("SIGTERM"), "stopped by SIGTERM"),
        (model.Trouble("x: Is a directory"), "x: Is a directory"),
        (model.Trouble("x", over=True), "again well: x"),
        (model.Signalled("r", "SIGKILL", "hog", (4, 5), ()), "SIGKILL to hog (pid 4 5)"),
        (model.Signalled("r", "SIGKILL", "hog", (4,), (6,)), "SIGKILL to hog (pid 4), not to pid 6"),
        (model.Died("r", "hog", (4,), 0.25, 1024**2), "hog (pid 4) is gone after 0.250 s, 1 MiB came back"),
        (model.Recovered("r", asked=True), "rule r: memory came back, the victim may go on"),
        (model.Warned("r", "short"), "rule r warns: short"),
        (
            model.Warned("r", "short", name="hog", pid=4, left=40.4),
            "rule r warns: short; hog (pid 4) grows most, at this rate memory is full in 40 s",
        ),
        (
            model.Warned("r", "hog is the next to go: kill", name="hog", pid=4, left=float("inf"), act=True),
            "rule r warns: hog is the next to go: kill",
        ),
        (model.Level(0, GIB, None, ()), "memory is not short any more: 1.0 GiB available"),
        (
            model.Level(100, GIB, 12.0, ("a", "b")),
            "memory is short (medium): 1.0 GiB available, at this rate memory is full in 12 s: a, b",
        ),
        (
            QUESTION,
            "question 3 by rule r: what is to become of hog (pid 4), which runs on? resume, pause, end, "
            "limit (64 MiB); term if nobody answers within 20 s; it grows",
        ),
        (
            replace(QUESTION, paused=True, choices=("resume", "end"), seconds=0.5),
            "question 3 by rule r: what is to become of hog (pid 4), which is paused? resume, end; "
            "term if nobody answers within 0.5 s; it grows",
        ),
        (model.Closed(3, model.ANSWERED, "end", 1000), "question 3 is over: user 1000 answers end"),
        (model.Closed(3, model.ANSWERED, "end"), "question 3 is over: the answer is end"),
        (model.Closed(3, model.LATE), "question 3 is over: nobody has answered"),
        (model.Closed(3, model.URGENT), "question 3 is over: a more urgent rule cannot wait"),
        (
            model.Paused("rule r", "hog", (4,), 7, "/a", False, (5,)),
            "hog (pid 4) stands still by rule r, but not pid 5",
        ),
        (model.Paused("user 7", "/a", (4,), 7, "/a", True), "/a (its cgroup is frozen) stands still by user 7"),
        (
            model.Resumed("hog", (4,), 7, "/a", 2.5, "user 7 wants it"),
            "hog (pid 4) goes on after 2.5 s: user 7 wants it",
        ),
        (
            model.Limited("hog", (4,), 7, "/a", 2 * GIB, "memory.high"),
            "hog (pid 4) gets no more than 2.0 GiB (memory.high)",
        ),
        (
            model.Slowed("low", "hog", (4,), 7, "/a", 2 * GIB, 0.0, 30.0),
            "hog (pid 4) is slowed down at 2.0 GiB for 30.0 s",
        ),
        (
            model.Slowed("low", "hog", (4,), 7, "/a", 2 * GIB, 0.5, 30.0),
            "hog (pid 4) is slowed down at 2.0 GiB and 50% of a processor for 30.0 s",
        ),
        (
            model.Eased("low", "hog", (4,), 7, "/a", 2.5, "its time is over"),
            "hog (pid 4) is slowed down no more after 2.5 s: its time is over",
        ),
        (
            model.Report(24 * GIB, 23 * GIB, 0, 2 * GIB, GIB),
            "23.0 GiB of 24.0 GiB available (96%), swap 1.0 GiB of 2.0 GiB free",
        ),
        (model.Report(24 * GIB, 12 * GIB, 5 * GIB, 0, 0), "12.0 GiB of 24.0 GiB available (50%), no swap"),
        (
            model.Run(7, "low", ("/bin/x", "4"), 0.2, 4, "hog", 0, "/", "hog --all"),
            "rule low runs /bin/x 4 for hog (pid 4)",
        ),
        (model.Ran(7, 0, 0.1), "what was run (request 7) ended with 0 after 0.100 s"),
        (model.Ran(7, 3, 0.1), "what was run (request 7) ended with 3 after 0.100 s"),
        (model.Ran(7, -15, 20.0), "what was run (request 7) was ended by signal 15 after 20.000 s"),
        (model.Ran(7, model.NOT_STARTED, 0.0), "what was run (request 7) could not be started after 0.000 s"),
        (model.Late(3.0, 0, ""), "the loop hung for 3.0 s; the watchdog killed nobody"),
        (
            model.RuleChanged("r", "fired", (("psi.memory.full", 0.25), ("swap.free", None))),
            "rule r fired: psi.memory.full 25.0%, swap.free unknown",
        ),
        (
            model.RuleChanged("r", "fired", (("cgroup.psi.memory.full.avg10", 0.25), ("cgroup.scan", 2.0**20)), "/a"),
            "rule r fired in /a: cgroup.psi.memory.full.avg10 25.0%, cgroup.scan 1 MiB/s",
        ),
        (model.Refused("r", "too small", (), "/a"), "rule r fired in /a, but nobody's end would help: too small"),
        (model.Signalled("r", "SIGKILL", "/a", (), (), "/a"), "SIGKILL to /a (no process)"),
        (
            model.Primed("a\x1b", 7, 0, "/a", 987),
            "the kernel's own killer would take a\\x1b (pid 7) first, too (oom_score_adj 987)",
        ),
        (model.Primed("a", 7, 0, "/a", 0), "a (pid 7) has its own oom_score_adj again"),
        (model.Shrunk("r", "/a", 2 * GIB, GIB, 0.5), "rule r shrinks /a: 1.0 GiB of 2.0 GiB came back in 0.500 s"),
        (model.Shrunk("r", "/a", 0, 0, 0.0, "all is protected"), "rule r shrinks /a: all is protected"),
    ],
)
def test_sentences_for_people(event: Record, said: str) -> None:
    assert sentence(event)[1] == said


def test_urgent_events_have_urgent_priorities() -> None:
    def priority(event: Record) -> int:
        return sentence(event)[0]

    assert priority(model.Late(3.0, 4, "x")) == model.ALERT
    assert priority(model.RuleChanged("r", "fired", ())) < priority(model.RuleChanged("r", "holding", ()))
    assert priority(model.Trouble("x")) < priority(model.Trouble("x", over=True))
    assert priority(model.Ran(1, 1, 0.0)) < priority(model.Ran(1, 0, 0.0))
    assert priority(model.Report(1, 1, 1, 1, 1)) == model.INFO


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [None, 0.0, 0.5, 3 * 1024.0**3, float("inf")])
def test_every_metric_has_a_reading(metric: str, value: float | None) -> None:
    assert reading(metric, value).startswith(f"{metric} ")


def test_a_reading_has_the_unit_that_its_kind_is_written_in() -> None:
    for metric in METRICS.values():
        text = reading(metric.name, 0.5)
        assert text.endswith("%") is (metric.kind in (STALL, AVERAGE, PORTION)), text
        assert text.endswith("/s") is (metric.kind in (FLOW, TREND)), text


def test_memory_as_programs_can_have_it_reads_as_a_size() -> None:
    assert reading("mem.available.user", 512 * 1024.0**2) == "mem.available.user 512 MiB"


def test_many_pids_are_counted_and_not_listed() -> None:
    assert some_pids((1, 2, 3, 4)) == "pid 1 2 3 4"
    assert some_pids(tuple(range(10, 20))) == "pid 10 and 9 more"
