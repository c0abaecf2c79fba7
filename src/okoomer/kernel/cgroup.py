"""The unified cgroup hierarchy: where it is mounted, and which files of it say something about memory."""

from __future__ import annotations

from okoomer.kernel.files import read

#: Files of a cgroup that a recorded machine keeps: small, and enough to decide about memory again.
RECORDED = (
    "cgroup.controllers", "cgroup.events", "cgroup.freeze", "cgroup.procs", "cgroup.stat", "cpu.pressure",
    "io.pressure", "io.stat", "memory.current", "memory.events", "memory.high", "memory.low", "memory.max",
    "memory.min", "memory.oom.group", "memory.peak", "memory.pressure", "memory.stat", "memory.swap.current",
    "memory.swap.max", "pids.current",
)  # fmt: skip


def mount_point(proc: str = "/proc") -> str | None:
    """Where the unified hierarchy is mounted: /sys/fs/cgroup as a rule, elsewhere on hybrid machines, None without."""
    try:
        # One read would end with a page, however many mounts there are.
        with open(f"{proc}/self/mounts", "rb") as file:
            mounts = file.read()
    except OSError:
        return None
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) >= 3 and fields[2] == b"cgroup2":
            return fields[1].decode("utf-8", "backslashreplace")
    return None


def controllers(mount: str) -> frozenset[str]:
    """The controllers of the hierarchy's root; none where it cannot be read."""
    try:
        return frozenset(read(f"{mount}/cgroup.controllers").decode().split())
    except OSError:
        return frozenset()
