"""An act in flight: who, under which rule, on which step, until when."""

from __future__ import annotations

from okoomer.events.model import Run, TakenOver, Warned
from okoomer.policy.engine import FIRED
from okoomer.policy.reason import OTHER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    from okoomer.facts import Cgroup, Process
    from okoomer.policy.engine import RuleVerdict, Verdict
    from okoomer.policy.model import Policy, Rule

    class Grip(Protocol):
        """A unit that has been seized (see guard.each)."""

        def signal(self, number: int) -> tuple[tuple[int, ...], int]: ...
        def exhaust(self) -> None: ...
        def dead(self) -> bool: ...
        def left(self) -> tuple[int, ...]: ...
        def pidfds(self) -> list[int]: ...
        def close(self) -> None: ...

    class Slow(Protocol):
        """A unit that is slowed down until that is over (see guard.slow)."""

        over: bool
        refused: str

        def presses(self) -> bool: ...

    class Held(Protocol):
        """A unit that stands still until that is over (see guard.hold): pids, each with its start in clock
        ticks; since when."""

        members: tuple[tuple[int, int], ...]
        since: float
        over: bool


#: How strong a step is: a more urgent rule takes an act over at its first stronger step.
STRENGTH = {
    "warn": 0, "shrink": 0, "run": 0, "prekill": 0, "slow": 1, "pause": 1, "ask": 1, "term": 2, "oom": 3, "kill": 3,
}  # fmt: skip
#: Of more processes of a cgroup than this not each is told.
TOLD = 1024


class Act:
    """An act of a rule on the processes of a unit, which should give back `freed` bytes.

    Args:
        index: Which of the policy's rules it is.
        available: Bytes available before it.
        cgroup: The unit is this whole cgroup; of the processes the first stands for all.
        inode: Which cgroup of that path; 0 is whichever there is.
        target: The cgroup that the rule is about.
        need: Bytes that have to come back.
        why: Why this unit, in words.
        renew: Gives its processes as they are later, with those that were born into it since.
        beside: Others who stand still with it as long as that is for a moment only.
        reason: Why the rule acts (see policy.reason).
    """

    def __init__(
        self,
        index: int,
        rule: Rule,
        name: str,
        processes: list[Process],
        freed: int,
        available: int,
        cgroup: str = "",
        inode: int = 0,
        target: Cgroup | None = None,
        need: int = 0,
        why: str = "",
        renew: Callable[[], list[Process]] | None = None,
        beside: Iterable[Process] = (),
        reason: str = OTHER,
    ) -> None:
        self.index = index
        self.rule = rule
        self.name = name
        self.processes = processes
        self.freed = freed
        self.available = available
        self.cgroup, self.inode, self.target = cgroup, inode, target
        #: Bytes available at the last look, and how many there have to be for it to be over.
        self.room = available
        self.wanted = available + need
        self.why, self.reason = why, reason
        self.renew = renew
        #: It stands still.
        self.hold: Held | None = None
        #: It is slowed down.
        self.slow: Slow | None = None
        self.beside = [*beside]
        #: It stands still for a moment, and that is all (model.Step.times).
        self.pulse = False
        #: And has not done so of late.
        self.first = False
        #: Bytes of it that were put into swap meanwhile.
        self.put_out = 0
        #: Somebody has answered that it is to end: then it ends, also if the rule does not hold any more.
        self.insisted = False
        #: More urgent rules, and for which cgroup, that had fired when it began.
        self.known: frozenset[tuple[int, str]] | None = None
        self.step = -1
        self.deadline = 0.0
        self.signalled = 0.0
        self.strength = -1
        self.grip: Grip | None = None
        #: Why it cannot be seized.
        self.barred = ""
        #: The command that is waited for, and since when; 0 if none is.
        self.request = 0
        self.requested = 0.0
        #: It stands in place of SIGTERM.
        self.instead = False
        #: Whom the kernel's own killer takes is not known.
        self.by_kernel = False
        #: It is ended through its own limit.
        self.by_limit = False
        self.gone_after: float | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        pids = tuple(process.pid for process in self.processes)
        return pids[:TOLD] if self.cgroup else pids

    def needed(self) -> bool:
        """Whether what its unit holds is still needed, where that is to be seen from the bytes available."""
        return self.target is None and self.lacks() > 0

    def lacks(self) -> int:
        """Bytes that are missing; what was put into swap of it was not won, since it wants that back."""
        return self.wanted + self.put_out - self.room

    @property
    def held_up(self) -> bool:
        """Whether it stands still or is slowed down, so that it does not show any more what it did."""
        return self.hold is not None or self.slow is not None

    @property
    def asked_to_end(self) -> bool:
        """Whether it has come to a step that ends its unit."""
        return self.strength >= STRENGTH["term"]

    @property
    def root(self) -> Process | None:
        """Who stands for the unit."""
        return self.processes[0] if self.processes else None

    @property
    def place(self) -> str:
        """The cgroup that the unit is, or that who stands for it is in."""
        return self.cgroup or (self.root.cgroup if self.root else "")

    @property
    def user(self) -> int:
        """The user whose processes these are; -1 if they are several users', or nobody is there."""
        users = {process.user for process in self.processes}
        return users.pop() if len(users) == 1 else -1

    def holds(self, verdict: Verdict) -> bool:
        """Whether its rule has fired and still does, for the cgroup that it is about."""
        judged = verdict.rules[self.index]
        return judged.state == FIRED and (self.target is None or self.target.path in judged.fired)

    def lies_in(self, path: str) -> bool:
        """Whether its unit lies in a cgroup."""
        return f"{self.place}/".startswith(f"{path.rstrip('/')}/")

    def more_urgent(self, policy: Policy, verdict: Verdict) -> list[tuple[int, str]]:
        """The rules before its own that have fired and end somebody, in order of urgency, and for which cgroup if they
        have a scope: those first that its unit lies in."""
        found: list[tuple[int, str]] = []
        for index in range(self.index):
            rule, judged = policy.rules[index], verdict.rules[index]
            if judged.state == FIRED and not rule.only_warns:
                paths = sorted(judged.fired, key=lambda path: not self.lies_in(path)) if rule.scope else [""]
                found += [(index, path) for path in paths]
        return found

    def warning(self, left: float | None) -> Warned:
        """That its unit is the next to go; `left` as the event has it."""
        then = ", ".join(step.kind for step in self.rule.steps[self.step + 1 :])
        return Warned(
            rule=self.rule.name,
            text=f"{self.name} is the next to go: {then}",
            name=self.name,
            pid=self.root.pid if self.root else 0,
            user=self.user,
            cgroup=self.place,
            available=self.room,
            left=left,
            act=True,
        )

    def taken_over(self, before: str, judged: RuleVerdict) -> TakenOver:
        """That its rule, of which the engine says what is given, goes on in the place of the one before."""
        target = self.target.path if self.target else ""
        return TakenOver(
            rule=self.rule.name,
            before=before,
            reason=self.reason,
            values=judged.values if judged.target == target else (),
            name=self.name,
            pids=self.pids,
            freed=self.freed,
            user=self.user,
            cgroup=self.place,
            target=target,
        )

    def run(self, command: tuple[str, ...], seconds: float) -> Run:
        """What asks the courier for a command."""
        root = self.root
        return Run(
            request=self.request,
            rule=self.rule.name,
            command=command,
            seconds=seconds,
            pid=root.pid if root else 0,
            name=root.name if root else self.name,
            user=root.user if root else 0,
            cgroup=self.place,
            cmdline=root.command if root else "",
        )
