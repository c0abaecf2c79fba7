"""What is remembered of jobs from one look to the next: what each has held, how fast it grows, when it did anything and
when it last went on; and of families, what those who have ended needed. Pure.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from okoomer.policy.jobs import Family, Job, Key, Which

#: One that is younger than these seconds, and seen for the first time, has grown to what it is.
YOUNG = 10.0
#: Seconds over which growth is taken, so that a step is no trend, and over which it is forgotten: who gets no processor
#: for a moment grows on.
SMOOTH, FADING = 0.2, 0.6
#: Seconds of work without growth after which a job has what it needs.
SETTLED = 3.0
#: Seconds without CPU time, growth or faults after which a job that may run does not: it waits for somebody.
IDLE = 3.0
#: So many of a family that have ended are remembered for what they needed.
ENDED = 8


class Career:
    """What is remembered of a job."""

    __slots__ = ("acted", "calm", "coming", "growth", "most", "resumed", "seen", "since", "size")

    def __init__(self, job: Job, now: float, age: float) -> None:
        self.size = self.most = job.size
        self.seen = now
        #: Bytes per second; of one that was never seen before, what it must have grown by.
        self.growth = job.size / max(age, 0.1) if age < YOUNG else 0.0
        #: Seconds that it has worked without growing.
        self.calm = min(max(age, 0.0), SETTLED)
        #: When it last did anything, since when it waits, and when it last went on.
        self.acted = now
        self.since = now
        self.resumed = float("-inf")
        #: It may go on, and has not done anything since: it comes back from swap.
        self.coming = False

    def acts(self, now: float) -> bool:
        """Whether it really runs."""
        return now - self.acted < IDLE

    @property
    def settled(self) -> bool:
        """Whether it works on without growth, and so has what it needs."""
        return self.calm >= SETTLED


class Careers:
    """All that is remembered. Indexed by a job's key."""

    def __init__(self) -> None:
        self._known: dict[Key, Career] = {}
        self._families: dict[Which, tuple[Key, ...]] = {}
        self._ended: dict[Which, list[int]] = {}
        self._now = float("-inf")

    def __getitem__(self, key: Key) -> Career:
        return self._known[key]

    def peak(self, family: Family) -> int:
        """The bytes that each of a family will need: the most that any has held."""
        held = [self._known[job.key].most for job in family.jobs if job.key in self._known]
        return max((*held, *self._ended.get(family.key, ())), default=0)

    def knows(self, family: Family) -> bool:
        """Whether some of a family have ended, so that it is known what the others will need."""
        return bool(self._ended.get(family.key))

    def sure(self, family: Family) -> bool:
        """Whether it is: some have ended, or whoever has as much as any grows no more."""
        enough = 0.9 * self.peak(family)
        known = [self._known[job.key] for job in family.jobs if job.key in self._known]
        return self.knows(family) or any(one.settled and one.most >= enough for one in known)

    def waited(self, key: Key) -> float:
        """Seconds that a job has waited."""
        return self._now - self._known[key].since if key in self._known else 0.0

    def take(self, now: float, since_boot: float, families: Sequence[Family]) -> bool:
        """Takes in what is seen at an instant (see policy.turns). Whether somebody has ended since the last."""
        there = {job.key for family in families for job in family.jobs}
        some = False
        for which, keys in self._families.items():
            for key in keys:
                if key not in there and key in self._known:
                    ended = [*self._ended.get(which, ()), self._known.pop(key).most]
                    self._ended[which] = ended[-ENDED:]
                    some = True
        self._families = {family.key: tuple(job.key for job in family.jobs) for family in families}
        self._ended = {which: ended for which, ended in self._ended.items() if which in self._families}
        # Nobody was looked at for a long time: what was then says nothing.
        stale = now - self._now > 2 * IDLE
        for family in families:
            for job in family.jobs:
                self._take(job, now, since_boot, stale)
        self._now = now
        return some

    def _take(self, job: Job, now: float, since_boot: float, stale: bool) -> None:
        known = self._known.get(job.key)
        if known is None:
            self._known[job.key] = known = Career(job, now, since_boot - job.born)
        elif now - known.seen >= 0.1 and not job.waiting:
            age = now - known.seen
            rate = 0.0 if stale else max(0.0, job.size - known.size) / age
            known.growth += (rate - known.growth) * age / (age + (SMOOTH if rate > known.growth else FADING))
            if rate * SETTLED > 0.02 * job.size:
                known.calm = 0.0
            elif job.active:
                known.calm += age
        if now - known.seen >= 0.1 or job.waiting:
            known.seen, known.size = now, job.size
        known.most = max(known.most, job.size)
        if known.coming and not job.waiting:
            # It begins when it is there: until then it has neither worked nor rested.
            known.resumed = now
            known.coming = not job.active
        if job.active or stale:
            known.acted = now

    def paused(self, job: Job) -> None:
        """A job waits from now on."""
        self._known[job.key].since = self._now

    def resumed(self, job: Job) -> None:
        """A job goes on. How fast it grew when it was paused says nothing any more."""
        known = self._known[job.key]
        known.growth = 0.0
        known.resumed = known.acted = self._now
        known.calm, known.coming = 0.0, True
