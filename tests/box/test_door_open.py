"""What is asked at the installed guard's door: pause, resume, and for whom; and that nobody stands still for ever."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.box.box import Box
from tests.box.guards import OKOOMER, events, state
from tests.box.process import Proc
from tests.box.test_courier_alone import NOBODY, RUN, until

OWNER, OTHER = 1000, 1001
#: Sends each line of its arguments as a packet, and prints what is replied.
ASK = """
import socket, sys
line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
line.settimeout(20)
line.connect(sys.argv[1])
for packet in sys.argv[2:]:
    line.send(packet.encode())
    print(line.recv(1 << 16).decode(), flush=True)
print("end", flush=True)
"""


@pytest.fixture
def guard(box: Box, tmp_path: Path) -> Proc:
    policy = tmp_path / "policy.toml"
    policy.write_text('[[rule]]\nname = "low"\nwhen = "mem.available <= 1%"\n')
    argv = [OKOOMER, "run", "--service", "--json", "--courier-user", "nobody", "--runtime-dir", RUN]
    guard = box.daemon([*argv, "--policy", str(policy)])
    guard.wait_line('"event": "started"', 60)
    return guard


@pytest.fixture
def ask(box: Box, guard: Proc) -> Callable[..., list[str]]:
    """Asks at the door as some user; the replies."""

    def ask(*packets: str, uid: int = 0) -> list[str]:
        caller = box.daemon([sys.executable, "-I", "-S", "-c", ASK, f"{RUN}/guard.sock", *packets], uid=uid)
        caller.wait_line("end", 60)
        return [line.text for line in caller.lines][:-1]

    return ask


def stands_still(proc: Proc) -> bool:
    return state(proc) == "T"


def test_root_has_somebody_stand_still_and_run_again(box: Box, guard: Proc, ask: Callable[..., list[str]]) -> None:
    sleeper = box.spawn(["/bin/sleep", "600"], uid=OWNER)
    assert ask(f"pause 1 {sleeper.pid} 0 0") == ["reply 1 ok"]
    until(lambda: stands_still(sleeper))
    [reply] = ask("state 2")
    [[pid, _start, name, user, _seconds]] = json.loads(reply.split(" ", 3)[3])["paused"]
    assert (pid, name, user) == (sleeper.pid, "sleep", OWNER)
    assert ask(f"resume 3 {sleeper.pid} 0 0", f"resume 4 {sleeper.pid} 0 0")[0] == "reply 3 ok"
    until(lambda: not stands_still(sleeper))
    box.until(lambda: bool(events(guard, "resumed")), 60)
    assert [event["by"] for event in events(guard, "paused")] == ["user 0"]


def test_the_courier_is_believed_for_users_and_not_for_root(box: Box, ask: Callable[..., list[str]]) -> None:
    sleeper = box.spawn(["/bin/sleep", "600"], uid=OWNER)
    pid = sleeper.pid
    replies = ask(f"pause 1 {pid} 0 0", f"pause 2 {pid} 0 {OTHER}", f"pause 3 {pid} 1 {OWNER}", uid=NOBODY)
    assert [reply.split(" ")[:3] for reply in replies] == [
        ["reply", "1", "denied"], ["reply", "2", "denied"], ["reply", "3", "none"]
    ]  # fmt: skip
    assert not stands_still(sleeper)
    time.sleep(1.1)  # so many may be asked to stand still in a second
    assert ask(f"pause 4 {pid} 0 {OWNER}", uid=NOBODY) == ["reply 4 ok"]
    until(lambda: stands_still(sleeper))
    assert ask(f"resume 5 {pid} 0 {OTHER}", uid=NOBODY)[0].startswith("reply 5 denied")
    assert ask(f"resume 6 {pid} 0 0", uid=NOBODY) == ["reply 6 ok"]
    until(lambda: not stands_still(sleeper))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_however_the_guard_ends_they_run_again(
    box: Box, guard: Proc, ask: Callable[..., list[str]], number: signal.Signals
) -> None:
    sleepers = [box.spawn(["/bin/sleep", "600"], uid=OWNER) for _ in range(2)]
    for sleeper in sleepers:
        assert ask(f"pause 1 {sleeper.pid} 0 0") == ["reply 1 ok"]
        until(lambda sleeper=sleeper: stands_still(sleeper))  # type: ignore[misc]
    box.kill(guard, number)
    guard.wait(60)
    until(lambda: not any(map(stands_still, sleepers)))
    assert all(sleeper.alive for sleeper in sleepers)


def test_those_who_work_for_the_guard_are_not_paused(box: Box, guard: Proc, ask: Callable[..., list[str]]) -> None:
    watcher = (guard.proc / "task" / str(guard.pid) / "children").read_text().split()
    for pid in (1, guard.pid, *map(int, watcher)):
        [reply] = ask(f"pause 1 {pid} 0 0")
        assert reply.split(" ")[2] == "refused"
        time.sleep(0.6)
    assert guard.alive and len(watcher) == 1
