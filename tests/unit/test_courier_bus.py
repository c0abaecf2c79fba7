"""Announcements on a real system bus of our own, and on one that hangs, restarts or is missing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from okoomer.bus.connection import PATIENCE
from okoomer.courier.words import GAP
from okoomer.events import model
from okoomer.policy.model import Policy
from tests.unit.buses import DAEMON, Daemon, Heard, Listener
from tests.unit.couriers import KILLED, VICTIM, Guarded, asked, until

needs_daemon = pytest.mark.skipif(DAEMON is None, reason="there is no dbus-daemon (Debian: dbus-daemon)")
REFUSED = model.Refused("low", "all are spared", ())
NOTIFY = ("signalled", "refused")
Listen = Callable[[], Listener]


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A system bus that runs."""
    daemon = Daemon(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.address)
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Makes listeners."""
    listeners = []

    def make() -> Listener:
        listeners.append(Listener())
        return listeners[-1]

    yield make
    for listener in listeners:
        listener.close()


def when_said(capfd: pytest.CaptureFixture[str], times: int = 1) -> str:
    """What is said, as soon as it is said so often that a bus cannot be used."""
    said = ""

    def complained() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return said.count("cannot be used") >= times

    until(complained)
    return said


def first(listener: Listener) -> Heard:
    until(lambda: listener.heard)
    return listener.heard[0]


@needs_daemon
def test_who_listens_as_systembus_notify_does_hears_earlyooms_words(
    tmp_path: Path, bus: Daemon, listen: Listen
) -> None:
    listener = listen()
    with Guarded(tmp_path, notify=NOTIFY, voice="earlyoom") as guarded:
        guarded.tell(VICTIM, KILLED)
        heard = first(listener)
        assert (heard.path, heard.signature) == ("/", "ss")
        assert heard.words == ("earlyoom", "Low memory! Killing process 42 hog &amp; co")
        guarded.tell(REFUSED)
        until(lambda: len(listener.heard) == 2)
        assert listener.heard[1].words[1] == "Error: Could not find a process to kill. Sleeping 1 second."


@needs_daemon
def test_okoomer_says_it_in_its_own_words_and_only_what_was_asked_for(
    tmp_path: Path, bus: Daemon, listen: Listen
) -> None:
    listener = listen()
    with Guarded(tmp_path, notify=("refused",)) as guarded:
        guarded.tell(VICTIM, KILLED, REFUSED)
        assert first(listener).words == (
            "okoomer",
            "rule low fired, but nobody's end would help: all are spared",
        )
        time.sleep(2 * GAP)
        assert len(listener.heard) == 1


@needs_daemon
def test_another_policy_can_want_announcements_where_none_were_wanted(
    tmp_path: Path, bus: Daemon, listen: Listen
) -> None:
    listener = listen()
    with Guarded(tmp_path) as guarded:
        guarded.tell(VICTIM, KILLED, asked(1, "/bin/true"))
        guarded.answered(1)
        guarded.link.configure(Policy("new", (), notify=("refused",)))
        guarded.tell(KILLED, REFUSED)
        assert "all are spared" in first(listener).words[1]
        guarded.link.configure(Policy("newer", ()))
        guarded.tell(REFUSED, asked(2, "/bin/true"))
        guarded.answered(2)
    assert len(listener.heard) == 1


@needs_daemon
def test_a_burst_is_spaced_so_that_the_receiver_drops_nothing(tmp_path: Path, bus: Daemon, listen: Listen) -> None:
    listener = listen()
    with Guarded(tmp_path, notify=NOTIFY) as guarded:
        began = time.monotonic()
        for pid in range(1, 9):
            guarded.tell(model.Signalled("low", "SIGKILL", f"hog {pid}", (pid,), ()))
            time.sleep(0.03)
        until(lambda: "hog 8" in " ".join(heard.words[1] for heard in listener.heard))
    said = "\n".join(heard.words[1] for heard in listener.heard).splitlines()
    assert said == [f"SIGKILL to hog {pid} (pid {pid})" for pid in range(1, 9)]
    assert len(listener.heard) <= 1 + (listener.heard[-1].at - began) / GAP


@needs_daemon
def test_a_bus_that_was_started_anew_hears_us_again(
    tmp_path: Path, bus: Daemon, listen: Listen, capfd: pytest.CaptureFixture[str]
) -> None:
    with Guarded(tmp_path, notify=NOTIFY) as guarded:
        before = listen()
        guarded.tell(VICTIM, KILLED)
        first(before)
        bus.stop()
        bus.start()
        after = listen()
        guarded.tell(KILLED)
        assert first(after).words == ("okoomer", "SIGKILL to hog (pid 42)")
        bus.stop()
        guarded.tell(KILLED)
        said = when_said(capfd, 2)
        guarded.tell(KILLED, asked(1, "/bin/true"))
        assert guarded.answered(1) == [(1, 0)]
    assert (said + capfd.readouterr().err).count("cannot be used") == 2, "each time that it had gone"


def test_without_a_bus_commands_run_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
    with Guarded(tmp_path, notify=NOTIFY) as guarded:
        said = ""
        for request in (1, 2, 3):
            guarded.tell(VICTIM, KILLED, asked(request, "/bin/true"))
            guarded.answered(request)
            said = said or when_said(capfd)
            time.sleep(2 * GAP)
    said += capfd.readouterr().err
    assert said.count("\n") == 1 and "the bus at SYSTEM cannot be used" in said, said


@needs_daemon
def test_a_bus_that_hangs_delays_no_command_and_is_heard_of_once(
    tmp_path: Path, bus: Daemon, listen: Listen, capfd: pytest.CaptureFixture[str]
) -> None:
    listener = listen()
    bus.signal(signal.SIGSTOP)
    with Guarded(tmp_path, notify=NOTIFY) as guarded:
        guarded.tell(VICTIM, asked(1, "/bin/true"))
        guarded.answered(1)
        took = []
        for request in (2, 3, 4):
            began = time.monotonic()
            guarded.tell(KILLED, asked(request, "/bin/true"))
            guarded.answered(request)
            took.append(time.monotonic() - began)
        assert min(took) < PATIENCE / 2, "whoever waits for the bus waits this long each time"
        when_said(capfd)
        bus.signal(signal.SIGCONT)
        assert first(listener).words == ("okoomer", "\n".join(["SIGKILL to hog (pid 42)"] * 3))


def test_an_address_that_is_none_is_no_more_than_a_bus_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "nonsense")
    with Guarded(tmp_path, notify=NOTIFY) as guarded:
        guarded.tell(VICTIM, KILLED, asked(1, "/bin/true"))
        assert guarded.answered(1) == [(1, 0)]
        assert "the bus at SYSTEM cannot be used" in when_said(capfd)
