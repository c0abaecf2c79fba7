"""Load control: of a family of jobs that together need more than there is as many run as fit, and the others wait for
their turn. Pure: jobs and room in, who is to wait and who is to go on out.

The oldest run and the youngest wait, so that somebody gets done. What each will need is the largest one seen of its
family. Somebody is paused before memory has run out: when what is there, less what the running ones may still take, is
less than a third of the level that the rule fires at. Somebody goes on only if clearly more would be left, so that
nothing flutters between the two.
"""

from __future__ import annotations

from okoomer.policy.jobs import Family, Job, Key
from okoomer.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Of the level that the rule fires at so much has to be left: or somebody is paused; so that somebody goes on; and the
#: same where some of its family have ended, so that it is known what it needs.
STOP, GO, GO_KNOWN = 1 / 3, 1 / 2, 2 / 5
#: Who may still take less than this part of the level is not paused for it.
WORTH = 256
#: Seconds ahead for which growth is taken to go on.
AHEAD = 1.5
#: One that is younger than these seconds, and seen for the first time, has grown to what it is.
YOUNG = 10.0
#: Seconds over which growth is taken, so that a step is no trend.
SMOOTH = 0.2
#: Seconds of work without growth after which a job has what it needs.
SETTLED = 3.0
#: Seconds without CPU time, growth or faults after which a job that may run does not: it waits for somebody.
IDLE = 3.0
#: Seconds that all who may run stand still before the oldest waiting one goes on whether it fits or not.
NOBODY = 1.0
#: Seconds that a job waits before the youngest running one has to make room for it, and that this one has run then.
AGED, RUN = 30.0, 10.0
#: Seconds that a job goes on at least before it is paused again, unless next to nothing is left.
CALM = 3.0
#: One that is younger than a waiting one, and has less than this share of what it will need, makes room at once, once
#: the older has waited so many seconds.
CRUMB, PASSED = 0.25, 2.0
#: Seconds between two pauses for stalls alone, and the share of time that somebody has to wait for memory.
STALLS, STALLED = 1.0, 0.1
#: So many of a family that have ended are remembered for what they needed.
ENDED = 8
#: Seconds in which nobody ended or went on, after which it is said that this comes to nothing, and after which the next
#: one goes on if only there is room for itself.
HOPELESS, STALE = 20.0, 60.0


class Room(Record):
    """What is there: bytes available, the bytes at which the rule fires, the bytes of swap that may be filled with
    those who wait, the share of time that somebody waited for memory, whether the rule has fired, and processors."""

    available: int
    level: int
    swap: int = 0
    stalled: float = 0.0
    crowded: bool = False
    processors: int = 64


class Turn(Record):
    """What is to be done: who is to wait, who goes on, each with why; how many bytes of those who wait should go to
    swap, and of whom first. `hopeless` says in words why all this comes to nothing, else it is empty."""

    pause: tuple[tuple[Family, Job, str], ...] = ()
    resume: tuple[tuple[Family, Job, str], ...] = ()
    page_out: int = 0
    order: tuple[Key, ...] = ()
    hopeless: str = ""


class _Known:
    """What is remembered of a job."""

    __slots__ = ("acted", "grew", "growth", "most", "resumed", "seen", "since", "size")

    def __init__(self, job: Job, now: float, age: float) -> None:
        self.size = self.most = job.size
        self.seen = now
        #: Bytes per second; of one that was never seen before, what it must have grown by.
        self.growth = job.size / max(age, 0.1) if age < YOUNG else 0.0
        self.grew = now - min(max(age, 0.0), SETTLED)
        #: When it last did anything, since when it waits, and when it last went on.
        self.acted = now
        self.since = now
        self.resumed = float("-inf")


class Turns:
    """Decides, look by look."""

    def __init__(self) -> None:
        self._known: dict[Key, _Known] = {}
        self._families: dict[Key, tuple[Key, ...]] = {}
        self._ended: dict[Key, list[int]] = {}
        self._now = float("-inf")
        self._ran = float("-inf")
        self._stalled = float("-inf")
        #: When somebody ended or went on last, or began to wait.
        self._progress = float("inf")
        self._told = False

    def peak(self, family: Family) -> int:
        """The bytes that each of a family will need: the most that any has held."""
        held = [self._known[job.key].most for job in family.jobs if job.key in self._known]
        return max((*held, *self._ended.get(family.forker, ())), default=0)

    def knows(self, family: Family) -> bool:
        """Whether some of a family have ended, so that it is known what the others will need."""
        return bool(self._ended.get(family.forker))

    def waited(self, key: Key) -> float:
        """Seconds that a job has waited."""
        return self._now - self._known[key].since if key in self._known else 0.0

    def decide(self, now: float, since_boot: float, room: Room, families: Sequence[Family]) -> Turn:
        """What is to be done at an instant.

        Args:
            now: Seconds on a clock that stands still while the machine sleeps.
            since_boot: The same instant in seconds since boot, as jobs are born.
        """
        self._take(now, since_boot, families)
        waiting = [(family, job) for family in families for job in family.jobs if job.waiting]
        look = _Look(self, now, room, families)
        if look.active:
            self._ran = now
        turn = Turn()
        if room.crowded or waiting:
            turn = self._pause(look, waiting)
        if waiting and not turn.pause:
            turn = self._resume(look, waiting)
        elif waiting and not look.running:
            turn = replace(turn, resume=self._resume(look, waiting).resume)
        if turn.pause or turn.resume or not waiting or self._progress > now:
            self._progress = now
        if turn.resume or not waiting:
            self._told = False
        return turn

    # --- what is remembered -------------------------------------------------------------------------------------

    def _take(self, now: float, since_boot: float, families: Sequence[Family]) -> None:
        there = {job.key for family in families for job in family.jobs}
        for forker, keys in self._families.items():
            for key in keys:
                if key not in there and key in self._known:
                    ended = [*self._ended.get(forker, ()), self._known.pop(key).most]
                    self._ended[forker] = ended[-ENDED:]
                    self._progress = now
        self._families = {family.forker: tuple(job.key for job in family.jobs) for family in families}
        self._ended = {forker: ended for forker, ended in self._ended.items() if forker in self._families}
        # Nobody was looked at for a long time: what was then says nothing.
        stale = now - self._now > 2 * IDLE
        for family in families:
            for job in family.jobs:
                known = self._known.get(job.key)
                if known is None:
                    self._known[job.key] = known = _Known(job, now, since_boot - job.born)
                elif now - known.seen >= 0.1 and not job.waiting:
                    age = now - known.seen
                    rate = 0.0 if stale else max(0.0, job.size - known.size) / age
                    known.growth += (rate - known.growth) * age / (age + SMOOTH)
                    if known.growth * SETTLED > 0.02 * job.size:
                        known.grew = now
                if now - known.seen >= 0.1 or job.waiting:
                    known.seen, known.size = now, job.size
                known.most = max(known.most, job.size)
                if job.active or stale:
                    known.acted = now
        self._now = now

    def _paused(self, job: Job) -> None:
        known = self._known[job.key]
        known.since = self._now

    def _resumed(self, job: Job) -> None:
        known = self._known[job.key]
        known.resumed = known.acted = known.grew = self._now

    # --- deciding -----------------------------------------------------------------------------------------------

    def _pause(self, look: _Look, waiting: list[tuple[Family, Job]]) -> Turn:
        """Who is to wait now: the youngest of whoever has most, one after the other."""
        room, chosen = look.room, []
        low = int(STOP * room.level)
        while look.left < low and (found := look.youngest(hurry=room.available < low // 2, wants=room.level // WORTH)):
            chosen.append((*found, "what the running ones may still take is more than there is"))
            look.stop(*found)
        stalls = room.available < low and room.stalled > STALLED and look.now - self._stalled >= STALLS
        # Nobody grows, and yet there is not enough: what is paged out of one who waits is room for the others.
        if not chosen and stalls and room.swap > 0 and (found := look.youngest()):
            self._stalled = look.now
            chosen.append((*found, "what runs comes back to more than there is"))
            look.stop(*found)
        if not chosen and waiting:
            chosen += self._make_room(look, waiting)
        for _, job, _ in chosen:
            self._paused(job)
        if not chosen:
            return Turn()
        page_out, order = self._page_out(look, waiting)
        return Turn(pause=tuple(chosen), page_out=page_out, order=order)

    def _make_room(self, look: _Look, waiting: list[tuple[Family, Job]]) -> list[tuple[Family, Job, str]]:
        """The youngest running one, if the next one has waited too long for it."""
        family, job = self._next(look, waiting)
        if look.fits(family, job):
            return []
        waited = self.waited(job.key)
        crumb = look.youngest(older=job.born, crumbs=True)
        if waited >= PASSED and crumb and look.fits(family, job, crumb):
            return [(*crumb, f"{job.name} was there before and waits")]
        # The last one that runs makes room, too: the other begins as soon as it stands.
        found = look.youngest(older=job.born, calm=RUN, last=True) or look.youngest(calm=AGED, last=True)
        if waited >= AGED and found and look.fits(family, job, found):
            return [(*found, f"{job.name} has waited for {waited:.0f} s and takes its place")]
        return []

    def _resume(self, look: _Look, waiting: list[tuple[Family, Job]]) -> Turn:
        """Who goes on now, and what has to go to swap for the next."""
        chosen: list[tuple[Family, Job, str]] = []
        rest = list(waiting)
        while rest:
            family, job = self._next(look, rest)
            if look.fits(family, job):
                why = "there is room for it"
            elif not chosen and (not look.running or (not look.active and self._now - self._ran >= NOBODY)):
                why = "nobody else runs"
                self._ran = self._now
            elif not chosen and self._now - self._progress >= STALE and look.room.available > look.need(family, job):
                why = "nothing has changed for a long time"
            else:
                break
            chosen.append((family, job, why))
            rest = [pair for pair in rest if pair[1].key != job.key]
            look.go(family, job)
        for _, job, _ in chosen:
            self._resumed(job)
        page_out, order = self._page_out(look, rest)
        return Turn(resume=tuple(chosen), page_out=page_out, order=order, hopeless=self._hopeless(look, rest))

    def _next(self, look: _Look, waiting: list[tuple[Family, Job]]) -> tuple[Family, Job]:
        """Whose turn it is: of each family the oldest; of those who has waited too long, else of the family that has
        least."""
        first: dict[tuple[Key, int], tuple[Family, Job]] = {}
        for family, job in sorted(waiting, key=lambda pair: (pair[1].born, pair[1].key)):
            first.setdefault((family.forker, family.user), (family, job))

        def rank(pair: tuple[Family, Job]) -> tuple[float, float, float, float, Key]:
            family, job = pair
            waited = self.waited(job.key)
            return (-waited if waited >= AGED else 0.0, *look.shares(family), job.born, job.key)

        return min(first.values(), key=rank)

    def _page_out(self, look: _Look, waiting: list[tuple[Family, Job]]) -> tuple[int, tuple[Key, ...]]:
        """What is missing for the next one, taken from those whose turn comes last."""
        if not waiting or look.room.swap <= 0:
            return 0, ()
        family, job = self._next(look, waiting)
        missing = look.enough(family) + look.need(family, job) - look.left
        last = sorted((other for _, other in waiting if other.key != job.key), key=lambda other: -other.born)
        return max(0, min(missing, look.room.swap)), tuple(other.key for other in last)

    def _hopeless(self, look: _Look, waiting: list[tuple[Family, Job]]) -> str:
        if self._told or not waiting or self._now - self._progress < HOPELESS:
            return ""
        if look.room.available >= STOP * look.room.level or look.running > 1:
            return ""
        self._told = True
        rest = "swap is full" if look.room.swap <= 0 else "what waits is in swap"
        return f"one job alone needs more than there is, and {rest}: waiting for turns does not help"


class _Look:
    """An instant, and what becomes of it with each decision.

    Attributes:
        left: Bytes that are left once the running ones have what they will take.
        running: How many may run, and `active` how many of those do.
    """

    def __init__(self, turns: Turns, now: float, room: Room, families: Sequence[Family]) -> None:
        self._turns = turns
        self.now = now
        self.room = room
        self._running = [(family, job) for family in families for job in family.jobs if not job.waiting]
        self._peaks = {family.forker: turns.peak(family) for family in families}
        self._wants = {job.key: self._demand(family, job) for family, job in self._running}
        #: By how many bytes per second each grows of whom it is not known where that ends.
        self._growth = {
            job.key: turns._known[job.key].growth for family, job in self._running if not self._ends(family, job)
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
        return self.now - self._turns._known[job.key].acted < IDLE

    def need(self, family: Family, job: Job) -> int:
        """Bytes that a job lacks of what the largest had; at least what it will grow by if nobody has ended yet."""
        lacks = max(0, self._peaks[family.forker] - job.resident)
        grows = job.waiting and not self._turns.knows(family)
        return max(lacks, int(self._turns._known[job.key].growth * AHEAD)) if grows else lacks

    def _demand(self, family: Family, job: Job) -> int:
        """Bytes that a running job may still take."""
        known = self._turns._known[job.key]
        # Who works on without growth has what it needs, and gets back what was taken from it.
        settled = known.acted - known.grew >= SETTLED
        need = max(0, known.most - job.resident) if settled else self.need(family, job)
        return need if self._ends(family, job) else max(need, int(known.growth * AHEAD))

    def _ends(self, family: Family, job: Job) -> bool:
        """Whether it is known where a job's growth ends: it has, or some of its family have come to their end."""
        known = self._turns._known[job.key]
        settled = known.acted - known.grew >= SETTLED
        return settled or (self._turns.knows(family) and job.size < self._peaks[family.forker])

    def shares(self, family: Family) -> tuple[float, float]:
        """The bytes that the running ones of a family's user have or will have, and those of the family."""
        users = [self._peaks[other.forker] for other, _ in self._running if other.user == family.user]
        own = sum(other.forker == family.forker for other, _ in self._running)
        return float(sum(users)), float(own * self._peaks[family.forker])

    def fits(self, family: Family, job: Job, instead: tuple[Family, Job] | None = None) -> bool:
        """Whether there is room for a waiting job; or would be instead of a running one, as soon as that is in swap."""
        left = self.left - self.need(family, job) - self.enough(family)
        if instead is None:
            return left >= 0
        victim = instead[1]
        return left + self._wants[victim.key] + min(victim.resident, self.room.swap) >= 0

    def enough(self, family: Family) -> int:
        """The bytes that have to be left for one of a family to go on."""
        return int((GO_KNOWN if self._turns.knows(family) else GO) * self.room.level)

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
            if crumbs and job.size >= CRUMB * self._peaks[family.forker]:
                continue
            # Somebody else has to run, really run.
            if last or any(self._acts(other) for _, other in self._running if other.key != job.key):
                found.append((family, job))
        best = max(found, key=lambda pair: (*self.shares(pair[0]), pair[1].born, pair[1].key), default=None)
        if best is None or hurry or self.now - self._turns._known[best[1].key].resumed >= calm:
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
