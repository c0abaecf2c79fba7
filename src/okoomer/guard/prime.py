"""Priming: while memory is short the kernel's own killer, should it come first, is to take whom okoomer would take.

That process' oom_score_adj is raised, of one at a time and only if it is 0: whoever has set another has an order of its
own, as browsers for their tabs. It is noted before (see guard.note), and put back when somebody else is chosen, when
memory is not short any more and when the guard ends, in whatever way. Who is born meanwhile inherits it: children are
looked for at each look, and all that have it when memory is not short any more.
"""

from __future__ import annotations

import posix as os
from errno import EACCES, EPERM, EROFS

from okoomer.events.model import Primed, Trouble
from okoomer.guard.doze import CALM
from okoomer.guard.scan import RAISED
from okoomer.kernel import adjustment, clock
from okoomer.kernel.adjustment import lower, lower_born
from okoomer.kernel.capabilities import CAP_SYS_RESOURCE, without
from okoomer.kernel.process import TICKS, children, in_ticks
from okoomer.policy.choose import level_of
from okoomer.policy.engine import QUIET
from okoomer.policy.metrics import available

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.facts import Process, Snapshot
    from okoomer.guard.note import Note
    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Policy
    from okoomer.record import Record

#: Memory is short below so many times the highest level at which a rule ends somebody, if one could fire within SOON
#: seconds; and no longer above so many times that, or when the loop begins to doze.
SHORT, OVER = 2.0, 2.5
SOON = 0.5
#: The share of memory that is such a level where no rule names one.
LEVEL = 0.04
#: Seconds between two looks for whom it is to be.
LOOK_AGAIN = 5.0
#: So many below the process are looked at each time: who has inherited what it has.
BORN = 256


class Primes:
    """See the module.

    Args:
        proc: Where /proc is.
        note: Takes what has to be put back.
        emit: Takes the events.
    """

    def __init__(self, proc: str, note: Note, emit: Callable[[Record], None]) -> None:
        self._proc = proc
        self._note = note
        self._emit = emit
        self._off = False
        self._looked = float("-inf")
        #: Who is raised, its slot, and a descriptor of its directory in /proc.
        self._who: Process | None = None
        self._slot = self._directory = -1
        #: Since when somebody could have been born who has inherited it, in clock ticks since boot; -1 if nobody could.
        self._since = -1

    @property
    def who(self) -> Process | None:
        """Who is raised now; it may have ended since the last look."""
        return self._who

    def due(self, now: float) -> bool:
        """Whether it is time to look for whom it is to be.

        Args:
            now: On the clock of snapshots.
        """
        return not self._off and now - self._looked >= LOOK_AGAIN

    def short(self, policy: Policy, snapshot: Snapshot, verdict: Verdict) -> bool:
        """Whether memory is so short that somebody is to be raised, or to stay so."""
        if not policy.prime:
            return False
        judged = zip(policy.rules, verdict.rules, strict=True)
        if any(one.state != QUIET and not rule.only_warns for rule, one in judged):
            return True
        if verdict.soonest >= (CALM if self._who else SOON):
            return False
        total = snapshot.memory.total
        rules = (rule for rule in policy.rules if not rule.only_warns)
        levels = (level for rule in rules if (level := level_of(rule.when, total)) is not None)
        return available(snapshot) < max(levels, default=LEVEL * total) * (OVER if self._who else SHORT)

    def first(self, processes: tuple[Process, ...], now: float) -> None:
        """Raises the largest of the unit that would be taken now, unless one that is raised already is in it and has
        half as much.

        Args:
            processes: The unit; none if there is nobody.
            now: On the clock of snapshots.
        """
        self._looked = now
        if self._off:
            return
        largest, before = max(processes, key=lambda one: one.held, default=None), self._who
        if before:
            same = next((one for one in processes if identity(one) == identity(before)), None)
            if largest and same and same.held * 2 >= largest.held and self._has():
                self._lower_below(same.pid)
                return
        had = self._put_back()
        if largest and largest.adjustment == 0:
            self._raise(largest)
        if before and had and not self._who:
            self._tell(before, 0)

    def release(self) -> None:
        """Memory is not short any more, or the guard ends: everybody is as before."""
        if self._since < 0:
            return
        before = self._who
        had = self._put_back()
        try:
            lower_born(self._proc, self._since, 0, RAISED)
        except OSError:
            pass  # /proc cannot be listed
        self._since, self._looked = -1, float("-inf")
        if before and had:
            self._tell(before, 0)

    # --- one process ------------------------------------------------------------------------------------------------

    def _raise(self, process: Process) -> None:
        pid, start = process.pid, in_ticks(process.started)
        since = self._since if self._since >= 0 else int(clock.since_boot() * TICKS)
        slot = directory = -1
        try:
            directory = adjustment.enter(self._proc, pid, start)
            if adjustment.get(directory) == 0:
                slot = self._note.add_adj(pid, start, 0, RAISED, since)
                _put(directory, RAISED)
        except OSError as error:
            if slot >= 0:
                self._note.clear(slot)
                slot = -1
            if error.errno in (EACCES, EPERM, EROFS):
                self._off = True
                why = f"oom_score_adj of {process.name} (pid {pid}): {error.strerror}"
                self._emit(Trouble(f"the kernel's own killer is not told whom to take: {why}"))
        if slot < 0:
            if directory >= 0:
                os.close(directory)
            return
        self._who, self._slot, self._directory, self._since = process, slot, directory, since
        self._tell(process, RAISED)

    def _tell(self, process: Process, value: int) -> None:
        self._emit(Primed(process.name, process.pid, process.user, process.cgroup, value))

    def _has(self) -> bool:
        """Whether who is raised is still there, and has what we gave it."""
        try:
            return adjustment.get(self._directory) == RAISED
        except OSError:
            return False

    def _put_back(self) -> bool:
        """Whoever is raised, and those below it, are as before; the others who were born to it are found at the end.
        Whether it had what we gave it until now."""
        if self._who is None:
            return False
        had = self._has()
        try:
            if had:
                _put(self._directory, 0)
        except OSError:
            had = False  # it has just ended
        self._lower_below(self._who.pid)
        os.close(self._directory)
        self._note.clear(self._slot)
        self._who, self._slot, self._directory = None, -1, -1
        return had

    def _lower_below(self, pid: int) -> None:
        pending = [pid]
        for parent in pending:
            for child in children(self._proc, parent):
                if len(pending) > BORN:
                    return
                pending.append(child)
                lower(self._proc, child, 0, RAISED)


def _put(directory: int, value: int) -> None:
    """Sets it without CAP_SYS_RESOURCE: with that the kernel takes it as the lowest that the process, and whoever is
    born to it, may choose for itself from now on. A browser would be refused its tabs' own."""
    without(CAP_SYS_RESOURCE, lambda: adjustment.put(directory, value))


def identity(process: Process) -> tuple[int, float]:
    """What a pid that is used again does not have."""
    return process.pid, process.started
