"""The guard's state for whoever asks: what it says, at what price, and that it always fits into one packet."""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from okoomer.events.model import END, LIMIT, RESUME, Question, Slowed
from okoomer.facts import Memory, Pressure, Process, Snapshot, Stall, Swap
from okoomer.guard import state as module
from okoomer.guard.state import AGE, ROOM, TOLD_PIDS, state
from okoomer.kernel import clock
from okoomer.kernel.process import resident
from okoomer.record import replace
from tests.unit.strategies import GIB, cases
from tests.unit.test_level import RULES
from tests.unit.test_loop import KILLS, TOTAL, Stage

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

ASKED = Question(
    question=3, rule="ask", name="make and 31 more", pids=(7, 8), user=1000, cgroup="/user.slice/a", seconds=20.0,
    choices=(RESUME, END, LIMIT), then="term", freed=GIB, available=GIB, paused=True, limit=2 * GIB, why="it grows",
)  # fmt: skip
PRESSURE = Pressure(Stall(0.0, 0.0, 0.0, 12.5), Stall(0.0, 0.0, 0.0, 2.5))
SNAPSHOT = Snapshot(9.0, Memory(8 * GIB, 0, GIB), Swap(2 * GIB, GIB), memory_pressure=PRESSURE)


class Standing:
    """Those who stand still."""

    def __init__(self, *held: tuple[int, int, str, int, float]) -> None:
        self.held = held

    def listing(self, _now: float) -> tuple[tuple[int, int, str, int, float], ...]:
        return self.held


def guard(
    *questions: tuple[Question, float],
    holds: Standing | None = None,
    slowed: Slowed | None = None,
    snapshot: Snapshot = SNAPSHOT,
    **more: Any,
) -> Any:
    asking = SimpleNamespace(slowed=slowed)
    ladder = SimpleNamespace(questions=lambda: list(questions), holds=holds, asking=asking)
    known = {"latest": lambda age: snapshot, "left": lambda: None, "level": 0, "cycles": 4}
    known |= {"turns": None, "canary": None, "outlook": SimpleNamespace(primes=None)} | more
    return SimpleNamespace(ladder=ladder, **known)


def test_who_waits_for_his_turn_is_told_with_why_and_who_is_slowed_down() -> None:
    waits = SimpleNamespace(listing=lambda now: [(7, "cc1", 3.0, "make has more than fits")])
    slow = Slowed("low", "hog", (9, 10), 1000, "/a/hog.scope", GIB, 0.0, 30.0)
    found = json.loads(state(guard(holds=Standing((7, 99, "cc1", 1000, 3.0)), turns=waits, slowed=slow)))
    assert found["slowed"] == [[9, "hog", "/a/hog.scope"]]
    assert (found["paused"], found["turns"]) == ([[7, 99, "cc1", 1000, 3.0]], [[7, "make has more than fits"]])


def test_who_is_primed_is_told_where_there_is_room() -> None:
    primes = SimpleNamespace(who=Process(7, 1, "x" * 300, 0.0))
    outlook = SimpleNamespace(primes=primes)
    assert json.loads(state(guard(outlook=outlook)))["primed"] == [7, "x" * 60]
    held = [(number, 2**40, "y" * 60, 0, 1e6) for number in range(64)]
    said = state(guard(outlook=outlook, holds=Standing(*held)))
    assert len(said) <= ROOM and len(json.loads(said)["paused"]) < 64
    primes.who = None
    assert "primed" not in json.loads(state(guard(outlook=outlook)))


@pytest.mark.parametrize(("late", "told"), [(0.0123456789, 0.012346), (float("inf"), None)])
def test_how_late_the_canary_is_is_told_where_there_is_one(late: float, told: float | None) -> None:
    assert json.loads(state(guard(canary=SimpleNamespace(late=lambda: late))))["canary"] == told
    assert "canary" not in json.loads(state(guard()))


def test_all_that_there_is_to_know() -> None:
    asked = guard((ASKED, 12.3456), holds=Standing((7, 99, "make", 1000, 3.00049)), level=100, left=lambda: 41.5)
    found = json.loads(state(asked))
    assert 0 < found.pop("cpu") <= time.process_time()
    assert found.pop("rss") == pytest.approx(resident("/proc", "self"), rel=0.5)
    fields = dict(zip(ASKED._fields, ASKED, strict=True))
    assert found == {
        "available": GIB,
        "effective": GIB,
        "left": 41.5,
        "level": 100,
        "psi_some": 12.5,
        "psi_full": 2.5,
        "cycles": 4,
        "paused": [[7, 99, "make", 1000, 3.0]],
        "questions": [json.loads(json.dumps(fields)) | {"left": 12.346}],
    }


@pytest.mark.parametrize(
    ("pressure", "some", "full"), [(None, None, None), (Pressure(Stall(0.0, 0.0, 0.0, 1.5), None), 1.5, None)]
)
def test_what_is_not_read_here_is_null(pressure: Pressure | None, some: float | None, full: float | None) -> None:
    found = json.loads(state(guard(snapshot=replace(SNAPSHOT, memory_pressure=pressure))))
    assert (found["psi_some"], found["psi_full"], found["left"]) == (some, full, None)
    assert (found["paused"], found["questions"]) == ([], [])


def test_the_resident_size_is_none_where_nobody_can_say(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    assert resident(str(tmp_path), 7) == 0
    (tmp_path / "7/statm").write_text("9 x")
    assert resident(str(tmp_path), 7) == 0
    (tmp_path / "7/statm").write_text("9 3 1 0 0 0 0\n")
    assert resident(str(tmp_path), 7) == 3 * os.sysconf("SC_PAGE_SIZE")


@cases(500)
def test_whatever_there_is_it_is_one_packet_of_json_in_ascii(random: Random) -> None:
    def text(most: int) -> str:
        signs = random.choice(("a", "é", "\U0001f4a5", "\x1b", "\\", '"', "\udc80", "\n"))
        return signs * random.randrange(most)

    question = replace(
        ASKED, rule=text(300), name=text(3000), cgroup=text(5000), why=text(2000), pids=(4194304,) * 1024
    )
    held = tuple((random.randrange(2**22), random.randrange(2**40), text(300), 2**32 - 2, 1e6) for _ in range(64))
    questions = [(question, 1e5)] * random.randrange(2)
    slow = Slowed("low", text(500), (9,), 0, text(3000), 1, 0.0, 1.0) if random.random() < 0.5 else None
    said = state(guard(*questions, holds=Standing(*held[: random.randrange(65)]), slowed=slow))
    assert len(said) <= ROOM and said.isascii() and said.isprintable()
    found = json.loads(said)
    assert len(found["questions"]) == len(questions)
    assert all(len(one["pids"]) == TOLD_PIDS for one in found["questions"])


def test_a_long_path_is_told_whole_where_there_is_room() -> None:
    path = "/user.slice/" + "a" * 500
    (found,) = json.loads(state(guard((replace(ASKED, cgroup=path), 1.0))))["questions"]
    assert found["cgroup"] == path


def test_of_many_who_stand_still_as_many_are_told_as_there_is_room_for() -> None:
    held = tuple((100 + n, 5, "worker", 1000, 1.0) for n in range(1000))
    found = json.loads(state(guard((ASKED, 1.0), holds=Standing(*held))))
    assert found["questions"] and 50 < len(found["paused"]) < 1000
    assert [one[0] for one in found["paused"]] == [100 + n for n in range(len(found["paused"]))]


# --- a guard ----------------------------------------------------------------------------------------------------


def test_a_guard_tells_of_its_last_look_and_reads_memory_again_if_that_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch, KILLS, *RULES)
    monkeypatch.setattr(module.clock, "monotonic", lambda: stage.world.now)
    assert json.loads(state(stage.guard))["available"] == TOTAL // 2, "also before its first look"
    stage.cycle(0.15)
    scans = stage.scans
    found = json.loads(state(stage.guard))
    assert (found["available"], found["level"], found["cycles"]) == (int(TOTAL * 0.15), 50, 1)
    stage.share = 0.5
    assert json.loads(state(stage.guard))["available"] == int(TOTAL * 0.15), "asked again at once"
    stage.world.now += 2 * AGE
    found = json.loads(state(stage.guard))
    assert (found["available"], found["level"], found["cycles"]) == (TOTAL // 2, 50, 1)
    assert stage.scans == scans, "nobody was looked at"


def test_it_is_told_in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    monkeypatch.setattr(module.clock, "monotonic", clock.monotonic)
    stage.cycle(0.5)
    began = time.thread_time()
    for _ in range(100):
        state(stage.guard)
    assert time.thread_time() - began < 0.2
