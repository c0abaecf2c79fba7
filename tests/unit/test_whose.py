"""Whose a process is at the moment that it is touched: what was true a moment ago gives nobody a say over another's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from okoomer.events import model
from okoomer.guard import still, whose
from okoomer.guard.act import Act
from okoomer.guard.request import Requests
from okoomer.kernel.process import users
from okoomer.policy.model import Comparison, Policy, Rule
from tests.unit.standing import below, holds, runs, seen, sleepers, stands, state, within
from tests.unit.test_ladder_ask_real import Asked
from tests.unit.test_request import OTHER, USER, Ladder, of_user

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as somebody else"),
]
RULE = Rule("low", Comparison("mem.available", "<", 0.1, share=True), "")
#: A user's process with a child that becomes root's as soon as there is something to be read: as one that runs a
#: setuid program does when it has asked for its password.
LOGS_IN = f"""
import ctypes, os, signal, struct, sys
libc = ctypes.CDLL(None)
libc.prctl(8, 1, 0, 0, 0)
os.setgroups([]), os.setresgid({USER}, {USER}, {USER}), os.setresuid({USER}, {USER}, {USER})
setuid = 1 << 7
assert libc.capset(struct.pack("Ii", 0x20080522, 0), struct.pack("6I", setuid, setuid, 0, 0, 0, 0)) == 0
if CHILD and os.fork():
    while True:
        signal.pause()
print(1, flush=True)
os.read(0, 1)
os.setresuid(0, 0, 0)
while True:
    signal.pause()
"""


class LogsIn:
    """The process that becomes root's; `first` is its parent, or itself."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.first = process.pid
        self.pid = below(process.pid)[-1]

    def __call__(self) -> None:
        assert self._process.stdin
        if users("/proc", self.pid) != {0}:
            self._process.stdin.write(b"x")
            self._process.stdin.flush()
            assert within(lambda: users("/proc", self.pid) == {0})


@contextmanager
def logging_in(child: bool) -> Iterator[LogsIn]:
    process = subprocess.Popen(
        [sys.executable, "-c", LOGS_IN.replace("CHILD", str(child))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout and process.stdout.readline() == b"1\n"
        yield LogsIn(process)
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        assert process.stdin and process.stdout
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize("child", [True, False])
def test_who_becomes_roots_while_a_user_has_it_paused_goes_on(monkeypatch: pytest.MonkeyPatch, child: bool) -> None:
    genuine = still.stop
    with logging_in(child) as process, holds() as (made, events):
        policy = Policy("test", (RULE,))
        requests = Requests("/proc", made, Ladder(), lambda: policy, lambda: "")

        def stop(proc: str, pid: int, start: int, note: Callable[[], None]) -> None:
            if pid == process.pid:
                process()  # it was the user's when that was looked at
            genuine(proc, pid, start, note)

        monkeypatch.setattr(still, "stop", stop)
        status, _ = requests("pause", f"{process.first} 0 {USER}", USER, False)
        assert status == ("ok" if child else "refused")
        assert runs(process.pid)
        if child:
            assert stands(process.first)
            [paused] = events
            assert isinstance(paused, model.Paused)
            assert (paused.pids, paused.lost) == ((process.first,), (process.pid,))


@pytest.mark.parametrize("word", [model.PAUSE, model.LIMIT])
def test_a_unit_that_is_not_only_the_users_any_more_is_not_his_to_answer_for(word: str) -> None:
    with logging_in(child=False) as process:
        act = Asked([process.first])
        try:
            act.ladder.asking.resume(act.ladder._act, "it has to run for this", 0.0)  # type: ignore[arg-type]
            act.ladder.asking.questions.now(paused=False)
            assert runs(process.first)
            process()
            question = act.ladder.questions()[0][0]
            assert question.user == USER
            assert act.ladder.answer(1, word, 0, USER, time.monotonic()) == "denied"
            assert state(process.pid) != "T"
            assert "Max data size             unlimited" in Path(f"/proc/{process.pid}/limits").read_text()
            assert act.ladder.answer(1, model.RESUME, 0, USER, time.monotonic()) == "ok", "that does nobody any harm"
        finally:
            act.ladder.close()
        assert runs(process.pid)


def test_a_user_has_a_say_over_a_unit_if_all_of_it_is_his() -> None:
    with of_user() as mine, of_user(OTHER) as other, sleepers() as [roots]:
        for pids, user, says in (
            (mine, USER, True), (mine, OTHER, False), ([*mine, *other], USER, False), ([*mine, roots], USER, False),
            ([*mine, *other, roots], 0, True), ([roots], USER, False), ([], USER, True),
        ):  # fmt: skip
            act = Act(0, RULE, "unit", seen(*pids), 0, 0)
            assert whose.all_of("/proc", act, user) is says
    assert whose.all_of("/proc", act, USER), "who is gone is nobody's"
    assert not whose.says("/proc", USER)(mine[0]), "and nobody has a say over it"


def test_of_a_cgroup_all_count_who_are_in_it_now(monkeypatch: pytest.MonkeyPatch) -> None:
    with of_user() as mine, sleepers() as [roots]:
        act = Act(0, RULE, "unit", seen(*mine), 0, 0, cgroup="/some")
        inside: list[int] = []
        monkeypatch.setattr(whose, "_inside", lambda _proc, _act: inside)
        inside[:] = mine
        assert whose.all_of("/proc", act, USER)
        inside.append(roots)
        assert not whose.all_of("/proc", act, USER) and whose.all_of("/proc", act, 0)
        inside[:] = mine * whose.MOST
        assert not whose.all_of("/proc", act, USER), "each is looked at, so they must not be too many"
