"""Announcing on the system bus, for whoever listens as systembus-notify does: on a thread of its own, so that a bus
that hangs or is missing keeps no command waiting."""

from __future__ import annotations

import sys
from _thread import allocate_lock, start_new_thread
from itertools import count
from time import monotonic, sleep

from okoomer.courier.words import Spaced
from okoomer.events.text import harmless
from okoomer.say import Once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket
    from typing import Protocol

    from jeepney import Message  # type: ignore[import-untyped]

    class Announces(Protocol):
        """Where announcements go; see Bus."""

        def connect(self) -> None: ...
        def announce(self, summary: str, body: str) -> None: ...


PATH, INTERFACE, MEMBER = "/", "net.nuetzlich.SystemNotifications", "Notify"
#: Seconds for a bus to let us in, or to take a message.
PATIENCE = 1.0


class Bus:
    """A connection to the system bus, made when it is needed and made again when it has broken.

    Args:
        directory: Where jeepney is (see launch.third_party).
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._socket: socket | None = None
        self._serial = count(1)

    def connect(self) -> None:
        """Makes the connection, if there is none, within PATIENCE.

        Raises:
            ImportError: There is no jeepney.
            OSError, ValueError, RuntimeError: There is no bus, or it does not let us in.
        """
        if self._socket is not None:
            return
        if self._directory and self._directory not in sys.path:
            sys.path.append(self._directory)
        from jeepney import Parser
        from jeepney.bus import get_bus  # type: ignore[import-untyped]
        from jeepney.bus_messages import message_bus  # type: ignore[import-untyped]
        from jeepney.io.blocking import prep_socket  # type: ignore[import-untyped]

        deadline = monotonic() + PATIENCE
        connection = prep_socket(get_bus("SYSTEM"), timeout=PATIENCE)
        try:
            self._send(connection, message_bus.Hello())
            # Without its answer we could not tell a bus that lets us in from one that will not.
            parser = Parser()
            while parser.get_next_message() is None:
                connection.settimeout(max(0.001, deadline - monotonic()))
                data = connection.recv(4096)
                if not data:
                    raise ConnectionResetError("it closed the connection")
                parser.add_data(data)
        except BaseException:
            connection.close()
            raise
        self._socket = connection

    def announce(self, summary: str, body: str) -> None:
        """Sends the signal; once more if the bus was started anew meanwhile. Whether anybody listens is not known.

        Raises:
            ImportError, OSError, ValueError, RuntimeError: It cannot be sent.
        """
        again = self._socket is not None
        self.connect()
        from jeepney import DBusAddress, new_signal

        try:
            assert self._socket is not None
            self._send(self._socket, new_signal(DBusAddress(PATH, interface=INTERFACE), MEMBER, "ss", (summary, body)))
        except OSError:
            self.close()
            if not again:
                raise
            self.announce(summary, body)

    def close(self) -> None:
        """Ends the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, connection: socket, message: Message) -> None:
        connection.settimeout(PATIENCE)
        connection.sendall(message.serialise(serial=next(self._serial)))


class Announcer:
    """Announces on a thread of its own.

    Args:
        bus: Where to.
        clock: Seconds; `pause` sleeps for some.
    """

    def __init__(
        self, bus: Announces, clock: Callable[[], float] = monotonic, pause: Callable[[float], None] = sleep
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._pause = pause
        self._once = Once()
        self._spaced = Spaced()
        self._lock = allocate_lock()
        self._work = allocate_lock()
        self._work.acquire()
        self._sending = False
        start_new_thread(self._run, ())

    def add(self, summary: str, body: str) -> None:
        """Takes an announcement, and returns at once."""
        with self._lock:
            self._spaced.add(summary, body)
            if self._work.locked():
                self._work.release()

    @property
    def busy(self) -> bool:
        """Whether something is still to be announced."""
        with self._lock:
            return self._sending or self._spaced.wait(0.0) is not None

    def _run(self) -> None:
        try:
            # Early: in an emergency is no time to load what it takes.
            self._bus.connect()
        except ImportError as error:
            self._once("bus", f"nothing can be announced: {error}")
        except Exception:
            pass  # at boot there is none yet; it is tried again when there is something to announce
        while True:
            self._work.acquire()
            while (pause := self._next()) is not None:
                self._pause(pause)
                self._announce()

    def _next(self) -> float | None:
        with self._lock:
            return self._spaced.wait(self._clock())

    def _announce(self) -> None:
        with self._lock:
            self._sending = True
            summary, body = self._spaced.take(self._clock())
        try:
            self._bus.announce(summary, body)
            self._once.over("bus")
        except Exception as error:
            # Whatever a strange bus makes jeepney raise, the thread goes on.
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self._once("bus", f"cannot announce on the system bus: {harmless(why)}")
        finally:
            self._sending = False
