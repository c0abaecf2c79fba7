"""org.okoomer.Okoomer1 on a real bus, with a guard of the test's: what is told, what is known, and who may answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from okoomer import __version__
from okoomer.bus.connection import Connection
from okoomer.bus.service import Service
from okoomer.courier import okoomer1
from okoomer.courier.history import History
from okoomer.courier.okoomer1 import AGENTS, AGENTS_OF_ONE, NAME, PATH, Okoomer1, start_time
from okoomer.courier.parse import fields_of
from okoomer.events import model
from okoomer.events.text import line, to_json
from okoomer.record import Record
from tests.unit.buses import DAEMON, Daemon
from tests.unit.couriers import KILLED, VICTIM, until
from tests.unit.loops import NOBODY, POLICIES, Client, Complaints, Loop, public, sent_by

needs_bus = pytest.mark.skipif(DAEMON is None or os.geteuid() != 0, reason="needs dbus-daemon, and root owns the name")
PROPERTIES = "org.freedesktop.DBus.Properties"
DOCS = Path(__file__).parents[2] / "docs/dbus.md"
ASKED = model.Question(
    7, "soft", "make", (42, 43), 1000, "/user.slice/make.scope", 20.0, ("resume", "pause", "end", "limit"), "term",
    1 << 30, 1 << 28, False, 1 << 26, "it is the largest",
)  # fmt: skip
STATE: dict[str, Any] = {"available": 4096, "left": None, "level": 50, "questions": [], "paused": []}


class Guard:
    """In the guard's place: takes note of what is asked, and answers as the test says."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status, self.text = "ok", ""
        self.state = dict(STATE)
        self.held: list[Callable[[], None]] | None = None

    def ask(self, request: str, answered: Callable[[str, str], None]) -> None:
        self.asked.append(request)
        reply = (self.status, to_json(self.state) if request.startswith("state ") else self.text)
        if self.held is None:
            answered(*reply)
        else:
            self.held.append(lambda: answered(*reply))


class Offered:
    """The part on a loop of its own."""

    def __init__(self, stat: str = "/proc/%d/stat") -> None:
        self.guard = Guard()
        self.connection = Connection("SYSTEM", Complaints())
        self.part = Okoomer1(Service(self.connection), self.guard.ask, History(), stat)
        self.loop = Loop(self.connection, self.part)
        self.sequence = 0

    def hear(self, *events: Record, at: float = 1000.0) -> None:
        for event in events:
            self.sequence += 1
            fields = fields_of(line(event, at, self.sequence))
            assert fields
            self.loop.do(lambda: self.part.hear(fields, at, time.monotonic()))  # noqa: B023


@pytest.fixture
def bus() -> Iterator[Daemon]:
    with public(*POLICIES) as daemon:
        yield daemon


@pytest.fixture
def offered(bus: Daemon) -> Iterator[Offered]:
    one = Offered()
    with one.loop, Client("SYSTEM", NAME, PATH) as client:
        client.waits()
        assert client.property("Version") == __version__
        yield one


@pytest.fixture
def client(offered: Offered) -> Iterator[Client]:
    with Client("SYSTEM", NAME, PATH) as one:
        yield one


# --- what is told ----------------------------------------------------------------------------------------------

WARNED = model.Warned("soon", "memory is short", "firefox", 42, 1000, "/a", 1 << 28, 40.0)
TAKEN_OVER = model.TakenOver("urgent", "low", "stall", (("psi.memory.full", 0.5),), "hog", (42,), 1 << 30, 7)
TOLD: dict[str, tuple[tuple[Record, ...], list[str]]] = {
    "a warning": ((WARNED,), ["Warned"]),
    "an act and its end": ((VICTIM, KILLED, model.Died("low", "hog", (42,), 0.1, 1 << 30)), ["Acting", "Acted"]),
    "an act that was not needed": ((VICTIM, model.Recovered("low", False)), ["Acting"]),
    "an act that was not needed in the end": ((VICTIM, model.Recovered("low", True)), ["Acting", "Acted"]),
    "a pause that was enough": (
        (VICTIM, model.Paused("rule low", "hog", (42,), 7, "/a", False), model.Recovered("low", False)),
        ["Acting", "Acted", "Acted"],
    ),
    "a slowing down that was enough": (
        (
            VICTIM,
            model.Slowed("low", "hog", (42,), 7, "/a", 1 << 30, 0.5, 30.0),
            model.Eased("low", "hog", (42,), 7, "/a", 3.25, "its time is over"),
            model.Recovered("low", False),
        ),
        ["Acting", "Acted", "Acted", "Acted"],
    ),
    "what another rule has begun": (
        (VICTIM, model.Paused("rule low", "hog", (42,), 7, "/a", False), TAKEN_OVER, model.Recovered("urgent", False)),
        ["Acting", "Acted", "Acting", "Acted"],
    ),
    "what none has begun": (
        (VICTIM, TAKEN_OVER, model.Recovered("urgent", False)),
        ["Acting", "Acting"],
    ),
    "whoever would not die": ((model.Stuck("low", "hog", (42,), 9.0, "it sleeps in the kernel"),), ["Acted"]),
    "nobody to take": ((model.Refused("low", "all are spared", ()),), ["Acted"]),
    "a person's pause": (
        (
            model.Paused("user 7", "hog", (42,), 7, "/a", True),
            model.Resumed("hog", (42,), 7, "/a", 3.0, "asked"),
            model.Limited("hog", (42,), 7, "/a", 1 << 30, "memory.high"),
        ),
        ["Acted", "Acted", "Acted"],
    ),
    "what is not for persons": (
        (KILLED, model.Report(1, 1, 1, 1, 1), model.Trouble("x"), model.RuleChanged("low", "fired", ())),
        [],
    ),
}


@needs_bus
@pytest.mark.parametrize("name", TOLD)
def test_what_happens_is_told(offered: Offered, client: Client, name: str) -> None:
    client.hears()
    events, members = TOLD[name]
    offered.hear(*events)
    offered.hear(model.Warned("end", "of the test"))
    signals = client.signals(len(members) + 1)
    assert [member for member, _ in signals] == [*members, "Warned"]
    for (member, body), event in zip(signals, events, strict=False):
        if member == "Acting":
            assert "command" not in body[0] and "ranking" not in body[0]
            assert body[0]["name"] == ("s", event.name)  # type: ignore[attr-defined]
        assert body[0]["sequence"][0] == "t" and body[0]["at"] == ("d", 1000.0)


@needs_bus
def test_a_warning_has_all_that_is_known(offered: Offered, client: Client) -> None:
    client.hears()
    offered.hear(WARNED)
    [(_, (told,))] = client.signals(1)
    assert told == {
        "event": ("s", "warned"), "at": ("d", 1000.0), "sequence": ("t", 1), "rule": ("s", "soon"),
        "text": ("s", "memory is short"), "name": ("s", "firefox"), "pid": ("u", 42), "user": ("i", 1000),
        "cgroup": ("s", "/a"), "available": ("t", 1 << 28), "left": ("d", 40.0), "act": ("b", False),
    }  # fmt: skip


@needs_bus
def test_a_question_is_told_known_and_closed(offered: Offered, client: Client) -> None:
    client.hears()
    client.hears(interface=PROPERTIES, path=PATH)
    offered.hear(ASKED)
    changed, (member, (number_of, told)) = client.signals(2)
    assert changed[0] == "PropertiesChanged" and list(changed[1][1]) == ["Questions"]
    assert (member, number_of) == ("Question", 7)
    assert told == {
        "rule": ("s", "soft"), "name": ("s", "make"), "pids": ("au", [42, 43]), "user": ("i", 1000),
        "cgroup": ("s", "/user.slice/make.scope"), "seconds": ("d", 20.0), "until": ("d", 1020.0),
        "choices": ("as", ["resume", "pause", "end", "limit"]), "then": ("s", "term"), "freed": ("t", 1 << 30),
        "available": ("t", 1 << 28), "paused": ("b", False), "limit": ("t", 1 << 26),
        "why": ("s", "it is the largest"),
    }  # fmt: skip
    offered.guard.status = "silent"
    assert client.property("Questions") == {7: told}
    # Paused meanwhile: told once more, and its end stays.
    values = dict(zip(ASKED._fields, ASKED, strict=True)) | {"paused": True, "choices": ("resume", "end", "limit")}
    offered.hear(model.Question(**values), at=1005.0)
    _, (member, (_, again)) = client.signals(2)
    assert member == "Question" and again["paused"] == ("b", True) and again["until"] == ("d", 1020.0)
    offered.hear(model.Closed(7, "answered", "end", 1000))
    assert client.signals(2)[1] == ("Closed", (7, "answered", "end"))
    assert client.property("Questions") == {}


@needs_bus
def test_a_guard_that_is_lost_asks_nothing_any_more(offered: Offered, client: Client) -> None:
    offered.hear(ASKED, model.Level(100, 5, 3.0, ("x",)))
    client.hears()
    offered.loop.do(lambda: offered.part.lost(0.0))
    offered.guard.status = "silent"
    assert client.signals(1) == [("Closed", (7, "stopped", ""))]
    assert (client.property("Questions"), client.property("Level")) == ({}, 0)
    assert client.property("Forecast") == float("inf")


@needs_bus
def test_what_somebody_has_written_into_the_ring_does_not_end_the_connection(offered: Offered, client: Client) -> None:
    client.hears()
    for event in (
        {"event": "closed", "question": 1 << 40, "how": "a\0b", "answer": "\udc80"},
        {"event": "warned", "name": "a\0b", "pid": -1, "left": "x", "text": ["\0"], "user": 1 << 70},
        {"event": "question", "question": "x", "choices": 5},
        {"event": "level", "level": 1 << 70, "available": -1, "left": [1]},
    ):
        offered.loop.do(lambda: offered.part.hear(event, 1.0, 1.0))  # noqa: B023
    assert [member for member, _ in client.signals(3)] == ["Closed", "Warned", "Question"]
    assert client.property("Version") == __version__
    assert offered.connection.name


# --- what is known ---------------------------------------------------------------------------------------------


@needs_bus
def test_a_level_is_told_when_it_changes_and_known(
    offered: Offered, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(okoomer1, "FRESH", 300.0)
    client.hears(interface=PROPERTIES, path=PATH)
    for value in (50, 50, 100, 0):
        offered.hear(model.Level(value, 5 << 20, 3.0, ("x",)))
    assert [body[1] for _, body in client.signals(3)] == [{"Level": ("y", value)} for value in (50, 100, 0)]
    assert (client.property("Available"), client.property("Forecast")) == (5 << 20, 3.0)
    assert offered.guard.asked == [], "it is fresh"


@needs_bus
def test_what_is_old_is_asked_of_the_guard_once_for_all(offered: Offered) -> None:
    offered.guard.held, began = [], time.time()
    offered.guard.state = STATE | {"questions": [dict(zip(ASKED._fields, ASKED, strict=True)) | {"left": 5.0}]}
    clients = [Client("SYSTEM", NAME, PATH, PROPERTIES) for _ in range(5)]
    for one in clients:
        one.send("GetAll", "s", NAME)
    until(lambda: len(offered.part._waiting) == 5)
    offered.loop.do(offered.guard.held[0])
    for one in clients:
        [found] = one.answer()
        assert {name: found[name] for name in ("Level", "Available", "Forecast")} == {
            "Level": ("y", 50), "Available": ("t", 4096), "Forecast": ("d", float("inf")),
        }  # fmt: skip
        [(asked, told)] = found["Questions"][1].items()
        assert asked == 7 and began + 5.0 <= told["until"][1] <= time.time() + 5.0
        one.connection.close()
    assert offered.guard.asked == ["state {ref}"]


@needs_bus
@pytest.mark.parametrize(
    ("status", "state"), [("silent", {}), ("busy", {}), ("ok", {"level": "x", "questions": [5, {}]})]
)
def test_a_guard_that_does_not_answer_leaves_what_was_known(
    offered: Offered, client: Client, status: str, state: dict[str, Any]
) -> None:
    offered.guard.status, offered.guard.state = status, state
    assert client.property("Level") == 0
    assert client.property("Questions") == {}


# --- answers ---------------------------------------------------------------------------------------------------

CALLS = [
    ("Answer", "ust", (7, "end", 0), "answer {ref} 7 0 end 0"),
    ("Answer", "ust", (7, "limit", 1 << 30), f"answer {{ref}} 7 0 limit {1 << 30}"),
    ("Resume", "u", (4_000_000,), "resume {ref} 4000000 0 0"),
    ("Pause", "u", (os.getpid(),), f"pause {{ref}} {os.getpid()} {start_time(f'/proc/{os.getpid()}/stat')} 0"),
]
STATUSES = {
    "none": "NoQuestion", "denied": "NotYours", "refused": "Refused", "busy": "Busy", "bad": "BadAnswer",
    "silent": "NoGuard", "nonsense": "Refused",
}  # fmt: skip


@needs_bus
@pytest.mark.parametrize(("member", "kinds", "body", "request_"), CALLS)
def test_a_call_is_put_to_the_guard(
    offered: Offered, client: Client, member: str, kinds: str, body: tuple[Any, ...], request_: str
) -> None:
    assert client.got(member, kinds, *body) == ()
    assert offered.guard.asked == [request_]
    for status, error in STATUSES.items():
        offered.guard.status, offered.guard.text = status, "because"
        expected = "Refused" if status == "none" and member != "Answer" else error
        assert client.error(member, kinds, *body) == (f"{NAME}.Error.{expected}", "because")
        offered.guard.text = ""
        assert client.error(member, kinds, *body)[1], "there are words for it"


@needs_bus
@pytest.mark.parametrize("word", ["", "kill", "END", "end 0\nanswer", "\u202eend", "x" * 10_000])
def test_what_is_no_answer_does_not_reach_the_guard(offered: Offered, client: Client, word: str) -> None:
    name, text = client.error("Answer", "ust", 7, word, 0)
    assert name == f"{NAME}.Error.BadAnswer" and len(text) < 200
    assert offered.guard.asked == []


@needs_bus
def test_the_guard_is_told_which_user_it_is(bus: Daemon, offered: Offered) -> None:
    offered.guard.status = "denied"
    said = sent_by(NOBODY, bus, f"--dest={NAME}", PATH, f"{NAME}.Answer", "uint32:7", "string:end", "uint64:0")
    assert f"{NAME}.Error.NotYours" in said
    assert offered.guard.asked == [f"answer {{ref}} 7 {NOBODY} end 0"]


# --- history ---------------------------------------------------------------------------------------------------


@needs_bus
def test_an_act_is_explained_to_root_and_to_whom_it_concerns(bus: Daemon, offered: Offered, client: Client) -> None:
    ranked = model.Ranked("process", "secret", (99,), 1.0, 1, "large")
    values = dict(zip(VICTIM._fields, VICTIM, strict=True)) | {"ranking": (ranked,)}
    for user in (7, NOBODY):
        offered.hear(model.Chosen(**(values | {"user": user})), KILLED, model.Died("low", "hog", (42,), 0.1, 1 << 30))
    for sequence in (1, 2, 3):
        text = client.got("Why", "t", sequence)
        assert "command: hog --size 1 GiB" in text and "secret" in text
        assert "SIGKILL to pid 42" in text and "1.0 GiB came back" in text
    assert "(event 4)" in client.got("Why", "t", 0)
    mine = sent_by(NOBODY, bus, f"--dest={NAME}", PATH, f"{NAME}.Why", "uint64:4")
    others = sent_by(NOBODY, bus, f"--dest={NAME}", PATH, f"{NAME}.Why", "uint64:1")
    assert "--size" in mine and "secret" in mine
    assert "took hog" in others and "--size" not in others and "secret" not in others
    listed = sent_by(NOBODY, bus, f"--dest={NAME}", PATH, f"{NAME}.History", "uint32:100")
    assert listed.count("--size") == 1 and listed.count('"event": "chosen"') == 2
    name, said = client.error("Why", "t", 999)
    assert name == "org.freedesktop.DBus.Error.InvalidArgs" and "999" in said


@needs_bus
def test_history_is_newest_first(offered: Offered, client: Client) -> None:
    offered.hear(WARNED, model.Report(1, 1, 1, 1, 1), KILLED)
    assert [(fields_of(text) or {})["event"] for text in client.got("History", "u", 10)] == ["signalled", "warned"]
    assert len(client.got("History", "u", 1)) == 1
    assert client.got("History", "u", 0) == []


# --- agents ----------------------------------------------------------------------------------------------------


@needs_bus
def test_an_agent_attends_as_long_as_it_lives(bus: Daemon, offered: Offered) -> None:
    with Client("SYSTEM", NAME, PATH) as first:
        with Client("SYSTEM", NAME, PATH) as second:
            for one in (first, second, second):
                one.got("Attend")
            assert len(offered.part._agents) == 2
        until(lambda: len(offered.part._agents) == 1)
        assert offered.part.attended
    until(lambda: not offered.part.attended)
    with Client("SYSTEM", NAME, PATH) as other:
        other.got("Attend")
        bus.stop()
        until(lambda: not offered.part.attended)
        bus.start()
    with Client("SYSTEM", NAME, PATH) as again:
        again.waits()
        again.got("Attend")
        assert offered.part.attended


@needs_bus
def test_a_services_user_keeps_nothing_from_people(bus: Daemon, offered: Offered) -> None:
    assert f"{NAME}.Error.Refused" in sent_by(NOBODY, bus, f"--dest={NAME}", PATH, f"{NAME}.Attend")
    assert f"{NAME}.Error.Refused" in sent_by(1, bus, f"--dest={NAME}", PATH, f"{NAME}.Attend")
    # Those that systemd makes up have no names here, and the bus lets in nobody without one.
    for user, person in ((999, False), (61184, False), (65519, False), (65535, False), (1000, True), (100_000, True)):
        call = SimpleNamespace(uid=user, sender=f":9.{user}", answer=lambda: None, fail=lambda *_words: None)
        attends: list[bool] = []

        def attend(call: Any = call, attends: list[bool] = attends) -> bool:
            offered.part._attend(call)
            # At once: the bus will say soon that nobody has that name.
            attends.append(call.sender in offered.part._agents)
            return True

        offered.loop.do(attend)
        assert attends == [person]
    offered.loop.do(lambda: offered.part._agents.clear() or True)
    assert not offered.part.attended


@needs_bus
def test_only_so_many_attend(offered: Offered, client: Client) -> None:
    for user, count in ((0, AGENTS_OF_ONE), (1000, AGENTS)):
        agents = {f":9.{number_of}": user for number_of in range(count)}
        offered.loop.do(lambda agents=agents: offered.part.__dict__.update(_agents=agents) or True)  # type: ignore[misc]
        assert client.error("Attend")[0] == f"{NAME}.Error.Busy"


# --- docs ------------------------------------------------------------------------------------------------------


@needs_bus
def test_the_interface_is_documented_as_it_is(client: Client) -> None:
    text = DOCS.read_text()
    shown = text.split("```xml\n")[1].split("```")[0]
    xml = client.got("Introspect", interface="org.freedesktop.DBus.Introspectable")
    given = xml[xml.index(f'  <interface name="{NAME}">') : xml.index("</node>")]
    assert shown == given
    for error in STATUSES.values():
        assert f"`{error}`" in text
