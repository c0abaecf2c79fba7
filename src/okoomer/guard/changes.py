"""Telling what has changed from one look to the next: troubles, the machine, the rules; and the periodic report."""

from __future__ import annotations

from okoomer.events import model
from okoomer.events.text import readings
from okoomer.guard.outlook import nobody
from okoomer.policy.engine import QUIET
from okoomer.policy.metrics import available
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from okoomer.facts import Cgroup, Snapshot
    from okoomer.guard.outlook import Grower
    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Policy, Rule
    from okoomer.record import Record


class Changes:
    """What was told last under one policy, and so what is new."""

    def __init__(self, policy: Policy, emit: Callable[[Record], None], before: Changes | None = None) -> None:
        self._policy = policy
        self._emit = emit
        self.last: Snapshot | None = before.last if before else None
        self._troubles: set[str] = before._troubles if before else set()
        known = before._states if before else {}
        self._states: dict[str, str] = {rule.name: known[rule.name] for rule in policy.rules if rule.name in known}
        #: When the next report is due.
        self.report_at = float("-inf")

    def tell(
        self,
        snapshot: Snapshot,
        verdict: Verdict,
        troubles: Iterable[str],
        grower: Callable[[Rule, Cgroup | None, Snapshot, Verdict], Grower] = nobody,
        left: Callable[[], float | None] = lambda: None,
    ) -> tuple[bool, bool]:
        """Emits what is new. Whether the machine has slept since, and whether some rule has another state.

        Args:
            grower: Finds out for a warning who grows.
            left: Tells the seconds until nothing is left at the present rate.
        """
        found = {*troubles}
        if found != self._troubles:
            for text in sorted(found - self._troubles):
                self._emit(model.Trouble(text))
            for text in sorted(self._troubles - found):
                self._emit(model.Trouble(text, over=True))
            self._troubles = found
        slept = self._of_machine(snapshot)
        changed = False
        for rule, judged in zip(self._policy.rules, verdict.rules, strict=True):
            if judged.state != self._states.get(judged.name, QUIET):
                self._states[judged.name] = judged.state
                changed = True
                # Of a rule that does nothing but say how short memory is the level itself is told.
                if rule.steps:
                    self._emit(model.RuleChanged(judged.name, judged.state, judged.values, judged.target))
        for index, target in verdict.warnings:
            rule, judged = self._policy.rules[index], verdict.rules[index]
            if any(step.kind == "warn" for step in rule.steps):
                where = f"{target.path}: " if target else ""
                text = f"{where}{size(available(snapshot))} available: {readings(judged.values)}"
                who = grower(rule, target, snapshot, verdict)
                self._emit(
                    model.Warned(
                        judged.name, text, who.name, who.pid, who.user, who.cgroup, available(snapshot), left()
                    )
                )
        self.last = snapshot
        return slept, changed

    def _of_machine(self, snapshot: Snapshot) -> bool:
        last = self.last
        if last is None:
            return False
        slept = snapshot.asleep != last.asleep
        if slept:
            self._emit(model.Changed(f"the machine slept for {snapshot.asleep - last.asleep:.0f} s"))
        if snapshot.swap.total != last.swap.total:
            self._emit(model.Changed(f"swap is now {size(snapshot.swap.total)}, was {size(last.swap.total)}"))
        if "kernel_kills" in self._policy.tell and last.paging and snapshot.paging:
            kills = snapshot.paging.oom_kills - last.paging.oom_kills
            if kills > 0:
                self._emit(model.KernelKilled(kills))
        return slept

    def report(self, snapshot: Snapshot) -> None:
        """The periodic report, when it is due. In an emergency there is better to be said."""
        every = self._policy.report
        if not every or snapshot.time < self.report_at or self.acute():
            return
        late = snapshot.time - self.report_at
        self.report_at = snapshot.time + every - (late if late < every else 0.0)
        self.tell_state(snapshot)

    def tell_state(self, snapshot: Snapshot) -> None:
        """The state of memory, as an event."""
        memory, swap = snapshot.memory, snapshot.swap
        self._emit(model.Report(memory.total, available(snapshot), memory.anon, swap.total, swap.free))

    def acute(self) -> bool:
        """Whether some rule that ends somebody is not quiet: as long as that lasts is an episode."""
        return any(self.state_of(rule.name) != QUIET and not rule.only_warns for rule in self._policy.rules)

    def quiet(self, still: bool = False) -> bool:
        """Whether all rules are; `still`: those that have others take turns need not be, since nobody does."""
        turning = {rule.name for rule in self._policy.rules if rule.takes_turns} if still else ()
        return all(state == QUIET or name in turning for name, state in self._states.items())

    def state_of(self, rule: str) -> str:
        """The state of a rule when it was last told of."""
        return self._states.get(rule, QUIET)

    def line(self) -> str:
        """The present state in one line."""
        assert self.last is not None
        memory, swap = self.last.memory, self.last.swap
        swapped = f"swap {size(swap.free)} of {size(swap.total)} free" if swap.total else "no swap"
        states = ", ".join(f"{rule.name} {self.state_of(rule.name)}" for rule in self._policy.rules if not rule.managed)
        share = available(self.last) / memory.total
        return f"{size(available(self.last))} of {size(memory.total)} available ({share:.0%}), {swapped} | {states}"
