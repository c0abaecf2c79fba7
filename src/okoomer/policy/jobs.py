"""Who works for whom: processes that one has started side by side, as `make -j` does, so that some of them can wait
while the others go on. Pure.

A process that has several large ones below it is a forker, and each of its children with all that is below is a job. Of
forkers that lie below each other the lowest count: what they have started are the jobs. Who holds the work of a person
together, or starts everything else, is no forker, and whoever holds such a one is no job; nor is who was given another
oom_score_adj than its forker, as browsers give it to their tabs: it has an order of its own. Nor is a copy of its
forker, as a server makes them of itself, or a browser: they hold what others wait for, and do not come to an end.

Only what is alike says of each other what it will need, and comes to an end as the others do. So of what one forker has
started the jobs are those of one name, numbers at its end aside: a script that has started a database, a server and a
browser is nobody's build.
"""

from __future__ import annotations

from okoomer.record import Record
from okoomer.units import MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from okoomer.facts import Process

#: A script may well start scripts as its jobs.
SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "fish")
#: What counts the jobs at the end of their names.
NUMBERS = "0123456789"
#: So many large ones side by side are a family.
SEVERAL = 2
#: A job that holds less than this share of memory is left alone, or than these bytes, whichever applies.
LEAST, LOWEST, HIGHEST = 1 / 256, 4 * MIB, 64 * MIB
#: A family whose jobs hold less than this share of memory together is not what fills it.
MATTERS = 1 / 16

#: A process: pid and start time in clock ticks.
Key = tuple[int, int]
#: A family: forker, user, and what its jobs are called.
Which = tuple[Key, int, str]


class Job(Record):
    """A process below a forker and all below it, which are paused as one. `key` is the process itself, `born` in
    seconds since boot. `size` are the bytes that it holds, `resident` those of them in memory. `active`: it has had
    CPU time or faults since the last look. `kept`: a person has let it go on, so it is not paused."""

    key: Key
    name: str
    born: float
    size: int
    resident: int
    active: bool = True
    waiting: bool = False
    kept: bool = False


class Family(Record):
    """The jobs of one `kind` that one process, the forker, has started for one user."""

    forker: Key
    name: str
    user: int
    jobs: tuple[Job, ...]
    kind: str = ""

    @property
    def key(self) -> Which:
        """What makes it this family and no other."""
        return self.forker, self.user, self.kind


def least_of(total: int) -> int:
    """The bytes from which a job counts, where there are so many in all."""
    return max(LOWEST, min(int(total * LEAST), HIGHEST))


def families(
    processes: Iterable[Process],
    stays: Callable[[Process], object],
    total: int,
    key: Callable[[Process], Key],
    waiting: Collection[Key] = (),
    kept: Collection[Key] = (),
) -> list[Family]:
    """The families of a machine with their jobs, the jobs oldest first.

    Args:
        processes: Those that matter, and their ancestors.
        stays: Must not stand still, and is no forker.
        total: All memory in bytes.
        waiting: Jobs that wait already, and so count whatever their size.
        kept: Jobs that must not wait.
    """
    by_pid = {process.pid: process for process in processes}
    least = least_of(total)
    below: dict[int, list[Process]] = {}
    for process in by_pid.values():
        if process.parent in by_pid and process.parent != process.pid:
            below.setdefault(process.parent, []).append(process)
    held: dict[int, tuple[int, int]] = {}
    #: Whose the processes of each subtree are; of who is too small to be looked at nothing is known.
    users: dict[int, set[int]] = {}
    #: Those that must be left out of any job: who stays, a forker, and whoever holds one of these.
    apart: set[int] = set()
    found = []
    for process in _leaves_first(by_pid, below):
        children = below.get(process.pid, ())
        size = process.anon + process.swap + sum(held[child.pid][0] for child in children)
        resident = process.anon + sum(held[child.pid][1] for child in children)
        held[process.pid] = size, resident
        mine = {process.user} if process.anon + process.swap else set()
        users[process.pid] = mine.union(*(users[child.pid] for child in children))
        fixed = bool(stays(process)) or process.pid == 1 or process.kernel_thread
        if fixed or any(child.pid in apart for child in children):
            apart.add(process.pid)
        if fixed:
            continue
        alike: dict[int, dict[str, list[Job]]] = {}
        for child in children:
            waits = key(child) in waiting
            large = held[child.pid][0] >= least or waits
            copy = child.name == process.name and child.name not in SHELLS
            if large and not copy and child.pid not in apart and child.adjustment == process.adjustment:
                whose = users[child.pid] or {child.user}
                job = Job(key(child), child.name, child.started, *held[child.pid], True, waits, key(child) in kept)
                if len(whose) == 1:
                    named = alike.setdefault(whose.pop(), {})
                    named.setdefault(child.name.rstrip(NUMBERS), []).append(job)
        for user, named in alike.items():
            kind, jobs = max(named.items(), key=_weight)
            some = any(job.waiting for job in jobs)
            if some or (len(jobs) >= SEVERAL and sum(job.size for job in jobs) >= total * MATTERS):
                jobs.sort(key=lambda job: (job.born, job.key))
                found.append(Family(key(process), process.name, user, tuple(jobs), kind))
                apart.add(process.pid)
    return found


def _weight(named: tuple[str, list[Job]]) -> tuple[bool, int]:
    """Which of several kinds of jobs takes turns: one that does so already, else the one that holds most."""
    jobs = named[1]
    return any(job.waiting for job in jobs), sum(job.size for job in jobs)


def _leaves_first(by_pid: dict[int, Process], below: dict[int, list[Process]]) -> list[Process]:
    """All processes, none before those below it. Those that were read while pids were used again may make a circle,
    and are left out."""
    order = [process for process in by_pid.values() if process.parent not in by_pid or process.parent == process.pid]
    for process in order:
        order += below.get(process.pid, ())
    return order[::-1]
