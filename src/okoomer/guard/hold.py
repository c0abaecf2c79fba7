"""Holds: who stands still, by whose wish, and how they all run again.

A whole cgroup is frozen, which nobody outside of it sees. Where there is none the processes are stopped one by one (see
guard.stop).

A process that stands still already is never stopped, hence never made to run by us. Processes are known by pid and
start time, and no descriptors are kept for them.
"""

from __future__ import annotations

import posix as os
from errno import EALREADY, EPERM

from okoomer.events.model import BY_USER, Paused, Resumed
from okoomer.guard.note import Note
from okoomer.guard.onlookers import Onlookers
from okoomer.guard.scan import look
from okoomer.guard.still import Still
from okoomer.guard.stop import Patience, lives, parents_first
from okoomer.kernel import clock, control
from okoomer.kernel import process as kernel
from okoomer.kernel.cgroup import mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from okoomer.facts import Process
    from okoomer.record import Record

#: Of a cgroup's processes so many are told.
TOLD = 1024
#: So often the children are read that were born while their parents were being stopped.
ROUNDS = 2
#: Who was born so many seconds before its unit was stopped, or later, was not there yet when that was chosen.
NEWBORN = 0.5
#: So many holds at once: those of persons, and one of a rule, which finds room whatever persons do.
PERSONS, MOST = 255, 256

#: A process: pid and start time in clock ticks.
Key = tuple[int, int]


class Hold:
    """Processes, or a cgroup as a whole, that stand still since `since` (on the clock of snapshots) until the hold is
    `over`. `by`, `name`, `user` and `cgroup` are as in events.model.Paused; the first of `members` stands for all."""

    __slots__ = ("by", "cgroup", "directory", "inode", "members", "name", "over", "since", "user")

    def __init__(
        self, by: str, name: str, members: tuple[Key, ...], user: int, cgroup: str, inode: int, since: float
    ) -> None:
        self.by = by
        self.name = name
        self.members = members
        self.user = user
        self.cgroup = cgroup
        self.inode = inode
        #: A descriptor of the frozen cgroup's directory; -1 where the processes were stopped one by one.
        self.directory = -1
        self.since = since
        self.over = False

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(pid for pid, _ in self.members)

    @property
    def frozen(self) -> bool:
        """Whether it is the cgroup that stands still."""
        return self.directory >= 0


class Holds:
    """All that stands still.

    Args:
        proc: Where /proc is.
        note: The file that says so to whoever has to undo it, "" for none (see guard.note).
        emit: Takes the events.
        now: Seconds on the clock of snapshots.

    Raises:
        OSError: The note cannot be made.
    """

    def __init__(
        self, proc: str, note: str, emit: Callable[[Record], None], now: Callable[[], float] = clock.monotonic
    ) -> None:
        self._now = now
        self._proc = proc
        #: Also of what others change and have to undo.
        self.note = Note(note, proc)
        self._emit = emit
        self._holds: list[Hold] = []
        self._still = Still(proc, self.note, emit)
        #: Who is never stopped, whatever is wished: ourselves, and whoever works for us.
        self.never = {1, os.getpid()}
        #: Who would see it.
        self.onlookers = Onlookers(proc, self.note, now)
        self.onlookers.never = lambda pid: pid in self.never
        #: Whether somebody who was born while its unit was being stopped is not stopped too.
        self.spares: Callable[[Process], object] = lambda process: False

    # --- pausing ------------------------------------------------------------------------------------------------

    def pause(
        self,
        by: str,
        name: str,
        processes: list[Process],
        cgroup: str,
        inode: int,
        user: int,
        now: float,
        spares: Callable[[Process], object] | None = None,
        may: Callable[[int], object] | None = None,
        emit: Callable[[Record], None] | None = None,
    ) -> Hold | None:
        """Has a unit stand still, and tells of it; None if nobody could be stopped.

        Args:
            by: As in events.model.Paused.
            processes: The unit; if it is a cgroup, those that are known of it.
            cgroup, inode: The unit is this whole cgroup; "" and 0 if it is these processes only.
            user: Whose processes they are, -1 if of several.
            now: On the clock of snapshots.
            spares: As the attribute of that name, for this unit.
            may: Whether a process that stands still by now was one to be stopped. Who was looked at before may have
                become somebody else's since; who stands still becomes nothing any more.
            emit: Takes the event, if there is no time to tell it now.
        """
        if len(self._holds) >= (PERSONS if by.startswith(BY_USER) else MOST):
            return None
        hold = Hold(by, name, (), user, cgroup, inode, now)
        wanted = [process.pid for process in processes]
        if cgroup:
            try:
                wanted = self._freeze(hold)
            except OSError:
                return None
            if not hold.frozen:
                processes = [found for pid in wanted if (found := look(self._proc, pid, frozenset(), sizes=False))]
        if not hold.frozen:
            self._stop(hold, processes, spares or self.spares, may)
            if not hold.members:
                self.onlookers.let_go(hold)
                return None
        self._holds.append(hold)
        there = set(hold.pids)
        lost = tuple(pid for pid in wanted[:TOLD] if pid not in there)
        (emit or self._emit)(Paused(by, name, hold.pids, user, cgroup, hold.frozen, lost))
        return hold

    def _freeze(self, hold: Hold) -> list[int]:
        """Freezes a hold's cgroup, where it can be frozen. It stands still some milliseconds later, which nobody waits
        for. Returns its processes.

        Raises:
            OSError: It must not stand still, somebody else has frozen it, or it is gone.
        """
        mounted = mount(self._proc)
        if mounted is None or not hold.cgroup.strip("/"):
            raise PermissionError(EPERM, "the whole machine is no cgroup to be stopped")
        directory = control.enter(mounted, hold.cgroup, hold.inode)
        try:
            hold.inode = os.fstat(directory).st_ino
            members = control.members(directory)
            if self.never.intersection(members):
                raise PermissionError(EPERM, "okoomer or the init process is in it")
            if hold.inode not in self._still and control.amount(directory, "cgroup.freeze") == 1:
                raise OSError(EALREADY, "it stands still already")
            if self._still.freeze(mounted + hold.cgroup, directory, hold.inode):
                hold.members = tuple((pid, kernel.ticks(self._proc, pid)) for pid in members[:TOLD])
                hold.directory, directory = directory, -1
        finally:
            if directory >= 0:
                os.close(directory)
        return members

    def _stop(
        self,
        hold: Hold,
        processes: list[Process],
        spares: Callable[[Process], object],
        may: Callable[[int], object] | None,
    ) -> None:
        born = clock.since_boot() - NEWBORN
        stopped: dict[Key, None] = {}
        known = {process.pid for process in processes}
        pending = parents_first(processes)
        patience = Patience(self._proc)
        self.onlookers.hold(hold, processes)
        for _ in range(1 + ROUNDS):
            for process in pending:
                if process.parent in patience.sent:
                    patience.wait(process.parent)
                key = (process.pid, kernel.in_ticks(process.started))
                if process.pid not in self.never and self._still.stop(key):
                    stopped[key] = None
                    patience.sent.add(process.pid)
            children = [child for pid, _ in stopped for child in kernel.children(self._proc, pid) if child not in known]
            known.update(children)
            pending = [
                found
                for child in children
                if (found := look(self._proc, child, frozenset())) and found.started >= born and not spares(found)
            ]
            if not pending:
                break
        for key in [*stopped] if may else ():
            patience.wait(key[0])
            if may and not may(key[0]):
                del stopped[key]
                self._run([key])
        hold.members = tuple(stopped)

    # --- and running again --------------------------------------------------------------------------------------

    def resume(self, hold: Hold, why: str, now: float) -> None:
        """Lets a unit run again, as far as nobody else holds it, and tells of it. Nothing if its hold is over."""
        if not hold.over:
            self._let_go(hold)
            self._emit(Resumed(hold.name, hold.pids, hold.user, hold.cgroup, now - hold.since, why, hold.by))

    def release(self, hold: Hold, now: float) -> None:
        """Lets those of a unit run who have been asked to end, so that they can, without a word."""
        self.let_end(hold.pids)
        if not hold.over:
            self._let_go(hold)

    def let_end(self, pids: Iterable[int]) -> None:
        """Lets processes run that have been asked to end, whoever has stopped them: they are held no longer."""
        ending = set(pids)
        for hold in [*self._holds]:
            if hold.frozen:
                if ending.intersection(hold.pids):
                    self._let_go(hold, ending=True)
                continue
            leaving = [key for key in hold.members if key[0] in ending]
            hold.members = tuple(key for key in hold.members if key[0] not in ending)
            self._run(leaving, ending=True)
            if not hold.members:
                self._let_go(hold)

    def _let_go(self, hold: Hold, ending: bool = False) -> None:
        hold.over = True
        self._holds = [other for other in self._holds if other is not hold]
        if hold.frozen:
            if not any(other.frozen and other.inode == hold.inode for other in self._holds):
                self._still.thaw(hold.inode, hold.directory, ending)
            os.close(hold.directory)
            hold.directory = -1
        else:
            self._run(hold.members)
            self.onlookers.let_go(hold)

    def _run(self, members: Iterable[Key], ending: bool = False) -> None:
        """Children before their parents."""
        others = {key for other in self._holds if not other.frozen for key in other.members}
        for key in reversed([*members]):
            if key in self._still and key not in others:
                self._still.run(key, ending)

    def close(self, why: str, now: float) -> None:
        """Lets all run again, and needs no note any more."""
        for hold in [*self._holds]:
            self.resume(hold, why, now)
        self._still.again()
        self.onlookers.close()
        # Whoever could not be let go is left to the watcher, and to the next guard.
        if not self._still.owes:
            self.note.close()

    # --- what there is ------------------------------------------------------------------------------------------

    def prune(self, now: float) -> None:
        """Forgets those who have ended, and tries once more where somebody could not be let go."""
        self._still.again()
        for hold in [*self._holds]:
            if self.gone(hold):
                self._let_go(hold)

    def gone(self, hold: Hold) -> bool:
        """Whether nobody of a unit is left."""
        if hold.frozen:
            return control.populated(hold.directory) is False
        return not any(lives(self._proc, *key) for key in hold.members)

    def of(self, pid: int, start: int = 0) -> list[Hold]:
        """The holds that a process is in; `start` is its start time in clock ticks, 0 for whatever runs as that pid."""
        start = start or kernel.ticks(self._proc, pid)
        return [hold for hold in self._holds if (pid, start) in hold.members]

    def count(self, by: str) -> int:
        """How many holds there are by somebody's wish."""
        return sum(hold.by == by for hold in self._holds)

    def of_persons(self, by: str = "") -> int:
        """How many processes stand still since persons wish it, or this one does, each as often as it is held."""
        meant = [hold for hold in self._holds if (hold.by == by if by else hold.by.startswith(BY_USER))]
        return sum(len(hold.members) for hold in meant)

    def listing(self, now: float | None = None) -> tuple[tuple[int, int, str, int, float], ...]:
        """Each hold by the process that stands for it: pid, start time in clock ticks, name, user, and seconds."""
        now = self._now() if now is None else now
        return tuple(
            (*(hold.members[0] if hold.members else (0, 0)), hold.name, hold.user, now - hold.since)
            for hold in self._holds
        )


def recover(note: str, guard: str) -> int:
    """What the watcher of an older guard looks for here (see guard.undo)."""
    from okoomer.guard import undo  # nobody else needs it here

    return undo.recover(note, guard=guard)
