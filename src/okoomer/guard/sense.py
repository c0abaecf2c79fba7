"""Sensing: the kernel's facts as a Snapshot."""

from __future__ import annotations

from okoomer.facts import Snapshot, Swap
from okoomer.kernel import arc, clock, meminfo, pressure, swaps, vmstat, zram
from okoomer.kernel.files import Source, read
from okoomer.kernel.paths import exists
from okoomer.policy.engine import comparisons
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from okoomer.facts import Arc, Memory, Zram
    from okoomer.kernel.machine import Machine
    from okoomer.policy.model import Policy

#: Seconds after which it is looked again which zram devices there are, and whether there is ZFS.
DEVICES_AGE = 60.0
#: What can be read beyond memory, swap and the ZFS cache.
EVERYTHING = frozenset(("memory_pressure", "io_pressure", "cpu_pressure", "paging", "zram"))


class Unreadable(Exception):
    """This machine's memory cannot be read at all: nothing can be guarded here."""


class Sense:
    """Reads a machine again and again. After the first reading nothing that is unreadable stops it: the last good
    reading stands and `troubles` says so.

    Args:
        wants: What is read beyond memory and swap, of EVERYTHING.
        memory_pressure: The file that holds memory's pressure, if not the machine's own.
    """

    def __init__(
        self,
        machine: Machine,
        wants: Iterable[str] = EVERYTHING,
        now: Callable[[], float] = clock.monotonic,
        memory_pressure: str = "",
    ) -> None:
        proc, wants = machine.proc, frozenset(wants)
        self._machine = machine
        self._now = now
        self._memory = Source(f"{proc}/meminfo", meminfo.parse)
        self._arc = Source(f"{proc}/spl/kstat/zfs/arcstats", arc.parse, 16384, pieces=True)
        self._swaps = Source(f"{proc}/swaps", swaps.parse)
        self._paging = Source(f"{proc}/vmstat", vmstat.parse, 16384, pieces=True) if "paging" in wants else None
        self._pressure = {
            resource: Source(
                (resource == "memory" and memory_pressure) or f"{proc}/pressure/{resource}", pressure.parse, 512
            )
            for resource in ("memory", "io", "cpu")
            if f"{resource}_pressure" in wants
        }
        self._wants_zram = "zram" in wants
        self._devices: list[str] = []
        self._devices_read = self._arc_sought = float("-inf")
        self._swap_total = -1
        self._last: tuple[Memory, Swap] | None = None
        self._missing = ""

    def snapshot(self) -> Snapshot:
        """The machine now.

        Raises:
            Unreadable: /proc/meminfo has never been readable.
        """
        found = self._memory.read()
        self._missing = "" if found or self._memory.trouble else f"{self._memory.path}: is missing"
        found = self._last = found or self._last
        if found is None:
            raise Unreadable(self._memory.trouble or self._missing)
        memory, swap = found
        time = self._now()
        swap = self._on_zram(swap)
        readings = {resource: source.read() for resource, source in self._pressure.items()}
        return Snapshot(
            time=time,
            memory=memory,
            swap=swap,
            zram=self._zram(swap, time) if self._wants_zram else None,
            arc=self._cache(time),
            memory_pressure=readings.get("memory"),
            io_pressure=readings.get("io"),
            cpu_pressure=readings.get("cpu"),
            paging=self._paging.read() if self._paging else None,
            asleep=clock.asleep() if self._machine.live else 0.0,
        )

    def troubles(self) -> Iterator[str]:
        """What cannot be read or understood at present."""
        if self._missing:
            yield self._missing
        sources = [self._memory, self._arc, self._swaps, *self._pressure.values(), self._paging]
        for source in sources:
            if source and source.trouble:
                yield source.trouble

    def _cache(self, time: float) -> Arc | None:
        # Hardly any machine has one, and the module may be loaded long after us.
        if time - self._arc_sought > DEVICES_AGE:
            found = self._arc.read()
            if found is None and not self._arc.trouble:
                self._arc_sought = time
            return found
        return None

    def _on_zram(self, swap: Swap) -> Swap:
        found = self._swaps.read() if swap.total and self._wants_zram else None
        if not found:
            return swap
        total, free = (min(part, limit) for part, limit in zip(found, (swap.total, swap.free), strict=True))
        return replace(swap, zram_total=total, zram_free=free)

    def _zram(self, swap: Swap, time: float) -> Zram | None:
        # A device only matters once it is swapped on, so a change of swap's size is when to look at once.
        if swap.total != self._swap_total or time - self._devices_read > DEVICES_AGE:
            self._devices = zram.devices(self._machine.sys)
            self._swap_total, self._devices_read = swap.total, time
        return zram.read_all(self._devices) if self._devices else None

    def close(self) -> None:
        """Gives back its descriptors."""
        for source in (self._memory, self._arc, self._swaps, *self._pressure.values(), self._paging):
            if source:
                source.close()


def wants_of(policy: Policy) -> frozenset[str]:
    """The facts that a policy's metrics are read from, so that nothing else is read."""
    wants = {"paging"} if "kernel_kills" in policy.tell else set()
    for rule in policy.rules:
        for comparison in comparisons(rule):
            name = comparison.metric
            # What no cgroup can do while the whole machine does not (see policy.ahead).
            if name.startswith("cgroup."):
                name = name.removeprefix("cgroup.")
                if name.startswith("stall."):
                    wants.add("memory_pressure")
                elif name in ("scan", "refault", "thrash"):
                    wants.add("paging")
            family, _, rest = name.partition(".")
            if family == "psi":
                wants.add(rest.split(".")[0] + "_pressure")
            elif family == "vm":
                wants.add("paging")
            elif family in ("zram", "forecast") or comparison.metric == "swap.effective":
                wants.add("zram")
    return frozenset(wants)


def recorded_clock(directory: str) -> float:
    """The instant, in seconds, at which a machine was recorded.

    Raises:
        Unreadable: The directory's file `clock` is missing or is not one number.
    """
    return _seconds(f"{directory}/clock")


def recorded_canary(directory: str) -> float | None:
    """By how many seconds the canary of a recorded machine was late; None if it had none.

    Raises:
        Unreadable: The directory's file `canary` is not one number.
    """
    path = f"{directory}/canary"
    return _seconds(path) if exists(path) else None


def _seconds(path: str) -> float:
    try:
        seconds = float(read(path))
        if seconds - seconds != 0:  # infinite, or not a number
            raise ValueError
        return seconds
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    except ValueError:
        raise Unreadable(f"{path}: expected seconds as one number") from None
