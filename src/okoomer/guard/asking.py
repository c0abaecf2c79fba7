"""Slowing the unit of an act down, pausing it, asking what is to become of it, and doing what is answered, up to where
it ends."""

from __future__ import annotations

from okoomer.events.model import ANSWERED, BY_RULE, BY_USER, END, LIMIT, PAUSE, RESUME, Slowed, Trouble
from okoomer.guard.act import STRENGTH
from okoomer.guard.passed import PassedOver
from okoomer.guard.question import DENIED, OK, REFUSED, Questions
from okoomer.kernel.process import TICKS
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    from okoomer.events.model import Limited
    from okoomer.facts import Process, Snapshot
    from okoomer.guard.act import Act, Held, Slow
    from okoomer.guard.ladder import Ladder
    from okoomer.guard.pulses import Pulses
    from okoomer.guard.reach import Reach
    from okoomer.guard.room import Room
    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Policy, Rule, Step
    from okoomer.record import Record

    class Holds(Protocol):
        """Whoever can have units stand still (see guard.hold)."""

        def pause(
            self, by: str, name: str, processes: list[Process], cgroup: str, inode: int, user: int, now: float
        ) -> Held | None: ...
        def resume(self, hold: Any, why: str, now: float) -> None: ...
        def release(self, hold: Any, now: float) -> None: ...
        def let_end(self, pids: Iterable[int]) -> None: ...
        def prune(self, now: float) -> None: ...
        def listing(self, now: float) -> Iterable[tuple[int, int, str, int, float]]: ...
        def close(self, why: str, now: float) -> None: ...

    class Slows(Protocol):
        """Whoever can slow units down (see guard.slow)."""

        @property
        def slowed(self) -> Slowed | None: ...
        @property
        def excused(self) -> Callable[[Snapshot], Snapshot]: ...
        def begin(self, wanted: Slowed, processes: list[Process], inode: int, now: float) -> Slow: ...
        def end(self, slow: Any, why: str, now: float, here: bool = False) -> None: ...
        def close(self) -> None: ...


#: Seconds for which a unit that somebody wants to keep is passed over by rules that ask, and one that could not be
#: slowed down by those that do nothing else.
KEPT, UNSLOWED = 300.0, 60.0
#: Seconds by which a moment may be longer for want of room, and between two looks at that.
LONGER, GLANCE = 0.3, 0.05
#: What comes of a pause that is to be one of a few: the unit stands still, cannot be made to, or has been often enough.
PAUSED, UNABLE, SPENT = "paused", "unable", "spent"


class Asking:
    """See the module; one act at a time.

    Args:
        emit: Takes the events.
        reach: Lays hands on the unit.
    """

    def __init__(self, emit: Callable[[Record], None], reach: Reach) -> None:
        self._reach = reach
        self._emit = emit
        #: None where nobody can be paused.
        self.holds: Holds | None = None
        #: None where nobody can be slowed down.
        self.slows: Slows | None = None
        #: Makes those who can, as soon as a policy wants it.
        self.slowing: Callable[[], Slows] | None = None
        #: The bytes that the unit of an act holds now.
        self.weigh: Callable[[Act], int] = weighed
        #: Whether a user has a say over the unit of an act as it is now.
        self.says: Callable[[Act, int], bool] = lambda act, user: True
        #: Gives the unit of an act a ceiling, or raises an OSError that says why not.
        self.limit: Callable[[Act, int], Limited] | None = None
        #: Puts what stands still into swap, where that is possible.
        self.room: Room | None = None
        self.making_room: Callable[[], Room] | None = None
        self._pulses: Pulses | None = None
        self.questions = Questions(emit)
        self.kept = PassedOver()
        #: Who could not be slowed down.
        self.unslowed = PassedOver()

    def arm(self, holds: Holds, proc: str = "/proc") -> None:
        """From now on units can be paused, and get a ceiling, and are weighed as they are."""
        from okoomer.guard.ceiling import limit  # most policies ask nothing
        from okoomer.guard.weight import weight
        from okoomer.guard.whose import all_of

        self.holds = holds
        self.weigh = lambda act: weight(proc, act)
        self.says = lambda act, user: all_of(proc, act, user)
        self.limit = lambda act, size: limit(proc, act.name, act.processes, act.cgroup, act.inode, act.user, size)

    def adopt(self, policy: Policy) -> None:
        """Loads what a policy wants that others do not: an emergency is no time to load it."""
        if self.slows is None and self.slowing and "slow" in policy.kinds:
            self.slows = self.slowing()
        if self.room is None and self.making_room and policy.kinds & {"pause", "ask"}:
            self.room = self.making_room()
        if any(rule.tentative for rule in policy.rules):
            self._pulses = self.pulses

    @property
    def slowed(self) -> Slowed | None:
        """Who is slowed down now."""
        return self.slows.slowed if self.slows else None

    def excuse(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot, with what is excused of its stall (see guard.excused)."""
        return self.slows.excused(snapshot) if self.slows else snapshot

    def hold_up(self, act: Act, step: Step, now: float) -> bool:
        """Begins what a step does to a unit that is to live: slow, pause or ask. False if it cannot be done."""
        if step.kind == "slow":
            return self.slow(act, step, now)
        return step.kind == "ask" or self.pause(act, BY_RULE + act.rule.name, now)

    def well(self, act: Act, verdict: Verdict) -> bool:
        """Whether a step that holds a unit up is over before its time, since all is well again."""
        if act.asked_to_end or act.needed() or act.holds(verdict):
            return False
        if self.questions.open or (act.hold is not None and not act.pulse):
            return act.target is None
        # A cgroup's own readings say little of it as long as it is at the limit that slows it down.
        return act.slow is not None and act.hold is None and not (act.target and act.slow.presses())

    def late(self, act: Act, now: float) -> None:
        """The last step was one of these, and its time is over."""
        if asks(act.rule):
            self.keep(act, now)

    # --- slowing ------------------------------------------------------------------------------------------------

    def slow(self, act: Act, step: Step, now: float) -> bool:
        """Slows the unit of an act down. False if that cannot be, which is told with the reason."""
        if self.slows is None:
            return False
        self.ease(act, "it is slowed down anew", now, here=True)
        try:
            cpu = step.amount.value if step.amount else 0.0
            wanted = Slowed(act.rule.name, act.name, act.pids, act.user, act.cgroup, 0, cpu, step.seconds)
            act.slow = self.slows.begin(wanted, act.processes, act.inode, now)
        except OSError as error:
            why = error.strerror or "it cannot be"
            self._emit(Trouble(f"rule {act.rule.name}: {act.name} is not slowed down: {why}"))
            self._pass_over(act, self.unslowed, now + UNSLOWED)
        return act.slow is not None

    def ease(self, act: Act, why: str, now: float, here: bool = False) -> None:
        """Slows the unit of an act down no more, if it does; `here` as guard.slow has it."""
        if act.slow and self.slows:
            slow, act.slow = act.slow, None
            self.slows.end(slow, why, now, here)

    # --- pausing ------------------------------------------------------------------------------------------------

    def pause(self, act: Act, by: str, now: float, beside: Iterable[Process] = ()) -> bool:
        """Has the unit of an act stand still, and others with it. False if nobody could be stopped."""
        if act.hold is None and self.holds:
            wanted = [*act.processes, *beside]
            held = self.holds.pause(by, act.name, wanted, act.cgroup, act.inode, act.user, now)
            if held:
                act.hold = held
                act.processes += _new(act, wanted, held.members)
        return act.hold is not None

    def pulse(self, act: Act, step: Step, now: float) -> str:
        """Has the unit of an act stand still for a moment, if it has not been so too often: what came of it."""
        return self.pulses.begin(self, act, step.times, now)

    def look(self, act: Act, now: float) -> None:
        """Whether the unit still stands still or is slowed down: somebody may have let it run again, or the kernel may
        have refused it. Of one that stands still, and is not about to run again, what it holds makes room."""
        if act.slow and act.slow.refused:
            self.ease(act, f"it cannot be ({act.slow.refused})", now)
            self._pass_over(act, self.unslowed, now + UNSLOWED)
            act.deadline = min(act.deadline, now)
        if act.hold and self.room and not (act.hold.over or act.asked_to_end):
            if act.pulse and act.first:
                self.room.sweep(act)
            else:
                self.room.make(act, act.hold.since, now)
                self._linger(act, now)
        if act.hold and act.hold.over:
            act.hold = None
            if self.questions.open:
                self.questions.now(paused=False)

    def _linger(self, act: Act, now: float) -> None:
        """A moment after the first one lasts a little longer while room is lacking."""
        if act.pulse and act.hold and act.room < act.wanted:
            last = act.hold.since + act.rule.steps[act.step].seconds + LONGER
            act.deadline = max(act.deadline, min(now + GLANCE, last))

    def resume(self, act: Act, why: str, now: float) -> None:
        """Lets the unit run again, if it stands still, and as fast as it can, if it is slowed down."""
        self.ease(act, why, now)
        if self.room:
            self.room.give_back(act)
        if act.hold and self.holds:
            hold, act.hold = act.hold, None
            self.holds.resume(hold, why, now)

    def release(self, act: Act, reached: Iterable[int], now: float) -> None:
        """Lets those run again, whoever has stopped them, who have been asked to end."""
        self.ease(act, "it ends" if act.gone_after is None else "it has ended", now)
        if self.room:
            self.room.leave_off()
        if self.holds:
            self.holds.let_end(reached)
            if act.hold:
                hold, act.hold = act.hold, None
                self.holds.release(hold, now)

    # --- asking -------------------------------------------------------------------------------------------------

    def ask(self, act: Act, now: float) -> None:
        """Asks what is to become of the unit of an act, as the step has it that the act has come to."""
        step, *following = act.rule.steps[act.step :]
        self.questions.ask(
            rule=act.rule.name,
            name=act.name,
            pids=act.pids,
            user=act.user,
            cgroup=act.place,
            seconds=step.seconds,
            then=next((later.kind for later in following if STRENGTH[later.kind]), RESUME),
            freed=act.freed,
            available=act.room,
            held=self.weigh(act),
            why=act.why,
            paused=act.hold is not None,
            able=self.holds is not None,
            now=now,
        )

    def over(self, act: Act, how: str, answer: str = "", user: int = -1) -> None:
        """The question is over, if there is one, and its act goes on with the unit as it is now."""
        if self.questions.open:
            self.questions.close(how, answer, user)
            self._reach.renew(act)

    def answer(self, act: Act | None, number: int, word: str, size: int, user: int, now: float) -> str:
        """Does what a user answers as far as nobody ends by it; the status."""
        status = self.questions.judge(number, word, size, user)
        asked = self.questions.open
        if status != OK or act is None or asked is None:
            return status
        if word in (PAUSE, LIMIT):
            self._reach.renew(act)
            if not self.says(act, user):
                return DENIED
        if word == PAUSE:
            if not self.pause(act, f"{BY_USER}{user}", now):
                return REFUSED
            self._reach.renew(act)  # with those who were born while it was stopped
            self.questions.now(paused=True)
            return OK
        if word == END:
            self.over(act, ANSWERED, word, user)
            return OK
        limited = None
        if word == LIMIT:
            self.ease(act, "it gets a ceiling", now, here=True)
            try:
                limited = self.limit(act, size or asked.limit) if self.limit else None
            except OSError:
                pass
            if limited is None:
                return REFUSED
        self.questions.close(ANSWERED, word, user)
        if limited:
            self._emit(limited)
        self.resume(act, f"user {user} wants it" if word == RESUME else "it has a ceiling now", now)
        self.keep(act, now)
        return OK

    def keep(self, act: Act, now: float) -> None:
        """Rules that ask pass this unit over for a while."""
        self._pass_over(act, self.kept, now + KEPT)

    @staticmethod
    def _pass_over(act: Act, noted: PassedOver, until: float) -> None:
        noted.note([process.pid for process in act.processes], until, act.processes)
        if act.cgroup and act.inode:
            noted.note_group(act.inode, until)

    def passed_over(
        self, rule: Rule, processes: Iterable[Process], now: float
    ) -> tuple[frozenset[int], frozenset[int]]:
        """Whom a rule passes over, as pids and as inodes of cgroups: if it asks, whom somebody wants to keep; if it
        begins by a moment's pause, who cannot be paused; if it slows down and no more, who cannot be."""
        pids, groups = frozenset[int](), frozenset[int]()
        kinds = [(asks(rule), self.kept), (only_slows(rule), self.unslowed)]
        if rule.tentative:
            kinds.append((True, self.pulses.unable))
        for meant, noted in kinds:
            if meant:
                pids, groups = pids | noted.among(processes, now), groups | noted.groups(now)
        return pids, groups

    @property
    def pulses(self) -> Pulses:
        """Who has been paused for a moment; made when it is first asked for."""
        if self._pulses is None:
            from okoomer.guard.pulses import Pulses  # most policies never need it

            self._pulses = Pulses()
        return self._pulses

    def closely(self, now: float) -> float:
        """Seconds until the machine has to be looked at again for the sake of such a pause."""
        return self._pulses.wait(now) if self._pulses else float("inf")

    def again(self, ladder: Ladder, snapshot: Snapshot) -> bool:
        """Whether somebody who was paused a moment ago has had to be once more."""
        return self._pulses is not None and self._pulses.again(ladder, snapshot)

    def patient(self, policy: Policy, now: float) -> list[int]:
        """The rules that wait for what comes of a moment's pause, as indices."""
        return self._pulses.waiting(policy, now) if self._pulses else []

    def keeps_any(self, rule: Rule, now: float) -> bool:
        """Whether a rule passes over somebody whom a person wants to keep."""
        return asks(rule) and bool(self.kept.pids(now) or self.kept.groups(now))

    def keeps(self, act: Act, now: float) -> bool:
        """Whether somebody has wanted to keep the unit of an act."""
        if act.cgroup and act.inode:
            return act.inode in self.kept.groups(now)
        return bool(act.processes) and act.processes[0].pid in self.kept.among(act.processes, now)


def asks(rule: Rule) -> bool:
    """Whether a rule has a question among its steps."""
    return "ask" in rule.kinds


def only_slows(rule: Rule) -> bool:
    """Whether a rule slows down and ends nobody."""
    return "slow" in rule.kinds and all(STRENGTH[kind] < STRENGTH["term"] for kind in rule.kinds)


def weighed(act: Act) -> int:
    """The bytes that a unit held when it was chosen."""
    return sum(process.held for process in act.processes)


def _new(act: Act, wanted: Iterable[Process], members: Iterable[tuple[int, int]]) -> list[Process]:
    """Who stands still with a unit and was not known to belong to it: born while it was stopped."""
    known = {process.pid for process in wanted}
    root = act.processes[0] if act.processes else None
    if root is None or act.cgroup:
        return []
    born = [(pid, start / TICKS) for pid, start in members if pid not in known]
    return [replace(root, pid=pid, started=started, anon=0, swap=0, shmem=0) for pid, started in born]
