"""The ladder: one act from its first step to the bytes that came back. A state machine with deadlines; it never
sleeps, and at most one act is in flight."""

from __future__ import annotations

import posix as os

from okoomer.events.model import END, GONE, LATE, OVER, PAUSE, STOPPED, URGENT, Died, Ran, Recovered, Stuck
from okoomer.facts import Cgroup
from okoomer.guard.act import STRENGTH, TOLD, Act
from okoomer.guard.asking import PAUSED, SPENT, UNABLE, Asking, asks
from okoomer.guard.passed import PassedOver
from okoomer.guard.question import OK
from okoomer.guard.reach import Reach
from okoomer.policy.reason import OTHER
from okoomer.policy.select import command_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from signal import SIGKILL, SIGTERM

    from okoomer.events.model import Question
    from okoomer.facts import Process
    from okoomer.guard.asking import Holds
    from okoomer.guard.reach import Seizes
    from okoomer.guard.shrink import Shrinks
    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Policy, Rule, Step
    from okoomer.record import Record
else:
    from _signal import SIGKILL, SIGTERM

#: Seconds for a killed unit to die before it counts as stuck; as long as its memory comes back, the longer one holds.
PATIENCE, LONG_PATIENCE = 2.0, 10.0
#: Seconds for the bytes to come back once the processes are gone, before the next choice.
SETTLE = 0.5
#: Seconds between looks while bytes come back.
GLIMPSE = 0.01
#: Seconds between two acts of a dry run, which changes nothing and would be repeated for ever.
DRY_REST = 10.0
#: Seconds for which somebody who would not die is passed over.
ASIDE = 60.0
#: What the courier is asked to run for the step `prekill`.
PREKILL = ("prekill",)


class Ladder:
    """Carries out one act at a time.

    Args:
        hands: Seize the processes that were chosen.
        emit: Takes the events.
        policy: Its rules are in order of urgency.
    """

    def __init__(self, hands: Seizes, emit: Callable[[Record], None], policy: Policy) -> None:
        self._reach = Reach(hands, emit)
        self._emit = emit
        self.policy = policy
        #: Whether somebody runs the commands that are asked for.
        self.runs = False
        #: Takes memory away from cgroups, where that is possible.
        self.shrinks: Shrinks | None = None
        self._requests = 0
        self._act: Act | None = None
        self._idle_until = float("-inf")
        #: Those who would not die and are not to be tried again for now.
        self.aside = PassedOver()
        self.asking = Asking(emit, self._reach)
        #: Seconds until nothing is left at the present rate, None if that is not in sight.
        self.left: Callable[[], float | None] = lambda: None
        #: Why a rule that has fired acts, about a cgroup if it has a scope (see policy.reason).
        self.reason: Callable[[Rule, Cgroup | None], str] = lambda rule, target: OTHER
        self._looked = 0.0

    def busy(self, now: float) -> bool:
        """Whether an act is in flight (or a dry run rests)."""
        return self._act is not None or now < self._idle_until

    @property
    def ending(self) -> str:
        """The rule whose act is ending somebody at present, or ''."""
        return self._act.rule.name if self._act and self._act.asked_to_end else ""

    def pidfds(self) -> list[int]:
        """Descriptors that become readable when something happens to the act."""
        act = self._act
        return act.grip.pidfds() if act and act.grip and act.gone_after is None else []

    def wait(self, now: float) -> float:
        """Seconds until the ladder has to be looked after if nothing happens to its processes."""
        act = self._act
        if act is None:
            return max(0.0, self._idle_until - now) or float("inf")
        left = max(0.0, act.deadline - now)
        if act.gone_after is not None:
            return GLIMPSE
        if act.cgroup and act.grip and (act.strength >= STRENGTH["kill"] or not act.grip.pidfds()):
            return min(left, GLIMPSE)  # who is born into a cgroup has no descriptor yet
        return left

    def passed_over(
        self, rule: Rule, processes: Iterable[Process], now: float
    ) -> tuple[frozenset[int], frozenset[int]]:
        """Whom a rule takes none of, as pids and as inodes of cgroups: who would not die, and who is passed over."""
        pids, groups = self.asking.passed_over(rule, processes, now)
        return self.aside.pids(now) | pids, self.aside.groups(now) | groups

    def keeps(self, rule: Rule, now: float) -> bool:
        """Whether a rule passes over somebody because a person wants to keep it: that nobody else would help is then no
        news to that person; nor is it that nobody is paused on weak evidence."""
        return rule.tentative or self.asking.keeps_any(rule, now)

    @property
    def holds(self) -> Holds | None:
        """Has units stand still, where that is possible."""
        return self.asking.holds

    @holds.setter
    def holds(self, holds: Holds) -> None:
        self.asking.arm(holds)

    def questions(self) -> list[tuple[Question, float]]:
        """What is asked now, and the seconds that were left for an answer at the last look."""
        return self.asking.questions.listing(self._looked)

    def begin(self, act: Act, now: float) -> None:
        """Starts an act, by one of the rules of the policy."""
        assert self._act is None
        self._looked = now
        self._act = act
        self._climb(act, now)

    def relieve(self, rule: Rule, target: Cgroup | None) -> None:
        """Carries out the steps of a rule that ends nobody, beside whatever else is done."""
        for step in rule.steps:
            if step.kind == "shrink":
                self._shrink(rule, step, target)

    def close(self) -> None:
        """Leaves the act in flight, if there is one, as it is: what was changed for it is put back."""
        if self._act:
            self._end(self._act, self._looked, STOPPED, "okoomer ends")

    def rest(self, now: float) -> None:
        """A dry run's act: nothing but a pause until the next."""
        self._idle_until = now + DRY_REST

    def advance(self, now: float, available: int, verdict: Verdict) -> None:
        """Goes on with the act, if there is one.

        Args:
            available: Bytes available now.
            verdict: The engine's on the same instant.
        """
        self._looked = now
        act = self._act
        if act is None:
            return
        act.room = available
        self.asking.look(act, now)
        if act.grip is not None and act.gone_after is None and act.grip.dead():
            act.gone_after = now - act.signalled
            act.deadline = now + SETTLE
            if not act.by_kernel:
                self.asking.questions.close(GONE)
                self.asking.release(act, (), now)
        if act.gone_after is not None:
            self._settle(act, now, available)
            return
        self._hand_over(act, verdict, now)
        if self._act is not act:
            return
        if now < act.deadline:
            if self.asking.well(act, verdict):
                self._recover(act, now)
        elif act.pulse:
            self._end(act, now, why="it was for a moment only")
        elif act.strength < STRENGTH["kill"] and act.step + 1 < len(act.rule.steps):
            if act.insisted or act.holds(verdict) or (act.held_up and act.needed()):
                self._climb(act, now)
            else:
                self._recover(act, now)
        elif act.strength == STRENGTH["ask"]:
            self.asking.late(act, now)
            self._end(act, now, LATE, "its time is over")
        elif act.strength < STRENGTH["kill"]:
            self._give_up(act, now, "it did not end when asked to")
        elif act.by_limit:
            act.by_limit = False
            act.deadline = now + PATIENCE
            self._signal(act, SIGKILL, now)
        elif available - act.available >= act.freed / 10 and now - act.signalled < LONG_PATIENCE:
            act.deadline = now + PATIENCE / 4  # it is letting go, only slowly
        else:
            self._give_up(act, now, "it does not die")

    def answer(self, question: int, word: str, size: int, user: int, now: float) -> str:
        """Takes a user's answer to a question; what comes of it (see guard.question).

        Args:
            size: Bytes of the ceiling for LIMIT, 0 for the question's own.
        """
        act = self._act
        status = self.asking.answer(act, question, word, size, user, now)
        if status != OK or act is None or word == PAUSE:
            return status
        if word == END:
            act.insisted = True
            steps = act.rule.steps
            ends = (at for at in range(act.step + 1, len(steps)) if STRENGTH[steps[at].kind] >= STRENGTH["term"])
            act.step = next(ends, len(steps)) - 1
            self._climb(act, now)
        else:
            self._end(act, now)
        return OK

    def ran(self, request: int, status: int, now: float) -> None:
        """A command that was asked for has ended: the act that waits for it goes on."""
        act = self._act
        if act is None or not request or request != act.request:
            return
        self._emit(Ran(request, status, now - act.requested))
        act.request = 0
        if not act.instead:
            act.deadline = now
        elif status:
            self._signal(act, SIGTERM, now)  # the command could not ask

    # --- steps --------------------------------------------------------------------------------------------------

    def _climb(self, act: Act, now: float) -> None:
        self.asking.over(act, LATE)
        act.pulse = False
        act.step += 1
        if act.step >= len(act.rule.steps):
            self._end(act, now)
            return
        step = act.rule.steps[act.step]
        act.strength = max(act.strength, STRENGTH[step.kind])
        act.deadline = now + step.seconds
        if step.kind == "warn":
            self._emit(act.warning(self.left()))
            if not step.seconds:
                self._climb(act, now)
        elif step.kind == "shrink":
            if not self._shrink(act.rule, step, act.target) or not step.seconds:
                self._climb(act, now)
        elif step.kind in ("run", "prekill"):
            command = step.command if step.kind == "run" else PREKILL
            if not self._run(act, command, step.seconds, now) or not step.seconds:
                self._climb(act, now)
        elif step.kind in ("slow", "pause", "ask"):
            self._hold_up(act, step, now)
        elif step.kind == "term":
            command = ()
            if act.processes:
                command = command_for(act.processes[0], act.rule.instead, self.policy.instead)
            self._reach.seize(act)
            act.instead = bool(command) and not act.barred and self._run(act, command, step.seconds, now)
            if act.instead:
                act.signalled = now
                self.asking.release(act, act.pids, now)
            else:
                self._signal(act, SIGTERM, now)
        elif step.kind == "oom" and self._reach.leave_to_kernel(act, now):
            act.deadline = now + PATIENCE
        else:
            act.deadline = now + PATIENCE
            self._signal(act, SIGKILL, now)

    def _hold_up(self, act: Act, step: Step, now: float) -> None:
        """Slows the unit down, has it stand still, or asks what is to become of it; its death is noticed meanwhile."""
        came = self.asking.pulse(act, step, now) if step.times else PAUSED
        if came == UNABLE:
            self._emit(Stuck(act.rule.name, act.name, act.pids, 0.0, "it cannot be paused", act.cgroup))
            self._end(act, now)
            return
        if came == SPENT or not self.asking.hold_up(act, step, now):
            self._climb(act, now)
            return
        if act.grip is None:
            act.signalled = now
        self._reach.seize(act)
        if act.barred:
            self._give_up(act, now, act.barred)
        elif step.kind == "ask":
            self.asking.ask(act, now)

    def _shrink(self, rule: Rule, step: Step, target: Cgroup | None) -> bool:
        """Whether memory is being taken away from the cgroup that a rule is about."""
        if self.shrinks is None or target is None or step.amount is None:
            return False
        return self.shrinks.begin(rule.name, target, step.amount)

    def _run(self, act: Act, command: tuple[str, ...], seconds: float, now: float) -> bool:
        """Asks for a command; False if there is nobody to run it."""
        if not self.runs:
            return False
        self._requests += 1
        act.request, act.requested = self._requests, now
        self._emit(act.run(command, seconds))
        return True

    def _hand_over(self, act: Act, verdict: Verdict, now: float) -> None:
        """A more urgent rule that has fired meanwhile goes on with the same victim, at its first stronger step; one
        with a scope only if it has fired for a cgroup that the victim is in."""
        fired = act.more_urgent(self.policy, verdict)
        if act.known is None:
            act.known = frozenset(fired)
        patient = self.asking.patient(self.policy, now)
        for index, path in fired:
            rule = self.policy.rules[index]
            if index in patient or (asks(rule) and self.asking.keeps(act, now)):
                continue
            if rule.scope and not act.lies_in(path):
                # It is about somebody else, and must not wait until a person has made up his mind.
                if (self.asking.questions.open or act.held_up) and not asks(rule) and (index, path) not in act.known:
                    self._end(act, now, URGENT, f"rule {rule.name} is more urgent")
                    return
                continue
            stronger = (at for at, step in enumerate(rule.steps) if STRENGTH[step.kind] > max(act.strength, 0))
            if (position := next(stronger, None)) is not None:
                self.asking.over(act, URGENT)
                before, act.index, act.rule, act.step = act.rule.name, index, rule, position - 1
                act.target = Cgroup(path) if rule.scope else None
                act.reason = self.reason(rule, act.target)
                self._emit(act.taken_over(before, verdict.rules[index]))
                self._climb(act, now)
                return

    def _signal(self, act: Act, number: int, now: float) -> None:
        act.request = 0
        reached, refused = self._reach.signal(act, number, now)
        if reached or not (refused or act.barred):  # also if all have ended meanwhile
            self.asking.release(act, reached, now)
        if act.barred or (refused and not reached):
            self._give_up(act, now, act.barred or os.strerror(refused))

    # --- ends ---------------------------------------------------------------------------------------------------

    def _settle(self, act: Act, now: float, available: int) -> None:
        came_back = max(0, available - act.available)
        if came_back >= act.freed / 2 or now >= act.deadline:
            assert act.gone_after is not None
            if not act.by_kernel:
                self._emit(Died(act.rule.name, act.name, act.pids, act.gone_after, came_back, act.cgroup))
            self._end(act, now)

    def _give_up(self, act: Act, now: float, why: str) -> None:
        left = act.grip.left() if act.grip else ()
        if act.cgroup:
            self.aside.note_group(act.inode, now + ASIDE)
            left = left[:TOLD]
        else:
            self.aside.note(left or act.pids, now + ASIDE)
        self._emit(Stuck(act.rule.name, act.name, left, now - act.signalled, why, act.cgroup))
        self._end(act, now, why="it cannot be ended")

    def _recover(self, act: Act, now: float) -> None:
        self._end(act, now)
        self._emit(Recovered(act.rule.name, asked=act.asked_to_end))

    def _end(self, act: Act, now: float, how: str = OVER, why: str = "memory came back") -> None:
        """An act is over: its question is, and whoever still stands still for it goes on."""
        self.asking.questions.close(how)
        self.asking.resume(act, why, now)
        if act.grip:
            act.grip.close()
        self._act = None
