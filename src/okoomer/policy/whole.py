"""Applications, services and containers: which processes are one of these, by the cgroup that they lie in, and so end
as one. Pure.

A login session is none, nor is a manager of systemd: they hold what people do. Nor is any cgroup in which somebody must
stay or holds the work of others: there every family is for itself. The init of a container holds nothing but this
container.
"""

from __future__ import annotations

from okoomer.policy.family import LIKE_CHILDREN, Unit, families
from okoomer.policy.select import container_of, unit_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from okoomer.facts import Process

#: The kind of a unit that is one of these.
WHOLE = "whole"


def whole_of(cgroup: str) -> str:
    """The path of the application, service or container that a cgroup path lies in, or ''."""
    container = container_of(cgroup)
    parts = cgroup.split("/")
    for count in range(len(parts), 0, -1):
        path = "/".join(parts[:count])
        if container:
            if container_of(path) != container:
                return "/".join(parts[: count + 1])
        elif unit := unit_of(parts[count - 1]):
            return "" if holds_people(unit) else path
    return ""


def holds_people(unit: str) -> bool:
    """Whether a unit of systemd is a login session or a manager: never one application."""
    return (
        unit == "init.scope"
        or (unit.startswith("session-") and unit.endswith(".scope"))
        or (unit.startswith("user@") and unit.endswith(".service"))
    )


def applications(
    processes: dict[int, Process], untouchable: Callable[[Process], bool], apart: Callable[[Process], bool]
) -> list[Unit]:
    """The outermost units of a machine, where an application, a service or a container is one whatever is in it.

    Args:
        processes, untouchable, apart: As families are made of.
    """
    place = _places(processes)
    mixed = {place[p.pid] for p in processes.values() if untouchable(p) or apart(p)}
    place = {pid: "" if path in mixed else path for pid, path in place.items()}

    def begins(process: Process) -> bool:
        return place[process.pid] != place.get(process.parent)

    inside: dict[str, list[Unit]] = {}
    found: list[Unit] = []
    for unit in families(processes, untouchable, apart, begins):
        gathered = not unit.own
        alone = []
        for one in unit.inside if gathered else [unit]:
            path = place[one.root.pid]
            if path:
                inside.setdefault(path, []).append(one)
            else:
                alone.append(one)
        if gathered and len(alone) >= LIKE_CHILDREN:
            found.append(Unit(unit.kind, alone[0].root, (), alone))
        else:
            found += alone
    return found + [_whole(parts) for parts in inside.values()]


def inits(processes: dict[int, Process]) -> dict[int, str]:
    """The pids of containers' own inits, and the paths of these containers.

    It is the first that somebody outside has started in there. Who was brought in later (`docker exec`) is not.

    Args:
        processes: By pid, with their ancestors.
    """
    place = _places(processes)
    first: dict[str, Process] = {}
    for process in processes.values():
        path = place[process.pid]
        if not path or place.get(process.parent) == path or not container_of(path):
            continue
        known = first.setdefault(path, process)
        if (process.started, process.pid) < (known.started, known.pid):
            first[path] = process
    return {process.pid: path for path, process in first.items()}


def excused(first: dict[int, str], processes: dict[int, Process], stays: Callable[[Process], object]) -> frozenset[int]:
    """Those inits whose container is one thing if they do not count as supervisors.

    Args:
        first: As inits() gives them.
        stays: Who makes a cgroup many things.
    """
    if not first:
        return frozenset()
    place, paths = _places(processes), set(first.values())
    mixed = {path for p in processes.values() if (path := place[p.pid]) in paths and stays(p)}
    return frozenset(pid for pid, path in first.items() if path not in mixed)


def members_of(units: Iterable[Unit]) -> set[int]:
    """The pids of all those who are in a unit of this kind."""
    return {process.pid for unit in units if unit.kind == WHOLE for process in unit.members()}


def _places(processes: dict[int, Process]) -> dict[int, str]:
    """What each process is in, or ''."""
    paths = {cgroup: whole_of(cgroup) for cgroup in {process.cgroup for process in processes.values()}}
    return {pid: paths[process.cgroup] for pid, process in processes.items()}


def _whole(parts: list[Unit]) -> Unit:
    if len(parts) == 1 and not parts[0].inside:
        return parts[0]
    parts.sort(key=lambda unit: (unit.root.started, unit.root.pid))
    return Unit(WHOLE, parts[0].root, (), parts)
