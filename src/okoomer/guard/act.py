"""An act in flight: who, under which rule, on which step, until when."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from okoomer.facts import Cgroup, Process
    from okoomer.policy.model import Rule

    class Grip(Protocol):
        """A unit that has been seized (see guard.each)."""

        def signal(self, number: int) -> tuple[tuple[int, ...], int]: ...
        def exhaust(self) -> None: ...
        def dead(self) -> bool: ...
        def left(self) -> tuple[int, ...]: ...
        def pidfds(self) -> list[int]: ...
        def close(self) -> None: ...


#: Of more processes of a cgroup than this not each is told.
TOLD = 1024


class Act:
    """See the module."""

    def __init__(
        self,
        index: int,
        rule: Rule,
        name: str,
        processes: list[Process],
        freed: int,
        available: int,
        cgroup: str = "",
        inode: int = 0,
        target: Cgroup | None = None,
    ) -> None:
        self.index = index
        self.rule = rule
        self.name = name
        self.processes = processes
        self.freed = freed
        self.available = available
        #: The path if the unit is a whole cgroup, and which of that name.
        self.cgroup = cgroup
        self.inode = inode
        #: The cgroup that the rule is about.
        self.target = target
        self.step = -1
        self.deadline = 0.0
        self.signalled = 0.0
        self.strength = -1
        self.grip: Grip | None = None
        #: Why it cannot be seized.
        self.barred = ""
        #: The command that is waited for, and since when; 0 if none is.
        self.request = 0
        self.requested = 0.0
        #: It stands in place of SIGTERM.
        self.instead = False
        #: Whom the kernel's own killer takes is not known.
        self.by_kernel = False
        #: It is ended through its own limit.
        self.by_limit = False
        self.gone_after: float | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        pids = tuple(process.pid for process in self.processes)
        return pids[:TOLD] if self.cgroup else pids
