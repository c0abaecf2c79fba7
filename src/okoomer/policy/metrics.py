"""The metrics that a condition can name: one table from which parser, engine, help and documentation come."""

from __future__ import annotations

from okoomer.record import Record
from okoomer.units import MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from okoomer.facts import Cgroup, Pressure, Snapshot

#: An amount of bytes at an instant. A percentage means that share of `Metric.total`.
LEVEL = "level"
#: Stalled time: the reading is a growing total of seconds, the value is its share of a window.
STALL = "stall"
#: A share of time that the kernel averages itself.
AVERAGE = "average"
#: A growing total of bytes; the value is bytes per second over a window.
FLOW = "flow"
#: An amount of bytes; the value is by how many bytes per second it grows over a window, or shrinks if that is negative.
TREND = "trend"
#: A growing count; the value is events per second over a window.
COUNT = "count"
#: A growing total as a share of another, each over a window: `Metric.total` is the other one.
PORTION = "portion"
#: A plain number.
RATIO = "ratio"
#: Seconds until something happens.
TIME = "time"


class Metric(Record):
    """One name of the language.

    `read` gives the reading in bytes, seconds, shares or counts, or None where the machine does not offer it;
    `total` what a percentage refers to, in bytes. `text` says in words what it is and where it comes from. A level that
    is `sudden` may be any other at the next instant.

    A metric `cgroup.*` reads one cgroup instead: `fields` are those of a `Cgroup` that it is taken from. While `omits`
    is true of the cgroup, what its total grows by does not count.
    """

    name: str
    kind: str
    text: str
    read: Callable[[Any], float | None]
    total: Callable[[Any], float] | None = None
    fields: tuple[str, ...] = ()
    omits: Callable[[Cgroup], bool] | None = None
    sudden: bool = False

    @property
    def of_cgroup(self) -> bool:
        """Whether it reads a cgroup and not the machine."""
        return bool(self.fields)

    @property
    def windowed(self) -> bool:
        """Whether the value is taken over a window, so that `over` applies."""
        return self.kind in (STALL, FLOW, TREND, PORTION, COUNT)

    @property
    def stalls(self) -> bool:
        """Whether it is a share of stalled time."""
        return self.kind in (STALL, AVERAGE)


class Metrics(dict[str, Metric]):
    """Metrics by name. Those of cgroups come along when the first of them is asked for, at the start: most guards never
    need one. Who wants all of them has `metrics_cgroup`."""

    def __missing__(self, name: str) -> Metric:
        from okoomer.policy import metrics_cgroup

        return metrics_cgroup.OF_CGROUPS[name]


#: The window, in seconds, of a stall or flow that names none.
DEFAULT_WINDOW = 1.0


def available(snapshot: Snapshot) -> int:
    """Bytes that can be had without swapping: MemAvailable, and what ZFS would give back of its cache."""
    arc = snapshot.arc
    return snapshot.memory.available + (max(0, arc.size - arc.minimum) if arc else 0)


#: Bytes in zram that are taken for granted before anything is known: a small part of any real device.
FORETASTE = 32 * MIB


def effective_swap(snapshot: Snapshot) -> int:
    """Bytes that swap can still take off memory.

    A byte on a disk is a byte won. A page that goes to zram stays in memory at the measured ratio (stored : used), so
    only the difference is won. A fresh device holds a page or two of housekeeping, which says nothing of what it can
    do: so to what was measured comes that FORETASTE had been stored already, at two to one.
    """
    swap, zram = snapshot.swap, snapshot.zram
    disk = swap.free - swap.zram_free
    stored, used = (zram.stored, zram.used) if zram else (0, 0)
    return disk + int(swap.zram_free * max(0.0, 1 - (used + FORETASTE / 2) / (stored + FORETASTE)))


def pending(snapshot: Snapshot) -> int:
    """Bytes that are on their way to swap, and free once they are written."""
    return min(snapshot.memory.writeback, snapshot.swap.cached)


def in_use(snapshot: Snapshot) -> int:
    """Bytes that are taken, memory and swap together. Pages on their way to swap are in both and count once."""
    swap = snapshot.swap
    return snapshot.memory.total - available(snapshot) + swap.total - swap.free - swap.cached


def memory_total(snapshot: Snapshot) -> float:
    return snapshot.memory.total


def swap_total(snapshot: Snapshot) -> float:
    return snapshot.swap.total


def _level(
    name: str, text: str, read: Callable[[Snapshot], float | None], total: Callable[[Snapshot], float] = memory_total
) -> Metric:
    return Metric(name, LEVEL, text, read, total)


def of_pressure(resource: str, line: str, field: str) -> Callable[[Snapshot], float | None]:
    def read(snapshot: Snapshot) -> float | None:
        pressure: Pressure | None = getattr(snapshot, f"{resource}_pressure")
        stall = getattr(pressure, line) if pressure else None
        return getattr(stall, field) if stall else None

    return read


def _stalled(resource: str, line: str) -> Callable[[Snapshot], float | None]:
    """The total of the machine, less what is excused of it."""
    total, which = of_pressure(resource, line, "total"), ("some", "full").index(line)

    def read(snapshot: Snapshot) -> float | None:
        stalled = total(snapshot)
        return None if stalled is None else stalled - snapshot.excused[which]

    return read if resource == "memory" else total


def _flow(name: str, text: str, *fields: str, kind: str = FLOW) -> Metric:
    def read(snapshot: Snapshot) -> float | None:
        return sum(getattr(snapshot.paging, field) for field in fields) if snapshot.paging else None

    return Metric(name, kind, text, read)


def _pressure_metrics() -> list[Metric]:
    metrics = []
    for resource in ("memory", "io", "cpu"):
        for line, who in (("some", "at least one task"), ("full", "all tasks at once")):
            name, wait = f"psi.{resource}.{line}", f"{who} waited for {resource}"
            text = f"share of time in which {who} waited for {resource}, from the totals of /proc/pressure/{resource}"
            metrics.append(Metric(name, STALL, text, _stalled(resource, line)))
            for average in ("avg10", "avg60", "avg300"):
                text = f"share of the last {average[3:]} s in which {wait}, as the kernel averages it"
                metrics.append(Metric(f"{name}.{average}", AVERAGE, text, of_pressure(resource, line, average)))
    return metrics


#: Levels of available memory: of all there is, and of what programs can have at all.
AVAILABLE, USER_AVAILABLE = "mem.available", "mem.available.user"

#: How late a small ordinary process is. It is never unknown: where there is none, nobody denies that it hurts.
CANARY = "canary.late"

#: Computed by the engine from its history: the one metric that no single snapshot can give.
FORECAST = "forecast.exhausted"

METRICS = Metrics(
    (metric.name, metric)
    for metric in [
        _level("mem.total", "memory that the kernel manages (MemTotal)", lambda s: s.memory.total),
        _level("mem.free", "memory that nothing uses (MemFree)", lambda s: s.memory.free),
        _level(AVAILABLE, "memory to be had without swapping (MemAvailable, and what ZFS gives back)", available),
        _level(
            USER_AVAILABLE,
            "the same; a percentage is of what programs can have (MemAvailable and AnonPages)",
            available,
            lambda s: available(s) + s.memory.anon,
        ),
        Metric("mem.growth", TREND, "growth of what is in use, memory and swap together", in_use),
        _level("mem.anon", "anonymous memory of processes (AnonPages)", lambda s: s.memory.anon),
        _level("mem.file", "page cache (Cached less Shmem, and Buffers)", lambda s: s.memory.file),
        _level("mem.shmem", "shared memory and tmpfs (Shmem)", lambda s: s.memory.shmem),
        _level("mem.slab", "kernel memory that stays (SUnreclaim)", lambda s: s.memory.slab_unreclaimable),
        Metric(
            "mem.pending",
            LEVEL,
            "memory that is on its way to swap, and free once it is written (Writeback, at most SwapCached)",
            pending,
            memory_total,
            sudden=True,
        ),
        _level("swap.total", "swap of all areas (SwapTotal)", lambda s: s.swap.total, swap_total),
        _level("swap.free", "free swap (SwapFree); without swap 0 bytes and 0 %", lambda s: s.swap.free, swap_total),
        _level("swap.used", "used swap", lambda s: s.swap.total - s.swap.free, swap_total),
        _level("swap.effective", "memory that swap can still win, zram at its ratio", effective_swap, swap_total),
        _level("zram.used", "memory that zram devices occupy", lambda s: s.zram.used if s.zram else None),
        _level(
            "zram.stored",
            "bytes stored in zram devices, before compression",
            lambda s: s.zram.stored if s.zram else None,
            lambda s: s.zram.size if s.zram else 0,
        ),
        Metric(
            "zram.ratio",
            RATIO,
            "compression of zram: stored bytes for each byte used",
            lambda s: s.zram.stored / s.zram.used if s.zram and s.zram.used else None,
        ),
        *_pressure_metrics(),
        _flow("vm.swapin", "bytes swapped in (pswpin)", "swapin"),
        _flow("vm.swapout", "bytes swapped out (pswpout)", "swapout"),
        _flow("vm.refault", "evicted bytes read again (workingset_refault_*)", "refault_anon", "refault_file"),
        _flow("vm.refault.anon", "anonymous bytes swapped in again (workingset_refault_anon)", "refault_anon"),
        _flow("vm.refault.file", "bytes of files read again (workingset_refault_file)", "refault_file"),
        Metric(
            "vm.thrash",
            PORTION,
            "share of what reclaim took that was wanted back (workingset_refault_* of pgsteal_*)",
            lambda s: s.paging.refault_anon + s.paging.refault_file if s.paging else None,
            lambda s: s.paging.steal if s.paging else 0,
        ),
        Metric(
            "vm.busy",
            PORTION,
            "share of what reclaim decided on that is in use and stays (pgactivate of it, pgsteal_* and pswpout)",
            lambda s: s.paging.activated if s.paging else None,
            lambda s: s.paging.activated + s.paging.steal + s.paging.swapout if s.paging else 0,
        ),
        Metric(
            "vm.circle",
            PORTION,
            "share of all memory that reclaim comes to and finds in use, each second (pgactivate)",
            lambda s: s.paging.activated if s.paging else None,
            lambda s: s.memory.total * s.time,
        ),
        _flow("vm.scan", "bytes that reclaim looked at (pgscan_*)", "scan_kswapd", "scan_direct"),
        _flow("vm.scan.direct", "bytes that tasks had to look at themselves (pgscan_direct)", "scan_direct"),
        _flow("vm.major_faults", "page faults that read from a disk (pgmajfault)", "major_faults", kind=COUNT),
        _flow("vm.oom_kills", "kills by the kernel itself (oom_kill)", "oom_kills", kind=COUNT),
        Metric(
            FORECAST,
            TIME,
            "seconds until memory and effective swap are gone at the rate of the last seconds; never, if they only "
            "waver",
            lambda s: available(s) + effective_swap(s),
        ),
        Metric(
            CANARY,
            TIME,
            "seconds by which a small ordinary process is late with a sign of life, the worst of the last 2 s; without "
            "such a process as late as can be",
            lambda s: float("inf") if s.canary is None else s.canary,
        ),
    ]
)
