"""What a process writes, and what of that stays in memory: /proc/PID/io, fd, fdinfo and mountinfo.

All of it takes the right to trace the process. No file is looked at itself before it is known to lie on a tmpfs: what
hangs on a dead server or on a stopped FUSE daemon would make the asker hang, too.
"""

from __future__ import annotations

import posix as os
from _stat import S_ISREG

from okoomer.kernel.files import number_after, read, whole

#: So many descriptors of a process are looked at: a server may have ten thousand connections.
DESCRIPTORS = 1024


def parse_io(text: bytes) -> int:
    """Bytes that a process has written to anything but a disk since it began: to tmpfs, pipes, sockets, terminals.

    `wchar` counts all that is passed to write(2) and its kin, `write_bytes` what became dirty page cache of a disk
    (Documentation/filesystems/proc.rst, 3.3), at the very time of writing and not when it is flushed. Children that
    have been waited for are included in both.

    Raises:
        ValueError, IndexError: It is not such a file.
    """
    text = b"\n" + text
    passed, to_disk = number_after(text, b"\nwchar:"), number_after(text, b"\nwrite_bytes:")
    if passed is None or to_disk is None:
        raise ValueError("no wchar or write_bytes")
    return passed - to_disk


def written(proc: str, pid: int | str) -> int:
    """What `parse_io` says of a process; raises OSError where it is gone or not ours to look at."""
    return parse_io(read(f"{proc}/{pid}/io", 512))


def parse_mounts(text: bytes) -> frozenset[int]:
    """The ids of all mounts of a tmpfs in a mountinfo file.

    Raises:
        ValueError, IndexError: It is not such a file.
    """
    halves = (line.partition(b" - ") for line in text.splitlines())
    return frozenset(whole(head.split(None, 1)[0]) for head, _, tail in halves if tail.startswith(b"tmpfs "))


def in_memory(proc: str, pid: int) -> dict[tuple[int, int], int]:
    """The files on a tmpfs that a process has open for writing, by device and inode, and the bytes that each takes;
    beside them, with inode 0, each such tmpfs as a whole, unless it has no limit and so does not count.

    Raises:
        OSError, ValueError, IndexError: The process is gone, or is not ours to look at.
    """
    with open(f"{proc}/{pid}/mountinfo", "rb") as file:  # longer than one read gives
        mounts = parse_mounts(file.read())
    found = {}
    for fd in os.listdir(f"{proc}/{pid}/fd")[:DESCRIPTORS]:
        path = f"{proc}/{pid}/fd/{fd}"
        try:
            if not os.readlink(path).startswith("/"):
                continue  # a socket or a pipe
            text = read(f"{proc}/{pid}/fdinfo/{fd}", 512)
            flags = int(text[text.index(b"flags:") + 6 :].split(None, 1)[0], 8)
            if not flags & (os.O_WRONLY | os.O_RDWR) or number_after(text, b"mnt_id:") not in mounts:
                continue
            status, around = os.stat(path), os.statvfs(path)
        except (OSError, ValueError, IndexError):
            continue
        if S_ISREG(status.st_mode):
            found[status.st_dev, status.st_ino] = status.st_blocks * 512
            if around.f_blocks:
                found[status.st_dev, 0] = (around.f_blocks - around.f_bfree) * around.f_frsize
    return found
