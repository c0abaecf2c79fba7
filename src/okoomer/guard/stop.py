"""Stopping one process, or none: the signals, and their order.

The parent of a process that gets SIGSTOP can see it: a shell takes its terminal back as if Ctrl-Z had been typed, and
`sudo` stops itself. So within a unit parents are stopped before their children and run again after them: who stands
still sees nothing, and when it runs again there is nothing to be seen any more; and who is stopped first bears no more
children. For those above the unit see guard.onlookers.
"""

from __future__ import annotations

import posix as os
from errno import EALREADY, EPERM, ESRCH
from time import sleep

from okoomer.kernel import control
from okoomer.kernel import process as kernel
from okoomer.kernel.clock import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import SIGCONT, SIGSTOP, SIGTSTP, pidfd_send_signal

    from okoomer.facts import Process
else:
    from _signal import SIGCONT, SIGSTOP, SIGTSTP, pidfd_send_signal

#: Seconds for which it is waited, in all, for those to stand still who would see that others do; so often it is looked
#: at once, and seconds between two looks after that: where processors are busy they need one for it first.
PATIENT, AT_ONCE, GLIMPSE = 0.02, 10, 0.0002


def stop(proc: str, pid: int, start: int, note: Callable[[], None]) -> None:
    """Stops a process.

    Args:
        start: Its start time in clock ticks.
        note: Is called just before.

    Raises:
        OSError, ValueError, IndexError: It is gone, stands still already, or must not be stopped; or from `note`.
    """
    pidfd = os.pidfd_open(pid)
    try:
        stat = kernel.stat(proc, pid)
        if stat.state in "ZX" or stat.kernel_thread or kernel.in_ticks(stat.started) != start:
            raise ProcessLookupError(ESRCH, os.strerror(ESRCH))
        if stat.state in "Tt":
            raise OSError(EALREADY, "it stands still already")
        if kernel.tracer(proc, pid):
            # It would stand still for its debugger, who alone could let it run again.
            raise PermissionError(EPERM, "somebody debugs it")
        note()
        pidfd_send_signal(pidfd, SIGSTOP)
    finally:
        os.close(pidfd)


class Patience:
    """Looks whether those stand still who are to: as a rule they do some microseconds later, and one that waits for a
    disk when that has answered, for which nobody waits.

    Args:
        seconds: For which it is waited in all, if not PATIENT.

    Attributes:
        sent: Those who were sent a SIGSTOP, as pids.
    """

    def __init__(self, proc: str, seconds: float = 0.0) -> None:
        self._proc = proc
        self._left = seconds or PATIENT
        self.sent: set[int] = set()

    def wait(self, pid: int) -> None:
        """Returns when a process stands still, or soon."""

        def stands() -> bool:
            try:
                return kernel.stat(self._proc, pid).state not in "RSDI"
            except (OSError, ValueError, IndexError):
                return True

        self.until(stands)
        self.sent.discard(pid)

    def until(self, check: Callable[[], object]) -> None:
        """Returns when something is so, or soon."""
        for _ in range(AT_ONCE):
            if check():
                return
        while self._left > 0 and not check():
            began = monotonic()
            sleep(GLIMPSE)
            self._left -= monotonic() - began


def parents_first(processes: list[Process]) -> list[Process]:
    """The processes, each once, none before its parent."""
    by_pid = {process.pid: process for process in processes}
    below: dict[int, list[Process]] = {}
    for process in by_pid.values():
        below.setdefault(process.parent, []).append(process)
    found = [process for process in by_pid.values() if process.parent not in by_pid]
    for process in found:
        found += below.pop(process.pid, ())
    # Processes that were looked at one after the other, while pids were used again, may even make a circle.
    there = {process.pid for process in found}
    return found + [process for process in by_pid.values() if process.pid not in there]


def lives(proc: str, pid: int, start: int) -> bool:
    """Whether a process is still the same, and no zombie."""
    try:
        stat = kernel.stat(proc, pid)
    except (OSError, ValueError, IndexError):
        return False
    return stat.state not in "ZX" and kernel.in_ticks(stat.started) == start


def wake(proc: str, pid: int, start: int, ending: bool = False) -> bool:
    """Lets a process run again if it is still the same. Whether it was.

    Whoever sends a stop to one that stands still already does so for himself: it waits there until somebody lets the
    process run, which takes it away. So that is not done for a SIGSTOP, and a Ctrl-Z is sent once more.

    Args:
        ending: It has been asked to end, and must run so that it can, whoever has stopped it.

    Raises:
        OSError: It cannot be reached now.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not lives(proc, pid, start):
            return False
        waiting = 0 if ending else kernel.stops(proc, pid)
        if waiting & 1 << SIGSTOP:
            return True
        # Whatever state it is in: one that waits for a disk has its SIGSTOP still to come.
        pidfd_send_signal(pidfd, SIGCONT)
        if waiting & 1 << SIGTSTP:
            pidfd_send_signal(pidfd, SIGTSTP)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)


def thaw(directory: int) -> bool:
    """Lets a cgroup run again. Whether it was there."""
    try:
        control.put(directory, "cgroup.freeze", b"0")
        return True
    except OSError:
        return False
