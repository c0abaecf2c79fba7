"""What is known of the machine now, and the recent past of what is asked of it."""

from __future__ import annotations

from okoomer.policy.history import Series
from okoomer.policy.metrics import FORECAST, METRICS, PORTION, TREND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from okoomer.facts import Snapshot
    from okoomer.policy.metrics import Metric
    from okoomer.policy.model import Comparison

#: Seconds of the past from which the forecast is taken.
FORECAST_WINDOW = 5.0
#: Beside a portion's own reading, under its name and this, stands that of what it is a portion of.
WHOLE = " of"
#: Seconds for which the kernel's averages may still rise after a total stood still: it renews them every two.
SETTLING = 4.0


class Windows:
    """The series of one subject, the machine or a cgroup, by metric and window; those of what a portion is of."""

    def __init__(self, watched: Iterable[tuple[Metric, float]] = ()) -> None:
        self._series: dict[tuple[str, float], Series] = {}
        self._wholes: dict[tuple[str, float], Series] = {}
        for metric, window in watched:
            self.watch(metric, window)

    def watch(self, metric: Metric, window: float) -> None:
        """Keeps the past of a metric from now on."""
        total = metric.kind != TREND and metric.name != FORECAST
        self._series.setdefault((metric.name, window), Series(window, growing=total))
        if metric.kind == PORTION:
            self._wholes.setdefault((metric.name + WHOLE, window), Series(window, growing=True))

    def add(self, time: float, readings: dict[str, float | None]) -> None:
        """Takes the readings of an instant, by metric."""
        for kept in (self._series, self._wholes):
            for (name, _window), series in kept.items():
                value = readings[name]
                if value is None:
                    series.clear()
                else:
                    series.add(time, value)

    def clear(self) -> None:
        for series in (*self._series.values(), *self._wholes.values()):
            series.clear()

    @property
    def still(self) -> bool:
        """Whether all values stay as they are for as long as the readings do."""
        return all(series.still for kept in (self._series, self._wholes) for series in kept.values())

    def value(self, metric: Metric, window: float) -> float | None:
        """The value of a windowed metric."""
        series = self._series.get((metric.name, window))
        rate = series.rate() if series else None
        if metric.kind != PORTION or rate is None:
            return rate
        whole = self._wholes[metric.name + WHOLE, window].rate()
        return min(1.0, rate / whole) if whole else 0.0

    def slope(self, metric: Metric, window: float) -> float | None:
        """By how much each second a reading rises or falls, odd samples aside."""
        series = self._series.get((metric.name, window))
        return series.slope() if series else None


class Readings:
    """The machine, snapshot by snapshot."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._windows = Windows()
        self._watched: dict[str, Metric] = {}
        #: Totals that no cgroup's own can grow without, and when each was last seen to move.
        self._totals: dict[str, tuple[float, float]] = {}
        #: What was worked out of the present snapshot: rules ask for the same again and again.
        self._known: dict[tuple[str, float], float | None] = {}

    @property
    def snapshot(self) -> Snapshot:
        assert self._snapshot is not None
        return self._snapshot

    def watch(self, comparison: Comparison) -> None:
        """Keeps the past that a comparison needs."""
        metric = METRICS[comparison.metric]
        if metric.windowed or metric.name == FORECAST:
            self._known.clear()
            self._watched[metric.name] = metric
            self._windows.watch(metric, FORECAST_WINDOW if metric.name == FORECAST else comparison.over)

    def take(self, snapshot: Snapshot) -> bool:
        """The next snapshot. Whether it begins anew: what was read before a suspend says nothing of the machine that
        woke up."""
        last, self._snapshot = self._snapshot, snapshot
        self._known.clear()
        anew = last is not None and snapshot.asleep != last.asleep
        if anew:
            self._windows.clear()
            self._totals.clear()
        readings = {}
        for name, metric in self._watched.items():
            readings[name] = metric.read(snapshot)
            if metric.kind == PORTION and metric.total:
                readings[name + WHOLE] = metric.total(snapshot)
        self._windows.add(snapshot.time, readings)
        for name, total in _totals(snapshot):
            if total is None:
                self._totals.pop(name, None)
            elif name not in self._totals or self._totals[name][0] != total:
                self._totals[name] = total, snapshot.time
        return anew

    def calm_since(self, name: str) -> float | None:
        """Since when nothing on the machine, and so none of its cgroups, has stalled on a resource (`memory`, `io`,
        `cpu`) or been reclaimed (`scan`, `steal`, `refault`): the last instant at which the total had moved. None if it
        has moved now, or nobody can say."""
        found = self._totals.get(name)
        return found[1] if found and found[1] < self.snapshot.time else None

    def value(self, name: str, over: float = 0.0) -> float | None:
        """The present value of a metric: bytes, shares, seconds, or per second over a window."""
        asked = name, over
        if asked not in self._known:
            self._known[asked] = self._value(name, over)
        return self._known[asked]

    def _value(self, name: str, over: float) -> float | None:
        metric = METRICS[name]
        if metric.name == FORECAST:
            slope, left = self._windows.slope(metric, FORECAST_WINDOW), metric.read(self.snapshot)
            if slope is None or left is None:
                return None
            return left / -slope if slope < 0 else float("inf")
        return self._windows.value(metric, over) if metric.windowed else metric.read(self.snapshot)

    def threshold(self, comparison: Comparison) -> float:
        """What a comparison compares with."""
        total = METRICS[comparison.metric].total
        return comparison.threshold * (total(self.snapshot) if comparison.share and total else 1.0)


def _totals(snapshot: Snapshot) -> tuple[tuple[str, float | None], ...]:
    memory, io, cpu, paging = snapshot.memory_pressure, snapshot.io_pressure, snapshot.cpu_pressure, snapshot.paging
    return (
        ("memory", memory.some.total if memory else None),
        ("io", io.some.total if io else None),
        ("cpu", cpu.some.total if cpu else None),
        ("scan", paging.scan_kswapd + paging.scan_direct if paging else None),
        ("steal", paging.steal if paging else None),
        ("refault", paging.refault_anon + paging.refault_file if paging else None),
    )
