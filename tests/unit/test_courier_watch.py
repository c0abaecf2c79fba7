"""Programs that watch for pressure as systemd's services do are told, however they behave."""

from __future__ import annotations

import base64
import os
import select
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from okoomer.courier import watch as module
from okoomer.courier.watch import AGAIN, EACH, KNOCKS, WORDS, Watch


class Client:
    """A program that does what https://systemd.io/PRESSURE/ asks of it."""

    def __init__(self, environment: dict[str, str]) -> None:
        path = environment["MEMORY_PRESSURE_WATCH"]
        assert Path(path).is_socket()
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.line.connect(path)
        self.line.sendall(base64.b64decode(environment.get("MEMORY_PRESSURE_WRITE", "")))

    def under_pressure(self) -> bool:
        """Whether there is a sign, which is then thrown away."""
        ready, _, _ = select.select([self.line], [], [], 0)
        return bool(ready) and bool(self.line.recv(4096))

    def gone(self) -> bool:
        """Whether the other end has been closed."""
        poller = select.poll()
        poller.register(self.line, 0)
        return bool(poller.poll(0))


class Stage:
    """The courier's loop around one Watch, on a clock that the test turns."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        monkeypatch.setattr("okoomer.say.say", self.said.append)
        self.path = directory / "pressure"
        self.watch = Watch(str(self.path))
        self.clients: list[Client] = []
        self.now = 100.0

    def client(self, write: bytes = b"") -> Client:
        client = Client(
            {"MEMORY_PRESSURE_WATCH": str(self.path), "MEMORY_PRESSURE_WRITE": base64.b64encode(write).decode()}
        )
        self.clients.append(client)
        self.turn()
        return client

    def turn(self, later: float = 0.0) -> int:
        """Turns of the loop until nothing is to be done; how many."""
        self.now += later
        for count in range(10_000):
            poller = select.poll()
            for fd, events in self.watch.wants():
                poller.register(fd, events)
            ready = dict(poller.poll(0))
            if not ready and self.watch.wait(self.now) > 0:
                return count
            self.watch.turn(ready, self.now)
        raise AssertionError("it never rests")

    def level(self, level: int, later: float = 0.0) -> None:
        self.turn(later)
        self.watch.hear({"event": "level", "level": level}, 0.0, self.now)

    def close(self) -> None:
        for client in self.clients:
            client.line.close()
        self.watch.close()


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(tmp_path, monkeypatch)
    yield stage
    stage.close()


def test_everybody_may_connect(stage: Stage) -> None:
    assert stat.S_IMODE(stage.path.stat().st_mode) == 0o666


@pytest.mark.parametrize("write", [b"", b"some 200000 2000000\0"])
def test_a_program_is_told_when_memory_gets_short_and_not_before(stage: Stage, write: bytes) -> None:
    client = stage.client(write)
    stage.turn(60.0)
    assert not client.under_pressure()
    stage.level(50)
    assert client.under_pressure() and not client.under_pressure()


def test_a_program_that_will_write_no_more_is_told_all_the_same_and_costs_nothing(stage: Stage) -> None:
    client = stage.client(b"some 1 2\0")
    client.line.shutdown(socket.SHUT_WR)
    stage.turn()
    stage.level(50)
    assert client.under_pressure() and not client.gone()


def test_it_is_told_at_once_when_it_gets_worse_and_else_now_and_then(stage: Stage) -> None:
    client = stage.client()
    stage.level(50)
    assert client.under_pressure()
    stage.level(50, 5.0)
    assert not client.under_pressure()
    stage.level(100, 1.0)
    assert client.under_pressure()
    stage.level(50, 2.0)
    assert not client.under_pressure(), "it got better"
    stage.level(50, AGAIN)
    assert client.under_pressure()
    stage.level(0, AGAIN)
    assert not client.under_pressure()


def test_two_signs_are_a_second_apart(stage: Stage) -> None:
    client = stage.client()
    stage.level(50)
    assert client.under_pressure()
    stage.level(100, 0.25)
    stage.level(255, 0.25)
    assert not client.under_pressure()
    assert stage.watch.wait(stage.now) == 0.5
    stage.turn(0.5)
    assert client.under_pressure() and not client.under_pressure()
    assert stage.watch.wait(stage.now) == float("inf")


def test_what_is_over_before_it_was_told_is_not_told(stage: Stage) -> None:
    client = stage.client()
    stage.level(50)
    assert client.under_pressure()
    stage.level(100, 0.25)
    stage.level(0, 0.25)
    stage.turn(5.0)
    assert not client.under_pressure()


def test_who_comes_while_memory_is_short_is_told_at_once(stage: Stage) -> None:
    stage.level(100)
    assert stage.client().under_pressure()
    stage.watch.lost(stage.now)
    assert not stage.client().under_pressure(), "nobody knows any more"


def test_other_events_say_nothing(stage: Stage) -> None:
    client = stage.client()
    stage.watch.hear({"event": "warned", "rule": "low", "text": "it gets short"}, 0.0, stage.now)
    assert not client.under_pressure()


def test_who_does_not_read_costs_the_kernel_a_few_bytes(stage: Stage) -> None:
    lazy, other = stage.client(), stage.client()
    for _ in range(500):
        stage.level(50, AGAIN)
        assert other.under_pressure()
    assert 1 <= len(lazy.line.recv(65536)) < 32
    assert not stage.said


def test_who_has_gone_is_forgotten(stage: Stage) -> None:
    for _ in range(3 * EACH):
        stage.client().line.close()
        stage.turn(0.1)
    client = stage.client()
    stage.level(50)
    assert client.under_pressure() and not stage.said


def test_who_talks_on_is_shown_out(stage: Stage) -> None:
    talker, other = stage.client(), stage.client()
    talker.line.setblocking(False)
    for _ in range(2 * WORDS // 4096):
        try:
            talker.line.send(b"x" * 4096)
        except OSError:
            break
        stage.turn()
    assert talker.gone() and not other.gone()
    assert stage.said == ["a program that watches for pressure has more to say than there is to be said"]


def test_one_user_has_so_many_and_all_have_so_many(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    for _ in range(EACH + 2):
        kept.append(stage.client())
        stage.turn(0.1)
    assert [client.gone() for client in kept] == [False] * EACH + [True] * 2
    assert stage.said == [f"more programs of user {os.getuid()} watch for pressure than can be told"]
    monkeypatch.setattr(module, "MOST", EACH)
    assert stage.client().gone()
    assert stage.said[1:] == ["more programs watch for pressure than can be told"]


def test_a_crowd_at_the_door_is_let_in_bit_by_bit(stage: Stage) -> None:
    waiting: list[socket.socket] = []
    for _ in range(KNOCKS):
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.connect(str(stage.path))
        waiting.append(line)
    stage.turn()
    assert stage.watch.wait(stage.now) == 1.0
    assert (EACH, 0) not in stage.watch.wants() and len(stage.watch.wants()) == EACH, "nobody listens at the door"
    for line in waiting:
        line.close()
    stage.turn(1.0)
    stage.level(50)
    assert stage.client().under_pressure()


def test_a_socket_that_was_left_is_replaced_and_anything_else_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("okoomer.say.say", said.append)
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(tmp_path / "pressure"))
    left.close()
    Watch(str(tmp_path / "pressure")).close()
    assert not said and not (tmp_path / "pressure").exists()
    (tmp_path / "pressure").write_text("precious")
    watch = Watch(str(tmp_path / "pressure"))
    assert said == [f"pressure cannot be watched at {tmp_path}/pressure: Address already in use"]
    watch.hear({"event": "level", "level": 50}, 0.0, 1.0)
    watch.turn({}, 1.0)
    assert (watch.wants(), watch.wait(1.0)) == ([], float("inf"))
    watch.close()
    assert (tmp_path / "pressure").read_text() == "precious"


def test_telling_everybody_takes_no_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EACH", module.MOST)
    clients = []
    for _ in range(module.MOST):
        clients.append(stage.client())
        stage.turn(0.1)
    began = time.thread_time()
    stage.level(50)
    assert time.thread_time() - began < 0.5
    assert all(client.under_pressure() for client in clients)


def test_an_event_that_makes_no_sense_is_the_callers_to_catch(stage: Stage) -> None:
    event: dict[str, Any] = {"event": "level", "level": None}
    with pytest.raises(TypeError):
        stage.watch.hear(event, 0.0, stage.now)
