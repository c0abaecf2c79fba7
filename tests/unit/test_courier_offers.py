"""A whole courier on a bus: what the guard says is heard there, and what is answered there reaches the guard."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from okoomer.courier import low_memory, okoomer1
from okoomer.courier.services import Services
from okoomer.events import model
from okoomer.policy.model import Policy
from tests.unit.buses import DAEMON, Daemon, Listener
from tests.unit.couriers import KILLED, VICTIM, Guarded, until
from tests.unit.loops import POLICIES, Client, public
from tests.unit.test_okoomer1 import ASKED

pytestmark = pytest.mark.skipif(
    DAEMON is None or os.geteuid() != 0, reason="needs dbus-daemon, and root owns the names"
)
DIED = model.Died("low", "hog", (42,), 0.1, 1 << 30)
#: What the courier may hold of its own, in KiB.
ROOM = 8192


@pytest.fixture
def bus() -> Iterator[Daemon]:
    with public(*POLICIES) as daemon:
        yield daemon


class Asked:
    """In the place of who answers for the guard."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, verb: str, rest: str, user: int, believed: bool) -> tuple[str, str]:
        self.asked.append((verb, rest))
        return ("denied", "they are not yours") if rest.startswith("8 ") else ("ok", "")


def test_levels_questions_and_answers_go_all_the_way(tmp_path: Path, bus: Daemon) -> None:
    asked = Asked()
    with (
        Client("SYSTEM", low_memory.NAME, low_memory.PATH) as application,
        Client("SYSTEM", okoomer1.NAME, okoomer1.PATH) as agent,
        Guarded(tmp_path, services=Services(pressure_watch=False)) as guarded,
    ):
        guarded.link.requests = asked
        for client in (application, agent):
            client.waits()
            client.hears(sender=client.address.bus_name, interface=client.address.interface)
        guarded.tell(model.Level(50, 5, 3.0, ("x",)), model.Level(255, 5, 3.0, ("x",)), ASKED)
        levels: list[int] = []
        while 255 not in levels:
            [(_, (told,))] = application.signals(1)
            levels.append(told)
        assert levels in ([50, 255], [255])
        assert [member for member, _ in agent.signals(1)] == ["Question"]
        agent.send("Answer", "ust", 7, "end", 0)
        until(lambda: guarded.link.answers() or asked.asked)
        assert asked.asked[-1] == ("answer", "7 0 end 0")
        assert agent.answer() == ()
        agent.send("Answer", "ust", 8, "end", 0)
        until(lambda: guarded.link.answers() or len(asked.asked) == 2)
        assert agent.answer() == ("they are not yours",)
        guarded.tell(VICTIM, KILLED, DIED)
        assert [member for member, _ in agent.signals(2)] == ["Acting", "Acted"]
        status = Path(f"/proc/{guarded.pid}/status").read_text().split()
        assert int(status[status.index("RssAnon:") + 1]) < ROOM


def test_an_idle_courier_is_not_woken(tmp_path: Path, bus: Daemon) -> None:
    with (
        Client("SYSTEM", okoomer1.NAME, okoomer1.PATH) as client,
        Guarded(tmp_path, services=Services(pressure_watch=False)) as guarded,
    ):
        client.waits()
        # At first it may have something to do yet, and its memory may have to come back from somewhere.
        assert any(sleeps(guarded.pid, 2.0) for _ in range(10))


def sleeps(pid: int, seconds: float) -> bool:
    """Whether it is not woken for so long."""
    before = woken(pid)
    time.sleep(seconds)
    return woken(pid) == before


def woken(pid: int) -> int:
    fields = Path(f"/proc/{pid}/status").read_text().split()
    return int(fields[fields.index("voluntary_ctxt_switches:") + 1])


def test_people_are_told_until_an_agent_tells_them(tmp_path: Path, bus: Daemon) -> None:
    listener = Listener()
    with Guarded(tmp_path, services=Services(pressure_watch=False)) as guarded:
        guarded.tell(VICTIM, KILLED, DIED)
        until(lambda: listener.heard)
        assert listener.heard[0].words[1].startswith("hog (pid 42) was ended")
        with Client("SYSTEM", okoomer1.NAME, okoomer1.PATH) as agent:
            agent.waits()
            agent.got("Attend")
            agent.hears()
            guarded.tell(DIED)
            assert agent.signals(1)[0][0] == "Acted"
            time.sleep(0.3)
            assert len(listener.heard) == 1
        # The agent has gone, which the courier learns when the bus tells it.
        while len(listener.heard) < 2:
            guarded.tell(DIED)
            time.sleep(0.2)
    listener.close()


def test_what_the_policy_names_is_announced_in_its_place(tmp_path: Path, bus: Daemon) -> None:
    listener = Listener()
    with Guarded(tmp_path, services=Services(pressure_watch=False), notify=("refused",)) as guarded:
        guarded.tell(VICTIM, KILLED, DIED, model.Refused("low", "all are spared", ()))
        until(lambda: listener.heard)
        assert listener.heard[0].words[1] == "rule low fired, but nobody's end would help: all are spared"
        guarded.link.configure(Policy("new", ()))
        guarded.tell(DIED)
        until(lambda: len(listener.heard) == 2)
        assert "was ended" in listener.heard[1].words[1]
    listener.close()


def test_last_words_are_said(tmp_path: Path, bus: Daemon) -> None:
    listener = Listener()
    with Guarded(tmp_path, services=Services(pressure_watch=False)) as guarded:
        guarded.tell(DIED)
        until(lambda: listener.heard)
        guarded.tell(DIED, model.Died("low", "last", (43,), 0.1, 1))
        guarded.leave()
        until(lambda: any("last" in heard.words[1] for heard in listener.heard))
    listener.close()
