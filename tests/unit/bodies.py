"""Processes that only seem to be: they die as they are told to, on a clock that the test turns."""

from __future__ import annotations

from _signal import SIGKILL, SIGTERM
from errno import ENOENT, EPERM, ESRCH
from typing import TYPE_CHECKING

from okoomer.facts import Process
from okoomer.record import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

NEVER = float("inf")


class Body:
    """One process.

    Args:
        on_term, on_kill: Seconds from the signal to its death.
        refuses: Nobody may signal it.
        vanished: It is gone before anybody can lay hands on it.
        leaves: The time at which it ends by itself.
    """

    def __init__(
        self,
        pid: int,
        on_term: float = 0.0,
        on_kill: float = 0.0,
        refuses: bool = False,
        vanished: bool = False,
        leaves: float = NEVER,
    ) -> None:
        self.pid = self.pidfd = pid
        self.patience = {int(SIGTERM): on_term, int(SIGKILL): on_kill}
        self.refuses = refuses
        self.vanished = vanished
        self.dies = leaves
        self.signals: list[tuple[float, int]] = []
        self.held = 0


class World:
    """Hands that seize such bodies, and the time."""

    def __init__(self, *bodies: Body) -> None:
        self.now = 0.0
        self.bodies = {body.pid: body for body in bodies}
        #: How often the kernel's own killer was called, or None where that is not permitted.
        self.left_to_kernel: int | None = 0
        #: Whole cgroups by their paths, or None where none can be opened.
        self.groups: dict[str, Enclosure] | None = {}

    def seize(self, process: Process) -> Grip | None:
        body = self.bodies[process.pid]
        if body.vanished:
            return None
        body.held += 1
        return Grip(self, body)

    def enclose(self, path: str, inode: int) -> Enclosure | None:
        if self.groups is None:
            raise PermissionError(EPERM, "not permitted")
        if self.groups.get(path) is None:
            return None
        return self.groups[path]

    def leave_to_kernel(self) -> None:
        if self.left_to_kernel is None:
            raise PermissionError(EPERM, "not permitted")
        self.left_to_kernel += 1

    def processes(self, pids: Iterable[int] | None = None) -> list[Process]:
        return [replace(ANYBODY, pid=pid) for pid in (self.bodies if pids is None else pids)]

    def signals(self, number: int) -> list[int]:
        return [pid for pid, body in self.bodies.items() if any(one == number for _, one in body.signals)]


class Grip:
    """A body that was seized."""

    def __init__(self, world: World, body: Body) -> None:
        self.pid = self.pidfd = body.pid
        self._world = world
        self._body = body

    def signal(self, number: int) -> None:
        if self._body.refuses:
            raise PermissionError(EPERM, "Operation not permitted")
        if self.dead():
            raise ProcessLookupError(ESRCH, "No such process")
        self._body.signals.append((self._world.now, int(number)))
        self._body.dies = min(self._body.dies, self._world.now + self._body.patience[int(number)])

    def hasten(self) -> None:
        pass

    def dead(self) -> bool:
        return self._world.now >= self._body.dies

    def close(self) -> None:
        self._body.held -= 1
        assert self._body.held >= 0


class Enclosure:
    """A whole cgroup of bodies; new ones may be born into it.

    Args:
        on_limit: Seconds from when it has no memory left to its death, or None where it has no limit.
    """

    def __init__(self, world: World, *bodies: Body, inode: int = 77, on_limit: float | None = None) -> None:
        self.inode = inode
        self.held = 1
        self.exhausted = False
        self._world = world
        self._bodies = list(bodies)
        self._on_limit = on_limit

    def bear(self, body: Body) -> None:
        self._bodies.append(body)

    def signal(self, number: int) -> tuple[tuple[int, ...], int]:
        reached, refused = [], 0
        for body in self._bodies:
            try:
                Grip(self._world, body).signal(number)
                reached.append(body.pid)
            except OSError as error:
                refused = EPERM if error.errno == EPERM else refused
        return tuple(reached), refused

    def exhaust(self) -> None:
        if self._on_limit is None:
            raise FileNotFoundError(ENOENT, "no such file")
        self.exhausted = True
        for body in self._bodies:
            body.dies = min(body.dies, self._world.now + self._on_limit)

    def dead(self) -> bool:
        return not self.left()

    def left(self) -> tuple[int, ...]:
        return tuple(body.pid for body in self._bodies if self._world.now < body.dies)

    def pidfds(self) -> list[int]:
        return list(self.left())

    def close(self) -> None:
        self.held -= 1
        assert self.held >= 0


ANYBODY = Process(0, 1, "body", 0.0)
