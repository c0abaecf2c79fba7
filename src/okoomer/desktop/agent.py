"""The agent: two buses, one loop, and nothing to do as long as nothing happens."""

from __future__ import annotations

import os
from select import POLLIN, poll
from time import monotonic

from okoomer.bus.connection import Connection
from okoomer.bus.daemon import DO_NOT_QUEUE, TAKEN, bus_call
from okoomer.desktop.okoomer import Okoomer
from okoomer.desktop.others import Others
from okoomer.desktop.screen import Screen
from okoomer.say import Once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal

    from jeepney import Message  # type: ignore[import-untyped]
else:
    from _signal import SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal

#: A second agent of a session ends itself: who comes first has this name on the session's bus.
NAME = "org.okoomer.Desktop"
#: Seconds without a session's bus after which there is no session any more; and for the last words.
GONE, FAREWELL = 5.0, 0.5
#: How an agent ends: it was told to, or is not needed; the session's bus has gone.
DONE, LOST = 0, 1


class Agent:
    """See the module.

    Args:
        session: The address of the session's bus.
        user: Whose session it is.
    """

    def __init__(self, session: str, user: int) -> None:
        # Each complains by itself: that one is well again says nothing of the other.
        self._system, self._session = Connection("SYSTEM", Once()), Connection(session, Once())
        self._screen = Screen(self._session)
        self._okoomer = Okoomer(self._system, self._screen, user)
        self._others = Others(self._system, self._screen)
        self._session.on_up.append(self._claim)
        self._session.on_down.append(self._down)
        self._since = monotonic()
        self._end: int | None = None
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self) -> int:
        """Serves until it is told to end or the session's bus has gone; DONE or LOST."""
        set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (SIGTERM, SIGINT, SIGHUP):
            signal(number, lambda _number, _frame: self._finish(DONE))
        while self._end is None:
            self._turn(self._wait())
        self._okoomer.close()
        until = monotonic() + FAREWELL
        while self._session.up and any(events & ~POLLIN for _, events in self._session.wants()):
            if monotonic() >= until:
                break
            self._session.turn(self._poll(self._session.wants(), 0.05), monotonic())
        self._session.close()
        self._system.close()
        return self._end

    def _finish(self, end: int) -> None:
        if self._end is None:
            self._end = end

    def _wait(self) -> dict[int, int]:
        now = monotonic()
        wait = min(party.wait(now) for party in (self._system, self._session, self._screen))
        if not self._session.up:
            wait = min(wait, max(0.0, self._since + GONE - now))
        return self._poll([(self._woken, POLLIN), *self._system.wants(), *self._session.wants()], wait)

    def _poll(self, wanted: list[tuple[int, int]], seconds: float) -> dict[int, int]:
        poller = poll()
        for fd, events in wanted:
            poller.register(fd, events)
        return dict(poller.poll(None if seconds == float("inf") else int(seconds * 1000) + 1))

    def _turn(self, ready: dict[int, int]) -> None:
        if self._woken in ready:
            os.read(self._woken, 4096)
        for party in (self._system, self._session):
            party.turn(ready, monotonic())
        self._screen.turn(monotonic())
        if not self._session.up and monotonic() >= self._since + GONE:
            self._finish(LOST)

    def _claim(self) -> None:
        def answered(message: Message | None) -> None:
            if message is not None and message.body and message.body[0] == TAKEN:
                Once()("another", "another agent is in this session already")
                self._finish(DONE)

        self._session.call(bus_call("RequestName", "su", (NAME, DO_NOT_QUEUE)), answered)

    def _down(self) -> None:
        self._since = monotonic()
