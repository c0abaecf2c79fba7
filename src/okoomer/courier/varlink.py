"""Varlink's line: JSON objects with a NUL behind each, over a stream. Nothing here waits, and whoever is at the other
end can make nothing grow: what is too long, or no object, ends that line only."""

from __future__ import annotations

from _socket import AF_UNIX, MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, socket
from select import POLLIN, POLLOUT

from okoomer.courier.parse import fields_of
from okoomer.events.text import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Bytes that are read at a time, and at most in one turn.
PIECE, TURN = 1 << 16, 1 << 20
#: So many bytes wait for a reader that does not read.
UNREAD = 1 << 16


class Broken(Exception):
    """The line is no longer of use; the text says why."""


class Line:
    """One connection.

    Args:
        connection: A connected stream that does not block.
        most: Bytes of one message.
    """

    def __init__(self, connection: socket, most: int) -> None:
        self._socket = connection
        self._most = most
        self._in = bytearray()
        self._out = b""
        self._seen = 0

    @property
    def fd(self) -> int:
        """What to wait on."""
        return self._socket.fileno()

    @property
    def wants(self) -> int:
        """What to wait for."""
        return POLLIN | (POLLOUT if self._out else 0)

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message, or begins to.

        Raises:
            Broken: The other end does not read, or is gone.
        """
        self._out += to_json(message).encode() + b"\0"
        if len(self._out) > UNREAD:
            raise Broken("it does not read what it is told")
        self.flush()

    def flush(self) -> None:
        """Sends on what has not gone out yet.

        Raises:
            Broken: The other end is gone.
        """
        try:
            while self._out:
                self._out = self._out[self._socket.send(self._out, MSG_DONTWAIT | MSG_NOSIGNAL) :]
        except BlockingIOError:
            return
        except OSError as error:
            raise Broken(error.strerror or "it is gone") from None

    def take(self) -> list[dict[str, Any]]:
        """The messages that have come.

        Raises:
            Broken: The other end is gone or sends what is no message. Those before it are lost with it.
        """
        room = TURN
        while room > 0:
            try:
                piece = self._socket.recv(PIECE, MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                raise Broken(error.strerror or "it is gone") from None
            if not piece:
                if messages := self._messages():
                    return messages  # the end is seen again at the next turn
                raise Broken("it has closed the line")
            self._in += piece
            room -= len(piece)
            if len(self._in) > self._most + PIECE:
                break
        return self._messages()

    def close(self) -> None:
        """Ends it."""
        self._socket.close()

    def _messages(self) -> list[dict[str, Any]]:
        messages = []
        while (end := self._in.find(b"\0", self._seen)) >= 0:
            text, self._seen = bytes(self._in[:end]), 0
            del self._in[: end + 1]
            fields = fields_of(text.decode("utf-8", "replace")) if end <= self._most else None
            if fields is None:
                raise Broken("it sends what is no message")
            messages.append(fields)
        self._seen = len(self._in)
        if self._seen > self._most:
            raise Broken("it sends a message that is too long")
        return messages


def connect(path: str, most: int) -> Line:
    """A line to whoever listens at a path.

    Raises:
        OSError: Nobody does, or has no room at present.
    """
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except (OSError, ValueError):
        connection.close()
        raise
    return Line(connection, most)
