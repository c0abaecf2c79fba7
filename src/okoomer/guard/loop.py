"""The resident loop: sense, judge, act, tell, and sleep as long as nothing can happen."""

from __future__ import annotations

import os
from time import thread_time

from okoomer.events import model
from okoomer.events.text import readings
from okoomer.guard.doze import LONGEST as DOZED
from okoomer.guard.growth import Growth
from okoomer.guard.scan import Scan, descendants, floor_of, group_of, scan
from okoomer.guard.wake import Wake
from okoomer.guard.writers import Writers
from okoomer.kernel import clock
from okoomer.kernel import process as kernel
from okoomer.kernel.statm import KEPT, Sizes
from okoomer.policy.choose import apartness, choose, least_of, level_of, need_of, needs_of, protection
from okoomer.policy.engine import FIRED, QUIET, Engine
from okoomer.policy.metrics import available
from okoomer.policy.reason import reason_of
from okoomer.record import replace
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.facts import Process, Snapshot
    from okoomer.guard.ladder import Ladder
    from okoomer.guard.link import Link
    from okoomer.guard.sense import Sense
    from okoomer.guard.tell import Notify
    from okoomer.guard.watchdog import Watchdog
    from okoomer.kernel.machine import Machine
    from okoomer.policy.choose import Choice
    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Policy, Rule
    from okoomer.policy.scale import Candidate
    from okoomer.record import Record

#: Seconds between two looks: at the least, while a rule has fired, without and with triggers at the most.
SHORTEST, WHILE_FIRED, LONGEST_BLIND, LONGEST = 0.02, 0.1, 0.25, 10.0
#: Seconds until somebody is looked for again after nobody was worth it.
AGAIN = 1.0
#: Scans are kept for later growth when a rule could fire within so many seconds.
NEAR = 0.5
#: So many pids of each ranked unit are told: a family of thousands must not make an event that nobody can keep.
RANKED_PIDS = 16


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
        self._troubles: set[str] = set()
        self._unlisted: tuple[str, ...] = ()
        self._last: Snapshot | None = None
        self._growth = Growth()
        self.adopt(policy, sense)

    def adopt(self, policy: Policy, sense: Sense) -> None:
        """Goes by a policy from now on, as if it had been so since the start. No act may be in flight.

        Args:
            sense: Reads what the policy needs.
        """
        self.policy = self.ladder.policy = policy
        self.engine = Engine(policy)
        self.wake.close()
        self.wake = Wake(self._machine, policy, self._now)
        self._sense = sense
        self._writers = Writers(self._machine, sense, needs_of(policy))
        self._states = [QUIET] * len(policy.rules)
        #: Whether it was said in this episode, since the last act, that nobody's end would help.
        self._refused = False
        #: Rules that found nobody, and when they may look again.
        self._again: dict[int, float] = {}
        self._report_at = float("-inf")

    # --- one cycle ----------------------------------------------------------------------------------------------

    def cycle(self) -> float:
        """One pass: everything that there is to do now. Returns how many seconds nothing can happen."""
        snapshot = self._sense.snapshot()
        now = snapshot.time
        self.engine.triggers = self.wake.triggers
        self._again = {index: at for index, at in self._again.items() if now < at}
        verdict = self.engine.step(snapshot, self.ladder.busy(now), self._again)
        self._tell_changes(snapshot, verdict)
        self._report(snapshot)
        if self.ladder.busy(now):
            self.ladder.advance(now, available(snapshot), verdict)
        elif verdict.act is not None:
            self._act(verdict.act, snapshot, verdict)
        elif verdict.soonest < NEAR and self._growth.due(
            clock.since_boot(), available(snapshot), snapshot.memory.total
        ):
            self.prepare(snapshot)
        return self._sleep(verdict, self._now())

    def _sleep(self, verdict: Verdict, now: float) -> float:
        if self.ladder.busy(now):
            # A more urgent rule may fire meanwhile, and takes the act over at once.
            return min(max(self.ladder.wait(now), 0.001), max(verdict.soonest, SHORTEST), WHILE_FIRED)
        judged = zip(self.policy.rules, verdict.rules, strict=True)
        if any(found.state == FIRED and not rule.only_warns for rule, found in judged):
            return min(max(verdict.soonest, SHORTEST), WHILE_FIRED)
        longest = LONGEST if self.engine.triggers else LONGEST_BLIND
        if self.policy.report:
            longest = min(longest, max(0.0, self._report_at - now))
        if self.notify and self.notify.watchdog:
            longest = min(longest, self.notify.watchdog / 3)
        return min(max(verdict.soonest, SHORTEST), longest)

    def _tell_changes(self, snapshot: Snapshot, verdict: Verdict) -> None:
        troubles = {*self._sense.troubles(), *self._unlisted}
        if troubles != self._troubles:
            for text in sorted(troubles - self._troubles):
                self._emit(model.Trouble(text))
            for text in sorted(self._troubles - troubles):
                self._emit(model.Trouble(text, over=True))
            self._troubles = troubles
        last = self._last
        if last and snapshot.asleep != last.asleep:
            self._emit(model.Changed(f"the machine slept for {snapshot.asleep - last.asleep:.0f} s"))
            self._growth.forget()
        if last and snapshot.swap.total != last.swap.total:
            self._emit(model.Changed(f"swap is now {size(snapshot.swap.total)}, was {size(last.swap.total)}"))
        if "kernel_kills" in self.policy.tell and last and last.paging and snapshot.paging:
            kills = snapshot.paging.oom_kills - last.paging.oom_kills
            if kills > 0:
                self._emit(model.KernelKilled(kills))
        for index, rule in enumerate(verdict.rules):
            if rule.state != self._states[index]:
                self._states[index] = rule.state
                self._refused = self._refused and self._acute()
                self._emit(model.RuleChanged(rule.name, rule.state, rule.values))
        for index in verdict.warnings:
            rule = verdict.rules[index]
            self._emit(model.Warned(rule.name, f"{size(available(snapshot))} available: {readings(rule.values)}"))
        self._last = snapshot

    def _report(self, snapshot: Snapshot) -> None:
        # In an emergency there is better to be said.
        if not self.policy.report or snapshot.time < self._report_at or self._acute():
            return
        late = snapshot.time - self._report_at
        self._report_at = snapshot.time + self.policy.report - (late if late < self.policy.report else 0.0)
        self._tell_state(snapshot)

    def _tell_state(self, snapshot: Snapshot) -> None:
        memory, swap = snapshot.memory, snapshot.swap
        self._emit(model.Report(memory.total, available(snapshot), memory.anon, swap.total, swap.free))

    def _acute(self) -> bool:
        """Whether some rule that ends somebody is not quiet: as long as that lasts is an episode."""
        states = zip(self.policy.rules, self._states, strict=True)
        return any(state != QUIET and not rule.only_warns for rule, state in states)

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
                self._growth.earlier(clock.since_boot()),
                self._me,
                self._sizes,
                snapshot.memory.shmem,
            )
        except OSError as error:
            self._unlisted = (f"processes cannot be listed: {error.strerror}",)
            raise
        self._unlisted = ()
        return self._writers.join(found, need_of(rule, snapshot), patient)

    def _act(self, index: int, snapshot: Snapshot, verdict: Verdict) -> None:
        rule = self.policy.rules[index]
        began, cpu = self._now(), thread_time()
        try:
            found = self.look(rule, snapshot)
        except OSError:
            self._again = dict.fromkeys(range(len(self.policy.rules)), began + AGAIN)
            return
        aside = self.ladder.aside(began)
        ended = self._writers.ended(began, snapshot)
        choice = choose(rule, self.policy, snapshot, found.processes, self._me, aside, self._user, found.flood, ended)
        cost = thread_time() - cpu
        if choice.victim is None:
            self._again[index] = began + AGAIN
            if not self._refused:
                if self.thorough:
                    self._tell_state(snapshot)
                self._emit(model.Refused(rule.name, choice.refusal, ranked(choice)))
            self._refused = True
            return
        # Choosing took its time: does the rule still hold?
        snapshot = self._sense.snapshot()
        again = self.engine.step(snapshot, acting=True)
        self._tell_changes(snapshot, again)
        if again.rules[index].state != FIRED:
            self._emit(model.Recovered(rule.name, asked=False))
            return
        victim = choice.victim
        processes = self._whole(index, victim, found, aside)
        root = processes[0]
        if self.thorough:
            self._tell_state(snapshot)
        self._emit(
            model.Chosen(
                rule=rule.name,
                when=rule.when_text,
                reason=reason_of(rule, self.engine, choice.writes),
                values=again.rules[index].values,
                kind=victim.kind,
                name=victim.name,
                pids=tuple(process.pid for process in processes),
                command=root.command,
                freed=victim.freed,
                need=choice.need,
                why=victim.why,
                steps=tuple(step.kind for step in rule.steps),
                ranking=ranked(choice),
                processes=found.seen,
                scan_cpu_seconds=cost,
                seconds=self._now() - began,
                dry_run=self._dry_run,
                root=root.name,
                user=root.user,
                group=root.group,
                rss=root.anon + root.file + root.shmem,
                oom_score=root.oom_score,
                adjustment=root.adjustment,
                cgroup=root.cgroup,
            )
        )
        self._refused = False
        if self._dry_run:
            self.ladder.rest(self._now())
        else:
            if choice.writes:
                self._writers.end(rule, self._now())
            self.ladder.begin(index, victim.name, processes, victim.freed, available(snapshot), self._now())

    def _whole(self, index: int, victim: Candidate, found: Scan, aside: frozenset[int]) -> list[Process]:
        """All processes of the unit: with a family or a group also those that were too small to be looked at, or were
        born since. Of the first, who stands for all in what is told, also what no selector asked for."""
        rule = self.policy.rules[index]
        by_pid = {process.pid: process for process in found.processes}
        processes = [by_pid[pid] for pid in victim.pids]
        processes[0] = self._known(processes[0])
        if victim.kind == "process" and rule.unit != "group":
            return processes
        protects = protection(rule, self.policy, by_pid, self._me, aside, self._user)
        wants = needs_of(self.policy, rule)
        if rule.unit == "group" and victim.kind == "group":
            return processes + group_of(self._machine.proc, processes[0].group, {*victim.pids}, wants, protects)
        apart = apartness(rule, self.policy, by_pid)
        return processes + descendants(
            self._machine.proc, victim.pids, set(by_pid), wants, lambda process: protects(process) or apart(process)
        )

    def _known(self, process: Process) -> Process:
        proc, pid = self._machine.proc, process.pid
        told = "cmdline" in self.policy.tell or self.ladder.runs
        return replace(
            process,
            oom_score=process.oom_score or kernel.number(proc, pid, "oom_score"),
            cgroup=process.cgroup or kernel.cgroup(proc, pid),
            command=process.command or (kernel.command(proc, pid) if told else ""),
        )

    def prepare(self, snapshot: Snapshot) -> None:
        """Looks at the processes while there is time: for growth, and for the watchdog to know whom to kill."""
        rule = self.policy.rules[0]
        try:
            found = self.look(rule, snapshot, patient=False)
        except OSError:
            return
        self._growth.keep(found, available(snapshot))
        victim = choose(
            rule, self.policy, snapshot, found.processes, self._me, user=self._user, flood=found.flood
        ).victim
        if self.watchdog and victim:
            by_pid = {process.pid: process for process in found.processes}
            self.watchdog.best = (victim.name, tuple(by_pid[pid] for pid in victim.pids))

    # --- running ------------------------------------------------------------------------------------------------

    def run(self, stopped: Callable[[], bool]) -> None:
        """Cycles until told to stop."""
        while not stopped():
            pause = self.cycle()
            if self.show and self._last:
                self.show(self.state())
            well = self._last if self._calm() else None
            self.wake.wait(pause, self.ladder.pidfds(), well, self.engine.fill_rate, self._alive)

    def _calm(self) -> bool:
        """Whether nothing is to be said for a while if memory stays as it is."""
        if self.show or any(state != QUIET for state in self._states):
            return False
        return not self.policy.report or self._report_at - self._now() > DOZED

    def emergency(self, snapshot: Snapshot) -> float:
        """Bytes available below which a guard that hangs kills: the lowest level at which a rule acts; a fiftieth of
        memory where no rule names one. In a dry run memory is never short enough."""
        if self._dry_run:
            return 0.0
        total = snapshot.memory.total
        levels = [level for rule in self.policy.rules if (level := level_of(rule.when, total)) is not None]
        return min(levels, default=total / 50)

    def listen(self) -> None:
        """Takes the courier's answers."""
        assert self.link is not None
        for request, status in self.link.answers():
            self.ladder.ran(request, status, self._now())
        if not self.link.alive:
            self.wake.off(self.link.fd)
            self.ladder.runs = False
            self._emit(model.Trouble("the courier has ended: no command is run and nothing is announced any more"))

    def _alive(self, pause: float) -> None:
        if self.watchdog:
            self.watchdog.expect(pause)
        if self.notify and self.notify.watchdog:
            self.notify("WATCHDOG=1")

    def state(self) -> str:
        """The present state in one line."""
        assert self._last is not None
        memory, swap = self._last.memory, self._last.swap
        swapped = f"swap {size(swap.free)} of {size(swap.total)} free" if swap.total else "no swap"
        states = ", ".join(f"{rule.name} {state}" for rule, state in zip(self.policy.rules, self._states, strict=True))
        share = available(self._last) / memory.total
        return f"{size(available(self._last))} of {size(memory.total)} available ({share:.0%}), {swapped} | {states}"


def ranked(choice: Choice) -> tuple[model.Ranked, ...]:
    """A choice's ranking as events tell it."""
    return tuple(
        model.Ranked(c.kind, c.name, c.pids[:RANKED_PIDS], round(c.score, 1), c.freed, c.why) for c in choice.ranking
    )
