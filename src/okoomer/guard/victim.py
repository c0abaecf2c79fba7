"""Ending processes: identified beyond doubt, hastened on their way, and reaped without anybody waiting for it."""

from __future__ import annotations

import posix as os
from select import POLLIN, poll

from okoomer.guard.reaper import hasten
from okoomer.guard.scan import still
from okoomer.kernel import process as kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGKILL, pidfd_send_signal

    from okoomer.facts import Process
    from okoomer.guard.band import Band
    from okoomer.guard.reaper import Reaper
else:
    from _signal import SIGKILL, pidfd_send_signal


class Victim:
    """One process behind a pidfd, which can never come to mean another process."""

    __slots__ = ("_proc", "_reaper", "_threads", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int, proc: str, reaper: Reaper | None) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self._proc = proc
        self._reaper = reaper
        self._threads: list[int] = []

    def signal(self, number: int) -> None:
        """Sends a signal.

        Raises:
            OSError: It is not permitted, or the process is gone.
        """
        if number == SIGKILL:
            self.brace()
        pidfd_send_signal(self.pidfd, number)

    def brace(self) -> None:
        """Reads its threads while it lives: nothing of it is read once it has to die."""
        # If the signal reaches it, the pid was still its own when the list was read.
        self._threads = kernel.threads(self._proc, self.pid)

    def hasten(self) -> None:
        """All that makes it die fast once it has had its SIGKILL."""
        hasten(self._threads)
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
    """What can be laid on processes; tests have others.

    Args:
        note: A file for what has to be put back if the guard is killed in the middle of an end by limit.
    """

    def __init__(self, proc: str, reaper: Reaper | None, note: str = "") -> None:
        self._proc = proc
        self._reaper = reaper
        self._note = note

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

    def enclose(self, path: str, inode: int) -> Band | None:
        """The whole cgroup that was chosen, or None if it is gone.

        Raises:
            OSError: It cannot be opened, or must not be ended as a whole.
        """
        # Loaded long before it is needed where the policy is about cgroups, and never where it is not.
        from okoomer.guard.band import enclose

        return enclose(self._proc, path, inode, self._hold, self._note)

    def _hold(self, pid: int) -> Victim | None:
        try:
            return Victim(pid, os.pidfd_open(pid), self._proc, self._reaper)
        except OSError:
            return None

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
