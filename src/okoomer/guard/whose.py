"""Whose a unit is at the moment that somebody wants something done to it: a process can have become somebody else's
since it was looked at (by a setuid program, or by a login), and a unit can have been joined by others."""

from __future__ import annotations

import posix as os

from okoomer.kernel import control
from okoomer.kernel import process as kernel
from okoomer.kernel.cgroup import mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from okoomer.guard.act import Act

#: Nobody but root has a say over a unit of more processes: each is looked at.
MOST = 512


def says(proc: str, user: int) -> Callable[[int], bool]:
    """A function that says whether a user has a say over a process as it is now; nobody has over one that is gone."""
    return lambda pid: not user or kernel.users(proc, pid) == {user}


def all_of(proc: str, act: Act, user: int) -> bool:
    """Whether a user has a say over all of the unit of an act as it is now."""
    if not user:
        return True
    pids = _inside(proc, act) if act.cgroup else act.pids
    return len(pids) <= MOST and all(kernel.users(proc, pid) in ({user}, frozenset()) for pid in pids)


def _inside(proc: str, act: Act) -> Sequence[int]:
    mounted = mount(proc)
    try:
        directory = control.enter(mounted or "", act.cgroup, act.inode)
    except OSError:
        return ()  # nobody is there any more
    try:
        return control.members(directory)
    finally:
        os.close(directory)
