"""`okoomer answer`, `pause` and `resume`: at a guard's door, and by the bus."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from okoomer.cli import door, reach
from okoomer.cli.answer import parse, parse_size, table
from okoomer.cli.errors import BadInput
from okoomer.kernel.process import stat, ticks
from tests.unit.buses import DAEMON, Daemon
from tests.unit.console import okoomer
from tests.unit.replies import Guard, asked
from tests.unit.sessions import POLICY, Okoomer, question, until

MIB, GIB = 1024**2, 1024**3
US = os.geteuid()


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    made = Guard(tmp_path)
    yield made
    made.close()


def at(directory: Path, *arguments: object) -> Any:
    return okoomer(*arguments, "--runtime-dir", directory)


LINE = (
    "make (pid 42 43) is paused; its end frees 3.2 GiB, 210 MiB available; is told to end in 14 s; "
    "resume|end|limit 512MiB"
)


def test_it_lists_what_is_open(guard: Guard, tmp_path: Path) -> None:
    guard.questions = [asked(7), asked(3, name="x\x1b[31m", paused=False, pids=[])]
    ended = at(tmp_path, "answer")
    lines = ended.out.splitlines()
    assert ended.code == 0 and lines[1] == f"7: {LINE}"
    assert lines[0].startswith("3: x\\x1b[31m (no process); ")
    assert at(tmp_path, "answer", "7").out == f"7: {LINE}\n"
    told = json.loads(at(tmp_path, "answer", "--json").out)
    assert [one["question"] for one in told] == [3, 7] and told[1]["left"] == 14.2


def test_on_a_terminal_it_is_a_table() -> None:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table([asked(7, name="[red]make[/red]")]))
    text = captured.get()
    assert "question" in text and "[red]make[/red] (pid 42 43) is paused" in text and "limit 512MiB" in text


@pytest.mark.parametrize(
    ("words", "sent", "said"),
    [
        (("7", "end"), f"answer 7 {US} end 0", "make is ended"),
        (("end",), f"answer 7 {US} end 0", "make is ended"),
        (("resume",), f"answer 7 {US} resume 0", "make goes on"),
        (("limit",), f"answer 7 {US} limit 0", "make keeps at most 512 MiB"),
        (("limit", "1.5GiB"), f"answer 7 {US} limit {3 * GIB // 2}", "make keeps at most 1.5 GiB"),
    ],
)
def test_an_answer_goes_to_the_guard(
    guard: Guard, tmp_path: Path, words: tuple[str, ...], sent: str, said: str
) -> None:
    guard.questions = [asked(7)]
    ended = at(tmp_path, "answer", *words)
    assert (ended.code, ended.out, ended.err) == (0, f"{said}\n", "")
    assert guard.asked == [sent]


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        ("none", 1, "question 7 is over"),
        ("denied", 1, "the processes are not all yours; ask as root"),
        ("refused it holds the session together", 1, "it holds the session together"),
        ("refused", 1, "it must not be touched"),
        ("busy", 1, "the guard is busy with an emergency; try again"),
        ("bad", 2, "that does not go"),
        ("whatever", 1, "the guard says whatever"),
    ],
)
def test_an_answer_that_is_not_taken_is_one_line(
    guard: Guard, tmp_path: Path, status: str, code: int, said: str
) -> None:
    guard.questions = [asked(7)]
    guard.reply = lambda _verb: status
    ended = at(tmp_path, "answer", "end")
    assert (ended.code, ended.out, ended.err) == (code, "", f"okoomer: {said}\n")
    ended = at(tmp_path, "answer", "end", "--json")
    assert ended.code == code and json.loads(ended.out) == {"status": status.split(" ")[0], "text": said}


@pytest.mark.parametrize(
    ("open_ones", "words", "code", "said"),
    [
        ([], (), 1, "no question is open"),
        ([], ("end",), 1, "no question is open"),
        ([3], ("4",), 1, "question 4 is not open"),
        ([3], ("4", "end"), 1, "question 4 is not open"),
        ([3, 4], ("end",), 2, "several questions are open: say which (3, 4)"),
        ([3], ("pause",), 2, "question 3 cannot be answered with pause, but with resume, end, limit"),
    ],
)
def test_what_is_not_open_cannot_be_answered(
    guard: Guard, tmp_path: Path, open_ones: list[int], words: tuple[str, ...], code: int, said: str
) -> None:
    guard.questions = [asked(number) for number in open_ones]
    ended = at(tmp_path, "answer", *words)
    assert (ended.code, ended.out, ended.err) == (code, "", f"okoomer: {said}\n")
    assert guard.asked == []


@pytest.mark.parametrize(
    "words",
    [
        ("kill",), ("3", "kill"), ("end", "3"), ("3", "end", "4GiB"), ("limit", "lots"), ("limit", "512"),
        ("limit", "1GiB", "2"), ("limit", "0MiB"), ("limit", "-1GiB"), ("limit", "1e9GiB"), ("limit", "999999999TiB"),
        ("-3",), ("3.5", "end"), ("9999999999", "end"), ("\x1b[31m",),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_told_in_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    ended = okoomer("answer", "--runtime-dir", tmp_path, "--", *words)
    assert ended.code == 2 and ended.err.count("\n") == 1 and ended.err.isascii() and "\x1b" not in ended.err


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MiB", 512 * MIB), ("512M", 512 * MIB), ("1.5G", 3 * GIB // 2), ("512 MB", 512 * 10**6), ("1KiB", 1024)],
)
def test_sizes_are_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert parse(("3", "limit", text)) == (3, "limit", size)
    with pytest.raises(BadInput):
        parse_size(f"{text}s")


def test_without_a_guard_it_says_where_none_is(tmp_path: Path) -> None:
    ended = at(tmp_path, "answer")
    assert ended.code == 3
    why = "No such file or directory (okoomer run starts one)"
    assert ended.err == f"okoomer: no guard answers at {tmp_path}/guard.sock: {why}\n"


def test_a_door_that_is_shut_in_our_face_is_told(guard: Guard, tmp_path: Path) -> None:
    guard.reply = lambda _verb: None
    ended = at(tmp_path, "answer")
    assert ended.code == 3 and "does not let us in" in ended.err and ended.err.count("\n") == 1


def test_a_guard_that_does_not_answer_is_waited_for_a_while(
    guard: Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PATIENCE", 0.3)
    over = threading.Event()

    def hang(_verb: str) -> None:
        over.wait(100)

    guard.reply = hang
    began = time.monotonic()
    ended = at(tmp_path, "answer")
    over.set()
    assert ended.code == 3 and "does not answer within 0.3 s" in ended.err
    assert time.monotonic() - began < 50


def test_what_is_no_guard_is_not_believed(guard: Guard, tmp_path: Path) -> None:
    guard.reply = lambda _verb: ""
    guard.questions = [asked(7)]
    ended = at(tmp_path, "answer", "end")
    assert ended.code in (1, 3) and ended.err.count("\n") == 1


# --- pausing and resuming -------------------------------------------------------------------------------------------


def test_a_process_is_paused_by_its_start_time_too(guard: Guard, tmp_path: Path) -> None:
    me, start = os.getpid(), ticks("/proc", os.getpid())
    ended = at(tmp_path, "pause", me)
    assert ended.code == 0 and ended.out.endswith(f"(pid {me}) is paused\n")
    ended = at(tmp_path, "resume", me)
    assert ended.code == 0 and ended.out.endswith(f"(pid {me}) runs again\n")
    assert guard.asked == [f"pause {me} {start} {US}", f"resume {me} {start} {US}"]


@pytest.mark.parametrize("verb", ["pause", "resume"])
@pytest.mark.parametrize(
    ("status", "code", "said"),
    [("denied", 1, "not all yours"), ("refused it is init", 1, "it is init"), ("none", 1, str(os.getpid()))],
)
def test_what_cannot_be_is_one_line(guard: Guard, tmp_path: Path, verb: str, status: str, code: int, said: str) -> None:
    guard.reply = lambda _verb: status
    ended = at(tmp_path, verb, os.getpid())
    assert ended.code == code and said in ended.err and ended.err.count("\n") == 1 and not ended.out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("pause",), 2), (("pause", "0"), 2), (("pause", "-1"), 2), (("pause", "init"), 2), (("pause", "4194303"), 1),
        (("resume",), 2), (("resume", "1", "--all"), 2), (("resume", "--all", "--left"), 2), (("resume", "x"), 2),
    ],
)  # fmt: skip
def test_whom_to_pause_has_to_be_clear(guard: Guard, tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    ended = at(tmp_path, *words)
    assert ended.code == code and ended.err.count("\n") == 1
    assert guard.asked == []


def test_all_are_resumed_and_who_may_not_be_is_named(guard: Guard, tmp_path: Path) -> None:
    guard.paused = [[41, 900, "make", 0, 3.0], [42, 901, "x\n", 0, 3.0], [43, 902, "other", 1001, 2.0]]
    assert (
        at(tmp_path, "resume", "--all").out
        == "make (pid 41) runs again\nx\\n (pid 42) runs again\nother (pid 43) runs again\n"
    )
    assert guard.asked == [f"resume 41 900 {US}", f"resume 42 901 {US}", f"resume 43 902 {US}"]
    ended = at(tmp_path, "resume", "--all")
    assert (ended.code, ended.err) == (1, "okoomer: nobody stands still\n")
    guard.paused = [[44, 903, "other", 1001, 2.0]]
    guard.reply = lambda verb: "denied" if verb == "resume" else "ok"
    ended = at(tmp_path, "resume", "--all", "--json")
    assert ended.code == 1 and json.loads(ended.out) == {"resumed": [], "not": [44]}


#: A guard that notes a sleeper, stops it, and dies.
DEAD = """
import os, signal, sys
from okoomer.guard.note import Note
from okoomer.kernel.process import ticks
pid = int(sys.argv[2])
Note(sys.argv[1]).add(pid, ticks("/proc", pid))
os.kill(pid, signal.SIGSTOP)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_dead_guard_has_left_runs_again(tmp_path: Path) -> None:
    assert at(tmp_path, "resume", "--left").code == 0, "there is nothing, which is well"
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        subprocess.run([sys.executable, "-c", DEAD, tmp_path / "paused", str(sleeper.pid)], timeout=60)
        until(lambda: stat("/proc", sleeper.pid).state == "T")
        ended = at(tmp_path, "resume", "--left", "--json")
        assert ended.code == 0 and json.loads(ended.out) == {"resumed": 1}
        until(lambda: stat("/proc", sleeper.pid).state != "T")
    finally:
        sleeper.kill()
        sleeper.wait()


# --- by the bus -----------------------------------------------------------------------------------------------------


@pytest.fixture
def courier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Okoomer]:
    """okoomer on the system bus, and somebody who is not root."""
    monkeypatch.setattr(reach, "is_ours", lambda _directory: False)
    daemon = Daemon(tmp_path, POLICY)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.address)
    daemon.start()
    made = Okoomer(daemon.address)
    yield made
    made.close()
    daemon.stop()


needs_daemon = pytest.mark.skipif(DAEMON is None, reason="there is no dbus-daemon (Debian: dbus-daemon)")


@needs_daemon
def test_by_the_bus_questions_are_listed_and_answered(courier: Okoomer) -> None:
    courier.questions = {7: question(until=time.time() + 14.4)}
    told = re.sub(r"\b(1[0-3]|[0-9]) s;", "14 s;", okoomer("answer").out)  # time passes
    assert told == f"7: {LINE}\n"
    assert okoomer("answer", "limit", "1GiB").out == "make keeps at most 1.0 GiB\n"
    assert courier.called("Answer") == [(7, "limit", GIB)]
    courier.questions = {}
    assert okoomer("answer").code == 1


@needs_daemon
@pytest.mark.parametrize(
    ("refusal", "code", "said"),
    [
        ("NoQuestion", 1, "question 7 is over"),
        ("NotYours", 1, "no, since it is so"),
        ("Refused", 1, "no, since it is so"),
        ("Busy", 1, "no, since it is so"),
        (
            "NoGuard",
            3,
            "the guard cannot be asked: no, since it is so (see okoomer status; as root it is asked directly)",
        ),
        ("BadAnswer", 2, "no, since it is so"),
        ("Strange", 3, "org.okoomer.Okoomer1: no, since it is so"),
    ],
)
def test_by_the_bus_errors_are_one_line(courier: Okoomer, refusal: str, code: int, said: str) -> None:
    courier.questions = {7: question()}
    courier.refusal = refusal
    ended = okoomer("answer", "end")
    assert (ended.code, ended.err) == (code, f"okoomer: {said}\n")


@needs_daemon
def test_by_the_bus_processes_are_paused_and_those_that_were_are_resumed(courier: Okoomer) -> None:
    assert okoomer("pause", os.getpid()).code == 0
    assert courier.called("Pause") == [(os.getpid(),)]
    gone, me = 2**22, os.getpid()
    acts = [
        {"event": "resumed", "name": "b", "pids": [43]}, {"event": "paused", "name": "b", "pids": [43]},
        {"event": "chosen", "name": "a"}, {"event": "paused", "name": "a", "pids": [gone, me, 1]},
    ]  # fmt: skip
    courier.history = [json.dumps(act) for act in acts]
    ended = okoomer("resume", "--all")
    # One of those who were paused together takes the others with it, if it is there still.
    assert ended.out == f"a (pid {me}) runs again\n"
    assert courier.called("Resume") == [(me,)]


@needs_daemon
def test_without_okoomer_on_the_bus_it_says_so(courier: Okoomer, monkeypatch: pytest.MonkeyPatch) -> None:
    courier.close()
    ended = okoomer("answer")
    assert ended.code == 3 and ended.err.startswith("okoomer: the guard cannot be asked: ")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "nonsense")
    ended = okoomer("answer")
    assert ended.code == 3 and "there is no system bus" in ended.err and ended.err.count("\n") == 1
