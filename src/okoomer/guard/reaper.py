"""Making the dead let go: priorities for those who die, and memory that is freed without them."""

from __future__ import annotations

import posix as os
from _thread import allocate_lock, start_new_thread

from okoomer.kernel.syscalls import process_mrelease, set_name


def hasten(threads: list[int]) -> None:
    """Lets dying threads go first. A process tears down its memory on its own CPU time: at nice 19 on busy CPUs that
    takes ten seconds instead of a fraction of one. Permission may be lacking; then it dies at its own pace."""
    for thread in threads:
        try:
            os.setpriority(os.PRIO_PROCESS, thread, -20)
        except OSError:
            continue


class Reaper:
    """A thread that frees the memory of killed processes. `process_mrelease` takes as long as freeing takes (0.1 s a
    GiB), so it is not for the loop that senses; it runs beside it since the call gives up the interpreter's lock."""

    def __init__(self) -> None:
        self._queue: list[int] = []
        self._work = allocate_lock()
        self._work.acquire()
        start_new_thread(self._run, ())

    def reap(self, pidfd: int) -> None:
        """Takes a copy of the descriptor and returns at once."""
        try:
            self._queue.append(os.dup(pidfd))
        except OSError:
            return
        if self._work.locked():
            self._work.release()

    def _run(self) -> None:
        set_name("okoomer-reaper")
        while True:
            self._work.acquire()
            while self._queue:
                pidfd = self._queue.pop(0)
                try:
                    process_mrelease(pidfd)
                except OSError:
                    pass  # it was quicker itself, or the kernel is too old
                os.close(pidfd)
