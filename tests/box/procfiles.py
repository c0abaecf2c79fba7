"""The text of the kernel's memory files for a machine that a test invents.

Every number has a fixed width, so that a file keeps its length when its values change: it can then be
replaced by a single `pwrite` and a reader that holds it open never sees half of two readings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True)
class Memory:
    """The memory of a machine, in bytes.

    Without `anon`, all that is neither available nor shared is anonymous. The kernel itself then uses
    nothing, and a share of MemTotal equals a share of MemAvailable + AnonPages: the daemons that divide by
    the one or by the other see the same percentage.
    """

    total: int = 24 * GIB
    available: int = 20 * GIB
    swap_total: int = 0
    swap_free: int = 0
    anon: int | None = None
    shmem: int = 0

    def meminfo(self) -> bytes:
        """/proc/meminfo; raises ValueError for a machine that cannot be."""
        used = self.total - self.available
        anon = max(0, used - self.shmem) if self.anon is None else self.anon
        slab = used - anon - self.shmem
        if min(self.available, self.swap_free, self.shmem, anon, slab, self.swap_total - self.swap_free) < 0:
            raise ValueError(f"no machine has such memory: {self}")
        cache = min(self.available // 4, GIB)
        swapped = self.swap_total - self.swap_free
        sizes = {
            "MemTotal": self.total,
            "MemFree": self.available - cache,
            "MemAvailable": self.available,
            "Buffers": 0,
            "Cached": cache + self.shmem,
            "SwapCached": 0,
            "Active": cache,
            "Inactive": anon + self.shmem,
            "Active(anon)": 0,
            "Inactive(anon)": anon + self.shmem,
            "Active(file)": cache,
            "Inactive(file)": 0,
            "Unevictable": 0,
            "Mlocked": 0,
            "SwapTotal": self.swap_total,
            "SwapFree": self.swap_free,
            "Dirty": 0,
            "Writeback": 0,
            "AnonPages": anon,
            "Mapped": cache // 2,
            "Shmem": self.shmem,
            "KReclaimable": 0,
            "Slab": slab,
            "SReclaimable": 0,
            "SUnreclaim": slab,
            "KernelStack": 0,
            "PageTables": 0,
            "CommitLimit": self.total // 2 + self.swap_total,
            "Committed_AS": anon + self.shmem + swapped,
            "Hugepagesize": 2 * MIB,
            "Hugetlb": 0,
        }
        return "".join(f"{name + ':':<16}{value // KIB:>10} kB\n" for name, value in sizes.items()).encode()

    def swaps(self) -> bytes:
        """/proc/swaps, with one device if there is swap."""
        text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        if self.swap_total:
            used = self.swap_total - self.swap_free
            text += f"{'/dev/vdb':<40}partition\t{self.swap_total // KIB:<12}\t{used // KIB:<12}\t-2\n"
        return text.encode()


@dataclass(frozen=True)
class Fall:
    """Available memory that falls from `start`, at `since`, by `rate` bytes per second down to `floor`."""

    start: int
    since: float
    rate: float
    floor: int

    def available(self, at: float) -> int:
        """What the box's memory was, or will be, at that time."""
        return max(self.floor, self.start - int(self.rate * (at - self.since)))


@dataclass(frozen=True)
class Pressure:
    """One pressure file: averages in percent, totals in microseconds."""

    some: tuple[float, float, float] = (0.0, 0.0, 0.0)
    full: tuple[float, float, float] = (0.0, 0.0, 0.0)
    some_total: int = 0
    full_total: int = 0

    def text(self) -> bytes:
        """The two lines; leading zeros in the total keep the length."""
        return (
            _pressure_line("some", self.some, self.some_total) + _pressure_line("full", self.full, self.full_total)
        ).encode()


def _pressure_line(kind: str, averages: tuple[float, float, float], total: int) -> str:
    avg10, avg60, avg300 = averages
    head = f"{kind} avg10={avg10:.2f} avg60={avg60:.2f} avg300={avg300:.2f} total="
    return f"{head}{total:0{64 - len(head)}d}\n"


def vmstat(counters: dict[str, int]) -> bytes:
    """/proc/vmstat; leading zeros keep the length."""
    return "".join(f"{name} {value:016d}\n" for name, value in counters.items()).encode()


def idle_vmstat() -> dict[str, int]:
    """The counters that this kernel has, all at zero."""
    return {line.split()[0]: 0 for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines()}
