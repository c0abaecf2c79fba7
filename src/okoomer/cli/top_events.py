"""The latest events of a guard for `okoomer top`: each in words, and what they tell of those who stand still or are
limited. Only what is new is read."""

from __future__ import annotations

import json
from typing import Any

from okoomer.cli.place import running
from okoomer.events import ring
from okoomer.events.model import EVENTS, Ranked
from okoomer.events.text import sentence
from okoomer.kernel.process import ticks
from okoomer.record import Record
from okoomer.units import size

#: So many are kept, which is more than any screen has lines for.
KEPT = 100
_KINDS = {name.lower(): kind for name, kind in EVENTS.items()}
#: What is said too often to be news.
_DULL = ("report", "level")


class Happened(Record):
    """An event: when (Unix time), which, and in words."""

    at: float
    event: str
    text: str


class Events:
    """Those of the guard of a directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._guard: int | None = None
        self._next = 0
        self.latest: tuple[Happened, ...] = ()
        #: By pid by whose wish somebody has to stand still.
        self.by: dict[int, str] = {}
        #: By pid the name of whoever has a ceiling, or is slowed down, since when (Unix time), and what that is.
        self.limited: dict[int, tuple[str, float, str]] = {}
        self.slowed: dict[int, tuple[str, float, str]] = {}

    def read(self) -> str:
        """Takes in what is new; why that cannot be done, or ''."""
        guard = running(self._directory)
        if guard != self._guard:
            self.__init__(self._directory)  # type: ignore[misc]
            self._guard = guard
        try:
            for sequence, text in ring.read(f"{self._directory}/ring", self._next):
                self._next = sequence + 1
                self.take(json.loads(text))
        except FileNotFoundError:
            return ""
        except (OSError, ring.NotARing) as error:
            return f"its events cannot be read: {getattr(error, 'strerror', None) or error}"
        except ValueError:
            return "its events are damaged"
        self.limited = {pid: one for pid, one in self.limited.items() if ticks("/proc", pid)}
        return ""

    def take(self, fields: dict[str, Any]) -> None:
        """Takes in one event, as JSON has it; what makes no sense is left out."""
        kind, at = str(fields.get("event")), float(fields.get("at") or 0.0)
        event = _record(fields)
        if event is None:
            return
        if kind not in _DULL:
            self.latest = (*self.latest, Happened(at, kind, sentence(event)[1]))[-KEPT:]
        pids = fields.get("pids", ())
        if kind == "paused":
            self.by |= dict.fromkeys(pids, str(fields["by"]))
        elif kind in ("limited", "slowed"):
            held = self.limited if kind == "limited" else self.slowed
            by = f"rule {fields['rule']}, " if "rule" in fields else ""
            held |= dict.fromkeys(pids[:1], (str(fields["name"]), at, f"{by}at most {size(fields['bytes'])}"))
        elif kind in ("resumed", "eased", "died"):
            for pid in pids:
                (self.slowed if kind == "eased" else self.by).pop(pid, None)


def _record(fields: dict[str, Any]) -> Record | None:
    kind = _KINDS.get(str(fields.get("event")))
    if kind is None:
        return None
    given = {name: _frozen(name, value) for name, value in fields.items() if name not in ("at", "sequence", "event")}
    try:
        event = kind(**given)
        sentence(event)
    except (TypeError, ValueError, AttributeError):
        return None  # another version has other fields
    return event


def _frozen(name: str, value: Any) -> Any:
    if name == "values":
        return tuple(value.items())
    if name == "ranking":
        return tuple(Ranked(**{**one, "pids": tuple(one["pids"])}) for one in value)
    return tuple(value) if isinstance(value, list) else value
