"""The ring: the latest events, whole or not at all, whatever happens to writer, reader or file."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okoomer.events import ring
from okoomer.events.ring import HEADER_SIZE, LONGEST, ROOM, SLOT, SLOTS, NotARing, Ring, read


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ring")


def test_what_is_written_is_read_in_order(path: str) -> None:
    writer = Ring(path)
    for text in ("first", "second", "third"):
        writer.write(text)
    assert list(read(path)) == [(1, "first"), (2, "second"), (3, "third")]
    assert writer.sequence == 4


def test_there_is_one_writer_for_as_long_as_it_lives(path: str) -> None:
    assert ring.writer(path) is None
    first = Ring(path)
    assert ring.writer(path) == os.getpid()
    with pytest.raises(ring.Held) as found:
        Ring(path)
    assert found.value.pid == os.getpid()
    first.write("still there")
    first.close()
    assert ring.writer(path) is None
    assert list(read(path)) == [(1, "still there")]


def test_a_new_ring_is_empty(path: str) -> None:
    Ring(path)
    assert list(read(path)) == []


@pytest.mark.parametrize("length", [1, ROOM - 1, ROOM, ROOM + 1, 2 * ROOM, 5 * ROOM + 7, LONGEST - 1])
def test_events_of_any_length_come_back_whole(path: str, length: int) -> None:
    writer = Ring(path)
    writer.write("before")
    writer.write("x" * (length - 1) + "y")
    writer.write("after")
    assert [text for _, text in read(path)] == ["before", "x" * (length - 1) + "y", "after"]


def test_of_an_event_that_is_too_long_only_the_number_is_kept(path: str) -> None:
    writer = Ring(path)
    for text in ("before", "x" * LONGEST, "after"):
        writer.write(text)
    assert list(read(path)) == [(1, "before"), (3, "after")]


def test_the_oldest_events_make_room(path: str) -> None:
    writer = Ring(path)
    for number in range(3 * SLOTS + 5):
        writer.write(f"event {number}")
    kept = list(read(path))
    assert len(kept) == SLOTS
    assert kept[0] == (2 * SLOTS + 6, f"event {2 * SLOTS + 5}")
    assert kept[-1] == (3 * SLOTS + 5, f"event {3 * SLOTS + 4}")


def test_an_event_that_is_half_overwritten_is_not_told(path: str) -> None:
    writer = Ring(path)
    writer.write("long" * ROOM)
    for number in range(SLOTS - 2):
        writer.write(f"event {number}")
    assert next(sequence for sequence, _ in read(path)) == 2


@given(st.lists(st.integers(0, 6 * ROOM), max_size=120), st.integers(0, 119))
@settings(max_examples=25, deadline=None)
def test_a_ring_holds_the_newest_events_and_goes_on_after_reopening(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], reopened: int
) -> None:
    path = str(tmp_path_factory.mktemp("ring") / "ring")
    writer = Ring(path)
    texts = {}
    for number, length in enumerate(lengths, 1):
        if number == reopened:
            writer.close()
            writer = Ring(path)
        texts[writer.sequence] = f"{number}:" + "x" * length
        writer.write(texts[writer.sequence])
    assert list(texts) == list(range(1, len(lengths) + 1))
    kept, used = [], 0
    for sequence, text in reversed(texts.items()):
        used += -(-len(text) // ROOM)
        if used > SLOTS:
            break
        kept.append((sequence, text))
    assert list(read(path)) == kept[::-1]


def test_numbers_go_on_after_reopening_and_nothing_is_forgotten(path: str) -> None:
    Ring(path).write("of the first guard")
    Ring(path).write("of the second guard")
    assert list(read(path)) == [(1, "of the first guard"), (2, "of the second guard")]


def test_a_writer_that_dies_in_the_middle_of_an_event_uses_up_its_number(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Ring(path)
    writer.write("before")
    with monkeypatch.context() as patch:
        calls = []

        def dies(*arguments: Any) -> None:
            calls.append(arguments)
            if len(calls) == 6:
                raise MemoryError
            pack(*arguments)

        pack = struct.pack_into
        patch.setattr(ring, "pack_into", dies)
        with pytest.raises(MemoryError):
            writer.write("x" * 3 * ROOM)
    writer.close()
    Ring(path).write("after")
    assert list(read(path)) == [(1, "before"), (3, "after")]


def test_a_ring_is_readable_by_its_group_only(path: str) -> None:
    Ring(path)
    assert Path(path).stat().st_mode & 0o777 & ~0o640 == 0


WRITER = """
import sys, time
from okoomer.events.ring import Ring
ring = Ring(sys.argv[1])
print("ready", flush=True)
end = time.monotonic() + 60
while time.monotonic() < end:
    n = ring.sequence
    ring.write('{"n": %d, "text": "%s"}' % (n, chr(97 + n % 26) * (n * 37 % 4000)))
"""


def test_a_reader_sees_whole_events_only_while_a_writer_writes(path: str) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        began, seen, last = time.monotonic(), 0, 0
        # Two seconds, or as long as it takes on a machine that is busy.
        while (passed := time.monotonic() - began) < 2 or (passed < 50 and (seen <= 100 or last <= 1000)):
            events = list(read(path))
            assert [sequence for sequence, _ in events] == sorted({sequence for sequence, _ in events})
            for sequence, text in events:
                n = json.loads(text)["n"]
                assert n == sequence
                assert json.loads(text)["text"] == chr(97 + n % 26) * (n * 37 % 4000)
            seen += len(events)
            if events:
                assert events[-1][0] >= last
                last = events[-1][0]
    finally:
        writer.kill()
        writer.communicate()
    assert seen > 100 and last > 1000
    assert list(read(path))  # what a killed writer left


@pytest.mark.parametrize("text", [b"", b"x", b"okoomer\0", b"not a ring of events" * 100, bytes(5000)])
def test_a_file_that_is_no_ring_is_refused_and_a_writer_starts_anew(path: str, text: bytes) -> None:
    Path(path).write_bytes(text)
    with pytest.raises(NotARing):
        list(read(path))
    Ring(path).write("new")
    assert list(read(path)) == [(1, "new")]


def test_a_ring_of_another_version_is_refused_by_name(path: str) -> None:
    Ring(path).write("old")
    spoiled = bytearray(Path(path).read_bytes())
    spoiled[8] = 9
    Path(path).write_bytes(spoiled)
    with pytest.raises(NotARing, match="version 9"):
        list(read(path))
    Ring(path).write("new")
    assert list(read(path)) == [(1, "new")]


@pytest.mark.parametrize("length", [10, 64, 100, 64 + 1024 * 5, 64 + 1024 * SLOTS - 1])
def test_a_ring_that_was_cut_off_is_refused_and_a_writer_starts_anew(path: str, length: int) -> None:
    Ring(path).write("old")
    Path(path).write_bytes(Path(path).read_bytes()[:length])
    with pytest.raises(NotARing):
        list(read(path))
    Ring(path).write("new")
    assert list(read(path)) == [(1, "new")]


@given(st.binary(min_size=1, max_size=300), st.integers(64, 64 + 3 * 1024))
@settings(max_examples=60, deadline=None)
def test_damaged_slots_never_raise(tmp_path_factory: pytest.TempPathFactory, damage: bytes, at: int) -> None:
    path = tmp_path_factory.mktemp("ring") / "ring"
    writer = Ring(str(path))
    for text in ("a" * 500, "b" * 1500, "c"):
        writer.write(text)
    spoiled = bytearray(path.read_bytes())
    spoiled[at : at + len(damage)] = damage
    path.write_bytes(spoiled)
    assert all(sequence > 0 and isinstance(text, str) for sequence, text in read(str(path)))


def test_an_absent_file_and_a_symlink_in_its_place(path: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read(path))
    (tmp_path / "target").write_bytes(b"precious")
    Path(path).symlink_to(tmp_path / "target")
    with pytest.raises(OSError):
        Ring(path)
    assert (tmp_path / "target").read_bytes() == b"precious"


def test_all_its_pages_exist_before_they_are_needed(path: str) -> None:
    Ring(path)
    found = Path(path).stat()
    assert found.st_blocks * 512 >= found.st_size == HEADER_SIZE + SLOTS * SLOT
