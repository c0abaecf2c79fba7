"""The events that are new in the ring, and how many were missed."""

from __future__ import annotations

import os
from _struct import calcsize, unpack_from

from okoomer.courier.parse import fields_of
from okoomer.events.ring import HEADER, HEADER_SIZE, MAGIC, SLOT, SLOTS, VERSION, NotARing, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    #: An event's JSON, as it is and decoded.
    Event: TypeAlias = tuple[str, dict[str, Any]]


#: No guard writes so many events while nobody reads: a number that is so far ahead is damage, and whoever believed it
#: would be deaf from then on.
FAR = 1 << 20


def position(path: str) -> int:
    """The sequence number of the next event that a guard will write to a ring: 1 where it will begin a new one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return 1
    try:
        return next_in(fd)
    except OSError:
        return 1
    finally:
        os.close(fd)


def next_in(fd: int) -> int:
    """The same of a ring that is open.

    Raises:
        OSError: It cannot be read.
    """
    head = os.pread(fd, calcsize(HEADER), 0)
    if os.fstat(fd).st_size != HEADER_SIZE + SLOTS * SLOT:
        return 1
    *kind, sequence, _slot = unpack_from(HEADER, head)
    return int(sequence) if kind == [MAGIC, VERSION, SLOTS] else 1


def decode(text: str) -> dict[str, Any] | None:
    """An event's fields, or None if the text is no event."""
    fields = fields_of(text)
    return fields if fields is not None and isinstance(fields.get("event"), str) else None


class Feed:
    """Reads a ring from one sequence number on.

    Args:
        path: Where it is. It need not be there yet.
        first: The number of the first event that matters.
        fd: The ring itself, from whoever has opened it for us; it is ours now. Then the path is only what it is called.
    """

    def __init__(self, path: str, first: int, fd: int = -1) -> None:
        self._path = path
        self._fd = fd
        self._given = fd >= 0
        self._next = first

    def new(self) -> tuple[list[Event], int, int]:
        """The new events, oldest first; how many others were overwritten before they were read; how many are damaged.

        Raises:
            OSError, NotARing: The ring cannot be read.
        """
        if self._fd < 0:
            # It stays ours even if somebody removes the file: the guard, too, goes on writing to that one.
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            end = min(next_in(self._fd), self._next + FAR)
            found = [(sequence, text) for sequence, text in read(self._fd, self._next) if sequence < end]
        except OSError as error:
            self._anew()
            raise OSError(error.errno, error.strerror, self._path) from None
        except NotARing as error:
            text = self._path + str(error).removeprefix(str(self._fd))
            self._anew()
            raise NotARing(text) from None
        if not found:
            return [], 0, 0
        # Numbers are taken before the text is there, so what is missing after the last that is there may yet come.
        last = found[-1][0]
        missed = last + 1 - self._next - len(found)
        self._next = last + 1
        events = [(text, fields) for _, text in found if (fields := decode(text)) is not None]
        return events, missed, len(found) - len(events)

    def close(self) -> None:
        """Gives the file back; the next look opens it anew."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _anew(self) -> None:
        """Looks for it by its path the next time, where it came from there."""
        if not self._given:
            self.close()

    __del__ = close
