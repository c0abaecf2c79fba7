"""Objects and names on a real bus of our own: calls, properties, introspection, other owners."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from okoomer.bus.connection import Connection
from okoomer.bus.introspection import arguments, signature
from okoomer.bus.service import Call, Interface, Service
from tests.unit.buses import DAEMON, Daemon
from tests.unit.couriers import until
from tests.unit.loops import NOBODY, POLICIES, Client, Complaints, Loop, public, sent_by

pytestmark = pytest.mark.skipif(DAEMON is None, reason="there is no dbus-daemon (Debian: dbus-daemon)")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else, or own the name")
NAME, PATH = "org.okoomer.Okoomer1", "/org/okoomer/Okoomer1"
PROPERTIES, INTROSPECTABLE, PEER = (f"org.freedesktop.DBus.{name}" for name in ("Properties", "Introspectable", "Peer"))
ERROR = "org.freedesktop.DBus.Error."


@pytest.fixture
def bus() -> Iterator[Daemon]:
    with public(*POLICIES) as daemon:
        yield daemon


class Owner:
    """Somebody who owns the name and has one object."""

    loop: Loop

    def __init__(self) -> None:
        self.complaints = Complaints()
        self.connection = Connection("SYSTEM", self.complaints)
        self.service = Service(self.connection)
        self.held: list[Call] = []
        self.news: list[str] = []
        self.ready: list[Callable[[], None]] = []
        self.interface = Interface(
            NAME,
            {
                "Echo": ("s text, u number", "s text, i uid", lambda call: call.answer(call.body[0], call.uid)),
                "Later": ("", "s text", self.held.append),
                "Wrong": ("", "u number", lambda call: call.answer("no number")),
                "Broken": ("", "", lambda call: call.body[7]),
            },
            {"Version": ("s", lambda: "1.2"), "Level": ("y", lambda: 50), "Slow": ("t", lambda: 1 << 40)},
            {"Said": "s text, a{sv} details", "Plain": ""},
            changing=("Level",),
            constant=("Version",),
            fresh=lambda then: then() if not self.ready else self.ready.append(then),
        )
        self.service.serve(PATH, self.interface)
        self.service.own(NAME, lambda: self.news.append("lost"), lambda: self.news.append("got"))


@pytest.fixture
def owner(bus: Daemon) -> Iterator[Owner]:
    one = Owner()
    with Loop(one.connection) as loop:
        until(lambda: one.news)
        one.loop = loop
        yield one


@pytest.fixture
def client(owner: Owner) -> Iterator[Client]:
    with Client("SYSTEM", NAME, PATH) as one:
        yield one


@pytest.mark.parametrize(
    ("text", "types", "names"),
    [("", "", []), ("s", "s", [""]), ("u question, a{sv} details", "ua{sv}", ["question", "details"])],
)
def test_a_table_tells_types_and_names(text: str, types: str, names: list[str]) -> None:
    assert signature(text) == types
    assert [name for _, name in arguments(text)] == names


@needs_root
def test_a_method_is_answered_and_knows_who_calls(client: Client) -> None:
    assert client.got("Echo", "su", "hello", 5) == ("hello", 0)


@needs_root
def test_another_users_call_is_told_from_roots(bus: Daemon, owner: Owner) -> None:
    said = sent_by(NOBODY, bus, f"--dest={NAME}", PATH, f"{NAME}.Echo", "string:me", "uint32:1")
    assert f"int32 {NOBODY}" in said


@needs_root
def test_an_answer_may_come_later_and_only_once(owner: Owner, client: Client) -> None:
    first, second = Client("SYSTEM", NAME, PATH), Client("SYSTEM", NAME, PATH)
    with first, second:
        for one in (first, second):
            one.send("Later")
        until(lambda: len(owner.held) == 2)
        assert client.got("Echo", "su", "meanwhile", 0)[0] == "meanwhile"

        def answer() -> None:
            for number, call in enumerate(owner.held):
                call.answer(f"late {number}")
                call.answer("again")

        owner.loop.do(answer)
        assert sorted(one.answer()[0] for one in (first, second)) == ["late 0", "late 1"]
        for one in (first, second):
            assert one.got("Echo", "su", "next", 0)[0] == "next"


WRONG = [
    ("Nothing", "", (), {}, "UnknownMethod", "there is no method Nothing"),
    ("Echo", "s", ("x",), {}, "InvalidArgs", "Echo takes (su)"),
    ("Echo", "su", ("x", 1), {"path": "/org"}, "UnknownInterface", "at /org"),
    ("Wrong", "", (), {}, "Failed", "the answer cannot be told"),
    ("Broken", "", (), {}, "Failed", "out of range"),
    ("Get", "ss", (NAME, "None"), {"interface": PROPERTIES}, "UnknownProperty", "there is no property None"),
    ("Get", "ss", ("a.b", "Level"), {"interface": PROPERTIES}, "UnknownInterface", "there is no a.b"),
    ("GetAll", "s", ("a.b",), {"interface": PROPERTIES}, "UnknownInterface", "there is no a.b"),
    ("Set", "ssv", (NAME, "Level", ("y", 1)), {"interface": PROPERTIES}, "PropertyReadOnly", "can only be read"),
    ("Get", "s", (NAME,), {"interface": PROPERTIES}, "InvalidArgs", "Get takes (ss)"),
]


@needs_root
@pytest.mark.parametrize(("member", "kinds", "body", "other", "error", "text"), WRONG)
def test_whoever_calls_wrongly_is_told_why(
    client: Client, member: str, kinds: str, body: tuple[Any, ...], other: dict[str, str], error: str, text: str
) -> None:
    name, said = client.error(member, kinds, *body, **other)
    assert name == ERROR + error
    assert text in said
    assert client.got("Echo", "su", "still there", 1)[0] == "still there"


@needs_root
def test_properties_are_read_one_by_one_and_all_together(owner: Owner, client: Client) -> None:
    assert client.property("Level") == 50
    found = {"Version": ("s", "1.2"), "Level": ("y", 50), "Slow": ("t", 1 << 40)}
    assert client.got("GetAll", "s", NAME, interface=PROPERTIES) == found
    assert client.got("GetAll", "s", "", interface=PROPERTIES) == found


@needs_root
def test_a_property_that_has_to_be_asked_for_first_is_told_when_it_is_there(owner: Owner, client: Client) -> None:
    owner.ready.append(lambda: None)
    with Client("SYSTEM", NAME, PATH, PROPERTIES) as slow:
        slow.send("Get", "ss", NAME, "Slow")
        until(lambda: len(owner.ready) == 2)
        assert client.property("Version") == "1.2", "what never changes is told at once"
        owner.loop.do(owner.ready[1])
        assert slow.answer() == (("t", 1 << 40),)


@needs_root
def test_what_is_introspected_is_what_is_dispatched(client: Client) -> None:
    nodes = {"/": "org", "/org": "okoomer", "/org/okoomer": "Okoomer1", "/x": None}
    for path, below in nodes.items():
        root = ElementTree.fromstring(client.got("Introspect", interface=INTROSPECTABLE, path=path))
        assert [node.get("name") for node in root.findall("node")] == ([below] if below else [])
    root = ElementTree.fromstring(client.got("Introspect", interface=INTROSPECTABLE))
    assert [one.get("name") for one in root.findall("interface")] == [INTROSPECTABLE, PEER, PROPERTIES, NAME]
    ours = root.findall("interface")[-1]
    assert [(one.tag, one.get("name")) for one in ours] == [
        ("method", "Echo"), ("method", "Later"), ("method", "Wrong"), ("method", "Broken"), ("signal", "Said"),
        ("signal", "Plain"), ("property", "Version"), ("property", "Level"), ("property", "Slow"),
    ]  # fmt: skip
    args = [(one.get("type"), one.get("name"), one.get("direction")) for one in ours[0]]
    assert args == [("s", "text", "in"), ("u", "number", "in"), ("s", "text", "out"), ("i", "uid", "out")]
    assert [[one.get("value") for one in each] for each in ours.findall("property")] == [["const"], [], ["false"]]


@needs_root
def test_signals_and_changes_reach_who_listens(owner: Owner, client: Client) -> None:
    client.hears()
    client.hears(interface=PROPERTIES, path=PATH)
    details = {"who": ("s", "hog"), "pids": ("au", [1, 2])}

    def say() -> None:
        owner.service.emit(PATH, NAME, "Said", "sa{sv}", ("hello", details))
        owner.service.emit(PATH, NAME, "Plain")
        owner.service.changed(PATH, owner.interface, "Level")

    owner.loop.do(say)
    assert client.signals(3) == [
        ("Said", ("hello", details)), ("Plain", ()), ("PropertiesChanged", (NAME, {"Level": ("y", 50)}, [])),
    ]  # fmt: skip


@needs_root
def test_peer_is_answered_everywhere(client: Client) -> None:
    for path in (PATH, "/", "/nowhere"):
        assert client.got("Ping", interface=PEER, path=path) == ()
        assert isinstance(client.got("GetMachineId", interface=PEER, path=path), str)


# --- the name -------------------------------------------------------------------------------------------------


@needs_root
def test_another_owner_is_waited_for_and_spoken_of_once(bus: Daemon) -> None:
    first, second = Owner(), Owner()
    one, other = Loop(first.connection), Loop(second.connection)
    with other:
        with one:
            until(lambda: first.news or second.news)
            until(lambda: first.complaints.said or second.complaints.said)
            owner, waiting = (first, second) if first.news else (second, first)
            assert (owner.news, waiting.news) == (["got"], [])
            assert waiting.complaints.said == [f"{NAME} is somebody else's; it is waited for"]
            assert not owner.complaints.said
        until(lambda: second.news == ["got"])
        with Client("SYSTEM", NAME, PATH) as client:
            assert client.got("Echo", "su", "mine", 1)[0] == "mine"
        assert other.turns < 40


@needs_root
def test_a_bus_that_does_not_let_us_own_the_name_is_spoken_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.address)
    daemon.start()
    try:
        one = Owner()
        with Loop(one.connection):
            until(lambda: one.complaints.said)
        assert len(one.complaints.said) == 1
        assert one.complaints.said[0].startswith(f"{NAME} cannot be offered: ")
        assert not one.news
    finally:
        daemon.stop()


# --- those who call too often ---------------------------------------------------------------------------------

FLOOD = """
import sys
from jeepney import DBusAddress, MessageFlag, new_method_call
from jeepney.io.blocking import open_dbus_connection
connection = open_dbus_connection("SYSTEM", auth_timeout=60)
message = new_method_call(DBusAddress(sys.argv[2], sys.argv[1], sys.argv[1]), "Echo", "su", ("x", 1))
if len(sys.argv) > 3:
    message.header.flags = MessageFlag.no_reply_expected
raw = message.serialise(serial=5) * 100
while True:
    connection.sock.sendall(raw)
"""


@needs_root
@pytest.mark.parametrize("more", [(), ("silent",)], ids=["answers wanted", "none wanted"])
def test_a_strangers_flood_keeps_nobody_else_waiting(bus: Daemon, owner: Owner, more: tuple[str, ...]) -> None:
    # A stranger who also takes the processors from the bus would try these, and not us.
    flood = subprocess.Popen(["nice", "-n", "15", sys.executable, "-c", FLOOD, NAME, PATH, *more])
    try:
        time.sleep(1.0)
        took = []
        with Client("SYSTEM", NAME, PATH) as client:
            for number in range(10):
                began = time.monotonic()
                assert client.got("Echo", "su", "x", number)[0] == "x"
                took.append(time.monotonic() - began)
        assert flood.poll() is None, "it has gone on all the time"
        # Of ten, a busy machine holds up some.
        assert sorted(took)[5] < 5.0, took
        assert owner.loop.long < 0.25
    finally:
        flood.kill()
        flood.wait()
