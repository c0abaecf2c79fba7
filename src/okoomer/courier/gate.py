"""Sockets at which the courier listens to strangers: only so many are let in within a second, so that a crowd costs
it a bounded part of its time."""

from __future__ import annotations

import os
from _socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_PEERCRED,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_STREAM,
    SOL_SOCKET,
    inet_pton,
    socket,
)
from _stat import S_ISSOCK
from _struct import unpack
from select import POLLIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    #: A family, and where in it.
    Place: TypeAlias = tuple[int, str | tuple[str, int]]

EXPECTED = "expected 127.0.0.1:PORT, [::1]:PORT or unix:PATH"


def place_of(text: str) -> Place:
    """Where to listen, from what a configuration says: on this machine only.

    Raises:
        ValueError: It is no place, or one that others can reach; the text says what was wrong.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path or len(os.fsencode(path)) > 107:
            raise ValueError(f"{text!r}: the path has to be absolute and at most 107 bytes long; {EXPECTED}")
        return AF_UNIX, path
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 1 <= int(port[:6]) <= 65535:
        raise ValueError(f"{text!r} has no port between 1 and 65535; {EXPECTED}")
    bracketed = host.startswith("[") and host.endswith("]")
    family, host = (AF_INET6, host[1:-1]) if bracketed else (AF_INET, host)
    try:
        raw = inet_pton(family, host)
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not an address; {EXPECTED}") from None
    if raw != b"\0" * 15 + b"\1" if bracketed else raw[0] != 127:
        raise ValueError(f"{text!r} can be reached from other machines; {EXPECTED}")
    return family, (host, int(port))


def listen(place: Place) -> socket:
    """A stream socket that listens and does not wait. A path is for everybody; a socket that a dead courier has left
    there is replaced.

    Raises:
        OSError: There cannot be one: something else is there, or the directory does not let us.
    """
    family, where = place
    if isinstance(where, str):
        try:
            if S_ISSOCK(os.lstat(where).st_mode):
                os.unlink(where)
        except FileNotFoundError:
            pass
    listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        listener.setblocking(False)
        if family != AF_UNIX:
            listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        if family == AF_INET6:
            listener.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        listener.bind(where)
        if isinstance(where, str):
            os.chmod(where, 0o666)
        listener.listen(64)
    except BaseException:
        listener.close()
        raise
    return listener


def user_of(connection: socket) -> int:
    """The uid that is at the other end of a local connection, by what the kernel says (unix(7), SO_PEERCRED)."""
    _pid, user, _group = unpack("3i", connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
    return int(user)


class Gate:
    """A listening socket; closing it removes its path.

    Args:
        knocks: So many are let in within a second; then nobody looks at the socket until it is over.

    Raises:
        OSError: See listen.
    """

    def __init__(self, place: Place, knocks: int) -> None:
        self._where = place[1]
        self._listener = listen(place)
        self._most = knocks
        self._knocks, self._since = 0, float("-inf")

    @property
    def wants(self) -> list[tuple[int, int]]:
        """What to wait for."""
        return [(self._listener.fileno(), POLLIN)] if self._knocks < self._most else []

    def wait(self, now: float) -> float:
        """Seconds until the socket is looked at again."""
        return max(0.0, self._since + 1 - now) if self._knocks >= self._most else float("inf")

    def enter(self, ready: dict[int, int], now: float, room: int) -> list[socket]:
        """Those who come in, at most so many; their sockets do not wait."""
        if now >= self._since + 1:
            self._knocks, self._since = 0, now
        lines: list[socket] = []
        while self._listener.fileno() in ready and self._knocks < self._most and len(lines) < room:
            try:
                fd, _ = self._listener._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                break
            except OSError:
                # No descriptor to spare, most likely: it is tried again, but not all the time.
                self._knocks = self._most
                break
            self._knocks += 1
            lines.append(socket(fileno=fd))
            lines[-1].setblocking(False)
        return lines

    def close(self) -> None:
        """Nobody is let in any more."""
        self._listener.close()
        if isinstance(self._where, str):
            try:
                os.unlink(self._where)
            except OSError:
                pass  # its directory may have gone before
