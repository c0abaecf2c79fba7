"""What is known of a cgroup without its files: whose it is, how it is told from another of its name, since when it is
there and how others have marked it. A recording has that written down beside it, as far as it does."""

from __future__ import annotations

import posix as os

from okoomer.kernel import cgroup as kernel
from okoomer.kernel.files import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from okoomer.guard.cgroup_tree import Node
    from okoomer.kernel.machine import Machine


class Live:
    """A hierarchy of the kernel."""

    def inode(self, node: Node) -> int:
        """The number by which a cgroup is told from a later one of its name."""
        return node.inode

    def number(self, path: str, inode: int) -> int:
        """The same by its path and the inode of its directory."""
        return inode

    def owner(self, node: Node) -> int:
        """The user that a cgroup belongs to."""
        return node.owner

    def first(self, node: Node) -> float:
        """When a cgroup was seen first, on the clock of snapshots."""
        return node.first

    def tags(self, node: Node) -> tuple[str, ...]:
        """The names of a cgroup's extended attributes."""
        return kernel.mark_names(node.files.path)

    def names(self, path: str, directory: str) -> tuple[str, ...]:
        """The same by its path and directory."""
        return kernel.mark_names(directory)

    def user(self, path: str, directory: str) -> int:
        """The user that a cgroup belongs to, by its path and directory; nobody in particular (-1) if it is gone."""
        try:
            return os.stat(directory).st_uid
        except OSError:
            return -1

    def populated(self, node: Node) -> bool | None:
        """Whether a cgroup has a process, though it does not say so itself."""
        return None


class Recording:
    """A recorded hierarchy. Its directories belong to whoever recorded it and were made then, so all that is written
    down elsewhere: attributes in xattrs.json; owners, where they are not root, in owners.json.

    Args:
        members: The processes in a cgroup and below it.
        firsts: When cgroups were seen first, by path, over all recordings of the machine.
    """

    def __init__(self, machine: Machine, members: Callable[[str], list[int]], firsts: dict[str, float]) -> None:
        folder = machine.sys.rpartition("/")[0]
        self._members = members
        self._firsts = firsts
        self._marks = _table(f"{folder}/xattrs.json")
        self._owners = _table(f"{folder}/owners.json")

    def inode(self, node: Node) -> int:
        return self.number(node.path, node.inode)

    def number(self, path: str, inode: int) -> int:
        # FNV-1a: the same in each recording, and in each run.
        number = 0xCBF29CE484222325
        for byte in path.encode("utf-8", "backslashreplace"):
            number = (number ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        return number >> 1

    def owner(self, node: Node) -> int:
        return self.user(node.path, "")

    def user(self, path: str, directory: str) -> int:
        found = self._owners.get(path, 0)
        return found if isinstance(found, int) else 0

    def first(self, node: Node) -> float:
        return self._firsts.setdefault(node.path, node.first)

    def tags(self, node: Node) -> tuple[str, ...]:
        return self.names(node.path, "")

    def names(self, path: str, directory: str) -> tuple[str, ...]:
        found = self._marks.get(path)
        return tuple(found) if isinstance(found, dict) else ()

    def populated(self, node: Node) -> bool | None:
        return bool(self._members(node.path))


def _table(path: str) -> dict[str, Any]:
    """A file of JSON with an object by path, empty where it is not."""
    import json  # never in the guard: it has no recordings

    try:
        found = json.loads(read(path, 2**26))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
