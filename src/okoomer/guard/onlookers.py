"""Onlookers: who would see that a unit stands still, and do something about it.

A shell whose job in the foreground stops takes its terminal back, as if Ctrl-Z had been typed: an editor then is in the
background when it runs again, and what is typed meanwhile goes to the shell. `sudo` and its like stop themselves and
all of their process group when their command stops, and nobody lets them run again. So they are held, too, as a
debugger holds a program, of which neither they nor anybody above them sees anything (a multiplexer would have a shell
that it sees stopped run at once). When they go on, the unit runs already, and there is nothing to be seen any more.

A shell is held for a short time only: then it gets its terminal, in which somebody may want to type. Who is held runs
again by the kernel's doing if the guard dies.
"""

from __future__ import annotations

import posix as os

from okoomer.guard.stop import Patience
from okoomer.kernel import process as kernel
from okoomer.kernel import trace
from okoomer.kernel.timer import ring, timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from okoomer.facts import Process
    from okoomer.guard.hold import Hold
    from okoomer.guard.note import Note
    from okoomer.kernel.process import Stat

#: They stop when their command does.
RELAYS = ("sudo", "su", "doas", "runuser")
#: Seconds for which a shell is held.
BRIEF = 5.0
#: So many are held at once.
MOST = 64
#: So many are noted for the sake of one of these, and in all: whoever calls himself so must not fill the note.
CHAIN, NOTED = 8, 128
#: Seconds for which it is waited at the most, in all, until they stand still: one who does not is not spared anything.
PATIENT = 0.1
#: Seconds between two looks at those who are held.
LOOK = 1.0


class Onlooker:
    """One who is held, until `until` at the latest. `holds` are those for whose sake. `signal` is what it is let go
    with, None as long as it has not come to stand still; `slots` is where it is noted that it might stop itself."""

    __slots__ = ("holds", "leaving", "pid", "signal", "slots", "until")

    def __init__(self, pid: int, until: float, slots: list[int]) -> None:
        self.pid = pid
        self.until = until
        self.slots = slots
        self.holds: list[Hold] = []
        self.signal: int | None = None
        self.leaving = False


class Onlookers:
    """See the module.

    Args:
        note: Where it is noted who has to be let run if he has stopped himself because the guard died.
        now: Seconds on the clock of snapshots.
    """

    def __init__(self, proc: str, note: Note, now: Callable[[], float]) -> None:
        self._proc = proc
        self._note = note
        self._now = now
        self._held: dict[int, Onlooker] = {}
        self._timer = -1
        #: Whether somebody must never be held.
        self.never: Callable[[int], bool] = lambda pid: False

    def watch(self, on: Callable[[int, Callable[[], object]], object]) -> None:
        """From now on somebody looks when there is something to be done; without that nobody is held.

        Args:
            on: Has something done as soon as a descriptor is readable.

        Raises:
            OSError: There are too many descriptors.
        """
        self._timer = timer()
        on(self._timer, self.tend)

    def hold(self, hold: Hold, processes: Iterable[Process]) -> None:
        """Holds whoever would see these processes stand still. Returns when they stand still, or soon."""
        if self._timer < 0:
            return
        unit = {process.pid: process for process in processes}
        patience = Patience(self._proc, PATIENT)
        for process in unit.values():
            if process.parent in unit:
                continue
            if process.parent in self._held:
                found = self._held[process.parent]
                found.holds += [hold] if hold not in found.holds else []
                found.leaving = False
            elif len(self._held) < MOST and not self.never(process.parent):
                self._seize(hold, process, patience)

    def _seize(self, hold: Hold, process: Process, patience: Patience) -> None:
        pid = process.parent
        stat = self._stat(pid)
        if stat is None or not sees(process, stat, kernel.foreground(self._proc, pid)):
            return
        slots = self._note_relays(pid, stat)
        try:
            trace.seize(pid)
        except OSError:
            self._clear(slots)
            return
        until = float("inf") if stat.name in RELAYS else self._now() + BRIEF
        found = self._held[pid] = Onlooker(pid, until, slots)
        found.holds.append(hold)
        if kernel.ticks(self._proc, pid) != kernel.in_ticks(stat.started):
            self._leave(found)
        # Before that it could still see it: whoever sleeps looks once more when he is woken, before he stands still.
        patience.until(lambda: pid not in self._held or self._settle(found))
        ring(self._timer, LOOK)

    def _note_relays(self, pid: int, stat: Stat) -> list[int]:
        """Notes who would be stopped if the guard died: one who stops when his command does, with all of his process
        group that are found near him, and such ones above him. As many as there is room for; their slots."""
        group, noted, slots = -1, set[int](), list[int]()
        room = min(CHAIN, NOTED - sum(len(found.slots) for found in self._held.values()))
        while stat.name in RELAYS or stat.group == group:
            group = stat.group
            for one in (pid, *kernel.children(self._proc, pid)):
                found = stat if one == pid else self._stat(one)
                if found and found.group == group and one not in noted and len(noted) < room:
                    noted.add(one)
                    try:
                        slots.append(self._note.add(one, kernel.in_ticks(found.started)))
                    except OSError:
                        return slots
            pid = stat.parent
            above = self._stat(pid)
            if above is None:
                break
            stat = above
        return slots

    def _stat(self, pid: int) -> Stat | None:
        try:
            return kernel.stat(self._proc, pid)
        except (OSError, ValueError, IndexError):
            return None

    def let_go(self, hold: Hold) -> None:
        """A hold is over, and its processes run already."""
        for found in [*self._held.values()]:
            if hold in found.holds:
                found.holds.remove(hold)
            if not found.holds:
                self._leave(found)

    def tend(self) -> None:
        """Lets those go whose time is over, and forgets those who have ended."""
        now = self._now()
        try:
            os.read(self._timer, 8)
        except OSError:
            pass
        for found in [*self._held.values()]:
            self._settle(found)
            if found.pid in self._held and (found.leaving or now >= found.until):
                self._leave(found)
        leaving = any(found.leaving for found in self._held.values())
        ring(self._timer, (LOOK / 20 if leaving else LOOK) if self._held else 0)

    def _settle(self, found: Onlooker) -> bool:
        """Whether somebody has come to stand still."""
        try:
            signal = trace.settled(found.pid)
        except OSError:
            self._forget(found)
            return False
        if signal is not None:
            found.signal = signal
        return found.signal is not None

    def _leave(self, found: Onlooker) -> None:
        found.leaving = True
        if found.signal is None and not self._settle(found):
            ring(self._timer, LOOK / 20)  # one who waits for a disk has yet to come to where it can be let go
            return
        try:
            trace.release(found.pid, found.signal or 0)
        except OSError:
            # It was killed. As long as that is not known here, its parent does not hear of it either.
            found.signal = None
            self._settle(found)
            ring(self._timer, LOOK / 20)
            return
        self._forget(found)

    def _forget(self, found: Onlooker) -> None:
        del self._held[found.pid]
        self._clear(found.slots)

    def _clear(self, slots: list[int]) -> None:
        for slot in slots:
            self._note.clear(slot)

    def close(self) -> None:
        """Lets all go."""
        for found in [*self._held.values()]:
            self._leave(found)
        if self._timer >= 0:
            os.close(self._timer)
            self._timer = -1


def sees(process: Process, parent: Stat, foreground: int) -> bool:
    """Whether the parent of a process would do something about it if that stood still.

    Args:
        foreground: The process group that has the parent's terminal.
    """
    if not parent.terminal or parent.threads > 1 or parent.state in "TtZX" or parent.kernel_thread:
        return False
    if parent.name in RELAYS:
        return True
    # A shell gives each of its jobs a group, and waits for the one that has the terminal.
    return process.session == parent.session and process.group != parent.group and process.group == foreground
