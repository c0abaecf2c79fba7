"""`okoomer top`: what it takes from the guard, as JSON and by keys."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from okoomer.cli import status, top_live
from okoomer.cli.top import Watch
from okoomer.cli.top_events import KEPT, Events
from okoomer.cli.top_view import KEYS, First, View
from okoomer.events import model
from okoomer.events.ring import Ring
from okoomer.events.text import line
from okoomer.record import Record, replace
from tests.unit.buses import DAEMON, Daemon
from tests.unit.console import okoomer
from tests.unit.replies import Guard, asked
from tests.unit.replies import policy as policy
from tests.unit.replies import ring as ring
from tests.unit.sessions import POLICY, Okoomer, question
from tests.unit.test_top_view import BUSY

PAUSED = model.Paused("rule share", "make", (41, 42), 1000, "", False)


@pytest.fixture
def guard(tmp_path: Path, ring: Ring) -> Iterator[Guard]:
    made = Guard(tmp_path)
    yield made
    made.close()


@pytest.fixture
def watch(tmp_path: Path, policy: Path) -> Iterator[Watch]:
    made = Watch(str(policy), str(tmp_path))
    yield made
    made.close()


def tell(ring: Ring, *events: Record, at: float = 0.0) -> None:
    for number, event in enumerate(events, 1):
        ring.write(line(event, at or time.time(), number))


def views(*arguments: object) -> list[dict[str, Any]]:
    ended = okoomer("top", "--json", *arguments)
    assert (ended.code, ended.err) == (0, "")
    return [json.loads(text) for text in ended.out.splitlines()]


# --- JSON -------------------------------------------------------------------------------------------------------


def test_without_a_guard_it_tells_what_one_would_see(tmp_path: Path, policy: Path) -> None:
    found = views("--count", 2, "-i", 0.1, "--policy", policy, "--runtime-dir", tmp_path)
    assert [one["guard"] for one in found] == [None, None]
    assert 0 < found[0]["at"] < found[1]["at"]
    assert (found[0]["policy"], found[0]["rule"], found[0]["acts"]) == (str(policy), "calm", False)
    assert 0 < found[0]["available"] < found[0]["total"]
    assert (found[0]["standing"], found[0]["questions"], found[0]["unknown"]) == ([], [], "")


def test_it_tells_who_stands_still_and_why_and_what_is_asked_and_happened(
    tmp_path: Path, policy: Path, ring: Ring, guard: Guard
) -> None:
    guard.paused, guard.questions = [[41, 5, "make", 1000, 12.5]], [asked(7)]
    limited = model.Limited("me", (os.getpid(),), 0, "", 1024**3, "RLIMIT_DATA")
    tell(ring, PAUSED, limited, model.Level(50, 1024, None, ("tight",)), model.Changed("swap is gone"))
    [found] = views("--count", 1, "--policy", policy, "--runtime-dir", tmp_path)
    assert found["guard"] == os.getpid()
    paused, ceiling = found["standing"]
    assert paused == {"state": "paused", "pid": 41, "start": 5, "name": "make", "seconds": 12.5, "why": "rule share"}
    assert (ceiling["state"], ceiling["pid"], ceiling["why"]) == ("limited", os.getpid(), "at most 1.0 GiB")
    [question] = found["questions"]
    assert (question["question"], question["left"], question["pids"]) == (7, 14.2, [42, 43])
    assert [one["text"] for one in found["events"]] == [
        "make (pid 41 42) stands still by rule share",
        f"me (pid {os.getpid()}) gets no more than 1.0 GiB (RLIMIT_DATA)",
        "swap is gone",
    ]


def test_what_a_guard_says_besides_is_shown_and_what_makes_no_sense_is_not(watch: Watch) -> None:
    me = os.getpid()
    watch._events.slowed[me] = ("tool", time.time() - 60, "rule slow, at most 1.0 GiB")
    said = {"slowed": [[me, "tool", "/a"], ["nobody", "/a"], 5], "primed": [me, "hog"], "turns": [[41, "no room"]]}
    said["paused"] = [[41, 5, "make", 0, 3.0]]
    waits, slowed, primed = watch._standing(said)
    assert (waits.state, waits.pid, waits.seconds, waits.why) == ("waits", 41, 3.0, "no room")
    assert (slowed.state, slowed.name, slowed.why) == ("slowed", "tool", "rule slow, at most 1.0 GiB")
    assert slowed.seconds and slowed.seconds >= 60 and slowed.start
    assert (primed.state, primed.name, primed.seconds) == ("primed", "hog", None)
    assert watch._standing({"primed": None, "slowed": [[]]}) == ()


def test_of_a_guard_that_lets_nobody_in_it_says_so_and_goes_on(tmp_path: Path, policy: Path, guard: Guard) -> None:
    guard.reply = lambda _verb: None
    found = views("--count", 2, "-i", 0.1, "--policy", policy, "--runtime-dir", tmp_path)
    assert all("who is paused and what is asked is not known: " in one["unknown"] for one in found)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 3, "okoomer top --json gives one object a line"),
        (("--json", "-i", "0.01"), 2, "0.01 is not in the range"),
        (("--json", "--policy", "/nowhere"), 2, "/nowhere"),
        (("-i", "nan"), 2, "nan is not in the range"),
    ],
)
def test_what_does_not_go_is_one_line(arguments: tuple[str, ...], code: int, said: str) -> None:
    ended = okoomer("top", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err and len(ended.err.splitlines()) == 1


@pytest.mark.skipif(DAEMON is None, reason="there is no dbus-daemon (Debian: dbus-daemon)")
def test_a_user_is_told_by_the_bus(tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "is_ours", lambda _directory: False)
    daemon = Daemon(tmp_path, POLICY)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.address)
    daemon.start()
    try:
        courier = Okoomer(daemon.address)
        courier.questions = {7: question(until=time.time() + 90)}
        courier.history = [json.dumps({"event": "paused", "name": "make", "pids": [42]})]
        [found] = views("--count", 1, "--policy", policy)
        courier.close()
    finally:
        daemon.stop()
    [paused], [asks] = found["standing"], found["questions"]
    assert (paused["state"], paused["pid"], paused["name"], paused["seconds"]) == ("paused", 42, "make", None)
    assert asks["question"] == 7 and 0 < asks["left"] <= 90


# --- events -----------------------------------------------------------------------------------------------------


def test_only_what_is_new_is_read_and_what_makes_no_sense_is_left_out(tmp_path: Path, ring: Ring) -> None:
    events = Events(str(tmp_path))
    tell(ring, PAUSED)
    assert events.read() == "" and events.by == {41: "rule share", 42: "rule share"}
    first = events.latest
    assert events.read() == "" and events.latest is first
    for odd in ('{"event": "nothing"}', '{"event": "paused", "name": 5}', '{"event": "died"}', '{"at": 1}'):
        ring.write(odd)
    tell(ring, model.Resumed("make", (41, 42), 1000, "", 3.0, "it is well", "rule share"))
    assert events.read() == "" and events.by == {}
    assert [one.event for one in events.latest] == ["paused", "resumed"]
    for _ in range(KEPT + 5):
        tell(ring, model.Changed("x"))
    events.read()
    assert len(events.latest) == KEPT
    ring.write("no JSON")
    assert events.read() == "its events are damaged"


def test_another_guard_begins_anew_and_a_file_that_is_no_ring_is_named(tmp_path: Path) -> None:
    events = Events(str(tmp_path))
    assert events.read() == ""
    made = Ring(f"{tmp_path}/ring")
    tell(made, PAUSED)
    events.read()
    assert events.by
    made.close()
    events.read()
    (tmp_path / "ring").write_bytes(b"x" * 100)
    assert "is not a ring of events" in Events(str(tmp_path)).read()


# --- keys -------------------------------------------------------------------------------------------------------


def test_keys_ask_the_guard_about_whoever_is_chosen(guard: Guard, watch: Watch) -> None:
    who = ("make", 31, 5)
    assert watch.do("p", BUSY, who) == "make (pid 31) is paused"
    assert watch.do("r", BUSY, who) == "make (pid 31) runs again"
    assert watch.do("e", BUSY, who) == "make is ended"
    assert watch.do("e", BUSY, None) == "make is ended"
    uid = os.geteuid()
    assert guard.asked == [f"pause 31 5 {uid}", f"resume 31 5 {uid}", *[f"answer 7 {uid} end 0"] * 2]
    guard.reply = lambda _verb: "refused a shell with a terminal"
    assert watch.do("p", BUSY, who) == "make (pid 31): a shell with a terminal"
    guard.reply = lambda _verb: "busy"
    assert watch.do("e", BUSY, who) == "make: the guard is busy with an emergency; try again"
    other = replace(BUSY.questions[0], question=8, pids=(50,))
    assert "choose whom" in watch.do("e", replace(BUSY, questions=(*BUSY.questions, other)), ("x", 99, 1))
    assert watch.do("e", replace(BUSY, questions=()), who) == "nothing is asked"
    assert watch.do("p", BUSY, None) == "nobody is chosen (up and down)"


def test_without_a_guard_keys_say_that_there_is_none(watch: Watch) -> None:
    assert watch.do("p", BUSY, ("make", 31, 5)) == "no guard runs here that could be asked"


class Screen:
    """A terminal with somebody at its keys."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, view: View = BUSY) -> None:
        self.ours, self.theirs = pty.openpty()
        self.stdin = os.fdopen(self.theirs, closefd=False)
        monkeypatch.setattr("sys.stdin", self.stdin)
        self.out = io.StringIO()
        self.done: list[tuple[str, object]] = []
        self.looks = 0
        self.view = view

    def look(self) -> View:
        self.looks += 1
        return self.view

    def do(self, key: str, _view: View, who: tuple[str, int, int] | None) -> str:
        self.done.append((key, who and who[1]))
        return f"did {key}"

    def press(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    def run(self, interval: float = 60.0, count: int | None = None) -> None:
        console = Console(file=self.out, force_terminal=True, width=80, height=24, color_system=None)
        try:
            top_live.live(self.look, self.do, interval, count, console)
        finally:
            self.stdin.close()
            os.close(self.ours)
            os.close(self.theirs)


def test_keys_choose_and_do_and_q_gives_the_screen_back(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    keys = iter(["down", "p", "down", "r", "up", "up", "p", "x", "", "e", "q"])
    monkeypatch.setattr(top_live, "_key", lambda _fd, _seconds: next(keys))
    screen.run()
    assert screen.done == [("p", 31), ("r", 32), ("p", 20), ("e", 20)]
    text = screen.out.getvalue()
    assert "did e" in text and KEYS[:20] in text
    assert text.startswith("\x1b[?1049h") and "\x1b[?1049l" in text


def test_whoever_is_shown_twice_does_not_hold_up_whoever_goes_down(monkeypatch: pytest.MonkeyPatch) -> None:
    ranking = (First("make", 31, 5, 0, ""), First("x", 60, 1, 0, ""))
    screen = Screen(monkeypatch, replace(BUSY, standing=BUSY.standing[:1], ranking=ranking))
    keys = iter(["down", "down", "down", "p", "down", "p", "up", "up", "r", "q"])
    monkeypatch.setattr(top_live, "_key", lambda _fd, _seconds: next(keys))
    screen.run()
    assert screen.done == [("p", 60), ("p", 31), ("r", 31)]


@pytest.mark.parametrize(
    ("sent", "key"),
    [(b"q", "q"), (b"\x1b[A", "up"), (b"\x1bOB", "down"), (b"j", "down"), (b"\xff", "\ufffd"), (b"p", "p")],
)
def test_a_key_is_read_at_once(monkeypatch: pytest.MonkeyPatch, sent: bytes, key: str) -> None:
    screen = Screen(monkeypatch)
    with top_live._keys(screen.theirs) as fd:
        screen.press(sent)
        assert top_live._key(fd, 30.0) == key
        assert top_live._key(fd, 0.0) == ""
    screen.press(b"q")
    screen.run()
    assert top_live._key(-1, 0.0) == ""


def test_sigterm_and_a_count_end_it_and_the_screen_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    screen.run(interval=0.01, count=3)
    assert screen.looks == 3
    screen = Screen(monkeypatch)
    before = signal.getsignal(signal.SIGTERM)
    main = threading.main_thread().ident
    assert main
    looked = screen.look

    def look() -> View:
        signal.pthread_kill(main, signal.SIGTERM)
        return looked()

    monkeypatch.setattr(screen, "look", look)
    screen.run()
    assert "\x1b[?1049l" in screen.out.getvalue()
    assert signal.getsignal(signal.SIGTERM) == before
