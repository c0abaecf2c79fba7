"""Who belongs together: the processes of a machine as units that can end as one.

Below a supervisor (a shell with a terminal, a multiplexer, a compositor, sshd, init) every child begins a family of
its own, so a session, a terminal or a multiplexer never is one unit. Many like children of one supervisor are a
group.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.facts import Process

#: So many children of one supervisor with one name are a group: two may be chance.
LIKE_CHILDREN = 3


class Unit:
    """Processes that would end together, and the smaller units inside."""

    __slots__ = ("inside", "kind", "own", "root")

    def __init__(self, kind: str, root: Process, own: tuple[Process, ...], inside: list[Unit]) -> None:
        self.kind = kind
        self.root = root
        self.own = own
        self.inside = inside

    def members(self) -> list[Process]:
        """All processes of the unit, parents before their children."""
        found: list[Process] = []
        pending = [self]
        for unit in pending:
            found += unit.own
            pending += unit.inside
        return found


def ancestors(processes: dict[int, Process], pid: int) -> set[int]:
    """The pids above a process, itself included, also those that are known as parents only. A tree that changed while
    it was read may even hold a circle."""
    found: set[int] = set()
    while pid not in found:
        found.add(pid)
        if pid in processes:
            pid = processes[pid].parent
    return found


def families(
    processes: dict[int, Process],
    untouchable: Callable[[Process], bool],
    apart: Callable[[Process], bool],
    begins: Callable[[Process], bool] = lambda process: False,
) -> list[Unit]:
    """The outermost units of a machine.

    Args:
        processes: By pid; parents of those that matter should be there too.
        untouchable: Is never part of a unit; its children begin families.
        apart: Is a unit by itself, and its children begin families (a supervisor, or what comes last).
        begins: Belongs to no family but its own, whoever its parent is.
    """
    children: dict[int, list[Process]] = {}
    roots: dict[int, list[Process]] = {}
    for process in processes.values():
        parent = processes.get(process.parent)
        if untouchable(process):
            continue
        if apart(process) or parent is None or untouchable(parent) or apart(parent) or begins(process):
            roots.setdefault(process.parent, []).append(process)
        else:
            children.setdefault(process.parent, []).append(process)

    def family(root: Process) -> Unit:
        # Parents first, then built from the leaves up: a chain of processes may be deeper than Python's stack.
        order = [root]
        for process in order:
            if not apart(process):
                order += children.pop(process.pid, ())
        units: dict[int, Unit] = {}
        inside: dict[int, list[Unit]] = {}
        for process in reversed(order):
            below = inside.pop(process.pid, [])
            units[process.pid] = Unit("family" if below else "process", process, (process,), below)
            if process is not root:
                inside.setdefault(process.parent, []).append(units[process.pid])
        return units[root.pid]

    outermost: list[Unit] = []
    for siblings in roots.values():
        outermost += _grouped([family(process) for process in siblings if not apart(process)])
        outermost += [family(process) for process in siblings if apart(process)]
    return outermost


def _grouped(siblings: list[Unit]) -> list[Unit]:
    """Siblings, with those of one name gathered into groups where they are many."""
    by_name: dict[str, list[Unit]] = {}
    for unit in siblings:
        by_name.setdefault(unit.root.name, []).append(unit)
    units = []
    for alike in by_name.values():
        if len(alike) >= LIKE_CHILDREN:
            units.append(Unit("group", alike[0].root, (), alike))
        else:
            units += alike
    return units
