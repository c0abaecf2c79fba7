"""The guard's side of the canary: how late is a small ordinary process, which a person's programs are like?

Guard and canary share one page and a pipe. To ask, the guard puts a number on the page and a byte into the pipe; the
canary sleeps in a read, comes to its memory as any program does, and puts the time and the number back. So nobody
wakes while nobody asks, and the guard asks only while memory is short. One question is open at a time: the pipe never
holds more than a byte, which the kernel has room for since the first one, so that asking neither waits nor allocates.

The page is sealed: whatever the canary does to it, it stays a page, and nonsense on it changes nothing but the figure.
"""

from __future__ import annotations

import posix as os
from _struct import Struct
from mmap import mmap

from okoomer.kernel import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.guard.wake import Wake

PAGE = 4096
#: Where on the page the guard puts the number of its question; and where the canary puts the time, in seconds on the
#: clock of the guard's snapshots, when it has come to all of its memory, and after that the number.
ASKED, AT, ANSWERED = 0, 64, 72
NUMBER, TIME = Struct("=Q"), Struct("=d")
#: Seconds for which an answer counts.
KEPT = 2.0


class Canary:
    """See the module.

    Args:
        line: The writing end of the pipe, of which nobody else has a copy. When it closes, the canary ends.
        page: A descriptor of the page, which is closed here.
        now: Seconds on the clock of snapshots.
    """

    def __init__(self, line: int, page: int, now: Callable[[], float] = clock.monotonic) -> None:
        self.fd = line
        os.set_inheritable(line, False)
        os.set_blocking(line, False)
        self._page = mmap(page, PAGE)
        os.close(page)
        self._now = now
        self._number = 0
        #: When the open question was asked, None if there is none.
        self._asked: float | None = None
        #: Answers that count: until when, and how late they were. A later and worse one takes the place of others.
        self._late: list[tuple[float, float]] = []
        #: False once it is gone.
        self.alive = True

    def watch(self, wake: Wake, tell: Callable[[], object]) -> None:
        """Has it told, once, when the canary has ended."""

        def ended() -> None:
            wake.off(self.fd)
            self.close()
            tell()

        wake.on(self.fd, ended)

    def ask(self) -> None:
        """Asks for a sign of life, unless it still owes one. Never waits."""
        if self.alive and not self._is_owed():
            self._number += 1
            NUMBER.pack_into(self._page, ASKED, self._number)
            self._asked = self._now()
            try:
                os.write(self.fd, b"?")
            except OSError:
                pass  # full, and so it does not read; or gone, which `watch` tells

    def late(self) -> float:
        """By how many seconds it was late at the worst of the last two; infinite without one. What it owes counts by
        the time since it was asked."""
        if not self.alive:
            return float("inf")
        owed, now = self._is_owed(), self._now()
        while self._late and self._late[0][0] < now:
            del self._late[0]
        worst = self._late[0][1] if self._late else 0.0
        return max(worst, now - self._asked) if owed and self._asked is not None else worst

    def close(self) -> None:
        """Lets it end."""
        if self.alive:
            self.alive = False
            self._page.close()
            os.close(self.fd)

    def _is_owed(self) -> bool:
        """Whether an answer is owed; takes it if it is there."""
        asked = self._asked
        if asked is None:
            return False
        if NUMBER.unpack_from(self._page, ANSWERED)[0] != self._number:
            return True
        at, now = TIME.unpack_from(self._page, AT)[0], self._now()
        # What cannot be is as if it had come just now.
        at = at if asked <= at <= now else now
        while self._late and self._late[-1][1] <= at - asked:
            del self._late[-1]
        self._late.append((at + KEPT, at - asked))
        self._asked = None
        return False
