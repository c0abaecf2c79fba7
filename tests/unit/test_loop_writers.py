"""The guard on a machine whose memory a small process fills through a tmpfs: the machine is only simulated."""

from __future__ import annotations

import os
from _signal import SIGKILL, SIGTERM

import pytest

from okoomer.events import model
from okoomer.facts import Memory, Pressure, Process, Snapshot, Stall
from okoomer.guard import writers
from okoomer.guard.scan import Scan
from okoomer.guard.writers import AFTERWARDS, Reading
from okoomer.kernel.machine import Machine
from okoomer.policy.model import Rule
from okoomer.record import replace
from tests.unit.bodies import NEVER
from tests.unit.strategies import MIB, selector
from tests.unit.test_loop import ASKS, KILLS, TOTAL, Stage

RATE = 100 * MIB
WRITER, DATABASE = 10, 11


class Filled(Stage):
    """A machine of 8 GiB of which a file takes all but 600 MiB, and 100 MiB more each second as long as its writer
    lives. A database has 500 MiB, which is more than is needed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *rules: Rule) -> None:
        super().__init__(monkeypatch, *rules)
        self.sizes = {WRITER: 1, DATABASE: 500}
        self.began = self.world.now
        self.hog = 0.0
        self.readable = True
        self.waits: float | None = None
        self.last: tuple[float, int] | None = None
        monkeypatch.setattr(writers, "reading", self.reading)
        monkeypatch.setattr(writers, "sleep", self.sleep)
        monkeypatch.setattr(writers, "look", lambda proc, pid, wants: self.process(pid))
        monkeypatch.setattr(writers, "add_ancestors", lambda *_: None)

    def file(self) -> int:
        wrote = min(self.world.now, self.world.bodies[WRITER].dies) - self.began
        return TOTAL - 600 * MIB + int(wrote * RATE)

    def process(self, pid: int) -> Process:
        return Process(pid, 1, f"body{pid}", float(pid), user=os.geteuid(), anon=self.sizes[pid] * MIB)

    def sleep(self, seconds: float) -> None:
        self.world.now += seconds

    def snapshot(self) -> Snapshot:
        self.world.now += 1e-4
        ended = self.world.bodies[DATABASE].dies <= self.world.now
        left = TOTAL - self.file() - int(self.hog) + (500 * MIB if ended else 0)
        pressure = None if self.waits is None else Pressure(Stall(self.waits, 0.0, 0.0, 0.0), None)
        memory = Memory(TOTAL, 0, max(0, left), shmem=self.file())
        return Snapshot(self.world.now, memory, memory_pressure=pressure)

    def scan(self, *_: object) -> Scan:
        """The database only: the writer is far too small to be seen."""
        now, file = self.world.now, self.file()
        flood = (file - self.last[1]) / (now - self.last[0]) if self.last and now > self.last[0] else 0.0
        self.last = now, file
        alive = self.world.bodies[DATABASE].dies > now
        found = (Process(1, 0, "init", 0.0), *((self.process(DATABASE),) if alive else ()))
        return Scan(now, found, len(found), flood=flood)

    def reading(self, _machine: Machine, snapshot: Snapshot, _before: Reading | None) -> Reading:
        alive = self.world.bodies[WRITER].dies > self.world.now
        written = {WRITER: self.file()} if self.readable and alive else {}
        return Reading(snapshot.time, self.file(), written, None)

    def taken(self) -> list[int]:
        return sorted(pid for pid, body in self.world.bodies.items() if body.signals)


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> Filled:
    return Filled(monkeypatch)


def test_the_writer_is_ended_and_nobody_else(filled: Filled) -> None:
    filled.run(2 + AFTERWARDS)
    assert filled.taken() == [WRITER]
    (chosen,) = [event for event in filled.events if isinstance(event, model.Chosen)]
    assert chosen.reason == "ownerless-memory"
    assert chosen.why.startswith("writes 100 MiB/s into memory that belongs to no process")


def test_that_what_is_left_belongs_to_nobody_is_said_once(filled: Filled) -> None:
    filled.run(2 + AFTERWARDS)
    (refused,) = [event for event in filled.events if isinstance(event, model.Refused)]
    assert "belong to no process" in refused.why and "has been ended" in refused.why
    # What is enough is not in vain if it lasts.
    filled.run(AFTERWARDS)
    assert filled.taken() == [WRITER, DATABASE]


def test_as_long_as_that_stays_and_nobody_waits_for_memory_nobody_else_is_ended(filled: Filled) -> None:
    filled.waits = 0.0
    filled.run(2 + 4 * AFTERWARDS)
    assert filled.taken() == [WRITER]
    filled.waits = 0.3  # room would help now, whoever is to blame
    filled.run(3)
    assert filled.taken() == [WRITER, DATABASE]


def test_it_is_not_said_again_when_one_of_two_rules_comes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    urgent = replace(KILLS, name="urgent", when=replace(KILLS.when, threshold=0.045))
    filled = Filled(monkeypatch, urgent, KILLS)
    filled.run(4)
    assert filled.told(model.Refused)
    for hog in (60 * MIB, 0.0) * 3:
        filled.hog = hog
        filled.run(1)
        assert filled.told(model.RuleChanged) and not filled.told(model.Refused)
    assert filled.taken() == [WRITER]


def test_after_an_act_it_is_said_anew_why_nobody_is_taken(filled: Filled) -> None:
    filled.readable = False
    filled.run(3)
    first = filled.told(model.Refused)
    filled.readable = True
    filled.run(4)
    assert filled.taken() == [WRITER]
    (again,) = filled.told(model.Refused)
    assert len(first) == 1 and again not in first


def test_whoever_takes_the_last_of_memory_after_that_is_ended_as_ever(filled: Filled) -> None:
    filled.run(4)
    assert filled.taken() == [WRITER]
    filled.hog = 0.02 * TOTAL
    filled.run(2)
    assert filled.taken() == [WRITER, DATABASE]


def test_a_writer_that_is_asked_and_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = Filled(monkeypatch, replace(KILLS, when=replace(KILLS.when, threshold=0.005)), ASKS)
    filled.world.bodies[WRITER].patience[int(SIGTERM)] = NEVER
    filled.run(12)
    assert [number for _, number in filled.world.bodies[WRITER].signals] == [SIGTERM, SIGKILL]
    assert filled.taken() == [WRITER]


@pytest.mark.parametrize("readable", [True, False])
def test_while_it_grows_and_the_writer_cannot_be_ended_nobody_is_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    urgent = replace(KILLS, name="urgent", when=replace(KILLS.when, threshold=0.01))
    spare = (selector("name:body10"),) if readable else ()
    filled = Filled(monkeypatch, replace(urgent, spare=spare), replace(KILLS, spare=spare))
    filled.readable = readable
    filled.run(6)
    assert filled.taken() == []
    (refused,) = [event for event in filled.events if isinstance(event, model.Refused)]
    assert "grows by 100 MiB/s" in refused.why
    assert ("body10 writes it" in refused.why) is readable
    # Once it has ended by itself, an end that is enough lasts.
    filled.world.bodies[WRITER].dies = filled.world.now
    filled.run(4)
    assert filled.taken() == [DATABASE]


def test_the_watchdog_knows_the_writer_too(filled: Filled) -> None:
    class Dog:
        best: tuple[str, tuple[Process, ...]] = ("", ())

    filled.guard.watchdog = Dog()  # type: ignore[assignment]
    filled.began = filled.world.now + 20  # memory is far from short
    for _ in range(4):
        filled.world.now += 4.5
        filled.cycle()
    assert filled.guard.watchdog and filled.taken() == []
    assert filled.guard.watchdog.best[0] == "body10"
