"""What can be seen of jobs from one look to the next: who they are, and which processes belong to them."""

from __future__ import annotations

from okoomer.kernel import process as kernel
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from okoomer.facts import Process
    from okoomer.policy.jobs import Family, Job, Key


def each(seen: Iterable[Family], change: Callable[[Job], Job]) -> list[Family]:
    """Families with something changed in each of their jobs."""
    return [replace(family, jobs=tuple(map(change, family.jobs))) for family in seen]


def by_job(seen: Iterable[Family], processes: Mapping[int, Process]) -> dict[Key, tuple[int, ...]]:
    """The processes of each job that are large enough to be known."""
    jobs = {job.key[0]: job.key for family in seen for job in family.jobs}
    found: dict[Key, tuple[int, ...]] = dict.fromkeys(jobs.values(), ())
    for process in processes.values():
        pid, steps = process.pid, 0
        while pid not in jobs and pid in processes and steps < len(processes):
            pid, steps = processes[pid].parent, steps + 1
        if pid in jobs:
            found[jobs[pid]] += (process.pid,)
    return found


def key_of(process: Process) -> Key:
    """A process by pid and start time in clock ticks."""
    return process.pid, kernel.in_ticks(process.started)
