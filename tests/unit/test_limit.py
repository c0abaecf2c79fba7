"""Leaving a cgroup no memory: everything is put back, whatever happens."""

from __future__ import annotations

import os
from errno import EBUSY
from marshal import dumps
from pathlib import Path
from signal import SIGKILL
from time import sleep
from typing import TYPE_CHECKING

import pytest

from okoomer.guard import limit as module
from okoomer.guard.limit import Limit, recover
from tests.unit.cgroups import make
from tests.unit.standing import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(180)

BEFORE = {"memory.oom.group": "0", "memory.max": "1073741824", "memory.swap.max": "max"}
TIGHT = {"memory.oom.group": "1", "memory.max": "0", "memory.swap.max": "0"}


class Cgroup:
    def __init__(self, folder: Path) -> None:
        files = {name.replace(".", "__"): text for name, text in BEFORE.items()}
        self.folder = make(folder, "hog", memory__events="oom 4\noom_kill 4\n", **files)
        self.directory = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)

    @property
    def now(self) -> dict[str, str]:
        return {name: (self.folder / name).read_text() for name in BEFORE if (self.folder / name).exists()}

    def comes_to(self, state: dict[str, str]) -> bool:
        return within(lambda: self.now == state)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is put back because a busy machine takes its time."""
    monkeypatch.setattr(module, "LIMIT", 300.0)


@pytest.fixture
def cgroup(tmp_path: Path) -> Iterator[Cgroup]:
    cgroup = Cgroup(tmp_path)
    yield cgroup
    os.close(cgroup.directory)
    # The other thread gives back its descriptor.
    assert within(lambda: not open_at(cgroup.folder))


def open_at(folder: Path) -> list[str]:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            if fd.readlink() == folder:
                found.append(fd.name)
        except OSError:
            continue
    return found


def test_nothing_is_left_to_it_until_somebody_puts_it_back(cgroup: Cgroup) -> None:
    limit = Limit(cgroup.directory)
    limit.begin()
    assert cgroup.comes_to(TIGHT)
    limit.restore()
    # The other thread puts it back once more, and empties each file before it writes it.
    assert cgroup.comes_to(BEFORE)
    limit.restore()
    assert cgroup.comes_to(BEFORE)


@pytest.mark.parametrize(
    "happens",
    [
        lambda folder: (folder / "memory.events").write_text("oom 5\noom_kill 7\n"),
        lambda folder: (folder / "cgroup.events").write_text("populated 0\n"),
        lambda folder: (folder / "cgroup.events").unlink(),
    ],
    ids=["the kernel has killed", "nobody is left", "it is removed"],
)
def test_it_is_put_back_when_its_processes_have_been_killed(cgroup: Cgroup, happens: Callable[[Path], object]) -> None:
    Limit(cgroup.directory).begin()
    assert cgroup.comes_to(TIGHT)
    happens(cgroup.folder)
    assert cgroup.comes_to(BEFORE)


def test_it_is_put_back_if_the_kernel_does_not_kill(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 0.1)
    tried = noted(monkeypatch)
    Limit(cgroup.directory).begin()
    assert within(lambda: tried[-1:] == [("memory.oom.group", b"0")])
    assert ("memory.max", b"0") in tried
    assert cgroup.comes_to(BEFORE)


def noted(monkeypatch: pytest.MonkeyPatch, refused: str = "") -> list[tuple[str, bytes]]:
    """What is about to be put into which file; of one, nothing but what was there before is taken."""
    tried = []
    put = module.control.put

    def note(directory: int, name: str, text: bytes) -> None:
        tried.append((name, text))
        if name == refused and text == b"0":
            raise OSError(EBUSY, "busy")
        put(directory, name, text)

    monkeypatch.setattr(module.control, "put", note)
    return tried


def test_what_was_set_is_put_back_if_the_rest_cannot_be(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = noted(monkeypatch, refused="memory.max")
    Limit(cgroup.directory).begin()
    assert within(lambda: tried[-1:] == [("memory.oom.group", b"0")])
    assert ("memory.oom.group", b"1") in tried
    assert cgroup.comes_to(BEFORE)


def test_one_without_a_swap_limit_is_ended_all_the_same(cgroup: Cgroup) -> None:
    (cgroup.folder / "memory.swap.max").unlink()
    limit = Limit(cgroup.directory)
    limit.begin()
    assert cgroup.comes_to({"memory.oom.group": "1", "memory.max": "0"})
    limit.restore()
    assert cgroup.comes_to({"memory.oom.group": "0", "memory.max": "1073741824"})


@pytest.mark.parametrize("name", ["memory.max", "memory.oom.group"])
def test_one_without_limits_cannot_be_ended_by_them(cgroup: Cgroup, name: str) -> None:
    (cgroup.folder / name).unlink()
    with pytest.raises(FileNotFoundError):
        Limit(cgroup.directory)


def test_where_there_can_be_no_other_thread_nothing_is_changed(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "start_new_thread", fail)
    with pytest.raises(RuntimeError):
        Limit(cgroup.directory).begin()
    assert cgroup.now == BEFORE


def test_what_a_killed_guard_has_left_changed_the_next_one_puts_back(cgroup: Cgroup, tmp_path: Path) -> None:
    note = tmp_path / "limit"
    child = os.fork()
    if child == 0:
        try:
            Limit(cgroup.directory, str(note)).begin()
            sleep(60)
        finally:
            os._exit(1)
    assert cgroup.comes_to(TIGHT) and note.exists()
    os.kill(child, SIGKILL)
    os.waitpid(child, 0)
    assert cgroup.now == TIGHT
    recover(str(note))
    assert cgroup.now == BEFORE and not note.exists()


def test_after_an_end_nothing_is_noted_any_more(cgroup: Cgroup, tmp_path: Path) -> None:
    note = tmp_path / "limit"
    limit = Limit(cgroup.directory, str(note))
    limit.begin()
    assert cgroup.comes_to(TIGHT)
    limit.restore()
    assert not note.exists()


@pytest.mark.parametrize("text", [b"", b"garbage", b"\xe9", None])
def test_a_note_that_makes_no_sense_changes_nothing_and_is_removed(tmp_path: Path, text: bytes | None) -> None:
    note = tmp_path / "limit"
    if text is not None:
        note.write_bytes(text)
    recover(str(note))
    assert not note.exists()


def test_another_cgroup_of_that_name_is_left_alone(cgroup: Cgroup, tmp_path: Path) -> None:
    note = tmp_path / "limit"
    note.write_bytes(dumps((str(cgroup.folder), cgroup.folder.stat().st_ino + 1, [("memory.max", b"5")])))
    recover(str(note))
    assert cgroup.now == BEFORE and not note.exists()
