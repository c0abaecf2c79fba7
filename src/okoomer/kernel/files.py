"""Reading the small text files of /proc and /sys again and again.

Opening such a file costs three times what reading it does, so readers keep the descriptor and `pread` from its start:
the kernel makes the text anew at each read from offset 0.
"""

from __future__ import annotations

import os
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

#: What reading an interface answers where it is absent or has just gone (a swap device, a cgroup, PSI switched off).
ABSENT = frozenset((ENOENT, ENODEV, EOPNOTSUPP, ESRCH))
#: What an interface answers that is there but not for us.
FORBIDDEN = frozenset((EACCES, EPERM))


def read(path: str, size: int = 4096) -> bytes:
    """The first `size` bytes of a file, in one read.

    Raises:
        OSError: It cannot be opened or read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def number_after(text: bytes, key: bytes) -> int | None:
    """The whole number that follows `key` (which should begin with a newline where it could also end a longer key).

    Raises:
        ValueError: Something else follows.
    """
    at = text.find(key)
    if at < 0:
        return None
    start = at + len(key)
    end = text.find(b"\n", start)
    return int(text[start : end if end >= 0 else None].split(None, 1)[0])


class Source(Generic[T]):
    """One file and its parser, read many times; it never raises.

    An absent file gives None. A file that is there but cannot be read or understood gives the last good reading, and
    `trouble` says what is wrong until it is right again.
    """

    def __init__(self, path: str, parse: Callable[[bytes], T], size: int = 8192) -> None:
        self.path = path
        self.trouble = ""
        self._parse = parse
        self._size = size
        self._fd = -1
        self._last: T | None = None

    def read(self) -> T | None:
        try:
            if self._fd < 0:
                self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            self._last = self._parse(os.pread(self._fd, self._size, 0))
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
