"""Whole cgroups that stand still: in directories like cgroups, and in a real one where this machine lets us make it."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from okoomer.events.model import Paused, Resumed
from okoomer.guard import hold as module
from okoomer.guard.hold import Holds
from okoomer.guard.left import Left
from okoomer.guard.note import SETTINGS
from okoomer.guard.undo import recover
from okoomer.kernel.process import ticks
from tests.unit.cgroups import make, proc_of, real
from tests.unit.standing import Kept, holds, runs, seen, sleepers, stands, state, within

PATH = "/app.slice/hog.scope"
#: What is noted of a freezer: what it said before, and what it says now.
FREEZER = ["cgroup.freeze", "0", "1"]

pytestmark = pytest.mark.timeout(180)


class Place:
    """A hierarchy that only looks like one, on a /proc that is the real one but for the mounts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "cgroups"
        self.root.mkdir()
        (folder / "proc").mkdir()
        self.proc = proc_of(folder / "proc", self.root)
        (folder / "proc/sys").symlink_to("/proc/sys")

    def make(self, pids: list[int], freeze: str | None = "0\n") -> Path:
        for pid in (*pids, os.getpid()):
            if not (self.folder / f"proc/{pid}").exists():
                (self.folder / f"proc/{pid}").symlink_to(f"/proc/{pid}")
        return make(self.root, PATH, pids, **({"cgroup__freeze": freeze} if freeze else {}))

    def freeze(self) -> str:
        return (self.root / PATH.strip("/") / "cgroup.freeze").read_text().strip()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def noted(note: Path) -> tuple[list[tuple[int, int]], list[tuple[str, int]]]:
    left = Left(str(note))
    left.close()
    return left.processes, [(path, inode) for path, inode, *what in left.settings if what == FREEZER]


# --- as files -------------------------------------------------------------------------------------------------------


def test_a_cgroup_is_frozen_and_thawed_and_noted_as_long_as_it_is_frozen(place: Place, tmp_path: Path) -> None:
    note = tmp_path / "paused"
    with sleepers(2) as pids, holds(note, place.proc) as (made, events):
        folder = place.make(pids)
        hold = made.pause("rule low", "hog", seen(pids[0]), PATH, 0, 1000, 1.0)
        assert hold and hold.frozen and place.freeze() == "1"
        assert hold.members == tuple((pid, ticks("/proc", pid)) for pid in pids)
        assert noted(note) == ([], [(str(folder), folder.stat().st_ino)])
        assert [state(pid) != "T" for pid in pids] == [True, True]
        made.resume(hold, "it does", 3.0)
        assert place.freeze() == "0" and noted(note) == ([], []) and hold.over and not hold.frozen
        assert events == [
            Paused("rule low", "hog", tuple(pids), 1000, PATH, True),
            Resumed("hog", tuple(pids), 1000, PATH, 2.0, "it does", "rule low"),
        ]


def test_a_cgroup_that_somebody_else_has_frozen_is_left_alone(place: Place) -> None:
    with sleepers() as pids, holds("", place.proc) as (made, events):
        place.make(pids, "1\n")
        assert made.pause("rule low", "hog", seen(*pids), PATH, 0, 0, 1.0) is None
        assert place.freeze() == "1" and state(pids[0]) != "T" and not events


def test_a_cgroup_that_is_held_twice_runs_when_both_have_let_go(place: Place) -> None:
    with sleepers() as pids, holds("", place.proc) as (made, _):
        place.make(pids)
        first = made.pause("rule low", "hog", seen(*pids), PATH, 0, 0, 1.0)
        second = made.pause("user 0", "hog", seen(*pids), PATH, 0, 0, 1.0)
        assert first and second
        made.resume(first, "", 1.0)
        assert place.freeze() == "1"
        made.resume(second, "", 1.0)
        assert place.freeze() == "0"


@pytest.mark.parametrize("again", [False, True])
def test_a_cgroup_that_is_removed_while_it_is_frozen_is_forgotten(place: Place, tmp_path: Path, again: bool) -> None:
    note = tmp_path / "paused"
    with sleepers() as pids, holds(note, place.proc) as (made, _):
        folder = place.make(pids)
        hold = made.pause("rule low", "hog", seen(*pids), PATH, 0, 0, 1.0)
        assert hold and hold.frozen and len(noted(note)[1]) == 1
        shutil.rmtree(folder)
        if again:
            place.make(pids, "1\n")
        made.prune(2.0)
        assert hold.over and noted(note) == ([], [])
        assert not again or place.freeze() == "1", "another one's, by whatever name"
        made.resume(hold, "", 3.0)


def test_a_cgroup_whose_processes_are_asked_to_end_is_thawed(place: Place) -> None:
    with sleepers() as pids, holds("", place.proc) as (made, events):
        place.make(pids)
        hold = made.pause("rule low", "hog", seen(*pids), PATH, 0, 0, 1.0)
        assert hold
        made.let_end([1])
        assert place.freeze() == "1"
        made.let_end(pids)
        assert place.freeze() == "0" and hold.over and events.names() == ["Paused"]


@pytest.mark.parametrize("why", ["no file", "no room"])
def test_what_cannot_be_frozen_has_its_processes_stopped(place: Place, why: str, tmp_path: Path) -> None:
    with sleepers(2) as pids, holds(tmp_path / "paused", place.proc) as (made, events):
        folder = place.make(pids)
        if why == "no file":
            (folder / "cgroup.freeze").unlink()
            (folder / "cgroup.freeze").symlink_to("nowhere/at/all")
        for number in range(SETTINGS if why == "no room" else 0):
            made.note.add_setting("/x", number + 1, "memory.high", "max")
        hold = made.pause("rule low", "hog", seen(pids[0]), PATH, 0, 0, 1.0)
        assert hold and not hold.frozen and stands(*pids)
        assert isinstance(events[0], Paused) and not events[0].frozen and events[0].pids == tuple(pids)
        made.resume(hold, "", 1.0)
        assert runs(*pids)


@pytest.mark.parametrize("who", [1, os.getpid()])
def test_a_cgroup_that_we_or_the_init_process_are_in_is_never_stopped(place: Place, who: int) -> None:
    with sleepers() as pids, holds("", place.proc) as (made, events):
        place.make([*pids, who])
        assert made.pause("rule low", "hog", seen(*pids), PATH, 0, 0, 1.0) is None
        assert place.freeze() == "0" and state(pids[0]) != "T" and not events


@pytest.mark.parametrize("path", ["/", "", "/gone"])
def test_the_root_and_what_is_gone_are_never_stopped(place: Place, path: str) -> None:
    with sleepers() as pids, holds("", place.proc) as (made, events):
        place.make(pids)
        assert made.pause("rule low", "hog", [], path, 0, 0, 1.0) is None
        assert made.pause("rule low", "hog", [], PATH, 4, 0, 1.0) is None  # another has its name now
        assert place.freeze() == "0" and not events


def test_a_cgroup_that_a_dead_guard_has_left_is_thawed_unless_another_has_its_name(
    place: Place, tmp_path: Path
) -> None:
    note = tmp_path / "paused"
    for another in (False, True):
        with sleepers() as pids:
            folder = place.make(pids)
            made = Holds(place.proc, str(note), Kept().append)
            hold = made.pause("rule low", "hog", [], PATH, 0, 0, 1.0)
            assert hold and place.freeze() == "1"
            if another:
                folder.rename(tmp_path / "elsewhere")
                place.make(pids, "1\n")
            left = Left(str(note))
            left.close()
            assert recover(str(note), guard=left.owner) == int(not another)
            assert place.freeze() == str(int(another))
            made.close("", 1.0)


# --- a real one -----------------------------------------------------------------------------------------------------


def test_a_real_cgroup_stands_still_with_all_below_it_and_can_be_ended(tmp_path: Path) -> None:
    note = tmp_path / "paused"
    with sleepers(2) as pids, real("hold") as folder:
        if folder is None or not (folder / "cgroup.freeze").exists():
            pytest.skip("no cgroup can be made here")
        for pid, inner in zip(pids, (folder, folder / "below"), strict=True):
            (inner / "cgroup.procs").write_text(f"{pid}\n")
        mounted = module.mount("/proc")
        assert mounted
        path = str(folder).removeprefix(mounted)
        with holds(note) as (made, events):
            hold = made.pause("rule low", "hog", [], path, folder.stat().st_ino, 0, 1.0)
            assert hold and sorted(hold.pids) == sorted(pids)
            assert within(lambda: "frozen 1" in (folder / "cgroup.events").read_text())
            made.resume(hold, "", 1.0)
            assert within(lambda: "frozen 0" in (folder / "cgroup.events").read_text())
            hold = made.pause("rule low", "hog", [], path, 0, 0, 1.0)
            assert hold and within(lambda: "frozen 1" in (folder / "cgroup.events").read_text())
            os.kill(pids[0], signal.SIGTERM)
            made.release(hold, 1.0)
            assert within(lambda: state(pids[0]) == "Z")
            hold = made.pause("rule low", "hog", [], path, 0, 0, 1.0)
            assert hold and not made.gone(hold)
            os.kill(pids[1], signal.SIGKILL)
            assert within(lambda: made.gone(hold))
            assert within(lambda: state(pids[1]) == "Z")
            made.prune(1.0)
            assert hold.over and noted(note) == ([], []) and "Resumed" in events.names()
