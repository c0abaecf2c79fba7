"""Ending a cgroup through its own limit: with no memory left for it the kernel's own killer ends it, all at once, and
counts that in its memory.events as any other OOM, where container engines look for it."""

from __future__ import annotations

import posix as os
from _thread import allocate_lock, start_new_thread
from marshal import dumps, loads
from time import sleep

from okoomer.kernel import control
from okoomer.kernel.clock import monotonic
from okoomer.kernel.files import read
from okoomer.kernel.syscalls import set_name

#: What takes all its memory. Without room in swap it is not swapped out first, which could take minutes.
SETTINGS = (("memory.oom.group", b"1"), ("memory.swap.max", b"0"), ("memory.max", b"0"))
#: It has no swap limit on a kernel without swap accounting.
OPTIONAL = ("memory.swap.max",)
#: Seconds to wait for the kernel to begin, and between looks.
LIMIT, GLIMPSE = 2.0, 0.01


class Limit:
    """Nothing of a cgroup's memory is left to it from `begin` on, until its processes have been killed; then all is as
    before, and `restore` makes it so at any time.

    Args:
        directory: The cgroup's, which stays the caller's.
        note: A file that tells what has to be put back as long as it has to be (see `recover`), if any.

    Raises:
        OSError: It has no such limits.
    """

    def __init__(self, directory: int, note: str = "") -> None:
        self._before: list[tuple[str, bytes]] = []
        for name, _ in SETTINGS:
            try:
                self._before.append((name, control.get(directory, name, 64)))
            except OSError:
                if name not in OPTIONAL:
                    raise
        self._directory = os.dup(directory)
        self._note = note
        self._lock = allocate_lock()
        self._over = False

    def begin(self) -> None:
        """Returns at once: the kernel takes as long for it as killing takes, so another thread writes it.

        Raises:
            OSError, RuntimeError: There cannot be another thread.
        """
        _write(self._note, self._directory, self._before)
        try:
            start_new_thread(self._run, ())
        except (OSError, RuntimeError):
            self._close()
            raise

    def restore(self) -> None:
        """Puts the cgroup's own limits back."""
        self._over = True
        with self._lock:
            if self._directory < 0:
                return
            _put_back(self._directory, self._before)
            _forget(self._note)

    def _run(self) -> None:
        set_name("okoomer-limit")
        try:
            killed = control.event(self._directory, "oom_kill")
            for name, text in SETTINGS:
                if name in dict(self._before) and not self._over:
                    control.put(self._directory, name, text)
            until = monotonic() + LIMIT
            while (
                not self._over
                and monotonic() < until
                and control.populated(self._directory)
                and control.event(self._directory, "oom_kill") == killed
            ):
                sleep(GLIMPSE)
        except OSError:
            pass  # whoever waits for its end sees that it lives
        finally:
            self.restore()
            self._close()

    def _close(self) -> None:
        with self._lock:
            directory, self._directory = self._directory, -1
            os.close(directory)


def recover(note: str) -> None:
    """Puts back what a guard that was killed in the middle of this has left changed."""
    try:
        path, inode, before = loads(read(note, 1 << 16))
        directory = control.enter("", path, inode)
    except (OSError, EOFError, ValueError, TypeError):
        _forget(note)  # there is none, or that cgroup is gone
        return
    try:
        _put_back(directory, before)
    finally:
        os.close(directory)
    _forget(note)


def _write(note: str, directory: int, before: list[tuple[str, bytes]]) -> None:
    if not note:
        return
    try:
        path = os.readlink(f"/proc/self/fd/{directory}")
        fd = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, dumps((path, os.fstat(directory).st_ino, before)))
        finally:
            os.close(fd)
    except OSError:
        pass  # an end that cannot be noted is better than none


def _put_back(directory: int, before: list[tuple[str, bytes]]) -> None:
    for name, text in reversed(before):
        try:
            control.put(directory, name, text)
        except OSError:
            pass  # it is gone, and its limits with it


def _forget(note: str) -> None:
    try:
        if note:
            os.unlink(note)
    except OSError:
        pass
