"""Ending processes: identified beyond doubt, hastened on their way, and reaped without anybody waiting for it."""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from select import POLLIN, poll

from okoomer.guard.scan import still
from okoomer.kernel import process as kernel
from okoomer.kernel.syscalls import process_mrelease, set_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGKILL, pidfd_send_signal

    from okoomer.facts import Process
else:
    from _signal import SIGKILL, pidfd_send_signal


class Victim:
    """One process behind a pidfd, which can never come to mean another process."""

    __slots__ = ("_proc", "_reaper", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int, proc: str, reaper: Reaper | None) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self._proc = proc
        self._reaper = reaper

    def signal(self, number: int) -> None:
        """Sends a signal; a SIGKILL is followed by all that makes a process die fast.

        Raises:
            OSError: It is not permitted, or the process is gone.
        """
        # The list of threads is read while the process lives: nothing of it is read once it has to die. If the signal
        # reaches it, the pid was still its own when the list was read.
        threads = kernel.threads(self._proc, self.pid) if number == SIGKILL else []
        pidfd_send_signal(self.pidfd, number)
        if number == SIGKILL:
            hasten(threads)
            if self._reaper:
                self._reaper.reap(self.pidfd)

    def dead(self) -> bool:
        """Whether it has exited: a zombie has, its memory is gone."""
        poller = poll()
        poller.register(self.pidfd, POLLIN)
        return bool(poller.poll(0))

    def close(self) -> None:
        os.close(self.pidfd)


class Hands:
    """What can be laid on processes; tests have others."""

    def __init__(self, proc: str, reaper: Reaper | None) -> None:
        self._proc = proc
        self._reaper = reaper

    def seize(self, process: Process) -> Victim | None:
        """The process that was chosen, or None if it is gone. The start time is read again once the pidfd is open:
        if it is the same then, the pidfd is that process for ever."""
        try:
            pidfd = os.pidfd_open(process.pid)
        except OSError:
            return None
        if not still(self._proc, process):
            os.close(pidfd)
            return None
        return Victim(process.pid, pidfd, self._proc, self._reaper)

    def leave_to_kernel(self) -> None:
        """Has the kernel's own killer end somebody (Documentation/admin-guide/sysrq.rst, `f`).

        Raises:
            OSError: It is not permitted.
        """
        fd = os.open(f"{self._proc}/sysrq-trigger", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"f")
        finally:
            os.close(fd)


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
