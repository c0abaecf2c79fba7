"""What is looked at while there is still time: the processes now, to know later who has grown; whom the watchdog would
kill, and the kernel's own killer should; and, for a warning, who grows."""

from __future__ import annotations

from okoomer.guard.growth import Growth
from okoomer.kernel import clock
from okoomer.kernel import process as kernel
from okoomer.policy.choose import at_its_level, choose
from okoomer.policy.engine import FIRED
from okoomer.policy.metrics import available
from okoomer.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol, TypeAlias

    from okoomer.facts import Cgroup, Process, Snapshot
    from okoomer.guard.note import Note
    from okoomer.guard.prime import Primes
    from okoomer.guard.scan import Scan
    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Policy, Rule

    Passed: TypeAlias = Callable[[Rule, Iterable[Process], float], tuple[frozenset[int], frozenset[int]]]

    class Looks(Protocol):
        """Finds the processes that matter to a rule."""

        def __call__(self, rule: Rule, snapshot: Snapshot, patient: bool = True) -> Scan: ...


#: Seconds between two looks for the sake of warnings.
LOOK_AGAIN = 5.0
#: Scans are kept for later growth when a rule could fire within so many seconds.
NEAR = 0.5


class Grower(Record):
    """Who grows: its first process, with its user and cgroup."""

    name: str = ""
    pid: int = 0
    user: int = -1
    cgroup: str = ""


NOBODY = Grower()


def nobody(rule: Rule, target: Cgroup | None, snapshot: Snapshot, verdict: Verdict) -> Grower:
    """There is no time to look."""
    return NOBODY


class Outlook:
    """See the module.

    Args:
        policy: By which whoever is named is found.
        look: Looks at the processes of the machine whose /proc is at `proc`.
        me: Our own pid.
        user: Only this user's processes can be ended; None if there is no such limit.
    """

    def __init__(self, policy: Policy, look: Looks, proc: str, me: int, user: int | None) -> None:
        self.policy = policy
        #: Raises whom the kernel's own killer should take, where the policy wants that and it can be undone.
        self.primes: Primes | None = None
        #: Whom a rule passes over, as pids and as inodes of cgroups.
        self.passed: Passed = lambda rule, processes, now: (frozenset(), frozenset())
        self._undone: tuple[Note, Callable[[Record], None]] | None = None
        self.growth = Growth()
        self._look = look
        self._proc = proc
        self._me = me
        self._user = user
        #: When somebody was looked for, in which cgroup, and who it was.
        self._seen = float("-inf"), "", NOBODY

    def adopt(self, policy: Policy) -> None:
        """Goes by a policy from now on."""
        self.policy = policy
        if policy.prime and self._undone and self.primes is None:
            from okoomer.guard.prime import Primes  # an emergency is no time to load it

            self.primes = Primes(self._proc, *self._undone)

    def arm(self, note: Note, emit: Callable[[Record], None]) -> None:
        """From now on processes may be raised.

        Args:
            note: Takes what has to be put back.
            emit: Takes the events.
        """
        self._undone = note, emit
        self.adopt(self.policy)

    def tend(self, snapshot: Snapshot, verdict: Verdict) -> tuple[str, tuple[Process, ...]] | None:
        """Does between acts what it is time for. If it has looked, what `prepare` says."""
        primes, best = self.primes, None
        short = bool(primes and primes.short(self.policy, snapshot, verdict))
        if primes and not short:
            primes.release()
        if (verdict.soonest < NEAR and self.due(snapshot)) or (primes and short and primes.due(snapshot.time)):
            best = self.prepare(snapshot)
            if primes and short:
                primes.first(best[1] if best else (), snapshot.time)
        return best

    def due(self, snapshot: Snapshot) -> bool:
        """Whether it is time to look for the sake of later growth."""
        return self.growth.due(clock.since_boot(), available(snapshot), snapshot.memory.total)

    def prepare(self, snapshot: Snapshot) -> tuple[str, tuple[Process, ...]] | None:
        """Looks at the processes: the name and the processes of whom the first rule would take if it had to now."""
        rule = next((rule for rule in self.policy.rules if not rule.managed), None)
        if rule is None:
            return None
        try:
            found = self._look(rule, snapshot, patient=False)
        except OSError:
            return None
        self.growth.keep(found, available(snapshot))
        rule = at_its_level(rule, snapshot)
        plain = replace(rule, unit="family", rank="freed", among=None) if rule.of_cgroups else rule
        aside, _ = self.passed(rule, found.processes, snapshot.time)
        # Whoever hangs cannot look at the next rule, so where all are within their shares it is anybody.
        for one in (plain, replace(plain, by="", share=None)):
            victim = choose(
                one, self.policy, snapshot, found.processes, self._me, aside, self._user, found.flood
            ).victim
            if victim or not rule.by:
                break
        if victim is None:
            return None
        by_pid = {process.pid: process for process in found.processes}
        return victim.name, tuple(by_pid[pid] for pid in victim.pids)

    def grower(self, rule: Rule, target: Cgroup | None, snapshot: Snapshot, verdict: Verdict) -> Grower:
        """Who grows most of those whom a rule that warns could take, and of those in `target` where it is about a
        cgroup; NOBODY if nobody is known to, or somebody is about to be ended. There is at most one look in LOOK_AGAIN
        seconds; what was seen then stands meanwhile."""
        judged = zip(self.policy.rules, verdict.rules, strict=True)
        if any(one.state == FIRED and not rule.only_warns for rule, one in judged):
            return NOBODY
        where = target.path if target else ""
        at, place, grower = self._seen
        if snapshot.time - at >= LOOK_AGAIN:
            self._seen = at, place, grower = snapshot.time, where, self._grower(rule, target, snapshot)
        return grower if place == where else NOBODY

    def _grower(self, rule: Rule, target: Cgroup | None, snapshot: Snapshot) -> Grower:
        try:
            found = self._look(rule, snapshot, patient=False)
        except OSError:
            return NOBODY
        if self.due(snapshot):
            self.growth.keep(found, available(snapshot))
        by_growth = replace(rule, unit="family", rank="growth", among=None)
        choice = choose(by_growth, self.policy, snapshot, found.processes, self._me, user=self._user, target=target)
        if not choice.ranking:
            return NOBODY
        # The whole of it, also where a part would be enough; and whoever stays, since ending it would not help.
        top = choice.ranking[0]
        if not choice.writes and (top.freed < choice.least or (top.growth or 0) <= 0):
            return NOBODY
        first = next(process for process in found.processes if process.pid == top.pids[0])
        cgroup = first.cgroup or kernel.cgroup(self._proc, first.pid)
        return Grower(top.name, first.pid, first.user, cgroup)
