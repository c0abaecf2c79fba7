"""The latest acts and what came of them, for whoever asks, as long as this process lives; and what of it is not
everybody's."""

from __future__ import annotations

from _collections import deque  # type: ignore[import-not-found]

from okoomer.courier.parse import fields_of
from okoomer.events.account import ACTS, came_of, told
from okoomer.events.text import to_json
from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: What is remembered; everything else tells of no act.
KEPT = (
    "warned", "question", "closed", "paused", "resumed", "limited", "slowed", "eased", "chosen", "takenover",
    "refused", "recovered", "signalled", "died", "stuck", "shrunk", "kernelkilled", "late",
)  # fmt: skip
#: What nobody but root is told of acts on other users' processes.
PRIVATE = ("command", "ranking")
#: Characters of all that is remembered.
ROOM = 1 << 19


class _Kept(Record):
    """An event: its number, whose processes it is about (-1 where nobody knows), and its JSON."""

    sequence: int
    user: int
    text: str


class History:
    """See the module.

    Args:
        size: So many events at the most, and ROOM characters.
    """

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self._events: deque[_Kept] = deque()
        self._held = 0

    def add(self, event: dict[str, Any]) -> None:
        """Takes an event, if it is one to remember. One without a number is what a guard still knew of itself."""
        if event["event"] not in KEPT or not isinstance(event.get("sequence"), int):
            return
        # A unit of several processes that is a whole cgroup has no user.
        known = event.get("user", -1) if event.get("kind") != "cgroup" else -1
        kept = _Kept(event["sequence"], int(known), to_json(event))
        self._events.append(kept)
        self._held += len(kept.text)
        while len(self._events) > self._size or self._held > ROOM:
            self._held -= len(self._events.popleft().text)

    def lines(self, most: int, uid: int) -> list[str]:
        """The latest events as JSON, newest first, as far as a user may see them."""
        found: list[str] = []
        for kept in reversed(self._events):
            if len(found) >= most:
                break
            found.append(kept.text if _whole(kept, uid) else to_json(_seen(kept)))
        return found

    def why(self, sequence: int, uid: int) -> str:
        """An act and what came of it, in words: the one that an event belongs to, the latest for 0; "" if there is
        none."""
        acts = [kept for kept in self._events if _is(kept, ACTS)]
        found = [kept for kept in acts if kept.sequence == sequence]
        if not found and any(kept.sequence == sequence for kept in self._events):
            found = [kept for kept in acts if kept.sequence <= sequence]
        if not sequence:
            found = acts
        if not found:
            return ""
        kept = found[-1]
        act = (fields_of(kept.text) if _whole(kept, uid) else None) or _seen(kept)
        after = [fields for each in self._events if (fields := fields_of(each.text))]
        return "\n".join(told(act, came_of(act, after)))


def _is(kept: _Kept, names: tuple[str, ...]) -> bool:
    return (fields_of(kept.text) or {}).get("event") in names


def _whole(kept: _Kept, uid: int) -> bool:
    return uid in (0, kept.user)


def _seen(kept: _Kept) -> dict[str, Any]:
    return {key: value for key, value in (fields_of(kept.text) or {}).items() if key not in PRIVATE}
