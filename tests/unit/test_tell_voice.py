"""Telling in another's words: both streams, colours, the system's log."""

from __future__ import annotations

import os
import pty
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from okoomer.events import model
from okoomer.events.ring import Ring, read
from okoomer.guard import tell as module
from okoomer.guard.tell import Tell
from okoomer.record import Record
from tests.unit.streams import captured, drain, shown

pytestmark = [
    pytest.mark.timeout(180),
    # The guard's sockets are open as long as it lives.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

WARNED = model.Warned("low", "short")


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, int]]:
    with captured(monkeypatch) as readers:
        yield readers


LINES = {
    "plain": [(2, "", "plain")],
    "report": [(1, "info", "report")],
    "kill": [(2, "warn", "short"), (2, "warn", "kill")],
    "end": [(2, "fatal", "end")],
    "look": [(1, "debug", "look")],
    "nothing": [],
}


def speak(event: Record) -> list[tuple[int, str, str]]:
    """A voice that says what it is told to."""
    assert isinstance(event, model.Changed)
    return LINES[event.text]


def tell_all(tell: Tell) -> None:
    for text in LINES:
        tell(model.Changed(text))


def test_a_voice_speaks_on_both_streams_and_nothing_else_does(outputs: dict[int, int]) -> None:
    tell_all(Tell(None, as_json=True, live=True, voice=speak))
    assert drain(outputs[1]) == "report\nlook\n"
    assert drain(outputs[2]) == "plain\nshort\nkill\nend\n"


def test_a_voice_has_no_journal_no_priorities_and_no_live_line(
    outputs: dict[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    monkeypatch.setattr(module, "JOURNAL", f"{tmp_path}/journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(f"{tmp_path}/journal")
        tell = Tell(None, as_json=False, live=True, voice=speak)
        tell_all(tell)
        tell.state("state")
        assert drain(outputs[2]) == "plain\nshort\nkill\nend\n"
        journal.settimeout(0.01)
        with pytest.raises(TimeoutError):
            journal.recv(100)


def test_a_voice_that_fails_keeps_no_event_from_the_ring(outputs: dict[int, int], tmp_path: Path) -> None:
    tell = Tell(Ring(f"{tmp_path}/ring"), as_json=False, voice=speak)
    tell(WARNED)
    tell(model.Changed("plain"))
    assert len(list(read(f"{tmp_path}/ring"))) == 2
    assert drain(outputs[2]).endswith("plain\n")


def test_a_reader_of_reports_who_stopped_does_not_keep_back_the_rest(outputs: dict[int, int]) -> None:
    tell = Tell(None, as_json=False, voice=lambda _event: [(1, "info", "r" * 1000), (2, "warn", "kill")])
    for _ in range(200):
        tell(WARNED)
        assert drain(outputs[2]) == "kill\n"
    assert set(drain(outputs[1]).splitlines()) == {"r" * 1000}


def terminal(fd: int, tell: Callable[[], None]) -> str:
    """What appears on a terminal that stands for one of our streams; the other one leads nowhere."""
    reader, writer = pty.openpty()
    os.set_blocking(reader, False)
    void = os.open(os.devnull, os.O_RDWR)
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    try:
        for stream in kept:
            os.dup2(writer if stream == fd else void, stream)
        tell()
        # Else the end of the line becomes two characters.
        return shown(reader, writer).replace("\r\n", "\n")
    finally:
        for stream, copy in kept.items():
            os.dup2(copy, stream)
            os.close(copy)
        for other in (reader, writer, void):
            os.close(other)


@pytest.mark.parametrize(
    ("fd", "shown"),
    [
        (1, "report\n\033[2mlook\n\033[0m"),
        (2, "plain\n\033[33mshort\n\033[0m\033[33mkill\n\033[0m\033[31mend\n\033[0m"),
    ],
)
def test_a_terminal_has_colours_and_only_a_terminal(fd: int, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert terminal(fd, lambda: tell_all(Tell(None, as_json=False, voice=speak))) == shown


@pytest.mark.parametrize("value", ["1", ""])
@pytest.mark.parametrize(("fd", "shown"), [(1, "report\nlook\n"), (2, "plain\nshort\nkill\nend\n")])
def test_who_wants_no_colours_has_none(fd: int, shown: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", value)
    assert terminal(fd, lambda: tell_all(Tell(None, as_json=False, voice=speak))) == shown


def test_sentences_have_no_colours() -> None:
    assert "\033[3" not in terminal(2, lambda: Tell(None, as_json=False)(WARNED))


def test_the_courier_is_told_when_an_event_is_in_the_ring(outputs: dict[int, int], tmp_path: Path) -> None:
    path, seen = f"{tmp_path}/ring", []
    tell = Tell(Ring(path), as_json=False, told=lambda: seen.append(len(list(read(path)))))
    tell(WARNED)
    tell(model.Stopped("SIGTERM"))
    assert seen == [1, 2]
    Tell(None, as_json=False, told=lambda: seen.append(0))(WARNED)
    assert seen == [1, 2]


# --- the system's log -----------------------------------------------------------------------------------------------


@pytest.fixture
def syslog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(module, "SYSLOG", f"{tmp_path}/log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"{tmp_path}/log")
        listener.settimeout(5)
        yield listener


def test_the_systems_log_gets_all_but_the_first_lines(outputs: dict[int, int], syslog: socket.socket) -> None:
    tell_all(Tell(None, as_json=False, voice=speak, syslog=True))
    me = f"earlyoom[{os.getpid()}]"
    assert [syslog.recv(100).decode() for _ in range(5)] == [
        f"<30>{me}: report",
        f"<28>{me}: short",
        f"<28>{me}: kill",
        f"<27>{me}: end",
        f"<31>{me}: look",
    ]
    assert drain(outputs[2]) == "plain\n"
    assert drain(outputs[1]) == ""


def test_without_a_systems_log_the_streams_have_everything(
    outputs: dict[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SYSLOG", f"{tmp_path}/nowhere")
    tell_all(Tell(None, as_json=False, voice=speak, syslog=True))
    assert drain(outputs[1]) == "report\nlook\n"
    assert drain(outputs[2]) == "plain\nshort\nkill\nend\n"


def test_a_systems_log_that_was_restarted_is_found_again(
    outputs: dict[int, int], syslog: socket.socket, tmp_path: Path
) -> None:
    tell = Tell(None, as_json=False, voice=speak, syslog=True)
    syslog.close()
    tell(model.Changed("report"))
    assert drain(outputs[1]) == "report\n"
    (tmp_path / "log").unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(f"{tmp_path}/log")
        again.settimeout(5)
        tell(model.Changed("report"))
        assert again.recv(100).endswith(b": report")
    assert drain(outputs[1]) == ""


def test_a_systems_log_that_nobody_reads_is_not_waited_for(outputs: dict[int, int], syslog: socket.socket) -> None:
    tell = Tell(None, as_json=False, voice=speak, syslog=True)
    for _ in range(2000):
        tell(model.Changed("report"))  # its queue is soon full
    assert "report\n" in drain(outputs[1])
