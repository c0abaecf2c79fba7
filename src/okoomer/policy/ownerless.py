"""Memory that belongs to no process: how much of it there is, whether it is what fills memory, and who writes it. Pure.

A file on a tmpfs outlives its writer, who may be tiny. So size says nothing of who is to blame, and to end others only
grants the file their memory.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from okoomer.facts import Process, Snapshot
    from okoomer.policy.family import Unit

#: It is what fills memory if it makes up this share of all growth, and in so many seconds an eighth of the need.
FLOOD_SHARE, FLOOD_SECONDS = 0.5, 10.0
#: A unit is its writer if it accounts for this share of its growth: then nobody else can be more to blame. Many that
#: write less each count together if they are a family or a group.
WRITER_SHARE = 0.5
#: If what all write comes to more than this many times the growth, some of it went elsewhere: it is not clear whose.
TOO_MUCH = 1.5
#: What is filled again within so many seconds was freed in vain: nobody can see to it in that time.
VAIN_SECONDS = 30.0


def ownerless(snapshot: Snapshot, processes: Iterable[Process]) -> int:
    """Bytes that no process holds and no reclaim gives back: tmpfs and shared memory beyond what is mapped, huge
    pages, kernel memory."""
    memory = snapshot.memory
    mapped = max((process.shmem for process in processes), default=0)
    return max(0, memory.shmem - mapped) + memory.hugetlb + memory.slab_unreclaimable


def floods(flood: float, processes: Iterable[Process], need: int) -> bool:
    """Whether memory that no process maps, growing by `flood` bytes per second, is what fills the machine."""
    if 8 * FLOOD_SECONDS * flood < need:
        return False
    return flood >= FLOOD_SHARE * (flood + sum(max(0.0, process.growth or 0.0) for process in processes))


def is_clear(flood: float, processes: Iterable[Process]) -> bool:
    """Whether those who seem to write it could all be right."""
    return sum(process.fills for process in processes) <= TOO_MUCH * flood


def fills_of(unit: Unit) -> float:
    """Bytes per second that a unit writes there."""
    return sum(process.fills for process in unit.members())


def writer(units: Iterable[Unit], flood: float) -> Unit | None:
    """The smallest part of a unit that writes enough of it, or None where nobody does."""
    enough = WRITER_SHARE * flood
    found, inside = None, list(units)
    while inside:
        best = max(inside, key=lambda unit: (fills_of(unit), -unit.root.pid))
        if fills_of(best) < enough:
            break
        found, inside = best, best.inside
    return found


def unknown_writer(flood: float, processes: Iterable[Process], why_not: Callable[[Process], str]) -> str:
    """Why nobody is ended for what he writes, in words.

    Args:
        why_not: Says why a process is not to be ended for that, or ''.
    """
    best = max(processes, key=lambda process: process.fills, default=None)
    if best and best.fills >= WRITER_SHARE * flood and (because := why_not(best)):
        return f"{best.name} writes it and is not to be ended for that ({because})"
    return "who writes it is not clear"
