"""A whole cgroup as one victim: whoever is in it or comes to be in it, until nobody is left."""

from __future__ import annotations

import posix as os
from errno import EPERM

from okoomer.guard import marks
from okoomer.guard.each import signal_each
from okoomer.guard.limit import Limit
from okoomer.kernel import control
from okoomer.kernel.cgroup import mount
from okoomer.kernel.files import ABSENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import SIGKILL

    from okoomer.guard.victim import Victim
else:
    from _signal import SIGKILL

#: So many of its processes are held by descriptors, to be hastened, reaped and watched; the others only until they have
#: their signal.
HELD = 256
#: So often its processes are read anew at one look while it forks faster than it is killed.
ROUNDS = 4


def enclose(proc: str, path: str, inode: int, hold: Callable[[int], Victim | None], note: str = "") -> Band | None:
    """A whole cgroup, or None if it is gone.

    Args:
        inode: Which of that path; 0 is whichever there is.
        hold: Opens a process that is known by its pid.
        note: Where it is noted what has to be put back (see limit.recover).

    Raises:
        OSError: It cannot be opened, or must not be ended as a whole.
    """
    mounted = mount(proc)
    if mounted is None or not path.strip("/"):
        raise PermissionError(EPERM, "the whole machine is no cgroup to be ended")
    try:
        directory = control.enter(mounted, path, inode)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise
    return Band(directory, hold, note)


class Band:
    """A cgroup behind a descriptor of its directory, so that no other can be meant.

    Args:
        directory: Closed with it.
        hold: Opens a process that is known by its pid.
        note: As `enclose` has it.
    """

    def __init__(self, directory: int, hold: Callable[[int], Victim | None], note: str = "") -> None:
        self._directory = directory
        self._note = note
        self._hold = hold
        self._held: dict[int, Victim] = {}
        #: Who has had a SIGKILL, where each gets it for itself.
        self._killed: set[int] | None = None
        self._limit: Limit | None = None
        #: Which cgroup it is.
        self.inode = os.fstat(directory).st_ino

    def signal(self, number: int) -> tuple[tuple[int, ...], int]:
        """Sends a signal to all. Whom it reached; and an error (errno) if somebody could not be reached."""
        pids = self._look()
        if _is_ours(pids):
            return (), EPERM
        if number != SIGKILL:
            return self._each(pids, number)
        marks.foretell(self._directory)
        reached, refused = self._kill(pids)
        if reached and not refused:
            marks.count(self._directory, len(reached))
        return reached, refused

    def exhaust(self) -> None:
        """Has the kernel's own killer end it, by leaving it no memory.

        Raises:
            OSError, RuntimeError: That is not possible here.
        """
        if _is_ours(self._look()):
            raise PermissionError(EPERM, "okoomer or the init process is in it")
        limit = Limit(self._directory, self._note)
        limit.begin()
        self._limit = limit

    def dead(self) -> bool:
        """Whether nobody is left. Whoever has come to be in it since its end began has the same end."""
        populated = control.populated(self._directory)
        if populated is None:
            return all(victim.dead() for victim in self._held.values())
        if not populated:
            return True
        if self._killed is not None:
            self._sweep()
        elif all(victim.dead() for victim in self._held.values()):
            self._look()
        return False

    def left(self) -> tuple[int, ...]:
        """Who is still in it."""
        return tuple(control.members(self._directory))

    def pidfds(self) -> list[int]:
        """Descriptors that become readable when one of those who still live ends."""
        return [victim.pidfd for victim in self._held.values() if not victim.dead()]

    def close(self) -> None:
        if self._limit:
            self._limit.restore()
        for victim in self._held.values():
            victim.close()
        self._held.clear()
        os.close(self._directory)

    # --- its processes ------------------------------------------------------------------------------------------

    def _look(self) -> list[int]:
        """The processes that are in it now, held as far as that goes."""
        pids = control.members(self._directory)
        there = set(pids)
        for pid, victim in [*self._held.items()]:
            if pid not in there or victim.dead():
                victim.close()
                del self._held[pid]
        new = [pid for pid in pids if pid not in self._held]
        for victim in self._open(new[: HELD - len(self._held)]):
            self._held[victim.pid] = victim
        return pids

    def _open(self, pids: list[int]) -> list[Victim]:
        opened = [victim for pid in pids if (victim := self._hold(pid))]
        # Who is still in it once its descriptor is open was in it all the time: that descriptor is nobody else's.
        there = set(control.members(self._directory)) if opened else ()
        for victim in opened:
            if victim.pid not in there:
                victim.close()
        return [victim for victim in opened if victim.pid in there]

    def _kill(self, pids: list[int]) -> tuple[tuple[int, ...], int]:
        """cgroup.kill reaches also whoever is being born at this moment (Linux 5.14)."""
        for victim in self._held.values():
            victim.brace()
        try:
            control.put(self._directory, "cgroup.kill", b"1")
        except OSError:
            self._killed = set()
            return self._sweep()
        for victim in self._held.values():
            victim.hasten()
        return tuple(pids), 0

    def _sweep(self) -> tuple[tuple[int, ...], int]:
        """A SIGKILL for each who has had none, again and again as they are born, but never for long."""
        assert self._killed is not None
        reached: list[int] = []
        refused = 0
        for _ in range(ROUNDS):
            there = self._look()
            self._killed.intersection_update(there)
            new = [pid for pid in there if pid not in self._killed]
            if not new:
                break
            met, refused = self._each(new, SIGKILL)
            self._killed.update(met)
            reached += met
            if not met:
                break
        return tuple(reached), refused

    def _each(self, pids: list[int], number: int) -> tuple[tuple[int, ...], int]:
        reached: list[int] = []
        refused = 0
        for first in range(0, len(pids), HELD):
            some = pids[first : first + HELD]
            brief = self._open([pid for pid in some if pid not in self._held])
            met, error = signal_each([*(self._held[pid] for pid in some if pid in self._held), *brief], number)
            reached += met
            refused = error or refused
            for victim in brief:
                victim.close()
        return tuple(reached), refused


def _is_ours(pids: list[int]) -> bool:
    """Whether the end of these processes would be ours: whoever chose them was wrong."""
    return 1 in pids or os.getpid() in pids
