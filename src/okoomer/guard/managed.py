"""What systemd is told of its units, as the courier passes it on in packets:

    managed KIND LIMIT SECONDS PATH    a unit's cgroup has a setting: LIMIT is a share 0..1, and a `-` stands for none
    unmanaged KIND PATH                it has it no more
    unmanaged-all                      nothing is known any more

PATH is the rest of the packet, whatever it holds. The courier is not trusted: what makes no sense changes nothing."""

from __future__ import annotations

from okoomer.events.model import Trouble
from okoomer.kernel.paths import decoded
from okoomer.policy.instances import Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.record import Record

#: So many settings are kept: each is a rule that is judged.
KEPT = 4096
#: Bytes of a kind: `OOMRules:` and a name at most.
LONGEST = 1100
#: Seconds for which a limit has to be exceeded at most.
DAY = 86400.0


class Managed:
    """The settings.

    Args:
        emit: Takes the events.
    """

    def __init__(self, emit: Callable[[Record], None]) -> None:
        self._emit = emit
        self._settings: dict[tuple[str, str], Setting] = {}
        self._said: set[str] = set()
        #: Whether they have changed since somebody set this to False.
        self.changed = False

    @property
    def settings(self) -> tuple[Setting, ...]:
        return tuple(self._settings.values())

    def take(self, packet: bytes) -> None:
        """Does what a packet says."""
        word, _, rest = packet.partition(b" ")
        if word == b"unmanaged-all" and not rest:
            self.changed = self.changed or bool(self._settings)
            self._settings.clear()
            return
        try:
            if word == b"managed":
                kind, limit, seconds, path = rest.split(b" ", 3)
                setting = Setting(_kind(kind), _path(path), _number(limit, 1.0), _number(seconds, DAY))
                self._keep(setting)
            elif word == b"unmanaged":
                kind, path = rest.split(b" ", 1)
                self.changed = self._settings.pop((_kind(kind), _path(path)), None) is not None or self.changed
            else:
                raise ValueError("it is no word of the courier's")
        except ValueError:
            self._once("the courier passes on a setting that makes no sense; it is ignored")

    def _keep(self, setting: Setting) -> None:
        key = setting.kind, setting.path
        if key not in self._settings and len(self._settings) >= KEPT:
            self._once(f"more than {KEPT} settings of units are ignored")
        elif self._settings.get(key) != setting:
            self._settings[key] = setting
            self.changed = True

    def _once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._emit(Trouble(text))


def _kind(text: bytes) -> str:
    if not 0 < len(text) <= LONGEST:
        raise ValueError("a kind is a word")
    return text.decode()


def _path(text: bytes) -> str:
    if not text.startswith(b"/") or b"\0" in text:
        raise ValueError("a path begins with a slash")
    parts = text.split(b"/")
    if b".." in parts or b"." in parts:
        raise ValueError("a cgroup has no such path")
    return decoded(text)


def _number(text: bytes, most: float) -> float | None:
    if text == b"-":
        return None
    value = float(text)
    if not 0.0 <= value <= most:
        raise ValueError("out of range")
    return value
