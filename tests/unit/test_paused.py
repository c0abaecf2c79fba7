"""The note of who stands still: what is written is read, and what is damaged or foreign says nothing."""

from __future__ import annotations

import os
import posix
from pathlib import Path

import pytest

from okoomer.guard.paused import CGROUPS, HEADER, PROCESS, PROCESSES, SIZE, Left, Note, owner

PATH = "/sys/fs/cgroup/app.slice/a b;\x09c.scope "


HEAD = b"okoomer-paused 1 %s 1 2\n"
BOOT = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()


def text(head: bytes = HEAD % BOOT, slot: bytes = b"100 5".rjust(PROCESS - 2) + b";\n") -> bytes:
    return (head.ljust(HEADER) + slot).ljust(SIZE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "paused"


def left(path: Path) -> tuple[list[tuple[int, int]], list[tuple[str, int]]]:
    found = Left(str(path))
    found.close()
    return found.processes, found.cgroups


def test_what_is_noted_is_read(path: Path) -> None:
    note = Note(str(path))
    slots = [note.add(100 + number, 2**62 + number) for number in range(3)]
    area = note.add_cgroup(PATH, 2**63)
    assert left(path) == ([(100, 2**62), (101, 2**62 + 1), (102, 2**62 + 2)], [(PATH, 2**63)])
    note.clear(slots[1])
    note.clear(area)
    assert left(path) == ([(100, 2**62), (102, 2**62 + 2)], [])
    note.close()
    assert not path.exists()


def test_a_note_is_as_long_at_the_start_as_ever(path: Path) -> None:
    note = Note(str(path))
    assert path.stat().st_size == SIZE and path.stat().st_blocks * 512 >= SIZE
    assert path.stat().st_mode & 0o777 == 0o600
    for pid in range(PROCESSES):
        note.add(2**22 - 1 - pid, 2**62)
    for number in range(CGROUPS):
        note.add_cgroup("/" + "x" * 4095, number + 1)
    assert path.stat().st_size == SIZE
    assert (len(left(path)[0]), len(left(path)[1])) == (PROCESSES, CGROUPS)
    note.close()


def test_beyond_its_room_nothing_is_noted_until_there_is_room_again(path: Path) -> None:
    note = Note(str(path))
    slots = [note.add(pid + 2, 1) for pid in range(PROCESSES)]
    areas = [note.add_cgroup("/x", 1) for _ in range(CGROUPS)]
    with pytest.raises(OSError, match="too many"):
        note.add(9999, 1)
    with pytest.raises(OSError, match="too many"):
        note.add_cgroup("/y", 1)
    note.clear(slots[7])
    note.clear(areas[0])
    assert (note.add(9999, 1), note.add_cgroup("/y", 1)) == (slots[7], areas[0])
    note.close()


def test_a_path_that_has_no_room_is_not_noted(path: Path) -> None:
    note = Note(str(path))
    with pytest.raises(OSError, match="too long"):
        note.add_cgroup("/" + "x" * 5000, 1)
    assert left(path) == ([], [])
    note.close()


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    note = Note("")
    note.clear(note.add(5, 1))
    note.clear(note.add_cgroup("/x", 1))
    note.close()
    assert not [*tmp_path.iterdir()]


def test_a_link_in_its_place_is_neither_followed_when_written_nor_when_read(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    note = Note(str(other))
    note.add(100, 1)
    text = other.read_bytes()
    path.symlink_to(other)
    assert left(path) == ([], [])
    second = Note(str(path))
    assert other.read_bytes() == text and not path.is_symlink()
    note.close()
    second.close()


@pytest.mark.parametrize("kind", ["fifo", "folder", "nothing", "socket"])
def test_what_is_no_file_is_not_read_and_holds_nobody_up(path: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        path.symlink_to("/proc/self/fd/0")
    assert left(path) == ([], [])


def test_what_belongs_to_somebody_else_is_not_believed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(text())
    assert left(path)[0] == [(100, 5)]
    if os.geteuid() == 0:
        os.chown(path, 1000, 1000)
    else:
        monkeypatch.setattr(posix, "geteuid", lambda: 4242)
    assert left(path)[0] == []


@pytest.mark.parametrize(
    ("written", "processes"),
    [
        (text(), [(100, 5)]),
        (text() + b"x" * 100_000, [(100, 5)]),
        (text()[: HEADER + PROCESS], [(100, 5)]),
        (text()[: HEADER + PROCESS - 1], []),
        (text(HEAD % b"another-boot"), []),
        (text(b"okoomer-paused 2 %s 1 2\n" % BOOT), []),
        (text(b"okoomer-paused 1 %s 1\n" % BOOT), []),
        (text(b"okoomer-paused 1 %s a b\n" % BOOT), []),
        (text(b""), []),
        (b"", []),
        (b"\0" * SIZE, []),
        (b"\xff" * SIZE, []),
        (text(slot=b"100 5".rjust(PROCESS)), []),
        (text(slot=b"100".rjust(PROCESS - 2) + b";\n"), []),
        (text(slot=b"100 -5".rjust(PROCESS - 2) + b";\n"), []),
        (text(slot=b"1 5".rjust(PROCESS - 2) + b";\n"), []),
        (text(slot=b"0 5".rjust(PROCESS - 2) + b";\n"), []),
        (text(slot=b"4294967396 5".rjust(PROCESS - 2) + b";\n"), []),
        (text(slot=b"1e2 5".rjust(PROCESS - 2) + b";\n"), []),
    ],
)
def test_what_is_damaged_or_of_another_boot_says_nothing(
    path: Path, written: bytes, processes: list[tuple[int, int]]
) -> None:
    path.write_bytes(written)
    assert left(path) == (processes, [])


def test_an_owner_is_the_same_after_exec_and_another_in_another_process() -> None:
    pid, start = owner().split()
    assert int(pid) == os.getpid() and int(start) > 0
    assert owner() == owner()


def test_a_note_that_is_cleared_is_cleared_whatever_its_name_means_now(path: Path) -> None:
    first = Note(str(path))
    first.add(100, 1)
    found = Left(str(path))
    second = Note(str(path))
    second.add(200, 2)
    found.clear()
    found.close()
    assert left(path)[0] == [(200, 2)]
    first.clear(0)
    first.close()
    assert not path.exists()
    second.close()
