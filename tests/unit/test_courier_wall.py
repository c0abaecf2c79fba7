"""Terminals: whoever is logged in and lets others write to him reads what happens, and nobody else is disturbed."""

from __future__ import annotations

import json
import os
import select
import struct
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from okoomer.courier import terminals as module
from okoomer.courier import wall as of_wall
from okoomer.courier.runs import Runs
from okoomer.courier.terminals import terminals, write
from okoomer.courier.wall import BURST, GAP, WAITING, Wall, message
from okoomer.events import model
from okoomer.events.text import line
from okoomer.record import Record, replace

DIED = model.Died("low", "hog", (42,), 0.004, 1 << 30)
WARNED = model.Warned("low", "memory is short", "hog", 42, 1000, "/a.scope", 1, 3.0, True)
QUESTION = model.Question(
    7, "low", "make", (42, 43), 1000, "/a.scope", 20.0, ("resume", "end", "limit"), "term", 1, 1, True, 1 << 30, "large"
)


MARK = b"<the end>"


class Screen:
    """A terminal in raw mode, and what is written to it."""

    def __init__(self, mode: int = 0o620) -> None:
        self._ours, self.fd = os.openpty()
        tty.setraw(self.fd)
        os.fchmod(self.fd, mode)
        os.set_blocking(self.fd, False)
        self.path = os.ttyname(self.fd)

    def read(self) -> str:
        """All that was written up to now: the kernel takes its time, so the end is marked."""
        got, marked = b"", False
        deadline = time.monotonic() + 60
        while not got.endswith(MARK):
            assert time.monotonic() < deadline
            # There may be no room for the mark before something was read.
            marked = marked or (bool(select.select([], [self.fd], [], 0)[1]) and os.write(self.fd, MARK) > 0)
            if select.select([self._ours], [], [], 0.01)[0]:
                got += os.read(self._ours, 65536)
        return got.removesuffix(MARK).decode("ascii")

    def close(self) -> None:
        os.close(self._ours)
        os.close(self.fd)


@pytest.fixture
def screens() -> Iterator[list[Screen]]:
    made: list[Screen] = [Screen(), Screen(), Screen(0o600)]
    yield made
    for screen in made:
        screen.close()


class Stage:
    def __init__(self, wall: Wall) -> None:
        self.wall = wall
        self.now = 500.0

    def hear(self, *events: Record, later: float = 0.0) -> None:
        self.turn(later)
        for event in events:
            self.wall.hear(json.loads(line(event, 1.7e9, 1)), 1.7e9, self.now)

    def turn(self, later: float = 0.0) -> None:
        self.now += later
        self.wall.turn({}, self.now)


@pytest.fixture
def stage(screens: list[Screen], monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(of_wall, "terminals", lambda: [screen.path for screen in screens])
    return Stage(Wall(True, "", Runs()))


def test_all_who_let_others_write_read_it_and_nobody_else(stage: Stage, screens: list[Screen]) -> None:
    stage.hear(DIED)
    texts = [screen.read() for screen in screens]
    assert texts[0] == texts[1] and "hog (pid 42) was ended because memory ran out; 1.0 GiB came back" in texts[0]
    assert texts[0].startswith("\r\nMessage from okoomer on ") and texts[0].endswith("\r\n")
    assert texts[2] == ""


def test_whose_program_will_have_to_end_is_named(stage: Stage, screens: list[Screen]) -> None:
    stage.hear(WARNED)
    assert "memory is running out; hog (pid 42) will have to end: memory is short" in screens[0].read()


def test_a_question_says_how_to_answer_it(stage: Stage, screens: list[Screen]) -> None:
    stage.hear(QUESTION)
    text = "make (pid 42 43) is paused: okoomer answer 7 resume|end (unanswered, it is told to end in 20 s)"
    assert text in screens[0].read()
    stage.hear(replace(QUESTION, paused=False, then="resume"))
    assert "make (pid 42 43) is to end: okoomer answer 7" in (text := screens[0].read())
    assert "(unanswered, it goes on in 20 s)" in text


@pytest.mark.parametrize(
    "event",
    [
        replace(WARNED, act=False), model.Level(50, 1, None, ("low",)), model.Closed(7, model.LATE),
        model.Signalled("low", "SIGKILL", "hog", (42,), ()), model.RuleChanged("low", "fired", ()),
        model.Refused("low", "nobody", ()), model.Report(1, 1, 1, 0, 0),
    ],
)  # fmt: skip
def test_of_anything_else_nobody_is_told(stage: Stage, screens: list[Screen], event: Record) -> None:
    stage.hear(event)
    assert screens[0].read() == "" and stage.wall.wait(stage.now) == float("inf")


def test_a_few_come_at_once_and_then_one_in_a_while_with_all_that_waited(stage: Stage, screens: list[Screen]) -> None:
    for _ in range(BURST):
        stage.hear(DIED)
        assert screens[0].read()
    stage.hear(replace(DIED, name="one"), replace(DIED, name="two"), later=1.0)
    assert screens[0].read() == "" and stage.wall.wait(stage.now) == pytest.approx(GAP - 1)
    stage.turn(GAP - 1)
    text = screens[0].read()
    assert "one (pid 42)" in text and "two (pid 42)" in text and text.count("Message from") == 1
    for n in range(2 * WAITING):
        stage.hear(replace(DIED, name=f"x{n}"))
    stage.turn(GAP)
    assert screens[0].read().count("was ended") == WAITING


def test_a_question_that_is_over_before_it_was_told_is_not_told(stage: Stage, screens: list[Screen]) -> None:
    stage.hear(*[DIED] * BURST)
    screens[0].read()
    stage.hear(QUESTION, model.Closed(7, model.ANSWERED, model.END, 1000))
    stage.turn(GAP)
    assert screens[0].read() == ""
    stage.hear(DIED, QUESTION)
    assert "okoomer answer" not in screens[0].read()
    stage.wall.lost(stage.now)
    stage.turn(2 * GAP)
    assert screens[0].read() == ""


def test_what_waits_is_said_at_the_end(stage: Stage, screens: list[Screen]) -> None:
    stage.hear(*[DIED] * BURST, replace(DIED, name="last"))
    assert "last" not in screens[0].read()
    stage.wall.close()
    assert "last (pid 42) was ended" in screens[0].read()


@pytest.mark.parametrize("name", ["\x1b[2J", "\x9b31m", "a\nroot: you are fired", "\u202eevil", "é" * 3000])
def test_no_name_colours_a_terminal_or_forges_a_line(stage: Stage, screens: list[Screen], name: str) -> None:
    stage.hear(replace(DIED, name=name), replace(WARNED, name=name, text=name), replace(QUESTION, name=name))
    text = screens[0].read()
    assert text.count("\r\n") == 3 * 3 and text.replace("\r\n", "").replace("\a", "").isprintable()
    assert max(map(len, text.split("\r\n"))) < 2000


def test_a_terminal_that_its_user_has_stopped_holds_up_nobody(stage: Stage, screens: list[Screen]) -> None:
    for _ in range(200):
        stage.hear(DIED, later=GAP)
        screens[1].read()
    stage.hear(replace(DIED, name="newest"), later=GAP)
    assert "newest" in screens[1].read() and "newest" not in screens[0].read()


def test_an_event_that_is_none_is_the_callers_to_catch() -> None:
    with pytest.raises(KeyError):
        message({"event": "died"})


def test_only_terminals_are_written_to(tmp_path: Path, screens: list[Screen]) -> None:
    file = tmp_path / "tty1"
    file.touch(0o666)
    (tmp_path / "link").symlink_to(screens[0].path)
    os.mkfifo(tmp_path / "pipe", 0o666)
    for path in (file, tmp_path / "link", tmp_path / "pipe", tmp_path / "nothing", Path("/dev/null")):
        assert not write(str(path), b"x")
    assert file.read_bytes() == b"" and write(screens[0].path, b"x") and screens[0].read() == "x"


def entry(kind: int, name: bytes, size: int) -> bytes:
    return struct.pack("hxxi32s", kind, 1, name).ljust(size, b"\0")


def logged_in(tmp_path: Path, utmp: bytes = b"", **sessions: str) -> list[str]:
    (tmp_path / "utmp").write_bytes(utmp)
    (tmp_path / "sessions").mkdir(exist_ok=True)
    for name, text in sessions.items():
        (tmp_path / "sessions" / name).write_text(text)
    return terminals(str(tmp_path / "utmp"), str(tmp_path / "sessions"), "/dev")


@pytest.mark.parametrize("size", module.ENTRIES)
def test_who_is_logged_in_stands_in_utmp_on_each_machine(tmp_path: Path, size: int) -> None:
    entries = [entry(2, b"~", size), entry(7, b"pts/3", size), entry(8, b"pts/4", size), entry(7, b"tty1", size)]
    assert logged_in(tmp_path, b"".join(entries)) == ["/dev/pts/3", "/dev/tty1"]


def test_or_in_the_files_of_logind(tmp_path: Path) -> None:
    found = logged_in(
        tmp_path, c1="UID=1000\nTTY=tty2\nSTATE=active\n", c2="UID=0\nTTY=pts/7\n", c3="UID=7\nDISPLAY=:0\n"
    )
    assert found == ["/dev/pts/7", "/dev/tty2"]


@pytest.mark.parametrize(
    "line",
    [
        "../etc/passwd",
        "pts/../../etc/shadow",
        "pts/x",
        "pts/",
        "",
        "console",
        ":0",
        "tty1/x",
        "/tty1",
        "pts/1\n",
        "sda",
    ],
)
def test_what_is_no_terminals_name_is_passed_over(tmp_path: Path, line: str) -> None:
    assert logged_in(tmp_path, entry(7, line.encode(), 384)) == []


@pytest.mark.parametrize("utmp", [b"x", b"\x07" * 383, b"\xff" * 384 * 3, b"\xff" * 9600])
def test_a_damaged_list_names_nobody(tmp_path: Path, utmp: bytes) -> None:
    assert logged_in(tmp_path, utmp) == []


def test_where_nobody_keeps_a_list_nobody_is_named(tmp_path: Path) -> None:
    assert terminals(str(tmp_path / "a"), str(tmp_path / "b")) == []


def test_mail_alone_writes_to_no_terminal(screens: list[Screen], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_wall, "terminals", lambda: [screen.path for screen in screens])
    event: dict[str, Any] = json.loads(line(DIED, 1.7e9, 1))
    wall = Wall(False, "root", Runs())
    wall.hear(event, 1.7e9, 1.0)
    assert screens[0].read() == "" and wall.wait(1.0) == 60.0
