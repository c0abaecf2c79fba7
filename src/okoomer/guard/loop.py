"""The resident loop: sense, judge, act, tell, and sleep as long as nothing can happen."""

from __future__ import annotations

import posix as os
from time import thread_time

from okoomer.events import model
from okoomer.guard.act import Act
from okoomer.guard.changes import Changes
from okoomer.guard.doze import LONGEST as DOZED
from okoomer.guard.level import Levels
from okoomer.guard.outlook import Outlook, nobody
from okoomer.guard.scan import Scan, floor_of, scan, untagged
from okoomer.guard.seek import Seeker, chosen, known, ranked
from okoomer.guard.wake import Wake
from okoomer.guard.writers import Writers
from okoomer.kernel import clock
from okoomer.kernel.statm import KEPT, Sizes
from okoomer.policy.choose import least_of, lowest_level, need_of, needs_of
from okoomer.policy.engine import FIRED, Engine
from okoomer.policy.metrics import FORECAST, available
from okoomer.policy.reason import reason_of
from okoomer.policy.wants import wants_of
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.facts import Cgroup, Snapshot
    from okoomer.guard.canary import Canary
    from okoomer.guard.cgroups import Cgroups
    from okoomer.guard.door import Door
    from okoomer.guard.ladder import Ladder
    from okoomer.guard.link import Link
    from okoomer.guard.sense import Sense
    from okoomer.guard.tell import Notify
    from okoomer.guard.turns import TakingTurns
    from okoomer.guard.watchdog import Watchdog
    from okoomer.kernel.machine import Machine
    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Policy, Rule
    from okoomer.record import Record

#: Seconds between two looks: at the least, while a rule has fired, without and with triggers at the most.
SHORTEST, WHILE_FIRED, LONGEST_BLIND, LONGEST = 0.02, 0.1, 0.25, 10.0
#: Seconds until somebody is looked for again after nobody was worth it.
AGAIN = 1.0
#: Seconds until those who stand still are looked at again, whether they live.
PRUNED = 10.0
#: Seconds until the candidates of a rule that ranks by rates are looked at a second time.
SECOND_LOOK = 0.25
#: Why nobody is taken where all have ended while they were looked at.
GONE = "who was chosen has just ended"


class Guard:
    """One machine under one policy.

    Args:
        me: Our own pid, which is never chosen.
        now: Seconds on the clock of snapshots; tests turn it themselves.
    """

    def __init__(
        self,
        machine: Machine,
        policy: Policy,
        sense: Sense,
        ladder: Ladder,
        emit: Callable[[Record], None],
        me: int,
        dry_run: bool = False,
        now: Callable[[], float] = clock.monotonic,
        keep: int = KEPT,
    ) -> None:
        self.watchdog: Watchdog | None = None
        self.notify: Notify | None = None
        self.show: Callable[[str], None] | None = None
        self.link: Link | None = None
        self.door: Door | None = None
        self.turns: TakingTurns | None = None
        self.canary: Canary | None = None
        #: Tell the state of memory also before each act.
        self.thorough = False
        self.ladder = ladder
        self.wake = Wake(machine, policy, now)
        self._machine = machine
        self._emit = emit
        self._me = me
        self._dry_run = dry_run
        # Without root nobody else's processes can be ended, so they are not even ranked.
        self._user = os.geteuid() or None
        self._now = now
        self._sizes = Sizes(machine.proc, keep)
        self._keep = keep
        self._cgroups: Cgroups | None = None
        self._unlisted: tuple[str, ...] = ()
        ladder.left, ladder.reason = self.left, lambda rule, target: reason_of(rule, self.engine, target=target)
        self.outlook = Outlook(policy, self.look, machine.proc, me, self._user)
        self.outlook.passed = ladder.passed_over
        self._changes = Changes(policy, emit)
        self._levels = Levels(policy, emit)
        self._pruned = float("-inf")
        #: How often all was looked at.
        self.cycles = 0
        self.adopt(policy, sense)

    def adopt(self, policy: Policy, sense: Sense) -> None:
        """Goes by a policy from now on, as if it had been so since the start. No act may be in flight.

        Args:
            sense: Reads what the policy needs.
        """
        self.wake.adopt(policy)
        self._sense = sense
        self._writers = Writers(self._machine, sense, needs_of(policy))
        self._pattern = policy
        self.engine = Engine(policy)
        if policy.of_cgroups and self._cgroups is None:
            # Where no rule is about cgroups none of this is ever loaded; an emergency is no time to load it.
            import okoomer.guard.band  # noqa: F401
            from okoomer.guard.cgroups import Cgroups
            from okoomer.guard.shrink import Shrinks

            self._cgroups = Cgroups(self._machine, self._keep)
            self.ladder.shrinks = Shrinks(self._machine.proc, self._emit)
        if self.turns is None and any(rule.takes_turns for rule in policy.rules):
            from okoomer.guard.turns import TakingTurns

            self.turns = TakingTurns(self._machine.proc, self.look, self.wake, self._emit, self._me, self._user)
        self._seeker = Seeker(policy, self._machine.proc, self._cgroups, self._me, self._user)
        self._goes_by(self._managed(policy))

    def _goes_by(self, policy: Policy) -> None:
        self.policy = self.ladder.policy = policy
        self.outlook.adopt(policy)
        self.engine.adopt(policy)
        self._seeker.adopt(policy)
        self._wants = {want.scope.text: want for want in wants_of(policy)}
        self._changes = Changes(policy, self._emit, self._changes)
        self._levels = Levels(policy, self._emit, self._levels)
        #: Whether it was said in this episode, since the last act, that nobody's end would help.
        self._refused = False
        #: Rules that found nobody, with the inode of the cgroup if they are about one, and when they may look again.
        self._again: dict[int | tuple[int, int], float] = {}

    def _managed(self, policy: Policy) -> Policy:
        """The policy with what systemd is told of its units."""
        managed = self.link.managed if self.link else None
        if managed is None or not policy.managed:
            return policy
        from okoomer.policy.instances import instances

        managed.changed = False
        return instances(policy, managed.settings)

    # --- one cycle ----------------------------------------------------------------------------------------------

    def cycle(self) -> float:
        """One pass: everything that there is to do now. Returns how many seconds nothing can happen."""
        self.cycles += 1
        if self.link and self.link.managed and self.link.managed.changed and not self.ladder.busy(self._now()):
            self._goes_by(self._managed(self._pattern))
        snapshot = self._read()
        now, self.engine.triggers = snapshot.time, self.wake.triggers
        self._again = {key: at for key, at in self._again.items() if now < at}
        passed = {*self._again, *self.ladder.asking.patient(self.policy, now)}
        verdict = self.engine.step(snapshot, self.ladder.busy(now), passed)
        if self.canary and verdict.asks:
            self.canary.ask()
        self._tell(snapshot, verdict)
        self._changes.report(snapshot)
        self._relieve(verdict)
        if self.turns and not self._dry_run and not (self.turns.knows and self._is_certain(verdict)):
            self.turns.tend(self.policy, snapshot, verdict, self.ladder)
        self._seeker.rate(verdict, snapshot)
        if self.ladder.holds and now >= self._pruned + PRUNED:
            self._pruned = now
            self.ladder.holds.prune(now)
        if self.ladder.busy(now):
            self.ladder.advance(now, available(snapshot), verdict)
        elif verdict.act is not None:
            self._act(verdict.act, verdict.target, snapshot, verdict)
        elif not self.ladder.asking.again(self.ladder, snapshot):
            self.prepare(snapshot, verdict)
        self._levels.tell(verdict, self.ladder.ending, available(snapshot), self.left)
        return self._sleep(verdict, self._now())

    def _read(self) -> Snapshot:
        """The machine now, with those cgroups that could matter as the rest of it stands."""
        snapshot = self.ladder.asking.excuse(self._sense.snapshot())
        if self.canary:
            snapshot = replace(snapshot, canary=self.canary.late())
        if not self._wants or self._cgroups is None:
            return snapshot
        wanted = self.engine.wanted(snapshot)
        scoped = self._cgroups.scoped([self._wants[text] for text in self._wants if text in wanted], snapshot.time)
        return replace(snapshot, scoped=scoped) if scoped else snapshot

    def _sleep(self, verdict: Verdict, now: float) -> float:
        if self.ladder.busy(now):
            # A more urgent rule may fire meanwhile, and takes the act over at once.
            return min(max(self.ladder.wait(now), 0.001), max(verdict.soonest, SHORTEST), WHILE_FIRED)
        judged, closely = zip(self.policy.rules, verdict.rules, strict=True), self.ladder.asking.closely(now)
        if any(found.state == FIRED and not rule.only_warns for rule, found in judged):
            return min(max(verdict.soonest, SHORTEST), WHILE_FIRED, closely)
        longest = min(LONGEST if self.engine.triggers else LONGEST_BLIND, self._levels.wait(now), closely)
        if self.policy.report:
            longest = min(longest, max(0.0, self._changes.report_at - now))
        if self.notify and self.notify.watchdog:
            longest = min(longest, self.notify.watchdog / 3)
        return min(max(verdict.soonest, SHORTEST), longest)

    def _tell(self, snapshot: Snapshot, verdict: Verdict) -> None:
        troubles = [*self._sense.troubles(), *self._unlisted, *(self._cgroups.troubles() if self._cgroups else ())]
        grower = nobody if self.ladder.busy(snapshot.time) else self.outlook.grower
        slept, changed = self._changes.tell(snapshot, verdict, troubles, grower, self.left)
        if slept:
            self.outlook.growth.forget()
        if changed:
            self._refused = self._refused and self._changes.acute()
        self._levels.tell(verdict, self.ladder.ending, available(snapshot), self.left)

    def _is_certain(self, verdict: Verdict) -> bool:
        """Whether somebody has to go now: a look at who could wait would take as long as the one at who it is."""
        return verdict.act is not None and not self.policy.rules[verdict.act].tentative

    def _relieve(self, verdict: Verdict) -> None:
        if not self._dry_run:
            for index, target in verdict.warnings:
                self.ladder.relieve(self.policy.rules[index], target)

    # --- acting -------------------------------------------------------------------------------------------------

    def look(self, rule: Rule, snapshot: Snapshot, patient: bool = True) -> Scan:
        """The processes that could matter now.

        Args:
            patient: Wait 0.2 s, if need be, to learn who fills memory that belongs to no process.

        Raises:
            OSError: They cannot be listed; it is told of as a trouble.
        """
        try:
            found = scan(
                self._machine.proc,
                clock.since_boot(),
                snapshot.swap.total - snapshot.swap.free,
                needs_of(self.policy, rule),
                floor_of(least_of(rule, snapshot.memory.total)),
                self.outlook.growth.earlier(clock.since_boot()),
                self._me,
                self._sizes,
                snapshot.memory.shmem,
                self._cgroups.tags if self._cgroups else untagged,
            )
        except OSError as error:
            self._unlisted = (f"processes cannot be listed: {error.strerror}",)
            raise
        self._unlisted = ()
        return self._writers.join(found, need_of(rule, snapshot), patient)

    def _act(self, index: int, target: Cgroup | None, snapshot: Snapshot, verdict: Verdict) -> None:
        rule, began, cpu = self.policy.rules[index], self._now(), thread_time()
        if rule.tentative and not self._dry_run:
            from okoomer.guard.pulses import repeat  # it is there already, see Asking.adopt

            if repeat(self.ladder, index, available(snapshot), began):
                return
        try:
            found = self.look(rule, snapshot)
        except OSError:
            self._forgo(index, target, began + AGAIN)
            return
        if not self._seeker.note(index, target, snapshot):
            self._forgo(index, target, began + SECOND_LOOK)
            return
        aside, groups = self.ladder.passed_over(rule, found.processes, began)
        ended = self._writers.ended(began, snapshot)
        choice = self._seeker.choice(rule, target, snapshot, found, aside, groups, ended)
        choice = self.turns.instead(rule, choice, snapshot) if self.turns else choice
        processes = self._seeker.members(rule, choice.victim, target, found, aside) if choice.victim else []
        cost = thread_time() - cpu
        if choice.victim is None or not processes:
            self._forgo(index, target, began + (choice.within or AGAIN))
            if not (choice.within or self._refused or self.ladder.keeps(rule, began)):
                if self.thorough:
                    self._changes.tell_state(snapshot)
                path = target.path if target else ""
                self._emit(model.Refused(rule.name, choice.refusal or GONE, ranked(choice), path))
                self._refused = True
            return
        again = verdict  # a moment's pause takes nothing, so that it need not
        if not rule.tentative:  # choosing took its time: does the rule still hold?
            snapshot = self._read()
            again = self.engine.step(snapshot, acting=True)
            self._tell(snapshot, again)
            self._relieve(again)
        if (judged := again.rules[index]).state != FIRED or (target and target.path not in judged.fired):
            self._emit(model.Recovered(rule.name, asked=False))
            return
        victim, reason = choice.victim, reason_of(rule, self.engine, choice.writes, target)
        heard = self.policy.runs and (self.ladder.runs or self.door is not None)
        processes[0] = known(self._machine.proc, processes[0], "cmdline" in self.policy.tell or heard)
        if self.thorough:
            self._changes.tell_state(snapshot)
        self._emit(
            chosen(
                rule,
                choice,
                processes,
                target,
                reason=reason,
                values=judged.values,
                processes=found.seen,
                scan_cpu_seconds=cost,
                seconds=self._now() - began,
                dry_run=self._dry_run,
            )
        )
        self._refused = False
        if self._dry_run:
            self.ladder.rest(self._now())
            return
        if choice.writes:
            self._writers.end(rule, self._now())
        act = Act(
            index, rule, victim.name, processes, victim.freed, available(snapshot), victim.cgroup, victim.inode, target,
            need=choice.need,
            why=victim.why,
            renew=lambda: self._seeker.grown(rule, victim, processes, target, found, aside),
            beside=self._seeker.beside(rule, choice, target, found, aside),
            reason=reason,
        )  # fmt: skip
        self.ladder.begin(act, self._now())

    def _forgo(self, index: int, target: Cgroup | None, until: float) -> None:
        """Nobody is taken: the rule looks again at that time."""
        self._again[(index, target.inode) if target else index] = until
        self.engine.forgo(index, target)

    def prepare(self, snapshot: Snapshot, verdict: Verdict | None = None) -> None:
        """Looks at the processes while there is time, with a verdict only if it is time to (see guard.outlook)."""
        best = self.outlook.tend(snapshot, verdict) if verdict else self.outlook.prepare(snapshot)
        if self.watchdog and best:
            self.watchdog.best = best

    # --- what is known ------------------------------------------------------------------------------------------

    @property
    def level(self) -> int:
        """How short memory is (see events.model.Level)."""
        return self._levels.level

    def latest(self, age: float) -> Snapshot:
        """The machine as it was at most so many seconds ago; without its cgroups.

        Raises:
            Unreadable: /proc/meminfo has never been readable.
        """
        last = self._changes.last
        return last if last and self._now() - last.time <= age else self._sense.snapshot()

    def left(self) -> float | None:
        """Seconds until nothing is left at the present rate, None if that is not in sight, or no rule is about it."""
        left = self.engine.value(FORECAST) if self._changes.last else None
        return None if left == float("inf") else left

    # --- running ------------------------------------------------------------------------------------------------

    def run(self, stopped: Callable[[], bool]) -> None:
        """Cycles until told to stop."""
        while not stopped():
            pause = self.cycle()
            if self.show:
                self.show(self._changes.line())
            pause = min((pause, *(part.wait() for part in (self.door, self.turns) if part)))
            self.wake.wait(pause, self.ladder.pidfds(), self.well(), self.engine.fill_rate, self._alive)
            if self.door:
                self.door.tend()

    def well(self) -> Snapshot | None:
        """The last snapshot, if nothing is to be said for a while as long as memory stays as it is."""
        if self.show or not self._changes.quiet(self.turns is None or self.turns.idle):
            return None
        due = self.policy.report and self._changes.report_at - self._now() <= DOZED
        return None if due else self._changes.last

    def emergency(self, snapshot: Snapshot) -> float:
        """Bytes available below which a guard that hangs kills. In a dry run memory is never short enough."""
        return 0.0 if self._dry_run else lowest_level(self.policy, snapshot.memory.total)

    def _alive(self, pause: float) -> None:
        if self.watchdog:
            self.watchdog.expect(pause)
        if self.notify and self.notify.watchdog:
            self.notify("WATCHDOG=1")
