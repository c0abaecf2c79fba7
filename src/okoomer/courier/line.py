"""The courier's end of the line to the guard: what is asked of the guard, and its replies."""

from __future__ import annotations

from _socket import MSG_DONTWAIT
from itertools import count
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import TypeAlias

    #: Takes the status and the text of a reply.
    Answered: TypeAlias = Callable[[str, str], None]

#: Seconds that the guard has for a reply, and what is said in its place.
PATIENCE, SILENT = 2.0, "silent"
#: So many requests a second at most, and at once: a guard closes the line of who asks more (guard/door.py).
RATE, BUSY = 48.0, "busy"
#: No reply and no policy's hooks are longer.
PACKET = 1 << 18
#: So many packets wait for a guard that does not hear them.
WAITING = 256


class Line:
    """See the module. A line may be down: then requests are not answered in time.

    Args:
        connection: A SEQPACKET socket with the guard at its other end, or None.
        clock: Seconds.
    """

    def __init__(self, connection: socket | None = None, clock: Callable[[], float] = monotonic) -> None:
        self.socket = connection
        self._clock = clock
        self._references = count(1)
        self._asked: dict[str, tuple[float, Answered]] = {}
        #: What is said at the next turn, not while somebody still asks.
        self._soon: list[tuple[str, Answered]] = []
        self._left, self._at = RATE, clock()

    @property
    def fd(self) -> int:
        """The socket's descriptor, -1 while the line is down."""
        return self.socket.fileno() if self.socket else -1

    def ask(self, request: str, answered: Answered) -> None:
        """Asks the guard for something, and has the status and the text of its reply taken when they are there.

        Args:
            request: `VERB {ref} REST`, with those very braces.
        """
        now = self._clock()
        self._left = min(RATE, self._left + max(0.0, now - self._at) * RATE)
        self._at = now
        if self._left < 1.0:
            self._soon.append((BUSY, answered))
            return
        self._left -= 1.0
        reference = str(next(self._references))
        try:
            if self.socket is None or not request.isascii():
                raise OSError
            self.socket.send(request.replace("{ref}", reference, 1).encode("ascii"), MSG_DONTWAIT)
        except OSError:
            self._soon.append((SILENT, answered))
            return
        self._asked[reference] = (now + PATIENCE, answered)

    def heard(self, packet: bytes) -> bool:
        """Takes a packet of the guard's if it is a reply."""
        if not packet.startswith(b"reply "):
            return False
        _, reference, status, text, *_ = (*packet.decode("ascii", "replace").split(" ", 3), "", "")
        _, answered = self._asked.pop(reference, (0.0, None))
        if answered:
            answered(status, text)
        return True

    def receive(self) -> bytes | None:
        """The next packet: None if there is none now, b"" if the guard has gone."""
        if self.socket is None:
            return None
        try:
            return self.socket.recv(PACKET, MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def send(self, packet: bytes) -> bool:
        """Sends a packet that is no request; False if it has to wait. To a guard that is gone nothing waits."""
        try:
            if self.socket:
                self.socket.send(packet, MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            pass  # nobody hears it any more
        return True

    def wait(self, now: float) -> float:
        """Seconds until `turn` has something to do."""
        if self._soon:
            return 0.0
        return max(0.0, min((until for until, _ in self._asked.values()), default=float("inf")) - now)

    def turn(self, now: float) -> None:
        """Says what can be said without the guard, and for it if it is silent."""
        for reference, (until, answered) in list(self._asked.items()):
            if now >= until:
                del self._asked[reference]
                self._soon.append((SILENT, answered))
        soon, self._soon = self._soon, []
        for status, answered in soon:
            answered(status, "")

    def close(self) -> None:
        """The line is down: whoever waits for a reply waits no longer than until the next turn."""
        if self.socket:
            self.socket.close()
            self.socket = None
        self._soon += [(SILENT, answered) for _, answered in self._asked.values()]
        self._asked.clear()
