"""What is announced, in whose words; and how announcements are spaced, since the receiver drops what comes too fast."""

from __future__ import annotations

from okoomer.courier.subject import Subject
from okoomer.events.markup import escape
from okoomer.events.model import BY_LIMIT, EVENTS, Ranked
from okoomer.events.text import harmless, sentence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from okoomer.record import Record

_KINDS = {name.lower(): kind for name, kind in EVENTS.items()}
#: systembus-notify shows one announcement in 0.1 s and drops the others.
GAP = 0.15
#: Bytes of one announcement, and lines: no notification shows more.
ROOM, LINES = 1016, 8


def happenings(event: dict[str, Any]) -> tuple[str, ...]:
    """What an event is called in a policy: its name, and `killed` if a SIGKILL was sent, or a cgroup was left to the
    kernel to kill."""
    name = event["event"]
    return (name, "killed") if name == "signalled" and event.get("signal") in ("SIGKILL", BY_LIMIT) else (name,)


def announcement(event: dict[str, Any], subject: Subject, voice: str) -> tuple[str, str]:
    """The summary and the body of an announcement, with markup escaped: the names of processes are their owners'.

    Raises:
        TypeError, ValueError, KeyError, AttributeError, IndexError: The event is not what its name says.
    """
    body = earlyoom(event, subject) if voice == "earlyoom" else ""
    return "earlyoom" if voice == "earlyoom" else "okoomer", escape(body or sentence(rebuilt(event))[1])


def earlyoom(event: dict[str, Any], subject: Subject) -> str:
    """earlyoom's words for an event, or "" where it has none."""
    name = event["event"]
    if name == "refused":
        return "Error: Could not find a process to kill. Sleeping 1 second."
    if name == "stuck":
        return "Error: Failed to kill process"
    if name == "signalled":
        if not str(event.get("signal")).startswith("SIG"):
            return "Low memory! Triggered kernel OOM killer"
        if not event.get("pids"):
            return "Error: Failed to kill process"
        pid = subject.pid or event["pids"][0]
        return f"Low memory! Killing process {pid} {harmless(subject.name or str(event.get('name', '')))}"
    return ""


def rebuilt(event: dict[str, Any]) -> Record:
    """The record that an event was written from.

    Raises:
        TypeError, ValueError, KeyError, AttributeError: It is none.
    """
    kind = _KINDS[event["event"]]
    return kind(**{name: _rebuilt(name, event[name]) for name in kind._fields if name in event})


def _rebuilt(name: str, value: Any) -> Any:
    if name == "values":
        return tuple(value.items())
    if name == "ranking":
        return tuple(Ranked(**{key: _rebuilt(key, item) for key, item in ranked.items()}) for ranked in value)
    return tuple(value) if isinstance(value, list) else value


class Spaced:
    """Announcements on their way: far enough apart, and those that had to wait together in one."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, str]] = []
        self._due = float("-inf")

    def add(self, summary: str, body: str) -> None:
        """Takes one."""
        self._waiting.append((summary, body))

    def wait(self, now: float) -> float | None:
        """Seconds until something can be announced, or None if nothing waits."""
        return max(0.0, self._due - now) if self._waiting else None

    def take(self, now: float) -> tuple[str, str]:
        """What is to be announced now: all that waits, a line for each, and how many did not fit."""
        waiting, self._waiting = self._waiting, []
        self._due = now + GAP
        lines: list[str] = []
        left = ROOM - len("and 1000000 more")
        for _, body in waiting:
            length = len(body.encode("utf-8", "replace")) + 1
            if lines and (length > left or len(lines) == LINES):
                break
            lines.append(shortened(body, left))
            left -= length
        if len(lines) < len(waiting):
            lines.append(f"and {len(waiting) - len(lines)} more")
        return waiting[0][0], "\n".join(lines)


def shortened(text: str, room: int) -> str:
    """As much of a text as so many bytes hold, without half a character or half an escape at the end."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= room:
        return raw.decode()
    kept = raw[: room - 3].decode("utf-8", "ignore")
    before, mark, after = kept.rpartition("&")
    return (before if mark and ";" not in after else kept) + "..."
