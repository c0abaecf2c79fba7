"""Who misses what he has in swap: he comes to one page of it after the other, in whatever order, and waits for each.
In one go a disk brings all of it in a fraction of that time (see guard.paging)."""

from __future__ import annotations

from okoomer.kernel import process as kernel
from okoomer.kernel.clock import monotonic
from okoomer.kernel.files import number_after, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    Key = tuple[int, int]

#: Pages that are read from swap in a second at least before it is looked who misses them, and those that somebody
#: misses at least: what is less hurts nobody.
OFTEN = 100.0
#: Seconds between two looks, and the share of the time that they take at the most.
SPELL, SHARE = 0.5, 0.05
#: Bytes in swap that are not worth to be fetched.
LITTLE = 4 << 20
#: So many processes are looked at, and of those who miss most so many closely.
MOST, CLOSELY = 4096, 4


class Missed:
    """See the module.

    Args:
        proc: Where /proc is.
    """

    def __init__(self, proc: str) -> None:
        self._proc = proc
        self._at = float("-inf")
        self._pages = 0
        #: How often each had waited for a page by then.
        self._waited: dict[int, int] = {}
        #: When the next look is due.
        self.due = float("-inf")

    def look(self, now: float) -> list[Key]:
        """Those who have missed what they have in swap since the last look, who missed most first; nobody where there
        was none."""
        since, self._at = now - self._at, now
        before, self._pages = self._pages, self._read("vmstat", b"\npswpin ")
        busy = self._pages - before >= OFTEN * since
        if not (busy or self._waited):
            self.due = now + SPELL
            return []
        last, self._waited = self._waited, {}
        waited = self._all()
        if busy:
            self._waited = waited
        self.due = now + max(SPELL, (monotonic() - now) / SHARE)
        missing = [(count - last[pid], pid) for pid, count in waited.items() if pid in last]
        often = sorted((found for found in missing if found[0] >= OFTEN * since), reverse=True)[:CLOSELY]
        return [
            (pid, kernel.ticks(self._proc, pid))
            for _, pid in often
            if self._read(f"{pid}/status", b"\nVmSwap:") << 10 >= LITTLE
        ]

    def _all(self) -> dict[int, int]:
        """How often each process has waited for a page."""
        found: dict[int, int] = {}
        try:
            for pid in kernel.pids(self._proc):
                if len(found) >= MOST:
                    break
                found[int(pid)] = kernel.waited(self._proc, pid)
        except OSError:
            pass  # they cannot be listed, which is told of by whoever needs it
        return found

    def _read(self, file: str, key: bytes) -> int:
        try:
            return number_after(read(f"{self._proc}/{file}", 1 << 14), key) or 0
        except (OSError, ValueError, IndexError):
            return 0
