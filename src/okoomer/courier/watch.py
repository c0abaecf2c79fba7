"""The socket for programs that hear of memory pressure as systemd's services do: $MEMORY_PRESSURE_WATCH names it.

A program connects, may write what $MEMORY_PRESSURE_WRITE says, and from then on finds something to read whenever it
should give back memory that it can do without (https://systemd.io/PRESSURE/).
"""

from __future__ import annotations

from _socket import AF_UNIX, MSG_DONTWAIT, SO_SNDBUF, SOL_SOCKET, socket
from select import POLLERR, POLLHUP, POLLIN, POLLNVAL

from okoomer.courier.gate import Gate, user_of
from okoomer.events.model import LOW, NORMAL
from okoomer.say import Once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Programs of all, and of one user.
MOST, EACH = 256, 32
#: Seconds between two signs at the least, since giving back is work; and between those while nothing changes, as for
#: org.freedesktop.LowMemoryMonitor.
GAP, AGAIN = 1.0, 15.0
#: Bytes that a program may write in all: what it is told to is a line for the kernel.
WORDS = 1 << 16
#: So many programs are let in within a second.
KNOCKS = 64
#: The kernel's least. A program that does not read then keeps a few signs waiting, not a few hundred.
ROOM = 1


class Watcher:
    """A program that is told. `said` are the bytes that it has written, `deaf` whether it writes no more."""

    def __init__(self, line: socket, user: int) -> None:
        self.line = line
        self.user = user
        self.said = 0
        self.deaf = False


class Watch:
    """Tells all who are connected when memory gets short, at once when it gets shorter, and now and then while it is.

    Args:
        path: Of the socket. One that a dead courier has left there is replaced. If it cannot be made that is said, and
            nobody is told anything.
    """

    def __init__(self, path: str) -> None:
        self._once = Once()
        self._watchers: dict[int, Watcher] = {}
        self._level = NORMAL
        self._due = False
        self._last = float("-inf")
        self._gate: Gate | None = None
        try:
            self._gate = Gate((AF_UNIX, path), KNOCKS)
        except OSError as error:
            self._once("path", f"pressure cannot be watched at {path}: {error.strerror or error}")

    def hear(self, event: dict[str, Any], at: float, now: float) -> None:
        """Takes an event."""
        if event["event"] != "level":
            return
        level = int(event["level"])
        if level >= LOW and (level > self._level or now >= self._last + AGAIN):
            self._due = True
        elif level < LOW:
            self._due = False
        self._level = level
        self._tell(now)

    def lost(self, now: float) -> None:
        """The guard is gone."""
        self._level, self._due = NORMAL, False

    def wants(self) -> list[tuple[int, int]]:
        """What to wait for: descriptors and events."""
        # That a program has gone is told unasked.
        found = [(fd, 0 if watcher.deaf else POLLIN) for fd, watcher in self._watchers.items()]
        return found + (self._gate.wants if self._gate else [])

    def wait(self, now: float) -> float:
        """Seconds until there is something to do even if nothing comes."""
        until = self._last + GAP if self._due else float("inf")
        return min(max(0.0, until - now), self._gate.wait(now) if self._gate else float("inf"))

    def turn(self, ready: dict[int, int], now: float) -> None:
        """Does what can be done now."""
        for fd in [fd for fd in ready if fd in self._watchers]:
            self._listen(self._watchers[fd], ready[fd])
        for line in self._gate.enter(ready, now, KNOCKS) if self._gate else ():
            self._welcome(line)
        self._tell(now)

    def close(self) -> None:
        """Ends all lines."""
        for watcher in list(self._watchers.values()):
            self._end(watcher)
        if self._gate:
            self._gate.close()
            self._gate = None

    def _tell(self, now: float) -> None:
        if not self._due or now < self._last + GAP:
            return
        self._due, self._last = False, now
        for watcher in self._watchers.values():
            _sign(watcher)

    def _welcome(self, line: socket) -> None:
        line.setsockopt(SOL_SOCKET, SO_SNDBUF, ROOM)
        user = user_of(line)
        mine = sum(watcher.user == user for watcher in self._watchers.values())
        if len(self._watchers) >= MOST or mine >= EACH:
            whose = "programs" if len(self._watchers) >= MOST else f"programs of user {user}"
            self._once(whose, f"more {whose} watch for pressure than can be told")
            line.close()
            return
        watcher = self._watchers[line.fileno()] = Watcher(line, user)
        if self._level >= LOW:
            _sign(watcher)

    def _listen(self, watcher: Watcher, events: int) -> None:
        if events & (POLLHUP | POLLERR | POLLNVAL):
            self._end(watcher)
            return
        try:
            words = watcher.line.recv(4096, MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self._end(watcher)
            return
        watcher.said += len(words)
        # Who says that he will write no more goes on reading.
        watcher.deaf = not words
        if watcher.said > WORDS:
            self._once("words", "a program that watches for pressure has more to say than there is to be said")
            self._end(watcher)

    def _end(self, watcher: Watcher) -> None:
        del self._watchers[watcher.line.fileno()]
        watcher.line.close()


def _sign(watcher: Watcher) -> None:
    """One byte, if there is room: who has not read the last ones finds them when he looks."""
    try:
        watcher.line.send(b"\n", MSG_DONTWAIT)
    except OSError:
        pass  # who has gone is seen in the next turn
