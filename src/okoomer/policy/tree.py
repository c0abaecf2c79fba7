"""How cgroups stand to each other: who lies below whom, what protects whom, and who of them can be ended. Pure.

Paths are as in /proc/PID/cgroup; the root is "/".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from okoomer.facts import Cgroup

ROOT = "/"


def above(path: str) -> str:
    """The path that a cgroup lies in; the root lies in itself."""
    return path.rpartition("/")[0] or ROOT


def is_inside(path: str, outer: str) -> bool:
    """Whether a path is another one or lies below it."""
    return outer == ROOT or path == outer or path.startswith(f"{outer}/")


def branches(cgroups: Iterable[Cgroup]) -> dict[str, list[Cgroup]]:
    """The children of each cgroup that has some among these, by its path."""
    found: dict[str, list[Cgroup]] = {}
    for cgroup in cgroups:
        if cgroup.path != ROOT:
            found.setdefault(above(cgroup.path), []).append(cgroup)
    return found


def protections(cgroups: Iterable[Cgroup]) -> dict[str, int]:
    """The bytes that memory.min and memory.low really keep for each, by path.

    What a cgroup claims, of what it uses, is its own below the root; deeper, siblings that claim more than their parent
    has share that in proportion. Of a cgroup whose parent is not among these nothing is known but its claim.
    """
    known = {cgroup.path: cgroup for cgroup in cgroups}
    claims = {path: min(one.memory or 0, max(one.minimum, one.low)) for path, one in known.items()}
    claimed: dict[str, int] = {}
    for path, claim in claims.items():
        claimed[above(path)] = claimed.get(above(path), 0) + claim
    found: dict[str, int] = {}
    # Whoever lies above another has the shorter path.
    for path in sorted(known, key=len):
        outer = above(path)
        if path == ROOT:
            found[path] = known[path].memory or 0
        elif outer == ROOT or outer not in found:
            found[path] = claims[path]
        elif claimed[outer] > found[outer]:
            found[path] = claims[path] * found[outer] // claimed[outer]
        else:
            found[path] = claims[path]
    return found


def starts(cgroups: Sequence[Cgroup], named: Callable[[str], bool]) -> list[Cgroup]:
    """Where a descent begins: at the cgroups that are named. The root stands for those below it."""
    found = [cgroup for cgroup in cgroups if cgroup.path != ROOT and named(cgroup.path)]
    if not named(ROOT):
        return found
    first = {cgroup.path for cgroup in found}
    known = {cgroup.path for cgroup in cgroups} - {ROOT}
    # One that lies in another that could not be read is not hidden by that.
    return found + [
        one for one in cgroups if one.path != ROOT and one.path not in first and above(one.path) not in known
    ]


def ends(first: Iterable[Cgroup], below: Mapping[str, Sequence[Cgroup]]) -> list[Cgroup]:
    """All those at or below the first ones that are not to be divided."""
    found: dict[str, Cgroup] = {}
    seen: set[str] = set()
    pending = list(first)
    for cgroup in pending:
        if cgroup.path in seen:
            continue
        seen.add(cgroup.path)
        if is_end(cgroup, below):
            found[cgroup.path] = cgroup
        else:
            pending += below.get(cgroup.path, ())
    # Those may be among the first ones that lie in one that ends as a whole.
    if not any(cgroup.whole for cgroup in found.values()):
        return list(found.values())
    return [one for one in found.values() if not _in_a_whole(one.path, found)]


def _in_a_whole(path: str, found: Mapping[str, Cgroup]) -> bool:
    outer = above(path)
    while outer != ROOT:
        if outer in found and found[outer].whole:
            return True
        outer = above(outer)
    return False


def is_end(cgroup: Cgroup, below: Mapping[str, Sequence[Cgroup]]) -> bool:
    """Whether a search goes no deeper here: it has no children, or ends as a whole."""
    return cgroup.whole or (cgroup.leaf and cgroup.path not in below)


def descent(
    first: Sequence[Cgroup],
    below: Mapping[str, Sequence[Cgroup]],
    ranked: Callable[[Sequence[Cgroup]], Sequence[Cgroup]],
) -> Iterator[Cgroup]:
    """The ends, best first, where siblings are judged among themselves only: the best child of the best, then of its
    siblings the next, then the next of those above.

    Args:
        ranked: Puts siblings in order, best first; those that it leaves out are not looked into.
    """
    seen: set[str] = set()
    pending = list(reversed(ranked(first)))
    while pending:
        cgroup = pending.pop()
        if cgroup.path in seen:
            continue
        seen.add(cgroup.path)
        if is_end(cgroup, below):
            yield cgroup
        elif cgroup.path in below:
            pending += reversed(ranked(below[cgroup.path]))
