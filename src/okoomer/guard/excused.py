"""Whose stall? As long as a unit is slowed down it stalls since we wish it, which is no reason to act on others.

At each look it is known by how much the stall of the whole machine has grown, that of the slowed cgroup, and that of
each other one. Of what the machine's has grown by, the rest is somebody else's for sure; and so is, of the time in
which the slowed one stalled as well, what another one stalled itself. Everything else is excused: it is added up, and
what rules see is the machine's total less that sum, which so is a total as well.

Where that cannot be told, nothing is excused.
"""

from __future__ import annotations

import posix as os

from okoomer.kernel import control, pressure
from okoomer.kernel import process as kernel
from okoomer.kernel.cgroup import mount
from okoomer.kernel.files import read
from okoomer.kernel.paths import exists
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import TypeAlias

    from okoomer.facts import Pressure, Snapshot

    #: Seconds that some, and that all, have stalled in all.
    Totals: TypeAlias = tuple[float, float]

#: Seconds until it is looked again which cgroups there are; and so many others at the most.
AGE, MOST = 1.0, 256


class Excused:
    """See the module.

    Args:
        proc: Where /proc is.
        ours: Ourselves, and whoever works for us: what they stall is our doing.
        able: Whether the pressure that is read is the machine's.
    """

    def __init__(self, proc: str, ours: Callable[[], Collection[int]], able: Callable[[], bool] = lambda: True) -> None:
        self._proc = proc
        self._ours = ours
        self._able = able
        self._mount = ""
        #: The cgroup that is slowed down, '' if none is.
        self._path = ""
        self._excused: Totals = (0.0, 0.0)
        self._others: list[str] | None = None
        self._listed = float("-inf")
        self._machine: Totals | None = None
        self._known: dict[str, Totals] = {}

    def begin(self, path: str) -> None:
        """From now on the stall of this cgroup is excused."""
        self._mount = mount(self._proc) or ""
        # Where we see only a part of the hierarchy, others may stall unseen: the root of all has no such file.
        whole = bool(self._mount) and not exists(f"{self._mount}/cgroup.events") and self._able()
        self._path = path if whole else ""
        self._machine, self._known, self._listed = None, {}, float("-inf")

    def end(self) -> None:
        """From now on all stall counts."""
        self._path = ""

    def __call__(self, snapshot: Snapshot) -> Snapshot:
        """The same, with what is excused of its stall."""
        if self._path and snapshot.memory_pressure:
            self._look(_totals(snapshot.memory_pressure), snapshot.time)
        return replace(snapshot, excused=self._excused) if any(self._excused) else snapshot

    def _look(self, machine: Totals, time: float) -> None:
        last, self._machine = self._machine, machine
        if last == machine:
            return
        if time >= self._listed + AGE:
            self._others, self._listed = self._list(), time
        before, self._known = self._known, {}
        for path in (self._path, *(self._others or ())):
            try:
                self._known[path] = _totals(pressure.parse(read(f"{self._mount}{path}/memory.pressure", 512)))
            except (OSError, ValueError, IndexError):
                continue
        if last is None or self._others is None or self._path not in before or self._path not in self._known:
            return
        grown = [
            [now - then for now, then in zip(self._known[path], before[path], strict=True)]
            for path in self._known
            if path in before and path != self._path
        ]
        slowed = [now - then for now, then in zip(self._known[self._path], before[self._path], strict=True)]
        some, full = (
            excused(machine[line] - last[line], slowed[line], max((one[line] for one in grown), default=0.0))
            for line in (0, 1)
        )
        self._excused = self._excused[0] + some, self._excused[1] + full

    def _list(self) -> list[str] | None:
        """The largest cgroups that the slowed one is not in, nor we; None if they are too many, or cannot be seen."""
        apart = [self._path, *self._own()]
        found: list[str] = []
        pending = [""]
        while pending:
            path = pending.pop()
            try:
                with os.scandir(f"{self._mount}{path}/") as entries:
                    children = [f"{path}/{entry.name}" for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError:
                if path:
                    continue  # it has gone meanwhile
                return None
            for child in children:
                if any(one.startswith(f"{child}/") for one in apart):
                    pending.append(child)
                elif child not in apart:
                    found.append(child)
            if len(found) > MOST:
                return None
        return found

    def _own(self) -> list[str]:
        """Our own cgroup, if nobody else is in it: we wait where we take memory back for the unit."""
        path = kernel.cgroup(self._proc, "self")
        if not path.strip("/"):
            return []
        try:
            directory = control.enter(self._mount, path)
        except OSError:
            return []
        try:
            return [path] if frozenset(self._ours()).issuperset(control.members(directory)) else []
        finally:
            os.close(directory)


def excused(machine: float, slowed: float, other: float) -> float:
    """Of what the machine stalled, in seconds, what nobody but the slowed cgroup is known to have stalled.

    Args:
        slowed: What that cgroup stalled.
        other: What another one did, whichever did most.
    """
    theirs = max(machine - slowed, min(machine, other))
    return max(0.0, machine - theirs)


def _totals(found: Pressure) -> Totals:
    return found.some.total, found.full.total if found.full else 0.0
