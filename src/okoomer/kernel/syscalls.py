"""System calls that Python's standard library does not wrap.

They go through `_ctypes`, the core of `ctypes`: the package around it costs 0.3 MiB for what a few lines do here.
Calls release the interpreter's lock. All of it happens at start: at the worst moment an import might need a disk.
"""

from __future__ import annotations

import _ctypes
import posix as os
from _struct import pack
from errno import ENOSYS

#: include/uapi/asm-generic/unistd.h: the number is the same on every architecture (Linux 5.15).
SYS_PROCESS_MRELEASE = 448
#: Linux 5.10; what may be advised to others stands in include/uapi/asm-generic/mman-common.h.
SYS_PROCESS_MADVISE = 440
MADV_WILLNEED, MADV_PAGEOUT = 3, 21
#: include/uapi/asm-generic/mman.h
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
#: include/uapi/linux/prctl.h: it is inherited, and outlasts execve (Linux 3.15).
PR_SET_THP_DISABLE = 41
#: include/uapi/asm-generic/resource.h
RLIMIT_DATA, RLIM_INFINITY = 2, 2**64 - 1


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "B"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Long


_libc = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]


def function(name: str) -> _Function:
    """A function of the C library.

    Raises:
        OSError: It has none of this name.
    """
    return _Function(_ctypes.dlsym(_libc, name))


_mlockall, _prctl, _syscall = function("mlockall"), function("prctl"), function("syscall")
_process_vm_readv, _prlimit = function("process_vm_readv"), function("prlimit")


def _raise(name: str) -> None:
    error = _ctypes.get_errno()
    hint = " (this kernel is too old for it)" if error == ENOSYS else ""
    raise OSError(error, f"{name}: {os.strerror(error)}{hint}")


def result(found: int) -> int:
    """What a function that returns an int has returned, for which all of a register was taken.

    Raises:
        OSError: It has failed.
    """
    found &= 0xFFFFFFFF
    if found >= 2**31:
        error = _ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return found


def lock_memory() -> None:
    """Keeps everything that is or will be touched in memory. Without MCL_ONFAULT (Linux 4.4) whole mappings would be
    filled at once, which costs an interpreter 5 MiB for pages that it never uses.

    Raises:
        OSError: Not permitted (CAP_IPC_LOCK or RLIMIT_MEMLOCK), or too old a kernel.
    """
    if _mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0:
        _raise("mlockall")


def give_back() -> None:
    """Gives the kernel back the pages of the C library's heap on which nothing is left, as far as that library can."""
    try:
        function("malloc_trim")(0)
    except OSError:
        pass  # only glibc has it


def process_mrelease(pidfd: int) -> None:
    """Frees the private anonymous memory of a process that has been killed, on the caller's time: it returns when
    that is done, and a dying process that gets no CPU is no longer needed for it.

    Raises:
        OSError: ESRCH it has let go already, EINVAL it is not dying, ENOSYS before Linux 5.15.
    """
    if _syscall(SYS_PROCESS_MRELEASE, pidfd, 0) != 0:
        _raise("process_mrelease")


def process_madvise(pidfd: int, start: int, length: int, advice: int) -> None:
    """Advises the kernel on a range of another process's memory: MADV_PAGEOUT puts it into swap,
    MADV_WILLNEED begins to read it back. It returns when that is done or under way.

    Raises:
        OSError: EINVAL the range is locked or special, ENOMEM some of it is not mapped, ESRCH the process is gone,
            EPERM it is not permitted (CAP_SYS_PTRACE and CAP_SYS_NICE), ENOSYS before Linux 5.10.
    """
    if _syscall(SYS_PROCESS_MADVISE, pidfd, pack("@PN", start, length), 1, advice, 0) < 0:
        _raise("process_madvise")


def touch(pid: int, start: int, length: int, step: int) -> bool:
    """Reads a byte of each page of a range of another process's memory, which brings them in from swap as if it had
    come to them itself, with what the kernel reads ahead. False if not all of them are there, or it is not permitted
    (CAP_SYS_PTRACE).

    Args:
        length: At most 1024 steps.
        step: The size of a page.
    """
    count = -(-length // step)
    bytes_ = (Byte * count)()
    here = pack("@PN", _ctypes.addressof(bytes_), count)
    there = b"".join([pack("@PN", address, 1) for address in range(start, start + length, step)])
    return bool(_process_vm_readv(pid, here, 1, there, count, 0) == count)


def disable_huge_pages() -> None:
    """No transparent huge pages for this process and whatever it executes: one of them is half of what the guard
    takes in all, and is filled for the sake of a few pages. Where the kernel cannot, nothing is lost but that."""
    _prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def limit_data(pid: int, soft: int, hard: int) -> None:
    """Sets how many bytes of private writable memory a process may have mapped (Linux 4.7); RLIM_INFINITY is any. What
    it has already it keeps.

    Raises:
        OSError: ESRCH it is gone, EPERM it is not permitted (CAP_SYS_RESOURCE).
    """
    if _prlimit(pid, RLIMIT_DATA, pack("=QQ", soft, hard), None) != 0:
        _raise("prlimit")


def set_name(name: str) -> None:
    """The name of the calling thread, as `ps` and the kernel's log show it: at most 15 bytes."""
    try:
        fd = os.open("/proc/thread-self/comm", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, name.encode()[:15])
        os.close(fd)
    except OSError:
        pass  # a name is a courtesy
