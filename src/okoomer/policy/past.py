"""What is remembered of cgroups from one look to the next: how much of their flows is new, and how they grow. Pure.

Each is known by its inode, so that one which is made anew under an old name has no past.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from okoomer.facts import Cgroup

#: A moving average keeps this share of itself from one look to the next a second later: one that is sooner weighs less,
#: one that is later no more.
KEEPS = 0.75
#: What is new is new since a look at least so many seconds ago, if there was one: looks may be much closer.
SPAN = 0.9


class Past:
    """Earlier looks at the candidates of one rule."""

    def __init__(self) -> None:
        self._time: float | None = None
        self._known: dict[int, _Known] = {}

    def note(self, time: float, area: Iterable[Cgroup]) -> None:
        """Takes a look. Whoever is not there any more is forgotten.

        Args:
            time: In seconds, on the clock of the snapshots. A second look at the same instant changes nothing.
        """
        first, passed = self._time is None, time - (self._time or 0.0)
        if not first and passed <= 0:
            return
        keeps = KEEPS ** min(1.0, passed)
        earlier, self._known, self._time = self._known, {}, time
        for cgroup in area:
            known = earlier.get(cgroup.inode)
            if known is None:
                # Who was there before we were has grown before, too; who came since began with nothing.
                memory = cgroup.memory or 0
                known = _Known(_look(time, cgroup), memory if first else (1 - KEEPS) * memory)
            else:
                known.look(time, cgroup, keeps)
            self._known[cgroup.inode] = known

    def scanned(self, cgroup: Cgroup) -> int | None:
        """Bytes that reclaim has looked at since, None before a second look."""
        new = self._new(cgroup, 1)
        return None if new is None else int(new)

    def spent(self, cgroup: Cgroup) -> float | None:
        """What its reads and writes have cost since, None before a second look."""
        return self._new(cgroup, 2)

    def growth(self, cgroup: Cgroup) -> float | None:
        """Bytes per second by which it grows, swap included, None before a second look."""
        known = self._known.get(cgroup.inode)
        if known is None or known.now[0] <= known.then[0] or cgroup.memory is None:
            return None
        now, then = known.now, known.then
        return float((now[3] or 0) - (then[3] or 0)) / (now[0] - then[0])

    def ratio(self, cgroup: Cgroup) -> float:
        """Its size as so many times its moving average; 1 where it was never looked at."""
        known = self._known.get(cgroup.inode)
        if known is None or not known.average or cgroup.memory is None:
            return 1.0
        return cgroup.memory / known.average

    def _new(self, cgroup: Cgroup, field: int) -> float | None:
        known = self._known.get(cgroup.inode)
        if known is None or known.now[0] <= known.then[0]:
            return None
        now, then = known.now[field], known.then[field]
        return None if now is None or then is None else max(0.0, now - then)


class _Known:
    """One cgroup: its moving average, and looks at it: the last one, one SPAN or more ago, and the one to follow it."""

    __slots__ = ("average", "now", "since", "then")

    def __init__(self, look: _Look, average: float) -> None:
        self.now = self.since = self.then = look
        self.average = average

    def look(self, time: float, cgroup: Cgroup, keeps: float) -> None:
        self.now = _look(time, cgroup)
        if time - self.since[0] >= SPAN:
            self.then, self.since = self.since, self.now
        self.average = keeps * self.average + (1 - keeps) * (cgroup.memory or 0)


if TYPE_CHECKING:
    #: When it was, and then what was scanned and spent, and how much memory and swap there was.
    _Look = tuple[float, int | None, float | None, int | None]


def _look(time: float, cgroup: Cgroup) -> _Look:
    size = None if cgroup.memory is None else cgroup.memory + (cgroup.swap or 0)
    return time, cgroup.scan, cgroup.io_cost, size
