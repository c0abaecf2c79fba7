"""The courier's end of the line: what it asks, and what it hears in time or not at all."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from okoomer.courier.line import PATIENCE, RATE, Line
from okoomer.guard.door import RATE as HEARD


class Desk:
    """A line with a clock that the test turns, and the guard's end of it."""

    def __init__(self) -> None:
        ours, self.guard = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.guard.setblocking(False)
        self.now = 50.0
        self.line = Line(ours, clock=lambda: self.now)
        self.answers: list[tuple[str, str]] = []

    def ask(self, request: str) -> None:
        self.line.ask(request, lambda status, text: self.answers.append((status, text)))

    def asked(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.guard.recv(1 << 16))
            except BlockingIOError:
                return found

    def reply(self, *packets: bytes) -> None:
        for packet in packets:
            self.guard.send(packet)
        while packet := self.line.receive() or b"":
            assert self.line.heard(packet)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.line.close()
    desk.guard.close()


def test_each_reply_comes_to_who_has_asked_in_whatever_order(desk: Desk) -> None:
    desk.ask("state {ref}")
    desk.ask("answer {ref} 3 1000 end 0")
    desk.ask("pause {ref} {ref} 2 3")
    assert desk.asked() == [b"state 1", b"answer 2 3 1000 end 0", b"pause 3 {ref} 2 3"]
    desk.reply(b"reply 2 ok", b'reply 1 ok {"a": "b c"}', b"reply 3 denied it is not yours")
    assert desk.answers == [("ok", ""), ("ok", '{"a": "b c"}'), ("denied", "it is not yours")]


def test_a_reply_that_nobody_waits_for_is_passed_over(desk: Desk) -> None:
    desk.ask("state {ref}")
    desk.reply(b"reply 7 ok", b"reply ", b"reply 1", b"reply 1 ok again", b"reply \xff\xfe ok")
    assert desk.answers == [("", "")]


def test_a_guard_that_is_silent_is_not_waited_for_for_ever(desk: Desk) -> None:
    desk.ask("state {ref}")
    desk.now += 1.0
    desk.ask("state {ref}")
    assert desk.line.wait(desk.now) == pytest.approx(PATIENCE - 1.0)
    desk.line.turn(desk.now)
    assert desk.answers == []
    desk.now += 1.0
    desk.line.turn(desk.now)
    assert desk.answers == [("silent", "")]
    desk.reply(b"reply 1 ok late", b"reply 2 ok")
    desk.line.turn(desk.now + 100)
    assert desk.answers == [("silent", ""), ("ok", "")] and desk.line.wait(desk.now) == float("inf")


def test_more_than_a_guard_would_hear_is_not_even_asked(desk: Desk) -> None:
    assert RATE < HEARD
    for _ in range(100):
        desk.ask("state {ref}")
    assert len(desk.asked()) == RATE and desk.answers == [] and desk.line.wait(desk.now) == 0.0
    desk.line.turn(desk.now)
    assert desk.answers == [("busy", "")] * int(100 - RATE)
    desk.now += 0.5
    for _ in range(100):
        desk.ask("state {ref}")
    assert len(desk.asked()) == RATE / 2


def test_whoever_asks_in_an_answer_is_not_answered_in_it(desk: Desk) -> None:
    desk.line.close()

    def again(status: str, text: str) -> None:
        desk.answers.append((status, text))
        if len(desk.answers) < 5:
            desk.line.ask("state {ref}", again)

    desk.line.ask("state {ref}", again)
    for count in range(1, 6):
        desk.line.turn(desk.now)
        assert len(desk.answers) == count
    assert desk.line.wait(desk.now) == float("inf")


def test_when_the_line_breaks_all_who_wait_learn_so(desk: Desk) -> None:
    desk.ask("state {ref}")
    desk.guard.close()
    assert desk.line.receive() == b""
    desk.line.close()
    desk.ask("state {ref}")
    assert desk.line.receive() is None and desk.line.fd == -1 and desk.line.send(b"done 1 0")
    desk.line.turn(desk.now)
    assert desk.answers == [("silent", "")] * 2


def test_what_is_no_ascii_is_not_sent(desk: Desk) -> None:
    desk.ask("answer {ref} 3 1000 \xe9nd 0")
    desk.line.turn(desk.now)
    assert desk.asked() == [] and desk.answers == [("silent", "")]


def test_a_guard_that_does_not_read_loses_nothing_that_has_to_come(desk: Desk) -> None:
    sent = 0
    while desk.line.send(b"done %d 0" % sent):
        sent += 1
    desk.ask("state {ref}")
    desk.line.turn(desk.now)
    assert desk.answers == [("silent", "")]
    assert desk.asked() == [b"done %d 0" % number for number in range(sent)]
