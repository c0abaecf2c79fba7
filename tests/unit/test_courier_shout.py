"""net.nuetzlich.SystemNotifications: what a person is told, when, and not where an agent tells it better."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from okoomer.bus.connection import Connection
from okoomer.bus.service import Service
from okoomer.courier.parse import fields_of
from okoomer.courier.services import ALWAYS, AUTO, NEVER
from okoomer.courier.shout import PATIENCE, WAITING, WARNINGS, SystemNotifications, words
from okoomer.courier.words import GAP
from okoomer.events import model
from okoomer.events.text import line
from okoomer.record import Record, replace
from tests.unit.buses import DAEMON, Daemon, Listener
from tests.unit.couriers import KILLED, VICTIM, until
from tests.unit.loops import Complaints, Loop

DIED = model.Died("low", "hog", (42,), 0.1, 1 << 30)
WARNED = model.Warned("soon", "short", "firefox", 42, 1000, "/a", 1 << 28, 40.0)
ASKED = model.Question(
    7, "soft", "make", (42, 43), 1000, "/a", 20.0, ("resume", "end", "limit"), "term", 1 << 30, 1 << 28,
    True, 1 << 26, "x",
)  # fmt: skip
WORDS: dict[str, tuple[Record, str]] = {
    "a warning": (WARNED, "firefox is growing; at this rate memory is full in 40 s"),
    "a warning of nobody": (model.Warned("soon", "short", left=3.0), "At this rate memory is full in 3 s"),
    "a warning of somebody and no time": (replace(WARNED, left=None), "firefox is growing; memory is nearly full"),
    "a warning of no time": (model.Warned("soon", "short"), "Memory is nearly full"),
    "a step of an act": (
        model.Warned("soon", "short", "hog", 42, act=True),
        "hog is the next to go unless memory comes back",
    ),
    "a question": (
        ASKED,
        "make (pid 42 43) is paused, for want of memory. Without an answer it is told to end in 20 s. "
        "Answer with: okoomer answer 7 resume|end|limit",
    ),
    "a question of which nothing comes": (
        replace(ASKED, paused=False, then="resume"),
        "make (pid 42 43) may have to go, for want of memory. Without an answer it goes on in 20 s. "
        "Answer with: okoomer answer 7 resume|end|limit",
    ),
    "an end": (DIED, "hog (pid 42) was ended, for want of memory, 1.0 GiB came back"),
    "an end that gave nothing": (replace(DIED, came_back=-5), "hog (pid 42) was ended, for want of memory"),
    "no end": (model.Stuck("low", "hog", (42,), 9.0, "it sleeps"), "hog (pid 42) could not be ended: it sleeps"),
    "a pause": (model.Paused("rule soft", "hog", (42,), 7, "/a", True), "hog (pid 42) is paused, for want of memory"),
    "a person's own pause": (model.Paused("user 7", "hog", (42,), 7, "/a", True), ""),
    "the end of a pause": (model.Resumed("hog", (42,), 7, "/a", 3.2, "x"), "hog (pid 42) goes on after 3 s"),
    "a ceiling": (
        model.Limited("hog", (42,), 7, "/a", 1 << 30, "x"),
        "hog (pid 42) can have 1.0 GiB of memory from now on",
    ),
    "a slowing down": (
        model.Slowed("low", "hog", (42,), 7, "/a", 1 << 30, 0.5, 30.0),
        "hog (pid 42) is slowed down, for want of memory",
    ),
    "its end": (
        model.Eased("low", "hog", (42,), 7, "/a", 3.25, "its time is over"),
        "hog (pid 42) is slowed down no more",
    ),
    "nobody to take": (
        model.Refused("low", "all are spared", ()),
        "Memory is short, but nobody's end would help: all are spared",
    ),
    "the kernel's": (model.KernelKilled(2), "The kernel itself has ended 2 processes, for want of memory"),
    "a signal": (KILLED, ""),
    "an act": (VICTIM, ""),
    "a level": (model.Level(255, 1, 1.0, ()), ""),
    "an answer": (model.Closed(7, "answered", "end", 7), ""),
}


def fields(event: Record) -> dict[str, Any]:
    found = fields_of(line(event, 1000.0, 1))
    assert found
    return found


@pytest.mark.parametrize("name", WORDS)
def test_a_person_is_told_what_matters_in_plain_words(name: str) -> None:
    event, text = WORDS[name]
    assert words(fields(event)) == text


class Bus:
    """In a service's place: takes note."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.connection = self
        self.up = self.reached = True

    def emit(self, path: str, interface: str, member: str, kinds: str, body: tuple[str, str]) -> None:
        assert (path, interface, member, kinds) == ("/", "net.nuetzlich.SystemNotifications", "Notify", "ss")
        self.said.append(body)


class Shouting:
    """The part under a clock of the test's."""

    def __init__(self, when: str = AUTO) -> None:
        self.bus = Bus()
        self.attended = False
        self.part = SystemNotifications(self.bus, when, lambda: self.attended)  # type: ignore[arg-type]

    def hear(self, event: Record, now: float) -> list[str]:
        """What is said at once."""
        before = len(self.bus.said)
        self.part.hear(fields(event), 1000.0, now)
        self.part.turn({}, now)
        return [body for _, body in self.bus.said[before:]]


def test_markup_in_a_name_is_harmless() -> None:
    one = Shouting()
    [said] = one.hear(replace(DIED, name="<b>x</b> & \x1b[31m\u202e"), 0.0)
    assert said.startswith("&lt;b&gt;x&lt;/b&gt; &amp; \\x1b[31m\\u202e (pid 42) was ended")


@pytest.mark.parametrize(("when", "alone", "attended"), [(NEVER, 0, 0), (AUTO, 1, 0), (ALWAYS, 1, 1)])
def test_it_is_said_when_it_is_wanted(when: str, alone: int, attended: int) -> None:
    one = Shouting(when)
    assert len(one.hear(DIED, 0.0)) == alone
    one.attended = True
    assert len(one.hear(DIED, 10.0)) == attended
    one.attended = False
    assert len(one.hear(DIED, 20.0)) == alone


def test_an_agent_that_comes_meanwhile_tells_it_instead() -> None:
    one = Shouting()
    assert len(one.hear(DIED, 0.0)) == 1
    assert one.hear(DIED, GAP / 3) == []
    one.attended = True
    one.part.turn({}, GAP * 2)
    assert len(one.bus.said) == 1 and not one.part.busy


def test_what_comes_too_fast_is_told_together() -> None:
    one = Shouting()
    assert len(one.hear(DIED, 0.0)) == 1
    for pid in range(2, 100):
        assert one.hear(replace(DIED, pids=(pid,)), GAP / 3) == []
    assert one.part.wait(GAP / 3) == pytest.approx(GAP * 2 / 3)
    one.part.turn({}, GAP)
    assert len(one.bus.said) == 2
    assert one.bus.said[1][1].splitlines()[0].startswith("hog (pid 2) was ended")
    assert one.bus.said[1][1].splitlines()[-1] == f"and {WAITING - 8} more"


def test_warnings_of_which_nothing_comes_are_rare_and_those_of_an_act_are_not() -> None:
    one = Shouting()
    said = [len(one.hear(WARNED, now)) for now in (0.0, 5.0, WARNINGS - 1.0, WARNINGS)]
    assert said == [1, 0, 0, 1]
    assert [len(one.hear(replace(WARNED, act=True), now)) for now in (40.0, 41.0)] == [1, 1]


def test_where_the_policy_names_what_it_wants_nothing_else_is_said() -> None:
    one = Shouting()
    one.part.notify = ("refused",)
    assert one.hear(DIED, 0.0) == []
    one.part.add("okoomer", "as the policy has it")
    one.part.turn({}, 1.0)
    assert one.bus.said == [("okoomer", "as the policy has it")]
    one.part.notify = ()
    assert len(one.hear(DIED, 2.0)) == 1


@pytest.mark.parametrize(("seconds", "said"), [(1.0, 1), (PATIENCE + 1.0, 0)])
def test_without_a_bus_it_waits_for_one_but_not_for_long(seconds: float, said: int) -> None:
    one, now = Shouting(), time.monotonic()
    one.bus.up = False
    assert one.hear(DIED, now) == []
    assert one.part.wait(now) == float("inf"), "the bus wakes whoever waits for it"
    one.bus.up = True
    one.part.turn({}, now + seconds)
    assert len(one.bus.said) == said and not one.part.busy


def test_the_last_words_are_said_at_the_end() -> None:
    one = Shouting()
    one.hear(DIED, time.monotonic())
    one.hear(DIED, time.monotonic())
    one.part.close()
    assert len(one.bus.said) == 2


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.address)
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.mark.skipif(DAEMON is None, reason="there is no dbus-daemon (Debian: dbus-daemon)")
def test_who_listens_as_systembus_notify_does_hears_it(bus: Daemon) -> None:
    connection = Connection("SYSTEM", Complaints())
    part = SystemNotifications(Service(connection))
    listener = Listener()
    with Loop(connection, part) as loop:
        until(lambda: connection.up)
        loop.do(lambda: part.hear(fields(DIED), 1000.0, time.monotonic()))
        until(lambda: listener.heard)
    [heard] = listener.heard
    assert (heard.path, heard.signature) == ("/", "ss")
    assert heard.words == ("okoomer", "hog (pid 42) was ended, for want of memory, 1.0 GiB came back")
    listener.close()
