"""The note of who stands still: a file that outlives the guard, so that whatever ends it nobody stays paused for ever.

All of the file is made at the start; at the worst moment a note is a store into memory that is there. A slot is written
before the signal that it is about and cleared after the one that undoes it. A guard that is killed in the middle of a
store leaves a slot that says nothing, and its signal was not sent yet, or was taken back already.
"""

from __future__ import annotations

import posix as os
from _stat import S_ISREG
from errno import ELOOP, ENAMETOOLONG, ENOSPC
from mmap import mmap

from okoomer.kernel.files import read
from okoomer.kernel.paths import decoded, encoded
from okoomer.kernel.process import ticks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: The first line tells the boot that pids belong to, and the guard: its pid and when it started.
MAGIC, HEADER = b"okoomer-paused 1", 128
#: So many processes and so many whole cgroups at once; bytes of a slot of either kind. A slot in use ends with END.
PROCESSES, PROCESS = 1024, 32
CGROUPS, CGROUP = 4, 4224
END = b";\n"
SIZE = HEADER + PROCESSES * PROCESS + CGROUPS * CGROUP
PAGE = 4096


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
        self._free = list(range(PROCESSES - 1, -1, -1))
        self._areas = list(range(CGROUPS))
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
        """Notes a process. Returns its slot.

        Raises:
            OSError: There is no room for it.
        """
        if not self._free:
            raise OSError(ENOSPC, "too many processes stand still already")
        slot: int = self._free.pop()
        self._put(slot, b"%d %d" % (pid, start))
        return slot

    def add_cgroup(self, directory: str, inode: int) -> int:
        """Notes a whole cgroup by its directory. Returns its slot.

        Raises:
            OSError: There is no room for it.
        """
        text = b"%d %s" % (inode, encoded(directory))
        if len(text) + len(END) > CGROUP:
            raise OSError(ENAMETOOLONG, os.strerror(ENAMETOOLONG))
        if not self._areas:
            raise OSError(ENOSPC, "too many cgroups stand still already")
        slot: int = PROCESSES + self._areas.pop()
        self._put(slot, text)
        return slot

    def clear(self, slot: int) -> None:
        """Who was noted there runs again."""
        self._put(slot, b"")
        if slot < PROCESSES:
            self._free.append(slot)
        else:
            self._areas.append(slot - PROCESSES)

    def close(self) -> None:
        """Nobody stands still any more, or nobody is to know."""
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
        at, length = _place(slot)
        self._map[at : at + length] = text.rjust(length - len(END), b" ") + END if text else b" " * length


def _place(slot: int) -> tuple[int, int]:
    if slot < PROCESSES:
        return HEADER + slot * PROCESS, PROCESS
    return HEADER + PROCESSES * PROCESS + (slot - PROCESSES) * CGROUP, CGROUP


class Left:
    """A note as somebody has left it. What is damaged in it, or of another boot, says nothing.

    Attributes:
        owner: The guard that wrote it, as `owner` has it; "" if that is not known.
        processes: pid and start time in clock ticks.
        cgroups: Directory and inode.
    """

    def __init__(self, path: str, proc: str = "/proc") -> None:
        self.owner = ""
        self.processes: list[tuple[int, int]] = []
        self.cgroups: list[tuple[str, int]] = []
        #: A descriptor of the file; -1 if there is none that may be believed.
        self.fd = -1
        try:
            self.fd = _open(path)
            text = os.pread(self.fd, SIZE, 0)
        except OSError:
            return
        first, _, _ = text[:HEADER].partition(b"\n")
        words = first.removeprefix(MAGIC + b" ").split()
        if not first.startswith(MAGIC) or len(words) != 3 or words[0] != boot(proc):
            return
        if not (words[1].isdigit() and words[2].isdigit()):
            return
        self.owner = b" ".join(words[1:]).decode()
        self.processes = [*_processes(text)]
        self.cgroups = [*_cgroups(text)]

    def clear(self) -> None:
        """Nobody has to look at it again."""
        # Not by its name: that may be a newer guard's by now. Nor is it made shorter: whoever has it mapped would end.
        try:
            if self.fd >= 0:
                os.pwrite(self.fd, b" " * HEADER, 0)
        except OSError:
            pass  # then whoever looks finds that all of them run

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _open(path: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(fd)
    if not S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()):
        os.close(fd)
        raise OSError(ELOOP, "it is no file of ours")
    return fd


def _processes(text: bytes) -> Iterator[tuple[int, int]]:
    for slot in range(PROCESSES):
        words = _words(text, slot, 2)
        if words and words[0].isdigit() and words[1].isdigit() and 1 < (pid := int(words[0])) < 2**31:
            yield pid, int(words[1])


def _cgroups(text: bytes) -> Iterator[tuple[str, int]]:
    for slot in range(PROCESSES, PROCESSES + CGROUPS):
        words = _words(text, slot, 2)
        if words and words[0].isdigit() and words[1].startswith(b"/"):
            yield decoded(words[1]), int(words[0])


def _words(text: bytes, slot: int, count: int) -> list[bytes]:
    at, length = _place(slot)
    found = text[at : at + length]
    if len(found) < length or not found.endswith(END):
        return []
    words = found[: -len(END)].lstrip(b" ").split(b" ", count - 1)
    return words if len(words) == count else []


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
