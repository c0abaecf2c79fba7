"""A descriptor that becomes readable after a while (timerfd_create(2)), on the clock that stands still while the
machine sleeps."""

from __future__ import annotations

import posix as os
from _struct import pack
from time import CLOCK_MONOTONIC

from okoomer.kernel.syscalls import function, result

_create, _settime = function("timerfd_create"), function("timerfd_settime")


def timer() -> int:
    """A new one, which is off.

    Raises:
        OSError: There are too many descriptors.
    """
    return result(_create(CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK))


def ring(fd: int, seconds: float) -> None:
    """Has it become readable in so many seconds, once; 0 is never. Whatever it had to say before is forgotten."""
    whole = int(seconds)
    _settime(fd, 0, pack("@llll", 0, 0, whole, int((seconds - whole) * 1e9)), None)
