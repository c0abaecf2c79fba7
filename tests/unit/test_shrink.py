"""Taking memory away from a cgroup without ending anybody."""

from __future__ import annotations

import os
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest

from okoomer.events.model import Shrunk
from okoomer.facts import Cgroup
from okoomer.guard import shrink as module
from okoomer.guard.shrink import Shrinks, kept, portion, shrink
from okoomer.policy.model import Amount
from tests.unit.cgroups import make, proc_of

if TYPE_CHECKING:
    from pathlib import Path

    from okoomer.record import Record

PATH = "/app.slice"
MIB = 1 << 20


@pytest.mark.parametrize(
    ("amount", "has", "protected", "taken"),
    [
        (Amount(10 * MIB), 100 * MIB, 0, 10 * MIB),
        (Amount(0.01, share=True), 100 * MIB, 0, MIB),
        (Amount(50 * MIB), 100 * MIB, 0, 25 * MIB),
        (Amount(0.9, share=True), 100 * MIB, 0, 25 * MIB),
        (Amount(10 * MIB), 100 * MIB, 95 * MIB, 5 * MIB),
        (Amount(10 * MIB), 100 * MIB, 100 * MIB, 0),
        (Amount(10 * MIB), 100 * MIB, 1 << 62, 0),
        (Amount(10 * MIB), 0, 0, 0),
    ],
)
def test_no_more_is_taken_than_asked_for_than_a_quarter_and_than_is_not_protected(
    amount: Amount, has: int, protected: int, taken: int
) -> None:
    assert portion(amount, has, protected) == taken


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "cgroups"
    root.mkdir()
    return make(root, PATH, memory__current=f"{100 * MIB}\n", memory__min="0\n", memory__low="0\n", memory__reclaim="")


@pytest.mark.parametrize(
    ("minimum", "low", "protected"),
    [("0\n", "0\n", 0), ("5\n", "7\n", 7), ("7\n", "5\n", 7), ("0\n", "max\n", 1 << 62), ("", None, 0)],
)
def test_what_is_protected_is_the_larger_of_both(folder: Path, minimum: str, low: str | None, protected: int) -> None:
    (folder / "memory.min").write_text(minimum)
    (folder / "memory.low").write_text(low) if low is not None else (folder / "memory.low").unlink()
    directory = os.open(folder, os.O_RDONLY)
    assert kept(directory) == protected
    os.close(directory)


def done(folder: Path, amount: Amount, monkeypatch: pytest.MonkeyPatch, error: OSError | None = None) -> Shrunk:
    """What comes of it where the kernel gives back half of what it is asked for, or answers with an error."""
    put = module.control.put

    def reclaim(directory: int, name: str, text: bytes) -> None:
        put(directory, name, text)
        current = int((folder / "memory.current").read_text())
        (folder / "memory.current").write_text(f"{current - int(text) // 2}\n")
        if error:
            raise error

    monkeypatch.setattr(module.control, "put", reclaim)
    directory = os.open(folder, os.O_RDONLY)
    try:
        return shrink("gentle", PATH, directory, amount)
    finally:
        os.close(directory)


@pytest.mark.parametrize("error", [None, BlockingIOError(11, "Resource temporarily unavailable")])
def test_what_came_back_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | None) -> None:
    shrunk = done(folder, Amount(4 * MIB), monkeypatch, error)
    assert (folder / "memory.reclaim").read_text() == str(4 * MIB)
    assert (shrunk.asked, shrunk.got, shrunk.why) == (4 * MIB, 2 * MIB, "")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("memory.current", None, "what it has cannot be read"),
        ("memory.low", "max\n", "all that it has is protected"),
        ("memory.reclaim", None, "this kernel has no memory.reclaim (Linux 5.19)"),
    ],
)
def test_why_nothing_came_back_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | None, why: str
) -> None:
    (folder / name).write_text(text) if text else (folder / name).unlink()
    assert done(folder, Amount(4 * MIB), monkeypatch).why == why


def test_an_error_of_the_kernels_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrunk = done(folder, Amount(4 * MIB), monkeypatch, PermissionError(1, "Operation not permitted"))
    assert (shrunk.got, shrunk.why) == (0, "memory.reclaim: Operation not permitted")


# --- beside the loop ------------------------------------------------------------------------------------------------


class Beside:
    def __init__(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "proc").mkdir()
        self.events: list[Record] = []
        self.shrinks = Shrinks(proc_of(tmp_path / "proc", tmp_path / "cgroups"), self.events.append)
        self.cgroup = Cgroup(PATH, inode=folder.stat().st_ino)

    def begin(self) -> bool:
        return self.shrinks.begin("gentle", self.cgroup, Amount(4 * MIB))

    def heard(self, count: int) -> bool:
        until = monotonic() + 60
        while (len(self.events) < count or self.shrinks._busy) and monotonic() < until:
            sleep(0.002)
        return len(self.events) == count


@pytest.fixture
def beside(folder: Path, tmp_path: Path) -> Beside:
    return Beside(folder, tmp_path)


def test_one_is_shrunk_after_the_other(beside: Beside) -> None:
    assert beside.begin() and beside.heard(1)
    assert beside.begin() and beside.heard(2)
    assert [type(event) for event in beside.events] == [Shrunk, Shrunk]


def test_while_one_is_shrunk_no_other_is(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []
    monkeypatch.setattr(module, "start_new_thread", lambda *what: begun.append(what))
    assert beside.begin() and not beside.begin()
    [(run, arguments)] = begun  # type: ignore[misc]
    run(*arguments)
    assert beside.begin() and len(begun) == 2
    for _, (*_, directory, _) in begun[1:]:  # type: ignore[misc]
        os.close(directory)


def test_another_cgroup_of_the_same_name_is_left_alone(beside: Beside, folder: Path) -> None:
    beside.cgroup = Cgroup(PATH, inode=folder.stat().st_ino + 1)
    assert not beside.begin() and not beside.begin()
    assert beside.events == [] and (folder / "memory.reclaim").read_text() == ""


def test_where_there_can_be_no_other_thread_the_next_try_is_another_one(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(module, "start_new_thread", fail)
        assert not beside.begin()
    assert beside.begin() and beside.heard(1)
