"""How much of a unit goes: the whole process group of the chosen, or the smallest part that is enough. Pure."""

from __future__ import annotations

from okoomer.policy.family import Unit
from okoomer.policy.whole import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.facts import Process
    from okoomer.policy.scale import Candidate

#: A part that frees this share of what the whole would is as good as the whole.
NEARLY_ALL = 0.9


def whole_group(unit: Unit, processes: dict[int, Process], me: int, untouchable: Callable[[Process], bool]) -> Unit:
    """A process with all of its process group that may be touched. Our own group is never a unit, nor is one that is
    led from outside this PID namespace, whose number (0) would mean our own to kill(2)."""
    group, ours = unit.root.group, processes[me].group if me in processes else 0
    if group in (0, ours):
        return unit
    others = (p for p in processes.values() if p.group == group and p is not unit.root and not untouchable(p))
    return Unit("group", unit.root, (unit.root, *others), [])


def smallest(unit: Unit, need: int, least: int, weigh: Callable[[Unit], Candidate]) -> Unit:
    """The smallest part of a unit that frees enough and is to blame.

    A single child that has most of the weight is taken alone if it covers the need, or if the rest would hardly add
    to it: the tool, not the one who called it. Else those that the program itself has marked as expendable, until they
    are enough. Else the whole. Of an application, a service or a container none but the expendable go alone.
    """
    if unit.kind == WHOLE:
        only = unit.inside[0]
        return (expendable(only, need, weigh) if len(unit.inside) == 1 else None) or unit
    whole = weigh(unit)
    nearly_all = max(NEARLY_ALL * whole.freed, least)
    while unit.inside:
        if len(unit.inside) == 1 and not any(process.held for process in unit.own):
            unit = unit.inside[0]  # who has nothing adds nothing, and a chain of such may be long
            continue
        best, part = max(((weigh(part), part) for part in unit.inside), key=lambda pair: pair[0].score)
        enough = best.freed >= need or best.freed >= nearly_all
        if enough and 2 * best.score >= whole.score and 2 * (best.growth or 0) >= (whole.growth or 0):
            unit, whole = part, best
            continue
        return expendable(unit, need, weigh) or unit
    return unit


def expendable(unit: Unit, need: int, weigh: Callable[[Unit], Candidate]) -> Unit | None:
    """Those that a program itself has marked as expendable, by an oom_score_adj above its own as browsers give
    background tabs, most expendable first, until they free enough; None where they do not."""
    raised = [(weigh(part), part) for part in unit.inside if part.root.adjustment > max(0, unit.root.adjustment)]
    raised.sort(key=lambda pair: (-pair[1].root.adjustment, -pair[0].freed))
    taken: list[Unit] = []
    freed = 0
    for found, part in raised:
        taken.append(part)
        freed += found.freed
        if freed >= need:
            return taken[0] if len(taken) == 1 else Unit("group", taken[0].root, (), taken)
    return None
