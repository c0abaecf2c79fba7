"""/proc/PID/oom_score_adj, behind a descriptor of the process' directory: once that process has ended every file in it
is absent, also when its pid is another's by then."""

from __future__ import annotations

import posix as os
from errno import ESRCH

from okoomer.kernel.files import FLAGS, whole
from okoomer.kernel.process import in_ticks, number, parse_stat, pids

_FILE = "oom_score_adj"


def enter(proc: str, pid: int, start: int | None = None) -> int:
    """A descriptor of a process' directory.

    Args:
        start: Its start time in clock ticks; None for whichever has this pid.

    Raises:
        OSError: It is gone; another process may have its pid now.
    """
    directory = os.open(f"{proc}/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if start is not None and started(directory) != start:
            raise ProcessLookupError(ESRCH, "another process has its pid now")
    except BaseException:
        os.close(directory)
        raise
    return directory


def started(directory: int) -> int:
    """When a process started, in clock ticks.

    Raises:
        OSError: It is gone.
    """
    try:
        return in_ticks(parse_stat(_read(directory, "stat", 4096)).started)
    except (ValueError, IndexError):
        raise ProcessLookupError(ESRCH, os.strerror(ESRCH)) from None


def get(directory: int) -> int:
    """What it is, -1000 to 1000.

    Raises:
        OSError: The process is gone.
    """
    try:
        return whole(_read(directory, _FILE, 32))
    except ValueError:
        raise ProcessLookupError(ESRCH, os.strerror(ESRCH)) from None


def put(directory: int, value: int) -> None:
    """Sets it. Nothing is asked for that, but that the file may be written, as long as it is not set lower than anybody
    with CAP_SYS_RESOURCE has set it.

    Raises:
        OSError: The process is gone, or it is not permitted.
    """
    fd = os.open(_FILE, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(fd, b"%d" % value)
    finally:
        os.close(fd)


def lower(proc: str, pid: int, adj: int, ours: int, start: int | None = None, since: int = 0) -> bool:
    """Gives a process its own oom_score_adj back. Whether it had ours until now.

    Args:
        start: Its start time in clock ticks; None for whichever has this pid.
        since: Only if it was not born before that, in clock ticks.
    """
    try:
        directory = enter(proc, pid, start)
    except OSError:
        return False
    try:
        if get(directory) != ours or started(directory) < since:
            return False
        put(directory, adj)
        return True
    except OSError:
        return False
    finally:
        os.close(directory)


def lower_born(proc: str, since: int, adj: int, ours: int) -> int:
    """Gives those their own oom_score_adj back who have inherited ours, wherever they are by now. How many those were.

    Args:
        since: Only of those who were not born before that, in clock ticks.

    Raises:
        OSError: /proc cannot be listed.
    """
    # Of most of them one small file is all that is read.
    having = (pid for pid in pids(proc) if number(proc, pid, _FILE) == ours)
    return sum(lower(proc, int(pid), adj, ours, since=since) for pid in having)


def _read(directory: int, name: str, size: int) -> bytes:
    fd = os.open(name, FLAGS, dir_fd=directory)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)
