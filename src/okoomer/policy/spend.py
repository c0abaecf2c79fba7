"""Whom a rule that ends somebody takes of a family whose jobs take turns: the youngest, instead of all. Pure.

Those who wait go first: they have done least, and nobody waits for what they would do next. Who is in swap frees no
memory, so it counts in full only where it is swap that is missing. The oldest stays in any case: it is nearest to its
end, and gives back all that it has then.
"""

from __future__ import annotations

from okoomer.record import replace
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from okoomer.policy.choose import Choice
    from okoomer.policy.jobs import Family, Job, Key


def spend(
    choice: Choice,
    families: Iterable[Family],
    members: Mapping[Key, tuple[int, ...]],
    full: bool,
    tentative: bool = False,
) -> Choice:
    """A choice with the youngest jobs in the place of their family, if those are enough.

    Args:
        families: Those that take turns, the jobs of each oldest first.
        members: The processes of each job.
        full: Swap is, so that it counts what comes back of it.
        tentative: The rule would only pause, for a moment. Who of a family that takes turns is to stand still is known
            better already, so nobody of it is taken.
    """
    victim = choice.victim
    if victim is None or victim.cgroup:
        return choice
    pids = set(victim.pids)
    family = next((one for one in families if any(job.key[0] in pids for job in one.jobs)), None)
    if family is None or not any(job.waiting for job in family.jobs):
        return choice
    if tentative:
        return replace(choice, victim=None, refusal=f"{family.name} has its jobs take turns already")

    def frees(job: Job) -> int:
        return job.size if full else job.resident

    chosen: list[Job] = []
    freed, enough = 0, max(choice.need, choice.least)
    for job in sorted(family.jobs[1:], key=lambda job: (not job.waiting, -job.born)):
        if freed < enough and frees(job) >= choice.least:
            chosen.append(job)
            freed += frees(job)
    if freed < enough:
        return choice
    found = [pid for job in chosen for pid in (job.key[0], *members[job.key])]
    spent = replace(
        victim,
        kind="family",
        name=chosen[0].name + (f" and {len(chosen) - 1} more" if len(chosen) > 1 else ""),
        pids=tuple(dict.fromkeys(found)),
        freed=freed,
        rss=sum(job.resident for job in chosen),
        why=f"{size(freed)} would come back; the youngest of {family.name}, which has its jobs take turns",
    )
    return replace(choice, victim=spent, ranking=(spent, *choice.ranking))
