"""Telling: whoever does not read loses lines, and the guard never waits."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from okoomer.events import model
from okoomer.events.ring import Ring, read
from okoomer.guard import tell as module
from okoomer.guard.tell import Notify, Stream, Tell, journal
from tests.unit.streams import captured, drain, shown

pytestmark = [
    # Whoever waits for a reader here would wait for ever.
    pytest.mark.timeout(180),
    # The guard's sockets are open as long as it lives.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

WARNED = model.Warned("low", "a'b\n<7>fake")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of four pages: its ends for reading and for writing."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4 * 4096)
    os.set_blocking(reader, False)
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            pass  # the test closed it


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, int]]:
    with captured(monkeypatch) as readers:
        yield readers


@pytest.fixture
def stdout(outputs: dict[int, int]) -> int:
    return outputs[1]


@pytest.fixture
def stderr(outputs: dict[int, int]) -> int:
    return outputs[2]


# --- streams --------------------------------------------------------------------------------------------------------


def test_lines_arrive_in_order(pipe: tuple[int, int]) -> None:
    stream = Stream(pipe[1])
    stream.write("one")
    stream.write("two \udcff")
    assert drain(pipe[0]) == "one\ntwo \\udcff\n"
    assert stream.lost == 0


def test_a_full_pipe_loses_lines_counts_them_and_goes_on_when_it_is_read(pipe: tuple[int, int]) -> None:
    stream = Stream(pipe[1])
    written = [f"line {number} {'x' * 500}" for number in range(60)]
    for text in written:
        stream.write(text)
    assert stream.lost > 10
    lost = stream.lost
    got = drain(pipe[0]).splitlines()
    stream.write("again")
    got += drain(pipe[0]).splitlines()
    assert got[-2:] == [f"({lost} lines were lost: nobody read them)", "again"]
    assert got[:-2] == written[: len(got) - 2]
    assert len(got) - 2 + lost == len(written)
    assert stream.lost == 0
    stream.write("more")
    assert drain(pipe[0]) == "more\n"


def test_a_line_longer_than_the_pipe_is_never_torn(pipe: tuple[int, int]) -> None:
    stream = Stream(pipe[1])
    long = "".join(chr(97 + number % 26) for number in range(50000))
    stream.write(long)
    stream.write("lost")
    got = ""
    while part := drain(pipe[0]):
        got += part
        stream.flush()
    stream.write("next")
    got += drain(pipe[0])
    assert got == f"{long}\n(1 lines were lost: nobody read them)\nnext\n"


def test_without_a_count_only_whole_lines_arrive(pipe: tuple[int, int]) -> None:
    stream = Stream(pipe[1], count=False)
    for number in range(60):
        stream.write(json.dumps({"number": number, "text": "x" * 700}))
    got = drain(pipe[0])
    stream.write("{}")
    got += drain(pipe[0])
    objects = [json.loads(text) for text in got.splitlines()]
    assert [found["number"] for found in objects[:-1]] == list(range(len(objects) - 1))
    assert objects[-1] == {}


def test_a_reader_that_has_gone_is_no_error(pipe: tuple[int, int]) -> None:
    stream = Stream(pipe[1])
    os.close(pipe[0])
    for _ in range(3):
        stream.write("unheard")
    assert stream.lost == 2  # and one waits
    os.close(pipe[1])
    stream.write("unheard")
    assert stream.lost == 3


def test_a_glimpse_is_left_out_when_it_cannot_be_shown(pipe: tuple[int, int]) -> None:
    stream = Stream(pipe[1])
    stream.glimpse("\rnow")
    assert drain(pipe[0]) == "\rnow"
    stream.write("x" * 50000)
    stream.glimpse("\rthen")
    assert stream.lost == 0
    got = ""
    while part := drain(pipe[0]):
        got += part
        stream.flush()
    assert got == "x" * 50000 + "\n"


def test_a_terminal_that_nobody_reads_holds_nobody() -> None:
    reader, writer = pty.openpty()
    flags = fcntl.fcntl(writer, fcntl.F_GETFL)
    stream = Stream(writer)
    for number in range(2000):
        stream.write("x" * (number * 37 % 1000))
        stream.glimpse("\rnow")
    assert stream.lost > 0
    assert fcntl.fcntl(writer, fcntl.F_GETFL) == flags  # others write there too
    os.set_blocking(reader, False)
    assert shown(reader, writer).startswith("\r\n\rnow" + "x" * 37 + "\r\n")
    os.close(reader)
    os.close(writer)


# --- events ---------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOURNAL_STREAM", "NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)


def test_sentences_go_to_standard_error(stderr: int) -> None:
    Tell(None, as_json=False)(WARNED)
    assert drain(stderr) == "rule low warns: a'b\\n<7>fake\n"


def test_json_goes_to_standard_output_with_numbers_that_go_on(stdout: int) -> None:
    tell = Tell(None, as_json=True)
    tell(WARNED)
    tell(model.Stopped("SIGTERM"))
    told = [json.loads(text) for text in drain(stdout).splitlines()]
    assert [(one["sequence"], one["event"]) for one in told] == [(1, "warned"), (2, "stopped")]
    assert told[0]["text"] == WARNED.text


def test_the_ring_has_every_event_even_those_that_nobody_reads(stderr: int, tmp_path: Path) -> None:
    tell = Tell(Ring(f"{tmp_path}/ring"), as_json=False)
    for _ in range(120):
        tell(model.Trouble("x" * 800))
    kept = [json.loads(text) for _, text in read(f"{tmp_path}/ring")]
    assert [one["sequence"] for one in kept] == list(range(1, 121))
    assert 0 < drain(stderr).count("\n") < 120


def test_two_threads_do_not_mix_their_lines(stderr: int) -> None:
    tell = Tell(None, as_json=False)
    got: list[str] = []

    def speak(letter: str) -> None:
        for _ in range(50):
            tell(model.Trouble(letter * 90))

    threads = [threading.Thread(target=speak, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        got.append(drain(stderr))
    got.append(drain(stderr))
    lines = "".join(got).splitlines()
    assert {line for line in lines if "lost" not in line} <= {"a" * 90, "b" * 90}
    assert len(lines) > 10


def test_lines_for_a_service_manager_begin_with_their_priority(stderr: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    tell = Tell(None, as_json=False)
    tell(WARNED)
    tell(model.Late(2.0, 0, ""))
    assert drain(stderr) == "<4>rule low warns: a'b\\n<7>fake\n<1>the loop hung for 2.0 s; the watchdog killed nobody\n"


def test_the_live_line_is_one_line_of_the_terminals_width() -> None:
    reader, writer = pty.openpty()
    os.set_blocking(reader, False)
    kept = os.dup(2)
    os.dup2(writer, 2)
    try:
        fcntl.ioctl(2, 0x5414, b"\x18\x00\x14\x00\x00\x00\x00\x00")  # TIOCSWINSZ: 24 rows, 20 columns
        tell = Tell(None, as_json=False, live=True)
        tell.state("s" * 50)
        tell(WARNED)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert shown(reader, writer) == "\r\033[K" + "s" * 19 + "\r\033[K" + "rule low warns: a'b\\n<7>fake\r\n"
    os.close(reader)
    os.close(writer)


# --- the journal ----------------------------------------------------------------------------------------------------


@pytest.fixture
def fake_journal(tmp_path: Path, stderr: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A journal that says that standard error leads to it."""
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    monkeypatch.setattr(module, "JOURNAL", f"{tmp_path}/journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"{tmp_path}/journal")
        listener.settimeout(60)
        yield listener


def test_the_journal_gets_fields_that_no_name_can_forge(fake_journal: socket.socket, stderr: int) -> None:
    Tell(None, as_json=False)(WARNED)
    lines = fake_journal.recv(65536).decode().split("\n")
    assert lines.pop() == ""
    fields = dict(line.split("=", 1) for line in lines)
    told = json.loads(fields.pop("OKOOMER_JSON"))
    assert told["text"] == WARNED.text and told["event"] == "warned"
    assert fields == {
        "MESSAGE": "rule low warns: a'b\\n<7>fake",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "okoomer",
        "OKOOMER_EVENT": "warned",
    }
    assert drain(stderr) == ""


def test_what_the_journal_does_not_take_goes_to_standard_error(fake_journal: socket.socket, stderr: int) -> None:
    tell = Tell(None, as_json=False)
    for _ in range(400):
        tell(WARNED)  # its queue is soon full
    fake_journal.close()
    drain(stderr)
    tell(model.Stopped("SIGTERM"))
    assert drain(stderr).endswith("<5>stopped by SIGTERM\n")


def test_there_is_no_journal_if_standard_error_leads_elsewhere(
    fake_journal: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = journal()
    assert found is not None
    found.close()
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    assert journal() is None


def test_a_journal_that_does_not_answer_is_none(fake_journal: socket.socket) -> None:
    fake_journal.close()
    assert journal() is None


# --- the service manager --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    address = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address if abstract else address)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", ("@" if abstract else "") + address)
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        notify = Notify()
        assert notify.watchdog == 30.0
        notify("READY=1\nSTATUS=odd \udcff")
        assert manager.recv(100) == b"READY=1\nSTATUS=odd \\udcff"
        for _ in range(2000):
            notify("WATCHDOG=1")  # nobody reads, and nobody waits
    notify("STOPPING=1")


@pytest.mark.parametrize("address", ["", "relative", "/nobody/listens/here", "@", "/" + "x" * 300])
def test_without_a_service_manager_nothing_is_said(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    notify = Notify()
    assert notify.watchdog == 0.0
    notify("READY=1")


@pytest.mark.parametrize("microseconds", ["", "soon", "-5"])
def test_a_watchdog_that_makes_no_sense_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, microseconds: str
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{tmp_path}/notify")
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
        monkeypatch.setenv("WATCHDOG_USEC", microseconds)
        assert Notify().watchdog == 0.0
