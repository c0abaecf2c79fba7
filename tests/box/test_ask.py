"""A hog in a box that is paused, asked about, and ended or let go; answers come through the guard's door."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.box.box import Box
from tests.box.guards import OKOOMER, events, state
from tests.box.process import Proc
from tests.box.procfiles import GIB, MIB

HOG = 300 * MIB
POLICY = """
[[rule]]
name  = "critical"
when  = "mem.available <= 3%"
unit  = "process"
least = "8MiB"
steps = ["kill"]
[[rule]]
name  = "low"
when  = "mem.available <= 10%"
unit  = "process"
least = "8MiB"
steps = ["pause 1s", "ask 2s", "kill"]
"""

Start = Callable[..., Proc]


@pytest.fixture
def start(box: Box, tmp_path: Path) -> Start:
    """Starts a guard in the box and waits until it is ready."""

    def run(policy: str = POLICY, *options: str) -> Proc:
        file = tmp_path / "policy.toml"
        file.write_text(policy)
        argv = [OKOOMER, "run", "--json", "--runtime-dir", "/run/okoomer", "--policy", str(file), *options]
        guard = box.daemon(argv)
        guard.wait_line('"event": "started"', 60)
        return guard

    return run


def told(guard: Proc) -> list[str]:
    quiet = ("started", "trouble", "late", "rulechanged", "level", "chosen")
    return [event["event"] for event in events(guard) if event["event"] not in quiet]


def short(box: Box) -> None:
    box.memory(available=box.total * 8 // 100)


def answer(box: Box, *words: str) -> int | None:
    """What `okoomer answer` ends with, run by root in the box."""
    return box.spawn([OKOOMER, "answer", "--runtime-dir", "/run/okoomer", *words]).wait(60).code


def test_a_hog_stands_still_is_asked_about_and_killed_if_nobody_answers(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    guard = start()
    short(box)
    guard.wait_line('"event": "question"', 60)
    assert state(hog) == "T"
    death = hog.wait(60)
    assert death.signal == signal.SIGKILL
    guard.wait_line('"event": "died"', 60)
    at = {event["event"]: event["at"] for event in events(guard)}
    assert at["question"] - at["paused"] > 0.9 and at["signalled"] - at["question"] > 1.9
    assert told(guard) == ["paused", "question", "closed", "signalled", "died"]
    [question], [closed] = events(guard, "question"), events(guard, "closed")
    assert (question["pids"], question["then"], question["paused"]) == ([hog.pid], "kill", True)
    assert question["limit"] >= HOG and closed["how"] == "late"


def test_a_hog_runs_again_when_memory_is_back_before_anybody_has_answered(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG)
    guard = start()
    short(box)
    guard.wait_line('"event": "question"', 60)
    box.memory(available=box.total // 2)
    guard.wait_line('"event": "recovered"', 60)
    assert told(guard) == ["paused", "question", "closed", "resumed", "recovered"]
    assert events(guard, "closed")[0]["how"] == "over"
    assert state(hog) != "T" and hog.alive


def test_a_more_urgent_rule_does_not_wait_for_an_answer(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    guard = start(POLICY.replace("ask 2s", "ask 1min"))
    short(box)
    guard.wait_line('"event": "question"', 60)
    before = time.monotonic()
    box.memory(available=box.total // 50)
    death = hog.wait(60)
    assert death.signal == signal.SIGKILL and death.at - before < 30
    guard.wait_line('"event": "died"', 60)
    assert events(guard, "closed")[0]["how"] == "urgent"


@pytest.mark.parametrize(
    ("word", "then"),
    [("resume", ["closed", "resumed"]), ("end", ["closed", "signalled"]), ("limit", ["closed", "limited", "resumed"])],
)
def test_what_is_answered_at_the_door_is_done(box: Box, start: Start, word: str, then: list[str]) -> None:
    hog, other = box.spawn(rss_bytes=HOG, gives_back=12 * GIB), box.spawn(rss_bytes=HOG // 3)
    guard = start(POLICY.replace("ask 2s", "ask 1min"))
    short(box)
    guard.wait_line('"event": "question"', 60)
    assert answer(box, "1", word) == 0
    guard.wait_line(f'"event": "{then[-1]}"', 60)
    assert told(guard)[2 : 2 + len(then)] == then
    assert events(guard, "closed")[0] | {"at": 0, "sequence": 0} == {
        "at": 0, "sequence": 0, "event": "closed", "question": 1, "how": "answered", "answer": word, "user": 0,
    }  # fmt: skip
    if word == "end":
        assert hog.wait(60).signal == signal.SIGKILL
        return
    # Whoever was wanted is left alone: the question is about the other now.
    guard.wait_line('"question": 2', 60)
    assert events(guard, "question")[-1]["pids"] == [other.pid]
    assert state(hog) != "T"


def test_whoever_stands_still_when_okoomer_ends_runs_again(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG)
    guard = start(POLICY.replace("ask 2s", "ask 1min"))
    short(box)
    guard.wait_line('"event": "question"', 60)
    assert state(hog) == "T"
    box.kill(guard, signal.SIGTERM)
    assert guard.wait(60).code == 0
    assert state(hog) != "T" and told(guard)[-3:] == ["closed", "resumed", "stopped"]


def test_a_dry_run_says_what_it_would_do_and_touches_nobody(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG)
    guard = start(POLICY, "--dry-run")
    short(box)
    guard.wait_line('"event": "chosen"', 60)
    time.sleep(1.5)
    [chosen] = events(guard, "chosen")
    assert chosen["steps"] == ["pause", "ask", "kill"] and chosen["dry_run"]
    assert told(guard) == [] and state(hog) != "T"
