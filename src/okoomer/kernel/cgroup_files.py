"""The files of one cgroup, read again and again.

Opening costs three times what reading does, so the descriptor of its directory and those of the files that are read
at each look are kept, as far as there are some left. A kept descriptor never reads a later cgroup of the same name:
it answers ENODEV.
"""

from __future__ import annotations

import posix as os
from errno import ENODEV

from okoomer.kernel import statm
from okoomer.kernel.files import FLAGS

#: So many descriptors are kept at most, of all cgroups together: half of what those of processes leave. The kernel
#: needs some 5 KiB for one that has been read from.
KEPT = min(3072, (os.sysconf("SC_OPEN_MAX") - statm.KEPT) // 2)
#: Bytes that are read at most of files that are not small.
SIZES = {
    "cgroup.events": 128, "cgroup.stat": 512, "cpu.pressure": 256, "io.pressure": 256, "io.stat": 16384,
    "memory.events": 512, "memory.pressure": 256, "memory.stat": 8192,
}  # fmt: skip
SMALL = 64
#: What only changes when somebody sets it, or is asked for rarely, is not worth a descriptor.
SELDOM = frozenset(
    (
        "cgroup.events", "cgroup.freeze", "cgroup.stat", "memory.high", "memory.low", "memory.max", "memory.min",
        "memory.oom.group", "memory.swap.max",
    )
)  # fmt: skip
GONE = -2
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Descriptors:
    """How many are kept.

    Args:
        most: So many may be.
    """

    def __init__(self, most: int = KEPT) -> None:
        self.most = most
        self.kept = 0


class Files:
    """The files of one cgroup.

    Args:
        path: Its directory.
    """

    __slots__ = ("_descriptors", "_directory", "_files", "path")

    def __init__(self, path: str, descriptors: Descriptors) -> None:
        self.path = path
        self._descriptors = descriptors
        self._directory = -1
        self._files: dict[str, int] = {}

    def read(self, name: str) -> bytes:
        """The text of a file.

        Raises:
            OSError: ENOENT there is no such file, or the cgroup is gone; ENODEV it is gone; and whatever else.
        """
        fd = self._files.get(name, -1)
        size = SIZES.get(name, SMALL)
        if fd >= 0:
            return os.pread(fd, size, 0)
        fd = self._open(name)
        try:
            text = os.pread(fd, size, 0)
            if name not in SELDOM and self._descriptors.kept < self._descriptors.most:
                self._files[name], fd = fd, -1
                self._descriptors.kept += 1
            return text
        finally:
            if fd >= 0:
                os.close(fd)

    def _open(self, name: str) -> int:
        if self._directory == GONE:
            raise OSError(ENODEV, os.strerror(ENODEV))
        # Most of what may be kept is for files: they save more.
        if self._directory < 0 and self._descriptors.kept < self._descriptors.most // 4:
            self._directory = os.open(self.path, DIRECTORY)
            self._descriptors.kept += 1
        if self._directory < 0:
            return os.open(f"{self.path}/{name}", FLAGS)
        return os.open(name, FLAGS, dir_fd=self._directory)

    def close(self, for_good: bool = False) -> None:
        """Gives the descriptors back; nothing can be read any more if it is for good."""
        for fd in (*self._files.values(), *((self._directory,) if self._directory >= 0 else ())):
            os.close(fd)
            self._descriptors.kept -= 1
        self._files.clear()
        self._directory = GONE if for_good or self._directory == GONE else -1
