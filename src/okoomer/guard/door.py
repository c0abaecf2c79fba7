"""The guard's door: a socket at which a courier is let in, and those who may ask the guard for something.

    hello              a courier: it gets `welcome FIRST PID` with two descriptors (the ring, open for reading only, and
                       one that polls readable after each event: events/sign.py), and what the policy wants of it
    VERB REF REST      a request (see link.ASKED): it gets `reply REF STATUS TEXT`

Only root, the guard's own user and the courier's are let in, by what the kernel says of them; and where the guard may,
it gives the socket to the courier's group, so that nobody else can even stand in the queue. Nobody here is waited for
and nobody is trusted: each user has so many packets a second, lines and knocks are counted, and what a reader does not
take is lost to it. While nobody knocks the door costs nothing but its descriptors.
"""

from __future__ import annotations

import posix as os
from _socket import (
    AF_UNIX,
    MSG_DONTWAIT,
    SCM_RIGHTS,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
)
from _struct import calcsize, pack, unpack

from okoomer.guard.link import ASKED, answer, configuration
from okoomer.kernel import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from okoomer.events.sign import Sign
    from okoomer.guard.link import Requests
    from okoomer.guard.wake import Wake
    from okoomer.policy.model import Policy

#: So many lines at once, and of these so many of one user who is not root.
LINES, OF_ONE = 8, 4
#: So many packets a second of one user, and at once.
RATE = 64.0
#: Packets that are looked at before anything else has its turn.
AT_ONCE = 16
#: A user who has said too much is heard again after so many seconds; who says too much for so many loses the line.
REST, TOO_LONG = 0.125, 10.0
#: So many may knock in a second, and so many wait at the door: beyond that nobody looks until the second is over, and
#: then all who wait are seen to, so that nobody can keep the others out.
KNOCKS = 16
#: No request is longer.
PACKET = 512
#: struct ucred: pid, uid, gid.
CREDENTIALS = "iII"


def peer_of(connection: socket) -> tuple[int, int]:
    """Who is at the other end: the pid and the uid that it had when it connected."""
    found = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, calcsize(CREDENTIALS))
    pid, user, _group = unpack(CREDENTIALS, found)
    return int(pid), int(user)


class Bucket:
    """What a user may yet say: packets, filled up at RATE."""

    def __init__(self, now: float) -> None:
        self._left = RATE
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more packet is looked at."""
        self._left = min(RATE, self._left + max(0.0, now - self._at) * RATE)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Line:
    """One that was let in. `again` is when it is looked at again if it has said too much, else None; `since` is since
    when it says too much."""

    def __init__(self, connection: socket, pid: int, user: int) -> None:
        self.socket = connection
        self.fd = connection.fileno()
        self.pid = pid
        self.user = user
        self.again: float | None = None
        self.since: float | None = None


class Door:
    """See the module.

    Args:
        path: Where it is; what stands there is removed.
        ring: The path of the ring.
        sign: Is given after each event.
        first: Gives the number of the next event.
        wake: What the guard waits for.
        courier: The uid of couriers, or -1.
        group: The gid that they have, or -1.
        requests: Takes the requests.
        entered: Is told the pid of each courier that is let in.
        now: Seconds; `peer` says who is at the other end of a connection, pid and uid. Tests have others.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(
        self,
        path: str,
        ring: str,
        sign: Sign,
        first: Callable[[], int],
        wake: Wake,
        courier: int,
        group: int,
        requests: Requests,
        entered: Callable[[int], None],
        now: Callable[[], float] = clock.monotonic,
        peer: Callable[[socket], tuple[int, int]] = peer_of,
    ) -> None:
        self._path = path
        self._sign = sign
        self._first = first
        self._wake = wake
        self._own = os.geteuid()
        self._let_in = {0, self._own, courier}
        self._requests = requests
        self._entered = entered
        self._now = now
        self._peer = peer
        self._lines: list[Line] = []
        self._courier: Line | None = None
        #: The sign that the courier was given, to be taken back from it; -1 if there is no courier.
        self._reader = -1
        self._buckets: dict[int, Bucket] = {}
        self._knocks, self._second = 0, float("-inf")
        #: When the door is looked at again if too many have knocked.
        self._shut: float | None = None
        self._configuration = b""
        # Opened for reading only, so that whoever gets it can neither write, nor cut it, nor map it to be written.
        self._ring = os.open(ring, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        try:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            _bind(self._socket, path, group, courier in (-1, 0, self._own))
            self._socket.setblocking(False)
            self._socket.listen(KNOCKS)
        except BaseException:
            self._socket.close()
            os.close(self._ring)
            raise
        wake.on(self._socket.fileno(), self._knocked)

    def configure(self, policy: Policy, place: tuple[Any, ...] = ()) -> None:
        """A courier is to do what this policy wants, from the next event on at the latest."""
        self._configuration = configuration(policy, place)
        if self._courier:
            self._send(self._courier, self._configuration)

    def wait(self) -> float:
        """Seconds until `tend` has something to do: infinite as long as nobody says too much."""
        if self._shut is None and all(line.again is None for line in self._lines):
            return float("inf")
        due = [line.again for line in self._lines if line.again is not None]
        if self._shut is not None:
            due.append(self._shut)
        return max(0.0, min(due) - self._now())

    def tend(self) -> None:
        """Looks again at whom nobody has looked at for a while."""
        now = self._now()
        if self._shut is not None and now >= self._shut:
            self._shut = None
            self._wake.on(self._socket.fileno(), self._knocked)
        for line in self._lines:
            if line.again is not None and now >= line.again:
                line.again = None
                self._watch(line)

    def close(self) -> None:
        """Nobody is let in any more, and whoever is in learns that the guard has ended."""
        for line in list(self._lines):
            self._drop(line)
        if self._shut is None:
            self._wake.off(self._socket.fileno())
        self._shut = None
        self._socket.close()
        os.close(self._ring)
        try:
            os.unlink(self._path)
        except OSError:
            pass  # it is not in anybody's way

    # --- knocking -----------------------------------------------------------------------------------------------

    def _knocked(self) -> None:
        now = self._now()
        if now >= self._second + 1.0:
            self._knocks, self._second = 0, now
        # One more than can wait, so that the whole queue is seen to.
        while self._knocks <= KNOCKS:
            try:
                fd, _ = self._socket._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError:
                break  # no descriptor is left: nor is there any a moment later
            self._knocks += 1
            self._let(socket(fileno=fd))
        self._shut = max(self._second + 1.0, now + REST)
        self._wake.off(self._socket.fileno())

    def _let(self, connection: socket) -> None:
        try:
            pid, user = self._peer(connection)
        except OSError:
            pid, user = 0, -1
        if user < 0 or user not in self._let_in:
            connection.close()
            return
        others = sum(line.user == user for line in self._lines)
        if len(self._lines) >= LINES or (user != 0 and user != self._own and others >= OF_ONE):
            connection.close()
            return
        line = Line(connection, pid, user)
        self._lines.append(line)
        self._watch(line)

    def _watch(self, line: Line) -> None:
        self._wake.on(line.fd, lambda: self._hear(line))

    # --- those who are in ---------------------------------------------------------------------------------------

    def _hear(self, line: Line) -> None:
        now = self._now()
        bucket = self._buckets.setdefault(line.user, Bucket(now))
        for _ in range(AT_ONCE):
            if not bucket.take(now):
                self._hush(line, now)
                return
            try:
                packet = line.socket.recv(PACKET + 1, MSG_DONTWAIT)
            except BlockingIOError:
                line.since = None
                return
            except OSError:
                packet = b""
            if not packet or not self._take(line, packet):
                self._drop(line)
                return

    def _hush(self, line: Line, now: float) -> None:
        """It has said too much, and is not looked at for a while."""
        if line.since is None:
            line.since = now
        elif now - line.since > TOO_LONG:
            self._drop(line)
            return
        line.again = now + REST
        self._wake.off(line.fd)

    def _take(self, line: Line, packet: bytes) -> bool:
        """Does what a packet says; False if the line is of no use any more."""
        if packet == b"hello":
            return self._welcome(line)
        if len(packet) > PACKET or packet.partition(b" ")[0] not in ASKED:
            return False
        self._send(line, answer(packet, self._requests, line.user, line.user in (0, self._own)))
        return True

    def _welcome(self, line: Line) -> bool:
        """Makes a line the courier's. There is one: a newer one has its place, since an older may hang."""
        if self._courier is line:
            return False
        if self._courier:
            self._drop(self._courier)
        self._courier, self._reader = line, self._sign.reader()
        try:
            rights = [(SOL_SOCKET, SCM_RIGHTS, pack("ii", self._ring, self._reader))]
            line.socket.sendmsg([b"welcome %d %d" % (self._first(), os.getpid())], rights, MSG_DONTWAIT)
        except OSError:
            return False
        self._entered(line.pid)
        self._send(line, self._configuration)
        return True

    def _send(self, line: Line, packet: bytes) -> None:
        try:
            if packet:
                line.socket.send(packet, MSG_DONTWAIT)
        except OSError:
            pass  # it has gone, which is heard elsewhere, or does not read

    def _drop(self, line: Line) -> None:
        if line.again is None:
            self._wake.off(line.fd)
        self._lines.remove(line)
        if self._courier is line:
            self._courier = None
            self._sign.revoke(self._reader)
            os.close(self._reader)
            self._reader = -1
        line.socket.close()


def _bind(listener: socket, path: str, group: int, ours: bool) -> None:
    """Binds a socket for those who are let in.

    Args:
        group: Whose it is to be, if we may give it away; else -1.
        ours: Nobody but ourselves and root is let in.

    Raises:
        OSError: There cannot be one.
    """
    own = os.getegid()
    given = False
    if group >= 0 and not ours:
        try:
            os.setegid(group)  # who makes a file may give it to the group that he has, without the right to any other
            given = True
        except OSError:
            pass  # then all may knock, and are looked at
    try:
        listener.bind(path)
    finally:
        if given:
            os.setegid(own)
    os.chmod(path, 0o600 if ours else 0o660 if given else 0o666)
