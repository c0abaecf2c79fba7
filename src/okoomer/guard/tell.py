"""Telling: each event into the ring, and as lines for whoever reads along. It never waits for a reader."""

from __future__ import annotations

import posix as os
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM, socket
from _thread import allocate_lock
from select import POLLOUT, poll
from time import time

from okoomer.events.model import DEBUG, ERROR, INFO, WARNING
from okoomer.events.ring import Ring
from okoomer.events.text import line, sentence
from okoomer.kernel.paths import variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    from okoomer.guard.kmsg import Kmsg
    from okoomer.record import Record

    #: Gives the lines of an event: stream (1 or 2), style, and the text without an end of line.
    Voice: TypeAlias = Callable[[Record], Iterable[tuple[int, str, str]]]

JOURNAL, SYSLOG = "/run/systemd/journal/socket", "/dev/log"
#: On a terminal a style has a colour.
COLOURS = {"warn": "\033[33m", "fatal": "\033[31m", "debug": "\033[2m"}
RESET = "\033[0m"
#: In the system's log it has a priority; what has none goes to its stream.
PRIORITIES = {"fatal": ERROR, "warn": WARNING, "info": INFO, "debug": DEBUG}
#: syslog(3), LOG_DAEMON.
DAEMON = 3
#: A pipe that polls writable takes this much without waiting (pipe(7), PIPE_BUF).
AT_ONCE = 4096


class Stream:
    """A descriptor that is written to only while it takes the text at once. A line that it cannot take waits until it
    can, so that no line is ever torn; those that come meanwhile are lost.

    Args:
        count: Say how many were lost as soon as that is possible. JSON has its sequence numbers for that.
    """

    def __init__(self, fd: int, count: bool = True) -> None:
        self.fd = self._given = fd
        self.lost = 0
        self._count = count
        self._waiting = b""
        if os.isatty(fd):
            try:
                # A terminal that polls writable may take one byte and then wait. Opened anew, so that the flag is ours
                # alone and not of all who write there.
                self.fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            except OSError:
                pass
        self._poller = poll()
        self._poller.register(self.fd, POLLOUT)

    def __del__(self) -> None:
        if self.fd != self._given:
            os.close(self.fd)

    def write(self, text: str, end: str = "\n") -> None:
        """Writes one line, if that is possible now. Longer lines are written in pieces."""
        if not self.flush():
            self.lost += 1
            return
        if self.lost and self._count:
            text = f"({self.lost} lines were lost: nobody read them)\n{text}"
        self.lost = 0
        self._waiting = (text + end).encode("utf-8", "backslashreplace")
        self.flush()

    def glimpse(self, text: str) -> None:
        """Writes what nobody misses, and no end of line, if that is possible now."""
        if self.flush():
            self._waiting = text.encode("utf-8", "backslashreplace")
            self.flush()

    def flush(self) -> bool:
        """Writes what waits, as far as that is possible now. Whether nothing waits any more."""
        while self._waiting:
            try:
                ready = self._poller.poll(0)
                if not ready or not ready[0][1] & POLLOUT:
                    break
                self._waiting = self._waiting[os.write(self.fd, self._waiting[:AT_ONCE]) :]
            except OSError:
                break
        return not self._waiting


class Tell:
    """Takes events.

    Args:
        ring: Where the latest are kept, or None.
        as_json: JSON lines on standard output instead of sentences on standard error.
        live: Keep a line with the present state below the sentences (a terminal).
        voice: Whose lines are written, on both streams, instead of sentences or JSON.
        syslog: A voice's lines go to the system's log, where there is one.
        told: Called when an event is in the ring.
    """

    def __init__(
        self,
        ring: Ring | None,
        as_json: bool,
        live: bool = False,
        voice: Voice | None = None,
        syslog: bool = False,
        told: Callable[[], None] | None = None,
    ) -> None:
        as_json = as_json and not voice
        self._ring = ring
        self._told = told
        self._voice = voice
        self._json = as_json
        self._stream = Stream(1 if as_json else 2, count=not as_json)
        self._other = Stream(1, count=True) if voice else None
        self._coloured = [fd for fd in (1, 2) if voice and os.isatty(fd) and b"NO_COLOR" not in os.environ]
        self._syslog = Syslog("earlyoom") if voice and syslog else None
        self._live = live and not as_json and not voice
        self._journal = None if as_json or voice else journal()
        self._prefixed = not as_json and b"JOURNAL_STREAM" in os.environ
        self._sequence = 0
        self._kmsg: Kmsg | None = None
        # The watchdog speaks while the loop hangs, perhaps in the middle of a line.
        self._lock = allocate_lock()

    def __call__(self, event: Record) -> None:
        """Tells one event. Nothing that goes wrong here reaches the caller."""
        locked = self._lock.acquire(timeout=0.1)
        try:
            self._tell(event)
            if self._kmsg:
                self._kmsg(event)
        except Exception:
            # Whatever it was, the guard does not end because of a word that it could not say.
            self._stream.lost += 1
        finally:
            if locked:
                self._lock.release()

    def into_kmsg(self, wanted: bool, proc: str) -> None:
        """Whether each kill is told in the kernel's log from now on.

        Raises:
            OSError: It cannot be written.
        """
        kmsg, self._kmsg = self._kmsg, None
        if kmsg:
            kmsg.close()
        if wanted:
            from okoomer.guard.kmsg import Kmsg  # most guards never need it

            self._kmsg = Kmsg(proc)

    def state(self, text: str) -> None:
        """Renews the live line."""
        if self._live:
            try:
                width = os.get_terminal_size(2).columns
            except OSError:
                self._live = False
                return
            self._stream.glimpse(f"\r\033[K{text[: width - 1]}")

    def _tell(self, event: Record) -> None:
        at = time()
        sequence = self._ring.sequence if self._ring else self._sequence + 1
        self._sequence = sequence
        text = line(event, at, sequence)
        if self._ring:
            self._ring.write(text)
            if self._told:
                self._told()
        if self._voice:
            for fd, style, words in self._voice(event):
                self._speak(fd, style, words)
            return
        if self._json:
            self._stream.write(text)
            return
        priority, said = sentence(event)
        if self._journal and self._to_journal(type(event).__name__.lower(), priority, said, text):
            return
        self._stream.write(("\r\033[K" if self._live else "") + (f"<{priority}>" if self._prefixed else "") + said)

    def _speak(self, fd: int, style: str, text: str) -> None:
        """One line of a voice."""
        priority = PRIORITIES.get(style)
        if self._syslog and priority is not None and self._syslog.send(priority, text):
            return
        stream = self._other if fd == 1 and self._other else self._stream
        colour = COLOURS.get(style) if fd in self._coloured else None
        if colour:
            # After the end of the line, so that the line is the same text from its beginning to its end.
            stream.write(colour + text, end=f"\n{RESET}")
        else:
            stream.write(text)

    def _to_journal(self, kind: str, priority: int, said: str, text: str) -> bool:
        """systemd's native protocol: one datagram with a field a line; none of them holds a newline."""
        assert self._journal is not None
        fields = (
            f"MESSAGE={said}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=okoomer\n"
            f"OKOOMER_EVENT={kind}\nOKOOMER_JSON={text}\n"
        )
        try:
            self._journal.send(fields.encode("utf-8", "backslashreplace"), MSG_DONTWAIT)
        except OSError:
            return False
        return True


def journal() -> socket | None:
    """A socket to the journal, if that is where standard error goes (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(2)
        if variable("JOURNAL_STREAM") != f"{status.st_dev}:{status.st_ino}":
            return None
    except OSError:
        return None
    return connected(JOURNAL)


def connected(address: str) -> socket | None:
    """A datagram socket to an address (sd_notify(3): `@` begins one without a file), or None if nobody is there."""
    connection = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        connection.connect("\0" + address[1:] if address[0] == "@" else address)
    except OSError:
        connection.close()
        return None
    return connection


class Syslog:
    """The system's log, as syslog(3) speaks to it. Looked for anew when it has gone.

    Args:
        name: Who speaks.
    """

    def __init__(self, name: str) -> None:
        self._head = f"{name}[{os.getpid()}]"
        self._socket = connected(SYSLOG)

    def send(self, priority: int, text: str) -> bool:
        """Writes one line; False if nobody takes it."""
        datagram = f"<{DAEMON << 3 | priority}>{self._head}: {text}".encode("utf-8", "backslashreplace")
        for _ in range(2):
            if self._socket:
                try:
                    self._socket.send(datagram, MSG_DONTWAIT)
                    return True
                except BlockingIOError:
                    return False
                except OSError:
                    self._socket.close()
            self._socket = connected(SYSLOG)
        return False


class Notify:
    """sd_notify(3): readiness, state and signs of life for a service manager, if there is one."""

    def __init__(self) -> None:
        address = variable("NOTIFY_SOCKET")
        self._socket = connected(address) if address.startswith(("/", "@")) else None
        microseconds = variable("WATCHDOG_USEC")
        #: Seconds within which the manager wants a sign of life, or 0.
        self.watchdog = int(microseconds) / 1e6 if self._socket and microseconds.isdecimal() else 0.0

    def __call__(self, text: str) -> None:
        if self._socket:
            try:
                self._socket.send(text.encode("utf-8", "backslashreplace"), MSG_DONTWAIT)
            except OSError:
                pass  # a manager that is busy hears the next
