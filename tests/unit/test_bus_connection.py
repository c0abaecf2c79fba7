"""One connection on a loop: made, lost and made again, whatever the bus does; calls, signals and owners of names."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jeepney import DBusAddress, MatchRule, Message, new_method_call, new_signal  # type: ignore[import-untyped]

from okoomer.bus import connection as module
from okoomer.bus.connection import ROOM, Connection, plain
from okoomer.bus.daemon import BUS, BUS_PATH, bus_call
from okoomer.bus.service import Interface, Service
from okoomer.courier.launch import third_party
from tests.unit.buses import DAEMON, Daemon
from tests.unit.couriers import until
from tests.unit.loops import POLICIES, Client, Complaints, Loop

needs_daemon = pytest.mark.skipif(DAEMON is None, reason="there is no dbus-daemon (Debian: dbus-daemon)")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may own the name")
NAME, PATH = "org.okoomer.Okoomer1", "/org/okoomer/Okoomer1"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again at once."""
    for name, seconds in {"SOON": 0.02, "LATE": 0.1}.items():
        monkeypatch.setattr(module, name, seconds)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bus has little time, too little for a real one on a busy machine."""
    monkeypatch.setattr(module, "PATIENCE", 0.3)


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, *POLICIES)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.address)
    daemon.start()
    yield daemon
    daemon.stop()


def connection(address: str = "SYSTEM") -> tuple[Connection, Complaints, list[str]]:
    complaints, news = Complaints(), list[str]()
    one = Connection(address, complaints)
    one.on_up.append(lambda: news.append("up"))
    one.on_down.append(lambda: news.append("down"))
    return one, complaints, news


# --- buses that are none ----------------------------------------------------------------------------------------

WELCOME, DESCRIPTORS = b"OK 0123456789abcdef0123456789abcdef\r\n", b"AGREE_UNIX_FD\r\n"


def silent(line: socket.socket) -> None:
    while line.recv(4096):
        pass


def at_once(line: socket.socket) -> None:
    line.close()


def refuses(line: socket.socket) -> None:
    line.recv(4096)
    line.sendall(b"REJECTED ANONYMOUS\r\n")
    silent(line)


def in_the_middle_of_hello(line: socket.socket) -> None:
    line.recv(4096)
    line.sendall(WELCOME)
    line.recv(4096)
    line.sendall(DESCRIPTORS)
    line.recv(4096)


def garbage(line: socket.socket) -> None:
    line.recv(4096)
    line.sendall(WELCOME)
    line.recv(4096)
    line.sendall(DESCRIPTORS)
    line.recv(4096)
    line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)
    silent(line)


def endless(line: socket.socket) -> None:
    line.recv(4096)
    line.sendall(b"x" * 10_000)
    silent(line)


def silent_after_login(line: socket.socket) -> None:
    line.recv(4096)
    line.sendall(WELCOME)
    line.recv(4096)
    line.sendall(DESCRIPTORS)
    silent(line)


STRANGE: dict[Callable[[socket.socket], None], str] = {
    silent: "does not let us in",
    at_once: "closed the connection|reset by peer|Broken pipe",
    refuses: "Authentication failed",
    in_the_middle_of_hello: "closed the connection|reset by peer|Broken pipe",
    garbage: "no message",
    endless: "without line ending|Unexpected data",
    silent_after_login: "does not let us in",
}


class Strange:
    """Somebody who listens where a bus should."""

    def __init__(self, path: Path, behaviour: Callable[[socket.socket], None]) -> None:
        self.lines = 0
        self._behaviour = behaviour
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._threads: list[threading.Thread] = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self.lines += 1
            self._threads.append(threading.Thread(target=self._speak, args=(line,), daemon=True))
            self._threads[-1].start()

    def _speak(self, line: socket.socket) -> None:
        with line:
            try:
                self._behaviour(line)
            except OSError:
                pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(20)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("behaviour", STRANGE, ids=lambda one: one.__name__)
def test_a_bus_that_is_none_is_tried_again_and_spoken_of_once(
    tmp_path: Path, behaviour: Callable[[socket.socket], None]
) -> None:
    strange = Strange(tmp_path / "bus", behaviour)
    one, complaints, news = connection(f"unix:path={tmp_path}/bus")
    answers = list[Any]()
    with Loop(one) as loop:
        loop.do(lambda: one.call(bus_call("ListNames"), answers.append))
        until(lambda: strange.lines >= 6)
        until(lambda: answers == [None])
    strange.close()
    assert loop.long < 0.2, "nobody waited for it"
    assert len(complaints.said) == 1
    assert re.search(STRANGE[behaviour], complaints.said[0]), complaints.said
    assert news == []


@pytest.mark.parametrize("address", ["nonsense", "unix:path=/nowhere/bus", "tcp:host=localhost,port=1", "unix:", ""])
def test_an_address_that_leads_nowhere_is_no_more_than_a_bus_that_is_missing(address: str) -> None:
    one, complaints, news = connection(address)
    with Loop(one) as loop:
        until(lambda: loop.turns > 5)
    assert len(complaints.said) == 1 and not news


def test_without_a_bus_it_is_tried_less_and_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOON", 0.5)
    monkeypatch.setattr(module, "LATE", 10.0)
    one, _, _ = connection(f"unix:path={tmp_path}/bus")
    now, waits = 100.0, []
    for _ in range(8):
        one.turn({}, now)
        waits.append(one.wait(now))
        now += waits[-1]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]


def test_a_session_bus_is_where_the_session_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    strange = Strange(tmp_path / "bus", at_once)
    with Loop(Connection("SESSION")):
        until(lambda: strange.lines)
    strange.close()


def test_why_something_failed_is_one_harmless_line() -> None:
    assert plain(OSError(2, "No such file or directory")) == "No such file or directory"
    assert plain(ValueError("a\nb\x1b[31m\u202e")) == "a?b?[31m?"
    assert plain(ValueError()) == "ValueError"


# --- a real bus -------------------------------------------------------------------------------------------------


@needs_daemon
def test_a_bus_that_comes_goes_and_comes_again_is_joined_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(tmp_path)
    one, complaints, news = connection(daemon.address)
    heard = list[Message]()
    one.match(MatchRule(type="signal", interface="a.b"), heard.append)
    with Loop(one):
        until(lambda: complaints.said)
        for number in range(1, 4):
            daemon.start()
            until(lambda: news.count("up") == number)  # noqa: B023
            with Client(daemon.address, BUS, BUS_PATH) as client:
                client.connection.send(new_signal(DBusAddress("/", interface="a.b"), "C", "u", (number,)))
                until(lambda: len(heard) == number)  # noqa: B023
            daemon.stop()
            until(lambda: news.count("down") == number)  # noqa: B023
    assert news == ["up", "down"] * 3
    assert [message.body for message in heard] == [(1,), (2,), (3,)]
    assert len(complaints.said) == 4, "each time that it is missing is another time"


@needs_daemon
def test_an_idle_connection_wakes_nobody(bus: Daemon) -> None:
    one, _, news = connection()
    with Loop(one) as loop:
        until(lambda: news)

        def sleeps() -> bool:
            before = loop.turns
            time.sleep(1.0)
            return loop.turns == before

        # At first something may be on its way yet.
        assert any(sleeps() for _ in range(10))
        assert loop.do(lambda: one.wait(time.monotonic())) == float("inf")


@needs_daemon
def test_calls_are_answered_failed_or_given_up(bus: Daemon) -> None:
    one, _, news = connection()
    got = dict[str, Message | None]()
    with Loop(one) as loop:
        until(lambda: news)

        def ask() -> None:
            one.call(bus_call("GetId"), lambda message: got.update(id=message))
            nobody = new_method_call(DBusAddress("/", "a.b", "a.b"), "C")
            one.call(nobody, lambda message: got.update(error=message))
            assert not got, "not before the call returns"

        loop.do(ask)
        until(lambda: len(got) == 2)
        assert got["id"] is not None and got["error"] is not None
        assert got["id"].header.message_type.name == "method_return"
        assert got["error"].header.message_type.name == "error"
        bus.signal(signal.SIGSTOP)
        loop.do(lambda: one.call(bus_call("GetId"), lambda message: got.update(late=message), seconds=0.1))
        until(lambda: "late" in got)
        assert got["late"] is None
        loop.do(lambda: one.call(bus_call("GetId"), lambda message: got.update(gone=message), seconds=60.0))
        bus.stop()
        until(lambda: "gone" in got)
        assert got["gone"] is None
        loop.do(lambda: one.call(bus_call("GetId"), lambda message: got.update(down=message)))
        until(lambda: "down" in got)
        assert got["down"] is None


@needs_daemon
def test_a_bus_that_takes_nothing_is_left_when_too_much_waits(bus: Daemon) -> None:
    one, complaints, news = connection()
    with Loop(one) as loop:
        until(lambda: news)
        bus.signal(signal.SIGSTOP)
        say = new_signal(DBusAddress("/", interface="a.b"), "C", "s", ("x" * 10_000,))
        loop.do(lambda: [one.send(say) for _ in range(3 * ROOM // 10_000)])
        until(lambda: "down" in news)
        assert complaints.said == ["the bus at SYSTEM cannot be used: the bus does not take what is sent"]
        bus.signal(signal.SIGCONT)
        until(lambda: news.count("up") == 2)


@needs_daemon
@needs_root
def test_only_the_owner_of_a_name_is_heard(bus: Daemon) -> None:
    one, _, news = connection()
    heard, owners = list[Any](), list[str]()
    one.match(MatchRule(type="signal", sender=NAME, interface=NAME), lambda message: heard.append(message.body))
    one.watch(NAME, owners.append)
    other, _, _ = connection()
    service = Service(other)
    with Loop(one) as listening:
        until(lambda: news and owners)
        assert owners == [""]
        with Loop(other) as owning:
            service.own(NAME)
            until(lambda: owners[-1])
            with Client("SYSTEM", NAME, PATH) as forger:
                for destination in (None, one.name):
                    said = new_signal(DBusAddress(PATH, destination, NAME), "Said", "s", ("forged",))
                    forger.connection.send(said)
                # When the bus answers this, it has passed on the others.
                forger.connection.send_and_get_reply(bus_call("GetId"), timeout=20)
            owning.do(lambda: service.emit(PATH, NAME, "Said", "s", ("true",)))
            until(lambda: heard)
            assert heard == [("true",)]
            assert listening.do(lambda: one.owner(NAME)) == owners[-1] == other.name
        until(lambda: owners[-1] == "")


@needs_daemon
def test_who_goes_is_seen_to_go_and_forgotten(bus: Daemon) -> None:
    one, _, news = connection()
    seen = list[str]()
    with Loop(one) as loop:
        until(lambda: news)
        with Client("SYSTEM", BUS, BUS_PATH) as client:
            loop.do(lambda: one.watch(client.name, seen.append))
            until(lambda: seen == [client.name])
        until(lambda: seen[1:] == [""])
        loop.do(lambda: one.watch(":1.99", seen.append))
        until(lambda: seen[2:] == [""])
        for name in (":1.99", client.name):
            loop.do(partial(one.forget, name))
        assert one.owner(client.name) == ""


@needs_daemon
def test_a_signal_that_is_garbage_is_passed_over(bus: Daemon) -> None:
    one, complaints, news = connection()
    heard = list[Any]()

    def take(message: Message) -> None:
        heard.append(message.body[0].upper())

    one.match(MatchRule(type="signal", interface="a.b"), take)
    with Loop(one), Client("SYSTEM", BUS, BUS_PATH) as client:
        until(lambda: news)
        for kinds, body in (("u", (5,)), (None, ()), ("s", ("text",))):
            client.connection.send(new_signal(DBusAddress("/", interface="a.b"), "C", kinds, body))
        until(lambda: heard)
    assert heard == ["TEXT"]
    assert len(complaints.said) == 1


@needs_daemon
@needs_root
def test_a_flood_of_signals_leaves_room_for_others(bus: Daemon) -> None:
    one, _, news = connection()
    heard = list[int]()
    one.match(MatchRule(type="signal", interface="a.b"), lambda message: heard.append(message.body[0]))
    one.serve(PATH, Interface(NAME, {"Ping": ("", "", lambda call: call.answer())}))
    Service(one).own(NAME)
    with Loop(one) as loop, Client("SYSTEM", NAME, PATH) as flood, Client("SYSTEM", NAME, PATH) as client:
        until(lambda: news)
        for number in range(10_000):
            flood.connection.send(new_signal(DBusAddress("/", interface="a.b"), "C", "u", (number,)))
        client.got("Ping")
        assert loop.long < 0.25
    assert 200 <= len(heard) <= 200 * 20


def test_a_descriptor_is_waited_for_only_while_there_is_one(tmp_path: Path) -> None:
    strange = Strange(tmp_path / "bus", silent)
    one, _, _ = connection(f"unix:path={tmp_path}/bus")
    assert one.wants() == [] and one.wait(0.0) == 0.0
    one.turn({}, 0.0)
    [(fd, events)] = one.wants()
    assert fd >= 0 and events == select.POLLIN
    assert one.send(bus_call("GetId")) == 0, "nothing is sent before the bus lets us in"
    one.close()
    assert one.wants() == []
    strange.close()


def test_what_it_costs_is_what_the_library_costs() -> None:
    program = """if True:
        import sys
        sys.path[:0] = sys.argv[1:]
        import jeepney
        import jeepney.auth
        before = set(sys.modules)
        import okoomer.bus.service
        print(*sorted(set(sys.modules) - before))
    """
    source = Path(module.__file__).parents[2]
    command = [sys.executable, "-I", "-S", "-c", program, str(source), third_party()]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    others = [name for name in run.stdout.split() if not name.startswith("okoomer")]
    assert set(others) <= {"__future__", "_socket", "select", "time", "_struct"}
