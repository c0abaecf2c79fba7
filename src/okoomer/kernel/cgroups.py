"""All cgroups of the unified hierarchy, and how each is stalled."""

from __future__ import annotations

import os

from okoomer.kernel import cgroup, pressure
from okoomer.kernel.files import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from okoomer.facts import Pressure


def mount(proc: str = "/proc") -> str | None:
    """Where the unified hierarchy is mounted, as a path that can be opened, or None if it is not."""
    found = cgroup.mount_point(proc)
    if found is not None:
        # What would break a line of /proc/mounts stands there as an octal escape; the backslash has to be last.
        for escape, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            found = found.replace(escape, plain)
    return found


def is_whole(mount: str) -> bool:
    """Whether the mount shows the hierarchy from its true root, whose pressure is the machine's own. In a container
    the root is a cgroup like any other."""
    return not os.path.exists(f"{mount}/cgroup.events")


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
