"""The ladder: one act from its first step to the bytes that came back. A state machine with deadlines; it never
sleeps, and at most one act is in flight."""

from __future__ import annotations

import os
from errno import EPERM, ESRCH

from okoomer.events.model import Died, Ran, Recovered, Run, Signalled, Stuck, Warned
from okoomer.policy.engine import FIRED
from okoomer.policy.select import command_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import SIGKILL, SIGTERM
    from typing import Protocol

    from okoomer.facts import Process
    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Policy, Rule
    from okoomer.record import Record

    class Dying(Protocol):
        """A process that has been seized."""

        @property
        def pid(self) -> int: ...
        @property
        def pidfd(self) -> int: ...
        def signal(self, number: int) -> None: ...
        def dead(self) -> bool: ...
        def close(self) -> None: ...

    class Seizes(Protocol):
        """Whoever can lay hands on processes."""

        def seize(self, process: Process) -> Dying | None: ...
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
#: How strong a step is: a more urgent rule takes an act over at its first stronger step.
STRENGTH = {"warn": 0, "run": 0, "term": 1, "oom": 2, "kill": 2}
#: What a signal is called that the kernel's own killer sends (Documentation/admin-guide/sysrq.rst).
BY_KERNEL = "SysRq f"


class Act:
    """An act in flight: who, under which rule, on which step, until when."""

    def __init__(self, index: int, rule: Rule, name: str, processes: list[Process], freed: int, available: int) -> None:
        self.index = index
        self.rule = rule
        self.name = name
        self.processes = processes
        self.freed = freed
        self.available = available
        self.step = -1
        self.deadline = 0.0
        self.signalled = 0.0
        self.strength = -1
        self.victims: list[Dying] | None = None
        #: The command that is waited for, and since when; 0 if none is.
        self.request = 0
        self.requested = 0.0
        #: It stands in place of SIGTERM.
        self.instead = False
        #: Whom the kernel's own killer takes is not known.
        self.by_kernel = False
        self.gone_after: float | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(process.pid for process in self.processes)


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
        self._requests = 0
        self._act: Act | None = None
        self._idle_until = float("-inf")
        self._aside: dict[int, float] = {}

    def busy(self, now: float) -> bool:
        """Whether an act is in flight (or a dry run rests)."""
        return self._act is not None or now < self._idle_until

    def pidfds(self) -> list[int]:
        """Descriptors that become readable when something happens to the act."""
        act = self._act
        return [victim.pidfd for victim in act.victims] if act and act.victims and act.gone_after is None else []

    def wait(self, now: float) -> float:
        """Seconds until the ladder has to be looked after if nothing happens to its processes."""
        act = self._act
        if act is None:
            return max(0.0, self._idle_until - now) or float("inf")
        return GLIMPSE if act.gone_after is not None else max(0.0, act.deadline - now)

    def aside(self, now: float) -> frozenset[int]:
        """Those who would not die and are not to be tried again for now."""
        self._aside = {pid: until for pid, until in self._aside.items() if until > now}
        return frozenset(self._aside)

    def begin(self, index: int, name: str, processes: list[Process], freed: int, available: int, now: float) -> None:
        """Starts an act of a rule on the processes of a unit, which should give back `freed` bytes."""
        assert self._act is None
        self._act = Act(index, self.policy.rules[index], name, processes, freed, available)
        self._climb(self._act, now)

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
        if act.victims is not None and act.gone_after is None and all(victim.dead() for victim in act.victims):
            act.gone_after = now - act.signalled
            act.deadline = now + SETTLE
        if act.gone_after is not None:
            self._settle(act, now, available)
            return
        self._hand_over(act, verdict, now)
        if self._act is not act or now < act.deadline:
            return
        fired = verdict.rules[act.index].state == FIRED
        if act.strength < STRENGTH["kill"] and act.step + 1 < len(act.rule.steps):
            if fired:
                self._climb(act, now)
            else:
                self._emit(Recovered(act.rule.name, asked=act.victims is not None))
                self._end(act)
        elif act.strength < STRENGTH["kill"]:
            self._give_up(act, now, "it did not end when asked to")
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
        elif step.kind == "run":
            if not self._run(act, step.command, step.seconds, now) or not step.seconds:
                self._climb(act, now)
        elif step.kind == "term":
            command = command_for(act.processes[0], act.rule.instead, self.policy.instead)
            self._seize(act)
            act.instead = bool(command) and self._run(act, command, step.seconds, now)
            if act.instead:
                act.signalled = now
            else:
                self._signal(act, SIGTERM, now)
        elif step.kind == "oom" and self._left_to_kernel(act, now):
            act.deadline = now + PATIENCE
        else:
            act.deadline = now + PATIENCE
            self._signal(act, SIGKILL, now)

    def _run(self, act: Act, command: tuple[str, ...], seconds: float, now: float) -> bool:
        """Asks for a command; False if there is nobody to run it."""
        if not self.runs:
            return False
        self._requests += 1
        act.request, act.requested = self._requests, now
        root = act.processes[0]
        self._emit(
            Run(
                request=act.request,
                rule=act.rule.name,
                command=command,
                seconds=seconds,
                pid=root.pid,
                name=root.name,
                user=root.user,
                cgroup=root.cgroup,
                cmdline=root.command,
            )
        )
        return True

    def _left_to_kernel(self, act: Act, now: float) -> bool:
        """Lets the kernel's own killer choose; False where that is not permitted."""
        try:
            self._hands.leave_to_kernel()
        except OSError:
            return False
        act.victims, act.signalled, act.by_kernel = [], now, True
        self._emit(Signalled(act.rule.name, BY_KERNEL, act.name, (), ()))
        return True

    def _seize(self, act: Act) -> list[Dying]:
        if act.victims is None:
            act.victims = [victim for process in act.processes if (victim := self._hands.seize(process))]
        return act.victims

    def _signal(self, act: Act, number: int, now: float) -> None:
        act.request = 0
        reached, refused = [], 0
        for victim in self._seize(act):
            try:
                victim.signal(number)
                reached.append(victim.pid)
            except OSError as error:
                if error.errno != ESRCH:
                    refused = error.errno or EPERM
        act.signalled = now
        name = "SIGKILL" if number == SIGKILL else "SIGTERM"
        lost = tuple(pid for pid in act.pids if pid not in reached)
        self._emit(Signalled(act.rule.name, name, act.name, tuple(reached), lost))
        if refused and not reached:
            self._give_up(act, now, os.strerror(refused))

    def _hand_over(self, act: Act, verdict: Verdict, now: float) -> None:
        """A more urgent rule that has fired meanwhile goes on with the same victim, at its first stronger step."""
        for index in range(act.index):
            if verdict.rules[index].state != FIRED:
                continue
            for position, step in enumerate(self.policy.rules[index].steps):
                if STRENGTH[step.kind] > max(act.strength, 0):
                    act.index, act.rule, act.step = index, self.policy.rules[index], position - 1
                    self._climb(act, now)
                    return

    # --- ends ---------------------------------------------------------------------------------------------------

    def _settle(self, act: Act, now: float, available: int) -> None:
        came_back = max(0, available - act.available)
        if came_back >= act.freed / 2 or now >= act.deadline:
            assert act.gone_after is not None
            if not act.by_kernel:
                self._emit(Died(act.rule.name, act.name, act.pids, act.gone_after, came_back))
            self._end(act)

    def _give_up(self, act: Act, now: float, why: str) -> None:
        left = tuple(victim.pid for victim in act.victims or () if not victim.dead())
        self._aside.update((pid, now + ASIDE) for pid in left or act.pids)
        self._emit(Stuck(act.rule.name, act.name, left, now - act.signalled, why))
        self._end(act)

    def _end(self, act: Act) -> None:
        for victim in act.victims or ():
            victim.close()
        self._act = None
