"""Load control on this machine: looks at families of jobs while memory is short or somebody waits, has the youngest
wait and the oldest go on as policy.turns decides, and puts those who wait into swap. It stands beside the ladder:
whomever that ends or lets go on is none of its business any more, and while an act is in flight nobody goes on.
"""

from __future__ import annotations

import posix as os
from time import thread_time

from okoomer.events.model import BY_TURNS, Refused, Trouble
from okoomer.guard.ends import Ends
from okoomer.guard.fall import Fall
from okoomer.guard.jobs import by_job, each, key_of
from okoomer.guard.paging import SPARE, Paging, spare_swap
from okoomer.guard.scan import descendants
from okoomer.guard.stop import lives
from okoomer.kernel import clock
from okoomer.kernel import process as kernel
from okoomer.policy.choose import apartness, level_of, protection
from okoomer.policy.demand import STOP, Room
from okoomer.policy.engine import FIRED
from okoomer.policy.jobs import Family, Job, families
from okoomer.policy.metrics import available, effective_swap
from okoomer.policy.spend import spend
from okoomer.policy.turns import Turns
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Protocol

    from okoomer.facts import Process, Snapshot
    from okoomer.guard.hold import Hold, Holds
    from okoomer.guard.scan import Scan
    from okoomer.guard.wake import Wake
    from okoomer.policy.choose import Choice
    from okoomer.policy.engine import Verdict
    from okoomer.policy.jobs import Key
    from okoomer.policy.model import Policy, Rule
    from okoomer.policy.turns import Turn
    from okoomer.record import Record

    class Acts(Protocol):
        """The ladder, which knows what has units stand still (a guard.hold.Holds) by less than is needed here."""

        @property
        def holds(self) -> Any: ...
        def busy(self, now: float) -> bool: ...

    class Looks(Protocol):
        """Finds the processes that matter to a rule."""

        def __call__(self, rule: Rule, snapshot: Snapshot, patient: bool = True) -> Scan: ...


#: Seconds between two looks at the sizes of known jobs, while memory falls and otherwise; and between two at all
#: processes, which take this share of the time at the most, and RARELY while nobody waits and memory does not fall.
SOONEST, CALMLY, FULLY, SHARE, RARELY = 0.1, 0.3, 1.0, 0.05, 30.0
#: The share of the time that they may take while memory falls.
HASTE = 0.25
#: Jobs may be looked at before the rule has fired where less than so many times its level is available.
EARLY = 2.0
#: So many wait at once at the most.
MOST = 192
#: Seconds that somebody has to stand still before he is put into swap.
MOMENT = 0.3
#: Bytes in swap that are not worth to be fetched before somebody goes on, and seconds that this may take.
LITTLE, PATIENCE = 4 << 20, 5.0
#: The share of memory that is available at a level that no condition names.
LEVEL = 0.16


class TakingTurns:
    """See the module.

    Args:
        look: Looks at the processes of the machine whose /proc is at `proc`.
        wake: Wakes the loop when a job ends, so that the next one gets its turn.
        emit: Takes the events.
        me: Our own pid.
        user: Only this user's processes can be paused; None if there is no such limit.
    """

    def __init__(
        self,
        proc: str,
        look: Looks,
        wake: Wake,
        emit: Callable[[Record], None],
        me: int,
        user: int | None,
    ) -> None:
        self._proc = proc
        self._look = look
        self._emit = emit
        self._me = me
        self._user = user
        self._now = clock.monotonic
        self._turns = Turns()
        self._paging = Paging(proc)
        self._told = False
        #: Who waits, and why; who must not; who of those who run has ended; what each had done at the last look.
        self._waiting: dict[Key, tuple[Hold, str]] = {}
        self._kept: set[Key] = set()
        #: Of those who wait, who is to go on as soon as he is back from swap, until when and why.
        self._coming: dict[Key, tuple[float, str]] = {}
        self._ends = Ends(wake)
        self._done: dict[Key, int] = {}
        #: The families at the last look at all processes, the processes of each job, and who must not stand still.
        self._seen: list[Family] = []
        self._members: dict[Key, tuple[int, ...]] = {}
        self._by_pid: dict[int, Process] = {}
        self._stays: Callable[[Process], bool] = lambda process: True
        #: When the next look at all is due, and when the next at sizes.
        self._due = self._next = self._soon = float("-inf")
        self._fall = Fall()
        self._stall: tuple[float, float] | None = None

    # --- for the loop -------------------------------------------------------------------------------------------

    def wait(self) -> float:
        """Seconds until it has to be looked at again."""
        return max(0.001, self._next - self._now()) if self._next > float("-inf") else float("inf")

    @property
    def idle(self) -> bool:
        """Whether nobody waits, and nothing comes to be decided as long as memory stays as it is."""
        return not self._waiting and self._next in (float("-inf"), float("inf"))

    @property
    def knows(self) -> bool:
        """Whether it is known who waits, so that a rule can take jobs in the place of their family."""
        return bool(self._waiting)

    def listing(self, now: float) -> list[tuple[int, str, float, str]]:
        """Who waits: pid, name, seconds, and why."""
        return [(key[0], hold.name, now - hold.since, why) for key, (hold, why) in self._waiting.items()]

    def tend(self, policy: Policy, snapshot: Snapshot, verdict: Verdict, ladder: Acts) -> None:
        """One pass.

        Args:
            ladder: Tells whether an act is in flight, and has what has units stand still (guard.hold.Holds).
        """
        holds: Holds | None = ladder.holds
        index = next((at for at, rule in enumerate(policy.rules) if rule.takes_turns), -1)
        now = snapshot.time
        if holds is None:
            return
        if index < 0:
            for key in [*self._waiting]:
                self._resume(key, "the policy knows no turns any more", holds, now)
            self._forget()
            return
        rule = policy.rules[index]
        total, left = snapshot.memory.total, available(snapshot)
        level = level_of(rule.when, total) or LEVEL * total
        self._fall.take(now, left, total)
        # What falls so fast will have fired in a moment, and then it is late.
        soon = left < EARLY * level and self._fall.short(now, STOP * level)
        fired = soon or verdict.rules[index].state == FIRED
        freed = self._reap(holds, now)
        self._arrive(holds, now)
        if not (fired or self._waiting):
            self._forget()
            return
        falls = self._fall.fallen
        begins = falls and self._next == float("inf")
        if not (freed or begins or now >= min(self._next, self._due)):
            return
        # While memory falls, somebody new may be why.
        if now >= self._due or freed or (falls and now >= self._soon):
            began = thread_time()
            try:
                self._see(rule, policy, snapshot, holds)
            except OSError:
                self._next = now + FULLY  # they cannot be listed, which is told of already
                return
            took = thread_time() - began
            self._soon = now + took / HASTE
            self._due = now + (max(FULLY, took / SHARE) if self._waiting or falls else RARELY)
        else:
            self._seen = self._sized()
        self._fall.looked()
        self._judge(rule, snapshot, self._room(level, snapshot, fired), holds, ladder.busy(now))
        # Nobody will have to wait as long as nothing falls, unless it is short already.
        calmly = CALMLY if self._waiting else FULLY if left < STOP * level else float("inf")
        self._next = self._now() + (SOONEST if falls or self._coming else calmly)

    def instead(self, rule: Rule, choice: Choice, snapshot: Snapshot) -> Choice:
        """A rule's choice, with the youngest jobs in the place of their family (see policy.spend)."""
        if not self.knows:
            return choice
        full = effective_swap(snapshot) <= SPARE * snapshot.swap.total
        return spend(choice, self._seen, self._members, full, rule.tentative)

    # --- one look -----------------------------------------------------------------------------------------------

    def _see(self, rule: Rule, policy: Policy, snapshot: Snapshot, holds: Holds) -> None:
        """Looks at all processes: who is a family, and who does anything.

        Raises:
            OSError: They cannot be listed.
        """
        found = self._look(rule, snapshot, patient=False)
        by_pid = {process.pid: process for process in found.processes}
        protects = protection(rule, policy, by_pid, self._me, user=self._user)
        apart = apartness(rule, policy, by_pid)

        def stays(process: Process) -> bool:
            return bool(process.pid in holds.never or protects(process) or apart(process))

        self._by_pid, self._stays = by_pid, stays
        seen = families(by_pid.values(), stays, snapshot.memory.total, key_of, self._waiting, self._kept)
        there = {job.key for family in seen for job in family.jobs}
        for key in [key for key in self._waiting if key not in there]:
            # What was meant for it, such as a Ctrl-C, waits as long as it does.
            self._resume(key, "whoever has started it is gone", holds, snapshot.time)
        self._members = by_job(seen, self._by_pid)
        seen = each(seen, lambda job: replace(job, waiting=self._waits(job.key)))
        if self._waiting:
            before, self._done = (
                self._done,
                {
                    job.key: sum(kernel.worked(self._proc, pid) for pid in self._members[job.key])
                    for family in seen
                    for job in family.jobs
                    if not job.waiting
                },
            )
            seen = each(seen, lambda job: replace(job, active=self._acts(job.key, before)))
        self._seen = seen
        self._watch(seen)

    def _acts(self, key: Key, before: Mapping[Key, int]) -> bool:
        """Whether a job has done anything since all were looked at before; not while it comes back from swap."""
        return key not in self._coming and self._done.get(key) != before.get(key)

    def _sized(self) -> list[Family]:
        """The families as they were, with the sizes of now; those who have ended are gone."""

        def sized(job: Job) -> Job:
            now = sum(kernel.private(self._proc, pid) for pid in self._members[job.key])
            waits = self._waits(job.key)
            active = (job.active or now != job.resident) and job.key not in self._coming
            # What comes back from swap was its own before.
            return replace(job, size=max(job.size, now), resident=now, waiting=waits, active=active)

        seen = each(self._seen, sized)
        return [
            replace(family, jobs=tuple(job for job in family.jobs if job.resident or job.waiting)) for family in seen
        ]

    def _judge(self, rule: Rule, snapshot: Snapshot, room: Room, holds: Holds, busy: bool) -> None:
        """Decides by what was seen, and does it."""
        turn = self._turns.decide(snapshot.time, clock.since_boot(), room, self._seen)
        # First all are stopped, then it is told: whoever hears of it wants to run, too.
        told: list[Record] = []
        for family, job, why in turn.pause:
            self._have_wait(rule, family, job, why, holds, snapshot.time, told.append)
        for event in told:
            self._emit(event)
        if not busy:
            alone = all(self._waits(job.key) for family in self._seen for job in family.jobs)
            for _, job, why in turn.resume:
                self._have_go_on(job, why, alone, holds, snapshot.time)
        if turn.pause or turn.resume:
            self._seen = each(self._seen, lambda job: replace(job, waiting=self._waits(job.key)))
        self._to_swap(turn, snapshot.time)
        if turn.hopeless:
            self._emit(Refused(rule.name, turn.hopeless, ()))

    def _room(self, level: float, snapshot: Snapshot, fired: bool) -> Room:
        swap = spare_swap(snapshot)
        some = snapshot.memory_pressure.some.total - snapshot.excused[0] if snapshot.memory_pressure else 0.0
        before, self._stall = self._stall, (snapshot.time, some)
        stalled = 0.0
        if before and snapshot.time > before[0]:
            stalled = (some - before[1]) / (snapshot.time - before[0])
        return Room(available(snapshot), int(level), max(0, swap), stalled, fired, os.cpu_count() or 1)

    # --- doing it -----------------------------------------------------------------------------------------------

    def _have_wait(
        self,
        rule: Rule,
        family: Family,
        job: Job,
        why: str,
        holds: Holds,
        now: float,
        tell: Callable[[Record], None],
    ) -> None:
        if job.key in self._coming:
            del self._coming[job.key]  # it stands still as yet
            return
        root = self._by_pid.get(job.key[0])
        if root is None or len(self._waiting) >= MOST:
            return
        stays = self._stays
        unit = [root, *descendants(self._proc, [root.pid], {root.pid}, frozenset(), stays)]
        hold = holds.pause(BY_TURNS + rule.name, job.name, unit, "", 0, family.user, now, stays, emit=tell)
        if hold is None:
            self._kept.add(job.key)  # it stands still already by somebody's wish, or cannot be stopped
            return
        self._waiting[job.key] = hold, f"{family.name} has more than fits: {why}"
        self._ends.drop(job.key)

    def _have_go_on(self, job: Job, why: str, alone: bool, holds: Holds, now: float) -> None:
        """A job goes on, at once if it is there or nobody else runs; else when it is back from swap in one go, which
        takes much less than page by page as it is missed."""
        found = self._waiting.get(job.key)
        if found is None:
            return
        if job.size - job.resident > LITTLE:
            self._paging.fetch(found[0].members)
            if not alone:
                self._coming[job.key] = now + PATIENCE, why
                return
        self._resume(job.key, why, holds, now)

    def _arrive(self, holds: Holds, now: float) -> None:
        """Who is back from swap, or has not come for too long, goes on; the first one, too, if nobody else runs."""
        alone = all(job.key in self._waiting for family in self._seen for job in family.jobs)
        for key, (until, why) in [*self._coming.items()]:
            if key not in self._waiting:
                del self._coming[key]
            elif alone or now >= until or self._paging.fetched(self._waiting[key][0].members):
                self._resume(key, why, holds, now)
                alone = False

    def _resume(self, key: Key, why: str, holds: Holds, now: float) -> None:
        self._coming.pop(key, None)
        hold, _ = self._waiting.pop(key)
        if not hold.over:
            holds.resume(hold, why, now)

    def _waits(self, key: Key) -> bool:
        return key in self._waiting and key not in self._coming

    def _to_swap(self, turn: Turn, now: float) -> None:
        order = [self._waiting[key][0] for key in turn.order if key in self._waiting]
        ready = [member for hold in order if now - hold.since >= MOMENT for member in hold.members]
        if turn.page_out and ready:
            self._paging.put_out(ready, turn.page_out, self._cgroup)
        if self._paging.trouble and not self._told:
            self._told = True
            self._emit(Trouble(f"who waits cannot be put into swap: {self._paging.trouble}"))

    def _cgroup(self, key: Key) -> str:
        return self._by_pid[key[0]].cgroup if key[0] in self._by_pid else kernel.cgroup(self._proc, key[0])

    # --- who is there -------------------------------------------------------------------------------------------

    def _reap(self, holds: Holds, now: float) -> bool:
        """Forgets those who have ended, and those who wait no longer by others' doing. Whether there are such."""
        freed = False
        for key, (hold, _) in [*self._waiting.items()]:
            if hold.over:
                del self._waiting[key]
                freed = True
                if lives(self._proc, *key):
                    self._kept.add(key)
        freed = self._ends.take() or freed
        if freed:
            holds.prune(now)
        return freed

    def _watch(self, seen: Iterable[Family]) -> None:
        there = {job.key for family in seen for job in family.jobs}
        self._kept &= there
        self._ends.watch([key for key in there if key not in self._waiting] if self._waiting else ())

    def _forget(self) -> None:
        if self._next == float("-inf"):
            return
        self._ends.watch(())
        self._seen, self._members, self._by_pid, self._done, self._stall = [], {}, {}, {}, None
        self._due = self._next = float("-inf")
