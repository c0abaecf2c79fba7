"""Ceilings: a unit keeps what it has, and no more than so many bytes.

A whole cgroup gets memory.high: beyond it the kernel takes its memory back and slows it down, but never ends anybody in
it. memory.max would: where nothing can be swapped out, whoever has asked for a ceiling would have ended what he wanted
to keep. Processes by themselves get RLIMIT_DATA: what is refused is more private memory than they have now and may yet
have, so that an allocation fails in a program that can say so. A cgroup that others are in is never limited.

A ceiling is not taken back when the guard ends: it was somebody's wish, and holds until the unit ends or somebody
changes it.
"""

from __future__ import annotations

import posix as os
from _thread import start_new_thread
from errno import EPERM, ESRCH

from okoomer.events.model import Limited
from okoomer.kernel import control
from okoomer.kernel import process as kernel
from okoomer.kernel.cgroup import mount
from okoomer.kernel.files import whole
from okoomer.kernel.syscalls import RLIM_INFINITY, limit_data, set_name
from okoomer.units import MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.facts import Process

#: What a process may always have beyond what it has mapped: nobody is held at a point where it cannot even say so.
LEEWAY = MIB
#: Of more processes than this not each is told.
TOLD = 1024
HIGH, DATA = "memory.high", "RLIMIT_DATA"


def limit(proc: str, name: str, processes: list[Process], cgroup: str, inode: int, user: int, size: int) -> Limited:
    """Gives a unit a ceiling.

    Args:
        proc: Where /proc is.
        processes: The unit; of a cgroup, those that are known of it.
        cgroup, inode: The unit is this whole cgroup; "" and 0 if it is these processes only. Where they are all that is
            in a cgroup of theirs, it is that which is limited.
        user: As in Limited.
        size: Bytes.

    Raises:
        OSError: It cannot be given one, and why.
    """
    pids = tuple(process.pid for process in processes[:TOLD])
    found = (cgroup, entered(proc, cgroup, inode)) if cgroup else enclosing(proc, processes)
    if found:
        path, directory = found
        try:
            least = _limit_cgroup(directory, size)
        except OSError:
            if cgroup:
                raise
        else:
            return Limited(name, pids, user, path, least, HIGH)
        finally:
            os.close(directory)
    _limit_each(proc, processes, size)
    return Limited(name, pids, user, cgroup, size, DATA)


# --- whole cgroups --------------------------------------------------------------------------------------------------


def entered(proc: str, path: str, inode: int) -> int:
    """A descriptor of a cgroup's directory, as control.enter gives it.

    Raises:
        OSError: It is gone, or it is the whole machine.
    """
    mounted = mount(proc)
    if mounted is None or not path.strip("/"):
        raise PermissionError(EPERM, "the whole machine cannot be limited")
    return control.enter(mounted, path, inode)


def enclosing(proc: str, processes: list[Process]) -> tuple[str, int] | None:
    """The cgroup that all these processes are in, and nobody else: its path, and a descriptor of its directory."""
    paths = {kernel.cgroup(proc, process.pid) for process in processes}
    path = paths.pop() if len(paths) == 1 else ""
    if not path.strip("/"):
        return None
    try:
        directory = entered(proc, path, 0)
    except OSError:
        return None
    members = control.members(directory)
    if members and {process.pid for process in processes}.issuperset(members):
        return path, directory
    os.close(directory)
    return None


def _limit_cgroup(directory: int, size: int) -> int:
    """Sets memory.high, but never higher than it is. Returns what it is then.

    Raises:
        OSError: There is no such file, or it must not be written.
    """
    text = control.get(directory, HIGH, 32).strip()
    if text.isdigit() and whole(text) <= size:
        return whole(text)
    # Whoever writes it waits until the kernel has taken back what is beyond it, so another thread does; that it may be
    # written is known here. Newer kernels (6.16) do not wait with O_NONBLOCK.
    fd = os.open(HIGH, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        start_new_thread(_write, (fd, b"%d" % size))
    except (OSError, RuntimeError) as error:
        os.close(fd)
        raise OSError(EPERM, f"nobody can wait for it: {error}") from None
    return size


def _write(fd: int, text: bytes) -> None:
    set_name("okoomer-ceiling")
    try:
        os.write(fd, text)
    except OSError:
        pass  # it has gone meanwhile
    finally:
        os.close(fd)


# --- processes ------------------------------------------------------------------------------------------------------


def _limit_each(proc: str, processes: list[Process], size: int) -> None:
    """Leaves processes what they have mapped, and of what is left under the ceiling each its part.

    Raises:
        OSError: None of them could be limited, and why the last could not.
    """
    living = [process for process in processes if kernel.ticks(proc, process.pid) == kernel.in_ticks(process.started)]
    held = sum(_held(proc, process) for process in living)
    part = max(LEEWAY, (size - held) // max(1, len(living)))
    why, limited = OSError(ESRCH, os.strerror(ESRCH)), False
    for process in living:
        try:
            mapped, soft, hard = kernel.data(proc, process.pid)
            least = min(mapped + part, *(one for one in (soft, hard) if one is not None), RLIM_INFINITY)
            # The same process had this pid a moment ago, and a pid is not used again that fast.
            limit_data(process.pid, least, RLIM_INFINITY if hard is None else hard)
            limited = True
        except OSError as error:
            why = error
        except (ValueError, IndexError):
            continue
    if not limited:
        raise why


def _held(proc: str, process: Process) -> int:
    """The private bytes that a process holds now."""
    try:
        status = kernel.parse_status(kernel.status(proc, process.pid))
    except (OSError, ValueError, IndexError):
        return process.anon + process.swap
    return status.anon + status.swap
