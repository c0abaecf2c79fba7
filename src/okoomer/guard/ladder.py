"""The ladder: one act from its first step to the bytes that came back. A state machine with deadlines; it never
sleeps, and at most one act is in flight."""

from __future__ import annotations

import os

from okoomer.events.model import BY_KERNEL, BY_LIMIT, Died, Ran, Recovered, Run, Signalled, Stuck, Warned
from okoomer.facts import Cgroup
from okoomer.guard.act import TOLD, Act
from okoomer.guard.each import Each
from okoomer.policy.engine import FIRED
from okoomer.policy.select import command_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import SIGKILL, SIGTERM
    from typing import Protocol

    from okoomer.facts import Process
    from okoomer.guard.act import Grip
    from okoomer.guard.each import Dying
    from okoomer.guard.shrink import Shrinks
    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Policy, Rule, Step
    from okoomer.record import Record

    class Whole(Grip, Protocol):
        """A cgroup that has been seized."""

        @property
        def inode(self) -> int: ...

    class Seizes(Protocol):
        """Whoever can lay hands on processes and cgroups."""

        def seize(self, process: Process) -> Dying | None: ...
        def enclose(self, path: str, inode: int) -> Whole | None: ...
        def leave_to_kernel(self) -> None: ...
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
#: With these a cgroup ends as a whole, where it can.
WHOLE_UNITS = ("cgroup", "auto")
#: How strong a step is: a more urgent rule takes an act over at its first stronger step.
STRENGTH = {"warn": 0, "shrink": 0, "run": 0, "prekill": 0, "term": 1, "oom": 2, "kill": 2}
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
        self._hands = hands
        self._emit = emit
        self.policy = policy
        #: Whether somebody runs the commands that are asked for.
        self.runs = False
        #: Takes memory away from cgroups, where that is possible.
        self.shrinks: Shrinks | None = None
        self._requests = 0
        self._act: Act | None = None
        self._idle_until = float("-inf")
        self._aside: dict[int, float] = {}
        self._aside_groups: dict[int, float] = {}

    def busy(self, now: float) -> bool:
        """Whether an act is in flight (or a dry run rests)."""
        return self._act is not None or now < self._idle_until

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

    def aside(self, now: float) -> frozenset[int]:
        """Those who would not die and are not to be tried again for now."""
        self._aside = {pid: until for pid, until in self._aside.items() if until > now}
        return frozenset(self._aside)

    def aside_groups(self, now: float) -> frozenset[int]:
        """The inodes of cgroups that would not die and are not to be tried again for now."""
        self._aside_groups = {inode: until for inode, until in self._aside_groups.items() if until > now}
        return frozenset(self._aside_groups)

    def begin(
        self,
        index: int,
        name: str,
        processes: list[Process],
        freed: int,
        available: int,
        now: float,
        cgroup: str = "",
        inode: int = 0,
        target: Cgroup | None = None,
    ) -> None:
        """Starts an act of a rule on the processes of a unit, which should give back `freed` bytes.

        Args:
            cgroup: The unit is this whole cgroup; of the processes the first stands for all.
            inode: Which cgroup of that path; 0 is whichever there is.
            target: The cgroup that the rule is about.
        """
        assert self._act is None
        rule = self.policy.rules[index]
        self._act = Act(index, rule, name, processes, freed, available, cgroup, inode, target)
        self._climb(self._act, now)

    def relieve(self, rule: Rule, target: Cgroup | None) -> None:
        """Carries out the steps of a rule that ends nobody, beside whatever else is done."""
        for step in rule.steps:
            if step.kind == "shrink":
                self._shrink(rule, step, target)

    def close(self) -> None:
        """Leaves the act in flight, if there is one, as it is: what was changed for it is put back."""
        if self._act:
            self._end(self._act)

    def rest(self, now: float) -> None:
        """A dry run's act: nothing but a pause until the next."""
        self._idle_until = now + DRY_REST

    def advance(self, now: float, available: int, verdict: Verdict) -> None:
        """Goes on with the act, if there is one.

        Args:
            available: Bytes available now.
            verdict: The engine's on the same instant.
        """
        act = self._act
        if act is None:
            return
        if act.grip is not None and act.gone_after is None and act.grip.dead():
            act.gone_after = now - act.signalled
            act.deadline = now + SETTLE
        if act.gone_after is not None:
            self._settle(act, now, available)
            return
        self._hand_over(act, verdict, now)
        if self._act is not act or now < act.deadline:
            return
        if act.strength < STRENGTH["kill"] and act.step + 1 < len(act.rule.steps):
            if _holds(act, verdict):
                self._climb(act, now)
            else:
                self._emit(Recovered(act.rule.name, asked=act.grip is not None))
                self._end(act)
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
        act.step += 1
        if act.step >= len(act.rule.steps):
            self._end(act)
            return
        step = act.rule.steps[act.step]
        act.strength = max(act.strength, STRENGTH[step.kind])
        act.deadline = now + step.seconds
        if step.kind == "warn":
            then = ", ".join(step.kind for step in act.rule.steps[act.step + 1 :])
            self._emit(Warned(act.rule.name, f"{act.name} is the next to go: {then}"))
            if not step.seconds:
                self._climb(act, now)
        elif step.kind == "shrink":
            if not self._shrink(act.rule, step, act.target) or not step.seconds:
                self._climb(act, now)
        elif step.kind in ("run", "prekill"):
            command = step.command if step.kind == "run" else PREKILL
            if not self._run(act, command, step.seconds, now) or not step.seconds:
                self._climb(act, now)
        elif step.kind == "term":
            command = ()
            if act.processes:
                command = command_for(act.processes[0], act.rule.instead, self.policy.instead)
            self._seize(act)
            act.instead = bool(command) and not act.barred and self._run(act, command, step.seconds, now)
            if act.instead:
                act.signalled = now
            else:
                self._signal(act, SIGTERM, now)
        elif step.kind == "oom" and self._left_to_kernel(act, now):
            act.deadline = now + PATIENCE
        else:
            act.deadline = now + PATIENCE
            self._signal(act, SIGKILL, now)

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
        root = act.processes[0] if act.processes else None
        self._emit(
            Run(
                request=act.request,
                rule=act.rule.name,
                command=command,
                seconds=seconds,
                pid=root.pid if root else 0,
                name=root.name if root else act.name,
                user=root.user if root else 0,
                cgroup=act.cgroup or (root.cgroup if root else ""),
                cmdline=root.command if root else "",
            )
        )
        return True

    def _left_to_kernel(self, act: Act, now: float) -> bool:
        """Lets the kernel's own killer end the cgroup, or choose whom it ends; False where that is not possible."""
        try:
            if act.cgroup:
                self._seize(act).exhaust()
            elif act.rule.unit in WHOLE_UNITS:
                return False  # only a part of a cgroup was chosen, and the kernel would choose among everybody
            else:
                self._hands.leave_to_kernel()
        except (OSError, RuntimeError):
            return False
        act.signalled = now
        if act.cgroup:
            act.by_limit = True
            self._emit(Signalled(act.rule.name, BY_LIMIT, act.name, act.pids, (), act.cgroup))
        else:
            act.grip, act.by_kernel = Each([]), True
            self._emit(Signalled(act.rule.name, BY_KERNEL, act.name, (), ()))
        return True

    def _seize(self, act: Act) -> Grip:
        if act.grip is None:
            try:
                act.grip = self._grip(act)
            except OSError as error:
                act.grip, act.barred = Each([]), error.strerror or "it cannot be seized"
        return act.grip

    def _grip(self, act: Act) -> Grip:
        if not act.cgroup:
            return Each([victim for process in act.processes if (victim := self._hands.seize(process))])
        whole = self._hands.enclose(act.cgroup, act.inode)
        if whole is None:
            return Each([])
        act.inode = whole.inode
        return whole

    def _signal(self, act: Act, number: int, now: float) -> None:
        act.request = 0
        reached, refused = self._seize(act).signal(number)
        act.signalled = now
        name = "SIGKILL" if number == SIGKILL else "SIGTERM"
        there = set(reached)
        lost = tuple(pid for pid in act.pids if pid not in there)
        told = reached[:TOLD] if act.cgroup else reached
        if not act.barred:
            self._emit(Signalled(act.rule.name, name, act.name, told, lost, act.cgroup))
        if act.barred or (refused and not reached):
            self._give_up(act, now, act.barred or os.strerror(refused))

    def _hand_over(self, act: Act, verdict: Verdict, now: float) -> None:
        """A more urgent rule that has fired meanwhile goes on with the same victim, at its first stronger step; one
        with a scope only if it has fired for a cgroup that the victim is in."""
        for index in range(act.index):
            rule, judged = self.policy.rules[index], verdict.rules[index]
            about = next((path for path in judged.fired if _lies_in(act, path)), "") if rule.scope else ""
            if judged.state != FIRED or (rule.scope and not about):
                continue
            for position, step in enumerate(rule.steps):
                if STRENGTH[step.kind] > max(act.strength, 0):
                    act.index, act.rule, act.step = index, rule, position - 1
                    act.target = Cgroup(about) if about else None
                    self._climb(act, now)
                    return

    # --- ends ---------------------------------------------------------------------------------------------------

    def _settle(self, act: Act, now: float, available: int) -> None:
        came_back = max(0, available - act.available)
        if came_back >= act.freed / 2 or now >= act.deadline:
            assert act.gone_after is not None
            if not act.by_kernel:
                self._emit(Died(act.rule.name, act.name, act.pids, act.gone_after, came_back, act.cgroup))
            self._end(act)

    def _give_up(self, act: Act, now: float, why: str) -> None:
        left = act.grip.left() if act.grip else ()
        if act.cgroup:
            self._aside_groups[act.inode] = now + ASIDE
            left = left[:TOLD]
        else:
            self._aside.update((pid, now + ASIDE) for pid in left or act.pids)
        self._emit(Stuck(act.rule.name, act.name, left, now - act.signalled, why, act.cgroup))
        self._end(act)

    def _end(self, act: Act) -> None:
        if act.grip:
            act.grip.close()
        self._act = None


def _holds(act: Act, verdict: Verdict) -> bool:
    """Whether the act's rule has fired and still does, for the cgroup that it acts about."""
    judged = verdict.rules[act.index]
    return judged.state == FIRED and (act.target is None or act.target.path in judged.fired)


def _lies_in(act: Act, path: str) -> bool:
    inside = act.cgroup or (act.processes[0].cgroup if act.processes else "")
    return f"{inside}/".startswith(f"{path.rstrip('/')}/")
