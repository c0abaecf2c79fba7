"""A machine without a machine: jobs that grow, work and end, memory and swap that they share, and turns taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from okoomer.guard.fall import Fall
from okoomer.guard.turns import EARLY
from okoomer.policy.demand import STOP, Room
from okoomer.policy.jobs import Family, Job
from okoomer.policy.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterable

MIB = 1024**2
#: Seconds of a step, and steps from one look to the next.
STEP, EACH = 0.1, 2
#: What may be in swap when somebody goes on, and seconds after which he does in any case.
LITTLE, PATIENCE = 4 * MIB, 5.0


class Body:
    """One job: it comes to `peak` bytes in the first fifth of its `work`, given in seconds."""

    def __init__(self, key: tuple[int, int], forker: int, user: int, peak: int, work: float, born: float) -> None:
        self.key = key
        self.forker = forker
        self.user = user
        self.peak = peak
        self.work = work
        self.born = born
        self.done = 0.0
        self.resident = 0.0
        self.swapped = 0.0
        self.waiting = False
        #: Seconds that it has been coming back from swap, before it goes on.
        self.coming: float | None = None
        self.paused = 0
        self.waited = 0.0
        self.longest = 0.0
        self.total = 0.0
        self.acted = True
        self.ended: float | None = None

    @property
    def size(self) -> float:
        return self.resident + self.swapped


class Crowd:
    """A machine and its jobs.

    Args:
        bodies: Those who are there at once; of each forker no more than `at_once` are, the others come when one ends.
        total, used, swap: Bytes of memory, of what others have, and of swap.
        out, back: Bytes per second by which memory goes to swap and comes back.
        fill: Bytes per second by which all of them can grow together.
    """

    def __init__(
        self,
        bodies: Iterable[Body],
        total: int = 970 * MIB,
        used: int = 280 * MIB,
        swap: int = 1024 * MIB,
        out: float = 30 * MIB,
        back: float = 15 * MIB,
        fill: float = 300 * MIB,
        cores: int = 8,
        at_once: int = 1000,
        control: bool = True,
    ) -> None:
        self.total, self.used, self.swap, self.out, self.back = total, used, swap, out, back
        self.fill = fill
        self.cores = cores
        self.at_once = at_once
        self.later = sorted(bodies, key=lambda body: (body.born, body.key))
        self.bodies: list[Body] = []
        self.done: list[Body] = []
        self.killed: list[Body] = []
        self.now = 0.0
        self.turns = Turns() if control else None
        self.page_out = 0.0
        self.order: tuple[tuple[int, int], ...] = ()
        self.crowded = False
        self.fall = Fall()
        self.least = float(total)
        self.hopeless: list[str] = []
        self.none_ran = 0.0
        self.longest_none = 0.0

    @property
    def available(self) -> float:
        return self.total - self.used - sum(body.resident for body in self.bodies)

    @property
    def swap_left(self) -> float:
        return self.swap - sum(body.swapped for body in self.bodies)

    def run(self, limit: float = 2000.0) -> None:
        """Until all have ended, or the time is up."""
        number = 0
        while (self.bodies or self.later) and self.now < limit:
            self._come()
            self._work()
            self._reclaim()
            self.least = min(self.least, self.available)
            number += 1
            if self.turns and number % EACH == 0:
                self._look()
            self.now += STEP

    # --- the machine --------------------------------------------------------------------------------------------

    def _come(self) -> None:
        for body in [*self.later]:
            there = sum(other.forker == body.forker for other in self.bodies)
            if body.born <= self.now and there < self.at_once:
                self.later.remove(body)
                body.born = self.now + body.key[0] / 1e6
                self.bodies.append(body)

    def _work(self) -> None:
        self._fetch()
        running = [body for body in self.bodies if not body.waiting and body.coming is None]
        lacking = [body for body in running if body.swapped > 0]
        for body in self.bodies:
            body.acted = not body.waiting and body.coming is None
            if not body.acted:
                body.waited += STEP
                body.total += STEP
                body.longest = max(body.longest, body.waited)
        self.none_ran = 0.0 if running or not self.bodies else self.none_ran + STEP
        self.longest_none = max(self.longest_none, self.none_ran)
        speed = min(1.0, self.cores / max(1, len(running)))
        for body in running:
            if body.swapped > 0:
                back = min(body.swapped, self.back * STEP / len(lacking))
                body.swapped -= back
                body.resident += back
            share = (body.resident / body.size) ** 4 if body.size else 1.0
            body.done += STEP * speed * share
            more = max(0.0, body.peak * min(1.0, 5 * body.done / body.work) - body.size)
            body.resident += min(more, self.fill * STEP / len(running))
            if body.done >= body.work:
                body.ended = self.now
                self.bodies.remove(body)
                self.done.append(body)

    def _fetch(self) -> None:
        """One after the other."""
        coming = [body for body in self.bodies if body.coming is not None]
        for body in coming[:1]:
            back = min(body.swapped, self.back * STEP)
            body.swapped -= back
            body.resident += back
        alone = all(body.waiting or body.coming is not None for body in self.bodies)
        for body in coming:
            assert body.coming is not None
            body.coming += STEP
            if body.swapped <= LITTLE or body.coming >= PATIENCE or (alone and body is coming[0]):
                body.coming = None

    def _reclaim(self) -> None:
        budget = self.out * STEP
        wanted = min(self.page_out, budget)
        self.page_out = 0.0
        by_key = {body.key: body for body in self.bodies}
        for key in self.order:
            if key in by_key and by_key[key].waiting and wanted > 0:
                wanted -= self._swap_out(by_key[key], wanted)
        short = 0.03 * self.total - self.available
        while short > 0:
            victim = max(self.bodies, key=lambda body: body.resident, default=None)
            if victim is None or victim.resident <= 0:
                break
            # The kernel knows nothing of who waits.
            got = self._swap_out(victim, min(short, MIB))
            short -= got
            if got <= 0:
                self.bodies.remove(victim)
                self.killed.append(victim)
                short -= victim.resident

    def _swap_out(self, body: Body, wanted: float) -> float:
        got = max(0.0, min(wanted, body.resident, self.swap_left))
        body.resident -= got
        body.swapped += got
        return got

    # --- load control -------------------------------------------------------------------------------------------

    def families(self) -> list[Family]:
        """The jobs as they are seen."""
        found = []
        for forker in sorted({body.forker for body in self.bodies}):
            mine = sorted((body for body in self.bodies if body.forker == forker), key=lambda b: (b.born, b.key))
            jobs = tuple(
                Job(b.key, f"job-{b.key[0]}", b.born, int(b.size), int(b.resident), b.acted, b.waiting)
                for b in mine
                if b.size >= 4 * MIB or b.waiting
            )
            if len(jobs) > 1 or any(job.waiting for job in jobs):
                found.append(Family((forker, 1), f"make-{forker}", mine[0].user, jobs))
        return found

    def _look(self) -> None:
        assert self.turns
        level = int(self.total * 0.24)
        self.crowded = self.available < level if not self.crowded else self.available < level * 1.25
        self.fall.take(self.now, int(self.available), self.total)
        crowded = self.crowded or (self.available < EARLY * level and self.fall.short(self.now, STOP * level))
        room = Room(int(self.available), level, int(max(0, self.swap_left - 0.1 * self.swap)), 0.0, crowded)
        turn = self.turns.decide(self.now, self.now, room, self.families())
        by_key = {body.key: body for body in self.bodies}
        for _, job, _ in turn.pause:
            body = by_key[job.key]
            assert not body.waiting
            body.waiting, body.waited, body.coming = True, 0.0, None
            body.paused += 1
        for _, job, _ in turn.resume:
            assert by_key[job.key].waiting
            body = by_key[job.key]
            body.waiting = False
            body.coming = 0.0 if body.swapped > LITTLE else None
        self.page_out, self.order = turn.page_out, turn.order
        if turn.hopeless:
            self.hopeless.append(turn.hopeless)


def jobs(
    count: int, peak: int = 80 * MIB, work: float = 8.0, forker: int = 1, user: int = 1000, born: float = 0.0
) -> list[Body]:
    """Like jobs of one forker."""
    return [Body((forker * 10_000 + number, 7), forker, user, peak, work, born) for number in range(count)]
