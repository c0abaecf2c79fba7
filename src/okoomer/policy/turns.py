"""Load control: of a family of jobs that together need more than there is as many run as fit, and the others wait for
their turn. Pure: jobs and room in, who is to wait and who is to go on out.

The oldest run and the youngest wait, so that somebody gets done. What each will need is the largest one seen of its
family. Somebody is paused before memory has run out: when what is there, less what the running ones may still take, is
less than a third of the level that the rule fires at. Somebody goes on only if clearly more would be left, so that
nothing flutters between the two.
"""

from __future__ import annotations

from okoomer.policy.careers import Careers
from okoomer.policy.demand import STOP, WORTH, Look, Room
from okoomer.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from okoomer.policy.jobs import Family, Job, Key, Which

#: Seconds that all who may run stand still before the oldest waiting one goes on whether it fits or not.
NOBODY = 1.0
#: Seconds that a job waits before the youngest running one has to make room for it, and that this one has run then. As
#: long as one is done after the other each gets its turn, and it takes that much longer.
AGED, RUN, LONG = 30.0, 10.0, 90.0
#: Seconds that one has waited when a younger one that is small still makes room for it at once.
PASSED = 2.0
#: Seconds between two pauses for stalls alone, and the share of time that somebody has to wait for memory.
STALLS, STALLED = 1.0, 0.1
#: Seconds in which nobody ended or went on, after which it is said that this comes to nothing, and after which the next
#: one goes on if only there is room for itself.
HOPELESS, STALE = 20.0, 60.0


class Turn(Record):
    """What is to be done: who is to wait, who goes on, each with why; how many bytes of those who wait should go to
    swap, and of whom first. `hopeless` says in words why all this comes to nothing, else it is empty."""

    pause: tuple[tuple[Family, Job, str], ...] = ()
    resume: tuple[tuple[Family, Job, str], ...] = ()
    page_out: int = 0
    order: tuple[Key, ...] = ()
    hopeless: str = ""


class Turns:
    """Decides, look by look."""

    def __init__(self) -> None:
        self._careers = Careers()
        self._now = float("-inf")
        self._ran = float("-inf")
        self._stalled = float("-inf")
        #: When somebody ended or went on last, or began to wait.
        self._progress = float("inf")
        #: When somebody ended or went on last.
        self._moved = float("-inf")
        self._told = False

    def decide(self, now: float, since_boot: float, room: Room, families: Sequence[Family]) -> Turn:
        """What is to be done at an instant.

        Args:
            now: Seconds on a clock that stands still while the machine sleeps.
            since_boot: The same instant in seconds since boot, as jobs are born.
        """
        ended = self._careers.take(now, since_boot, families)
        self._now = now
        if ended:
            self._progress = self._moved = now
        waiting = [(family, job) for family in families for job in family.jobs if job.waiting]
        look = Look(self._careers, now, room, families)
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
        if turn.resume:
            self._moved = now
        if turn.resume or not waiting:
            self._told = False
        return turn

    # --- deciding -----------------------------------------------------------------------------------------------

    def _pause(self, look: Look, waiting: list[tuple[Family, Job]]) -> Turn:
        """Who is to wait now: the youngest of whoever has most, one after the other."""
        room, chosen = look.room, []
        low = int(STOP * room.level)
        while (left := look.left) < low:
            # Who has just gone on is left alone, but not where they would soon take much more than all that is there.
            hurry = room.available < low // 2 or left < -2 * low
            found = look.youngest(hurry=hurry, wants=room.level // WORTH)
            if found is None:
                break
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
            self._careers.paused(job)
        if not chosen:
            return Turn()
        page_out, order = self._page_out(look, waiting)
        return Turn(pause=tuple(chosen), page_out=page_out, order=order)

    def _make_room(self, look: Look, waiting: list[tuple[Family, Job]]) -> list[tuple[Family, Job, str]]:
        """The youngest running one, if the next one has waited too long for it."""
        family, job = self._next(look, waiting)
        if look.fits(family, job):
            return []
        waited = self._careers.waited(job.key)
        crumb = look.youngest(older=job.born, crumbs=True)
        if waited >= PASSED and crumb and look.fits(family, job, crumb):
            return [(*crumb, f"{job.name} was there before and waits")]
        # The last one that runs makes room, too: the other begins as soon as it stands.
        found = look.youngest(older=job.born, calm=RUN, last=True) or look.youngest(calm=AGED, last=True)
        stuck = waited >= AGED and (self._now - self._moved >= AGED or waited >= LONG)
        if stuck and found and look.fits(family, job, found):
            return [(*found, f"{job.name} has waited for {waited:.0f} s and takes its place")]
        return []

    def _resume(self, look: Look, waiting: list[tuple[Family, Job]]) -> Turn:
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
            self._careers.resumed(job)
        page_out, order = self._page_out(look, rest)
        return Turn(resume=tuple(chosen), page_out=page_out, order=order, hopeless=self._hopeless(look, rest))

    def _next(self, look: Look, waiting: list[tuple[Family, Job]]) -> tuple[Family, Job]:
        """Whose turn it is: of each family the oldest; of those who has waited too long, else of the family that has
        least."""
        first: dict[Which, tuple[Family, Job]] = {}
        for family, job in sorted(waiting, key=lambda pair: (pair[1].born, pair[1].key)):
            first.setdefault(family.key, (family, job))

        def rank(pair: tuple[Family, Job]) -> tuple[float, float, float, float, Key]:
            family, job = pair
            waited = self._careers.waited(job.key)
            return (-waited if waited >= AGED else 0.0, *look.shares(family), job.born, job.key)

        return min(first.values(), key=rank)

    def _page_out(self, look: Look, waiting: list[tuple[Family, Job]]) -> tuple[int, tuple[Key, ...]]:
        """What is missing for the next one, taken from those whose turn comes last."""
        if not waiting or look.room.swap <= 0:
            return 0, ()
        family, job = self._next(look, waiting)
        missing = look.enough(family) + look.need(family, job) - look.left
        last = sorted((other for _, other in waiting if other.key != job.key), key=lambda other: -other.born)
        return max(0, min(missing, look.room.swap)), tuple(other.key for other in last)

    def _hopeless(self, look: Look, waiting: list[tuple[Family, Job]]) -> str:
        if self._told or not waiting or self._now - self._progress < HOPELESS:
            return ""
        if look.room.available >= STOP * look.room.level or look.running > 1:
            return ""
        self._told = True
        rest = "swap is full" if look.room.swap <= 0 else "what waits is in swap"
        return f"one job alone needs more than there is, and {rest}: waiting for turns does not help"
