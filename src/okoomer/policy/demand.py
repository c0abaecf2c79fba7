"""What is left once those who run have what they will take, and who fits: an instant of load control, and what becomes
of it with each decision. Pure.
"""

from __future__ import annotations

from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from okoomer.policy.careers import Careers
    from okoomer.policy.jobs import Family, Job

#: Of the level that the rule fires at so much has to be left: or somebody is paused; so that somebody goes on; and the
#: same where some of its family have ended, so that it is known what it needs.
STOP, GO, GO_KNOWN = 1 / 3, 1 / 2, 2 / 5
#: Who may still take less than this part of the level is not paused for it.
WORTH = 256
#: Seconds ahead for which growth is taken to go on.
AHEAD = 3.5
#: Seconds that a job goes on at least before it is paused again, unless next to nothing is left.
CALM = 3.0
#: As long as nobody knows how far a family grows, who waits is taken to need so many times as much as any has.
DOUBT = 2.0
#: One that has less than this share of what it will need has just begun.
CRUMB = 0.25


class Room(Record):
    """What is there: bytes available, the bytes at which the rule fires, the bytes of swap that may be filled with
    those who wait, the share of time that somebody waited for memory, whether the rule has fired, and processors."""

    available: int
    level: int
    swap: int = 0
    stalled: float = 0.0
    crowded: bool = False
    processors: int = 64


class Look:
    """An instant, and what becomes of it with each decision.

    Attributes:
        left: Bytes that are left once the running ones have what they will take.
        running: How many may run, and `active` how many of those do.
    """

    def __init__(self, careers: Careers, now: float, room: Room, families: Sequence[Family]) -> None:
        self._careers = careers
        self.now = now
        self.room = room
        self._running = [(family, job) for family in families for job in family.jobs if not job.waiting]
        self._peaks = {family.key: careers.peak(family) for family in families}
        self._sure = {family.key for family in families if careers.sure(family)}
        self._wants = {job.key: self._demand(family, job) for family, job in self._running}
        #: By how many bytes per second each grows of whom it is not known where that ends.
        self._growth = {
            job.key: careers[job.key].growth for family, job in self._running if not self._ends(family, job)
        }
        self._growing, self._all = len(self._growth), sum(self._growth.values())

    @property
    def left(self) -> int:
        there = [self._wants[key] for key in self._wants if key not in self._growth]
        needs = [self.need(family, job) for family, job in self._running if job.key in self._growth]
        # Whoever goes on gets the processors of those who are paused, and grows by what they did.
        share = min(1.0, len(self._growth) / max(1, min(self._growing, self.room.processors)))
        return self.room.available - sum(there) - max(sum(needs), int(AHEAD * self._all * share))

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def active(self) -> int:
        return sum(self._acts(job) for _, job in self._running)

    def _acts(self, job: Job) -> bool:
        return self._careers[job.key].acts(self.now)

    def need(self, family: Family, job: Job) -> int:
        """Bytes that a job lacks of what the largest had. As long as all of a family grow and nobody knows how far, one
        who waits is taken to need more: it would be paused again a moment later, with much that has to go to swap."""
        doubt = DOUBT if job.waiting and family.key not in self._sure else 1.0
        return max(0, int(doubt * self._peaks[family.key]) - job.resident)

    def _demand(self, family: Family, job: Job) -> int:
        """Bytes that a running job may still take."""
        known = self._careers[job.key]
        # Who works on without growth has what it needs, and gets back what was taken from it.
        need = max(0, known.most - job.resident) if known.settled else self.need(family, job)
        return need if self._ends(family, job) else max(need, int(known.growth * AHEAD))

    def _ends(self, family: Family, job: Job) -> bool:
        """Whether it is known where a job's growth ends: it has, or some of its family have come to their end."""
        return self._careers[job.key].settled or (self._careers.knows(family) and job.size < self._peaks[family.key])

    def shares(self, family: Family) -> tuple[float, float]:
        """The bytes that the running ones of a family's user have or will have, and those of the family."""
        users = [self._peaks[other.key] for other, _ in self._running if other.user == family.user]
        own = sum(other.key == family.key for other, _ in self._running)
        return float(sum(users)), float(own * self._peaks[family.key])

    def fits(self, family: Family, job: Job, instead: tuple[Family, Job] | None = None) -> bool:
        """Whether there is room for a waiting job; or would be instead of a running one, as soon as that is in swap."""
        left = self.left - self.need(family, job) - self.enough(family)
        if instead is None:
            return left >= 0
        victim = instead[1]
        return left + self._wants[victim.key] + min(victim.resident, self.room.swap) >= 0

    def enough(self, family: Family) -> int:
        """The bytes that have to be left for one of a family to go on."""
        return int((GO_KNOWN if self._careers.knows(family) else GO) * self.room.level)

    def youngest(
        self,
        hurry: bool = False,
        older: float = float("-inf"),
        calm: float = CALM,
        crumbs: bool = False,
        last: bool = False,
        wants: int = 0,
    ) -> tuple[Family, Job] | None:
        """The running one that is to make room: the youngest of the family that has most; None if all others stand or
        do nothing.

        Args:
            hurry: However short it has been running.
            older: It has to be born after that.
            calm: It has run for so many seconds.
            crumbs: It has to be small still.
            last: It may be the only one that runs.
            wants: It may still take so many bytes.
        """
        found = []
        for family, job in self._running:
            if job.kept or job.born < older or self._wants[job.key] < wants:
                continue
            if crumbs and job.size >= CRUMB * self._peaks[family.key]:
                continue
            # Somebody else has to run, really run.
            if last or any(self._acts(other) for _, other in self._running if other.key != job.key):
                found.append((family, job))
        best = max(found, key=lambda pair: (*self.shares(pair[0]), pair[1].born, pair[1].key), default=None)
        if best is None or hurry or self.now - self._careers[best[1].key].resumed >= calm:
            return best
        return None

    def stop(self, family: Family, job: Job) -> None:
        """A job waits from now on."""
        self._running = [pair for pair in self._running if pair[1].key != job.key]
        del self._wants[job.key]
        self._growth.pop(job.key, None)

    def go(self, family: Family, job: Job) -> None:
        """A job goes on."""
        self._running.append((family, job))
        self._wants[job.key] = self.need(family, job)
