"""Room for everybody else while somebody is asked about a unit, or paused for a moment once more: what it holds is put
into swap, as much as is missing and as swap can hold. That is no memory come back: the unit will want it when it runs
again."""

from __future__ import annotations

from okoomer.guard.missed import LITTLE, Missed
from okoomer.guard.paging import PIECE, Paging, spare_swap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.facts import Snapshot
    from okoomer.guard.act import Act

#: Seconds that a unit stands still before it is put into swap: whom memory comes back for runs again from memory.
MOMENT = 1.0
#: So many times as much as is wanted is to be available: who could not get on for long takes a lot as soon as he can.
AMPLE = 2
#: Seconds for which those who go on are fetched from swap after somebody has made room for them.
AFTERWARDS = 30.0


class Room:
    """See the module; for one act at a time.

    Args:
        proc: Where /proc is.
        latest: The machine as it is, or was a moment ago.
    """

    def __init__(self, proc: str, latest: Callable[[], Snapshot]) -> None:
        self._paging = Paging(proc, PIECE, Missed(proc))
        self._latest = latest
        self._act: Act | None = None
        #: It stands still for longer than a moment.
        self._long = False
        self._before = 0

    def make(self, act: Act, since: float, now: float) -> None:
        """Goes on putting the unit of an act, which stands still since then, into swap; at once if it has filled the
        room of an earlier moment: let run again without more, it would begin where the kernel looks for room, and that
        takes of everybody. If it is for longer than a moment more is put out, and whoever misses what he has there is
        fetched."""
        if act.hold is None or (now - since < MOMENT and not act.rule.tentative):
            return
        if self._act is not act:
            self._act, self._before = act, self._paging.written
        self._long = not act.pulse
        if self._long:
            self._paging.watch(AFTERWARDS)
        act.put_out = self._paging.written - self._before
        missing = min((AMPLE if self._long else 1) * act.wanted - act.room, spare_swap(self._latest()))
        if missing >= LITTLE:
            place = act.place
            self._paging.put_out(act.hold.members, missing, lambda key: place)

    def sweep(self, act: Act) -> None:
        """Makes use of the moment that a unit stands still: what nobody has used for long goes into swap, so that it
        runs again with more room than it was stopped with. Once: the kernel may send more to a slow disk than it is
        asked for, and takes of everybody."""
        if self._act is act:
            return
        self._act, self._long, self._before = act, False, self._paging.written
        missing = min(act.wanted - act.room, spare_swap(self._latest()))
        if missing >= LITTLE:
            self._paging.sweep(act.room + missing)

    def leave_off(self) -> None:
        """Somebody is told to end: until he has nobody is looked at, since whoever reads of him keeps his memory."""
        self._paging.watch(0.0)

    def give_back(self, act: Act) -> None:
        """An act is over. If its unit runs again it is fetched from swap in one go, as far as there is room for it."""
        self._paging.halt()
        if act.hold is not None and act.put_out >= LITTLE and act.lacks() <= 0:
            self._paging.fetch(act.hold.members)
        if self._act is act and self._long:
            self._paging.watch(AFTERWARDS)
