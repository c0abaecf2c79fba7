"""Where users' managers report their units' settings: anybody may connect, and is believed about cgroups of their own
only."""

from __future__ import annotations

from _socket import socket
from select import POLLIN

from okoomer.courier.gate import user_of
from okoomer.courier.managed import Board, Nonsense, changes_of
from okoomer.courier.varlink import Broken, Line
from okoomer.say import Once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

METHOD = "io.systemd.oom.ReportManagedOOMCGroups"
#: Bytes of one report; connections of all, and of one user.
MOST, LINES, EACH = 1 << 18, 64, 4
#: Seconds between looks at which of the users' cgroups are gone.
TIDY = 60.0


class Reporter:
    """One connection; `first` until it has reported."""

    def __init__(self, line: Line, user: int) -> None:
        self.line = line
        self.user = user
        self.first = True


class Reports:
    """See the module.

    Args:
        board: Takes the settings.
        listener: A stream socket that listens.
    """

    def __init__(self, board: Board, listener: socket) -> None:
        listener.setblocking(False)
        self._board = board
        self._listener = listener
        self._once = Once()
        self._reporters: list[Reporter] = []
        self._tidied = 0.0

    def wants(self) -> list[tuple[int, int]]:
        """What to wait for: descriptors and events."""
        lines = [(reporter.line.fd, reporter.line.wants) for reporter in self._reporters]
        return [(self._listener.fileno(), POLLIN), *lines]

    def wait(self, now: float) -> float:
        """Seconds until there is something to do even if nothing comes."""
        return max(0.0, self._tidied + TIDY - now)

    def turn(self, ready: dict[int, int], now: float) -> None:
        """Does what can be done now."""
        for reporter in list(self._reporters):
            if reporter.line.fd in ready:
                self._listen(reporter)
        if self._listener.fileno() in ready:
            self._accept()
        if now >= self._tidied + TIDY:
            self._board.tidy()
            self._tidied = now

    def close(self) -> None:
        """Ends all lines."""
        for reporter in list(self._reporters):
            self._end(reporter)
        self._listener.close()

    def _accept(self) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return  # who knocked has gone
        connection = socket(fileno=fd)
        connection.setblocking(False)
        user = user_of(connection)
        mine = [reporter for reporter in self._reporters if reporter.user == user]
        if len(mine) >= EACH:
            # Who comes back without having said farewell is the one that counts.
            self._end(mine[0])
        if len(self._reporters) >= LINES:
            self._once("crowd", "more users' managers report than can be heard")
            connection.close()
            return
        self._reporters.append(Reporter(Line(connection, MOST), user))

    def _listen(self, reporter: Reporter) -> None:
        try:
            reporter.line.flush()
            for message in reporter.line.take():
                self._hear(reporter, message)
        except (Broken, Nonsense):
            self._end(reporter)

    def _hear(self, reporter: Reporter, message: dict[str, Any]) -> None:
        quiet = message.get("oneway") is True
        if message.get("method") != METHOD:
            if not quiet:
                name = str(message.get("method"))[:200]
                error = {"error": "org.varlink.service.MethodNotFound", "parameters": {"method": name}}
                reporter.line.send(error)
            return
        changes = changes_of(message.get("parameters"))
        own = [change for change in changes if not reporter.user or self._board.owner(change.path) == reporter.user]
        lost = self._board.take(reporter.user, own, whole=reporter.first)
        if lost:
            self._once(f"lost {reporter.user}", f"user {reporter.user} has more settings of units than can be kept")
        reporter.first = False
        if not quiet:
            reporter.line.send({"parameters": {}})

    def _end(self, reporter: Reporter) -> None:
        reporter.line.close()
        self._reporters.remove(reporter)
        self._board.tidy()
