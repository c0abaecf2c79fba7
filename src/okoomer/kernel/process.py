"""/proc/PID: one process.

Reading any of these after a process was killed holds on to its memory while it is torn down, so nothing here is
called for a process once it has its SIGKILL.
"""

from __future__ import annotations

import posix as os

from okoomer.kernel.files import FLAGS, number_after, read, whole
from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
#: So much of a file is read at once.
PAGE_OF_TEXT = 4096
#: include/linux/sched.h
PF_KTHREAD = 0x00200000


class Stat(Record):
    """/proc/PID/stat: the fields that are used, `started` in seconds since boot."""

    name: str
    state: str
    parent: int
    group: int
    session: int
    terminal: bool
    kernel_thread: bool
    threads: int
    started: float


class Status(Record):
    """/proc/PID/status: effective user, and resident and swapped bytes."""

    user: int
    anon: int
    file: int
    shmem: int
    swap: int


def text_of(raw: bytes) -> str:
    """Names and paths as text, whatever bytes their owner chose."""
    return raw.decode("utf-8", "backslashreplace")


def parse_stat(text: bytes) -> Stat:
    """The name stands in parentheses and may itself hold any of them: what counts is the last one.

    Raises:
        ValueError, IndexError: It is not such a file.
    """
    opening, closing = text.index(b"("), text.rindex(b")")
    fields = text[closing + 2 :].split()
    return Stat(
        name=text_of(text[opening + 1 : closing]),
        state=text_of(fields[0]),
        parent=whole(fields[1]),
        group=whole(fields[2]),
        session=whole(fields[3]),
        terminal=fields[4] != b"0",
        kernel_thread=bool(whole(fields[6]) & PF_KTHREAD),
        threads=whole(fields[17]),
        started=whole(fields[19]) / TICKS,
    )


def parse_status(text: bytes) -> Status:
    """Sizes are 0 for a kernel thread and for a process that is already letting go of its memory. Where the resident
    size is not told apart (Linux before 4.5), all of it counts as anonymous.

    Raises:
        ValueError, IndexError: It is not such a file.
    """
    numbers = {}
    for line in text.splitlines():
        key, _, rest = line.partition(b":")
        if key in (b"Uid", b"RssAnon", b"RssFile", b"RssShmem", b"VmRSS", b"VmSwap"):
            numbers[key] = rest.split()
    user = whole(numbers.get(b"Uid", [])[1])

    def size(key: bytes) -> int:
        return max(0, whole(numbers[key][0]) * 1024) if key in numbers else 0

    return Status(
        user,
        size(b"RssAnon" if b"RssAnon" in numbers else b"VmRSS"),
        size(b"RssFile"),
        size(b"RssShmem"),
        size(b"VmSwap"),
    )


def parse_cgroup(text: bytes) -> str:
    """The path in the unified hierarchy, or, where there is none, in systemd's own of version 1."""
    named = b""
    for line in text.splitlines():
        if line.startswith(b"0::"):
            return text_of(line[3:])
        if b":name=systemd:" in line:
            named = line.split(b":", 2)[2]
    return text_of(named)


def parse_named_cgroup(text: bytes) -> str:
    """The path in a hierarchy of version 1 that has a name and no controller (systemd's own), or ''."""
    for line in text.splitlines():
        if b":name=" in line:
            return text_of(line.split(b":", 2)[2])
    return ""


def pids(proc: str) -> Iterator[str]:
    """The processes, as names of directories.

    Raises:
        OSError: /proc cannot be listed.
    """
    return (name for name in os.listdir(proc) if name[0] in "123456789" and name.isdecimal())


def status(proc: str, pid: int | str) -> bytes:
    """/proc/PID/status, without the middle of it where it is long: with a thousand groups (which whoever has ids of
    his own to give away can have) the sizes, which come after them, do not stand in the first page.

    Raises:
        OSError: The process is gone.
    """
    fd = os.open(f"{proc}/{pid}/status", FLAGS)
    try:
        text = piece = os.read(fd, PAGE_OF_TEXT)
        if len(piece) < PAGE_OF_TEXT:
            return text
        end = b""
        while piece := os.read(fd, PAGE_OF_TEXT):
            end = (end + piece)[-2 * PAGE_OF_TEXT :]
        return text + end
    finally:
        os.close(fd)


def stat(proc: str, pid: int | str) -> Stat:
    """Raises OSError or ValueError where the process is gone."""
    return parse_stat(read(f"{proc}/{pid}/stat"))


def source(proc: str, pid: int | str, found: Stat) -> str:
    """Where the files are that tell of a process, below /proc: as a rule its own. Where its first thread has ended and
    others go on, those tell of no memory any more, nor of a program; another thread's do.

    Args:
        found: What its `stat` was just now.
    """
    if found.state == "Z" and found.threads > 1:
        try:
            with os.scandir(f"{proc}/{pid}/task") as tasks:
                # There may be thousands: one is enough.
                return next((f"{pid}/task/{task.name}" for task in tasks if task.name != str(pid)), str(pid))
        except OSError:
            pass
    return str(pid)


def in_ticks(started: float) -> int:
    """When somebody started as the kernel counts it, in clock ticks: with the pid that is who it is."""
    return round(started * TICKS)


def ticks(proc: str, pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 where it is gone."""
    try:
        return in_ticks(stat(proc, pid).started)
    except (OSError, ValueError, IndexError):
        return 0


def users(proc: str, pid: int) -> frozenset[int]:
    """All users that a process runs as: real, effective, saved and of its files; none if it is gone."""
    try:
        for line in read(f"{proc}/{pid}/status").splitlines():
            if line.startswith(b"Uid:"):
                return frozenset(whole(word) for word in line.split()[1:])
    except (OSError, ValueError):
        pass
    return frozenset()


def data(proc: str, pid: int) -> tuple[int, int | None, int | None]:
    """The private writable memory that a process has mapped, in bytes, and its soft and hard limit (RLIMIT_DATA); None
    is any.

    Raises:
        OSError, ValueError, IndexError: It is gone, or this cannot be known.
    """
    words = next(line for line in read(f"{proc}/{pid}/limits").splitlines() if line.startswith(b"Max data size"))
    soft, hard = (None if word == b"unlimited" else int(word) for word in words.split()[3:5])
    mapped = number_after(status(proc, pid), b"\nVmData:")
    if mapped is None:
        raise ValueError("a process without memory")
    return mapped * 1024, soft, hard


def resident(proc: str, pid: int | str) -> int:
    """The bytes of a process that are in memory, 0 where it is gone."""
    return _in_memory(proc, pid)[0]


def private(proc: str, pid: int | str) -> int:
    """Those of its resident bytes that are its own, 0 where it is gone."""
    held, shared = _in_memory(proc, pid)
    return max(0, held - shared)


def _in_memory(proc: str, pid: int | str) -> tuple[int, int]:
    """The resident bytes of a process, and those of them that others may have, too (proc_pid_statm(5))."""
    try:
        fields = read(f"{proc}/{pid}/statm", 128).split()
        return int(fields[1]) * PAGE, int(fields[2]) * PAGE
    except (OSError, ValueError, IndexError):
        return 0, 0


def _after_name(proc: str, pid: int | str) -> list[bytes]:
    """The fields of /proc/PID/stat behind the name, which may hold anything: the state first (proc_pid_stat(5))."""
    return read(f"{proc}/{pid}/stat").rpartition(b")")[2].split()


def waited(proc: str, pid: int | str) -> int:
    """How often a process has waited for a page; 0 where it is gone."""
    try:
        return int(_after_name(proc, pid)[9])
    except (OSError, ValueError, IndexError):
        return 0


def worked(proc: str, pid: int) -> int:
    """A figure that changes when a process does anything: CPU time in ticks, and faults that had to wait; 0 where it is
    gone."""
    try:
        fields = _after_name(proc, pid)
        return int(fields[9]) + int(fields[11]) + int(fields[12])
    except (OSError, ValueError, IndexError):
        return 0


def foreground(proc: str, pid: int) -> int:
    """The process group that has the terminal of a process; none of them if it has no terminal, or is gone."""
    try:
        return int(_after_name(proc, pid)[5])
    except (OSError, ValueError, IndexError):
        return -1


def tracer(proc: str, pid: int) -> int:
    """Who holds a process as a debugger does; 0 for nobody.

    Raises:
        OSError, ValueError, IndexError: It is gone.
    """
    return number_after(status(proc, pid), b"\nTracerPid:") or 0


def stops(proc: str, pid: int) -> int:
    """The signals that wait for a process which stands still, by SIGSTOP or the like: 1 << SIGNAL of each. 0 where it
    does not, or is gone."""
    try:
        if stat(proc, pid).state != "T":
            return 0
        lines = status(proc, pid).splitlines()
        return int(next(line for line in lines if line.startswith(b"ShdPnd:")).split()[1], 16) << 1
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


def threads(proc: str, pid: int) -> list[int]:
    """The thread ids of a process, none if it is gone."""
    try:
        return [int(name) for name in os.listdir(f"{proc}/{pid}/task")]
    except OSError:
        return []


def children(proc: str, pid: int) -> list[int]:
    """The child processes of all threads of a process; none where the kernel was built without this list."""
    found = []
    for thread in threads(proc, pid):
        try:
            found += [int(child) for child in read(f"{proc}/{pid}/task/{thread}/children").split()]
        except (OSError, ValueError):
            continue
    return found


def command(proc: str, pid: int | str) -> str:
    """The command line with spaces between arguments, at most 4 KiB of it; empty if there is none."""
    try:
        return text_of(read(f"{proc}/{pid}/cmdline").replace(b"\0", b" ").strip())
    except OSError:
        return ""


def environment(proc: str, pid: int | str) -> str:
    """What the process was started with, spaces between the variables, at most 32 KiB of it; empty where it may not be
    seen."""
    try:
        return text_of(read(f"{proc}/{pid}/environ", 32768).replace(b"\0", b" ").strip())
    except OSError:
        return ""


def directory(proc: str, pid: int | str) -> str:
    """The directory in which it works, or '' where it may not be seen."""
    try:
        return os.readlink(f"{proc}/{pid}/cwd")
    except OSError:
        return ""


def executable(proc: str, pid: int | str) -> str:
    """The path of the program, or '' where it may not be seen."""
    try:
        return os.readlink(f"{proc}/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        return ""


def cgroup(proc: str, pid: int | str) -> str:
    """The cgroup's path with its leading slash, or ''."""
    try:
        return parse_cgroup(read(f"{proc}/{pid}/cgroup"))
    except OSError:
        return ""


def named_cgroup(proc: str, pid: int | str) -> str:
    """The cgroup's path in a named hierarchy of version 1, or ''."""
    try:
        return parse_named_cgroup(read(f"{proc}/{pid}/cgroup"))
    except OSError:
        return ""


def number(proc: str, pid: int | str, name: str) -> int:
    """A file that holds one number, such as oom_score_adj; 0 where it is absent."""
    try:
        return whole(read(f"{proc}/{pid}/{name}", 32))
    except (OSError, ValueError):
        return 0
