"""Laying hands on the unit of an act: seizing it, signalling it, leaving its end to the kernel."""

from __future__ import annotations

from okoomer.events.model import BY_KERNEL, BY_LIMIT, Signalled
from okoomer.guard.act import TOLD
from okoomer.guard.each import Each, seize_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import SIGKILL
    from typing import Protocol

    from okoomer.facts import Process
    from okoomer.guard.act import Act, Grip
    from okoomer.guard.each import Dying
    from okoomer.record import Record

    class Whole(Grip, Protocol):
        """A cgroup that has been seized."""

        @property
        def inode(self) -> int: ...

    class Seizes(Protocol):
        """Whoever can lay hands on processes and cgroups."""

        def seize(self, process: Process) -> Dying | None: ...
        def enclose(self, path: str, inode: int) -> Whole | None: ...
        def leave_to_kernel(self) -> None: ...
else:
    from _signal import SIGKILL

#: With these a cgroup ends as a whole, where it can.
WHOLE_UNITS = ("cgroup", "auto")


class Reach:
    """See the module.

    Args:
        hands: Seize the processes that were chosen.
        emit: Takes the events.
    """

    def __init__(self, hands: Seizes, emit: Callable[[Record], None]) -> None:
        self._hands = hands
        self._emit = emit

    def seize(self, act: Act) -> Grip:
        """The unit of an act, seized once. What cannot be seized is barred."""
        if act.grip is None:
            try:
                act.grip = self._grip(act)
            except OSError as error:
                act.grip, act.barred = Each([]), error.strerror or "it cannot be seized"
        return act.grip

    def _grip(self, act: Act) -> Grip:
        if not act.cgroup:
            return seize_each(self._hands.seize, act.processes)
        whole = self._hands.enclose(act.cgroup, act.inode)
        if whole is None:
            return Each([])
        act.inode = whole.inode
        return whole

    def renew(self, act: Act) -> None:
        """The unit as it is now, as long as it has had no signal: who has had time may have borne children."""
        if act.cgroup or act.asked_to_end:
            return
        if act.renew and act.hold is None:
            act.processes = act.renew() or act.processes
        if act.grip:
            act.grip.close()
            act.grip = None
            self.seize(act)

    def signal(self, act: Act, number: int, now: float) -> tuple[tuple[int, ...], int]:
        """Sends a signal to the unit, and tells of it. Whom it reached; and an error (errno) if somebody could not be
        reached."""
        reached, refused = self.seize(act).signal(number)
        act.signalled = now
        name = "SIGKILL" if number == SIGKILL else "SIGTERM"
        there = set(reached)
        lost = tuple(pid for pid in act.pids if pid not in there)
        told = reached[:TOLD] if act.cgroup else reached
        if not act.barred:
            self._emit(Signalled(act.rule.name, name, act.name, told, lost, act.cgroup, act.reason))
        return reached, refused

    def leave_to_kernel(self, act: Act, now: float) -> bool:
        """Lets the kernel's own killer end the cgroup, or choose whom it ends; False where that is not possible."""
        try:
            if act.cgroup:
                self.seize(act).exhaust()
            elif act.rule.unit in WHOLE_UNITS:
                return False  # only a part of a cgroup was chosen, and the kernel would choose among everybody
            else:
                self._hands.leave_to_kernel()
        except (OSError, RuntimeError):
            return False
        act.signalled = now
        if act.cgroup:
            act.by_limit = True
            self._emit(Signalled(act.rule.name, BY_LIMIT, act.name, act.pids, (), act.cgroup, act.reason))
        else:
            if act.grip:
                act.grip.close()
            act.grip, act.by_kernel = Each([]), True
            self._emit(Signalled(act.rule.name, BY_KERNEL, act.name, (), (), reason=act.reason))
        return True
