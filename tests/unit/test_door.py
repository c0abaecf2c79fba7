"""The guard's door: who is let in, what they are given, and how little anybody there can do to the guard."""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import stat
import threading
import time
from collections.abc import Iterator
from marshal import loads
from pathlib import Path

import pytest

from okoomer.events import model
from okoomer.events.ring import read
from okoomer.events.sign import heed
from okoomer.guard.door import AT_ONCE, KNOCKS, LINES, OF_ONE, PACKET, RATE, TOO_LONG
from okoomer.policy.model import Hook, Policy
from tests.unit.doors import Caller, House

COURIER, STRANGER = 4242, 99999


class Time:
    """Seconds that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def callers() -> Iterator[list[Caller]]:
    found: list[Caller] = []
    yield found
    for caller in found:
        caller.close()


# --- who is let in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "let_in"), [(0, True), (COURIER, True), (None, True), (STRANGER, False), (65534, False), (-1, False)]
)
def test_root_the_guards_user_and_the_couriers_are_let_in(
    tmp_path: Path, callers: list[Caller], user: int | None, let_in: bool
) -> None:
    with House(tmp_path, user) as house:
        callers.append(Caller(house))
        assert callers[0].send(b"state 1")
        house.turns()
        assert callers[0].heard() == ([b"reply 1 ok"] if let_in else [b""])
        assert bool(house.requests) == let_in


def test_without_a_courier_of_that_name_nobody_else_is_one(tmp_path: Path, callers: list[Caller]) -> None:
    with House(tmp_path, user=-1, courier=-1) as house:
        callers.append(Caller(house))
        house.turns()
        assert callers[0].closed


def test_everybody_can_find_the_door_and_nobody_the_ring(tmp_path: Path) -> None:
    with House(tmp_path) as house:
        assert stat.S_IMODE(Path(house.path).stat().st_mode) == 0o666
        assert not Path(house.ring_path).stat().st_mode & 0o007


def test_what_stands_in_the_doors_place_is_removed_and_nothing_that_it_leads_to(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "guard.sock").symlink_to(precious)
    with House(tmp_path):
        assert stat.S_ISSOCK(os.lstat(tmp_path / "guard.sock").st_mode)
    assert precious.read_text() == "mine"
    assert not (tmp_path / "guard.sock").exists()


# --- a courier -------------------------------------------------------------------------------------------------------


def test_a_courier_is_given_the_ring_a_sign_and_the_policys_wishes(tmp_path: Path, callers: list[Caller]) -> None:
    hook = Hook("killed", ("/bin/true",), 5.0, "nobody")
    with House(tmp_path, COURIER) as house:
        house.door.configure(Policy("p", (), hooks=(hook,), notify=("died",)), ("place",))
        house.tell(model.Changed("before"))
        callers.append(Caller(house, hello=True))
        house.turns()
        welcome, wishes = callers[0].heard()
        assert welcome == b"welcome 2 %d" % os.getpid()
        assert loads(wishes) == ((("killed", ("/bin/true",), 5.0, "nobody"),), ("died",), ("place",))
        assert house.entered == [os.getpid()]
        ring, wake = callers[0].fds
        reader = select.epoll.fromfd(wake)
        heed(reader)
        assert not heed(reader)
        house.tell(model.Changed("after"))
        assert heed(reader) and not heed(reader)
        assert [sequence for sequence, _ in read(ring)] == [1, 2]
        del reader
        callers[0].fds.remove(wake)


def test_of_the_ring_nothing_can_be_changed(tmp_path: Path, callers: list[Caller]) -> None:
    with House(tmp_path, COURIER) as house:
        callers.append(Caller(house, hello=True))
        house.turns()
        callers[0].heard()
        ring, wake = callers[0].fds
        for change in (
            lambda: os.pwrite(ring, b"x", 0),
            lambda: os.ftruncate(ring, 0),
            lambda: mmap.mmap(ring, 0),
            lambda: os.posix_fallocate(ring, 0, 1 << 20),
            lambda: os.eventfd_write(wake, 1),
        ):
            with pytest.raises(OSError):
                change()
        assert fcntl.fcntl(ring, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY


def test_a_newer_courier_takes_the_place_and_others_who_ask_are_left_alone(
    tmp_path: Path, callers: list[Caller]
) -> None:
    with House(tmp_path, 0) as house:
        house.door.configure(Policy("some", ()))
        callers += [Caller(house, hello=True), Caller(house)]
        house.turns()
        assert len(callers[0].heard()) == 2
        callers.append(Caller(house, hello=True))
        house.turns()
        assert callers[0].closed and not callers[1].closed and len(callers[2].heard()) == 2
        house.door.configure(Policy("other", (), notify=("died",)))
        assert not callers[1].heard()
        assert [loads(packet)[1] for packet in callers[2].heard()] == [("died",)]


def test_who_says_hello_twice_is_no_courier(tmp_path: Path, callers: list[Caller]) -> None:
    with House(tmp_path, COURIER) as house:
        callers.append(Caller(house, hello=True))
        callers[0].send(b"hello")
        house.turns()
        assert callers[0].closed


def test_all_learn_that_the_guard_has_ended(tmp_path: Path, callers: list[Caller]) -> None:
    with House(tmp_path, 0) as house:
        callers += [Caller(house, hello=True), Caller(house)]
        house.turns()
    assert callers[0].closed and callers[1].closed
    assert not Path(house.path).exists()


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "packet", "request_", "reply"),
    [
        (0, b"state 7", ("state", "", 0, True), b"reply 7 ok so it is"),
        (COURIER, b"state x9", ("state", "", COURIER, False), b"reply x9 ok so it is"),
        (COURIER, b"answer 1 3 1000 end 0", ("answer", "3 1000 end 0", COURIER, False), b"reply 1 ok so it is"),
        (0, b"pause 1 42 0 0", ("pause", "42 0 0", 0, True), b"reply 1 ok so it is"),
        (0, b"resume 1 ", ("resume", "", 0, True), b"reply 1 ok so it is"),
    ],
)
def test_a_request_is_passed_on_with_whose_line_it_came_by(
    tmp_path: Path, callers: list[Caller], user: int, packet: bytes, request_: tuple[str, str, int, bool], reply: bytes
) -> None:
    with House(tmp_path, user) as house:
        house.reply = ("ok", "so it is")
        callers.append(Caller(house))
        callers[0].send(packet)
        house.turns()
        assert house.requests == [request_] and callers[0].heard() == [reply]


@pytest.mark.parametrize(
    "packet",
    [
        b"hell", b"hello you", b"done 1 0", b"managed x", b"reply 1 ok", b"State 1", b"\0", b"\xff\xfe", b" state 1",
        b"state" + b" " * PACKET, b"answer 1 " + b"9" * PACKET, os.urandom(64).replace(b" ", b"!"),
    ],
)  # fmt: skip
def test_who_speaks_another_language_is_shown_out(tmp_path: Path, callers: list[Caller], packet: bytes) -> None:
    with House(tmp_path, COURIER) as house:
        callers.append(Caller(house))
        callers[0].send(packet)
        house.turns()
        assert callers[0].closed and not house.requests


@pytest.mark.parametrize(
    "packet", [b"state", b"state ", b"state \xe9", b"state " + b"1" * 21, b"pause -1 1 1 1", b"answer 1\n 2 3 end 0"]
)
def test_what_has_no_reference_gets_no_reply(tmp_path: Path, callers: list[Caller], packet: bytes) -> None:
    with House(tmp_path, COURIER) as house:
        callers.append(Caller(house))
        callers[0].send(packet)
        callers[0].send(b"state 2")
        house.turns()
        assert callers[0].heard() == [b"reply 2 ok"] and len(house.requests) == 1


def test_a_caller_that_is_gone_before_it_is_heard_is_no_trouble(tmp_path: Path) -> None:
    with House(tmp_path, COURIER) as house:
        for packet in (b"hello", b"state 1", b""):
            caller = Caller(house)
            caller.send(packet)
            caller.abort()
        house.turns()
        assert house.door.wait() == float("inf")


# --- those who would harm --------------------------------------------------------------------------------------------


def test_ten_thousand_packets_are_looked_at_as_slowly_as_one_users_quota_has_it(
    tmp_path: Path, callers: list[Caller]
) -> None:
    clock = Time()
    with House(tmp_path, COURIER, now=clock) as house:
        callers += [Caller(house), Caller(house)]
        sent = 0
        for _ in range(300):  # thirty seconds, by two lines of one user
            while sent < 10_000 and (callers[0].send(b"state 1") or callers[1].send(b"state 1")):
                sent += 1
            house.turns(8)
            clock.now += 0.1
            for caller in callers:
                caller.heard()
            if clock.now <= 1000.0 + TOO_LONG:
                assert len(house.requests) <= RATE * (clock.now - 1000.0) + RATE
        # Both lines were closed in the end: nothing is looked at any more.
        assert house.door.wait() == float("inf")
        assert len(house.requests) <= RATE * (TOO_LONG + 2) + RATE


def test_a_line_that_says_too_much_wakes_nobody_until_it_may_speak_again(tmp_path: Path, callers: list[Caller]) -> None:
    clock = Time()
    with House(tmp_path, COURIER, now=clock) as house:
        callers.append(Caller(house))
        for _ in range(100):
            callers[0].send(b"state 1")
        house.turns(10)
        assert len(house.requests) == RATE and 0 < house.door.wait() <= 0.125
        poller = house.wake._poller
        assert not poller.poll(0)
        clock.now += 1.0
        assert house.door.wait() == 0.0
        house.turns(10)
        assert len(house.requests) == 100 and house.door.wait() == float("inf")


def test_who_pauses_in_time_keeps_the_line(tmp_path: Path, callers: list[Caller]) -> None:
    clock = Time()
    with House(tmp_path, COURIER, now=clock) as house:
        callers.append(Caller(house))
        for second in range(30):
            for _ in range(70 if second % 3 == 0 else 1):
                callers[0].send(b"state 1")
            for _ in range(5):
                house.turns(6)
                clock.now += 0.2
                assert not callers[0].closed


def test_one_user_cannot_take_all_lines_nor_silence_another(tmp_path: Path, callers: list[Caller]) -> None:
    clock, users = Time(), [COURIER] * 10 + [0] * 10
    with House(tmp_path, lambda: users.pop(0), now=clock) as house:
        for _ in range(10):
            callers.append(Caller(house))
            house.turns(1)
        assert [caller.closed for caller in callers] == [False] * OF_ONE + [True] * (10 - OF_ONE)
        for caller in callers[:OF_ONE]:
            for _ in range(200):
                caller.send(b"state 1")
        house.turns()
        callers.append(Caller(house))
        callers[-1].send(b"state root")
        house.turns()
        assert callers[-1].heard() == [b"reply root ok"]
        assert len([request for request in house.requests if request[2] == COURIER]) <= RATE + 2
        for _ in range(LINES):
            callers.append(Caller(house))
            clock.now += 1.0
            house.turns(1)
        assert callers[-1].closed


def test_strangers_who_keep_knocking_are_seen_to_once_a_second_and_keep_nobody_out(
    tmp_path: Path, callers: list[Caller]
) -> None:
    clock, users = Time(), [STRANGER] * KNOCKS
    with House(tmp_path, lambda: users.pop(0) if users else COURIER, now=clock) as house:
        callers += [Caller(house) for _ in range(KNOCKS)]
        house.turns(2)
        assert all(caller.closed for caller in callers) and house.door.wait() == float("inf")
        users += [STRANGER] * KNOCKS
        callers += [Caller(house) for _ in range(KNOCKS)]
        house.turns(4)
        assert 0 < house.door.wait() <= 1.0
        assert not house.wake._poller.poll(0), "nobody looks at them now"
        callers.append(Caller(house))
        clock.now += 1.0
        house.turns(3)
        callers[-1].send(b"state 1")
        house.turns(3)
        assert callers[-1].heard() == [b"reply 1 ok"]


def test_a_reader_that_never_reads_costs_nothing(tmp_path: Path, callers: list[Caller]) -> None:
    with House(tmp_path, COURIER) as house:
        house.reply = ("ok", "x" * 6000)
        callers += [Caller(house, hello=True), Caller(house)]
        house.turns()
        for number in range(1000):
            house.door.configure(Policy(str(number), (), notify=("died",) * 1000))
            callers[1].send(b"state 1")
        began = time.thread_time()
        for number in range(1000):
            house.tell(model.Changed(str(number)))
        house.turns(100)
        assert time.thread_time() - began < 1.0
        assert not callers[1].closed
        callers[1].send(b"state last")
        deadline = time.monotonic() + 60
        while b"reply last ok " + b"x" * 6000 not in callers[1].heard() and time.monotonic() < deadline:
            callers[1].send(b"state last")
            house.turn(0.05)
        assert time.monotonic() < deadline


def test_nobody_is_waited_for_by_whoever_tells(tmp_path: Path, callers: list[Caller]) -> None:
    """A courier that holds a descriptor of the sign can do whatever it likes with it."""
    with House(tmp_path, COURIER) as house:
        callers.append(Caller(house, hello=True))
        house.turns()
        callers[0].heard()
        wake = callers[0].fds[1]
        nested = [select.epoll() for _ in range(50)]
        for poller in nested:
            poller.register(wake, select.EPOLLIN)
        over = False

        def wait() -> None:
            while not over:
                select.select([wake], [], [], 0.05)

        threads = [threading.Thread(target=wait) for _ in range(4)]
        for thread in threads:
            thread.start()
        began = time.thread_time()
        for _ in range(2000):
            house.sign()
        took = time.thread_time() - began
        over = True
        for thread in threads:
            thread.join()
        for poller in nested:
            poller.close()
        assert took < 2.0


def test_without_descriptors_the_door_waits_and_the_guard_does_not_spin(
    tmp_path: Path, callers: list[Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Time()
    with House(tmp_path, COURIER, now=clock) as house:
        callers.append(Caller(house))
        resource = pytest.importorskip("resource")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The next one that is opened would have this number.
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            house.turns(2)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not house.wake._poller.poll(0) and house.door.wait() <= 1.0
        clock.now += 1.0
        callers[0].send(b"state 1")
        house.turns(3)
        assert callers[0].heard() == [b"reply 1 ok"]


def test_no_more_than_a_few_packets_come_before_everything_else(tmp_path: Path, callers: list[Caller]) -> None:
    with House(tmp_path, COURIER) as house:
        callers.append(Caller(house))
        house.turn()
        for _ in range(40):
            callers[0].send(b"state 1")
        house.turn()
        assert len(house.requests) == AT_ONCE
