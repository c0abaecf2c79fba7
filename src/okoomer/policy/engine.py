"""The engine: snapshots in, verdicts out. A pure state machine without clock, file or global.

The guard, `why --machine`, `check` and every test run this one; there is no other place where a condition is judged.
Truth has three values: a condition about something that this machine does not offer is unknown, and a rule acts only
on what is true.
"""

from __future__ import annotations

from okoomer.policy.history import Series
from okoomer.policy.metrics import AVERAGE, FORECAST, LEVEL, METRICS, PORTION, STALL, TREND
from okoomer.policy.model import And, Comparison, Held, Not, Or
from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from okoomer.facts import Snapshot
    from okoomer.policy.metrics import Metric
    from okoomer.policy.model import Condition, Policy, Rule

QUIET, HOLDING, FIRED = "quiet", "holding", "fired"

#: Bytes per second by which memory can fall at the fastest that is plausible: several cores faulting huge pages in.
#: A core clears some 10 GB/s; earlyoom assumes 6, and ramps of 10 GB/s were the fastest to be measured here.
FILL_RATE = 10 * 1024**3
#: The same for swap: what the fastest disks and zram take.
SWAP_FILL_RATE = 4 * 1024**3
#: Seconds after which a reading that may jump at any time (flows, averages, ratios, forecasts, and levels that are
#: sudden) is looked at again; and while a stall is on, or nobody would tell of one: what shows that a machine thrashes
#: may show for half a second only.
GLANCE, CLOSELY = 0.5, 0.1
#: Seconds of the past from which the forecast is taken.
FORECAST_WINDOW = 5.0


class RuleVerdict(Record):
    """A rule at one instant; `values` are its metrics with their readings in bytes, seconds and shares."""

    name: str
    state: str
    values: tuple[tuple[str, float | None], ...]


class Verdict(Record):
    """What the policy says of one snapshot.

    `act` is the index of the rule that acts, `warnings` of those that only warn and do so now, `soonest` the seconds
    before which no rule that has not fired can fire, however fast memory fills.
    """

    time: float
    rules: tuple[RuleVerdict, ...]
    act: int | None
    warnings: tuple[int, ...]
    soonest: float


class Engine:
    """Runs a policy over successive snapshots.

    With `triggers` somebody else (the kernel's pressure triggers) tells when a stall begins, so `soonest` need not
    allow for one that begins unseen.
    """

    def __init__(self, policy: Policy, triggers: bool = False) -> None:
        self.policy = policy
        self.triggers = triggers
        #: Of this machine, at most FILL_RATE.
        self.fill_rate = float(FILL_RATE)
        self._snapshot: Snapshot | None = None
        #: By metric and window; those of what a portion is of.
        self._series: dict[tuple[str, float], Series] = {}
        self._wholes: dict[tuple[str, float], Series] = {}
        self._rules = [_RuleState(rule) for rule in policy.rules]
        for rule in policy.rules:
            for comparison in comparisons(rule):
                self._watch(comparison)

    def step(self, snapshot: Snapshot, acting: bool = False, passed_over: Container[int] = ()) -> Verdict:
        """The verdict on the next snapshot.

        Args:
            snapshot: Its time must not be before that of the last one.
            acting: An act is in flight: no rule starts another, and rests begin when it ends.
            passed_over: Rules that found nobody worth ending a moment ago: less urgent ones may.
        """
        last, self._snapshot = self._snapshot, snapshot
        if last and snapshot.asleep != last.asleep:
            # What was read before a suspend says nothing of the machine that woke up.
            self._forget()
        for (name, _window), series in self._series.items():
            value = METRICS[name].read(snapshot)
            if value is None:
                series.clear()
            else:
                series.add(snapshot.time, value)
        for (name, _window), series in self._wholes.items():
            total = METRICS[name].total
            assert total is not None
            series.add(snapshot.time, total(snapshot))

        verdicts, act, warnings, soonest = [], None, [], float("inf")
        for index, state in enumerate(self._rules):
            rule = state.rule
            self._judge(state)
            rested = state.fired and snapshot.time >= state.rested
            if state.warns and rested:
                # A warning stands in nobody's way, and without a rest it is given once.
                warnings.append(index)
                state.rested = snapshot.time + rule.rest if rule.rest else float("inf")
            elif state.warns and not state.fired and not rule.rest:
                state.rested = float("-inf")
            elif not state.warns and rested and not acting and act is None and index not in passed_over:
                act = index
                state.rested = snapshot.time + rule.rest
            elif not state.warns and acting and state.fired:
                state.rested = snapshot.time + rule.rest
            verdicts.append(RuleVerdict(rule.name, state.name, self._values(rule)))
            if not state.fired:
                soonest = min(soonest, self._soonest(rule.when, state))
        return Verdict(snapshot.time, tuple(verdicts), act, tuple(warnings), soonest)

    def value(self, metric: str, over: float = 0.0) -> float | None:
        """The present value of a metric: bytes, shares, seconds, or per second over a window."""
        assert self._snapshot is not None
        definition = METRICS[metric]
        if metric == FORECAST:
            forecast = self._series.get((metric, FORECAST_WINDOW))
            slope = forecast.slope() if forecast else None
            left = definition.read(self._snapshot)
            if slope is None or left is None:
                return None
            return left / -slope if slope < 0 else float("inf")
        if definition.windowed:
            series = self._series.get((metric, over))
            rate = series.rate() if series else None
            if definition.kind != PORTION or rate is None:
                return rate
            whole = self._wholes[metric, over].rate()
            return min(1.0, rate / whole) if whole else 0.0
        return definition.read(self._snapshot)

    # --- conditions ---------------------------------------------------------------------------------------------

    def _judge(self, state: _RuleState) -> None:
        assert self._snapshot is not None
        rule, now = state.rule, self._snapshot.time
        well = rule.until is not None and self._truth(rule.until, state, now) is True
        state.holding = False
        true = self._truth(rule.when, state, now) is True
        if state.fired and rule.until is not None:
            # Hysteresis: what has fired goes on until the machine is well again, not merely better.
            state.fired = not well
        else:
            state.fired = true

    def _truth(self, condition: Condition, state: _RuleState, now: float) -> bool | None:
        if isinstance(condition, Comparison):
            return self.holds(condition)
        if isinstance(condition, Held):
            # Each part is judged at each step, whatever the others say, so that no hold time is ever stale.
            inner = self._truth(condition.condition, state, now)
            if inner is not True:
                state.since.pop(condition, None)
                return inner
            held = now - state.since.setdefault(condition, now)
            if held + 1e-9 >= condition.seconds:
                return True
            state.holding = True
            return False
        if isinstance(condition, Not):
            inner = self._truth(condition.part, state, now)
            return None if inner is None else not inner
        truths = [self._truth(part, state, now) for part in condition.parts]
        decisive = isinstance(condition, Or)
        if decisive in truths:
            return decisive
        return None if None in truths else not decisive

    def holds(self, comparison: Comparison) -> bool | None:
        """Whether a comparison holds at present; None if it is about something that is not offered here."""
        value, threshold = self.value(comparison.metric, comparison.over), self._threshold(comparison)
        if value is None:
            return None
        return OPERATORS[comparison.operator](value, threshold)

    def _threshold(self, comparison: Comparison) -> float:
        assert self._snapshot is not None
        total = METRICS[comparison.metric].total
        return comparison.threshold * (total(self._snapshot) if comparison.share and total else 1.0)

    # --- how long nothing can happen ----------------------------------------------------------------------------

    def _soonest(self, condition: Condition, state: _RuleState, wanted: bool = True) -> float:
        """Seconds before which a condition cannot become true, or false where that is `wanted`; inf if it is about
        something absent."""
        if isinstance(condition, (And, Or)):
            last_of = max if isinstance(condition, And) is wanted else min
            return last_of(self._soonest(part, state, wanted) for part in condition.parts)
        if isinstance(condition, Held):
            assert self._snapshot is not None
            since = state.since.get(condition)
            if since is None:
                return self._soonest(condition.condition, state, wanted) + (condition.seconds if wanted else 0.0)
            left = condition.seconds - (self._snapshot.time - since)
            if wanted or left > 1e-9:
                return max(0.0, left) if wanted else 0.0
            return self._soonest(condition.condition, state, wanted)
        if isinstance(condition, Not):
            return self._soonest(condition.part, state, not wanted)
        return self._soonest_comparison(condition, wanted)

    def _soonest_comparison(self, comparison: Comparison, wanted: bool) -> float:
        metric = METRICS[comparison.metric]
        value, threshold = self.value(metric.name, comparison.over), self._threshold(comparison)
        glance = GLANCE if self.triggers else CLOSELY
        if value is None:
            return glance if metric.windowed and self._offered(metric) else float("inf")
        if OPERATORS[comparison.operator](value, threshold) is wanted:
            return 0.0
        distance = abs(value - threshold)
        if metric.kind == LEVEL and not metric.sudden:
            return distance / min(self.fill_rate, SWAP_FILL_RATE if metric.name.startswith("swap.") else FILL_RATE)
        rising = (comparison.operator in (">", ">=")) is wanted
        if metric.kind in (STALL, AVERAGE) and rising and self.triggers and metric.name.startswith("psi.memory."):
            return float("inf")
        # A stall cannot grow faster than time passes.
        return distance * comparison.over if metric.kind == STALL and rising else glance

    # --- what is remembered -------------------------------------------------------------------------------------

    def _watch(self, comparison: Comparison) -> None:
        metric = METRICS[comparison.metric]
        if metric.windowed or metric.name == FORECAST:
            window = FORECAST_WINDOW if metric.name == FORECAST else comparison.over
            total = metric.kind != TREND and metric.name != FORECAST
            self._series.setdefault((metric.name, window), Series(window, growing=total))
            if metric.kind == PORTION:
                self._wholes.setdefault((metric.name, window), Series(window, growing=True))

    def _offered(self, metric: Metric) -> bool:
        assert self._snapshot is not None
        return metric.read(self._snapshot) is not None

    def _values(self, rule: Rule) -> tuple[tuple[str, float | None], ...]:
        values: dict[str, float | None] = {}
        for comparison in comparisons(rule):
            if comparison.metric not in values:
                values[comparison.metric] = self.value(comparison.metric, comparison.over)
        return tuple(values.items())

    def _forget(self) -> None:
        for series in (*self._series.values(), *self._wholes.values()):
            series.clear()
        for state in self._rules:
            state.since.clear()


class _RuleState:
    """What the engine remembers of one rule: since when its held conditions are true, and until when it rests."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.warns = rule.only_warns
        self.since: dict[Held, float] = {}
        self.fired = False
        self.holding = False
        self.rested = float("-inf")

    @property
    def name(self) -> str:
        return FIRED if self.fired else HOLDING if self.holding else QUIET


OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda value, threshold: value < threshold,
    "<=": lambda value, threshold: value <= threshold,
    ">": lambda value, threshold: value > threshold,
    ">=": lambda value, threshold: value >= threshold,
}


def comparisons(rule: Rule) -> Iterator[Comparison]:
    """All comparisons of a rule, those of `until` last."""
    yield from inside(rule.when)
    if rule.until:
        yield from inside(rule.until)


def inside(condition: Condition) -> Iterator[Comparison]:
    """All comparisons of a condition, in the order in which they are written."""
    if isinstance(condition, Comparison):
        yield condition
    elif isinstance(condition, Held):
        yield from inside(condition.condition)
    elif isinstance(condition, Not):
        yield from inside(condition.part)
    else:
        for part in condition.parts:
            yield from inside(part)
