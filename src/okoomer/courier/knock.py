"""Knocking at the guard's door until a courier is let in (see guard/door.py)."""

from __future__ import annotations

from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
)
from _struct import calcsize, unpack
from os import close
from select import POLLIN, epoll

from okoomer.say import Once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two attempts: at first, doubled each time, at the most.
SHORTEST, LONGEST = 0.2, 5.0
#: Seconds that the guard has for its welcome; a line that has lasted for so many was a good one.
PATIENCE, GOOD = 5.0, 10.0
STRANGER = "who stands there is no guard"


class Welcome:
    """What the guard gives to a courier: the line, the ring, and what polls readable after each event; `first` is the
    number of the next event, `pid` the guard's."""

    def __init__(self, connection: socket, ring: int, wake: epoll, first: int, pid: int) -> None:
        self.socket = connection
        self.ring = ring
        self.wake = wake
        self.first = first
        self.pid = pid


class Knock:
    """See the module.

    Args:
        path: Where the door is.
        say: Where it is said, once, that nobody answers.
    """

    def __init__(self, path: str, say: Callable[[], Once] = Once) -> None:
        self._path = path
        self._once = say()
        self._socket: socket | None = None
        self._until = float("-inf")
        self._pause = self._again = SHORTEST
        self._since: float | None = None

    def wants(self) -> list[tuple[int, int]]:
        """The descriptors that are waited for."""
        return [(self._socket.fileno(), POLLIN)] if self._socket else []

    def wait(self, now: float) -> float:
        """Seconds until `turn` has something to do; nothing as long as there is a line."""
        return float("inf") if self._since is not None else max(0.0, self._until - now)

    def turn(self, now: float) -> Welcome | None:
        """Goes on with it; a line, as soon as there is one."""
        if self._since is not None:
            return None
        if self._socket is None and (now < self._until or not self._connect(now)):
            return None
        assert self._socket is not None
        try:
            welcome = received(self._socket)
        except BlockingIOError:
            if now >= self._until:
                self._failed(now, "the guard does not answer")
            return None
        except ConnectionError:
            self._failed(now, "whoever is there does not let us in")
            return None
        except (OSError, ValueError) as error:
            self._failed(now, str(error))
            return None
        self._socket, self._since = None, now
        self._pause = self._again
        self._once.over("guard")
        return welcome

    def lost(self, now: float) -> None:
        """The line that there was is down. The next attempt is soon, unless lines never last long: two couriers that
        take each other's place must not do so all the time."""
        good = self._since is not None and now - self._since >= GOOD
        self._pause = SHORTEST if good else self._again
        self._again = SHORTEST if good else min(2 * self._again, LONGEST)
        self._since = None
        self._later(now)

    def close(self) -> None:
        """Knocks no more."""
        if self._socket:
            self._socket.close()
            self._socket = None

    def _connect(self, now: float) -> bool:
        connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            connection.connect(self._path)
            connection.send(b"hello", MSG_DONTWAIT)
        except OSError as error:
            connection.close()
            self._failed(now, error.strerror or str(error))
            return False
        self._socket, self._until = connection, now + PATIENCE
        return True

    def _failed(self, now: float, why: str) -> None:
        self.close()
        self._once("guard", f"there is no guard to be heard at {self._path}: {why}; it is waited for")
        self._later(now)

    def _later(self, now: float) -> None:
        self._until = now + self._pause
        self._pause = min(2 * self._pause, LONGEST)


def received(connection: socket) -> Welcome:
    """A guard's welcome, with its descriptors.

    Raises:
        BlockingIOError: There is none yet.
        OSError, ValueError: There will be none.
    """
    size = calcsize("ii")
    packet, rights, flags, _ = connection.recvmsg(256, CMSG_SPACE(size), MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
    fds: tuple[int, ...] = ()
    for level, kind, data in rights:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds += unpack(f"{len(data) // calcsize('i')}i", data[: len(data) // calcsize("i") * calcsize("i")])
    try:
        word, first, pid = packet.split()
        ring, wake = fds
        if word != b"welcome" or flags & MSG_CTRUNC:
            raise ValueError
        sequence, guard, poller = int(first), int(pid), epoll.fromfd(wake)
    except ValueError:
        for fd in fds:
            close(fd)
        raise (ValueError(STRANGER) if packet else ConnectionResetError("the line was closed")) from None
    try:
        poller.poll(0, 1)
    except OSError:
        poller.close()
        close(ring)
        raise ValueError(STRANGER) from None
    return Welcome(connection, ring, poller, sequence, guard)
