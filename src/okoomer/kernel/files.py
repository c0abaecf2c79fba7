"""Reading the small text files of /proc and /sys again and again.

Opening such a file costs three times what reading it does, so readers keep the descriptor and `pread` from its start:
the kernel makes the text anew at each read from offset 0.
"""

from __future__ import annotations

import posix as os
from errno import EACCES, ENODEV, ENOENT, EOPNOTSUPP, EPERM, ESRCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Generic, TypeVar

    T = TypeVar("T")
else:

    class _Generic:
        def __class_getitem__(cls, _item):
            return cls

    Generic, T = _Generic, None

#: Without O_NONBLOCK a FIFO in a file's place would hold the reader for ever.
FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
#: What reading an interface answers where it is absent or has just gone (a swap device, a cgroup, PSI switched off).
ABSENT = frozenset((ENOENT, ENODEV, EOPNOTSUPP, ESRCH))
#: What an interface answers that is there but not for us.
FORBIDDEN = frozenset((EACCES, EPERM))


def read(path: str, size: int = 4096) -> bytes:
    """The first `size` bytes of a file, in one read.

    Raises:
        OSError: It cannot be opened or read.
    """
    fd = os.open(path, FLAGS)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def whole(digits: bytes) -> int:
    """A whole number as the kernel prints one, in 64 bits. What lies beyond 2**63 is a counter that has fallen below 0
    and was printed without its sign.

    Raises:
        ValueError: It is no number, or a greater one.
    """
    number = int(digits)
    if not -(2**63) <= number < 2**64:
        raise ValueError("more than 64 bits")
    return number if number < 2**63 else number - 2**64


def number_after(text: bytes, key: bytes) -> int | None:
    """The whole number that follows `key` (which should begin with a newline where it could also end a longer key).

    Raises:
        ValueError, IndexError: Something else follows.
    """
    at = text.find(key)
    if at < 0:
        return None
    start = at + len(key)
    end = text.find(b"\n", start)
    return whole(text[start : end if end >= 0 else None].split(None, 1)[0])


class Source(Generic[T]):
    """One file and its parser, read many times; it never raises.

    An absent file gives None. A file that is there but cannot be read or understood gives the last good reading, and
    `trouble` says what is wrong until it is right again.

    Args:
        size: Bytes that are read at most.
        pieces: The kernel hands this file out line by line: a read ends with a page, and it takes several.
    """

    def __init__(self, path: str, parse: Callable[[bytes], T], size: int = 8192, pieces: bool = False) -> None:
        self.path = path
        self.trouble = ""
        self._parse = parse
        self._size = size
        self._pieces = pieces
        self._fd = -1
        self._last: T | None = None

    def read(self) -> T | None:
        try:
            if self._fd < 0:
                self._fd = os.open(self.path, FLAGS)
            text = os.pread(self._fd, self._size, 0)
            while self._pieces and (more := os.pread(self._fd, self._size - len(text), len(text))):
                text += more
            self._last = self._parse(text)
            self.trouble = ""
        except OSError as error:
            self.close()
            if error.errno in ABSENT:
                self._last, self.trouble = None, ""
            else:
                self.trouble = f"{self.path}: {error.strerror}"
        except (ValueError, IndexError):
            self.trouble = f"{self.path}: its text makes no sense"
        return self._last

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # Whoever reads a machine once, or goes by another policy from now on, only lets go of it.
    __del__ = close
