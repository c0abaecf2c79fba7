"""The note of all that has to be undone: a file that outlives the guard, so that whatever ends it nobody stays paused,
slowed or raised for ever.

All of the file is made at the start; at the worst moment a note is a store into memory that is there. A slot is written
before the deed that it is about and cleared after the one that undoes it (see guard.undo). A guard that is killed in
the middle of a store leaves a slot that says nothing, and its deed was not done yet, or was undone already.
"""

from __future__ import annotations

import posix as os
from errno import EINVAL, ENAMETOOLONG, ENOSPC
from mmap import mmap

from okoomer.kernel.files import read
from okoomer.kernel.paths import encoded
from okoomer.kernel.process import ticks

#: The first line tells the boot that pids belong to, and the guard: its pid and when it started.
MAGIC, HEADER = b"okoomer-paused 2", 128
#: So much at once of each kind, and bytes of a slot: processes that stand still, processes with another oom_score_adj,
#: cgroups' files that say something else. A slot in use ends with END.
PROCESSES, PROCESS = 1024, 32
ADJUSTMENTS, ADJUSTMENT = 8, 96
SETTINGS, SETTING = 12, 4352
END = b";\n"
_ADJUSTMENTS = HEADER + PROCESSES * PROCESS
_SETTINGS = _ADJUSTMENTS + ADJUSTMENTS * ADJUSTMENT
SIZE = _SETTINGS + SETTINGS * SETTING
PAGE = 4096
#: What is more than a process' identity ends with itself as a number modulo this: what is damaged is never written
#: anywhere.
CHECK = 65521


class Note:
    """See the module.

    Args:
        path: The file, made anew; "" if nothing is to be noted.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, path: str, proc: str = "/proc") -> None:
        self._path = path
        self._map: mmap | None = None
        self._processes = list(range(PROCESSES - 1, -1, -1))
        last, end = PROCESSES + ADJUSTMENTS, PROCESSES + ADJUSTMENTS + SETTINGS
        self._adjustments = list(range(last - 1, PROCESSES - 1, -1))
        self._settings = list(range(end - 1, last - 1, -1))
        if not path:
            return
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            header = b"%s %s %s\n" % (MAGIC, boot(proc), owner(proc).encode())
            os.write(fd, header.ljust(HEADER, b" ").ljust(SIZE, b" "))
            self._map = mmap(fd, SIZE)
        finally:
            os.close(fd)
        for page in range(0, SIZE, PAGE):
            self._map[page]  # from now on it is in memory that is locked

    def add(self, pid: int, start: int) -> int:
        """Notes a process that is about to stand still. Returns its slot.

        Args:
            start: Its start time in clock ticks.

        Raises:
            OSError: There is no room for it.
        """
        slot = _taken(self._processes, "too many processes stand still already")
        self._put(slot, b"%d %d" % (pid, start))
        return slot

    def add_adj(self, pid: int, start: int, adj: int, ours: int, since: int) -> int:
        """Notes a process whose oom_score_adj is about to change. Returns its slot.

        Args:
            start: Its start time in clock ticks.
            adj: What it has.
            ours: What we write. It gets `adj` back only as long as that is what it has.
            since: Whoever was born since then, in clock ticks, and has what we write, has inherited it.

        Raises:
            OSError: There is no room for it.
        """
        slot = _taken(self._adjustments, "too many processes have another oom_score_adj already")
        self._put(slot, checked(b"%d %d %d %d %d" % (pid, start, adj, ours, since)))
        return slot

    def add_setting(self, directory: str, inode: int, file: str, text: str, ours: str = "") -> int:
        """Notes a cgroup's file that is about to say something else. Returns its slot.

        Args:
            directory: The whole path of the cgroup's directory, with the mount's.
            inode: Of that directory: another cgroup of this name is not meant.
            file: Its name in there, such as cgroup.freeze.
            text: What it says, without the newline at its end.
            ours: What we write. It gets `text` back only as long as that is what it says, or what the kernel has made
                of it (whole pages); "" whatever it says.

        Raises:
            OSError: There is no room for it.
        """
        if "\n" in file + text + ours:
            raise OSError(EINVAL, os.strerror(EINVAL))
        names = [encoded(one) for one in (file, text, ours, directory)]
        found = checked(b"\n".join((b"%d" % inode, *names)), b"\n")
        if len(found) + len(END) > SETTING:
            raise OSError(ENAMETOOLONG, os.strerror(ENAMETOOLONG))
        slot = _taken(self._settings, "too many cgroups are changed already")
        self._put(slot, found)
        return slot

    def clear(self, slot: int) -> None:
        """What was noted there is undone."""
        self._put(slot, b"")
        if slot < PROCESSES:
            self._processes.append(slot)
        elif slot < PROCESSES + ADJUSTMENTS:
            self._adjustments.append(slot)
        else:
            self._settings.append(slot)

    def close(self) -> None:
        """Nothing has to be undone any more, or nobody is to know."""
        if self._map is None:
            return
        self._map.close()
        self._map = None
        try:
            os.unlink(self._path)
        except OSError:
            pass

    def _put(self, slot: int, text: bytes) -> None:
        if self._map is None:
            return
        at, length = place(slot)
        self._map[at : at + length] = text.rjust(length - len(END), b" ") + END if text else b" " * length


def _taken(free: list[int], full: str) -> int:
    if not free:
        raise OSError(ENOSPC, full)
    return free.pop()


def checked(text: bytes, separator: bytes = b" ") -> bytes:
    """What is noted, with its check."""
    return b"%s%s%d" % (text, separator, int.from_bytes(text) % CHECK)


def place(slot: int) -> tuple[int, int]:
    """Where a slot is, and how long."""
    if slot < PROCESSES:
        return HEADER + slot * PROCESS, PROCESS
    slot -= PROCESSES
    if slot < ADJUSTMENTS:
        return _ADJUSTMENTS + slot * ADJUSTMENT, ADJUSTMENT
    return _SETTINGS + (slot - ADJUSTMENTS) * SETTING, SETTING


def boot(proc: str) -> bytes:
    """Which boot this is: in another one pids are other processes."""
    try:
        return read(f"{proc}/sys/kernel/random/boot_id", 64).strip() or b"-"
    except OSError:
        return b"-"


def owner(proc: str = "/proc") -> str:
    """This process as a note names its guard: pid and start time. Both stay what they are when it executes another
    program."""
    return f"{os.getpid()} {ticks(proc, os.getpid())}"
