"""Varlink's lines: whole messages, whatever comes in pieces, too long, or in no form."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from select import POLLIN, POLLOUT

import pytest

from okoomer.courier.managed import SYSTEM, Board, Setting
from okoomer.courier.prekill import ALL, MOST, SOME, Prekill
from okoomer.courier.subscription import LATE, METHOD, SOON, Subscription
from okoomer.courier.varlink import PIECE, UNREAD, Broken, Line, connect

Pair = tuple[Line, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A line, and its other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    line = Line(ours, 1000)  # type: ignore[arg-type]
    yield line, theirs
    line.close()
    theirs.close()


def test_messages_come_whole_and_in_order(pair: Pair) -> None:
    line, theirs = pair
    theirs.send(b'{"a": 1}\0{"b": {"c": ["\\u00e4", null, 2.5]}}\0{"d"')
    assert line.take() == [{"a": 1}, {"b": {"c": ["ä", None, 2.5]}}]
    assert line.take() == []
    for byte in b': "x\\u0000y"}':
        theirs.send(bytes([byte]))
        assert line.take() == []
    theirs.send(b"\0")
    assert line.take() == [{"d": "x\0y"}]


@pytest.mark.parametrize(
    "data",
    [
        b"\0", b"x\0", b"[]\0", b'"a"\0', b"1\0", b"null\0", b'{"a":}\0', b'{"a":1}}\0', b'{"a":1} \0', b"{\0",
        b"[" * 900 + b"\0", b'{"a":' * 150 + b"\0", b'{"a":"' + b"x" * 1000 + b'"}\0', b"x" * 1001,
    ],
)  # fmt: skip
def test_what_is_no_message_ends_the_line(pair: Pair, data: bytes) -> None:
    line, theirs = pair
    theirs.send(data)
    with pytest.raises(Broken):
        line.take()


def test_a_message_without_end_is_not_kept(pair: Pair) -> None:
    line, theirs = pair
    theirs.setblocking(False)
    with pytest.raises(Broken, match="too long"):
        for _ in range(100):
            try:
                theirs.send(b"x" * PIECE)
            except BlockingIOError:
                pass
            line.take()


def test_what_came_before_the_end_is_heard(pair: Pair) -> None:
    line, theirs = pair
    theirs.send(b'{"a": 1}\0{"b"')
    theirs.close()
    assert line.take() == [{"a": 1}]
    with pytest.raises(Broken, match="closed"):
        line.take()


def test_who_does_not_read_is_not_waited_for(pair: Pair) -> None:
    line, theirs = pair
    assert line.wants == POLLIN
    with pytest.raises(Broken, match="does not read"):
        for _ in range(10_000):
            line.send({"text": "x" * 1000})
    assert line.wants == POLLIN | POLLOUT
    theirs.setblocking(False)
    got = 0
    while line.wants & POLLOUT:
        got += len(theirs.recv(1 << 20))
        line.flush()
    assert got >= UNREAD


def test_to_send_to_nobody_is_an_end(pair: Pair) -> None:
    line, theirs = pair
    theirs.close()
    with pytest.raises(Broken):
        line.send({})


# --- the line to systemd ----------------------------------------------------------------------------------------


class Listener:
    """Somebody who listens at a path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(8)
        self._accepted: list[socket.socket] = []

    def accept(self) -> socket.socket:
        self.socket.settimeout(20)
        connection, _ = self.socket.accept()
        connection.settimeout(20)
        self._accepted.append(connection)
        return connection

    def close(self) -> None:
        for one in (*self._accepted, self.socket):
            one.close()
        self.path.unlink()


def heard(connection: socket.socket) -> dict[str, object]:
    data = b""
    while not data.endswith(b"\0"):
        data += connection.recv(1 << 16)
    message: dict[str, object] = json.loads(data[:-1])
    return message


def said(connection: socket.socket, **message: object) -> None:
    connection.sendall(json.dumps(message).encode() + b"\0")


def reply(connection: socket.socket, *paths: str) -> None:
    cgroups = [{"mode": "kill", "path": path, "property": "ManagedOOMSwap"} for path in paths]
    said(connection, parameters={"cgroups": cgroups}, continues=True)


def turn(subscription: Subscription, now: float) -> None:
    subscription.turn(dict(subscription.wants()), now)


def test_systemd_is_asked_and_heard_for_as_long_as_it_speaks(tmp_path: Path) -> None:
    listener, board = Listener(tmp_path / "new"), Board("/nowhere")
    subscription = Subscription(board, [str(tmp_path / "new"), str(tmp_path / "old")])
    turn(subscription, 0.0)
    manager = listener.accept()
    assert heard(manager) == {"method": METHOD, "parameters": {}, "more": True}
    reply(manager, "/a", "/b")
    turn(subscription, 1.0)
    reply(manager, "/c")
    turn(subscription, 2.0)
    assert board.settings() == [Setting("ManagedOOMSwap", path) for path in ("/a", "/b", "/c")]
    assert subscription.wait(2.0) == float("inf")
    subscription.close()
    listener.close()


def test_a_systemd_that_executes_itself_anew_is_asked_anew_and_what_is_gone_is_gone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, board = tmp_path / "old", Board("/nowhere")
    subscription = Subscription(board, [str(tmp_path / "new"), str(path)])
    listener = Listener(path)
    turn(subscription, 0.0)
    manager = listener.accept()
    reply(manager, "/a", "/b")
    turn(subscription, 1.0)
    manager.close()
    listener.close()
    turn(subscription, 2.0)
    assert len(board.settings()) == 2, "what was set stays set until systemd says otherwise"
    assert subscription.wait(2.0) == SOON
    listener = Listener(path)
    turn(subscription, 2.0 + SOON / 2)
    assert subscription.wants() == []
    turn(subscription, 2.0 + SOON)
    manager = listener.accept()
    reply(manager, "/b")
    turn(subscription, 3.0)
    assert board.settings() == [Setting("ManagedOOMSwap", "/b")]
    assert capfd.readouterr().err == ""
    subscription.close()
    listener.close()


def test_who_is_not_served_says_so_once_and_tries_less_and_less_often(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    listener = Listener(tmp_path / "new")
    subscription = Subscription(Board("/nowhere"), [str(tmp_path / "new")])
    now, pauses = 0.0, []
    for _ in range(12):
        turn(subscription, now)
        manager = listener.accept()
        said(manager, error="org.varlink.service.PermissionDenied", parameters={})
        turn(subscription, now)
        manager.close()
        pauses.append(subscription.wait(now))
        now += pauses[-1]
    assert pauses[:4] == [SOON, 2 * SOON, 4 * SOON, 8 * SOON] and pauses[-1] == LATE
    errors = capfd.readouterr().err
    assert errors.count("\n") == 1 and "answers org.varlink.service.PermissionDenied" in errors
    listener.close()


@pytest.mark.parametrize("data", [b"\xff\0", b'{"parameters": {"cgroups": 5}}\0', b'{"parameters": 1}\0', b"{}\0"])
def test_nonsense_from_systemd_takes_nothing_away(tmp_path: Path, data: bytes) -> None:
    listener, board = Listener(tmp_path / "new"), Board("/nowhere")
    subscription = Subscription(board, [str(tmp_path / "new")])
    board.take(SYSTEM, [])
    turn(subscription, 0.0)
    manager = listener.accept()
    reply(manager, "/a")
    turn(subscription, 0.0)
    manager.sendall(data)
    turn(subscription, 0.0)
    assert subscription.wants() == [] and len(board.settings()) == 1
    listener.close()


# --- hooks before a kill ----------------------------------------------------------------------------------------


def step(prekill: Prekill, now: float) -> list[tuple[int, int]]:
    prekill.turn(dict(prekill.wants()), now)
    return prekill.answers()


def test_without_hooks_a_kill_waits_for_nothing(tmp_path: Path) -> None:
    prekill = Prekill(str(tmp_path / "none"))
    prekill.begin(1, "/a", 5.0, 0.0)
    assert prekill.answers() == [(1, ALL)] and not prekill.busy


def test_all_hooks_are_told_and_waited_for(tmp_path: Path) -> None:
    hooks = [Listener(tmp_path / name) for name in ("one", "two")]
    (tmp_path / "not-a-socket").write_text("")
    hidden = Listener(tmp_path / ".hidden")
    prekill = Prekill(str(tmp_path))
    prekill.begin(7, "/a b/c", 5.0, 100.0)
    connections = [hook.accept() for hook in hooks]
    for connection in connections:
        assert heard(connection) == {"method": "io.systemd.oom.PreKill.Notify", "parameters": {"cgroup": "/a b/c"}}
    assert step(prekill, 100.1) == [] and prekill.wait(101.0) == 4.0
    said(connections[0], parameters={})
    assert step(prekill, 100.2) == []
    said(connections[1], error="com.example.No", parameters={})
    assert step(prekill, 100.3) == [(7, ALL)]
    assert not prekill.busy and prekill.wait(100.3) == float("inf")
    for one in (*hooks, hidden):
        one.close()


def test_a_hook_that_hangs_is_left_when_the_time_is_up(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hook = Listener(tmp_path / "slow")
    prekill = Prekill(str(tmp_path))
    prekill.begin(7, "/a", 0.5, 0.0)
    assert step(prekill, 0.49) == [] and step(prekill, 0.5) == [(7, SOME)]
    assert hook.accept().recv(1000).endswith(b"\0")
    assert "slow was not told of a kill: it has not answered in time" in capfd.readouterr().err
    hook.close()


@pytest.mark.parametrize("data", [b"", b"\0", b"x" * (1 << 17)])
def test_a_hook_that_answers_nonsense_has_answered(tmp_path: Path, data: bytes) -> None:
    hook = Listener(tmp_path / "odd")
    prekill = Prekill(str(tmp_path))
    prekill.begin(7, "/a", 5.0, 0.0)
    connection = hook.accept()
    heard(connection)
    connection.setblocking(False)
    if data:
        connection.send(data)
    connection.close()
    answers: list[tuple[int, int]] = []
    for _ in range(10):
        answers += step(prekill, 0.1)
    assert answers == [(7, SOME)]
    hook.close()


def test_a_hook_that_has_gone_or_is_too_busy_costs_nothing(tmp_path: Path) -> None:
    gone = Listener(tmp_path / "gone")
    gone.socket.close()
    prekill = Prekill(str(tmp_path))
    prekill.begin(7, "/a", 5.0, 0.0)
    assert prekill.answers() == [(7, SOME)]
    busy = socket.socket(socket.AF_UNIX)
    busy.bind(str(tmp_path / "busy"))
    busy.listen(0)
    waiting = [connect(str(tmp_path / "busy"), 10)]
    prekill.begin(8, "/a", 5.0, 0.0)
    # Whoever waited for that one would wait for ever.
    assert prekill.answers() == [(8, SOME)]
    for one in (*waiting, busy):
        one.close()


def test_hooks_that_anybody_could_have_put_there_are_not_called(tmp_path: Path) -> None:
    hook = Listener(tmp_path / "one")
    tmp_path.chmod(0o777)
    prekill = Prekill(str(tmp_path))
    prekill.begin(7, "/a", 5.0, 0.0)
    assert prekill.answers() == [(7, ALL)]
    tmp_path.chmod(stat.S_IRWXU)
    if os.geteuid() == 0:
        os.chown(tmp_path, 1234, -1)
        prekill.begin(8, "/a", 5.0, 0.0)
        assert prekill.answers() == [(8, ALL)]
    hook.close()


def test_no_more_than_some_hooks_are_called(tmp_path: Path) -> None:
    hooks = [Listener(tmp_path / f"{number}") for number in range(MOST + 2)]
    prekill = Prekill(str(tmp_path))
    prekill.begin(7, "/a", 5.0, 0.0)
    assert len(prekill.wants()) == MOST
    prekill.close()
    for hook in hooks:
        hook.close()
