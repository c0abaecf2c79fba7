"""Whoever has bodies stand still, without a process, and a ladder that asks about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from okoomer.events.model import Eased, Limited, Paused, Resumed, Slowed
from okoomer.guard.act import Act
from okoomer.guard.ladder import Ladder
from okoomer.kernel.process import TICKS
from okoomer.policy.engine import FIRED, QUIET, RuleVerdict, Verdict
from okoomer.policy.model import Comparison, Instead, Policy, Rule, Step
from okoomer.record import Record, replace
from tests.unit.bodies import NEVER, Body, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from okoomer.facts import Cgroup, Process, Snapshot

E = TypeVar("E", bound=Record)
LOW = Comparison("mem.available", "<", 0.1, share=True)
LADDER = (Step("pause", 1.0), Step("ask", 10.0), Step("term", 3.0), Step("kill"))
ASK = LADDER[1:]
KILL = (Step("kill"),)
USER, BEFORE, NEED, FREED = 1000, 500, 200, 1000


class Stand:
    """A unit that stands still."""

    def __init__(self, name: str, members: tuple[tuple[int, int], ...], cgroup: str, since: float) -> None:
        self.name = name
        self.members = members
        self.cgroup = cgroup
        self.since = since
        self.over = False

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(pid for pid, _ in self.members)


class Stands:
    """Holds, as the ladder knows them; what became of each is kept.

    Args:
        able: Somebody can be paused at all.
        born: Pids of those who are found to belong to a unit only when it is stopped.
    """

    def __init__(
        self, world: World, emit: Callable[[Record], None], able: bool = True, born: tuple[int, ...] = ()
    ) -> None:
        self._world = world
        self._emit = emit
        self.able = able
        self.born = born
        self.still: list[Stand] = []
        #: How each pause came to its end, in order.
        self.ends: list[str] = []

    def pause(
        self, by: str, name: str, processes: list[Process], cgroup: str, inode: int, user: int, now: float
    ) -> Stand | None:
        there = [process for process in processes if self._world.bodies[process.pid].dies > now]
        if not self.able or not (there or cgroup):
            return None
        members = [(process.pid, round(process.started * TICKS)) for process in there]
        hold = Stand(name, (*members, *((pid, 0) for pid in self.born)), cgroup, now)
        self.still.append(hold)
        self._emit(Paused(by, name, hold.pids, user, cgroup, bool(cgroup)))
        return hold

    def resume(self, hold: Stand, why: str, now: float) -> None:
        if not hold.over:
            self._over(hold, "resumed")
            self._emit(Resumed(hold.name, hold.pids, 0, hold.cgroup, now - hold.since, why))

    def release(self, hold: Stand, now: float) -> None:
        if not hold.over:
            self._over(hold, "released")

    def let_end(self, pids: Iterable[int]) -> None:
        ending = set(pids)
        for hold in [*self.still]:
            if ending.issuperset(hold.pids):
                self._over(hold, "released")

    def _over(self, hold: Stand, how: str) -> None:
        hold.over = True
        self.still.remove(hold)
        self.ends.append(how)

    def prune(self, now: float) -> None:
        pass

    def listing(self, now: float) -> list[tuple[int, int, str, int, float]]:
        return [(*hold.members[0], hold.name, 0, now - hold.since) for hold in self.still if hold.members]

    def close(self, why: str, now: float) -> None:
        for hold in [*self.still]:
            self.resume(hold, why, now)


class Ceilings:
    """Gives units a ceiling, or refuses it."""

    def __init__(self, able: bool = True) -> None:
        self.able = able
        self.given: list[int] = []

    def __call__(self, act: Act, size: int) -> Limited:
        if not self.able:
            raise PermissionError(1, "not permitted")
        self.given.append(size)
        return Limited(act.name, act.pids, act.user, act.cgroup, size, "RLIMIT_DATA")


class Slow:
    """A unit that is slowed down."""

    def __init__(self, told: Slowed, since: float) -> None:
        self.told = told
        self.since = since
        self.over = False
        self.refused = ""
        self.at_limit = True

    def presses(self) -> bool:
        return self.at_limit


class Slowing:
    """Whoever slows units down, as the ladder knows it.

    Args:
        why: Why nobody can be slowed down, if so.
    """

    def __init__(self, emit: Callable[[Record], None], why: str = "") -> None:
        self._emit = emit
        self.why = why
        self.all: list[Slow] = []

    @property
    def slowed(self) -> Slowed | None:
        return next((slow.told for slow in self.all if not slow.over), None)

    def excused(self, snapshot: Snapshot) -> Snapshot:
        return snapshot

    def begin(self, wanted: Slowed, processes: list[Process], inode: int, now: float) -> Slow:
        if self.why:
            raise PermissionError(1, self.why)
        assert self.slowed is None
        pids = tuple(process.pid for process in processes)
        slow = Slow(replace(wanted, pids=pids, bytes=100 << 20), now)
        self.all.append(slow)
        self._emit(slow.told)
        return slow

    def end(self, slow: Slow, why: str, now: float, here: bool = False) -> None:
        if not slow.over:
            slow.over = True
            told = slow.told
            self._emit(Eased(told.rule, told.name, told.pids, told.user, told.cgroup, now - slow.since, why))

    def close(self) -> None:
        pass


class Scene:
    """A ladder on bodies of one user; time passes in hundredths of a second."""

    def __init__(
        self,
        *bodies: Body,
        steps: tuple[Step, ...] = LADDER,
        urgent: tuple[Step, ...] = KILL,
        instead: tuple[Instead, ...] = (),
        users: tuple[int, ...] = (USER,),
        born: tuple[int, ...] = (),
        able: bool = True,
        slowed: str = "",
        target: Cgroup | None = None,
    ) -> None:
        self.world = World(*(bodies or (Body(7, on_term=NEVER),)))
        self.events: list[Record] = []
        rules = (Rule("urgent", LOW, "", steps=urgent), Rule("low", LOW, "", steps=steps))
        self.ladder = Ladder(self.world, self.events.append, Policy("p", rules, instead=instead))
        self.holds = Stands(self.world, self.events.append, able, born)
        self.limits = Ceilings()
        self.slows = Slowing(self.events.append, slowed)
        self.ladder.asking.holds, self.ladder.asking.limit = self.holds, self.limits
        self.ladder.asking.slows = self.slows
        self.target = target
        self.states = [QUIET, FIRED]
        #: The cgroups for which the more urgent rule fires.
        self.about: tuple[str, ...] = ()
        self.available = BEFORE
        owned = zip(self.world.processes(pid for pid in self.world.bodies if pid not in born), users * 9, strict=False)
        self.processes = [replace(process, user=user, anon=100 << 20) for process, user in owned]
        self.later = self.processes
        self.begin()

    def begin(self) -> None:
        act = Act(
            1,
            self.ladder.policy.rules[1],
            "body",
            [*self.processes],
            FREED,
            BEFORE,
            target=self.target,
            need=NEED,
            why="it grows",
            renew=self.renewed,
        )
        self.ladder.begin(act, self.world.now)

    def renewed(self) -> list[Process]:
        return [*self.later]

    def until(self, time: float) -> Scene:
        while self.world.now < time - 1e-9:
            self.world.now = round(self.world.now + 0.01, 9)
            own = (self.target.path,) if self.target and self.states[1] == FIRED else ()
            states = zip("ab", self.states, (self.about, own), strict=True)
            rules = tuple(RuleVerdict(name, state, (), fired=about) for name, state, about in states)
            self.ladder.advance(self.world.now, self.available, Verdict(self.world.now, rules, None, (), 0.0))
        return self

    def answer(self, word: str, size: int = 0, user: int = USER, question: int = 1) -> str:
        return self.ladder.answer(question, word, size, user, self.world.now)

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def kept(self, later: float = 0.0) -> frozenset[int]:
        """Whom the rule that asks passes over."""
        rule = self.ladder.policy.rules[1]
        return self.ladder.passed_over(rule, self.processes, self.world.now + later)[0]

    def sent(self) -> list[tuple[float, int]]:
        return [signal for body in self.world.bodies.values() for signal in body.signals]

    @property
    def done(self) -> bool:
        assert self.ladder.busy(self.world.now) or not any(body.held for body in self.world.bodies.values())
        assert self.ladder.busy(self.world.now) or not (self.holds.still or self.slows.slowed)
        return not self.ladder.busy(self.world.now)
