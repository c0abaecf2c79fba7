"""The ring: the latest events in a file of fixed size that is mapped into memory.

Writing is a few stores into pages that exist already: no allocation, no reader to wait for, nothing that can fail
when memory is short. A reader that comes late finds the newest events and sees by the sequence numbers how many
it missed. On a tmpfs the file outlives a guard that was killed, so that its last words can still be read.

    file   = header, slots
    header = magic (8 bytes), version (u32), slots (u32), next sequence (u64), next slot (u64), pid of the writer (u64)
    slot   = sequence (u64), part (u16), parts (u16), length (u32), JSON (ASCII)

An event longer than a slot takes several, each with the event's sequence; slots are used in turn. A slot is invalid
(sequence 0) while it is written, and a reader looks at the sequence before and after, so it never takes half an event.

There is one writer: it holds a lock (flock) on the file for as long as it lives. Whoever can read the file can hold
that lock, too, be it only to keep the next writer out; so who holds it counts only if it is of the file's own user.
"""

from __future__ import annotations

import posix as os
from _struct import calcsize, pack_into, unpack_from
from fcntl import LOCK_EX, LOCK_NB, flock
from mmap import ACCESS_READ, mmap
from time import sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC, VERSION = b"okoomer\0", 1
HEADER, COUNTERS, SLOT_HEADER = "<8sIIQQ", "<QQ", "<QHHI"
WRITER = 32
HEADER_SIZE, SLOT_HEADER_SIZE = 64, calcsize(SLOT_HEADER)
SLOT, SLOTS = 1024, 256
ROOM = SLOT - SLOT_HEADER_SIZE
#: Events shorter than this are kept; of a longer one only the sequence number is.
LONGEST = 32 * ROOM


class NotARing(Exception):
    """The file is not a ring of this version."""


class Held(Exception):
    """Another process writes there: `pid`, 0 if that is not known."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"pid {pid or 'unknown'} writes there")
        self.pid = pid


class Ring:
    """The writing end. There is one writer."""

    def __init__(self, path: str) -> None:
        """Opens or makes the file.

        Raises:
            OSError: It cannot be made.
            Held: Another process writes there.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            if not taken(fd):
                if _is_written(fd):
                    raise Held(_writer(fd))
                # A reader has taken the lock, that has nothing to write: it may keep this file.
                os.unlink(path)
                other = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
                os.close(fd)
                fd = other
                if not taken(fd):
                    raise Held(_writer(fd))
            length = HEADER_SIZE + SLOTS * SLOT
            header = os.pread(fd, calcsize(HEADER), 0)
            kept = os.fstat(fd).st_size == length and unpack_from(HEADER, header)[:3] == (MAGIC, VERSION, SLOTS)
            if not kept:
                os.ftruncate(fd, 0)
                # All pages now: a store into a hole of a file system that is full would end us with SIGBUS, and one
                # into a hole when memory has run out would wait for some.
                os.posix_fallocate(fd, 0, length)
            self._map = mmap(fd, length)
        finally:
            os.close(fd)
        self.sequence, self._slot = unpack_from(HEADER, self._map)[3:] if kept else (1, 0)
        if not kept:
            pack_into(HEADER, self._map, 0, MAGIC, VERSION, SLOTS, self.sequence, self._slot)
        # The map has a descriptor of its own, of the same open file: the lock lives as long as it does.
        pack_into("<Q", self._map, WRITER, os.getpid())

    def write(self, line: str) -> None:
        """Adds one event."""
        text = line.encode("ascii")
        parts = -(-len(text) // ROOM) if len(text) < LONGEST else 0
        sequence, slot = self.sequence, self._slot
        self.sequence, self._slot = sequence + 1, slot + parts
        # First of all, so that whoever writes after us, should we end here, does not use the number again.
        self._mark()
        for part in range(parts):
            at = HEADER_SIZE + (slot + part) % SLOTS * SLOT
            piece = text[part * ROOM : (part + 1) * ROOM]
            pack_into("<Q", self._map, at, 0)
            self._map[at + SLOT_HEADER_SIZE : at + SLOT_HEADER_SIZE + len(piece)] = piece
            pack_into(SLOT_HEADER, self._map, at, 0, part, parts, len(piece))
            pack_into("<Q", self._map, at, sequence)

    def close(self) -> None:
        """Lets somebody else write."""
        self._map.close()

    def _mark(self) -> None:
        # Only the counters: pack_into fills with zeros what it is going to write, and readers check the rest.
        pack_into(COUNTERS, self._map, calcsize(HEADER) - calcsize(COUNTERS), self.sequence, self._slot)


def taken(fd: int) -> bool:
    """Takes a lock. Whoever only looks whether it is held has it for an instant, so it is tried for a moment."""
    for _ in range(10):
        try:
            flock(fd, LOCK_EX | LOCK_NB)
            return True
        except OSError:
            sleep(0.01)
    return False


def writer(path: str) -> int | None:
    """The pid of the process that writes a ring, 0 if that is not known; None if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        flock(fd, LOCK_EX | LOCK_NB)
        return None
    except OSError:
        return _writer(fd) if _is_written(fd) else None
    finally:
        os.close(fd)


def _writer(fd: int) -> int:
    found = os.pread(fd, 8, WRITER)
    return int(unpack_from("<Q", found)[0]) if len(found) == 8 else 0


def _is_written(fd: int) -> bool:
    """Whether a ring whose lock is held has a writer, and not only a reader that keeps others out."""
    status = os.fstat(fd)
    holders = [pid for pid in _holders(status.st_ino) if pid > 0]
    # The kernel names none that has passed its open file on and ended, or that is in none of our pid namespaces.
    return any(_user(pid) == status.st_uid for pid in holders or [_writer(fd)])


def _holders(inode: int) -> list[int]:
    """Who has taken locks on files with this inode, as /proc/locks has it."""
    try:
        fd = os.open("/proc/locks", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    text = b""
    try:
        while piece := os.read(fd, 1 << 16):
            text += piece
    except OSError:
        pass  # what was read is what there is
    finally:
        os.close(fd)
    words = [line.split() for line in text.splitlines()]
    suffix = b":%d" % inode
    return [int(line[4]) for line in words if len(line) > 5 and line[1] == b"FLOCK" and line[5].endswith(suffix)]


def _user(pid: int) -> int:
    """The user as whom a process acts, -1 if there is no such process."""
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            _, _, rest = file.read(4096).partition(b"\nUid:")
        return int(rest.split()[1])
    except (OSError, ValueError, IndexError):
        return -1


def read(path: str | int, first: int = 0) -> Iterator[tuple[int, str]]:
    """The events in a ring, oldest first: (sequence, JSON).

    Args:
        path: Where it is, or a descriptor of it. Whoever has that from elsewhere may not be let in by the path.
        first: The number of the first event that is wanted: what is older costs next to nothing.

    Raises:
        OSError: The file cannot be read.
        NotARing: It is something else.
    """
    events: dict[int, list[tuple[int, int, bytes]]] = {}
    with open(path, "rb", buffering=0, closefd=not isinstance(path, int)) as file:
        # Not by the position: that of a descriptor is everybody's who has it.
        head = os.pread(file.fileno(), HEADER_SIZE, 0)
        if len(head) < HEADER_SIZE or head[:8] != MAGIC:
            raise NotARing(f"{path} is not a ring of events")
        _magic, version, slots, *_following = unpack_from(HEADER, head)
        if version != VERSION:
            raise NotARing(f"{path} is a ring of version {version}, not {VERSION}")
        with mmap(file.fileno(), 0, access=ACCESS_READ) as text:
            if len(text) != HEADER_SIZE + slots * SLOT:
                raise NotARing(f"{path} is cut off, or no ring of events at all")
            for at in range(HEADER_SIZE, len(text), SLOT):
                before = unpack_from(SLOT_HEADER, text, at)
                sequence, part, parts, length = before
                if sequence < first:
                    continue
                piece = text[at + SLOT_HEADER_SIZE : at + SLOT_HEADER_SIZE + min(length, ROOM)]
                if sequence and unpack_from(SLOT_HEADER, text, at) == before:
                    events.setdefault(sequence, []).append((part, parts, piece))
    for sequence, pieces in sorted(events.items()):
        pieces.sort()
        if [(part, parts) for part, parts, _ in pieces] == [(part, len(pieces)) for part in range(len(pieces))]:
            # Nothing else was written, so what is not ASCII is damage.
            yield sequence, b"".join(piece for _, _, piece in pieces).decode("ascii", "replace")
