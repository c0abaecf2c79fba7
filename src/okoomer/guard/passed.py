"""Who is passed over for a while: units that would not die, and units that somebody wants to keep."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from okoomer.facts import Process


class PassedOver:
    """Processes by pid and cgroups by inode, each until a time of its own."""

    def __init__(self) -> None:
        self._pids: dict[int, tuple[float, float]] = {}
        self._groups: dict[int, float] = {}

    def note(self, pids: Iterable[int], until: float, processes: Iterable[Process] = ()) -> None:
        """Passes over pids until then.

        Args:
            processes: Those of whom it is known when they were started, so that a pid used again is not meant.
        """
        started = {process.pid: process.started for process in processes}
        for pid in pids:
            self._pids[pid] = until, started.get(pid, 0.0)

    def note_group(self, inode: int, until: float) -> None:
        """Passes over a cgroup until then."""
        self._groups[inode] = until

    def pids(self, now: float) -> frozenset[int]:
        """Who is passed over now."""
        if self._pids:
            self._pids = {pid: noted for pid, noted in self._pids.items() if noted[0] > now}
        return frozenset(self._pids)

    def groups(self, now: float) -> frozenset[int]:
        """The inodes of the cgroups that are."""
        if self._groups:
            self._groups = {inode: until for inode, until in self._groups.items() if until > now}
        return frozenset(self._groups)

    def among(self, processes: Iterable[Process], now: float) -> frozenset[int]:
        """Who of these processes is passed over, and who has been started by one of those: what belongs to a unit goes
        with it, whenever it was born."""
        if not self.pids(now):
            return frozenset()
        by_pid = {process.pid: process for process in processes}
        return frozenset(pid for pid in by_pid if self._belongs(pid, by_pid))

    def _belongs(self, pid: int, by_pid: dict[int, Process]) -> bool:
        for _ in range(len(by_pid)):
            process = by_pid.get(pid)
            if process is None:
                return False
            noted = self._pids.get(pid)
            if noted and noted[1] in (0.0, process.started):
                return True
            pid = process.parent
        return False
