"""What has happened, in numbers with the names that Prometheus keeps them by."""

from __future__ import annotations

from okoomer.courier.parse import fields_of
from okoomer.events.model import (
    ANSWERED,
    BY_KERNEL,
    BY_LIMIT,
    BY_USER,
    END,
    GONE,
    LATE,
    LIMIT,
    OVER,
    PAUSE,
    RESUME,
    STOPPED,
    URGENT,
)
from okoomer.events.text import harmless
from okoomer.policy.select import app_of, container_of, unit_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: So many units have numbers of their own, and so many reasons; the others share OTHER. An act that is about no unit
#: has NONE. Characters of a label.
UNITS, REASONS, OTHER, NONE, LONGEST = 200, 32, "other", "none", 120
#: So many acts of the past are remembered.
REMEMBERED = 16
#: Seconds: from a process that was waiting for its end to one that holds gigabytes and sits in a slow disk.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: What counts as an act beside signals.
ACTS = {
    "warned": "warn", "shrunk": "shrink", "run": "run", "paused": "pause", "resumed": "resume", "limited": "limit",
    "slowed": "slow", "eased": "ease",
}  # fmt: skip
SIGNALS = {"SIGTERM": "term", "SIGKILL": "kill", BY_KERNEL: "oom", BY_LIMIT: "oom"}
#: How a question can end: by an answer, or as it is closed.
ANSWERS = (RESUME, PAUSE, END, LIMIT, LATE, OVER, URGENT, GONE, STOPPED)


class Tally:
    """Counts events, and keeps the guard's state as it was last told.

    Raises:
        ImportError: There is no prometheus_client.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
        from prometheus_client.exposition import generate_latest

        # When each counter began is a series more for each, and rate() finds out by itself.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._gauge, self._counter, self._generate = GaugeMetricFamily, CounterMetricFamily, generate_latest
        self._registry = registry = CollectorRegistry()
        self._actions = Counter(
            "okoomer_actions",
            "Acts of the guard by kind, reason and unit.",
            ("action", "reason", "unit"),
            registry=registry,
        )
        self._freed = Counter(
            "okoomer_freed_bytes", "What became available by acts, by unit.", ("unit",), registry=registry
        )
        self._latency = Histogram(
            "okoomer_kill_latency_seconds",
            "From the last signal until all processes of a unit were gone.",
            buckets=BUCKETS,
            registry=registry,
        )
        self._questions = Counter(
            "okoomer_questions",
            "Questions to people, by answer or how else they ended.",
            ("answer",),
            registry=registry,
        )
        for answer in ANSWERS:
            self._questions.labels(answer)
        self._stuck = Counter("okoomer_stuck", "Units that would not die and were set aside.", registry=registry)
        self._refused = Counter(
            "okoomer_refused", "Times that a rule fired and nobody's end would have helped.", registry=registry
        )
        self._kernel = Counter(
            "okoomer_kernel_kills", "Processes that the kernel's own killer has ended.", registry=registry
        )
        self._hangs = Counter("okoomer_guard_hangs", "Times that the guard's loop hung.", registry=registry)
        self._missed = Counter(
            "okoomer_courier_missed_events", "Events that were overwritten before they were read.", registry=registry
        )
        registry.register(self)
        self._state: dict[str, Any] = {}
        self._up = False
        self._next: int | None = None
        self._chosen: list[tuple[str, list[Any], str, str]] = []
        self._units: set[str] = set()
        self._reasons: set[str] = set()

    def text(self) -> bytes:
        """All numbers, in Prometheus' text format."""
        return bytes(self._generate(self._registry))

    def told(self, status: str, text: str) -> None:
        """Takes the guard's answer to `state`, or that it has none."""
        if status != "busy":  # which may be said for a guard that nobody has reached
            self._up = status != "silent"
        if status == "ok":
            self._state = fields_of(text) or self._state

    def lost(self) -> None:
        """The guard is gone; the next one numbers its events anew."""
        self._up = False
        self._next = None

    def hear(self, event: dict[str, Any]) -> None:
        """Takes an event.

        Raises:
            KeyError, TypeError, ValueError: It makes no sense.
        """
        self._follow(event.get("sequence"))
        name = event["event"]
        if name in ("chosen", "takenover"):
            about = (str(event["rule"]), list(event["pids"]), self._reason(str(event["reason"])), str(event["cgroup"]))
            self._chosen = [about, *self._chosen[: REMEMBERED - 1]]
        elif name == "signalled":
            if event["pids"]:
                self._act(SIGNALS.get(str(event["signal"]), OTHER), event)
        elif name in ACTS:
            self._act(ACTS[name], event)
        if name in ("died", "shrunk"):
            freed = float(event["came_back" if name == "died" else "got"])
            self._freed.labels(self._unit(self._about(event)[1])).inc(max(0.0, freed))
        if name == "died":
            self._latency.observe(max(0.0, float(event["seconds"])))
        elif name == "closed":
            ended = str(event["answer"] if event["how"] == ANSWERED else event["how"])
            self._questions.labels(ended if ended in ANSWERS else OTHER).inc()
        elif name == "kernelkilled":
            self._kernel.inc(max(0, int(event["count"])))
        elif name in ("stuck", "refused", "late"):
            {"stuck": self._stuck, "refused": self._refused, "late": self._hangs}[name].inc()
        if name == "level":
            self._state = {**self._state, "level": event["level"]}

    def _follow(self, sequence: Any) -> None:
        if not isinstance(sequence, int):
            return
        if self._next is not None and sequence > self._next:
            self._missed.inc(sequence - self._next)
        self._next = sequence + 1

    def _act(self, action: str, event: dict[str, Any]) -> None:
        reason, cgroup = self._about(event)
        self._actions.labels(action, reason, self._unit(cgroup)).inc()

    def _about(self, event: dict[str, Any]) -> tuple[str, str]:
        """Why somebody is acted upon, and his cgroup: as it was told when he was chosen, or by the event itself."""
        pids = event.get("pids") or event.get("lost") or [event.get("pid")]
        cgroup = str(event.get("cgroup") or "")
        if str(event.get("by", "")).startswith(BY_USER):
            return "user", cgroup
        for _, chosen, reason, path in self._chosen:
            if any(pid in chosen for pid in pids):
                return reason, cgroup or path
        rule = event.get("rule")
        reason, path = next(((why, path) for name, _, why, path in self._chosen if name == rule), (NONE, ""))
        return reason, cgroup or path

    def _reason(self, reason: str) -> str:
        return _bounded(reason, self._reasons, REASONS)

    def _unit(self, cgroup: str) -> str:
        return _bounded(label_of(cgroup), self._units, UNITS)

    def collect(self) -> Iterator[Any]:
        """The numbers that stand in the guard's state; what is not known is left out."""
        state = self._state
        yield self._gauge("okoomer_guard_up", "Whether the guard answers.", value=float(self._up))
        for key, name, help_text in _GAUGES:
            value = _number(state.get(key))
            if value is not None:
                yield self._gauge(name, help_text, value=value)
        if "left" in state:
            left = _number(state["left"])
            yield self._gauge(
                "okoomer_forecast_seconds",
                "Until memory and swap are gone at the present rate; infinite if that is not in sight.",
                value=float("inf") if left is None else left,
            )
        stalled = self._counter(
            "okoomer_memory_stalled_seconds",
            "Time that some or all tasks waited for memory, since boot.",
            labels=("kind",),
        )
        for kind in ("some", "full"):
            value = _number(state.get(f"psi_{kind}"))
            if value is not None:
                stalled.add_metric((kind,), value)
        if stalled.samples:
            yield stalled
        for key, name, help_text in _LISTS:
            if isinstance(state.get(key), list):
                yield self._gauge(name, help_text, value=float(len(state[key])))
        for key, name, help_text in _COUNTERS:
            value = _number(state.get(key))
            if value is not None:
                yield self._counter(name, help_text, value=value)


_GAUGES = (
    ("available", "okoomer_memory_available_bytes", "Memory that programs can still have."),
    ("effective", "okoomer_swap_effective_bytes", "Memory that swap can still win, zram at its ratio."),
    ("level", "okoomer_level", "How short memory is: 0, 50, 100 or 255."),
    ("canary", "okoomer_canary_late_seconds", "How late a small ordinary process was at the worst of the last 2 s."),
    ("rss", "okoomer_guard_resident_bytes", "The guard's resident memory."),
)
_LISTS = (
    ("paused", "okoomer_paused_processes", "Processes and cgroups that stand still."),
    ("questions", "okoomer_open_questions", "Questions that wait for an answer."),
)
_COUNTERS = (
    ("cpu", "okoomer_guard_cpu_seconds", "Processor time of the guard."),
    ("cycles", "okoomer_guard_cycles", "Looks of the guard at memory."),
)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _bounded(label: str, known: set[str], most: int) -> str:
    if label in known or label in (OTHER, NONE):
        return label
    if len(known) >= most:
        return OTHER
    known.add(label)
    return label


def label_of(cgroup: str) -> str:
    """The unit, application or container that a cgroup path lies in, without what is new with each start of it."""
    container = container_of(cgroup)
    if len(container) >= 12 and not container.strip("0123456789abcdef"):
        container = container[:12]  # as much as engines show
    unit = unit_of(cgroup)
    label = app_of(cgroup) or container or (_lasting(unit) if unit else cgroup.rstrip("/").rpartition("/")[2])
    return harmless(label)[:LONGEST] or NONE


def _lasting(unit: str) -> str:
    """A unit's name without the numbers of a session, a window or a command that was run once."""
    name, _, kind = unit.rpartition(".")
    if name.startswith("run-"):
        return f"run.{kind}"
    if kind != "scope":
        return unit
    words = name.split("-")
    while len(words) > 1 and not words[-1].strip("0123456789abcdef") and any(c.isdigit() for c in words[-1]):
        words.pop()
    return f"{'-'.join(words)}.{kind}"
