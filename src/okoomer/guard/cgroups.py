"""The cgroups of a machine, as scopes and choices need them."""

from __future__ import annotations

import posix as os

from okoomer.guard.cgroup_origin import Live, Recording
from okoomer.guard.cgroup_reading import Reading
from okoomer.guard.cgroup_tree import Tree, fresh
from okoomer.kernel import cgroup as kernel
from okoomer.kernel import process
from okoomer.kernel.cgroup_files import KEPT
from okoomer.kernel.paths import is_directory
from okoomer.policy.glob import components

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from okoomer.facts import Cgroup
    from okoomer.guard.cgroup_tree import Node, Trail
    from okoomer.kernel.machine import Machine
    from okoomer.policy.model import Scope
    from okoomer.policy.wants import Want

    Named = list[tuple[str, list[Node]]]
    Fields = dict[Node, frozenset[str]]

#: Seconds after which it is looked again whether there is a hierarchy, and whether it is still the same.
MOUNT_AGE = 60.0


class Cgroups:
    """Reads the unified hierarchy of a machine again and again, and no more of it than it is asked for. Nothing that
    a cgroup or its owner does stops it: one that goes away is left out.

    Args:
        keep: So many descriptors may be kept from one look to the next, and no more than KEPT.
    """

    def __init__(self, machine: Machine, keep: int = KEPT) -> None:
        self._keep = min(keep, KEPT)
        self._tree: Tree | None = None
        self._reading: Reading | None = None
        self._firsts: dict[str, float] = {}
        #: What `_plan` gives; before it since when that holds, and how many changes and which trail it rests on.
        self._plans: dict[tuple[tuple[str, frozenset[str]], ...], tuple[float, int, Trail, Named, Fields]] = {}
        self.turn(machine)

    def turn(self, machine: Machine) -> None:
        """Goes on with another recording of the same machine."""
        self.close()
        self._machine = machine
        self._origin: Live | Recording = Live() if machine.live else Recording(machine, self.members, self._firsts)

    def scoped(self, wanted: Iterable[Want], time: float) -> tuple[tuple[str, tuple[Cgroup, ...]], ...]:
        """What `Snapshot.scoped` holds: the cgroups that each scope names, by its text; nothing where there is no
        unified hierarchy.

        Args:
            time: Seconds on the clock of snapshots.
        """
        wants = tuple(wanted)
        if not wants or not self._open(time):
            return ()
        assert self._tree and self._reading
        self._tree.tidy(time)
        if self._tree.root(time) is None:
            return ()
        named, fields = self._plan(wants, time)
        read = self._reading.record
        records = {node: read(node, wanted, time) for node, wanted in fields.items()}
        scoped = []
        for (text, nodes), want in zip(named, wants, strict=True):
            found = tuple([records[node] for node in nodes])
            if not all(found):
                found = tuple([one for one in found if one])
            if tag := want.scope.tag:
                found = tuple([one for one in found if one and tag in one.tags])
            scoped.append((text, found))
        return tuple(scoped)  # type: ignore[arg-type]

    def _plan(self, wants: tuple[Want, ...], time: float) -> tuple[Named, Fields]:
        """Which cgroups each scope names, and what is to be read of each."""
        assert self._tree
        key = tuple([(want.scope.text, want.fields) for want in wants])
        known = self._plans.get(key)
        if known:
            since, changes, trail, named, fields = known
            if fresh(since, time):
                return named, fields
            if self._tree.is_as_before(trail, changes, time):
                self._plans[key] = (time, changes, trail, named, fields)
                _use(fields, time)
                return named, fields
        trail, fields, named = set(), {}, []
        for want in wants:
            nodes = self._tree.named(want.scope, "/", time, trail)
            for node in nodes:
                others = fields.get(node)
                fields[node] = want.fields if others is None or others == want.fields else others | want.fields
            named.append((want.scope.text, nodes))
        _use(fields, time)
        if len(self._plans) >= 16:
            self._plans.clear()
        self._plans[key] = (time, self._tree.changes, trail, named, fields)
        return named, fields

    def area(
        self, among: Scope | None, base: str, deep: bool, fields: frozenset[str], time: float
    ) -> tuple[Cgroup, ...]:
        """The cgroups that a choice is made among.

        Args:
            among: Which; the base alone if it is None.
            base: The path of the cgroup that the rule is about, "/" if there is none: where a relative scope begins.
            deep: With all below them, parents first.
            fields: What is read of each.
            time: Seconds on the clock of snapshots.
        """
        if not self._open(time):
            return ()
        assert self._tree and self._reading
        if among is not None:
            nodes = self._tree.named(among, base, time)
            if among.tag:
                nodes = [node for node in nodes if among.tag in self._origin.tags(node)]
        else:
            node = self._tree.at(base, time)
            nodes = [node] if node else []
        if deep:
            nodes = self._tree.below(nodes, time)
        _use(nodes, time)
        found = [self._reading.record(node, fields, time) for node in nodes]
        return tuple([one for one in found if one is not None])

    def members(self, path: str) -> list[int]:
        """The processes in a cgroup and in all below it, as they are now."""
        directory = self.directory(path)
        if directory is None:
            return [] if self._tree else _by_process(self._machine.proc, path)
        lists = [kernel.processes(directory)]
        lists += [kernel.processes(directory + below) for below in kernel.below(directory)]
        found = dict.fromkeys(pid for listed in lists for pid in listed or ())
        if None in lists and not self._machine.live:
            found.update(dict.fromkeys(_by_process(self._machine.proc, path)))
        return list(found)

    def tags(self, path: str) -> tuple[str, ...]:
        """The names of the extended attributes of a cgroup that count for whoever is in it: those that root has set.
        Anybody can mark a cgroup of his own."""
        directory = self.directory(path)
        if directory is None:
            return ()
        names = self._origin.names(path, directory)
        if names and self._origin.user(path, directory) != 0:
            return tuple(name for name in names if name.startswith("trusted."))
        return names

    def exists(self, path: str, inode: int) -> bool:
        """Whether a cgroup is still there, and the same."""
        directory = self.directory(path)
        try:
            return directory is not None and inode == self._origin.number(path, os.stat(directory).st_ino)
        except OSError:
            return False

    def directory(self, path: str) -> str | None:
        """Where a cgroup is in the file system, or None where there is no such cgroup."""
        names = components(path)
        if not self._open(None) or "." in names or ".." in names or "\0" in path:
            return None
        assert self._tree
        directory = "/".join((self._tree.mount, *names))
        if is_directory(directory) or "\\" not in path:
            return directory if is_directory(directory) else None
        directory = self._tree.mount
        for name in names:  # bytes that are no text are written so in a path
            try:
                below = os.listdir(directory)
            except OSError:
                return None
            found = next((one for one in below if kernel.path_text(one) == name), None)
            if found is None:
                return None
            directory = f"{directory}/{found}"
        return directory if is_directory(directory) else None

    def troubles(self) -> Iterator[str]:
        """What cannot be read or understood at present, as far as it can all be told."""
        if self._reading:
            yield from self._reading.troubles()

    def close(self) -> None:
        """Gives back its descriptors. Whatever is asked for later opens them again."""
        if self._tree:
            self._tree.close()
        self._tree = self._reading = None
        self._plans.clear()
        self._sought = float("-inf")

    __del__ = close

    def _open(self, time: float | None) -> bool:
        """Whether there is a hierarchy; None looks only if it was never looked."""
        if self._sought == float("-inf") or (time is not None and not fresh(self._sought, time, MOUNT_AGE)):
            mount = kernel.hierarchy(self._machine)
            if self._tree and self._tree.mount != mount:
                self.close()
            if mount is not None and self._tree is None:
                self._tree = Tree(mount, self._keep)
                self._reading = Reading(self._machine, self._tree, self._origin)
            self._sought = time if time is not None else 0.0
        return self._tree is not None


def _use(nodes: Iterable[Node], time: float) -> None:
    for node in nodes:
        node.used = time


def _by_process(proc: str, path: str) -> list[int]:
    """Version 1, or a recording without lists: each process says where it is."""
    below = f"{path.rstrip('/')}/"
    found = []
    try:
        for pid in process.pids(proc):
            if f"{process.cgroup(proc, pid)}/".startswith(below):
                found.append(int(pid))
    except OSError:
        return []
    return found
