"""The unified cgroup hierarchy: where it is mounted, what it offers, and which cgroups there are."""

from __future__ import annotations

import posix as os

from okoomer.kernel import pressure
from okoomer.kernel.files import read
from okoomer.kernel.paths import decoded, encoded, exists, is_directory
from okoomer.kernel.process import text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from okoomer.facts import Pressure
    from okoomer.kernel.machine import Machine

#: Files of a cgroup that a recorded machine keeps: small, and enough to decide about memory again.
RECORDED = (
    "cgroup.controllers", "cgroup.events", "cgroup.freeze", "cgroup.procs", "cgroup.stat", "cgroup.type",
    "cpu.pressure", "io.pressure", "io.stat", "memory.current", "memory.events", "memory.high", "memory.low",
    "memory.max", "memory.min", "memory.oom.group", "memory.peak", "memory.pressure", "memory.stat",
    "memory.swap.current", "memory.swap.max", "pids.current",
)  # fmt: skip
#: What would break a line of /proc/mounts stands there as an octal escape; the backslash has to be last.
ESCAPES = ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\"))


def mount(proc: str = "/proc") -> str | None:
    """Where the unified hierarchy is mounted, as a path that can be opened: /sys/fs/cgroup as a rule, elsewhere on
    hybrid machines, None without."""
    try:
        # One read would end with a page, however many mounts there are.
        with open(f"{proc}/self/mounts", "rb") as file:
            mounts = file.read()
    except OSError:
        return None
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) >= 3 and fields[2] == b"cgroup2":
            found = fields[1]
            for escape, plain in ESCAPES:
                found = found.replace(escape, plain)
            return decoded(found)
    return None


def hierarchy(machine: Machine) -> str | None:
    """Where a machine's unified hierarchy is, None without: a recorded one has it below its /sys."""
    if machine.live:
        return mount(machine.proc)
    from posixpath import realpath  # no guard is ever here

    path = realpath(f"{machine.sys}/fs/cgroup")
    return path if is_directory(path) else None


def controllers(mount: str) -> frozenset[str]:
    """The controllers of the hierarchy's root; none where it cannot be read."""
    try:
        return frozenset(read(f"{mount}/cgroup.controllers").decode("utf-8", "replace").split())
    except OSError:
        return frozenset()


def is_whole(mount: str) -> bool:
    """Whether the mount shows the hierarchy from its true root, whose pressure is the machine's own. In a container
    the root is a cgroup like any other."""
    return not exists(f"{mount}/cgroup.events")


def below(mount: str) -> Iterator[str]:
    """The paths of all cgroups but the root, parents first. Those that come or go meanwhile may be missing."""
    pending = [""]
    while pending:
        path = pending.pop()
        try:
            with os.scandir(mount + path) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue
        if path:
            yield path
        pending += [f"{path}/{name}" for name in reversed(names)]


def stalled(mount: str, path: str, resource: str) -> Pressure | None:
    """The pressure of a cgroup on `memory`, `io` or `cpu`; None where it is gone or keeps no such account."""
    try:
        return pressure.parse(read(f"{mount}{path}/{resource}.pressure"))
    except (OSError, ValueError, IndexError):
        return None


def path_text(path: str) -> str:
    """A path of the file system as /proc/PID/cgroup's is given (kernel.process): as text, whatever bytes it has."""
    return path if path.isascii() else text_of(encoded(path))


def processes(directory: str) -> list[int] | None:
    """The processes of one cgroup, without those below it. None where it is gone or keeps no list; a thread's cgroup
    has none of its own."""
    try:
        with open(f"{directory}/cgroup.procs", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # Those of another pid namespace are 0: whoever they are, we cannot name them.
    return [int(pid) for pid in text.split() if pid.isdigit() and pid.strip(b"0")]


def mark_names(directory: str) -> tuple[str, ...]:
    """The names of a cgroup's extended attributes that are for others to read: `user.*` and `trusted.*`."""
    try:
        return tuple(name for name in os.listxattr(directory) if name.startswith(("user.", "trusted.")))
    except OSError:
        return ()


def marks(directory: str) -> dict[str, str]:
    """The same with their values."""
    found = {}
    for name in mark_names(directory):
        try:
            found[name] = text_of(os.getxattr(directory, name))
        except OSError:
            continue
    return found
