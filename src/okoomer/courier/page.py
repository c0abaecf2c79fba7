"""One page over HTTP, for few readers, none of whom can do harm by being slow."""

from __future__ import annotations

from _socket import MSG_DONTWAIT, SHUT_WR, socket
from select import POLLIN, POLLOUT

from okoomer.courier.gate import Gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.courier.gate import Place

#: Readers at once, and so many come in within a second. Seconds for a reader from his first word to his last, and from
#: when on he has to go, unless he waits for us, where there is no room for another.
READERS, KNOCKS, LIFE, SLOW = 8, 32, 5.0, 0.5
#: Bytes of a request's first line, and of all of its head.
LINE, HEAD = 4096, 16384


class Reader:
    """A connection until `end`: `heard` is what came of its request; then it is `asking`; then `left` is what has not
    been sent of the answer; and then it has only to go, whatever else it says."""

    def __init__(self, line: socket, end: float) -> None:
        self.line = line
        self.end = end
        self.said = 0
        self.heard = b""
        self.asking = False
        self.left: bytes | None = None


class Page:
    """Serves GET of one path.

    Args:
        place: Where to listen.
        path: That of the page.
        kind: Its media type.

    Raises:
        OSError: See gate.listen.
    """

    def __init__(self, place: Place, path: str, kind: str) -> None:
        self._gate = Gate(place, KNOCKS)
        self._path = path
        self._kind = kind
        self._readers: dict[int, Reader] = {}

    @property
    def asked(self) -> bool:
        """Whether somebody waits for the page."""
        return any(reader.asking for reader in self._readers.values())

    def show(self, page: bytes) -> None:
        """Gives the page to all who wait for it."""
        for reader in list(self._readers.values()):
            if reader.asking:
                self._answer(reader, "200 OK", page, self._kind)

    def wants(self) -> list[tuple[int, int]]:
        """What to wait for: descriptors and events."""
        found = [(fd, POLLOUT if reader.left else POLLIN) for fd, reader in self._readers.items() if not reader.asking]
        return found + (self._gate.wants if len(self._readers) < READERS else [])

    def wait(self, now: float) -> float:
        """Seconds until there is something to do even if nothing comes."""
        first = min(map(self._end_of, self._readers.values()), default=float("inf"))
        return min(max(0.0, first - now), self._gate.wait(now))

    def turn(self, ready: dict[int, int], now: float) -> None:
        """Does what can be done now."""
        for fd, reader in list(self._readers.items()):
            if fd in ready and now < reader.end:
                self._serve(reader)
        for reader in list(self._readers.values()):
            if now >= self._end_of(reader):
                self._end(reader)
        for line in self._gate.enter(ready, now, READERS - len(self._readers)):
            reader = self._readers[line.fileno()] = Reader(line, now + LIFE)
            self._serve(reader)

    def _end_of(self, reader: Reader) -> float:
        idle = not reader.asking and not reader.left
        return reader.end - LIFE + SLOW if idle and len(self._readers) >= READERS else reader.end

    def close(self) -> None:
        """Ends all lines."""
        for reader in list(self._readers.values()):
            self._end(reader)
        self._gate.close()

    def _serve(self, reader: Reader) -> None:
        if reader.asking:
            return
        try:
            if reader.left:
                self._send(reader)
                return
            came = reader.line.recv(HEAD, MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            came = b""
        reader.said += len(came)
        if not came or reader.said > 4 * HEAD:
            self._end(reader)
        elif reader.left is None:
            reader.heard += came
            self._judge(reader)

    def _judge(self, reader: Reader) -> None:
        first, ended, _ = reader.heard.partition(b"\n")
        if len(first) > LINE:
            self._refuse(reader, "414 URI Too Long")
        elif not ended:
            return
        elif b"\r\n\r\n" not in reader.heard and b"\n\n" not in reader.heard:
            if len(reader.heard) > HEAD:
                self._refuse(reader, "431 Request Header Fields Too Large")
        else:
            words = first.decode("latin-1").split()
            if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
                self._refuse(reader, "400 Bad Request")
            elif words[0] != "GET":
                self._refuse(reader, "405 Method Not Allowed", "Allow: GET\r\n")
            elif words[1].partition("?")[0] != self._path:
                self._refuse(reader, "404 Not Found")
            else:
                reader.asking = True

    def _refuse(self, reader: Reader, status: str, more: str = "") -> None:
        self._answer(reader, status, f"{status[4:]}. There is {self._path} to GET.\n".encode(), "text/plain", more)

    def _answer(self, reader: Reader, status: str, body: bytes, kind: str, more: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}"
        reader.asking, reader.heard = False, b""
        reader.left = f"{head}Connection: close\r\n\r\n".encode() + body
        try:
            self._send(reader)
        except BlockingIOError:
            pass
        except OSError:
            self._end(reader)

    def _send(self, reader: Reader) -> None:
        assert reader.left
        reader.left = reader.left[reader.line.send(reader.left, MSG_DONTWAIT) :]
        if not reader.left:
            # Closed at once, with words of his unread, he might lose the end of the answer.
            reader.line.shutdown(SHUT_WR)

    def _end(self, reader: Reader) -> None:
        del self._readers[reader.line.fileno()]
        reader.line.close()
