"""What can be known of a machine at one instant: plain records that the kernel's readers fill and the policy reads.

All sizes are bytes and all times seconds. A fact that this machine does not offer is None, never zero: a rule about
it is then neither true nor false.
"""

from __future__ import annotations

from okoomer.record import Record


class Memory(Record):
    """/proc/meminfo, in bytes (Documentation/filesystems/proc.rst)."""

    total: int
    free: int
    available: int
    anon: int = 0
    file: int = 0
    shmem: int = 0
    slab_unreclaimable: int = 0
    hugetlb: int = 0
    writeback: int = 0


class Swap(Record):
    """All swap areas together, in bytes, and how much of it lies on zram devices. No swap is 0 of 0. Of what is not
    free, `cached` is in memory too."""

    total: int = 0
    free: int = 0
    zram_total: int = 0
    zram_free: int = 0
    cached: int = 0


class Zram(Record):
    """All zram devices together, in bytes (Documentation/admin-guide/blockdev/zram.rst, mm_stat)."""

    size: int
    stored: int
    used: int


class Arc(Record):
    """The ZFS cache, in bytes: it shrinks to `minimum` on demand, but MemAvailable does not count it."""

    size: int
    minimum: int


class Stall(Record):
    """One line of a pressure file: shares of time 0..1, and the total stalled time in seconds."""

    avg10: float
    avg60: float
    avg300: float
    total: float


class Pressure(Record):
    """One pressure file; `full` is absent where the kernel has no such line (cpu before 5.13)."""

    some: Stall
    full: Stall | None


class Paging(Record):
    """Cumulative flows since boot from /proc/vmstat, in bytes; `major_faults` and `oom_kills` are counts."""

    swapin: int = 0
    swapout: int = 0
    refault_anon: int = 0
    refault_file: int = 0
    scan_kswapd: int = 0
    scan_direct: int = 0
    steal: int = 0
    activated: int = 0
    major_faults: int = 0
    oom_kills: int = 0


class Cgroup(Record):
    """One cgroup of the unified hierarchy (Documentation/admin-guide/cgroup-v2.rst). Sizes are bytes; flows are bytes
    since it was made. What was not asked for, or is not offered here, is None.

    `path` is as in /proc/PID/cgroup; the root is "/". `inode` tells it from a later one of the same name. `owner` is
    the user that its directory belongs to. `high` and `maximum` are None where it has no such limit, `left` is what is
    left under the tightest limit of its own and of those above, None without any. `protection` is what memory.min and
    memory.low really keep for it, as distributed among its siblings. `whole` is memory.oom.group: it ends as one or
    not at all. `leaf`: it has no children. `age` is in seconds, since it was first seen. `io_cost` is device time (see
    kernel.cgroup_text). `tags` are the names of its extended attributes.
    """

    path: str
    inode: int = 0
    owner: int = 0
    leaf: bool = True
    populated: bool | None = None
    frozen: bool = False
    whole: bool = False
    memory: int | None = None
    swap: int | None = None
    anon: int | None = None
    file: int | None = None
    shmem: int | None = None
    minimum: int = 0
    low: int = 0
    high: int | None = None
    maximum: int | None = None
    left: int | None = None
    protection: int | None = None
    scan: int | None = None
    steal: int | None = None
    refault: int | None = None
    io_cost: float | None = None
    dying: int | None = None
    processes: int | None = None
    events: tuple[tuple[str, int], ...] = ()
    age: float | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None
    cpu_pressure: Pressure | None = None
    tags: tuple[str, ...] = ()


class Snapshot(Record):
    """One reading of the machine.

    `time` is in seconds on a clock that stands still while the machine sleeps; `asleep` is how long it has slept in
    all. A change of `asleep` between two snapshots means that the machine was suspended between them. `scoped` are,
    by the text of a scope, the cgroups that it names; a scope that was not read now is not there. Of the totals of
    memory_pressure (some, full) `excused` are the seconds that are no reason to act on anybody (see guard.excused).
    `canary` is by how many seconds a small ordinary process was late at the most of late (see guard.canary), None where
    there is none.
    """

    time: float
    memory: Memory
    swap: Swap = Swap()
    zram: Zram | None = None
    arc: Arc | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None
    cpu_pressure: Pressure | None = None
    paging: Paging | None = None
    asleep: float = 0.0
    scoped: tuple[tuple[str, tuple[Cgroup, ...]], ...] = ()
    excused: tuple[float, float] = (0.0, 0.0)
    canary: float | None = None


class Process(Record):
    """What a choice needs to know of one process. `started`, `session` and `group` (its process group, 0 if that is
    led from outside this PID namespace) as in /proc/PID/stat.

    `anon`, `swap` and `shmem` are resident or swapped bytes; `growth` is in bytes per second over the last seconds,
    None where nothing is known. `fills` is what it writes into memory that belongs to no process, in bytes per second,
    where that was looked for. Text that no selector asks for is left empty.
    """

    pid: int
    parent: int
    name: str
    started: float
    user: int = 0
    session: int = 0
    terminal: bool = False
    threads: int = 1
    anon: int = 0
    swap: int = 0
    shmem: int = 0
    file: int = 0
    adjustment: int = 0
    oom_score: int = 0
    growth: float | None = None
    fills: float = 0.0
    kernel_thread: bool = False
    command: str = ""
    executable: str = ""
    cgroup: str = ""
    group: int = 0
    environment: str = ""
    directory: str = ""
    cgroup1: str = ""
    tags: tuple[str, ...] = ()

    @property
    def held(self) -> int:
        """The bytes that it holds, some of them together with others."""
        return self.anon + self.swap + self.shmem
