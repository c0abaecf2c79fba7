"""Undoing what a guard has left, by its note: who stands still runs, whoever was raised is as before, and so is what
cgroups' files say.

Only what is ours is undone: the same process, the same cgroup, and what stands there is still what the guard wrote.
Whatever somebody else has written since then stays.
"""

from __future__ import annotations

import posix as os

from okoomer.guard.note import Left
from okoomer.guard.stop import lives, wake
from okoomer.kernel import adjustment, control
from okoomer.kernel.process import PAGE, number, pids


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
    found = sum(wake(proc, pid, start) for pid, start in reversed(left.processes))
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


def lower(proc: str, pid: int, adj: int, ours: int, start: int | None = None, since: int = 0) -> bool:
    """Gives a process its own oom_score_adj back. Whether it had ours until now.

    Args:
        start: Its start time in clock ticks; None for whichever has this pid.
        since: Only if it was not born before that, in clock ticks.
    """
    try:
        directory = adjustment.enter(proc, pid, start)
    except OSError:
        return False
    try:
        if adjustment.get(directory) != ours or adjustment.started(directory) < since:
            return False
        adjustment.put(directory, adj)
        return True
    except OSError:
        return False
    finally:
        os.close(directory)


def lower_born(proc: str, since: int, adj: int, ours: int) -> int:
    """Gives those their own oom_score_adj back who have inherited ours, wherever they are by now. How many those were.

    Args:
        since: Only of those who were not born before that, in clock ticks.

    Raises:
        OSError: /proc cannot be listed.
    """
    # Of most of them one small file is all that is read.
    having = (pid for pid in pids(proc) if number(proc, pid, "oom_score_adj") == ours)
    return sum(lower(proc, int(pid), adj, ours, since=since) for pid in having)
