"""Whom the kernel's own killer is to take: real processes of the test's own, raised while memory is short and as before
afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager
from errno import EACCES, ENOENT
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from okoomer.events.model import Primed, Trouble
from okoomer.facts import Memory, Process, Snapshot, Swap
from okoomer.guard import prime as module
from okoomer.guard.doze import CALM
from okoomer.guard.left import Left
from okoomer.guard.note import ADJUSTMENTS, Note
from okoomer.guard.prime import LOOK_AGAIN, OVER, SHORT, SOON, Primes
from okoomer.guard.scan import RAISED, look
from okoomer.guard.undo import recover
from okoomer.policy.engine import FIRED, HOLDING, QUIET, RuleVerdict, Verdict
from okoomer.policy.language import load, parse
from okoomer.policy.model import Comparison, Policy, Rule, Step
from okoomer.record import replace
from tests.unit.standing import Kept, seen, sleepers, within
from tests.unit.strategies import GIB, MIB
from tests.unit.test_undo import PARENT, adj, raise_to

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(60)

ENDS = Rule("low", Comparison("mem.available", "<", 0.05, share=True), "")
WARNS = Rule("early", Comparison("mem.available", "<", 0.3, share=True), "", steps=(Step("warn"),))
POLICY = Policy("p", (ENDS, WARNS), prime=True)


class Scene:
    def __init__(self, path: Path) -> None:
        self.events = Kept()
        self.path = path
        self.note = Note(str(path))
        self.primes = Primes("/proc", self.note, self.events.append)
        self.now = 0.0

    def first(self, *processes: Process) -> None:
        self.now += LOOK_AGAIN
        self.primes.first(processes, self.now)

    def noted(self) -> list[tuple[int, int]]:
        left = Left(str(self.path))
        left.close()
        return [(pid, ours) for pid, _, _, ours, _ in left.adjustments]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "paused")
    yield made
    made.primes.release()
    made.note.close()


def sized(pid: int, size: int, **changes: object) -> Process:
    return replace(*seen(pid), anon=size * MIB, **changes)


@contextmanager
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """A shell that forks when it is told to; all below it is gone afterwards."""
    child = subprocess.Popen(
        ["sh", "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdin and child.stdout
    try:
        yield child
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdin.close()
        child.stdout.close()


def fork(process: subprocess.Popen[bytes]) -> int:
    assert process.stdin and process.stdout
    process.stdin.write(b"\n")
    process.stdin.flush()
    return int(process.stdout.readline())


# --- one process ----------------------------------------------------------------------------------------------------


def test_the_largest_of_the_unit_is_raised_noted_and_told_and_as_before_afterwards(scene: Scene) -> None:
    with sleepers(3) as [small, large, other]:
        scene.first(sized(small, 5), sized(large, 9, user=7, cgroup="/a"))
        assert (adj(small), adj(large), adj(other)) == (0, RAISED, 0)
        assert scene.noted() == [(large, RAISED)]
        scene.primes.release()
        assert (adj(small), adj(large), adj(other)) == (0, 0, 0) and scene.noted() == []
        scene.primes.release()
        assert scene.events == [Primed("sleep", large, 7, "/a", RAISED), Primed("sleep", large, 7, "/a", 0)]


def test_when_the_choice_changes_the_one_before_is_put_back(scene: Scene) -> None:
    with sleepers(2) as [one, other]:
        scene.first(sized(one, 9))
        scene.first(sized(other, 9))
        assert (adj(one), adj(other)) == (0, RAISED) and scene.noted() == [(other, RAISED)]
        scene.first()
        assert (adj(one), adj(other)) == (0, 0) and scene.noted() == [] and scene.primes.who is None
        told = [(event.pid, event.adjustment) for event in scene.events if isinstance(event, Primed)]
        assert told == [(one, RAISED), (other, RAISED), (other, 0)]


@pytest.mark.parametrize(("size", "moves"), [(6, False), (17, False), (19, True)])
def test_within_a_unit_it_stays_with_who_has_half_as_much(scene: Scene, size: int, moves: bool) -> None:
    with sleepers(2) as [one, other]:
        scene.first(sized(one, 9), sized(other, 4))
        scene.first(sized(one, 9), sized(other, size))
        assert (adj(one), adj(other)) == ((0, RAISED) if moves else (RAISED, 0))


@pytest.mark.parametrize("value", [300, -500, 1000])
def test_who_has_an_order_of_its_own_is_left_alone(scene: Scene, value: int) -> None:
    with sleepers() as [pid]:
        try:
            raise_to(pid, value)
        except PermissionError:
            pytest.skip("it cannot be lowered here (CAP_SYS_RESOURCE)")
        scene.first(sized(pid, 9))
        # Also if it was another when it was looked at.
        scene.first(sized(pid, 9, adjustment=0))
        assert adj(pid) == value and scene.noted() == [] and not scene.events


def test_whoever_changes_it_meanwhile_keeps_what_was_chosen(scene: Scene) -> None:
    with sleepers() as [pid]:
        scene.first(sized(pid, 9))
        raise_to(pid, 999)
        scene.first(sized(pid, 9))
        assert adj(pid) == 999 and scene.noted() == []
        scene.primes.release()
        assert adj(pid) == 999 and scene.events.names() == ["Primed"]


def test_a_pid_that_is_another_process_by_now_is_not_touched(scene: Scene) -> None:
    with sleepers() as [pid]:
        scene.first(sized(pid, 9, started=1.0))
        assert adj(pid) == 0 and scene.noted() == [] and not scene.events


def test_who_has_ended_is_forgotten(scene: Scene) -> None:
    with sleepers() as [other]:
        child = subprocess.Popen(["sleep", "300"])
        assert within(lambda: Path(f"/proc/{child.pid}/comm").read_text() == "sleep\n")
        process = sized(child.pid, 9)
        scene.first(process)
        assert adj(child.pid) == RAISED
        child.kill()
        child.wait()
        scene.first(process, sized(other, 1))
        assert scene.noted() == []
        scene.first(sized(other, 1))
        assert adj(other) == RAISED and scene.noted() == [(other, RAISED)]


def test_a_scan_sees_what_was_there_before(scene: Scene) -> None:
    with sleepers() as [pid]:
        scene.first(sized(pid, 9))
        found = look("/proc", pid, frozenset())
        assert adj(pid) == RAISED and found and found.adjustment == 0
        raise_to(pid, 300)
        found = look("/proc", pid, frozenset())
        assert found and found.adjustment == 300


def test_without_the_right_to_it_is_said_once_and_nothing_is_noted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(directory: int, value: int) -> None:
        raise PermissionError(EACCES, "Permission denied")

    monkeypatch.setattr(module.adjustment, "put", put)
    with sleepers(2) as pids:
        for pid in pids:
            scene.first(sized(pid, 9))
        assert scene.noted() == [] and not scene.primes.due(scene.now + 1000)
        assert scene.events.names() == ["Trouble"]
        [event] = scene.events
        assert isinstance(event, Trouble) and event.text.endswith(f"of sleep (pid {pids[0]}): Permission denied")


def test_an_error_that_is_not_about_rights_is_no_end_of_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with sleepers() as [pid]:
        with monkeypatch.context() as patch:
            patch.setattr(module.adjustment, "put", lambda directory, value: (_ for _ in ()).throw(OSError(ENOENT, "")))
            scene.first(sized(pid, 9))
        assert scene.noted() == [] and not scene.events
        scene.first(sized(pid, 9))
        assert adj(pid) == RAISED


def test_where_it_cannot_be_noted_nobody_is_raised(scene: Scene) -> None:
    slots = [scene.note.add_adj(2**21, 1, 0, RAISED, 1) for _ in range(ADJUSTMENTS)]
    with sleepers() as [pid]:
        scene.first(sized(pid, 9))
        assert adj(pid) == 0 and not scene.events
        scene.note.clear(slots[0])
        scene.first(sized(pid, 9))
        assert adj(pid) == RAISED


# --- who is born meanwhile ------------------------------------------------------------------------------------------


def test_who_is_born_to_it_is_put_back_at_the_next_look(scene: Scene) -> None:
    with parent() as process:
        scene.first(sized(process.pid, 9))
        child = fork(process)
        assert adj(child) == RAISED
        scene.first(sized(process.pid, 9), sized(child, 1))
        assert (adj(process.pid), adj(child)) == (RAISED, 0)


@pytest.mark.parametrize("moves", [False, True])
def test_who_was_born_to_it_is_put_back_when_it_is_over_also_without_its_parent(scene: Scene, moves: bool) -> None:
    with sleepers() as [other], parent() as process:
        scene.first(sized(process.pid, 9))
        child = fork(process)
        assert adj(child) == RAISED
        process.kill()
        process.wait()
        if moves:
            scene.first(sized(other, 9))
        scene.primes.release()
        assert (adj(child), adj(other)) == (0, 0)


def test_a_guard_that_dies_leaves_it_to_its_note(scene: Scene) -> None:
    with sleepers() as [other], parent() as process:
        scene.first(sized(other, 9))
        scene.first(sized(process.pid, 9))
        child = fork(process)
        left = Left(str(scene.path))
        left.close()
        assert recover(str(scene.path), guard=left.owner) == 1
        assert (adj(other), adj(process.pid), adj(child)) == (0, 0, 0)


# --- when -----------------------------------------------------------------------------------------------------------


def short(primes: Primes, share: float, soonest: float = 0.0, *states: str, policy: Policy = POLICY) -> bool:
    snapshot = Snapshot(0.0, Memory(8 * GIB, 0, int(share * 8 * GIB)), Swap())
    rules = tuple(RuleVerdict(rule.name, state, ()) for rule, state in zip(policy.rules, states, strict=True))
    return primes.short(policy, snapshot, Verdict(0.0, rules, None, (), soonest))


def test_memory_is_short_near_the_highest_level_of_a_rule_that_ends_somebody(scene: Scene) -> None:
    near, off = 0.05 * SHORT, 0.05 * OVER
    assert short(scene.primes, near - 0.001, 0.0, QUIET, QUIET)
    assert not short(scene.primes, near + 0.001, 0.0, QUIET, FIRED)
    assert not short(scene.primes, 0.06, SOON, QUIET, QUIET), "nothing can happen for so long"
    for state in (HOLDING, FIRED):
        assert short(scene.primes, 0.9, 9.0, state, QUIET), "it is in an emergency already"
    assert not short(scene.primes, 0.01, 0.0, FIRED, FIRED, policy=replace(POLICY, prime=False))
    with sleepers() as [pid]:
        scene.first(sized(pid, 9))
        assert short(scene.primes, off - 0.001, 0.0, QUIET, QUIET), "it takes more to be over than to begin"
        assert short(scene.primes, off - 0.001, SOON, QUIET, QUIET)
        assert not short(scene.primes, off + 0.001, 0.0, QUIET, QUIET)
        assert not short(scene.primes, 0.06, CALM, QUIET, QUIET), "whoever dozes has nobody raised"


def test_rules_that_name_no_level_have_one(scene: Scene) -> None:
    stalls = replace(ENDS, when=Comparison("psi.memory.full", ">", 0.2, over=2.0))
    policy = Policy("p", (stalls,), prime=True)
    assert short(scene.primes, 0.07, 0.0, QUIET, policy=policy)
    assert not short(scene.primes, 0.09, 0.0, QUIET, policy=policy)


@pytest.mark.parametrize("name", ["desktop", "server", "containers"])
def test_the_presets_have_it(name: str) -> None:
    assert load(name).prime
    assert not parse('[[rule]]\nname = "a"\nwhen = "mem.available < 5%"', "p.toml").prime
