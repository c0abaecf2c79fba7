"""Handing one mail to a mail server on this machine, step by step, so that nobody waits for it (RFC 5321)."""

from __future__ import annotations

import os
from _socket import AF_INET, MSG_DONTWAIT, SO_ERROR, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket
from errno import EINPROGRESS
from select import POLLIN, POLLOUT

#: Bytes of what a server says at one time.
MOST = 1 << 14


class Delivery:
    """A mail on its way: `over` when it is, `why` it was not taken, "" if it was; `talked` whether a server was there.

    Args:
        server: Where it listens.
        sender: An address.
        recipient: An address.
        text: Head and body, with bare newlines, in ASCII.
        end: When it is given up.
    """

    def __init__(self, server: tuple[str, int], sender: str, recipient: str, text: bytes, end: float) -> None:
        self.over = self.talked = False
        self.why = ""
        self._end = end
        self._heard = b""
        #: What is said after each answer, and with what the answer has to begin.
        self._steps = [
            (b"2", f"HELO {sender.partition('@')[2]}\r\n".encode()),
            (b"2", f"MAIL FROM:<{sender}>\r\n".encode()),
            (b"2", f"RCPT TO:<{recipient}>\r\n".encode()),
            (b"2", b"DATA\r\n"),
            (b"3", _dotted(text)),
            (b"2", b"QUIT\r\n"),
        ]
        self._left = b""
        self._connected = False
        self._socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC)
        self._socket.setblocking(False)
        try:
            self._socket.connect(server)
            self._connected = True
        except OSError as error:
            if error.errno != EINPROGRESS:
                self._give_up(error.strerror or str(error))

    def wants(self) -> list[tuple[int, int]]:
        """What to wait for: descriptors and events."""
        if self.over:
            return []
        return [(self._socket.fileno(), POLLOUT if self._left or not self._connected else POLLIN)]

    def wait(self, now: float) -> float:
        """Seconds until there is something to do even if nothing comes."""
        return 0.0 if self.over else max(0.0, self._end - now)

    def turn(self, ready: dict[int, int], now: float) -> None:
        """Does what can be done now."""
        if self.over:
            return
        if now >= self._end:
            self._give_up("it took too long")
        elif self._socket.fileno() in ready:
            try:
                self._go_on()
            except BlockingIOError:
                pass
            except OSError as error:
                self._give_up(error.strerror or str(error))

    def close(self) -> None:
        """Gives it up."""
        self.over = True
        self._socket.close()

    def _go_on(self) -> None:
        if not self._connected:
            number = self._socket.getsockopt(SOL_SOCKET, SO_ERROR)
            if number:
                self._give_up(os.strerror(number))
                return
            self._connected = True
        elif self._left:
            self._left = self._left[self._socket.send(self._left, MSG_DONTWAIT) :]
        else:
            came = self._socket.recv(MOST, MSG_DONTWAIT)
            self._heard += came
            if not came or len(self._heard) > MOST:
                self._give_up("the server hung up" if not came else "the server says too much")
                return
            self.talked = True
            self._answer()

    def _answer(self) -> None:
        if not self._heard.endswith(b"\n"):
            return
        last = self._heard.splitlines()[-1]
        if last[3:4] == b"-":
            return  # more lines of it are to come
        self._heard = b""
        expected, words = self._steps.pop(0)
        if not last.startswith(expected):
            self._give_up(last.decode("ascii", "backslashreplace")[:200])
        elif not self._steps:
            # It is the server's now, and whether it hears the farewell does not matter.
            try:
                self._socket.send(words, MSG_DONTWAIT)
            except OSError:
                pass
            self.close()
        else:
            self._left = words

    def _give_up(self, why: str) -> None:
        self.why = why
        self.close()


def _dotted(text: bytes) -> bytes:
    """A mail as it goes over the line: a dot that begins a line is doubled, and one alone ends it."""
    lines = [b"." + line if line.startswith(b".") else line for line in text.splitlines()]
    return b"\r\n".join([*lines, b".", b""])
