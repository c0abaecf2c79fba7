"""Telling the service manager that the courier is there: when the bus has answered for its names, or does not soon."""

from __future__ import annotations

import os
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from okoomer.bus.connection import Connection

#: Seconds that a bus has: a machine without one must not wait for it at each start.
PATIENCE = 5.0


def notify(text: str) -> None:
    """sd_notify(3), if there is a service manager."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    connection = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        connection.connect("\0" + address[1:] if address[0] == "@" else address)
        connection.send(text.encode("utf-8", "backslashreplace"), MSG_DONTWAIT)
    except OSError:
        pass  # a manager that is busy or gone does without
    finally:
        connection.close()


class Ready:
    """Says it once, to a service manager.

    Args:
        bus: Where names are owned, or None. What asks for them has to be registered there already.
        tell: Takes what is said.
    """

    def __init__(self, bus: Connection | None, now: float, tell: Callable[[str], None] = notify) -> None:
        self._bus = bus
        self._tell = tell
        self._until: float | None = now + PATIENCE if bus else now
        if bus:
            bus.on_up.append(self._up)

    def wants(self) -> list[tuple[int, int]]:
        return []

    def wait(self, now: float) -> float:
        """Seconds until `turn` has something to do."""
        return float("inf") if self._until is None else max(0.0, self._until - now)

    def turn(self, ready: dict[int, int], now: float) -> None:
        """Says it if the bus takes too long."""
        if self._until is not None and now >= self._until:
            self._say()

    def close(self) -> None:
        """The courier ends."""
        self._tell("STOPPING=1")

    def _up(self) -> None:
        from okoomer.bus.daemon import bus_call

        if self._bus and self._until is not None:
            # Answers come in the order of the calls: after this one, the bus has answered for the names.
            self._bus.call(bus_call("GetId"), self._answered)

    def _answered(self, answer: Any) -> None:
        if answer is not None and self._until is not None:
            self._say()

    def _say(self) -> None:
        self._until = None
        self._tell("READY=1\nSTATUS=serves")
