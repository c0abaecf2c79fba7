"""What others do to those who stand still, and what cannot be done at the moment: debuggers, owners, other freezers,
cgroups that go, descriptors that there are none of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from errno import EBUSY, EMFILE, EPERM
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from okoomer.events.model import Trouble
from okoomer.guard import hold as module
from okoomer.guard import still, stop
from okoomer.guard.left import Left
from okoomer.guard.undo import recover
from okoomer.kernel import control, trace
from tests.unit.cgroups import real
from tests.unit.standing import holds, runs, seen, sleepers, stands, state, tree, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from okoomer.guard.hold import Hold, Holds

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.geteuid() != 0, reason="a debugger's part needs root"),
]


def pause(made: Holds, *pids: int) -> Hold:
    hold = made.pause("rule low", "hog", seen(*pids), "", 0, 7, 1.0)
    assert hold
    return hold


def noted(note: Path) -> tuple[list[int], int]:
    """The processes that are noted, and how many cgroups."""
    left = Left(str(note))
    left.close()
    return [pid for pid, _ in left.processes], len(left.settings)


# --- who dies -------------------------------------------------------------------------------------------------------


def test_who_dies_while_it_stands_still_hinders_nobody_from_running_again(tmp_path: Path) -> None:
    note = tmp_path / "paused"
    with sleepers(3) as pids, holds(note) as (made, events):
        hold = pause(made, *pids)
        assert stands(*pids)
        os.kill(pids[1], signal.SIGKILL)
        os.waitpid(pids[1], 0)
        made.resume(hold, "", 2.0)
        assert runs(pids[0], pids[2]) and noted(note) == ([], 0) and events.names() == ["Paused", "Resumed"]


# --- debuggers ------------------------------------------------------------------------------------------------------


def settled(pid: int) -> int:
    found: int | None = None
    while found is None:
        found = trace.settled(pid)
    return found


def test_who_is_being_debugged_is_not_stopped_though_it_runs() -> None:
    with sleepers(2) as [debugged, other], holds() as (made, _):
        trace._call(trace._SEIZE, debugged)
        assert state(debugged) == "S"
        hold = pause(made, debugged, other)
        assert hold.pids == (other,) and stands(other) and state(debugged) == "S"
        trace._call(trace._INTERRUPT, debugged)
        trace.release(debugged, settled(debugged))
        assert runs(debugged)


def test_who_is_debugged_while_it_stands_still_runs_when_both_have_let_go() -> None:
    with sleepers() as [pid], holds() as (made, _):
        for debugger_first in (False, True):
            hold = pause(made, pid)
            assert stands(pid)
            trace.seize(pid)
            # It may still be seen as stopped before it is seen as held.
            signal_ = settled(pid)
            if debugger_first:
                trace.release(pid, signal_)
                assert stands(pid)
                made.resume(hold, "", 2.0)
            else:
                made.resume(hold, "", 2.0)
                trace._call(trace._INTERRUPT, pid)
                while state(pid) != "t":
                    trace.settled(pid)
                trace.release(pid, 0)
            assert runs(pid) and within(lambda: state(pid) == "S")


# --- owners ---------------------------------------------------------------------------------------------------------


def test_whom_its_owner_stops_meanwhile_stands_still_until_he_lets_it_run(tmp_path: Path) -> None:
    note = tmp_path / "paused"
    with sleepers(2) as [theirs, other], holds(note) as (made, _):
        hold = pause(made, theirs, other)
        assert stands(theirs, other)
        os.kill(theirs, signal.SIGSTOP)
        made.resume(hold, "", 2.0)
        assert runs(other) and state(theirs) == "T" and noted(note) == ([], 0)
        # By now it is his alone.
        assert made.pause("rule low", "hog", seen(theirs), "", 0, 7, 3.0) is None
        os.kill(theirs, signal.SIGCONT)
        assert runs(theirs)


def test_whom_its_owner_stops_meanwhile_stands_still_also_when_the_guard_has_died(tmp_path: Path) -> None:
    note = tmp_path / "paused"
    with sleepers(2) as pids, holds(note) as (made, _):
        pause(made, *pids)
        assert stands(*pids)
        os.kill(pids[0], signal.SIGSTOP)
        left = Left(str(note))
        left.close()
        recover(str(note), guard=left.owner)
        assert runs(pids[1]) and state(pids[0]) == "T"


def test_ctrl_z_that_is_typed_meanwhile_holds_afterwards_as_its_program_has_it() -> None:
    program = """if True:
        import os, signal
        def heard(number, frame):
            print("heard", flush=True)
        signal.signal(signal.SIGTSTP, heard)
        print("ready", flush=True)
        while True:
            signal.pause()
    """
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout
    try:
        assert child.stdout.readline() == b"ready\n"
        with holds() as (made, _):
            hold = pause(made, child.pid)
            assert stands(child.pid)
            os.kill(child.pid, signal.SIGTSTP)
            made.resume(hold, "", 2.0)
            assert child.stdout.readline() == b"heard\n" and runs(child.pid)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_whom_its_owner_has_let_run_meanwhile_runs_on() -> None:
    with sleepers() as [pid], holds() as (made, events):
        hold = pause(made, pid)
        assert stands(pid)
        os.kill(pid, signal.SIGCONT)
        assert runs(pid)
        made.resume(hold, "", 2.0)
        assert runs(pid) and events.names() == ["Paused", "Resumed"]


def test_who_is_asked_to_end_runs_though_its_owner_has_stopped_it_too() -> None:
    with sleepers() as [pid], holds() as (made, _):
        hold = pause(made, pid)
        assert stands(pid)
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGTERM)
        made.release(hold, 2.0)
        assert within(lambda: state(pid) == "Z")


def test_a_parent_that_stands_still_by_its_owners_wish_does_so_afterwards_and_its_children_run() -> None:
    with tree() as pids, holds() as (made, _):
        os.kill(pids[0], signal.SIGSTOP)
        assert stands(pids[0])
        hold = pause(made, *pids)
        assert set(hold.pids) == set(pids[1:]) and stands(*pids)
        made.resume(hold, "", 2.0)
        assert runs(*pids[1:]) and state(pids[0]) == "T"


# --- what is refused for now ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["pidfd_open", "pidfd_send_signal"])
def test_who_cannot_be_let_run_now_is_let_run_later_and_stays_noted_until_then(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note = tmp_path / "paused"

    def refused(*_given: object) -> int:
        raise OSError(EMFILE if where == "pidfd_open" else EPERM, "refused")

    with sleepers(2) as pids, holds(note) as (made, events):
        hold = pause(made, *pids)
        assert stands(*pids)
        with monkeypatch.context() as patched:
            patched.setattr(stop.os if where == "pidfd_open" else stop, where, refused)
            made.resume(hold, "", 2.0)
            made.prune(3.0)
            assert stands(*pids) and set(noted(note)[0]) == set(pids)
            assert len([event for event in events if isinstance(event, Trouble)]) == 1
        made.prune(4.0)
        assert runs(*pids) and noted(note) == ([], 0)


def test_who_cannot_be_let_run_at_the_end_is_left_to_whoever_comes_after(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note = tmp_path / "paused"

    def refused(*_given: object) -> int:
        raise OSError(EMFILE, "refused")

    with sleepers() as [pid], holds(note) as (made, _):
        pause(made, pid)
        assert stands(pid)
        with monkeypatch.context() as patched:
            patched.setattr(stop.os, "pidfd_open", refused)
            made.close("the guard ends", 2.0)
        assert stands(pid)
        left = Left(str(note))
        left.close()
        assert recover(str(note), guard=left.owner) == 1 and runs(pid)


def test_who_is_stopped_once_more_before_it_could_be_let_run_is_held_by_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_given: object) -> int:
        raise OSError(EMFILE, "refused")

    with sleepers() as [pid], holds() as (made, _):
        hold = pause(made, pid)
        assert stands(pid)
        with monkeypatch.context() as patched:
            patched.setattr(stop.os, "pidfd_open", refused)
            made.resume(hold, "", 2.0)
        hold = pause(made, pid)
        made.prune(3.0)
        assert stands(pid)
        made.resume(hold, "", 4.0)
        assert runs(pid)


# --- cgroups --------------------------------------------------------------------------------------------------------


class Container:
    """A real cgroup with a process in it, and holds that freeze it."""

    def __init__(self, folder: Path, pid: int, made: Holds) -> None:
        self.folder = folder
        self._made = made
        (folder / "cgroup.procs").write_text(f"{pid}\n")
        mounted = module.mount("/proc")
        assert mounted
        self.path = str(folder).removeprefix(mounted)

    def pause(self) -> Hold | None:
        return self._made.pause("rule low", "hog", [], self.path, 0, 0, 1.0)

    def is_frozen(self, frozen: bool) -> bool:
        return within(lambda: f"frozen {int(frozen)}" in (self.folder / "cgroup.events").read_text())

    def freeze(self, text: str) -> None:
        (self.folder / "cgroup.freeze").write_text(text)


@pytest.fixture
def container(tmp_path: Path) -> Iterator[tuple[Container, Holds, int, Path]]:
    note = tmp_path / "paused"
    with real("faults") as folder, sleepers() as [pid], holds(note) as (made, _):
        if folder is None or not (folder / "cgroup.freeze").exists():
            pytest.skip("no cgroup can be made here")
        yield Container(folder, pid, made), made, pid, note
        os.kill(pid, signal.SIGKILL)
        assert within(lambda: "populated 0" in (folder / "cgroup.events").read_text())


Fixture = tuple[Container, "Holds", int, Path]


def test_what_a_container_runtime_freezes_meanwhile_stays_frozen_until_it_thaws_it(container: Fixture) -> None:
    place, made, _, note = container
    hold = place.pause()
    assert hold and hold.frozen and place.is_frozen(True)
    place.freeze("1")
    made.resume(hold, "", 2.0)
    assert place.is_frozen(True) and noted(note) == ([], 0)
    assert place.pause() is None
    place.freeze("0")
    assert place.is_frozen(False)
    hold = place.pause()
    assert hold and place.is_frozen(True)
    made.resume(hold, "", 3.0)
    assert place.is_frozen(False)


def test_what_a_container_runtime_thaws_meanwhile_runs_on(container: Fixture) -> None:
    place, made, pid, note = container
    hold = place.pause()
    assert hold and place.is_frozen(True)
    place.freeze("0")
    assert place.is_frozen(False)
    made.resume(hold, "", 2.0)
    assert place.is_frozen(False) and state(pid) == "S" and noted(note) == ([], 0)


def test_what_a_container_runtime_has_frozen_meanwhile_is_thawed_so_that_it_can_end(container: Fixture) -> None:
    place, made, pid, _ = container
    hold = place.pause()
    assert hold and place.is_frozen(True)
    place.freeze("1")
    os.kill(pid, signal.SIGTERM)
    made.release(hold, 2.0)
    assert within(lambda: state(pid) == "Z")


def test_a_cgroup_that_is_removed_while_it_is_frozen_is_over(container: Fixture) -> None:
    place, made, pid, note = container
    hold = place.pause()
    assert hold and place.is_frozen(True)
    os.kill(pid, signal.SIGKILL)
    assert within(lambda: "populated 0" in (place.folder / "cgroup.events").read_text())
    (place.folder / "below").rmdir()
    place.folder.rmdir()
    try:
        assert made.gone(hold)
        made.resume(hold, "", 2.0)
        assert hold.over and noted(note) == ([], 0)
    finally:
        (place.folder / "below").mkdir(parents=True)
    # Another that has its name is another.
    assert made.pause("rule low", "hog", [], place.path, hold.inode, 0, 1.0) is None


def test_a_cgroup_that_cannot_be_thawed_now_is_thawed_later(
    container: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, made, _, note = container
    hold = place.pause()
    assert hold and place.is_frozen(True)
    genuine = control.put

    def refused(directory: int, name: str, text: bytes) -> None:
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_TRUNC, dir_fd=directory), "wb"):
            raise OSError(EBUSY, "refused")

    with monkeypatch.context() as patched:
        patched.setattr(still.control, "put", refused)
        made.resume(hold, "", 2.0)
        made.prune(3.0)
        assert place.is_frozen(True) and noted(note) == ([], 1)
    assert control.put is genuine
    made.prune(4.0)
    assert place.is_frozen(False) and noted(note) == ([], 0)
