"""The courier in systemd-oomd's place: what managers say reaches the guard, and others learn of kills."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jeepney import DBusAddress, MatchRule, Message, MessageType, new_method_call  # type: ignore[import-untyped]
from jeepney.bus_messages import message_bus  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]

from okoomer.bus.connection import LONGEST
from okoomer.courier import Place
from okoomer.courier.oom1 import INTERFACE, NAME, PATH
from okoomer.courier.reports import EACH, METHOD
from okoomer.events import model
from okoomer.policy.model import Policy
from tests.unit.buses import DAEMON, Daemon
from tests.unit.couriers import VICTIM, Guarded, until
from tests.unit.test_varlink import Listener, heard, reply, said

needs_daemon = pytest.mark.skipif(DAEMON is None, reason="there is no dbus-daemon here")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else, or own the name")
SHIPPED = Path(__file__).parents[2] / "dbus/org.freedesktop.oom1.okoomer.conf"
PLACE = Place(("90.00%", "60.00%", "30s"), (("swap", "memory-used"), ("oomrule stall", "rule stall")))
NOBODY = 65534


class Packets:
    """In the place of what the guard keeps: the packets as they come."""

    def __init__(self) -> None:
        self.got: list[str] = []

    def take(self, packet: bytes) -> None:
        self.got.append(packet.decode())


def listening(guarded: Guarded) -> Packets:
    packets = Packets()
    guarded.link.managed = packets  # type: ignore[assignment]
    return packets


def wait_for(guarded: Guarded, packets: Packets, *expected: str) -> None:
    """Waits until the guard has been told just that."""

    def told() -> bool:
        guarded.link.answers()
        return len(packets.got) >= len(expected)

    until(told)
    assert sorted(packets.got) == sorted(expected)
    packets.got.clear()


def killed(rule: str, cgroup: str, sent: str = "SIGKILL") -> model.Signalled:
    return model.Signalled(rule, sent, cgroup, (1, 2), (), cgroup)


def test_what_systemd_says_reaches_the_guard_while_it_does_other_things(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "manager")
    with Guarded(tmp_path, hierarchy=str(tmp_path), managers=(str(tmp_path / "manager"),)) as guarded:
        packets = listening(guarded)
        manager = listener.accept()
        heard(manager)
        reply(manager, "/a.slice")
        wait_for(guarded, packets, "managed ManagedOOMSwap - - /a.slice")
        gone = {"mode": "auto", "path": "/a.slice", "property": "ManagedOOMSwap"}
        said(manager, parameters={"cgroups": [gone]}, continues=True)
        wait_for(guarded, packets, "unmanaged ManagedOOMSwap /a.slice")
        guarded.tell(model.Run(5, "low", ("/bin/true",), 5.0, 42, "hog", 7, "/a.slice", ""))
        assert guarded.answered(1) == [(5, 0)]
    listener.close()


def test_more_settings_than_the_line_takes_at_once_all_reach_the_guard(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "manager")
    paths = [f"/{number}.slice" for number in range(2000)]
    with Guarded(tmp_path, hierarchy=str(tmp_path), managers=(str(tmp_path / "manager"),)) as guarded:
        packets = listening(guarded)
        reply(listener.accept(), *paths)
        time.sleep(0.3)
        wait_for(guarded, packets, *(f"managed ManagedOOMSwap - - {path}" for path in paths))
    listener.close()


# --- users' managers --------------------------------------------------------------------------------------------


@pytest.fixture
def reports(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that systemd would hand over, where everybody finds it."""
    one = socket.socket(socket.AF_UNIX)
    one.bind(f"\0okoomer-test-{os.getpid()}-{time.monotonic_ns()}")
    one.listen(64)
    yield one
    one.close()


REPORT = """
import json, os, socket, sys
os.setgroups([]); os.setgid(NOBODY); os.setuid(NOBODY)
line = socket.socket(socket.AF_UNIX)
line.connect("\\0" + sys.argv[1])
for path in sys.argv[2:]:
    cgroups = [{"mode": "kill", "path": one, "property": "ManagedOOMSwap"} for one in path.split(",")]
    message = {"method": "METHOD", "parameters": {"cgroups": cgroups}}
    line.sendall(json.dumps(message).encode() + b"\\0")
    assert line.recv(1000) == b'{"parameters": {}}\\0'
"""


def report(address: socket.socket, *paths: str) -> None:
    name = address.getsockname()[1:].decode()
    program = REPORT.replace("METHOD", METHOD).replace("NOBODY", str(NOBODY))
    subprocess.run([sys.executable, "-IS", "-c", program, name, *paths], check=True, timeout=60)


@needs_root
def test_users_are_believed_about_their_own_cgroups_only(tmp_path: Path, reports: socket.socket) -> None:
    for name in ("mine", "mine/app", "theirs"):
        (tmp_path / name).mkdir()
        if name != "theirs":
            os.chown(tmp_path / name, NOBODY, NOBODY)
    with Guarded(tmp_path, reports.fileno(), hierarchy=str(tmp_path), managers=()) as guarded:
        packets = listening(guarded)
        report(reports, "/mine,/theirs,/gone,/", "/mine/app")
        wait_for(guarded, packets, "managed ManagedOOMSwap - - /mine", "managed ManagedOOMSwap - - /mine/app")
        report(reports, "/mine/app")  # a manager that was started anew says all it has
        wait_for(guarded, packets, "unmanaged ManagedOOMSwap /mine")
        (tmp_path / "mine/app").rmdir()
        report(reports, "/mine")
        wait_for(guarded, packets, "managed ManagedOOMSwap - - /mine", "unmanaged ManagedOOMSwap /mine/app")


def test_strangers_cost_their_own_line_only(tmp_path: Path, reports: socket.socket) -> None:
    (tmp_path / "mine").mkdir()
    address = reports.getsockname()
    with Guarded(tmp_path, reports.fileno(), hierarchy=str(tmp_path), managers=()) as guarded:
        packets = listening(guarded)
        for data in (b"\0", b"[" * 10_000 + b"\0", b"\xff" * 300_000, b'{"method": 5}\0' * 3, b"GET / HTTP/1.1\r\n"):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(address)
                stranger.settimeout(20)
                try:
                    stranger.sendall(data)
                except OSError:
                    pass  # it has ended the line already
        with socket.socket(socket.AF_UNIX) as manager:
            manager.connect(address)
            manager.settimeout(20)
            said(manager, method="org.varlink.service.GetInfo")
            assert heard(manager)["error"] == "org.varlink.service.MethodNotFound"
            cgroups = [{"mode": "kill", "path": "/mine", "property": "ManagedOOMMemoryPressure", "limit": 858993459}]
            said(manager, method=METHOD, oneway=True, parameters={"cgroups": cgroups})
            wait_for(guarded, packets, "managed ManagedOOMMemoryPressure 0.2 - /mine")


def test_one_user_cannot_keep_all_lines(tmp_path: Path, reports: socket.socket) -> None:
    (tmp_path / "mine").mkdir()
    lines = []
    with Guarded(tmp_path, reports.fileno(), hierarchy=str(tmp_path), managers=()) as guarded:
        packets = listening(guarded)
        for _ in range(EACH + 40):
            lines.append(socket.socket(socket.AF_UNIX))
            lines[-1].connect(reports.getsockname())
        cgroups = [{"mode": "kill", "path": "/mine", "property": "ManagedOOMSwap"}]
        said(lines[-1], method=METHOD, parameters={"cgroups": cgroups})
        wait_for(guarded, packets, "managed ManagedOOMSwap - - /mine")
        lines[0].settimeout(20)
        assert lines[0].recv(10) == b"", "the oldest line has been given up"
    for line in lines:
        line.close()


# --- hooks before a kill ----------------------------------------------------------------------------------------


def test_a_step_prekill_is_answered_when_the_hooks_have(tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    hook = Listener(hooks / "one")
    with Guarded(tmp_path, prekill=str(hooks)) as guarded:
        guarded.tell(model.Run(5, "pressure", ("prekill",), 20.0, 42, "hog", 7, "/a.slice/b", ""))
        connection = hook.accept()
        assert heard(connection)["parameters"] == {"cgroup": "/a.slice/b"}
        assert guarded.link.answers() == []
        said(connection, parameters={})
        assert guarded.answered(1) == [(5, 0)]
        guarded.tell(model.Run(6, "pressure", ("prekill",), 0.1, 42, "hog", 7, "/a.slice/b", ""))
        assert guarded.answered(2) == [(5, 0), (6, 1)]
    hook.close()


# --- org.freedesktop.oom1 ---------------------------------------------------------------------------------------


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, SHIPPED)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.address)
    daemon.start()
    yield daemon
    daemon.stop()


def joined() -> DBusConnection:
    """A connection to the bus, when the name is there."""
    connection = open_dbus_connection("SYSTEM", enable_fds=True, auth_timeout=60)
    until(lambda: connection.send_and_get_reply(message_bus.NameHasOwner(NAME), timeout=20).body[0])
    return connection


def call(connection: DBusConnection, member: str, interface: str = INTERFACE, path: str = PATH) -> Message:
    message = new_method_call(DBusAddress(path, NAME, interface), member)
    return connection.send_and_get_reply(message, timeout=20)


def dumped(connection: DBusConnection) -> str:
    with call(connection, "DumpByFileDescriptor").body[0].to_file("r") as file:
        return str(file.read())


def signals(connection: DBusConnection, count: int) -> list[tuple[str, str]]:
    found: list[Any] = []
    while len(found) < count:
        message = connection.receive(timeout=20)
        if message.header.message_type is MessageType.signal and message.header.fields[3] == "Killed":
            found.append(tuple(message.body))
    return found


@needs_daemon
@needs_root
def test_oomctl_is_answered_with_what_is_watched(tmp_path: Path, bus: Daemon) -> None:
    unit = tmp_path / "a.slice"
    unit.mkdir()
    for name, text in {
        "memory.swap.current": "2048\n", "memory.current": "1073741824\n", "memory.min": "0\n", "memory.low": "max\n",
        "memory.pressure": "some avg10=1.00 avg60=2.00 avg300=3.00 total=9\n"
        "full avg10=0.50 avg60=0.25 avg300=0.10 total=1500000\n",
        "memory.stat": "anon 5\npgscan 77\n",
    }.items():  # fmt: skip
        (unit / name).write_text(text)
    listener = Listener(tmp_path / "manager")
    options: dict[str, Any] = {"hierarchy": str(tmp_path), "managers": (str(tmp_path / "manager"),), "place": PLACE}
    with Guarded(tmp_path, **options) as guarded:
        packets = listening(guarded)
        manager = listener.accept()
        pressure = {"mode": "kill", "path": "/a.slice", "property": "ManagedOOMMemoryPressure", "limit": 858993459}
        rules = {"mode": "kill", "path": "/a.slice", "property": "OOMRules", "rules": ["stall"]}
        swap = {"mode": "kill", "path": "/a.slice", "property": "ManagedOOMSwap"}
        said(manager, parameters={"cgroups": [pressure, swap, rules]}, continues=True)
        until(lambda: guarded.link.answers() or len(packets.got) == 3)
        guarded.tell(killed("swap:/a.slice", "/a.slice/b\nc"))
        with joined() as client:
            until(lambda: "Last Kill" in dumped(client))
            text = dumped(client)
            with call(client, "DumpByFileDescriptor").body[0].to_file("r") as file, pytest.raises(OSError):
                os.write(file.fileno(), b"x")
    for line in (
        "Dry Run: no\n",
        "Swap Used Limit: 90.00%\n",
        "Default Memory Pressure Limit: 60.00%\n",
        "Default Memory Pressure Duration: 30s\n",
        "Swap Monitored CGroups:\n\tPath: /a.slice\n\t\tSwap Usage: 2.0K\n",
        "Memory Pressure Monitored CGroups:\n\tPath: /a.slice\n\t\tMemory Pressure Limit: 20.00%\n"
        "\t\tMemory Pressure Duration: 30s\n\t\tPressure: Avg10: 0.50 Avg60: 0.25 Avg300: 0.10 Total: 1.500s\n"
        "\t\tCurrent Memory Usage: 1.0G\n\t\tMemory Min: 0B\n\t\tMemory Low: max\n\t\tPgscan: 77\n",
        "OOM Rules Monitored CGroups:\n\tPath: /a.slice\n\t\tRule: stall\n",
        "Last Kill: /a.slice/b\\nc at ",
    ):
        assert line in text
    listener.close()


@needs_daemon
@needs_root
def test_each_cgroup_that_was_killed_whole_is_told_with_its_reason(tmp_path: Path, bus: Daemon) -> None:
    with Guarded(tmp_path, hierarchy=str(tmp_path), managers=(), place=PLACE) as guarded, joined() as client:
        rule = MatchRule(type="signal", interface=INTERFACE, path=PATH)
        client.send_and_get_reply(message_bus.AddMatch(rule), timeout=20)
        part = model.Signalled("swap:/a", "SIGKILL", "hog", (1,), ())
        guarded.tell(VICTIM, part, killed("swap:/a", "/a/b", "SIGTERM"), killed("swap:/a", "/a/b"))
        guarded.tell(killed("oomrule stall:/c", "/c d\n"), killed("other", "/e"))
        assert signals(client, 3) == [("/a/b", "memory-used"), ("/c d\n", "rule stall"), ("/e", "other")]


@needs_daemon
@needs_root
def test_after_a_reload_the_new_limits_and_reasons_are_told(tmp_path: Path, bus: Daemon) -> None:
    with Guarded(tmp_path, hierarchy=str(tmp_path), managers=(), place=PLACE) as guarded, joined() as client:
        rule = MatchRule(type="signal", interface=INTERFACE, path=PATH)
        client.send_and_get_reply(message_bus.AddMatch(rule), timeout=20)
        assert "Swap Used Limit: 90.00%" in dumped(client)
        place = Place(("95.50%", "70.00%", "2s"), (("oomrule new", "rule new"),), True)
        guarded.link.configure(Policy("new", ()), tuple(place))
        guarded.tell(killed("oomrule new:/c", "/c"), killed("swap:/a", "/a"))
        assert signals(client, 2) == [("/c", "rule new"), ("/a", "swap:/a")]
        until(lambda: "Dry Run: yes\nSwap Used Limit: 95.50%" in dumped(client))


@needs_daemon
@needs_root
def test_whatever_is_asked_is_answered(tmp_path: Path, bus: Daemon) -> None:
    with Guarded(tmp_path, hierarchy=str(tmp_path), managers=(), place=PLACE), joined() as client:
        assert call(client, "Ping", "org.freedesktop.DBus.Peer").header.message_type is MessageType.method_return
        properties = DBusAddress(PATH, NAME, "org.freedesktop.DBus.Properties")
        every = new_method_call(properties, "GetAll", "s", (INTERFACE,))
        assert client.send_and_get_reply(every, timeout=20).body == ({},)
        nodes = {PATH: "DumpByFileDescriptor", "/": '"org"', "/org": '"freedesktop"', "/x": "<node>\n</node>"}
        for path, inside in nodes.items():
            assert inside in call(client, "Introspect", "org.freedesktop.DBus.Introspectable", path).body[0]
        for member, path, unknown in (("Reboot", PATH, "Method"), ("DumpByFileDescriptor", "/", "Interface")):
            answer = call(client, member, path=path)
            assert answer.header.message_type is MessageType.error
            assert answer.header.fields[4] == f"org.freedesktop.DBus.Error.Unknown{unknown}"
        # What is far too long is passed over, and the next is heard.
        long = new_method_call(DBusAddress(PATH, NAME, INTERFACE), "DumpByFileDescriptor", "s", ("x" * 2 * LONGEST,))
        client.send(long)
        assert "Dry Run: no" in dumped(client)


@needs_daemon
@needs_root
def test_a_bus_that_was_started_anew_has_the_name_again(tmp_path: Path, bus: Daemon) -> None:
    with Guarded(tmp_path, hierarchy=str(tmp_path), managers=(), place=PLACE) as guarded:
        joined().close()
        bus.stop()
        bus.start()
        guarded.tell(killed("swap:/a", "/a/b"))
        with joined() as client:
            until(lambda: "Last Kill: /a/b" in dumped(client))


@needs_daemon
@needs_root
def test_without_leave_to_own_the_name_all_else_works_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.address)
    daemon.start()
    try:
        with Guarded(tmp_path, hierarchy=str(tmp_path), managers=(), place=PLACE) as guarded:
            said_so = ""

            def refused() -> bool:
                nonlocal said_so
                said_so += capfd.readouterr().err
                return "cannot be offered" in said_so

            until(refused)
            guarded.tell(killed("swap:/a", "/a/b"), model.Run(5, "low", ("/bin/true",), 5.0, 42, "hog", 7, "/", ""))
            assert guarded.answered(1) == [(5, 0)]
    finally:
        daemon.stop()
