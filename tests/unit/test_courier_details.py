"""What org.okoomer.Okoomer1 tells: values that a bus can carry, what is remembered, and when a process was started."""

from __future__ import annotations

from pathlib import Path

import pytest

from okoomer.courier.details import details, number, question
from okoomer.courier.history import History
from okoomer.courier.okoomer1 import start_time


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        ("u", -5, 0), ("u", 1 << 40, (1 << 32) - 1), ("i", -1, -1), ("i", 1 << 40, (1 << 31) - 1),
        ("t", 1 << 70, (1 << 64) - 1),
        ("y", 300, 255), ("d", 5, 5.0), ("d", "x", 0), ("u", float("nan"), 0), ("t", float("inf"), 0), ("u", True, 0),
        ("u", None, 0),
    ],
)  # fmt: skip
def test_a_number_is_one_that_the_bus_can_carry(kind: str, given: object, told: object) -> None:
    assert number(kind, given) == told


def test_values_of_any_kind_are_told_or_left_out() -> None:
    told = details(
        {
            "event": "x", "nul": "a\0b", "half": "\udc80", "none": None, "left": None,
            "values": {"mem.available": 5, "x": None},
            "pids": [1, -1, 1 << 40], "names": ["a\0", 5], "rest": (1,), "command": "secret", "ranking": [{}],
        }
    )  # fmt: skip
    assert told == {
        "event": ("s", "x"), "nul": ("s", "a b"), "half": ("s", "\\udc80"), "left": ("d", float("inf")),
        "values": ("as", ["mem.available 5 B", "x unknown"]), "pids": ("au", [1, 0, (1 << 32) - 1]),
        "names": ("as", ["a ", "5"]),
    }  # fmt: skip


def test_a_question_of_which_something_is_missing_has_the_rest() -> None:
    assert question({"name": 5, "pids": "x", "rule": "soft", "paused": "yes"}, 9.0) == {
        "until": ("d", 9.0), "rule": ("s", "soft"),
    }  # fmt: skip


def test_what_is_remembered_is_bounded() -> None:
    history = History(size=10)
    for sequence in range(1, 50):
        history.add({"event": "warned", "sequence": sequence, "text": "x"})
    assert len(history.lines(100, 0)) == 10
    for sequence in range(50, 60):
        history.add({"event": "warned", "sequence": sequence, "text": "x" * 200_000})
    assert len(history.lines(100, 0)) == 2
    assert history.why(0, 0) == "", "a warning is no act"


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("42 (a) b) S 1 " + "0 " * 17 + "777 0\n", 777),
        ("42 (x) S 1", 0),
        ("", 0),
        ("42 (x) S" + " y" * 30, 0),
    ],
)
def test_when_a_process_was_started_is_read_whatever_it_is_called(tmp_path: Path, text: str, ticks: int) -> None:
    (tmp_path / "stat").write_text(text)
    assert start_time(str(tmp_path / "stat")) == ticks
    assert start_time(str(tmp_path / "none")) == 0
