"""Undoing what a guard has left, by its note: who stands still runs, whoever was raised is as before, and so is what
cgroups' files say.

Only what is ours is undone: the same process, the same cgroup, and what stands there is still what the guard wrote.
Whatever somebody else has written since then stays.
"""

from __future__ import annotations

import posix as os

from okoomer.guard.left import Left
from okoomer.guard.stop import lives, wake
from okoomer.kernel import control
from okoomer.kernel.adjustment import lower, lower_born
from okoomer.kernel.process import PAGE


def recover(note: str, proc: str = "/proc", guard: str = "") -> int:
    """Undoes all that a dead guard has left. How many processes and settings of cgroups that were.

    Args:
        guard: Only if it was this one (see note.owner), which is dead for sure; "" for any that is not alive.
    """
    left = Left(note, proc)
    alive = bool(left.owner) and lives(proc, *map(int, left.owner.split()))
    if left.owner != guard if guard else alive:
        left.close()
        return 0
    found = sum(_wake(proc, pid, start) for pid, start in reversed(left.processes))
    found += sum(set_back(*one) for one in left.settings)
    for pid, start, adj, ours, since in left.adjustments:
        found += lower(proc, pid, adj, ours, start)
        try:
            lower_born(proc, since, adj, ours)
        except OSError:
            pass  # /proc cannot be listed
    left.clear()
    left.close()
    return found


def _wake(proc: str, pid: int, start: int) -> bool:
    try:
        return wake(proc, pid, start)
    except OSError:
        return False


def set_back(directory: str, inode: int, file: str, text: str, ours: str) -> bool:
    """Has a cgroup's file say again what it said, as Note.add_setting has it. Whether it was ours to do so."""
    try:
        found = control.enter("", directory, inode)
    except OSError:
        return False
    try:
        if ours and not _is_ours(file, control.get(found, file).strip(), ours.encode()):
            return False
        control.put(found, file, text.encode())
        return True
    except OSError:
        return False  # it is gone, and what it said with it
    finally:
        os.close(found)


def _is_ours(file: str, now: bytes, ours: bytes) -> bool:
    if file.startswith("memory.") and now.isdigit() and ours.isdigit():
        return int(now) // PAGE == int(ours) // PAGE  # the kernel counts whole pages
    return now == ours
