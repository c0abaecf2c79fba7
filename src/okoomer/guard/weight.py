"""What the unit of an act holds now, which may be more than when it was chosen."""

from __future__ import annotations

import posix as os

from okoomer.guard.asking import weighed
from okoomer.kernel import control
from okoomer.kernel.cgroup import mount
from okoomer.kernel.process import parse_status, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.guard.act import Act


def weight(proc: str, act: Act) -> int:
    """The bytes that a unit holds now, as far as that can be read."""
    if act.cgroup:
        return _charged(proc, act) or weighed(act)
    found = 0
    for process in act.processes:
        try:
            held = parse_status(status(proc, process.pid))
        except (OSError, ValueError, IndexError):
            continue
        found += held.anon + held.swap + held.shmem
    return found


def _charged(proc: str, act: Act) -> int:
    mounted = mount(proc)
    try:
        directory = control.enter(mounted, act.cgroup, act.inode) if mounted else -1
    except OSError:
        return 0
    if directory < 0:
        return 0
    try:
        return control.amount(directory, "memory.current") or 0
    except (OSError, ValueError):
        return 0
    finally:
        os.close(directory)
