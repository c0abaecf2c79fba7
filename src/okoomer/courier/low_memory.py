"""org.freedesktop.LowMemoryMonitor: applications are told to shrink before anybody is ended. One signal, three
levels."""

from __future__ import annotations

from okoomer.bus.service import Interface
from okoomer.events.model import NORMAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from okoomer.bus.service import Service

NAME, PATH = "org.freedesktop.LowMemoryMonitor", "/org/freedesktop/LowMemoryMonitor"
#: Seconds between signals that tell nothing worse than the last. Chromium takes it to be over after 20 s of silence.
AGAIN = 15.0
#: Seconds after which a level that the guard has not told again is not believed any more: it does so every 15 s.
STALE = 20.0
#: Seconds after which what was sent as soon as the name was ours is sent once more: GLib seeks out a name's new owner
#: before it listens to him, and what he has said meanwhile is lost to it.
SETTLE = 2.0


class LowMemory:
    """The name, the object, and when the signal is sent: at once if it is worse than what was sent within the last
    15 s, otherwise when those are over. Being well again is never told, which is what listeners expect.

    Args:
        bus: The system bus.
    """

    def __init__(self, bus: Service) -> None:
        self._bus = bus
        self._ours = False
        self._level = NORMAL
        self._heard = float("-inf")
        self._sent, self._sent_at = NORMAL, float("-inf")
        self._new, self._since = False, float("-inf")
        bus.serve(PATH, Interface(NAME, signals={"LowMemoryWarning": "y level"}))
        bus.own(NAME, self._gone, self._got)

    def hear(self, event: dict[str, Any], at: float, now: float) -> None:
        """Takes an event. What is sent for it is sent by `turn`, so that of many that were read late only the last
        counts."""
        level = event.get("level")
        if event["event"] == "level" and isinstance(level, int) and 0 <= level <= 255:
            self._level, self._heard = level, now

    def lost(self, now: float) -> None:
        """Nobody knows the level any more."""
        self._level = NORMAL

    def wants(self) -> list[tuple[int, int]]:
        return []

    def wait(self, now: float) -> float:
        if self._level == NORMAL or not self._ours:
            return float("inf")
        return 0.0 if self._level > self._sent else max(0.0, self._sent_at + AGAIN - now)

    def turn(self, ready: dict[int, int], now: float) -> None:
        """Sends the level if it is time."""
        if self._ours and self._new:
            self._new, self._since = False, now
        if now - self._heard > STALE:
            self._level = NORMAL
        if now >= self._sent_at + AGAIN:
            self._sent = NORMAL
        if self._ours and self._level > self._sent:
            self._bus.emit(PATH, NAME, "LowMemoryWarning", "y", (self._level,))
            self._sent, self._sent_at = self._level, now
            if now < self._since + SETTLE:
                self._sent_at = self._since + SETTLE - AGAIN

    def close(self) -> None:
        self._level = NORMAL

    def _got(self) -> None:
        # Who hears us now has heard nothing yet: an application hears only the name's owner.
        self._ours = self._new = True
        self._sent, self._sent_at = NORMAL, float("-inf")

    def _gone(self) -> None:
        self._ours = False
