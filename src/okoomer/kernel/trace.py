"""Holding a process as a debugger does (ptrace(2)): unlike a stop it is seen by nobody else, and it ends with whoever
holds. It is the calling thread that holds, and only that may let go.
"""

from __future__ import annotations

import posix as os
from _ctypes import get_errno

from okoomer.kernel.syscalls import function

#: include/uapi/linux/ptrace.h (Linux 3.4).
_DETACH, _SEIZE, _INTERRUPT = 17, 0x4206, 0x4207
#: include/uapi/linux/wait.h: children of others, too.
_WALL = 0x40000000

_ptrace = function("ptrace")


def _call(request: int, pid: int, data: int | None = None) -> None:
    if _ptrace(request, pid, None, data) != 0:
        error = get_errno()
        raise OSError(error, f"ptrace: {os.strerror(error)}")


def seize(pid: int) -> None:
    """Has a process with one thread come to stand still, which it does a moment later (see `settled`).

    Raises:
        OSError: It is gone, somebody else holds it, or it is not permitted (CAP_SYS_PTRACE).
    """
    _call(_SEIZE, pid)
    _call(_INTERRUPT, pid)


def settled(pid: int) -> int | None:
    """Whether one that was seized has just come to stand still: the signal that it is to be let go with, 0 for none;
    None as long as it runs on.

    Raises:
        OSError: It is gone.
    """
    found, status = os.waitpid(pid, os.WNOHANG | _WALL)
    if not found:
        return None
    if not os.WIFSTOPPED(status):
        raise ProcessLookupError
    # In the place of an event stands a signal that was on its way to it, and would be lost.
    return 0 if status >> 16 else os.WSTOPSIG(status)


def release(pid: int, signal: int) -> None:
    """Lets go of a process that stands still.

    Raises:
        OSError: It is gone, or runs on as yet (ESRCH).
    """
    _call(_DETACH, pid, signal)
