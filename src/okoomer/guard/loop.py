"""The resident loop: sense, judge, act, tell, and sleep as long as nothing can happen."""

from __future__ import annotations

import os
from select import POLLERR, POLLIN, POLLPRI, poll
from time import thread_time

from okoomer.events import model
from okoomer.events.text import readings
from okoomer.guard.doze import CALM, SEEN, doze
from okoomer.guard.scan import Scan, descendants, floor_of, scan
from okoomer.guard.writers import Writers
from okoomer.kernel import clock
from okoomer.kernel.pressure import open_trigger
from okoomer.kernel.statm import KEPT, Sizes
from okoomer.policy.choose import apartness, choose, least_of, need_of, needs_of, protection
from okoomer.policy.engine import FIRED, QUIET, Engine, comparisons
from okoomer.policy.metrics import AVERAGE, LEVEL, METRICS, STALL, available
from okoomer.policy.reason import reason_of
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.facts import Process, Snapshot
    from okoomer.guard.ladder import Ladder
    from okoomer.guard.sense import Sense
    from okoomer.guard.tell import Notify
    from okoomer.guard.watchdog import Watchdog
    from okoomer.kernel.machine import Machine
    from okoomer.policy.choose import Candidate, Choice
    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Policy, Rule
    from okoomer.record import Record

#: Seconds between two looks: at the least, while a rule has fired, without and with triggers at the most.
SHORTEST, WHILE_FIRED, LONGEST_BLIND, LONGEST = 0.02, 0.1, 0.25, 10.0
#: Seconds for which the loop goes by its own readings after a trigger: two of its windows, the longer kind.
ARMED = 4.0
#: Seconds until somebody is looked for again after nobody was worth it.
AGAIN = 1.0
#: A scan is kept for later growth when a rule could fire within this many seconds; not more often than BASELINE_AGE
#: unless available memory fell by BASELINE_FALL of all since.
BASELINE_NEAR, BASELINE_AGE, BASELINE_FALL = 0.5, 10.0, 0.05
#: So many pids of each ranked unit are told: a family of thousands must not make an event that nobody can keep.
RANKED_PIDS = 16
#: Growth over less than this says little.
BASELINE_MIN = 1.0


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
    ) -> None:
        self.policy = policy
        self.engine = Engine(policy)
        self.watchdog: Watchdog | None = None
        self.notify: Notify | None = None
        self.show: Callable[[str], None] | None = None
        self._machine = machine
        self._sense = sense
        self._ladder = ladder
        self._emit = emit
        self._me = me
        self._dry_run = dry_run
        # Without root nobody else's processes can be ended, so they are not even ranked.
        self._user = os.geteuid() or None
        self._now = now
        self._states = [QUIET] * len(policy.rules)
        self._troubles: set[str] = set()
        self._unlisted: tuple[str, ...] = ()
        #: Whether it was said in this episode, since the last act, that nobody's end would help.
        self._refused = False
        #: Rules that found nobody, and when they may look again.
        self._again: dict[int, float] = {}
        self._last: Snapshot | None = None
        self._baselines: tuple[tuple[Scan, int], ...] = ()
        self._poller = poll()
        self._trigger: int | None = None
        self._wake = -1
        self._armed_until = float("-inf")
        self._meminfo = -1
        named = {comparison.metric for rule in policy.rules for comparison in comparisons(rule)}
        # What else there is may change at any time, and pauses are too short to doze where only that matters.
        blind = (metric for metric in named if METRICS[metric].kind in (LEVEL, STALL) and metric not in SEEN)
        self._dozes = all(metric.startswith("psi.memory.") for metric in blind)
        self._sizes = Sizes(machine.proc, KEPT)
        self._writers = Writers(machine, sense, needs_of(policy))

    # --- one cycle ----------------------------------------------------------------------------------------------

    def cycle(self) -> float:
        """One pass: everything that there is to do now. Returns how many seconds nothing can happen."""
        snapshot = self._sense.snapshot()
        now = snapshot.time
        self.engine.triggers = self._trigger is not None and now > self._armed_until
        self._again = {index: at for index, at in self._again.items() if now < at}
        verdict = self.engine.step(snapshot, self._ladder.busy(now), self._again)
        self._tell_changes(snapshot, verdict)
        if self._ladder.busy(now):
            self._ladder.advance(now, available(snapshot), verdict)
        elif verdict.act is not None:
            self._act(verdict.act, snapshot, verdict)
        elif verdict.soonest < BASELINE_NEAR:
            self._keep_baseline(snapshot)
        return self._sleep(verdict, self._now())

    def _sleep(self, verdict: Verdict, now: float) -> float:
        if self._ladder.busy(now):
            # A more urgent rule may fire meanwhile, and takes the act over at once.
            return min(max(self._ladder.wait(now), 0.001), max(verdict.soonest, SHORTEST), WHILE_FIRED)
        judged = zip(self.policy.rules, verdict.rules, strict=True)
        if any(found.state == FIRED and not rule.only_warns for rule, found in judged):
            return min(max(verdict.soonest, SHORTEST), WHILE_FIRED)
        longest = LONGEST if self.engine.triggers else LONGEST_BLIND
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
            self._baselines = ()
        if last and snapshot.swap.total != last.swap.total:
            self._emit(model.Changed(f"swap is now {size(snapshot.swap.total)}, was {size(last.swap.total)}"))
        for index, rule in enumerate(verdict.rules):
            if rule.state != self._states[index]:
                self._states[index] = rule.state
                self._refused = self._refused and self._acute()
                self._emit(model.RuleChanged(rule.name, rule.state, rule.values))
        for index in verdict.warnings:
            rule = verdict.rules[index]
            self._emit(model.Warned(rule.name, f"{size(available(snapshot))} available: {readings(rule.values)}"))
        self._last = snapshot

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
                self._earlier(),
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
        aside = self._ladder.aside(began)
        ended = self._writers.ended(began, available(snapshot), snapshot.memory.total)
        choice = choose(rule, self.policy, snapshot, found.processes, self._me, aside, self._user, found.flood, ended)
        cost = thread_time() - cpu
        if choice.victim is None:
            self._again[index] = began + AGAIN
            if not self._refused:
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
        self._emit(
            model.Chosen(
                rule=rule.name,
                when=rule.when_text,
                reason=reason_of(rule, self.engine, choice.writes),
                values=again.rules[index].values,
                kind=victim.kind,
                name=victim.name,
                pids=tuple(process.pid for process in processes),
                command=processes[0].command,
                freed=victim.freed,
                need=choice.need,
                why=victim.why,
                steps=tuple(step.kind for step in rule.steps),
                ranking=ranked(choice),
                processes=found.seen,
                scan_cpu_seconds=cost,
                seconds=self._now() - began,
                dry_run=self._dry_run,
            )
        )
        self._refused = False
        if self._dry_run:
            self._ladder.rest(self._now())
        else:
            if choice.writes:
                self._writers.end(rule, self._now())
            self._ladder.begin(index, victim.name, processes, victim.freed, available(snapshot), self._now())

    def _whole(self, index: int, victim: Candidate, found: Scan, aside: frozenset[int]) -> list[Process]:
        """All processes of the unit: with a family also those that were too small to be looked at, or were born
        since."""
        by_pid = {process.pid: process for process in found.processes}
        processes = [by_pid[pid] for pid in victim.pids]
        if victim.kind != "process":
            rule = self.policy.rules[index]
            protects, apart = (
                protection(rule, self.policy, by_pid, self._me, aside, self._user),
                apartness(rule, self.policy),
            )
            known = set(by_pid)
            processes += descendants(
                self._machine.proc,
                victim.pids,
                known,
                needs_of(self.policy, rule),
                lambda process: protects(process) or apart(process),
            )
        return processes

    # --- growth -------------------------------------------------------------------------------------------------

    def _earlier(self) -> Scan | None:
        """The newest kept scan that is old enough to tell growth from."""
        now = clock.since_boot()
        return next((kept for kept, _ in reversed(self._baselines) if now - kept.time >= BASELINE_MIN), None)

    def _keep_baseline(self, snapshot: Snapshot) -> None:
        left, total = available(snapshot), snapshot.memory.total
        if self._baselines:
            kept, then = self._baselines[-1]
            if left > then:
                # It has recovered: a fall from here is the next one.
                self._baselines = (*self._baselines[:-1], (kept, left))
                return
            age = clock.since_boot() - kept.time
            fell = (then - left) / total
            if not (age >= BASELINE_MIN and fell >= (BASELINE_FALL if age < BASELINE_AGE else BASELINE_FALL / 5)):
                return
        self.prepare(snapshot)

    def prepare(self, snapshot: Snapshot) -> None:
        """Looks at the processes while there is time: for growth, and for the watchdog to know whom to kill."""
        rule = self.policy.rules[0]
        try:
            found = self.look(rule, snapshot, patient=False)
        except OSError:
            return
        self._baselines = (*self._baselines[-1:], (found, available(snapshot)))
        victim = choose(
            rule, self.policy, snapshot, found.processes, self._me, user=self._user, flood=found.flood
        ).victim
        if self.watchdog and victim:
            by_pid = {process.pid: process for process in found.processes}
            self.watchdog.best = (victim.name, tuple(by_pid[pid] for pid in victim.pids))

    # --- running ------------------------------------------------------------------------------------------------

    def arm(self) -> bool:
        """Asks the kernel to wake the loop when a stall begins. Whether it does."""
        wanted = trigger_of(self.policy)
        if wanted and self._machine.live:
            self._trigger = open_trigger(f"{self._machine.proc}/pressure/memory", *wanted)
            if self._trigger is not None:
                self._poller.register(self._trigger, POLLPRI | POLLERR)
                self._meminfo = os.open(f"{self._machine.proc}/meminfo", os.O_RDONLY | os.O_CLOEXEC)
        return self._trigger is not None or wanted is None

    def run(self, wake: int, stopped: Callable[[], bool]) -> None:
        """Cycles until told to stop.

        Args:
            wake: A descriptor that becomes readable when there is something to stop for.
            stopped: Whether that is so.
        """
        self._wake = wake
        self._poller.register(wake, POLLIN)
        while not stopped():
            pause = self.cycle()
            if self.show and self._last:
                self.show(self.state())
            self._wait(pause)

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

    def _wait(self, pause: float) -> None:
        dying = self._ladder.pidfds()
        for pidfd in dying:
            self._poller.register(pidfd, POLLIN)
        # A hold or a repeated warning comes of time alone, whatever memory does.
        calm = pause >= CALM and self.engine.triggers and all(state == QUIET for state in self._states)
        if calm and self._dozes and not self.show and self._last:
            events = doze(self._poller, self._meminfo, self._last, pause, self.engine.fill_rate, self._alive)
        else:
            self._alive(pause)
            # Rounded up: a pause of 0.4 ms must not become a loop that never sleeps.
            events = self._poller.poll(int(pause * 1000) + 1)
        for fd, happened in events:
            if fd == self._wake:
                os.read(fd, 64)  # which signals they were is known by now
            elif fd != self._trigger:
                continue
            elif happened & POLLERR:
                self._poller.unregister(fd)
                self._trigger = None
            else:
                self._armed_until = self._now() + ARMED
        for pidfd in dying:
            self._poller.unregister(pidfd)


def ranked(choice: Choice) -> tuple[model.Ranked, ...]:
    """A choice's ranking as events tell it."""
    return tuple(
        model.Ranked(c.kind, c.name, c.pids[:RANKED_PIDS], round(c.score, 1), c.freed, c.why) for c in choice.ranking
    )


def trigger_of(policy: Policy) -> tuple[str, float, float] | None:
    """The pressure trigger (line, stall, window; seconds) that wakes before any rule about memory stalls can fire,
    or None if there is no such rule.

    A rule needs a share of its window stalled; some second of that window is stalled by at least that share, and the
    trigger goes off at half of it.
    """
    lines, shares = set(), []
    for rule in policy.rules:
        for comparison in comparisons(rule):
            if comparison.metric.startswith("psi.memory.") and METRICS[comparison.metric].kind in (STALL, AVERAGE):
                lines.add(comparison.metric.split(".")[2])
                shares.append(comparison.threshold)
    if not shares:
        return None
    return "some" if "some" in lines else "full", min(max(min(shares) / 2, 0.02), 0.5), 1.0
