"""System calls that Python's standard library does not wrap.

`ctypes` costs 0.6 MiB, paid when this module is imported, which happens at start: at the worst moment an import might
need a disk. Calls through it release the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import os
from errno import ENOSYS

_libc = ctypes.CDLL(None, use_errno=True)

#: include/uapi/asm-generic/unistd.h: the number is the same on every architecture (Linux 5.15).
SYS_PROCESS_MRELEASE = 448
#: include/uapi/asm-generic/mman.h
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
#: include/uapi/linux/prctl.h
PR_SET_NAME = 15


def _raise(name: str) -> None:
    error = ctypes.get_errno()
    hint = " (this kernel is too old for it)" if error == ENOSYS else ""
    raise OSError(error, f"{name}: {os.strerror(error)}{hint}")


def lock_memory() -> None:
    """Keeps everything that is or will be touched in memory. Without MCL_ONFAULT (Linux 4.4) whole mappings would be
    filled at once, which costs an interpreter 5 MiB for pages that it never uses.

    Raises:
        OSError: Not permitted (CAP_IPC_LOCK or RLIMIT_MEMLOCK), or too old a kernel.
    """
    if _libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0:
        _raise("mlockall")


def process_mrelease(pidfd: int) -> None:
    """Frees the private anonymous memory of a process that has been killed, on the caller's time: it returns when
    that is done, and a dying process that gets no CPU is no longer needed for it.

    Raises:
        OSError: ESRCH it has let go already, EINVAL it is not dying, ENOSYS before Linux 5.15.
    """
    if _libc.syscall(SYS_PROCESS_MRELEASE, pidfd, 0) != 0:
        _raise("process_mrelease")


def set_name(name: str) -> None:
    """The name of the calling thread, as `ps` and the kernel's log show it: at most 15 bytes."""
    _libc.prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)
