"""The courier with what it offers besides, as real processes on a bus of their own; and when it says it is there."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jeepney import DBusAddress, MatchRule, Message, Properties, new_method_call  # type: ignore[import-untyped]
from jeepney.bus_messages import message_bus  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]

from okoomer.courier import Services
from okoomer.courier.ready import PATIENCE, Ready
from okoomer.events import model
from okoomer.policy.model import Policy
from tests.unit import buses
from tests.unit.buses import Daemon
from tests.unit.couriers import Guarded, until
from tests.unit.doors import House
from tests.unit.test_courier_apart import Apart

BECOME = """
import sys
from okoomer import courier
services = courier.Services(metrics="unix:" + sys.argv[2] + "/metrics")
rest = courier.launch.REST
courier.become(courier.Options("", part=rest, door=sys.argv[1], services=services, runtime_dir=sys.argv[2]))
"""
LMM = "org.freedesktop.LowMemoryMonitor"
OKOOMER1 = DBusAddress("/org/okoomer/Okoomer1", "org.okoomer.Okoomer1", "org.okoomer.Okoomer1")
LEVEL = model.Level(model.MEDIUM, 1 << 30, 12.5, ("early",))
ASKED = model.Question(7, "ask", "hog", (42,), 1000, "", 60.0, ("end",), "term", 1, 1, False, 1, "large")
OWN = '<busconfig><policy context="default"><allow own="*"/><allow send_type="method_call"/></policy></busconfig>'

pytestmark = pytest.mark.skipif(not buses.DAEMON, reason="there is no dbus-daemon here")


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    own = tmp_path / "own.conf"
    own.write_text(OWN)
    daemon = Daemon(tmp_path, own)
    daemon.start()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.address)
    yield daemon
    daemon.stop()


class Client:
    """An application: the levels that it has heard."""

    def __init__(self) -> None:
        self.bus: DBusConnection = open_dbus_connection("SYSTEM", auth_timeout=60)
        self._rule = MatchRule(type="signal", interface=LMM)
        self.bus.send_and_get_reply(message_bus.AddMatch(self._rule), timeout=20)

    def owned(self, name: str) -> bool:
        return bool(self.bus.send_and_get_reply(message_bus.NameHasOwner(name), timeout=20).body[0])

    def level(self) -> int:
        with self.bus.filter(self._rule) as queue:
            heard: Message = self.bus.recv_until_filtered(queue, timeout=20)
        return int(heard.body[0])

    def call(self, member: str, *arguments: object) -> Message:
        kinds = {"Answer": "ust", "Pause": "u", "History": "u"}
        message = new_method_call(OKOOMER1, member, kinds[member], arguments)
        return self.bus.send_and_get_reply(message, timeout=20)

    def get(self, name: str) -> object:
        return self.bus.send_and_get_reply(Properties(OKOOMER1).get(name), timeout=20).body[0][1]


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    client = Client()
    yield client
    client.bus.close()


class Manager:
    """A service manager: what it was told."""

    def __init__(self, path: Path) -> None:
        self.said: list[str] = []
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(0.1)
        self._over = False
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._over:
            try:
                self.said += self._socket.recv(4096).decode().splitlines()
            except TimeoutError:
                continue

    def close(self) -> None:
        self._over = True
        self._thread.join()
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_it_owns_its_names_and_says_so_before_there_is_a_guard(
    tmp_path: Path, client: Client, manager: Manager
) -> None:
    apart = started(tmp_path, NOTIFY_SOCKET=manager.path)
    try:
        until(lambda: "READY=1" in manager.said, 30)
        assert client.owned(LMM) and client.owned("org.okoomer.Okoomer1")
        assert (tmp_path / "pressure").is_socket() and (tmp_path / "metrics").is_socket()
        with socket.socket(socket.AF_UNIX) as watcher, House(tmp_path) as house:
            watcher.settimeout(20)
            watcher.connect(str(tmp_path / "pressure"))
            house.live()
            until(lambda: house.entered)
            house.tell(LEVEL, ASKED)
            assert client.level() == model.MEDIUM
            assert watcher.recv(10)
            until(lambda: list(client.get("Questions")) == [7])  # type: ignore[call-overload]
            house.reply = ("denied", "they are not all yours")
            refused = client.call("Answer", 7, "end", 0)
            assert refused.header.fields[4] == "org.okoomer.Okoomer1.Error.NotYours"
            assert ("answer", f"7 {os.getuid()} end 0") in [request[:2] for request in house.requests]
        until(lambda: list(client.get("Questions")) == [])  # type: ignore[call-overload]
        assert client.owned(LMM), "the guard is gone, the names are not"
    finally:
        apart.close()
    until(lambda: "STOPPING=1" in manager.said)
    assert "Traceback" not in apart.words


def started(tmp_path: Path, **environment: str) -> Apart:
    return Apart(tmp_path, sys.executable, "-c", BECOME, str(tmp_path / "guard.sock"), str(tmp_path), **environment)


def test_a_bus_that_is_started_anew_has_the_names_again(tmp_path: Path, daemon: Daemon, client: Client) -> None:
    apart = started(tmp_path)
    try:
        until(lambda: client.owned(LMM), 30)
        client.bus.close()
        daemon.stop()
        daemon.start()
        client.__init__()  # type: ignore[misc]
        until(lambda: client.owned(LMM) and client.owned("org.okoomer.Okoomer1"), 30)
        with House(tmp_path) as house:
            house.live()
            until(lambda: house.entered)
            house.tell(LEVEL)
            assert client.level() == model.MEDIUM
    finally:
        apart.close()


def test_the_guards_own_child_does_all_of_it_too(tmp_path: Path, client: Client) -> None:
    asked: list[tuple[str, str, int, bool]] = []

    def requests(verb: str, rest: str, user: int, believed: bool) -> tuple[str, str]:
        asked.append((verb, rest, user, believed))
        return "ok", ""

    with Guarded(tmp_path, services=Services(), runtime_dir=str(tmp_path)) as guarded:
        guarded.link.requests = requests
        until(lambda: client.owned(LMM), 30)
        guarded.tell(LEVEL, ASKED)
        assert client.level() == model.MEDIUM
        over = threading.Event()

        def serve() -> None:
            while not over.wait(0.01):
                guarded.link.answers()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            assert client.call("Answer", 7, "end", 0).body == ()
        finally:
            over.set()
            thread.join()
        assert ("answer", f"7 {os.getuid()} end 0", os.geteuid(), True) in asked


def test_without_services_nothing_is_offered(tmp_path: Path, client: Client) -> None:
    with Guarded(tmp_path) as guarded:
        guarded.tell(LEVEL)
        until(guarded.heeded)
        assert not client.owned(LMM) and not (tmp_path / "pressure").exists()


def test_what_it_holds_stays_within_its_budget(tmp_path: Path, client: Client) -> None:
    become = BECOME.replace('metrics="unix:" + sys.argv[2] + "/metrics"', "")
    apart = Apart(tmp_path, sys.executable, "-c", become, str(tmp_path / "guard.sock"), str(tmp_path))
    try:
        with House(tmp_path) as house:
            house.door.configure(Policy("p", ()))
            house.live()
            until(lambda: client.owned(LMM) and bool(house.entered), 30)
            for _ in range(300):
                house.tell(LEVEL, ASKED, model.Closed(7, "late"))
            client.get("Questions")
            status = Path(f"/proc/{apart.process.pid}/status").read_text()
    finally:
        apart.close()
    anonymous = int(status.split("RssAnon:")[1].split()[0]) * 1024
    assert anonymous < 8 << 20, f"{anonymous / 2**20:.1f} MiB"


class FakeBus:
    """Answers when the test lets it."""

    def __init__(self) -> None:
        self.on_up: list[Callable[[], None]] = []
        self.calls: list[Callable[[object], None]] = []

    def call(self, message: Message, answered: Callable[[object], None]) -> None:
        self.calls.append(answered)


def test_a_bus_that_does_not_answer_keeps_nobody_from_logging_in() -> None:
    bus, said = FakeBus(), []
    ready = Ready(bus, 100.0, said.append)  # type: ignore[arg-type]
    assert ready.wait(101.0) == PATIENCE - 1.0
    ready.turn({}, 101.0)
    bus.on_up[0]()
    bus.calls[0](None)  # it has gone again
    ready.turn({}, 104.0)
    assert not said
    ready.turn({}, 100.0 + PATIENCE)
    ready.turn({}, 200.0)
    bus.on_up[0]()
    assert said == ["READY=1\nSTATUS=serves"] and ready.wait(200.0) == float("inf") and len(bus.calls) == 1


def test_without_a_bus_it_is_there_at_once() -> None:
    said: list[str] = []
    ready = Ready(None, 100.0, said.append)
    ready.turn({}, 100.0)
    ready.close()
    assert said == ["READY=1\nSTATUS=serves", "STOPPING=1"]
