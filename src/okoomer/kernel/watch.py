"""Whether somebody writes to a file (inotify(7))."""

from __future__ import annotations

import posix as os
from errno import EAGAIN

from okoomer.kernel.syscalls import function, result

#: include/uapi/linux/inotify.h
_MODIFY = 2
#: Bytes of one event without a name.
_EVENT = 16

_init, _add = function("inotify_init1"), function("inotify_add_watch")


def watch(directory: int, name: str) -> int:
    """A descriptor that knows of each write to a file of an open directory from now on.

    Raises:
        OSError: The file is gone, or there are too many of these.
    """
    fd = result(_init(os.O_NONBLOCK | os.O_CLOEXEC))
    try:
        result(_add(fd, f"/proc/self/fd/{directory}/{name}".encode(), _MODIFY))
    except OSError:
        os.close(fd)
        raise
    return fd


def written(fd: int) -> bool:
    """Whether somebody has written to it since then, or since the last question."""
    try:
        return len(os.read(fd, 64 * _EVENT)) > 0
    except OSError as error:
        return error.errno != EAGAIN
