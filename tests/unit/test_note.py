"""The note of what has to be undone: what is written is read, and what is damaged or foreign says nothing."""

from __future__ import annotations

import os
import posix
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from okoomer.guard.left import OLD_CGROUP, Left
from okoomer.guard.note import (
    ADJUSTMENT,
    ADJUSTMENTS,
    CHECK,
    END,
    HEADER,
    PROCESS,
    PROCESSES,
    SETTINGS,
    SIZE,
    Note,
    owner,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = "/sys/fs/cgroup/app.slice/a b;\x09\nc.scope "

HEAD = b"okoomer-paused 2 %s 1 2\n"
BOOT = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
#: Nothing at all.
NOTHING: tuple[list[Any], list[Any], list[Any]] = ([], [], [])


def text(head: bytes = HEAD % BOOT, slot: bytes = b"100 5".rjust(PROCESS - 2) + b";\n") -> bytes:
    return (head.ljust(HEADER) + slot).ljust(SIZE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "paused"


def left(path: Path) -> tuple[list[Any], list[Any], list[Any]]:
    found = Left(str(path))
    found.close()
    return found.processes, found.adjustments, found.settings


def freeze(note: Note, directory: str = "/x", inode: int = 1) -> int:
    return note.add_setting(directory, inode, "cgroup.freeze", "0", "1")


def test_what_is_noted_is_read(path: Path) -> None:
    note = Note(str(path))
    slots = [note.add(100 + number, 2**62 + number) for number in range(3)]
    raised = note.add_adj(2**22 - 1, 2**62, -17, 987, 2**62 + 1)
    area = note.add_setting(PATH, 2**63, "cpu.max", "max 100000", "50000 100000")
    other = note.add_setting("/y", 7, "memory.high", "max")
    processes = [(100, 2**62), (101, 2**62 + 1), (102, 2**62 + 2)]
    adjustment = (2**22 - 1, 2**62, -17, 987, 2**62 + 1)
    setting = (PATH, 2**63, "cpu.max", "max 100000", "50000 100000")
    assert left(path) == (processes, [adjustment], [setting, ("/y", 7, "memory.high", "max", "")])
    note.clear(slots[1])
    note.clear(area)
    assert left(path) == ([processes[0], processes[2]], [adjustment], [("/y", 7, "memory.high", "max", "")])
    note.clear(raised)
    note.clear(other)
    assert left(path) == ([processes[0], processes[2]], [], [])
    note.close()
    assert not path.exists()


def test_a_note_is_as_long_at_the_start_as_ever(path: Path) -> None:
    note = Note(str(path))
    assert path.stat().st_size == SIZE and path.stat().st_blocks * 512 >= SIZE
    assert path.stat().st_mode & 0o777 == 0o600
    for pid in range(PROCESSES):
        note.add(2**22 - 1 - pid, 2**62)
    for pid in range(ADJUSTMENTS):
        note.add_adj(2**22 - 1 - pid, 2**62, -1000, 1000, 2**62)
    for number in range(SETTINGS):
        note.add_setting("/" + "x" * 4095, 2**63 + number, "memory.swap.high", "9" * 20, "8" * 20)
    assert path.stat().st_size == SIZE
    assert tuple(map(len, left(path))) == (PROCESSES, ADJUSTMENTS, SETTINGS)
    note.close()


@pytest.mark.parametrize(
    ("room", "add"),
    [
        (PROCESSES, lambda note: note.add(9999, 1)),
        (ADJUSTMENTS, lambda note: note.add_adj(9999, 1, 0, 987, 1)),
        (SETTINGS, freeze),
    ],
)
def test_beyond_its_room_nothing_is_noted_until_there_is_room_again(
    path: Path, room: int, add: Callable[[Note], int]
) -> None:
    note = Note(str(path))
    slots = [add(note) for _ in range(room)]
    with pytest.raises(OSError, match="too many"):
        add(note)
    note.clear(slots[room // 2])
    assert add(note) == slots[room // 2] and len(set(slots)) == room
    note.close()


@pytest.mark.parametrize(
    ("directory", "file", "said", "why"),
    [("/" + "x" * 5000, "memory.high", "max", "too long"), ("/x", "io.max", "8:0 rbps=1\n8:16 rbps=1", "Invalid")],
)
def test_what_has_no_room_is_not_noted_and_takes_none(
    path: Path, directory: str, file: str, said: str, why: str
) -> None:
    note = Note(str(path))
    for _ in range(SETTINGS + 1):
        with pytest.raises(OSError, match=why):
            note.add_setting(directory, 1, file, said)
    assert left(path) == NOTHING
    assert freeze(note) and len(left(path)[2]) == 1
    note.close()


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    note = Note("")
    note.clear(note.add(5, 1))
    note.clear(note.add_adj(5, 1, 0, 987, 1))
    note.clear(freeze(note))
    note.close()
    assert not [*tmp_path.iterdir()]


def test_a_link_in_its_place_is_neither_followed_when_written_nor_when_read(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    note = Note(str(other))
    note.add(100, 1)
    text = other.read_bytes()
    path.symlink_to(other)
    assert left(path) == NOTHING
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
    assert left(path) == NOTHING


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
        (text(b"okoomer-paused 3 %s 1 2\n" % BOOT), []),
        (text(b"okoomer-paused 2 %s 1\n" % BOOT), []),
        (text(b"okoomer-paused 2 %s a b\n" % BOOT), []),
        (text(b""), []),
        (b"", []),
        (b"\0" * SIZE, []),
        (b"\xff" * SIZE, []),
        (text(slot=b"100 5".rjust(PROCESS)), []),
        (text(slot=b"100".rjust(PROCESS - 2) + b";\n"), []),
        (text(slot=b"100 5 5".rjust(PROCESS - 2) + b";\n"), []),
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
    assert left(path) == (processes, [], [])


@pytest.mark.parametrize("seed", range(4))
def test_no_damaged_byte_of_what_was_noted_makes_anybody_write_something_else(path: Path, seed: int) -> None:
    random = Random(seed)
    note = Note(str(path))
    note.add_adj(4711, 2**40, 0, 987, 2**40)
    note.add_setting("/sys/fs/cgroup/app.slice/a.scope", 2**33, "memory.high", "max", "123456789")
    whole, noted = path.read_bytes(), left(path)
    places = [at for at in range(HEADER, SIZE) if whole[at] != 32]
    seen = 0
    for at in random.sample(places, 60):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << random.randrange(8)
        path.write_bytes(damaged)
        found = left(path)
        assert all(one in noted[1] for one in found[1]) and all(one in noted[2] for one in found[2])
        seen += len(found[1]) + len(found[2])
    # One of the two is as it was.
    assert seen == 60
    note.close()


@pytest.mark.parametrize("clearing", [False, True])
def test_a_guard_killed_in_the_middle_of_a_store_leaves_a_slot_that_says_nothing(path: Path, clearing: bool) -> None:
    note = Note(str(path))
    empty = path.read_bytes()
    note.add_adj(4711, 2**40, 0, 987, 2**40)
    freeze(note, "/sys/fs/cgroup/app.slice/a.scope", 2**33)
    full, noted = path.read_bytes(), left(path)
    places = [at for at in range(HEADER, SIZE) if full[at] != 32]
    for at in places[::3]:
        before, after = (full, empty) if clearing else (empty, full)
        for halves in (after[:at] + before[at:], before[:at] + after[at:]):
            path.write_bytes(halves)
            found = left(path)
            assert all(one in noted[1] for one in found[1]) and all(one in noted[2] for one in found[2])
    note.close()


def test_a_word_too_many_or_too_few_is_no_note_though_its_check_is_right(path: Path) -> None:
    for slot in (b"100 5 0 987", b"100 5 0 987 1 1", b"1 5 0 987 1", b"a 5 0 987 1", b"100 5 x 987 1"):
        whole = b"%s %d" % (slot, int.from_bytes(slot) % CHECK)
        at = HEADER + PROCESSES * PROCESS
        written = text(slot=b"")
        path.write_bytes(written[:at] + whole.rjust(ADJUSTMENT - 2) + END + written[at + ADJUSTMENT :])
        assert left(path) == NOTHING


def test_an_older_guards_note_says_who_stands_still_and_what_is_frozen(path: Path) -> None:
    old = text(b"okoomer-paused 1 %s 1 2\n" % BOOT)[: HEADER + PROCESSES * PROCESS]
    path.write_bytes(old + (b"77 /sys/fs/cgroup/a b".rjust(OLD_CGROUP - 2) + END) + b" " * 3 * OLD_CGROUP)
    assert left(path) == ([(100, 5)], [], [("/sys/fs/cgroup/a b", 77, "cgroup.freeze", "0", "1")])
    path.write_bytes(old)
    assert left(path) == ([(100, 5)], [], [])


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
