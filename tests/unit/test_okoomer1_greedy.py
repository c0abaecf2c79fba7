"""org.okoomer.Okoomer1 and somebody who calls as often as he can: others are answered, and nothing grows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from okoomer.bus.connection import ROOM
from okoomer.bus.quota import AT_ONCE, RATE, USERS, Share
from okoomer.courier.line import RATE as OF_THE_LINE
from okoomer.courier.okoomer1 import NAME, PATH
from okoomer.events import model
from tests.unit.buses import DAEMON, Daemon
from tests.unit.couriers import until
from tests.unit.loops import NOBODY, Client
from tests.unit.test_okoomer1 import Offered
from tests.unit.test_okoomer1 import bus as bus  # the fixture

needs_bus = pytest.mark.skipif(DAEMON is None or os.geteuid() != 0, reason="needs dbus-daemon, and root owns the name")
pytestmark = pytest.mark.timeout(240)
#: Calls without waiting for answers, from some connections, as fast as the bus takes it, and reads nothing.
GREEDY = """
import os, sys, time
from jeepney import DBusAddress, new_method_call
from jeepney.io.blocking import open_dbus_connection
os.setgroups([]); os.setgid({user}); os.setuid({user})
address, (member, kinds, *body) = sys.argv[1], sys.argv[2:]
to = DBusAddress({path!r}, bus_name={name!r}, interface={name!r})
lines = [open_dbus_connection(address, auth_timeout=60) for _ in range({lines})]
call = new_method_call(to, member, kinds, tuple(word if kind == "s" else int(word) for kind, word in zip(kinds, body)))
print("ready", flush=True)
until = time.monotonic() + 4
while time.monotonic() < until:
    for line in lines:
        line.sock.settimeout(0.2)
        for _ in range(60):
            try:
                line.send(call)
            except OSError:
                break
    time.sleep(0.2)
print("over", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def offered(bus: Daemon) -> Iterator[Offered]:
    one = Offered()
    with one.loop, Client("SYSTEM", NAME, PATH) as client:
        client.waits()
        yield one


@pytest.fixture
def greedy(bus: Daemon) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, lines: int = 1) -> subprocess.Popen[str]:
        program = GREEDY.format(user=NOBODY, path=PATH, name=NAME, lines=lines)
        command = [sys.executable, "-c", program, bus.address, *words]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout and process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def known(client: Client) -> None:
    """The first call is answered, as soon as the bus has told whose it is: on a busy machine it may take too long."""
    until(lambda: client.call("Answer", "ust", 7, "end", 0, timeout=60).body == ())


def remember_much(offered: Offered) -> None:
    """As much as is ever remembered."""
    for number in range(300):
        offered.hear(model.Refused("low", f"{number} {'all are spared ' * 130}", ()))


@needs_bus
@pytest.mark.parametrize("member", ["History", "Why"])
def test_who_asks_for_all_there_is_and_reads_nothing_ends_no_connection(
    offered: Offered, greedy: Callable[..., subprocess.Popen[str]], member: str
) -> None:
    remember_much(offered)
    name, most = offered.connection.name, 0
    process = greedy(member, {"History": "u", "Why": "t"}[member], {"History": "256", "Why": "0"}[member], lines=4)
    with Client("SYSTEM", NAME, PATH) as other:
        known(other)
        for _ in range(12):
            assert other.got("Answer", "ust", 7, "end", 0, timeout=60) == ()
            most = max(most, offered.loop.do(lambda: len(offered.connection._out)) or 0)
        assert offered.loop.long < 2
    assert process.stdout
    assert process.stdout.readline() == "over\n"
    assert offered.connection.name == name, "it was thrown off the bus"
    assert most < ROOM


@needs_bus
def test_who_answers_all_the_time_leaves_the_guard_to_others(
    offered: Offered, greedy: Callable[..., subprocess.Popen[str]]
) -> None:
    process, began = greedy("Answer", "ust", "7", "end", "0", lines=4), time.monotonic()
    with Client("SYSTEM", NAME, PATH) as other:
        known(other)
        for _ in range(8):
            assert other.got("Answer", "ust", 7, "end", 0, timeout=60) == ()
    assert process.stdout
    assert process.stdout.readline() == "over\n"

    def asked() -> int:
        return sum(f" {NOBODY} " in request for request in offered.guard.asked)

    # What it may at once, and then so many a second.
    until(lambda: asked() >= AT_ONCE)
    assert asked() <= AT_ONCE + (time.monotonic() - began + 1) * RATE
    until(lambda: offered.connection.up)


def test_a_share_is_of_a_user_and_comes_back_with_time() -> None:
    share = Share()
    assert [share.admits(7, 10.0) for _ in range(int(AT_ONCE) + 1)] == [True] * int(AT_ONCE) + [False]
    assert share.admits(8, 10.0)
    assert [share.admits(7, 11.0) for _ in range(int(RATE) + 1)] == [True] * int(RATE) + [False]
    assert share.admits(7, 11.0 + 1 / RATE)


def test_of_many_users_those_are_forgotten_who_have_their_share_again() -> None:
    share = Share()
    for user in range(100_000):
        share.admits(user, user / 1000)
    assert len(share._left) < 2 * USERS


def test_two_users_do_not_take_up_what_may_be_asked_of_the_guard() -> None:
    assert 2 * RATE < OF_THE_LINE
