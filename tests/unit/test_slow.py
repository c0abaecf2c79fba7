"""Slowing cgroups down: what is written, that it is put back whatever happens, and who is left alone."""

from __future__ import annotations

import os
import shutil
import threading
from errno import EINVAL
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from okoomer.events.model import Eased, Slowed
from okoomer.guard import slow as module
from okoomer.guard.left import Left
from okoomer.guard.note import Note, owner
from okoomer.guard.slow import Slow, Slows
from okoomer.guard.undo import recover
from okoomer.units import MIB
from tests.unit.cgroups import make, proc_of
from tests.unit.standing import seen, sleepers, within
from tests.unit.strategies import cases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from okoomer.record import Record

PATH = "/app.slice/hog.scope"
HELD = 100 * MIB
USUAL = {"memory.current": f"{HELD}\n", "memory.high": "max\n", "cpu.max": "max 100000\n"}

pytestmark = pytest.mark.timeout(60)


class Gate:
    """In the place of the module's `os`: whoever writes waits until the gate is open, and has a file to itself."""

    def __init__(self, error: int = 0) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()
        self.error = error

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def write(self, fd: int, text: bytes) -> int:
        self.reached.set()
        assert self.opened.wait(20)
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        os.ftruncate(fd, 0)
        return os.write(fd, text)


class Place:
    """A hierarchy that only looks like one, its processes, and who slows them down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "cgroups"
        self.root.mkdir()
        (folder / "proc").mkdir()
        self.proc = proc_of(folder / "proc", self.root)
        (folder / "proc/sys").symlink_to("/proc/sys")
        (folder / f"proc/{os.getpid()}").symlink_to(f"/proc/{os.getpid()}")
        self.note = folder / "note"
        self.events: list[Record] = []
        self.never: set[int] = {1}
        self.made = Note(str(self.note), self.proc)
        self.slows = Slows(self.proc, self.made, lambda: self.never, self.events.append)

    def make(self, pids: list[int] | None = None, path: str = PATH, **files: str | None) -> Path:
        for pid in pids or ():
            inner = self.folder / f"proc/{pid}"
            inner.mkdir(exist_ok=True)
            (inner / "cgroup").write_text(f"0::{path}\n")
        texts = USUAL | {name.replace("__", "."): text for name, text in files.items()}
        return make(self.root, path, pids, **{n.replace(".", "__"): t for n, t in texts.items() if t is not None})

    def says(self, file: str = "memory.high") -> str:
        return (self.root / PATH.strip("/") / file).read_text().strip()

    def begin(self, cpu: float = 0.0, inode: int = 0, path: str = PATH) -> Slow:
        return self.slows.begin(Slowed("low", "hog", (), 1000, path, 0, cpu, 30.0), [], inode, 5.0)

    def noted(self) -> list[tuple[str, str, str]]:
        left = Left(str(self.note), self.proc)
        left.close()
        return [(file, text, ours) for _, _, file, text, ours in left.settings]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    gate = Gate()
    gate.opened.set()
    monkeypatch.setattr(module, "os", gate)
    made = Place(tmp_path)
    yield made
    made.slows.close()
    made.made.close()
    assert within(
        lambda: not {thread for thread in Path("/proc/self/task").iterdir() if _name(thread) == "okoomer-slow"}
    )


def _name(thread: Path) -> str:
    try:
        return (thread / "comm").read_text().strip()
    except OSError:
        return ""


# --- what is written, and put back ----------------------------------------------------------------------------------


def test_a_cgroup_is_slowed_down_at_what_it_holds_and_has_its_own_limit_again_afterwards(place: Place) -> None:
    folder = place.make()
    slow = place.begin(inode=folder.stat().st_ino)
    assert within(lambda: place.says() == str(HELD)) and place.says("cpu.max") == "max 100000"
    assert place.noted() == [("memory.high", "max", str(HELD))] and place.slows.slowed == slow.told
    place.slows.end(slow, "its time is over", 35.0)
    assert within(lambda: slow.undone) and place.says() == "max"
    assert place.noted() == [] and place.slows.slowed is None
    assert place.events == [
        Slowed("low", "hog", (), 1000, PATH, HELD, 0.0, 30.0),
        Eased("low", "hog", (), 1000, PATH, 30.0, "its time is over"),
    ]
    place.slows.end(slow, "once more", 36.0)
    assert len(place.events) == 2


@pytest.mark.parametrize(
    ("before", "share", "while_slowed"),
    [
        ("max 100000", 0.5, "50000 100000"),
        ("max 100000", 1.0, "100000 100000"),
        ("max 20000", 0.25, "5000 20000"),
        ("max 100000", 0.001, "1000 100000"),
        ("200000 100000", 0.5, "50000 100000"),
        ("40000 100000", 0.5, "40000 100000"),
        ("50000 100000", 0.5, "50000 100000"),
        ("nonsense", 0.5, "nonsense"),
        ("", 0.5, ""),
    ],
)
def test_where_a_rule_says_so_it_has_no_more_than_a_share_of_one_processor(
    place: Place, before: str, share: float, while_slowed: str
) -> None:
    place.make(cpu__max=before)
    slow = place.begin(cpu=share)
    assert within(lambda: place.says("cpu.max") == while_slowed and place.says() == str(HELD))
    assert slow.told.cpu == (share if while_slowed != before else 0.0)
    place.slows.end(slow, "", 6.0)
    assert within(lambda: slow.undone) and (place.says(), place.says("cpu.max")) == ("max", before)


def test_without_a_processor_controller_its_memory_alone_is_what_slows_it(place: Place) -> None:
    place.make(cpu__max=None)
    slow = place.begin(cpu=0.5)
    assert slow.told.cpu == 0.0 and within(lambda: place.says() == str(HELD))
    place.slows.end(slow, "", 6.0)
    assert within(lambda: place.says() == "max")


def test_processes_that_are_all_of_their_cgroup_are_slowed_by_it(place: Place) -> None:
    with sleepers(2) as pids:
        place.make(pids)
        slow = place.slows.begin(Slowed("low", "hog", (), 1000, "", 0, 0.0, 30.0), seen(*pids), 0, 5.0)
        assert (slow.told.cgroup, slow.told.pids) == (PATH, tuple(pids)) and within(lambda: place.says() == str(HELD))
        place.slows.end(slow, "", 6.0)
        assert within(lambda: place.says() == "max")


def test_a_limit_of_its_own_that_is_higher_is_lowered_and_comes_back(place: Place) -> None:
    place.make(memory__high=f"{2 * HELD}\n")
    slow = place.begin()
    assert within(lambda: place.says() == str(HELD))
    place.slows.end(slow, "", 6.0)
    assert within(lambda: place.says() == str(2 * HELD)) and within(lambda: slow.undone) and place.noted() == []


def test_whether_it_is_at_its_limit(place: Place) -> None:
    folder = place.make()
    slow = place.begin()
    for held, presses in ((HELD, True), (2 * HELD, True), (HELD * 99 // 100, True), (HELD * 97 // 100, False)):
        (folder / "memory.current").write_text(f"{held}\n")
        assert slow.presses() == presses
    (folder / "memory.current").unlink()
    assert not slow.presses()
    place.slows.end(slow, "", 6.0)
    assert not slow.presses()


# --- who is left alone ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"memory__high": None}, "No such file"),
        ({"memory__current": None}, "what it holds cannot be read"),
        ({"memory__current": "much\n"}, "what it holds cannot be read"),
        ({"memory__high": f"{HELD}\n"}, "it is at a limit of its own already"),
        ({"memory__high": "0\n"}, "it is at a limit of its own already"),
    ],
)
def test_what_cannot_be_slowed_is_left_as_it_is_and_it_is_said_why(
    place: Place, files: dict[str, str | None], why: str
) -> None:
    place.make(**files)
    with pytest.raises(OSError, match=why):
        place.begin()
    assert place.noted() == [] and not place.events
    assert place.says("cpu.max") == "max 100000"


def test_the_root_another_cgroup_of_that_name_and_one_that_we_are_in_are_not_slowed(place: Place) -> None:
    with sleepers() as pids:
        place.make(pids)
        with pytest.raises(FileNotFoundError):
            place.begin(inode=4)
        with pytest.raises(PermissionError):
            place.begin(path="/")
        place.never.update(pids)
        with pytest.raises(PermissionError, match="okoomer or the init process is in it"):
            place.begin()
        assert place.says() == "max" and place.noted() == []


def test_processes_that_are_not_all_of_a_cgroup_are_not_slowed(place: Place) -> None:
    with sleepers(2) as [mine, theirs]:
        place.make([mine, theirs])
        with pytest.raises(OSError, match="it is not all of a cgroup"):
            place.slows.begin(Slowed("low", "hog", (), 0, "", 0, 0.0, 30.0), seen(mine), 0, 5.0)
        assert place.says() == "max"


def test_where_nobody_can_wait_for_the_kernel_or_note_it_it_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_given: object) -> None:
        raise RuntimeError("can't start new thread")

    place.make()
    with monkeypatch.context() as patched:
        patched.setattr(module, "start_new_thread", none)
        with pytest.raises(OSError, match="can't start new thread"):
            place.begin()
    assert place.says() == "max" and place.noted() == []
    taken = [place.made.add_setting("/a", number, "memory.high", "max", "5") for number in range(12)]
    with pytest.raises(OSError, match="too many cgroups"):
        place.begin()
    for slot in taken[1:]:
        place.made.clear(slot)
    slow = place.begin(cpu=0.5)
    place.slows.end(slow, "", 6.0)
    assert within(lambda: slow.undone) and len(place.noted()) == 1, "what was not noted was given back"


# --- faults ---------------------------------------------------------------------------------------------------------


def test_what_somebody_else_has_written_meanwhile_stays(place: Place) -> None:
    folder = place.make()
    slow = place.begin(cpu=0.5)
    assert within(lambda: place.says("cpu.max") == "50000 100000")
    (folder / "memory.high").write_text("5000000\n")
    place.slows.end(slow, "", 6.0)
    assert within(lambda: slow.undone) and (place.says(), place.says("cpu.max")) == ("5000000", "max 100000")


@pytest.mark.parametrize("anew", [False, True])
def test_a_cgroup_that_is_removed_meanwhile_is_forgotten_and_one_of_its_name_left_alone(
    place: Place, anew: bool
) -> None:
    folder = place.make()
    slow = place.begin()
    assert within(lambda: place.says() == str(HELD))
    folder.rename(folder.with_name("gone"))
    if anew:
        place.make(memory__high=f"{HELD}\n")
    place.slows.end(slow, "it has ended", 6.0)
    assert within(lambda: slow.undone) and place.noted() == []
    assert not anew or place.says() == str(HELD)
    shutil.rmtree(folder.with_name("gone"))


def test_what_the_kernel_refuses_is_undone_and_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(EINVAL)
    monkeypatch.setattr(module, "os", gate)
    place.make()
    slow = place.begin()
    gate.opened.set()
    assert within(lambda: slow.undone)
    assert slow.refused == "memory.high: Invalid argument" and place.says() == "max" and place.noted() == []
    place.slows.end(slow, slow.refused, 5.5)
    assert isinstance(place.events[-1], Eased) and place.events[-1].why == slow.refused


def test_whoever_is_eased_before_it_was_slowed_is_not_slowed_any_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    monkeypatch.setattr(module, "os", gate)
    place.make()
    slow = place.begin(cpu=0.5)
    assert gate.reached.wait(20)
    place.slows.end(slow, "", 6.0)
    assert place.noted(), "as long as somebody may still write it, it is noted"
    with pytest.raises(OSError, match="another one is slowed down still"):
        place.begin()
    gate.opened.set()
    assert within(lambda: slow.undone)
    assert (place.says(), place.says("cpu.max")) == ("max", "max 100000") and place.noted() == []


@pytest.mark.parametrize("written", [False, True])
def test_a_guard_that_dies_in_the_middle_leaves_nobody_slow(
    place: Place, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    gate = Gate()
    monkeypatch.setattr(module, "os", gate)
    place.make(cpu__max="max 100000\n")
    slow = place.begin(cpu=0.5)
    assert gate.reached.wait(20)
    if written:
        gate.opened.set()
        assert within(lambda: place.says("cpu.max") == "50000 100000")
    # Whoever looks after a guard that has died knows nothing but its note.
    shutil.copy(place.note, place.folder / "left")
    assert recover(str(place.folder / "left"), place.proc, guard=owner(place.proc)) == (2 if written else 0)
    assert (place.says(), place.says("cpu.max")) == ("max", "max 100000")
    gate.opened.set()
    place.slows.end(slow, "", 6.0)
    assert within(lambda: slow.undone)


# --- anything -------------------------------------------------------------------------------------------------------


@cases(100)
def test_whatever_happens_in_between_all_is_as_it_was_or_as_others_have_it(random: Random) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        gate = Gate(random.choice((0, 0, 0, EINVAL)))
        patched.setattr(module, "os", gate)
        place = Place(Path(name))
        before = {"memory.high": random.choice(("max", str(3 * HELD))), "cpu.max": random.choice(("max 100000", "9"))}
        folder = place.make(memory__high=before["memory.high"], cpu__max=before["cpu.max"])
        slow = place.begin(cpu=random.choice((0.0, 0.5)))
        assert gate.reached.wait(20)
        theirs = ""
        deeds = ["open", "end", *random.sample(["other", "look", "other"], random.randrange(4))]
        random.shuffle(deeds)
        for deed in deeds:
            if deed == "open":
                gate.opened.set()
                assert slow.over or gate.error or within(lambda: slow._written)
            elif deed == "end":
                place.slows.end(slow, "", 6.0, here=random.random() < 0.5)
            elif deed == "other" and gate.opened.is_set():
                assert within(lambda: slow.undone if slow.over else slow._written)
                theirs = "7000000"
                (folder / "memory.high").write_text(theirs)
            elif deed == "look":
                assert len(place.noted()) <= 2
                slow.presses()
        place.slows.close()
        assert slow.undone and place.noted() == []
        assert place.says("cpu.max") == before["cpu.max"]
        assert place.says() == (theirs or before["memory.high"])
        place.made.close()
