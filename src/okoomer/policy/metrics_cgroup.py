"""The metrics of cgroups: the guard loads them only where a condition names one. Who has METRICS from here has all."""

from __future__ import annotations

from okoomer.policy.metrics import (
    AVERAGE,
    COUNT,
    FLOW,
    LEVEL,
    PORTION,
    RATIO,
    STALL,
    TIME,
    TREND,
    Metric,
    memory_total,
    of_pressure,
    swap_total,
)
from okoomer.policy.metrics import (
    METRICS as METRICS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.facts import Cgroup, Snapshot

#: Of its own limit a cgroup that has less left than this share stalls for that limit's sake.
LIMITED = 0.02


def is_limited(cgroup: Cgroup) -> bool:
    """Whether a cgroup waits for its own sake, not for want of the machine's memory: it is at a limit (memory.high or
    memory.max) of its own or of one above it, or frozen."""
    if cgroup.frozen:
        return True
    if cgroup.left is None or cgroup.memory is None:
        return False
    return cgroup.left < LIMITED * (cgroup.memory + cgroup.left)


def _of_cgroup(
    name: str,
    kind: str,
    text: str,
    *fields: str,
    total: Callable[[Snapshot], float] | None = None,
    whole: Callable[[Cgroup], float] | None = None,
) -> Metric:
    """The sum of fields of a cgroup, None where one is not offered."""

    def read(cgroup: Cgroup) -> float | None:
        parts = [getattr(cgroup, field) for field in fields]
        return None if None in parts else sum(parts)

    return Metric(f"cgroup.{name}", kind, text, read, whole or total, fields + (("steal",) if whole else ()))


def _cgroup_stalls() -> list[Metric]:
    metrics = []
    lines = (("some", "at least one of its tasks"), ("full", "all of its tasks at once"))
    for resource in ("memory", "io", "cpu"):
        for line, who in lines:
            name, field = f"cgroup.psi.{resource}.{line}", f"{resource}_pressure"
            text = f"share of time in which {who} waited for {resource}, from the totals of its {resource}.pressure"
            metrics.append(Metric(name, STALL, text, of_pressure(resource, line, "total"), fields=(field,)))
            for average in ("avg10", "avg60", "avg300"):
                text = f"the same over the last {average[3:]} s, as the kernel averages it"
                read = of_pressure(resource, line, average)
                metrics.append(Metric(f"{name}.{average}", AVERAGE, text, read, fields=(field,)))
    for line, who in lines:
        text = f"share of time in which {who} waited for memory, not counting while it was at a limit of its own"
        # With `left` comes the cgroup's memory, where there is a limit.
        fields = ("memory_pressure", "left", "frozen")
        read = of_pressure("memory", line, "total")
        metrics.append(Metric(f"cgroup.stall.{line}", STALL, text, read, fields=fields, omits=is_limited))
    return metrics


def _cgroup_events() -> list[Metric]:
    def reader(event: str) -> Callable[[Cgroup], float | None]:
        return lambda cgroup: dict(cgroup.events).get(event)

    texts = {
        "low": "times that it was reclaimed from below memory.low",
        "high": "times that it was throttled at memory.high",
        "max": "times that it was about to go over memory.max",
        "oom": "times that it could not get memory at its limit",
        "oom_kill": "kills in it by the kernel itself",
    }
    return [
        Metric(f"cgroup.events.{event}", COUNT, f"{text} (memory.events)", reader(event), fields=("events",))
        for event, text in texts.items()
    ]


OF_CGROUPS: dict[str, Metric] = {
    metric.name: metric
    for metric in [
        _of_cgroup("memory", LEVEL, "memory charged to it (memory.current)", "memory", total=memory_total),
        _of_cgroup("anon", LEVEL, "its anonymous memory (memory.stat)", "anon", total=memory_total),
        _of_cgroup("file", LEVEL, "its page cache, tmpfs included (memory.stat)", "file", total=memory_total),
        _of_cgroup("shmem", LEVEL, "its shared memory and tmpfs (memory.stat)", "shmem", total=memory_total),
        _of_cgroup("swap", LEVEL, "its memory in swap (memory.swap.current)", "swap", total=swap_total),
        _of_cgroup("left", LEVEL, "what is left under its limits; absent without any", "left", total=memory_total),
        _of_cgroup(
            "protection",
            LEVEL,
            "what memory.min and memory.low keep for it, as distributed",
            "protection",
            total=memory_total,
        ),
        _of_cgroup("growth", TREND, "its growth, memory and swap together", "memory", "swap"),
        _of_cgroup("scan", FLOW, "bytes of it that reclaim looked at (pgscan)", "scan"),
        _of_cgroup("refault", FLOW, "evicted bytes of it read again (workingset_refault_*)", "refault"),
        _of_cgroup(
            "thrash",
            PORTION,
            "share of what reclaim took of it that it wanted back (workingset_refault_* of pgsteal)",
            "refault",
            whole=lambda cgroup: cgroup.steal or 0,
        ),
        *_cgroup_stalls(),
        *_cgroup_events(),
        _of_cgroup("dying", RATIO, "removed cgroups below it that still hold memory (cgroup.stat)", "dying"),
        _of_cgroup("populated", RATIO, "1 if it or one below it has a process, else 0", "populated"),
        _of_cgroup("processes", RATIO, "its processes and threads (pids.current)", "processes"),
        _of_cgroup(
            "io.cost",
            COUNT,
            "what its reads and writes cost its devices, in device time as oomd reckons it (io.stat)",
            "io_cost",
        ),
        _of_cgroup("age", TIME, "seconds since it was made; since the first look if it was there then", "age"),
    ]
}
METRICS.update(OF_CGROUPS)
