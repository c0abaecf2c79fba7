"""The installed guard with a courier of its own user at its door: who does what, and that each outlives the other."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.box.box import Box
from tests.box.guards import OKOOMER
from tests.box.process import Proc
from tests.box.procfiles import GIB, MIB

NOBODY = 65534
RUN = "/run/okoomer-apart"
POLICY = """
[[rule]]
name  = "low"
when  = "mem.available <= 10%"
unit  = "process"
least = "8MiB"
steps = ["run 5s: OUT/note step", "kill"]

[[hook]]
on   = "died"
run  = "OUT/note plain"

[[hook]]
on   = "died"
run  = "OUT/note daemon"
user = "daemon"
"""
#: Notes its first argument and whose it is, on a line.
NOTE = '#!/bin/sh\necho "$1 $(id -u)" >>OUT/noted\n'


@pytest.fixture
def out(tmp_path: Path) -> Path:
    tmp_path.chmod(0o777)
    note, noted = tmp_path / "note", tmp_path / "noted"
    note.write_text(NOTE.replace("OUT", str(tmp_path)))
    note.chmod(0o755)
    noted.touch()
    noted.chmod(0o666)
    return tmp_path


@pytest.fixture
def guard(box: Box, out: Path) -> Callable[[], Proc]:
    policy = out / "policy.toml"
    policy.write_text(POLICY.replace("OUT", str(out)))

    def start() -> Proc:
        argv = [OKOOMER, "run", "--service", "--json", "--courier-user", "nobody", "--runtime-dir", RUN]
        guard = box.daemon([*argv, "--policy", str(policy)])
        box.until(lambda: not guard.alive or any('"started"' in line.text for line in guard.lines), 60)
        assert guard.alive, guard.lines
        return guard

    return start


def courier(box: Box, out: Path, uid: int = NOBODY) -> Proc:
    config = out / "courier.toml"
    config.write_text("low_memory_monitor = false\nokoomer1 = false\nsystem_notifications = 'never'\n")
    config.chmod(0o644)
    argv = [OKOOMER, "courier", "--config", str(config), "--socket", f"{RUN}/guard.sock"]
    return box.daemon([*argv, "--runtime-dir", str(out / f"courier-{uid}")], uid=uid)


def until(condition: Callable[[], bool], what: str = "it", seconds: float = 60.0) -> None:
    """Waits for something that the box does not report."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.01)


def holds_ring(courier: Proc) -> bool:
    try:
        return any(str(fd.readlink()).endswith("/ring") for fd in (courier.proc / "fd").iterdir())
    except OSError:
        return False  # one that is being closed


def let_in(courier: Proc) -> None:
    """Waits until it has a line and what comes with it."""

    until(lambda: holds_ring(courier), f"{courier} to be let in")


def act(box: Box, guard: Proc) -> None:
    """Somebody is killed."""

    def deaths() -> int:
        return sum('"event": "died"' in line.text for line in guard.lines)

    before = deaths()
    hog = box.spawn(rss_bytes=300 * MIB, gives_back=12 * GIB)
    box.memory(available=int(box.total * 0.03))
    assert hog.wait(60).signal == signal.SIGKILL
    box.until(lambda: deaths() > before, 60)


def noted(out: Path) -> list[str]:
    return (out / "noted").read_text().splitlines()


def test_each_does_its_part_and_finds_the_other_again(box: Box, out: Path, guard: Callable[[], Proc]) -> None:
    apart = courier(box, out)
    apart.wait_line("it is waited for", 60)
    first = guard()
    let_in(apart)
    act(box, first)
    until(lambda: len(noted(out)) == 3)
    # The step and the hook as another user are the child's, which is root; the other hook is the courier's.
    assert sorted(noted(out)) == ["daemon 1", f"plain {NOBODY}", "step 0"]
    assert (apart.proc / "status").read_text().split("Uid:")[1].split()[0] == str(NOBODY)

    box.kill(first)
    first.wait(60)
    until(lambda: not holds_ring(apart), "the courier to notice")
    second = guard()
    let_in(apart)
    act(box, second)
    until(lambda: len(noted(out)) == 6)

    box.kill(apart)
    another = courier(box, out)
    let_in(another)
    act(box, second)
    until(lambda: len(noted(out)) == 9)
    assert sorted(noted(out)) == ["daemon 1"] * 3 + [f"plain {NOBODY}"] * 3 + ["step 0"] * 3
    assert second.alive and another.alive


def test_a_courier_of_another_user_stays_outside(box: Box, out: Path, guard: Callable[[], Proc]) -> None:
    running = guard()
    other = courier(box, out, uid=1)
    other.wait_line("it is waited for", 60)
    act(box, running)
    until(lambda: len(noted(out)) == 2)
    time.sleep(0.5)
    assert sorted(noted(out)) == ["daemon 1", "step 0"]


def test_a_guard_whose_courier_stands_still_acts_as_ever(box: Box, out: Path, guard: Callable[[], Proc]) -> None:
    running, apart = guard(), courier(box, out)
    let_in(apart)
    box.kill(apart, signal.SIGSTOP)
    act(box, running)
    box.kill(apart, signal.SIGCONT)
    until(lambda: len(noted(out)) == 3)


def test_who_asks_at_the_door_learns_how_things_are(box: Box, guard: Callable[[], Proc]) -> None:
    running = guard()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.settimeout(20)
        line.connect(f"{running.proc}/root{RUN}/guard.sock")
        line.send(b"state 1")
        head, text = line.recv(1 << 16).split(b" ok ", 1)
    assert head == b"reply 1"
    state = json.loads(text)
    assert state["level"] == 0 and state["questions"] == [] and state["paused"] == []
    assert abs(state["available"] - box.total * 0.8) < GIB and state["rss"] > MIB
    assert Path(f"{running.proc}/root{RUN}").stat().st_mode & 0o777 == 0o751


def test_in_the_foreground_the_guards_child_does_it_all_where_there_is_a_bus(box: Box, out: Path) -> None:
    policy = out / "policy.toml"
    policy.write_text(POLICY.replace("OUT", str(out)))
    argv = [OKOOMER, "run", "--json", "--runtime-dir", RUN, "--policy", str(policy)]
    running = box.daemon(argv, env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/run/no-bus"})
    running.wait_line('"event": "started"', 60)
    until(lambda: Path(f"{running.proc}/root{RUN}/pressure").exists(), "its services")
    act(box, running)
    until(lambda: len(noted(out)) == 3)
    assert sorted(noted(out)) == ["daemon 1", "plain 0", "step 0"]
