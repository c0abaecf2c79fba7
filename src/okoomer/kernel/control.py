"""Acting on a cgroup of the unified hierarchy: its control files, behind a descriptor of its directory.

A name can come to mean another cgroup; a directory that is open cannot. Once its cgroup is removed, every file in it is
absent (Documentation/admin-guide/cgroup-v2.rst).
"""

from __future__ import annotations

import posix as os
from errno import ENOENT

from okoomer.kernel.files import ABSENT, FLAGS, number_after, whole

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Of one file or tree nothing beyond this is read: so many bytes of a list of pids, so many cgroups.
_LIST, _CGROUPS = 1 << 20, 4096


def enter(mount: str, path: str, inode: int = 0) -> int:
    """A descriptor of a cgroup's directory.

    Args:
        path: As in /proc/PID/cgroup.
        inode: Which cgroup of that name is meant; 0 is whichever there is.

    Raises:
        FileNotFoundError: It is gone; another may have its name now.
        OSError: It cannot be opened.
    """
    directory = os.open(mount + path, _DIRECTORY)
    if inode and os.fstat(directory).st_ino != inode:
        os.close(directory)
        raise FileNotFoundError(ENOENT, "another cgroup has its name now", path)
    return directory


def get(directory: int, name: str, size: int = 4096) -> bytes:
    """The text of a control file, in one read.

    Raises:
        OSError: It cannot be read.
    """
    fd = os.open(name, FLAGS, dir_fd=directory)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def put(directory: int, name: str, text: bytes) -> None:
    """Writes a control file. Some of them (memory.max, memory.high, memory.reclaim) work as long as it takes.

    Raises:
        OSError: It cannot be written.
    """
    fd = os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def amount(directory: int, name: str) -> int | None:
    """A control file that holds one number; None where it is absent or `max`."""
    try:
        return whole(get(directory, name, 32))
    except (OSError, ValueError):
        return None


def event(directory: int, name: str) -> int:
    """How often something happened there and below, as memory.events counts it; 0 where that cannot be read."""
    try:
        return number_after(b"\n" + get(directory, "memory.events"), b"\n%s " % name.encode()) or 0
    except (OSError, ValueError, IndexError):
        return 0


def populated(directory: int) -> bool | None:
    """Whether a process lives in it or below. Not in one that is gone; None where it cannot be told."""
    try:
        found = number_after(b"\n" + get(directory, "cgroup.events"), b"\npopulated ")
    except OSError as error:
        return False if error.errno in ABSENT else None
    except (ValueError, IndexError):
        return None
    return None if found is None else bool(found)


def members(directory: int) -> list[int]:
    """The processes in it and below; what comes or goes meanwhile may be missing."""
    found: list[int] = []
    pending = ["."]
    for _ in range(_CGROUPS):
        if not pending:
            break
        path = pending.pop()
        found += _processes(directory, f"{path}/cgroup.procs")
        try:
            inner = os.open(path, _DIRECTORY, dir_fd=directory)
        except OSError:
            continue
        try:
            with os.scandir(inner) as entries:
                pending += [f"{path}/{entry.name}" for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            pass
        finally:
            os.close(inner)
    return found


def _processes(directory: int, name: str) -> list[int]:
    try:
        fd = os.open(name, FLAGS, dir_fd=directory)
    except OSError:
        return []
    text = b""
    try:
        while len(text) < _LIST and (more := os.read(fd, 65536)):
            text += more
    except OSError:
        pass  # a threaded one lists its processes where its domain begins
    finally:
        os.close(fd)
    # 0 is who cannot be seen from this PID namespace.
    return [pid for word in text.split() if word.isdigit() and (pid := int(word))]
