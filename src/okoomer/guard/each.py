"""Several processes as one victim: each was seized by itself."""

from __future__ import annotations

from errno import EOPNOTSUPP, EPERM, ESRCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from signal import SIGKILL
    from typing import Protocol

    from okoomer.facts import Process

    class Dying(Protocol):
        """A process that has been seized."""

        @property
        def pid(self) -> int: ...
        @property
        def pidfd(self) -> int: ...
        def signal(self, number: int) -> None: ...
        def hasten(self) -> None: ...
        def dead(self) -> bool: ...
        def close(self) -> None: ...
else:
    from _signal import SIGKILL


def signal_each(victims: Iterable[Dying], number: int) -> tuple[tuple[int, ...], int]:
    """Sends a signal to processes. Whom it reached; and an error (errno) if somebody could not be reached.

    Nobody is hastened before all have had their SIGKILL: whoever is goes first on a processor, before us too."""
    reached: list[Dying] = []
    refused = 0
    for victim in victims:
        try:
            victim.signal(number)
            reached.append(victim)
        except OSError as error:
            if error.errno != ESRCH:
                refused = error.errno or EPERM
    if number == SIGKILL:
        for victim in reached:
            victim.hasten()
    return tuple(victim.pid for victim in reached), refused


class Each:
    """Whoever could be seized of a unit."""

    def __init__(self, victims: list[Dying]) -> None:
        self._victims = victims

    def signal(self, number: int) -> tuple[tuple[int, ...], int]:
        """Sends a signal to all. Whom it reached; and an error (errno) if somebody could not be reached."""
        return signal_each(self._victims, number)

    def exhaust(self) -> None:
        """Leaves a cgroup no memory. Processes by themselves have no limit.

        Raises:
            OSError: Always.
        """
        raise OSError(EOPNOTSUPP, "processes have no limit")

    def dead(self) -> bool:
        """Whether nobody is left."""
        return all(victim.dead() for victim in self._victims)

    def left(self) -> tuple[int, ...]:
        """Who is still there."""
        return tuple(victim.pid for victim in self._victims if not victim.dead())

    def pidfds(self) -> list[int]:
        """Descriptors that become readable when one of those who still live ends."""
        return [victim.pidfd for victim in self._victims if not victim.dead()]

    def close(self) -> None:
        for victim in self._victims:
            victim.close()


def seize_each(seize: Callable[[Process], Dying | None], processes: Iterable[Process]) -> Each:
    """Whoever of these can be seized."""
    return Each([victim for process in processes if (victim := seize(process))])
