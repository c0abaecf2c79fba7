"""/proc/PID/statm of all processes: the one file that is read for everybody.

Opening and closing such a file costs four times what reading it does, so the descriptors of most processes are kept
from one scan to the next. A descriptor of a process that has ended answers ESRCH, also when its pid means another
process by then. It holds no memory of the process; the kernel needs about 1 KiB for it.
"""

from __future__ import annotations

import posix as os

from okoomer.kernel import process
from okoomer.kernel.files import read

PAGE = os.sysconf("SC_PAGE_SIZE")
ZERO = ord("0")
#: So many descriptors are kept at most; a quarter of what this process may open is left for everything else.
KEPT = min(4096, os.sysconf("SC_OPEN_MAX") * 3 // 4)


class Sizes:
    """Upper bounds of what each process could free.

    Args:
        proc: Where /proc is.
        keep: How many descriptors may be kept between scans.
    """

    def __init__(self, proc: str, keep: int = 0) -> None:
        self._proc = proc
        self._root = proc.encode() + b"/"
        self._keep = keep
        self._kept: dict[bytes, int] = {}
        #: Those of the kept that never have any memory: the kernel's own threads.
        self._kernel: set[bytes] = set()

    def bounds(self, swap_used: int, floor: int) -> tuple[list[tuple[int, int]], int]:
        """What each process could free at most: what is resident, and, as far as swap is in use, its private memory
        that is not. Written for speed: one loop, one or three system calls, nothing parsed that is not needed.

        Args:
            swap_used: Bytes of swap in use.
            floor: Bytes below which nobody matters.

        Returns:
            (bound in bytes, pid) of those that reach the floor, and how many processes there are.

        Raises:
            OSError: /proc cannot be listed.
        """
        found, seen = [], 0
        open_, pread, close = os.open, os.pread, os.close
        swappable, least = swap_used // PAGE, -(-floor // PAGE)
        root, kept = self._root, self._kept
        living: dict[bytes, int] = {}
        kernel, self._kernel = self._kernel, set()
        for name in os.listdir(root):
            if not name.isdigit() or name[0] == ZERO:
                continue
            seen += 1
            fd = kept.pop(name, -1)
            known = fd >= 0 and name in kernel
            try:
                if fd < 0:
                    fd = open_(root + name + b"/statm", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                text = pread(fd, 128, 0)
                if text[0] == ZERO and not known:
                    text, known = self._beside(name, text)
                if swappable:
                    _size, resident, shared, _text, _lib, data, _dirty = text.split()
                    pages = int(resident)
                    pages += min(swappable, max(0, int(data) + int(shared) - pages))
                else:
                    pages = int(text.split(None, 2)[1])
            except (OSError, ValueError, IndexError):
                if fd >= 0:
                    close(fd)
                continue
            if len(living) < self._keep:
                living[name] = fd
                if known:
                    self._kernel.add(name)
            else:
                close(fd)
            if pages >= least:
                found.append((pages * PAGE, int(name)))
        for fd in kept.values():
            close(fd)
        self._kept = living
        return found, seen

    def _beside(self, name: bytes, text: bytes) -> tuple[bytes, bool]:
        """The same text of another thread, if the first has ended and others go on with all that the process holds;
        and whether this is a thread of the kernel's.

        Raises:
            OSError, ValueError, IndexError: It is gone.
        """
        pid = name.decode()
        stat = process.stat(self._proc, pid)
        source = process.source(self._proc, pid, stat)
        return (text if source == pid else read(f"{self._proc}/{source}/statm", 128)), stat.kernel_thread

    def close(self) -> None:
        """Gives the descriptors back."""
        for fd in self._kept.values():
            os.close(fd)
        self._kept = {}

    __del__ = close
