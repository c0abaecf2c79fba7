"""A door as a guard has it, on a thread of its own or turned by the test, and callers who knock at it."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from okoomer.events.ring import Ring
from okoomer.events.sign import Sign
from okoomer.events.text import line
from okoomer.guard.door import Door, peer_of
from okoomer.guard.wake import Wake
from okoomer.kernel import clock
from okoomer.kernel.machine import Machine
from okoomer.policy.model import Policy
from okoomer.record import Record

NOBODY = Policy("nobody", ())


class House:
    """What a guard has of a door. `requests` are those that were asked; `reply` is what is said to each.

    Args:
        user: The uid that each caller has, or None for its own; or gives it.
        now: Seconds; None is the real clock.
    """

    def __init__(
        self,
        directory: Path,
        user: int | Callable[[], int] | None = None,
        courier: int = 4242,
        group: int = -1,
        now: Callable[[], float] | None = None,
    ) -> None:
        self.path = str(directory / "guard.sock")
        self.ring_path = str(directory / "ring")
        self.user = user
        self.requests: list[tuple[str, str, int, bool]] = []
        self.entered: list[int] = []
        self.reply = ("ok", "")
        self.wakes = 0
        self.ring = Ring(self.ring_path)
        self.sign = Sign()
        self.wake = Wake(Machine("/nowhere", "/nowhere", live=False), NOBODY, clock.monotonic)
        self.door = Door(
            self.path,
            self.ring_path,
            self.sign,
            lambda: self.ring.sequence,
            self.wake,
            courier,
            group,
            self._ask,
            self.entered.append,
            now=now or clock.monotonic,
            peer=self._peer,
        )
        self._over = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """The guard ends."""
        self._over = True
        if self._thread:
            self._thread.join()
            self._thread = None
        if self.sign.fd >= 0:
            self.door.close()
            self.ring.close()
            self.sign.close()
            self.sign.fd = -1

    def live(self) -> Self:
        """From now on it turns by itself."""
        self._thread = threading.Thread(target=self._live)
        self._thread.start()
        return self

    def turn(self, seconds: float = 0.0) -> None:
        """One turn of the guard's loop, that sleeps so long at most."""
        self.wake.wait(min(seconds, self.door.wait()), (), None, 0.0, lambda _pause: None)
        self.wakes += 1
        self.door.tend()

    def turns(self, count: int = 20) -> None:
        """So many that whatever was sent before is done."""
        for _ in range(count):
            self.turn()

    def tell(self, *events: Record, at: float | None = None) -> None:
        """What the guard does with an event."""
        for event in events:
            self.ring.write(line(event, time.time() if at is None else at, self.ring.sequence))
            self.sign()

    def _live(self) -> None:
        while not self._over:
            self.turn(0.02)

    def _ask(self, verb: str, rest: str, user: int, believed: bool) -> tuple[str, str]:
        self.requests.append((verb, rest, user, believed))
        return self.reply

    def _peer(self, connection: Any) -> tuple[int, int]:
        pid, user = peer_of(connection)
        if self.user is None:
            return pid, user
        return pid, self.user() if callable(self.user) else self.user


class Caller:
    """Who knocks."""

    def __init__(self, house: House, hello: bool = False) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.setblocking(False)
        self.fds: list[int] = []
        self.socket.connect(house.path)
        if hello:
            self.send(b"hello")

    def send(self, packet: bytes) -> bool:
        """Whether there was room for it, and somebody at the other end."""
        try:
            self.socket.send(packet)
        except (BlockingIOError, BrokenPipeError):
            return False
        return True

    def heard(self) -> list[bytes]:
        """All packets that are there; an empty one at the end if the line is closed."""
        found = []
        while True:
            try:
                packet, fds, _, _ = socket.recv_fds(self.socket, 1 << 18, 8)
            except BlockingIOError:
                return found
            except ConnectionResetError:
                packet, fds = b"", []
            self.fds += fds
            found.append(packet)
            if not packet:
                return found

    @property
    def closed(self) -> bool:
        """Whether the guard has closed the line. What was sent before is forgotten."""
        return b"" in self.heard()

    def close(self) -> None:
        self.heard()
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()

    def abort(self) -> None:
        """Gone, with all that was not yet read thrown away."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
