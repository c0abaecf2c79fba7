"""What persons ask of the guard: who has a say over whom, and who never stands still. Nothing sent is trusted."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from okoomer.events.model import Question
from okoomer.guard import request as module
from okoomer.guard.hold import Holds
from okoomer.guard.request import Requests, sparing
from okoomer.guard.sense import Unreadable
from okoomer.kernel.process import ticks
from okoomer.policy.model import Comparison, Policy, Rule
from tests.unit.standing import Kept, below, name, runs, seen, sleepers, stands, state, tree, within
from tests.unit.strategies import selector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from okoomer.policy.model import Selector

pytestmark = pytest.mark.timeout(180)

ROOT = os.geteuid() == 0
ME = os.geteuid()
needs_root = pytest.mark.skipif(not ROOT, reason="only root can run as somebody else")
#: A user who is not here.
USER, OTHER = 54321, 54322


class Ladder:
    """Asks what the test says, and notes the answers."""

    def __init__(self) -> None:
        self.acts = False
        self.asked: list[Question] = []
        self.answers: list[tuple[int, str, int, int, float]] = []
        self.status = "ok"

    def busy(self, now: float) -> bool:
        return self.acts

    def questions(self) -> list[tuple[Question, float]]:
        return [(question, 5.0) for question in self.asked]

    def answer(self, question: int, word: str, size: int, user: int, now: float) -> str:
        self.answers.append((question, word, size, user, now))
        return self.status


class Desk:
    """Requests, with all that they act on."""

    def __init__(self, spare: tuple[Selector, ...] = (), dry_run: bool = False) -> None:
        self.events = Kept()
        self.holds = Holds("/proc", "", self.events.append)
        self.ladder = Ladder()
        self.now = 100.0
        rules = [
            Rule(name, Comparison("mem.available", "<", 0.05, share=True), "", unit="family", spare=spared)
            for name, spared in (("first", ()), ("second", spare))
        ]
        policy = Policy("test", tuple(rules))
        self.requests = Requests(
            "/proc", self.holds, self.ladder, lambda: policy, lambda: '{"level": 0}', dry_run, lambda: self.now
        )

    def __call__(self, text: str, believed: bool = True) -> str:
        self.now += 1.0  # nobody asks too often
        return self.ask(text, believed)[0]

    def ask(self, text: str, believed: bool = True) -> tuple[str, str]:
        verb, _, rest = text.partition(" ")
        return self.requests(verb, rest, 0 if believed else USER, believed)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.holds.close("", 0.0)


@contextmanager
def of_user(user: int = USER, script: str = "sleep 300 & sleep 301 & wait", size: int = 3) -> Iterator[list[int]]:
    """A shell of another user, and all below it, parents first."""
    child = subprocess.Popen(["sh", "-c", script], start_new_session=True, user=user)
    try:
        assert within(lambda: len(below(child.pid)) == size)
        yield below(child.pid)
    finally:
        for pid in below(child.pid)[::-1]:
            os.kill(pid, 9)
        child.wait()


# --- what is no request ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "", "hello", "state 1", "kill 1", "answer", "answer 1 0 end", "answer 1 0 end 0 0", "answer 1 0 END 0",
        "answer -1 0 end 0", "answer 1 -1 end 0", "answer 1 0 end -1", "answer 1 0 eat 0", "answer 1  end 0",
        "answer 1.0 0 end 0", "answer 1 0 limit 1e9", "answer 1 0 limit 99999999999999999999", "answer 0x1 0 end 0",
        "answer 1 4294967295 end 0", "answer 99999999 0 end 0", "answer 1 0 limit 1152921504606846976",
        "pause", "pause 1", "pause 4 0", "pause 4 0 0 0", "pause 0 0 0", "pause -4 0 0", "pause 4 -1 0", "pause 4 0 -1",
        "pause +4 0 0", "pause 4194304 0 0", "pause 4_0 0 0", "pause ४ 0 0", "pause 4 0 4294967295", "pause  4 0 0",
        "pause 00000000000000000004 0 0", "pause 4 1152921504606846976 0", "resume 0 0 0", "resume 4 0", "resume x y z",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_bad_and_changes_nothing(desk: Desk, text: str) -> None:
    assert desk.ask(text) == ("bad", "") and not desk.ladder.answers and not desk.events


def test_how_things_are_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk.ask("state") == ("ok", '{"level": 0}')

    def unreadable() -> str:
        raise Unreadable("/proc/meminfo cannot be read")

    desk.requests._state = unreadable
    assert desk.ask("state") == ("none", "/proc/meminfo cannot be read")


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["resume", "pause", "end", "limit"])
@pytest.mark.parametrize("believed", [True, False])
@pytest.mark.parametrize("user", [0, 1000])
def test_an_answer_is_handed_on_whoever_gives_it(desk: Desk, word: str, believed: bool, user: int) -> None:
    desk.ladder.status = "denied"
    assert desk(f"answer 3 {user} {word} 1048576", believed) == "denied"
    assert desk.ladder.answers == [(3, word, 1048576, user, 101.0)]


# --- pausing and resuming -------------------------------------------------------------------------------------------


def test_a_process_and_all_below_it_stand_still_and_run_again(desk: Desk) -> None:
    with tree() as pids:
        assert desk(f"pause {pids[0]} {ticks('/proc', pids[0])} {ME}") == "ok" and stands(*pids)
        assert [(row[0], row[3]) for row in desk.holds.listing()] == [(pids[0], ME)]
        # By any of them.
        assert desk(f"resume {pids[2]} 0 {ME}") == "ok" and runs(*pids)
        assert desk.events.names() == ["Paused", "Resumed"]
        assert desk.ask(f"resume {pids[2]} 0 {ME}") == ("none", f"okoomer has not paused {pids[2]}")


def test_what_okoomer_has_not_paused_it_does_not_resume(desk: Desk) -> None:
    with sleepers() as [pid]:
        os.kill(pid, signal.SIGSTOP)
        assert stands(pid)
        assert desk(f"resume {pid} 0 0") == "none"
        assert desk(f"pause {pid} 0 0") == "refused" and state(pid) == "T"


def test_a_process_that_is_gone_or_another_by_now_is_none(desk: Desk) -> None:
    with sleepers() as [pid]:
        start = ticks("/proc", pid)
        assert desk(f"pause {pid} {start + 1} 0") == "none" and desk("pause 4194303 0 0") == "none"
        assert desk(f"pause {pid} {start} 0") == "ok"
        assert desk(f"resume {pid} {start + 1} 0") == "none" and desk(f"resume {pid} {start} 0") == "ok"


def test_who_is_paused_already_by_the_same_wish_is_not_paused_again(desk: Desk) -> None:
    with sleepers() as [pid]:
        assert desk(f"pause {pid} 0 0") == "ok"
        assert desk.ask(f"pause {pid} 0 0") == ("refused", f"{pid} is paused already")


def test_a_question_about_who_is_resumed_is_answered_by_that(desk: Desk) -> None:
    with sleepers() as [pid]:
        assert desk(f"pause {pid} 0 0") == "ok"
        desk.ladder.asked = [
            Question(4, "low", "hog", (pid,), 0, "", 20.0, ("resume", "end"), "kill", 0, 0, True, 0, ""),
            Question(5, "low", "hog", (1,), 0, "", 20.0, ("resume", "end"), "kill", 0, 0, True, 0, ""),
            Question(6, "low", "hog", (pid,), 0, "", 20.0, ("resume", "end"), "kill", 0, 0, False, 0, ""),
        ]
        assert desk(f"resume {pid} 0 0") == "ok" and runs(pid)
        assert [answer[:4] for answer in desk.ladder.answers] == [(4, "resume", 0, 0)]


def test_a_dry_run_and_an_act_in_flight_leave_everybody_alone(desk: Desk) -> None:
    with sleepers() as [pid]:
        assert Desk(dry_run=True).ask(f"pause {pid} 0 0") == ("refused", "a dry run touches nobody")
        desk.ladder.acts = True
        assert desk(f"pause {pid} 0 0") == "busy" and state(pid) != "T"


# --- who may --------------------------------------------------------------------------------------------------------


@needs_root
def test_a_user_has_a_say_over_his_own_processes_only(desk: Desk) -> None:
    with of_user() as pids, sleepers() as [roots]:
        for pid in (pids[0], roots):
            assert desk(f"pause {pid} 0 {OTHER}") == "denied"
        assert desk(f"pause {roots} 0 {USER}", believed=False) == "denied"
        assert "T" not in map(state, [*pids, roots])
        assert desk(f"pause {pids[0]} 0 {USER}", believed=False) == "ok" and stands(*pids)
        assert desk(f"resume {pids[0]} 0 {OTHER}") == "denied" and stands(*pids)
        assert desk(f"resume {pids[0]} 0 {USER}", believed=False) == "ok" and runs(*pids)
        assert desk(f"pause {pids[0]} 0 0") == "ok" and stands(*pids)
        assert desk(f"resume {pids[0]} 0 {USER}", believed=False) == "ok" and runs(*pids)


@needs_root
def test_whoever_is_not_believed_cannot_pause_for_root_but_can_resume(desk: Desk) -> None:
    with of_user() as pids:
        assert desk(f"pause {pids[0]} 0 0", believed=False) == "denied" and "T" not in map(state, pids)
        assert desk(f"pause {pids[0]} 0 0") == "ok" and stands(*pids)
        assert desk(f"resume {pids[0]} 0 0", believed=False) == "ok" and runs(*pids)


@needs_root
@pytest.mark.parametrize("ids", [(0, USER, USER), (USER, USER, 0), (USER, 0, USER), (OTHER, USER, USER)])
def test_a_process_that_runs_also_as_somebody_else_is_not_only_its_users(desk: Desk, ids: tuple[int, int, int]) -> None:
    program = f"import os, time\nos.setresuid{ids}\nprint(1, flush=True)\ntime.sleep(300)"
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert child.stdout and child.stdout.readline() == b"1\n"
        assert desk(f"pause {child.pid} 0 {USER}") == "denied" and state(child.pid) != "T"
    finally:
        child.kill()
        child.communicate()


@needs_root
def test_what_belongs_to_somebody_else_below_it_goes_on_with_all_below_that(desk: Desk) -> None:
    inner = f"setpriv --reuid {USER} --clear-groups sh -c 'sleep 300 & wait'"
    with tree(f"sleep 300 & {inner} & wait", size=4) as pids:
        assert within(lambda: sum(Path(f"/proc/{pid}").stat().st_uid == USER for pid in below(pids[0])) == 2)
        others = [pid for pid in pids if Path(f"/proc/{pid}").stat().st_uid == USER]
        assert desk(f"pause {pids[0]} 0 0") == "ok"
        assert stands(*(pid for pid in pids if pid not in others)) and "T" not in map(state, others)


# --- who never stands still -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [1, 2, os.getpid(), os.getppid()])
def test_init_the_kernel_and_we_with_our_parents_never_stand_still(desk: Desk, who: int) -> None:
    if not Path(f"/proc/{who}").exists():
        pytest.skip("it is not to be seen here")
    assert desk(f"pause {who} 0 0") in ("refused", "none") and not desk.events


def test_whoever_works_for_us_never_stands_still(desk: Desk) -> None:
    with tree() as pids:
        desk.holds.never.add(pids[0])
        assert desk.ask(f"pause {pids[0]} 0 0") == ("refused", "it works for okoomer")
        desk.holds.never.add(pids[2])
        desk.holds.never.remove(pids[0])
        assert desk(f"pause {pids[0]} 0 0") == "ok"
        apart = below(pids[2])
        assert stands(*(pid for pid in pids if pid not in apart)) and "T" not in map(state, apart)


def test_whom_any_rule_spares_never_stands_still() -> None:
    desk = Desk((selector("name:sleep"),))
    with tree() as pids, sleepers() as [pid]:
        assert desk.ask(f"pause {pid} 0 0")[0] == "refused"
        assert desk(f"pause {pids[0]} 0 0") == "ok"
        assert stands(*(pid for pid in pids if name(pid) == "sh"))
        assert "T" not in [state(pid) for pid in pids if name(pid) == "sleep"]
    desk.holds.close("", 0.0)


def test_who_has_the_lowest_adjustment_never_stands_still(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with sleepers() as [pid]:
        genuine = module.kernel.number

        def adjusted(proc: str, who: int, name: str) -> int:
            return -1000 if (who, name) == (pid, "oom_score_adj") else genuine(proc, who, name)

        monkeypatch.setattr(module.kernel, "number", adjusted)
        assert desk.ask(f"pause {pid} 0 0") == ("refused", "oom_score_adj -1000") and state(pid) != "T"


def test_who_is_born_while_its_unit_is_stopped_is_spared_by_the_words_of_any_rule() -> None:
    policy = Desk((selector("cmdline:^sleep 301"),)).requests._policy
    with tree("sleep 300 & sleep 301 & wait", size=3) as pids:
        spares = sparing("/proc", policy)
        assert within(lambda: [bool(spares(one)) for one in seen(*pids)] == [False, False, True])


def test_a_shell_with_a_terminal_and_that_terminal_never_stand_still_but_what_runs_in_it_does(desk: Desk) -> None:
    # A "terminal" below us that starts a shell with a terminal of its own, in which a job runs.
    program = "import pty, sys\npty.spawn(['sh', '-c', 'sleep 300 & sleep 301; wait'])"
    outer, inner = pty.openpty()
    child = subprocess.Popen([sys.executable, "-c", program], stdin=inner, stdout=inner, start_new_session=True)
    try:
        assert within(lambda: len(below(child.pid)) == 4)
        terminal, shell, *jobs = below(child.pid)
        assert desk(f"pause {shell} 0 0") == "refused"
        assert desk(f"pause {terminal} 0 0") == "refused"
        assert "T" not in map(state, below(child.pid))
        assert desk(f"pause {jobs[0]} 0 0") == "ok" and stands(jobs[0])
    finally:
        for pid in below(child.pid):
            os.kill(pid, 9)
        child.wait()
        os.close(outer)
        os.close(inner)


# --- how much -------------------------------------------------------------------------------------------------------


def test_nobody_can_have_processes_looked_at_all_the_time(desk: Desk) -> None:
    with sleepers(6) as pids:

        def burst(*users: int) -> list[str]:
            return [desk.ask(f"pause {pid} 0 {user}")[0] for pid, user in zip(pids, users, strict=False)]

        assert burst(USER, USER, USER, OTHER, OTHER, OTHER) == ["denied", "denied", "busy", "denied", "denied", "busy"]
        assert desk.ask(f"pause {pids[5]} 0 {OTHER + 1}")[0] == "busy"
        desk.now += 1.0
        assert burst(ME, ME) == ["ok", "ok"]
        # To be resumed is possible at all times, and root may always ask.
        assert [desk.ask(f"resume {pid} 0 {ME}")[0] for pid in pids[:3]] == ["ok", "ok", "none"]
        assert burst(ME, ME, ME) == (["ok"] * 3 if ME == 0 else ["busy"] * 3)


@pytest.mark.parametrize(
    ("bound", "value", "status"),
    [
        ("IN_ONE", 3, "refused"), ("THREADS", 3, "refused"), ("IN_ALL", 3, "busy"), ("OF_ONE", 0, "busy"),
        ("IN_THOSE_OF_ONE", 3, "busy"),
    ],
)  # fmt: skip
def test_there_is_an_end_to_how_many_stand_still(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, status: str
) -> None:
    with tree() as pids:
        with monkeypatch.context() as patched:
            patched.setattr(module, bound, value)
            assert desk(f"pause {pids[0]} 0 0") == status and "T" not in map(state, pids)
        assert desk(f"pause {pids[0]} 0 0") == "ok"


@pytest.mark.parametrize("where", ["look", "users"])
def test_a_process_that_goes_while_it_is_looked_at_is_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    owner = {"look": module, "users": module.kernel}[where]
    genuine: Callable[..., object] = getattr(owner, where)
    with sleepers() as [pid]:

        def going(*given: object) -> object:
            if state(pid) not in ("", "Z"):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            return genuine(*given)

        monkeypatch.setattr(owner, where, going)
        assert (
            desk(f"pause {pid} 0 {USER if where == 'users' else 0}") in ("none", "denied", "refused")
            and not desk.events
        )
