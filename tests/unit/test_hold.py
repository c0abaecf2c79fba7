"""Standing still and running again: real processes of the test's own, and all that can go wrong on the way."""

from __future__ import annotations

import os
import posix
import signal
import subprocess
import sys
from errno import EPERM
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from okoomer import facts
from okoomer.events.model import Paused, Resumed
from okoomer.guard import hold as module
from okoomer.guard import stop as signals
from okoomer.guard.hold import Holds
from okoomer.guard.left import Left
from okoomer.guard.note import PROCESSES
from okoomer.kernel.process import ticks
from okoomer.record import replace
from tests.unit.cgroups import alive
from tests.unit.standing import holds, name, runs, seen, sleepers, stands, state, tree, within

if TYPE_CHECKING:
    from okoomer.facts import Process
    from okoomer.guard.hold import Hold

pytestmark = pytest.mark.timeout(180)


def pause(made: Holds, processes: list[Process], by: str = "rule low", now: float = 1.0) -> Hold:
    hold = made.pause(by, "hog", processes, "", 0, 7, now)
    assert hold
    return hold


def noted(note: Path) -> list[int]:
    left = Left(str(note))
    left.close()
    return [pid for pid, _ in left.processes]


# --- pausing and resuming -------------------------------------------------------------------------------------------


def test_a_unit_stands_still_and_runs_again_and_both_are_told() -> None:
    with sleepers(3) as pids, holds() as (made, events):
        hold = pause(made, seen(*pids), now=5.0)
        assert stands(*pids) and hold.pids == tuple(pids) and not hold.frozen
        made.resume(hold, "memory came back", 7.5)
        assert runs(*pids) and hold.over
        assert events == [
            Paused("rule low", "hog", tuple(pids), 7, "", False),
            Resumed("hog", tuple(pids), 7, "", 2.5, "memory came back", "rule low"),
        ]


def test_what_is_over_is_resumed_only_once() -> None:
    with sleepers() as [pid], holds() as (made, events):
        hold = pause(made, seen(pid))
        made.resume(hold, "", 1.0)
        os.kill(pid, signal.SIGSTOP)
        assert stands(pid)
        made.resume(hold, "", 1.0)
        made.release(hold, 1.0)
        assert state(pid) == "T" and events.names() == ["Paused", "Resumed"]


def test_who_is_asked_to_end_can_and_nothing_is_said() -> None:
    with sleepers() as [pid], holds() as (made, events):
        hold = pause(made, seen(pid))
        assert stands(pid)
        os.kill(pid, signal.SIGTERM)
        assert state(pid) == "T"
        made.release(hold, 1.0)
        assert within(lambda: state(pid) in "Z") and events.names() == ["Paused"]


def test_who_is_asked_to_end_can_whoever_has_stopped_it() -> None:
    with sleepers(2) as pids, holds() as (made, _):
        mine, theirs = pause(made, seen(*pids), "user 1"), pause(made, seen(pids[0]))
        assert stands(*pids)
        made.let_end([pids[0]])
        assert runs(pids[0]) and state(pids[1]) == "T"
        assert theirs.over and not mine.over and mine.pids == (pids[1],)
        made.let_end([pids[1]])
        assert runs(pids[1]) and mine.over


def test_who_is_held_twice_runs_when_both_have_let_go() -> None:
    with sleepers() as [pid], holds() as (made, events):
        first, second = pause(made, seen(pid), "user 1"), pause(made, seen(pid))
        made.resume(second, "", 1.0)
        assert stands(pid)
        made.resume(first, "", 1.0)
        assert runs(pid) and events.names() == ["Paused", "Paused", "Resumed", "Resumed"]


def test_closing_lets_all_run_and_takes_the_note_away(tmp_path: Path) -> None:
    note = tmp_path / "paused"
    with sleepers(2) as pids, holds(note) as (made, events):
        for pid in pids:
            pause(made, seen(pid))
        assert stands(*pids) and noted(note) == pids
        made.close("the guard ends", 3.0)
        assert runs(*pids) and not note.exists()
        assert [event.why for event in events if isinstance(event, Resumed)] == ["the guard ends"] * 2


# --- who is not stopped ---------------------------------------------------------------------------------------------


def test_who_stands_still_already_is_left_to_whoever_has_stopped_it() -> None:
    with sleepers(2) as [mine, theirs], holds() as (made, events):
        os.kill(theirs, signal.SIGSTOP)
        assert stands(theirs)
        hold = pause(made, seen(mine, theirs))
        assert hold.pids == (mine,) and isinstance(events[0], Paused) and events[0].lost == (theirs,)
        made.resume(hold, "", 1.0)
        assert runs(mine) and state(theirs) == "T"
        assert made.pause("rule low", "hog", seen(theirs), "", 0, 7, 1.0) is None
        assert state(theirs) == "T" and events.names() == ["Paused", "Resumed"]


def test_who_is_stopped_by_a_debugger_is_left_alone() -> None:
    program = f"""if True:
        import os, signal, sys, time
        sys.path.insert(0, {str(Path(module.__file__).parents[2])!r})
        from okoomer.kernel.syscalls import _syscall
        if os.fork() == 0:
            {'_syscall(101 if os.uname().machine == "x86_64" else 117, 0, 0, 0, 0)'}  # PTRACE_TRACEME
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(300)
        time.sleep(300)
    """
    child = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    try:
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        assert within(lambda: bool(children.read_text().split()))
        traced = int(children.read_text())
        assert within(lambda: state(traced) in ("t", "Z"))
        if state(traced) == "Z":
            pytest.skip("nobody can be traced here")
        with holds() as (made, events):
            assert made.pause("rule low", "hog", seen(traced), "", 0, 7, 1.0) is None
            assert state(traced) == "t" and not events
    finally:
        os.killpg(child.pid, 9)
        child.wait()


def test_a_pid_that_is_another_process_by_now_is_nobody() -> None:
    with sleepers() as [pid], holds() as (made, _):
        [process] = seen(pid)
        assert made.pause("rule low", "hog", [replace(process, started=process.started - 1)], "", 0, 7, 1.0) is None
        assert state(pid) != "T"
        hold = pause(made, [process])
        assert stands(pid)
        hold.members = ((pid, 1),)
        made._still._slots = {(pid, 1): made._still._slots.popitem()[1]}
        made.resume(hold, "", 1.0)
        assert state(pid) == "T"
        os.kill(pid, signal.SIGCONT)


def test_a_process_that_has_become_another_program_is_the_same_process() -> None:
    child = subprocess.Popen(["sh", "-c", "read go; exec sleep 300"], stdin=subprocess.PIPE, start_new_session=True)
    assert child.stdin
    try:
        with holds() as (made, _):
            [process] = seen(child.pid)
            child.stdin.write(b"\n")
            child.stdin.close()
            assert within(lambda: name(child.pid) == "sleep")
            hold = pause(made, [process])
            assert stands(child.pid)
            made.resume(hold, "", 1.0)
            assert runs(child.pid)
    finally:
        child.kill()
        child.wait()


def test_neither_we_nor_init_nor_whoever_works_for_us_is_ever_stopped() -> None:
    with sleepers() as [pid], holds() as (made, events):
        made.never.add(pid)
        for who in (pid, os.getpid(), 1):
            assert made.pause("rule low", "hog", seen(who), "", 0, 0, 1.0) is None
        assert state(pid) != "T" and not events


def test_a_process_that_is_gone_or_a_zombie_is_nobody() -> None:
    with sleepers() as [pid], holds() as (made, events):
        [process] = seen(pid)
        os.kill(pid, signal.SIGKILL)
        assert within(lambda: state(pid) == "Z")
        assert made.pause("rule low", "hog", [process], "", 0, 0, 1.0) is None
        assert made.pause("rule low", "hog", [replace(process, pid=2**22 - 1)], "", 0, 0, 1.0) is None
        assert made.pause("rule low", "hog", [], "", 0, 0, 1.0) is None
        assert not events


@pytest.mark.parametrize("where", ["pidfd_open", "stat", "pidfd_send_signal"])
def test_a_process_that_goes_between_two_steps_is_lost_and_not_noted(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note = tmp_path / "paused"
    with sleepers(2) as pids, holds(note) as (made, events):
        processes = seen(*pids)
        owner = {"pidfd_open": posix, "stat": module.kernel, "pidfd_send_signal": signals}[where]
        genuine = getattr(owner, where)
        count = 0

        def going(*given: object) -> object:
            nonlocal count
            count += 1
            if count == 1:
                os.kill(pids[0], signal.SIGKILL)
                os.waitpid(pids[0], 0)
            return genuine(*given)

        with monkeypatch.context() as patched:
            patched.setattr(owner, where, going)
            hold = pause(made, processes)
        assert hold.pids == (pids[1],) and isinstance(events[0], Paused) and events[0].lost == (pids[0],)
        assert stands(pids[1]) and noted(note) == [pids[1]]


def test_where_it_is_not_permitted_nobody_is_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def forbidden(*_given: object) -> None:
        raise PermissionError(EPERM, "no")

    note = tmp_path / "paused"
    with sleepers() as [pid], holds(note) as (made, events):
        processes = seen(pid)
        with monkeypatch.context() as patched:
            patched.setattr(signals, "pidfd_send_signal", forbidden)
            assert made.pause("rule low", "hog", processes, "", 0, 7, 1.0) is None
        assert not events and noted(note) == []


def test_more_than_can_be_noted_are_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sleepers(3) as pids, holds(tmp_path / "paused") as (made, _):
        for pid in range(PROCESSES - 2):
            made.note.add(2**21 + pid, 1)
        hold = pause(made, seen(*pids))
        assert hold.pids == tuple(pids[:2]) and stands(*pids[:2]) and state(pids[2]) != "T"
        made.note.clear(0)
        monkeypatch.setattr(module, "PERSONS", 1)
        monkeypatch.setattr(module, "MOST", 2)
        assert made.pause("user 7", "hog", seen(pids[2]), "", 0, 7, 1.0) is None
        # A rule finds room whatever persons do.
        assert made.pause("rule low", "hog", seen(pids[2]), "", 0, 7, 1.0)
        assert made.pause("rule low", "hog", seen(pids[0]), "", 0, 7, 1.0) is None


# --- order, and who is born meanwhile -------------------------------------------------------------------------------


def test_parents_are_stopped_before_their_children_and_run_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[tuple[int, str]] = []
    genuine = signals.pidfd_send_signal

    def heard(pidfd: int, number: int) -> None:
        info = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        pid = int(next(line.split()[1] for line in info.splitlines() if line.startswith("Pid:")))
        order.append((pid, signal.Signals(number).name))
        genuine(pidfd, number)

    monkeypatch.setattr(signals, "pidfd_send_signal", heard)
    with tree() as pids, holds() as (made, _):
        hold = pause(made, seen(*reversed(pids)))
        made.resume(hold, "", 1.0)
        stopped = [pid for pid, name in order if name == "SIGSTOP"]
        resumed = [pid for pid, name in order if name == "SIGCONT"]
        assert sorted(stopped) == sorted(pids) and resumed == stopped[::-1]
        assert (
            stopped[0] == pids[0] and stopped.index(pids[3]) > max(stopped.index(pids[1]), stopped.index(pids[2])) - 1
        )
        assert order == [*((pid, "SIGSTOP") for pid in stopped), *((pid, "SIGCONT") for pid in resumed)]


def test_processes_come_after_their_parents_each_once_even_in_a_circle() -> None:
    def process(pid: int, parent: int) -> Process:
        return facts.Process(pid, parent, "", 1.0)

    given = [process(5, 4), process(3, 1), process(4, 3), process(9, 8), process(8, 9), process(7, 7), process(4, 3)]
    assert [one.pid for one in signals.parents_first(given)] == [3, 4, 5, 9, 8, 7]
    assert signals.parents_first([]) == []


def test_a_parent_in_the_unit_does_not_see_its_child_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "PATIENT", 30.0)  # however busy the machine is
    program = """if True:
        import os, signal, time
        child = os.fork()
        if child == 0:
            signal.pause()
        print(1, flush=True)
        while True:
            pid, status = os.waitpid(child, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                print("seen", flush=True)
            else:
                break
        print("over", flush=True)
    """
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout
    try:
        assert child.stdout.readline() == b"1\n"
        below = int(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text())
        with holds() as (made, _):
            for _ in range(20):
                hold = pause(made, seen(below, child.pid))
                assert stands(child.pid, below)
                made.resume(hold, "", 1.0)
                assert runs(child.pid, below)
        os.kill(below, signal.SIGKILL)
        assert child.stdout.read() == b"over\n"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_who_is_born_while_its_parent_is_being_stopped_stands_still_too_unless_it_is_spared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "NEWBORN", 3600.0)
    with tree("sleep 300 & sleep 301 & wait", size=3) as pids, holds() as (made, events):
        spared = pids[2]
        made.spares = lambda process: process.pid == spared
        hold = pause(made, seen(pids[0]))
        assert hold.pids == (pids[0], pids[1]) and stands(*hold.pids) and state(spared) != "T"
        assert isinstance(events[0], Paused) and events[0].pids == hold.pids
        made.resume(hold, "", 1.0)
        assert runs(*pids)


def test_children_that_were_there_when_the_unit_was_chosen_are_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEWBORN", -3600.0)
    with tree() as pids, holds() as (made, _):
        hold = pause(made, seen(pids[0]))
        assert hold.pids == (pids[0],) and "T" not in map(state, pids[1:])


def test_nobody_of_a_unit_that_forks_all_the_time_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEWBORN", 3600.0)  # however long it takes them to end
    program = """if True:
        import os, time
        while True:
            if os.fork() == 0:
                time.sleep(0.3)
                os._exit(0)
            time.sleep(0.001)
    """
    child = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    try:
        assert within(lambda: len(children.read_text().split()) > 10)
        for _ in range(5):
            with holds() as (made, _):
                hold = pause(made, seen(child.pid))
                assert stands(child.pid)
                # Those who had ended before stay zombies: nobody waits for them.
                there = {pid for pid in map(int, children.read_text().split()) if alive(pid)}
                assert there <= set(hold.pids) and stands(*there)
    finally:
        os.killpg(child.pid, 9)
        child.wait()


# --- what there is --------------------------------------------------------------------------------------------------


def test_who_stands_still_is_listed_by_who_stands_for_all() -> None:
    with sleepers(2) as pids, holds() as (made, _):
        pause(made, seen(*pids), "user 1000", now=2.0)
        assert made.listing(4.5) == ((pids[0], ticks("/proc", pids[0]), "hog", 7, 2.5),)
        assert made.count("user 1000") == 1 and made.count("user 100") == 0 and made.of_persons() == 2
        assert [hold.pids for hold in made.of(pids[1])] == [tuple(pids)]
        assert not made.of(pids[1], 1) and not made.of(os.getpid())


def test_those_who_have_ended_are_forgotten(tmp_path: Path) -> None:
    note = tmp_path / "paused"
    with sleepers(2) as pids, holds(note) as (made, events):
        hold = pause(made, seen(*pids))
        os.kill(pids[0], signal.SIGKILL)
        assert within(lambda: state(pids[0]) == "Z")
        made.prune(1.0)
        assert not made.gone(hold) and not hold.over
        os.kill(pids[1], signal.SIGKILL)
        assert within(lambda: made.gone(hold))
        made.prune(1.0)
        assert hold.over and noted(note) == [] and made.listing(1.0) == () and events.names() == ["Paused"]
