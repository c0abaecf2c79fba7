"""What waits to be sent to a bus: bytes, and the descriptors that go along with some of them."""

from __future__ import annotations

import os
from _socket import MSG_DONTWAIT, MSG_NOSIGNAL, SCM_RIGHTS, SOL_SOCKET
from _struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Sequence


class Outgoing:
    """See the module. Its length is in bytes."""

    def __init__(self) -> None:
        self._data = bytearray()
        #: Where messages begin that have descriptors, and those, which are ours.
        self._rights: list[tuple[int, list[int]]] = []

    def __len__(self) -> int:
        return len(self._data)

    def add(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Takes a message, and its own copies of descriptors.

        Raises:
            OSError: There is no descriptor left.
        """
        if fds:
            self._rights.append((len(self._data), [os.dup(fd) for fd in fds]))
        self._data += data

    def flush(self, to: socket) -> None:
        """Sends as much as goes without waiting.

        Raises:
            OSError: The other end has gone.
        """
        try:
            while self._data:
                del self._data[: self._sent(to)]
        except BlockingIOError:
            pass

    def _sent(self, to: socket) -> int:
        """How much went; what has descriptors goes by itself, and they go with its first byte."""
        first, *others = self._rights or [(len(self._data), [])]
        at, fds = first
        if at:
            sent = to.send(self._data[:at], MSG_DONTWAIT | MSG_NOSIGNAL)
        else:
            end = others[0][0] if others else len(self._data)
            rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))]
            sent = to.sendmsg([self._data[:end]], rights, MSG_DONTWAIT | MSG_NOSIGNAL)
            self._rights = others
            _close(fds)
        self._rights = [(at - sent, fds) for at, fds in self._rights]
        return sent

    def clear(self) -> None:
        """Nothing waits any more."""
        self._data.clear()
        for _, fds in self._rights:
            _close(fds)
        self._rights.clear()


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
