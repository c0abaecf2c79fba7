"""The ring: the latest events in a file of fixed size that is mapped into memory.

Writing is a few stores into memory that is locked already: no allocation, no reader to wait for, nothing that can
fail when memory is short. A reader that comes late finds the newest events and sees by the sequence numbers how many
it missed. On a tmpfs the file outlives a guard that was killed, so that its last words can still be read.

    file   = header, slots
    header = magic (8 bytes), version (u32), slots (u32), next sequence (u64)
    slot   = sequence (u64), part (u16), parts (u16), length (u32), JSON (ASCII)

An event longer than a slot takes several, each with the event's sequence; slots are used in turn. A slot is invalid
(sequence 0) while it is written, so a reader never takes half an event.
"""

from __future__ import annotations

import os
from _struct import calcsize, pack_into, unpack_from
from mmap import ACCESS_READ, mmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC, VERSION = b"okoomer\0", 1
HEADER, SLOT_HEADER = "<8sIIQ", "<QHHI"
HEADER_SIZE, SLOT_HEADER_SIZE = 64, calcsize(SLOT_HEADER)
SLOT, SLOTS = 1024, 256
ROOM = SLOT - SLOT_HEADER_SIZE
#: The longest event; the rest is cut, which makes it no JSON any more, and the reader passes it over.
LONGEST = 32 * ROOM


class NotARing(Exception):
    """The file is not a ring of this version."""


class Ring:
    """The writing end. There is one writer."""

    def __init__(self, path: str) -> None:
        """Opens or makes the file.

        Raises:
            OSError: It cannot be made.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            length = HEADER_SIZE + SLOTS * SLOT
            header = os.pread(fd, calcsize(HEADER), 0)
            kept = os.fstat(fd).st_size == length and unpack_from(HEADER, header)[:3] == (MAGIC, VERSION, SLOTS)
            if not kept:
                os.ftruncate(fd, 0)  # all zeros again, and no page of it in memory until it is needed
                os.ftruncate(fd, length)
            self._map = mmap(fd, length)
        finally:
            os.close(fd)
        self.sequence: int = unpack_from(HEADER, self._map)[3] if kept else 1
        self._slot = self._newest_slot() + 1 if kept else 0
        self._mark()

    def write(self, line: str) -> None:
        """Adds one event."""
        text = line.encode("ascii")[:LONGEST]
        parts = -(-len(text) // ROOM)
        for part in range(parts):
            at = HEADER_SIZE + self._slot % SLOTS * SLOT
            piece = text[part * ROOM : (part + 1) * ROOM]
            pack_into("<Q", self._map, at, 0)
            self._map[at + SLOT_HEADER_SIZE : at + SLOT_HEADER_SIZE + len(piece)] = piece
            pack_into(SLOT_HEADER, self._map, at, self.sequence, part, parts, len(piece))
            self._slot += 1
        self.sequence += 1
        self._mark()

    def _mark(self) -> None:
        pack_into(HEADER, self._map, 0, MAGIC, VERSION, SLOTS, self.sequence)

    def _newest_slot(self) -> int:
        heads = (unpack_from(SLOT_HEADER, self._map, HEADER_SIZE + slot * SLOT) for slot in range(SLOTS))
        return max(((head[0], head[1], slot) for slot, head in enumerate(heads)), default=(0, 0, -1))[2]


def read(path: str) -> Iterator[tuple[int, str]]:
    """The events in a ring, oldest first: (sequence, JSON).

    Raises:
        OSError: The file cannot be read.
        NotARing: It is something else.
    """
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as text:
        if len(text) < HEADER_SIZE or text[:8] != MAGIC:
            raise NotARing(f"{path} is not a ring of events")
        _magic, version, slots, _following = unpack_from(HEADER, text)
        if version != VERSION:
            raise NotARing(f"{path} is a ring of version {version}, not {VERSION}")
        events: dict[int, dict[int, bytes]] = {}
        wanted: dict[int, int] = {}
        for slot in range(slots):
            at = HEADER_SIZE + slot * SLOT
            sequence, part, parts, length = unpack_from(SLOT_HEADER, text, at)
            if sequence:
                events.setdefault(sequence, {})[part] = text[at + SLOT_HEADER_SIZE : at + SLOT_HEADER_SIZE + length]
                wanted[sequence] = parts
    for sequence in sorted(events):
        pieces = events[sequence]
        if len(pieces) == wanted[sequence]:
            yield sequence, b"".join(pieces[part] for part in range(len(pieces))).decode("ascii")
