"""`okoomer status`: who is paused and what is asked, from the guard's door or by the bus."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from okoomer.cli import status
from okoomer.events.ring import Ring
from tests.unit.buses import DAEMON, Daemon
from tests.unit.console import okoomer
from tests.unit.replies import Guard, asked
from tests.unit.replies import policy as policy
from tests.unit.replies import ring as ring
from tests.unit.sessions import POLICY, Okoomer, question


def test_it_names_who_is_paused_and_what_is_asked(tmp_path: Path, policy: Path, ring: Ring) -> None:
    guard = Guard(tmp_path)
    guard.paused, guard.questions = [[41, 5, "x\x1b[31m", 0, 1.5]], [asked(7)]
    guard.more["slowed"] = [[43, "y\x1b", "/a"]]
    ended = okoomer("status", "--runtime-dir", tmp_path, "--policy", policy)
    told = json.loads(okoomer("status", "--runtime-dir", tmp_path, "--policy", policy, "--json").out)
    guard.close()
    lines = ended.out.splitlines()
    assert ended.code == 0 and "paused: x\\x1b[31m (pid 41)" in lines and "slowed: y\\x1b (pid 43)" in lines
    assert told["slowed"] == [{"pid": 43, "name": "y\x1b"}]
    assert [line for line in lines if line.startswith("asked:  question 7: make (pid 42 43) is paused; ")]
    assert told["paused"] == [{"pid": 41, "name": "x\x1b[31m"}]
    assert [one["question"] for one in told["questions"]] == [7]


def test_it_names_who_is_first_for_the_kernel_too(tmp_path: Path, policy: Path, ring: Ring) -> None:
    guard = Guard(tmp_path)
    guard.more = {"primed": [41, "x\x1b[31m"]}
    ended = okoomer("status", "--runtime-dir", tmp_path, "--policy", policy)
    told = json.loads(okoomer("status", "--runtime-dir", tmp_path, "--policy", policy, "--json").out)
    guard.more = {}
    nobody = json.loads(okoomer("status", "--runtime-dir", tmp_path, "--policy", policy, "--json").out)
    guard.close()
    assert "primed: x\\x1b[31m (pid 41), first for the kernel's own killer, too" in ended.out.splitlines()
    assert told["primed"] == {"pid": 41, "name": "x\x1b[31m"} and nobody["primed"] is None


@pytest.mark.parametrize(("late", "word"), [(0.0, "quiet"), (0.25, "fired"), (None, "fired")])
def test_how_late_the_canary_is_comes_from_the_guard_and_decides(
    tmp_path: Path, policy: Path, ring: Ring, late: float | None, word: str
) -> None:
    policy.write_text('[[rule]]\nname = "late"\nwhen = "canary.late > 100ms"\nsteps = ["warn"]\n')
    guard = Guard(tmp_path)
    guard.more = {"canary": late}
    ended = okoomer("status", "--runtime-dir", tmp_path, "--policy", policy)
    told = json.loads(okoomer("status", "--runtime-dir", tmp_path, "--policy", policy, "--json").out)
    guard.close()
    said = [line for line in ended.out.splitlines() if line.startswith("canary:")]
    assert said == ([] if late is None else [f"canary: {late * 1000:.0f} ms late at the worst of the last 2 s"])
    assert f"rule late is {word}: canary.late {'unanswered' if late is None else f'{late * 1000:.0f} ms'}" in ended.out
    assert told["snapshot"]["canary"] == late and told["now"]["rules"][0]["state"] == word


def test_a_guard_that_has_no_door_has_paused_nobody(tmp_path: Path, policy: Path, ring: Ring) -> None:
    told = json.loads(okoomer("status", "--runtime-dir", tmp_path, "--policy", policy, "--json").out)
    assert (told["paused"], told["questions"]) == ([], [])


def test_of_a_guard_that_lets_nobody_in_it_is_not_known(tmp_path: Path, policy: Path, ring: Ring) -> None:
    guard = Guard(tmp_path)
    guard.reply = lambda _verb: None
    ended = okoomer("status", "--runtime-dir", tmp_path, "--policy", policy)
    told = json.loads(okoomer("status", "--runtime-dir", tmp_path, "--policy", policy, "--json").out)
    guard.close()
    assert ended.code == 0, "the guard runs all the same"
    assert "who is paused and what is asked is not known: " in ended.out and "does not let us in" in ended.out
    assert (told["paused"], told["questions"]) == (None, None)


@pytest.mark.skipif(DAEMON is None, reason="there is no dbus-daemon (Debian: dbus-daemon)")
def test_a_user_is_told_by_the_bus(tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "is_ours", lambda _directory: False)
    daemon = Daemon(tmp_path, POLICY)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.address)
    assert "asked:" not in okoomer("status", "--policy", policy).out, "there is no bus, and no word of it"
    daemon.start()
    try:
        assert "asked:" not in okoomer("status", "--policy", policy).out, "nobody is there"
        courier = Okoomer(daemon.address)
        courier.questions = {7: question(until=time.time() + 90)}
        slowed = {"event": "slowed", "name": "slug", "pids": [43]}
        courier.history = [json.dumps(one) for one in (slowed, {"event": "paused", "name": "make", "pids": [42]})]
        out = okoomer("status", "--policy", policy).out
        courier.close()
    finally:
        daemon.stop()
    assert (
        "slowed: slug (pid 43)\n" in out
        and "paused: make (pid 42)\n" in out
        and "asked:  question 7: make (pid 42 43) is paused; " in out
    )
