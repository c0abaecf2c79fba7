"""The line to the machine's manager, which tells what its units have set as soon as it is set. It serves one who asks,
and only one that runs in systemd-oomd.service."""

from __future__ import annotations

from okoomer.courier.managed import SYSTEM, Board, Nonsense, changes_of
from okoomer.courier.varlink import Broken, Line, connect
from okoomer.events.text import harmless
from okoomer.say import Once, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

METHOD = "io.systemd.ManagedOOM.SubscribeManagedOOMCGroups"
#: Bytes of what it says at once.
MOST = 4 << 20
#: Seconds until it is tried again: at first, since a manager that executes itself anew is soon back, and at most.
SOON, LATE = 0.25, 30.0


class Subscription:
    """See the module.

    Args:
        board: Takes the settings.
        paths: Where the manager may listen.
    """

    def __init__(self, board: Board, paths: Sequence[str]) -> None:
        self._board = board
        self._paths = paths
        self._once = Once()
        self._line: Line | None = None
        self._first = True
        self._due = 0.0
        self._pause = SOON

    def wants(self) -> list[tuple[int, int]]:
        """What to wait for: descriptors and events."""
        return [(self._line.fd, self._line.wants)] if self._line else []

    def wait(self, now: float) -> float:
        """Seconds until there is something to do even if nothing comes."""
        return float("inf") if self._line else max(0.0, self._due - now)

    def turn(self, ready: dict[int, int], now: float) -> None:
        """Does what can be done now."""
        if self._line is None:
            if now >= self._due:
                self._begin(now)
            return
        if self._line.fd not in ready:
            return
        try:
            self._line.flush()
            for message in self._line.take():
                self._hear(message)
        except (Broken, Nonsense) as error:
            self._end(now, str(error))

    def close(self) -> None:
        """Ends it."""
        if self._line:
            self._line.close()
            self._line = None

    def _begin(self, now: float) -> None:
        error: OSError | None = None
        for path in self._paths:
            try:
                self._line = connect(path, MOST)
                break
            except OSError as refused:
                error = refused if error is None or not isinstance(refused, FileNotFoundError) else error
        if self._line is None:
            self._end(now, error.strerror if error and error.strerror else "it does not listen")
            return
        self._first = True
        try:
            self._line.send({"method": METHOD, "parameters": {}, "more": True})
        except Broken as broken:
            self._end(now, str(broken))

    def _hear(self, message: dict[str, Any]) -> None:
        if message.get("error"):
            raise Broken(f"it answers {message['error']}")
        lost = self._board.take(SYSTEM, changes_of(message.get("parameters")), whole=self._first)
        if lost:
            say(f"systemd has more settings of units than can be kept: {lost} of them are passed over")
        self._first = False
        self._pause = SOON
        self._once.over("manager")

    def _end(self, now: float, why: str) -> None:
        self.close()
        self._due = now + self._pause
        if self._pause > SOON:
            # Once is what executing itself anew looks like.
            self._once("manager", f"systemd does not tell which units are to be watched: {harmless(why)}")
        self._pause = min(LATE, self._pause * 2)
