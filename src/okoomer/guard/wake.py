"""What wakes the loop: time, a stall that begins, a signal, a victim that dies, whoever speaks with the guard."""

from __future__ import annotations

import posix as os
from select import POLLERR, POLLIN, POLLPRI, poll

from okoomer.guard.doze import CALM, SEEN, doze
from okoomer.kernel.pressure import open_trigger
from okoomer.policy.engine import comparisons
from okoomer.policy.metrics import LEVEL, METRICS, STALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from okoomer.facts import Snapshot
    from okoomer.kernel.machine import Machine
    from okoomer.policy.model import Policy

#: Seconds for which the loop goes by its own readings after a trigger: two of its windows, the longer kind.
ARMED = 4.0


class Wake:
    """What a loop waits for.

    Args:
        now: Seconds on the clock of snapshots.
    """

    def __init__(self, machine: Machine, policy: Policy, now: Callable[[], float]) -> None:
        self._machine = machine
        self._now = now
        self._poller = poll()
        self._trigger: int | None = None
        self._armed_until = float("-inf")
        self._meminfo = -1
        self._calls: dict[int, Callable[[], object]] = {}
        self.adopt(policy)

    def adopt(self, policy: Policy) -> None:
        """Waits for what matters under this policy, and for no stall before `arm`. Who is looked at, still is."""
        self.close()
        self._armed_until = float("-inf")
        self._wanted = trigger_of(policy)
        named = {comparison.metric for rule in policy.rules for comparison in comparisons(rule)}
        # What else there is may change at any time, and pauses are too short to doze where only that matters.
        slow = (metric for metric in named if METRICS[metric].kind in (LEVEL, STALL) and not METRICS[metric].sudden)
        blind = (metric for metric in slow if metric not in SEEN)
        scoped = any(METRICS[metric].of_cgroup for metric in named)
        self._dozes = not scoped and all(metric.startswith("psi.memory.") for metric in blind)

    @property
    def triggers(self) -> bool:
        """Whether somebody tells when a stall begins, and none has begun a moment ago."""
        return self._trigger is not None and self._now() > self._armed_until

    def arm(self, pressure: str = "") -> bool:
        """Asks the kernel to wake us when a stall begins. Whether all that is wanted of it is to be had."""
        if self._wanted and self._machine.live:
            path = pressure or f"{self._machine.proc}/pressure/memory"
            self._trigger = open_trigger(path, *self._wanted)
            if self._trigger is not None:
                self._poller.register(self._trigger, POLLPRI | POLLERR)
                self._meminfo = os.open(f"{self._machine.proc}/meminfo", os.O_RDONLY | os.O_CLOEXEC)
        return self._trigger is not None or self._wanted is None

    def on(self, fd: int, call: Callable[[], object]) -> None:
        """Has something done as soon as a descriptor is readable, or closed at its other end."""
        self._calls[fd] = call
        self._poller.register(fd, POLLIN)

    def off(self, fd: int) -> None:
        """Looks at a descriptor no longer."""
        del self._calls[fd]
        self._poller.unregister(fd)

    def close(self) -> None:
        """Gives back what was opened here."""
        if self._trigger is not None:
            self._poller.unregister(self._trigger)
            os.close(self._trigger)
            self._trigger = None
        if self._meminfo >= 0:
            os.close(self._meminfo)
            self._meminfo = -1

    def wait(
        self,
        pause: float,
        dying: Iterable[int],
        well: Snapshot | None,
        fill_rate: float,
        alive: Callable[[float], None],
    ) -> None:
        """Sleeps at most so many seconds.

        Args:
            dying: Descriptors that become readable when victims die.
            well: The last snapshot if no rule is anything but quiet, else None.
            fill_rate: Bytes per second by which memory can fall.
            alive: Is told before each sleep how long it will be.
        """
        dying = list(dying)
        for pidfd in dying:
            self._poller.register(pidfd, POLLIN)
        # A hold or a repeated warning comes of time alone, whatever memory does.
        if well and pause >= CALM and self.triggers and self._dozes:
            events = doze(self._poller, self._meminfo, well, pause, fill_rate, alive)
        else:
            alive(pause)
            # Rounded up: a pause of 0.4 ms must not become a loop that never sleeps.
            events = self._poller.poll(int(pause * 1000) + 1)
        for pidfd in dying:
            self._poller.unregister(pidfd)
        for fd, happened in events:
            # One of the calls before may have seen to it that another is not made.
            call = self._calls.get(fd)
            if call:
                call()
            elif fd == self._trigger and happened & POLLERR:
                self._poller.unregister(fd)
                os.close(fd)
                self._trigger = None
            elif fd == self._trigger:
                self._armed_until = self._now() + ARMED


def trigger_of(policy: Policy) -> tuple[str, float, float] | None:
    """The pressure trigger (line, stall, window; seconds) that wakes before any rule about memory stalls can fire,
    or None if there is no such rule.

    A rule needs a share of its window stalled; some second of that window is stalled by at least that share, and the
    trigger goes off at half of it. When a cgroup stalls, some of the machine does.
    """
    lines, shares = set(), []
    for rule in policy.rules:
        for comparison in comparisons(rule):
            if comparison.metric.startswith("psi.memory."):
                lines.add(comparison.metric.split(".")[2])
                shares.append(comparison.threshold)
            elif comparison.metric.startswith(("cgroup.psi.memory.", "cgroup.stall.")):
                lines.add("some")
                shares.append(comparison.threshold)
    if not shares:
        return None
    return "some" if "some" in lines else "full", min(max(min(shares) / 2, 0.02), 0.5), 1.0
