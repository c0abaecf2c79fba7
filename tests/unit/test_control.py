"""A cgroup's control files, behind its directory."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from okoomer.kernel import control
from tests.unit.cgroups import make
from tests.unit.descriptors import descriptors, left_open

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def entered(root: Path, path: str = "/a", inode: int = 0) -> Iterator[int]:
    directory = control.enter(str(root), path, inode)
    try:
        yield directory
    finally:
        os.close(directory)


def test_a_directory_is_entered_if_it_is_the_one_that_is_meant(tmp_path: Path) -> None:
    inode = make(tmp_path, "/a").stat().st_ino
    with entered(tmp_path, inode=inode) as directory:
        assert os.fstat(directory).st_ino == inode
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        control.enter(str(tmp_path), "/a", inode + 1)
    assert not left_open(before)


def test_what_is_written_there_stays_with_it_when_another_has_its_name(tmp_path: Path) -> None:
    old = make(tmp_path, "/a", memory__max="max\n")
    with entered(tmp_path) as directory:
        old.rename(tmp_path / "gone")
        new = make(tmp_path, "/a", memory__max="max\n")
        control.put(directory, "memory.max", b"0")
        assert (new / "memory.max").read_text() == "max\n"
        assert (tmp_path / "gone/memory.max").read_text() == "0"


@pytest.mark.parametrize(
    ("text", "number"), [("0\n", 0), ("4096\n", 4096), ("max\n", None), ("\n", None), ("x\n", None), (None, None)]
)
def test_a_file_of_one_number(tmp_path: Path, text: str | None, number: int | None) -> None:
    make(tmp_path, "/a", **({"memory__low": text} if text is not None else {}))
    with entered(tmp_path) as directory:
        assert control.amount(directory, "memory.low") == number


@pytest.mark.parametrize(
    ("text", "kills"),
    [("oom 4\noom_kill 7\noom_group_kill 9\n", 7), ("oom_kill 7", 7), ("oom 4\n", 0), ("oom_kill x\n", 0), (None, 0)],
)
def test_how_often_the_kernel_has_killed_there(tmp_path: Path, text: str | None, kills: int) -> None:
    make(tmp_path, "/a", **({"memory__events": text} if text is not None else {}))
    with entered(tmp_path) as directory:
        assert control.event(directory, "oom_kill") == kills


@pytest.mark.parametrize(
    ("text", "populated"),
    [
        ("populated 1\nfrozen 0\n", True),
        ("frozen 0\npopulated 0\n", False),
        ("frozen 0\n", None),
        ("populated ?", None),
    ],
)
def test_whether_somebody_is_there(tmp_path: Path, text: str, populated: bool | None) -> None:
    folder = make(tmp_path, "/a")
    (folder / "cgroup.events").write_text(text)
    with entered(tmp_path) as directory:
        assert control.populated(directory) is populated
        (folder / "cgroup.events").unlink()
        assert control.populated(directory) is False


def test_everybody_below_is_a_member_however_deep(tmp_path: Path) -> None:
    make(tmp_path, "/a", [1, 2])
    make(tmp_path, "/a/b", [3])
    make(tmp_path, "/a/b/c d\n", [0, 4])
    make(tmp_path, "/e", [5])
    (tmp_path / "a/link").symlink_to(tmp_path / "e")
    with entered(tmp_path) as directory:
        assert sorted(control.members(directory)) == [1, 2, 3, 4]


def test_a_list_of_many_is_read_to_its_end(tmp_path: Path) -> None:
    make(tmp_path, "/a", list(range(1, 20_000)))
    with entered(tmp_path) as directory:
        assert control.members(directory) == list(range(1, 20_000))


def test_one_that_cannot_be_listed_hides_nobody_else(tmp_path: Path) -> None:
    folder = make(tmp_path, "/a", [1])
    (make(tmp_path, "/a/threaded") / "cgroup.procs").unlink()
    (folder / "threaded/cgroup.procs").mkdir()
    with entered(tmp_path) as directory:
        assert control.members(directory) == [1]
