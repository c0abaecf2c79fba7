"""The cgroups that are known of a hierarchy, and how those that a scope names are found.

A directory is listed at most once a second, and only where its children could matter: a scope without a pattern is
looked up by its names.
"""

from __future__ import annotations

import posix as os
from _stat import S_ISDIR
from errno import ENOENT, ENOTDIR

from okoomer.kernel.cgroup import path_text
from okoomer.kernel.cgroup_files import Descriptors, Files
from okoomer.policy.glob import component_matches, components

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from okoomer.policy.model import Scope

    Trail = set[tuple["Node", str]]

#: Seconds after which a directory is listed again, and those after which a cgroup that nobody asked for is forgotten.
AGE, IDLE = 1.0, 60.0
#: Seconds after which, at the earliest, it is looked again whose a cgroup is and whether it has children.
LOOKED = 4.0
#: No deeper and no more than these is looked: whoever may make cgroups may make any number of them.
DEEPEST, MOST = 64, 16384


class Node:
    """One cgroup.

    `first` is when it was seen first, `used` when it was asked for last, `gone` that it is no more. By `spread` seconds
    what is done now and then is done later, so that a thousand do not take their turns at the same instant; for
    `patience` seconds it is taken to be still whose it was, and to have children or none. What was read of it
    (guard.cgroup_reading) lies in `values`, `stalls` and `records`.
    """

    __slots__ = (
        "above", "below", "depth", "files", "first", "gone", "inode", "leaf", "listed", "looked", "names", "owner",
        "path", "patience", "records", "spread", "stalls", "used", "values",
    )  # fmt: skip

    def __init__(self, path: str, files: Files, inode: int, above: Node | None, time: float) -> None:
        self.path = path
        self.files = files
        self.inode = inode
        self.above = above
        self.depth: int = above.depth + 1 if above else 0
        self.first = self.used = time
        self.gone = False
        self.owner = 0
        self.leaf = True
        self.spread = inode % 16 / 16
        self.patience = LOOKED * (1 + self.spread)
        #: Its children that were asked for, by name; the names of all that a listing has shown, with their inodes.
        self.below: dict[str, Node] = {}
        self.names: dict[str, int] = {}
        self.listed = self.looked = float("-inf")
        self.values: dict[str, tuple[float, Any, bytes]] = {}
        self.stalls: dict[str, Any] = {}
        self.records: dict[Any, Any] = {}


class Tree:
    """The cgroups of one hierarchy, as far as somebody asked for them.

    Args:
        mount: Where it is.
        keep: So many descriptors are kept at most.
    """

    def __init__(self, mount: str, keep: int) -> None:
        self.mount = mount
        self.descriptors = Descriptors(keep)
        self.troubles: dict[str, str] = {}
        #: Grows whenever a cgroup has come or gone.
        self.changes = 0
        self._root: Node | None = None
        self._tidied = float("-inf")

    def root(self, time: float) -> Node | None:
        """The root, or None where it cannot be looked at."""
        node = self._root
        if node is None or not fresh(node.looked, time):
            found = self._look(self.mount)
            if node and (found is None or found.st_ino != node.inode):
                self.forget(node)
                self._root = node = None
            if found is not None:
                if node is None:
                    self._root = node = Node("/", Files(self.mount, self.descriptors), found.st_ino, None, time)
                _note(node, found, time)
        return node

    def named(self, scope: Scope, base: str, time: float, trail: Trail | None = None) -> list[Node]:
        """The cgroups that a scope names, each once, in the order of their names.

        Args:
            base: Where a relative scope begins.
            trail: Gets where it was looked for them.
        """
        start = self.at(base, time) if scope.relative else self.root(time)
        found: dict[int, Node] = {}
        for parts in scope.paths if start else ():
            level: list[Node] = [start] if start else []
            for part in parts:
                if trail is not None:
                    trail.update((node, "" if part[1] else part[0]) for node in level)
                level = [child for node in level for child in self._matching(node, part, time)]
            found.update((id(node), node) for node in level)
        return list(found.values())

    def is_as_before(self, trail: Trail, changes: int, time: float) -> bool:
        """Whether looking again along a trail would find the same: it is looked whether anything came or went.

        Args:
            changes: What `changes` was when the trail was made.
        """
        for node, name in trail:
            if self.changes != changes:
                return False
            if name:
                self._child(node, name, time)
            elif node.depth < DEEPEST:
                self._list(node, time)
        return self.changes == changes

    def at(self, path: str, time: float) -> Node | None:
        """The cgroup of a path, or None."""
        node = self.root(time)
        for name in components(path):
            node = self._child(node, name, time) if node else None
        return node

    def below(self, nodes: Iterable[Node], time: float) -> list[Node]:
        """These cgroups and all below them, parents first, each once."""
        found: dict[int, Node] = {}
        pending = list(nodes)[::-1]
        while pending:
            node = pending.pop()
            if id(node) in found:
                continue
            if len(found) >= MOST:
                self.troubles[self.mount] = f"there are more than {MOST} cgroups: the rest is not looked at"
                break
            found[id(node)] = node
            pending += self.children(node, time)[::-1]
        return list(found.values())

    def children(self, node: Node, time: float) -> list[Node]:
        """All children, in the order of their names."""
        if node.depth >= DEEPEST or not self.look(node, time) or node.leaf:
            return []
        self._list(node, time)
        return [self._node(node, name, inode, time) for name, inode in node.names.items()]

    def _matching(self, node: Node, part: tuple[str, bytes], time: float) -> Iterator[Node]:
        if not part[1]:
            child = self._child(node, part[0], time)
            if child:
                yield child
        elif node.depth < DEEPEST:
            self._list(node, time)
            for name, inode in node.names.items():
                if component_matches(part, path_text(name)):
                    yield self._node(node, name, inode, time)

    def _child(self, node: Node, text: str, time: float) -> Node | None:
        if node.depth >= DEEPEST or text in (".", ".."):  # a process outside a namespace has such a path
            return None
        if fresh(node.listed, time):
            name = text if text in node.names else next((n for n in node.names if path_text(n) == text), "")
            return self._node(node, name, node.names[name], time) if name else None
        known = node.below.get(text)
        if known and fresh(known.looked, time):
            return known
        found = self._look(f"{node.files.path}/{text}")
        if found is None:
            self._drop(node, text)
            if "\\" in text:  # bytes that are no text are written so in a path
                self._list(node, time)
                return self._child(node, text, time) if fresh(node.listed, time) else None
            return None
        child = self._node(node, text, found.st_ino, time)
        if child is not known:
            self.changes += 1
        _note(child, found, time)
        return child

    def _node(self, above: Node, name: str, inode: int, time: float) -> Node:
        node = above.below.get(name)
        if node and (node.inode != inode or node.gone):
            self._drop(above, name)
            node = None
        if node is None:
            path = f"{above.path.rstrip('/')}/{path_text(name)}"
            files = Files(f"{above.files.path}/{name}", self.descriptors)
            node = above.below[name] = Node(path, files, inode, above, time)
        return node

    def _list(self, node: Node, time: float) -> None:
        if fresh(node.listed, time):
            return
        names: dict[str, int] = {}
        try:
            with os.scandir(node.files.path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        names[entry.name] = entry.inode()
            self.troubles.pop(node.files.path, None)
        except OSError as error:
            if error.errno != ENOENT:
                self.troubles[node.files.path] = f"{node.files.path}: {error.strerror}"
        node.listed = time
        if names == node.names:
            return
        self.changes += 1
        node.names = dict(sorted(names.items()))
        for name in [name for name in node.below if name not in names]:
            self._drop(node, name)

    def look(self, node: Node, time: float) -> bool:
        """Looks again at whose it is and whether it has children; false if it is gone."""
        if not node.gone and not fresh(node.looked, time):
            found = self._look(node.files.path)
            if found is None or found.st_ino != node.inode:
                self.forget(node)
            else:
                _note(node, found, time)
        return not node.gone

    def _look(self, path: str) -> os.stat_result | None:
        try:
            found = os.stat(path, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (ENOENT, ENOTDIR):
                self.troubles[path] = f"{path}: {error.strerror}"
            return None
        except ValueError:  # a name that no file can have
            return None
        self.troubles.pop(path, None)
        return found if S_ISDIR(found.st_mode) else None

    def _drop(self, above: Node, name: str) -> None:
        node = above.below.pop(name, None)
        if node:
            self.forget(node)

    def forget(self, node: Node) -> None:
        """Gives back what is held of a cgroup that is gone, and of all below it."""
        self.changes += 1
        pending = [node]
        while pending:
            one = pending.pop()
            one.gone, one.looked = True, float("-inf")
            one.files.close(for_good=True)
            pending += one.below.values()
            one.below, one.names, one.listed = {}, {}, float("-inf")

    def tidy(self, time: float) -> None:
        """Forgets, once in a while, whom nobody asked for lately. Their age begins anew if somebody does again."""
        if fresh(self._tidied, time, IDLE) or not self._root:
            return
        self._tidied = time
        self.troubles.pop(self.mount, None)
        pending = [self._root]
        for node in pending:
            if not fresh(node.used, time, IDLE):
                node.files.close()
                node.values, node.stalls, node.records = {}, {}, {}
            pending += node.below.values()
        for node in reversed(pending):
            if not node.below and node.above and not fresh(node.used, time, IDLE):
                for name in [name for name, one in node.above.below.items() if one is node]:
                    self._drop(node.above, name)

    def close(self) -> None:
        """Gives back all descriptors."""
        if self._root:
            self.forget(self._root)
        self._root = None


def fresh(then: float, now: float, age: float = AGE) -> bool:
    """Whether what was found out `then` still holds: clocks of recordings may also go back."""
    return 0 <= now - then < age


def _note(node: Node, found: os.stat_result, time: float) -> None:
    node.owner, node.looked = found.st_uid, time
    # A directory has a link for itself, one from above and one from each child; file systems that keep no count say 1.
    node.leaf = found.st_nlink == 2 if found.st_nlink > 1 else not _has_children(node.files.path)


def _has_children(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(entry.is_dir(follow_symlinks=False) for entry in entries)
    except OSError:
        return False
