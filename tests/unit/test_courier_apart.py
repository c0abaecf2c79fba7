"""The courier as a process of its own: it finds a guard whenever there is one, and lives on when that ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from marshal import dumps
from pathlib import Path
from typing import Any

import pytest

from okoomer import courier
from okoomer.courier.desk import Desk
from okoomer.courier.knock import Knock, received
from okoomer.courier.launch import REST
from okoomer.courier.line import Line
from okoomer.courier.main import Courier
from okoomer.courier.managed import Board
from okoomer.courier.prekill import Prekill
from okoomer.courier.runs import Runs
from okoomer.events import model
from okoomer.events.ring import SLOTS
from okoomer.policy.model import Hook, Policy
from tests.unit.couriers import KILLED, VICTIM, asked, until
from tests.unit.descriptors import descriptors, left_open
from tests.unit.doors import House
from tests.unit.standing import state

#: In the front's place.
BECOME = """
import sys
from okoomer import courier
courier.become(courier.Options("", part=courier.launch.REST, door=sys.argv[1]))
"""


class Apart:
    """Such a courier; its words are in the file `words`."""

    def __init__(self, directory: Path, *arguments: str, **environment: str) -> None:
        self._words = directory / "words"
        command = arguments or (sys.executable, "-c", BECOME, str(directory / "guard.sock"))
        with self._words.open("wb") as file:
            self.process = subprocess.Popen(command, stderr=file, env={**os.environ, **environment})

    @property
    def words(self) -> str:
        return self._words.read_text()

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Apart]:
    made = Apart(tmp_path)
    yield made
    made.close()


def hooks(tmp_path: Path, *users: str) -> Policy:
    """Notes in the file `done` what happens, on a line."""
    command = ("/bin/sh", "-c", f"echo $OKOOMER_EVENT >>{tmp_path}/done")
    return Policy("p", (), hooks=tuple(Hook("killed", command, 10.0, user) for user in users or ("",)))


def done(tmp_path: Path) -> list[str]:
    path = tmp_path / "done"
    return path.read_text().split() if path.exists() else []


def guarding(tmp_path: Path, policy: Policy) -> House:
    house = House(tmp_path)
    house.door.configure(policy)
    return house.live()


def test_it_waits_for_a_guard_and_says_so_once(tmp_path: Path, apart: Apart) -> None:
    until(lambda: "it is waited for" in apart.words)
    time.sleep(1.0)
    with guarding(tmp_path, hooks(tmp_path)) as house:
        until(lambda: house.entered)
        house.tell(VICTIM, KILLED)
        until(lambda: done(tmp_path))
    assert house.entered == [apart.process.pid]
    assert apart.words.count("\n") == 1 and f"{tmp_path}/guard.sock" in apart.words


def test_it_hears_a_guards_last_words_and_finds_the_next_one(tmp_path: Path, apart: Apart) -> None:
    for count in (1, 2, 3):
        with guarding(tmp_path, hooks(tmp_path)) as house:
            until(lambda house=house: house.entered)  # type: ignore[misc]
            house.tell(VICTIM, KILLED)
        until(lambda count=count: len(done(tmp_path)) == count)  # type: ignore[misc]
        assert apart.process.poll() is None


def test_what_was_told_before_it_came_is_not_its_business(tmp_path: Path) -> None:
    with guarding(tmp_path, hooks(tmp_path)) as house:
        house.tell(VICTIM, KILLED)
        apart = Apart(tmp_path)
        try:
            until(lambda: house.entered)
            house.tell(VICTIM, KILLED)
            until(lambda: done(tmp_path))
        finally:
            apart.close()
    assert done(tmp_path) == ["killed"]


def test_what_is_told_while_it_comes_in_is_heard(tmp_path: Path, apart: Apart) -> None:
    with House(tmp_path) as house:
        first = house.door._first

        def stopped_first() -> int:
            apart.process.send_signal(signal.SIGSTOP)
            until(lambda: state(apart.process.pid) == "T")
            return first()

        house.door._first = stopped_first
        house.door.configure(hooks(tmp_path))
        house.live()
        until(lambda: house.entered)
        house.tell(VICTIM, KILLED)
        apart.process.send_signal(signal.SIGCONT)
        until(lambda: done(tmp_path))


def test_what_needs_the_guards_own_user_is_left_to_the_guards_child(tmp_path: Path, apart: Apart) -> None:
    with guarding(tmp_path, hooks(tmp_path, "nobody", "", "root")) as house:
        until(lambda: house.entered)
        house.tell(asked(1, "/bin/touch", str(tmp_path / "touched")), VICTIM, KILLED)
        until(lambda: done(tmp_path))
        time.sleep(0.3)
    apart.close()
    assert done(tmp_path) == ["killed"] and not (tmp_path / "touched").exists()


def test_another_policy_has_other_hooks_from_the_next_event_on(tmp_path: Path, apart: Apart) -> None:
    old = Hook("chosen", ("/bin/sh", "-c", f"echo $OKOOMER_EVENT >>{tmp_path}/done"), 10.0)
    with guarding(tmp_path, Policy("old", (), hooks=(old,))) as house:
        until(lambda: house.entered)
        house.tell(VICTIM, KILLED)
        until(lambda: done(tmp_path))
        house.door.configure(hooks(tmp_path))
        house.tell(VICTIM, KILLED)
        until(lambda: len(done(tmp_path)) == 2)
    assert done(tmp_path) == ["chosen", "killed"]


def test_a_courier_that_stood_still_goes_on_with_what_is_left_and_the_guard_never_noticed(
    tmp_path: Path, apart: Apart
) -> None:
    with guarding(tmp_path, hooks(tmp_path)) as house:
        until(lambda: house.entered)
        apart.process.send_signal(signal.SIGSTOP)
        # Whoever waited for it here would wait for ever.
        house.tell(*(model.Changed("something") for _ in range(4 * SLOTS)))
        house.tell(VICTIM, KILLED)
        apart.process.send_signal(signal.SIGCONT)
        until(lambda: done(tmp_path))
        until(lambda: "events were overwritten" in apart.words)
    assert len(house.entered) == 1


def test_two_couriers_do_not_take_each_others_place_all_the_time(tmp_path: Path, apart: Apart) -> None:
    with guarding(tmp_path, Policy("none", ())) as house:
        until(lambda: house.entered)
        (tmp_path / "other").mkdir()
        other = Apart(tmp_path / "other", sys.executable, "-c", BECOME, str(tmp_path / "guard.sock"))
        try:
            until(lambda: len(set(house.entered)) == 2)
            time.sleep(3.0)
            assert len(house.entered) < 12
        finally:
            other.close()


def test_whoever_stands_at_the_door_and_is_no_guard_is_told_from_one(tmp_path: Path, apart: Apart) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(str(tmp_path / "guard.sock"))
        door.listen()
        door.settimeout(20)
        line, _ = door.accept()
        read, write = os.pipe()
        with line:
            assert line.recv(100) == b"hello"
            socket.send_fds(line, [b"welcome 1 2"], [read, write])
            line.settimeout(20)
            assert line.recv(100) == b""
        os.close(read)
        os.close(write)
    (tmp_path / "guard.sock").unlink()
    with guarding(tmp_path, hooks(tmp_path)) as house:
        until(lambda: house.entered)
    assert "who stands there is no guard" in apart.words and "Traceback" not in apart.words


@pytest.mark.parametrize(
    ("packet", "count"),
    [
        (b"welcome 1 2", 0), (b"welcome 1 2", 1), (b"welcome 1 2", 2), (b"welcome 1 2", 3), (b"welcome x 2", 2),
        (b"welcome 1", 2), (b"go away", 2), (b"reply 1 ok", 0), (dumps((1, 2)), 0), (b"\0" * 1000, 2), (b"", 2),
    ],
)  # fmt: skip
def test_what_is_no_welcome_is_not_taken_for_one_and_leaves_nothing_open(packet: bytes, count: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pipe = os.pipe()
    before = descriptors()
    with ours, theirs:
        socket.send_fds(theirs, [packet], [*pipe, pipe[0]][:count])
        with pytest.raises((ValueError, ConnectionError)):
            received(ours)
        assert not left_open(before)
    for fd in pipe:
        os.close(fd)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("guarded", [True, False])
def test_it_ends_when_it_is_told_to(tmp_path: Path, apart: Apart, number: int, guarded: bool) -> None:
    if guarded:
        with guarding(tmp_path, hooks(tmp_path)) as house:
            until(lambda: house.entered)
            apart.process.send_signal(number)
            assert apart.process.wait(60) == 0
    else:
        until(lambda: "it is waited for" in apart.words)
        apart.process.send_signal(number)
        assert apart.process.wait(60) == 0


def test_it_takes_along_nothing_that_it_need_not_have() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "import okoomer.courier.main, okoomer.courier.knock, okoomer.courier.parts, okoomer.courier.ready; "
        "print(*sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", program, str(Path(courier.__file__).parents[2])]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()
    assert {name.split(".")[1] for name in loaded if name.startswith("okoomer.")} == {
        "courier", "events", "record", "say", "units"
    }  # fmt: skip
    heavy = {"collections", "enum", "json", "jeepney", "pathlib", "re", "signal", "socket", "subprocess", "typing"}
    assert not heavy & set(loaded)


class Scribe:
    """Hears, and notes what."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.losses = 0

    def hear(self, event: dict[str, Any], at: float, now: float) -> None:
        self.heard.append(event)
        if event["event"] == "changed":
            raise ValueError("it makes nothing of that")

    def lost(self, now: float) -> None:
        self.losses += 1


def test_a_courier_that_comes_late_hears_of_the_level_and_of_open_questions(tmp_path: Path) -> None:
    question = {"question": 7, "rule": "ask", "name": "hog", "pids": [42], "left": 9.5, "seconds": 20.0}
    old = {"question": 6, "rule": "ask", "name": "old", "pids": [41], "left": 1.0, "seconds": 20.0}
    state = {"level": 100, "available": 5, "left": None, "questions": [question, old]}
    scribe, runs, prekill = Scribe(), Runs(), Prekill(str(tmp_path / "prekill"))
    options = courier.Options("", part=REST)
    desk = Desk(options, {}, runs, None, prekill)
    line, knock = Line(), Knock(str(tmp_path / "guard.sock"))
    made = Courier(line, desk, runs, prekill, Board(""), [], [scribe], knock=knock)
    with House(tmp_path) as house:
        house.reply = ("ok", json.dumps(state))
        made._turn({})
        house.turns()
        made._turn({})
        house.tell(model.Changed("garbage to one"), model.Closed(6, "late"))
        house.turns()
        made._turn(made._wait())
        made._turn({line.fd: 1})
    kinds = [
        (event["event"], event.get("level"), event.get("question"), event.get("seconds")) for event in scribe.heard
    ]
    assert kinds == [
        ("changed", None, None, None),
        ("closed", None, 6, None),
        ("level", 100, None, None),
        ("question", None, 7, 9.5),
    ]
    made._turn({line.fd: 1})
    assert scribe.losses == 1 and line.socket is None
    asked_for: list[tuple[str, str]] = []
    line.ask("state {ref}", lambda status, text: asked_for.append((status, text)))
    made._turn({})
    assert asked_for == [("silent", "")]
    made._farewell()
    os.close(made._woken)
    os.close(made._waker)
