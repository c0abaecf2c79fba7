"""Those who have no business at the guard's door, and those who had once: they keep nobody out and cost nothing."""

from __future__ import annotations

import os
import select
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from okoomer.guard import door as module
from tests.unit.descriptors import descriptors, left_open
from tests.unit.doors import Caller, House
from tests.unit.standing import within

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
pytestmark = pytest.mark.timeout(180)
COURIER, STRANGER = 4242, 65534
#: Somebody who knocks as often as he can, from many threads that wait in the queue.
CROWD = """
import os, socket, sys, threading
os.setgroups([]); os.setgid({user}); os.setuid({user})
def knock():
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            try:
                line.connect(sys.argv[1])
            except OSError as error:
                pass
for _ in range(40):
    threading.Thread(target=knock, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def callers() -> Iterator[list[Caller]]:
    found: list[Caller] = []
    yield found
    for caller in found:
        caller.close()


def open_to_all(path: Path) -> None:
    for directory in (path, *path.parents[:3]):
        directory.chmod(directory.stat().st_mode | 0o055)


@needs_root
@pytest.mark.parametrize(
    ("courier", "group", "mode", "owner"),
    [(COURIER, 4343, 0o660, 4343), (COURIER, -1, 0o666, 0), (-1, -1, 0o600, 0), (0, 0, 0o600, 0), (-1, 4343, 0o600, 0)],
)
def test_only_those_who_may_come_in_can_knock(tmp_path: Path, courier: int, group: int, mode: int, owner: int) -> None:
    with House(tmp_path, courier=courier, group=group) as house:
        found = Path(house.path).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, 0, owner)
    assert os.getegid() == 0


@needs_root
def test_where_the_socket_cannot_be_given_away_all_may_knock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_group: int) -> None:
        raise PermissionError

    monkeypatch.setattr(module.os, "setegid", refuse)
    with House(tmp_path, group=4343) as house:
        assert stat.S_IMODE(Path(house.path).stat().st_mode) == 0o666


@needs_root
def test_a_crowd_of_strangers_keeps_no_courier_out_that_does_not_wait(tmp_path: Path) -> None:
    """A courier connects without waiting: where strangers stand in the queue it would hardly ever find room there."""
    open_to_all(tmp_path)
    with House(tmp_path, courier=COURIER, group=4343).live() as house:
        crowd = subprocess.Popen(
            [sys.executable, "-c", CROWD.format(user=STRANGER), house.path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert crowd.stdout
            assert crowd.stdout.readline() == "ready\n"
            for _ in range(5):
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
                    line.setblocking(False)
                    line.connect(house.path)  # BlockingIOError: there is no room in the queue
                assert not within(lambda: False, 0.2)
        finally:
            crowd.kill()
            crowd.communicate()


def test_a_courier_whose_line_is_over_is_shown_nothing_any_more(tmp_path: Path, callers: list[Caller]) -> None:
    """Its descriptor may be kept. Each that still showed something would make each event of the guard dearer."""
    with House(tmp_path, user=0) as house:
        for _ in range(3):
            callers.append(Caller(house, hello=True))
            house.turns(5)
            callers[-1].heard()
        house.sign()
        shown = [bool(select.epoll.fromfd(os.dup(caller.fds[1])).poll(0)) for caller in callers]
        assert shown == [False, False, True]
        callers.pop().abort()
        house.turns(5)
        assert house.door._reader == -1


def test_nothing_stays_open_of_couriers_that_come_and_go(tmp_path: Path) -> None:
    with House(tmp_path, user=0) as house:
        before = descriptors()
        for _ in range(12):
            caller = Caller(house, hello=True)
            house.turns(3)
            caller.close()
            house.turns(3)
        assert not left_open(before)
