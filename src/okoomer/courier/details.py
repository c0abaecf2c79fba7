"""Events as org.okoomer.Okoomer1 tells them: names and D-Bus values (a{sv}). Pure."""

from __future__ import annotations

from okoomer.bus.service import sayable
from okoomer.courier.history import PRIVATE
from okoomer.events.text import reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    #: a{sv}.
    Details: TypeAlias = dict[str, tuple[str, Any]]

#: What is not a number of bytes, or the like (t).
_TYPES = {
    "pid": "u", "group": "u", "user": "i", "adjustment": "i", "oom_score": "i", "processes": "u", "level": "y",
    "question": "u", "pids": "au", "lost": "au", "seconds": "d", "left": "d", "at": "d", "scan_cpu_seconds": "d",
}  # fmt: skip
#: What a question's details are (docs/dbus.md).
QUESTION = {
    "rule": "s", "name": "s", "pids": "au", "user": "i", "cgroup": "s", "seconds": "d", "choices": "as", "then": "s",
    "freed": "t", "available": "t", "paused": "b", "limit": "t", "why": "s",
}  # fmt: skip
_LARGEST = {"y": 1 << 8, "u": 1 << 32, "t": 1 << 64, "i": 1 << 31}
#: A list of so many is long enough for anybody.
MOST = 1024
NEVER = float("inf")


def details(event: dict[str, Any]) -> Details:
    """What is told of an event to everybody: its fields but for those that are not everybody's."""
    found: Details = {}
    for name, given in event.items():
        if name in PRIVATE:
            continue
        value = _value(_TYPES.get(name, ""), name, given)
        if value is not None:
            found[name] = value
    return found


def question(event: dict[str, Any], until: float) -> Details:
    """What is told of a question that is over at a Unix time."""
    found: Details = {"until": ("d", until)}
    for name, kind in QUESTION.items():
        value = _value(kind, name, event.get(name))
        if value is not None and value[0] == kind:
            found[name] = value
    return found


def number(kind: str, given: Any, otherwise: Any = 0) -> Any:
    """A number that a D-Bus type can hold, or what is said in its place."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or given != given:
        return otherwise
    if kind == "d":
        return float(given)
    if abs(given) == NEVER:
        return otherwise
    least = -_LARGEST["i"] if kind == "i" else 0
    return min(max(int(given), least), _LARGEST[kind] - 1)


def _value(kind: str, name: str, given: Any) -> tuple[str, Any] | None:
    if name == "left" and given is None:
        return "d", NEVER
    if isinstance(given, bool):
        return "b", given
    if isinstance(given, str):
        return "s", sayable(given)
    if isinstance(given, (int, float)):
        kind = kind if kind in ("y", "u", "t", "i", "d") else ("d" if isinstance(given, float) else "t")
        return kind, number(kind, given)
    if isinstance(given, dict):
        # Readings: a metric may be unknown, which no number says.
        return "as", [sayable(reading(key, number("d", value, None))) for key, value in list(given.items())[:MOST]]
    if isinstance(given, list):
        if kind == "au":
            return "au", [number("u", one) for one in given[:MOST]]
        return "as", [sayable(one) for one in given[:MOST]]
    return None
