"""The courier's process: it waits for the guard's sign, reads the new events, and does what they ask for."""

from __future__ import annotations

import os
from _socket import MSG_DONTWAIT, socket
from marshal import loads
from select import POLLIN, POLLOUT, poll
from time import monotonic, time

from okoomer.courier.bus import Announcer, Bus
from okoomer.courier.child import protect
from okoomer.courier.desk import Desk
from okoomer.courier.feed import Feed
from okoomer.courier.launch import CLASSES, Options, Place
from okoomer.courier.managed import Board
from okoomer.courier.prekill import Prekill
from okoomer.courier.runs import Runs
from okoomer.courier.say import Once, say
from okoomer.events.ring import NotARing
from okoomer.record import from_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from signal import SIG_DFL, SIG_IGN, SIGCHLD, SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal
    from typing import NoReturn, Protocol

    from okoomer.courier.desk import Tells

    class Party(Protocol):
        """Somebody else whom the courier speaks with; see Subscription, Reports and Prekill."""

        def wants(self) -> list[tuple[int, int]]: ...
        def wait(self, now: float) -> float: ...
        def turn(self, ready: dict[int, int], now: float) -> None: ...
        def close(self) -> None: ...
else:
    from _signal import SIG_DFL, SIG_IGN, SIGCHLD, SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal

#: Seconds that commands and announcements have once the guard is gone, and between looks at them.
FAREWELL, TICK = 2.0, 0.05
#: A policy's hooks are no longer than a packet can be.
PACKET = 1 << 18
#: So many answers wait for a guard that does not hear them.
ANSWERS = 256


class Courier:
    """The loop.

    Args:
        wake: The eventfd that is added to after each event.
        guard: The socket on which commands that have ended are told, and on which the guard tells of another policy;
            closed at the other end when the guard is gone.
        prekill: Those who want to know of a kill before it.
        board: What the guard is to be told of units' settings.
        parties: Who else is spoken with.
        teller: Is told of the units' settings, too.
    """

    def __init__(
        self,
        feed: Feed,
        desk: Desk,
        runs: Runs,
        wake: int,
        guard: socket,
        prekill: Prekill,
        board: Board,
        parties: Sequence[Party] = (),
        teller: Tells | None = None,
    ) -> None:
        self._feed = feed
        self._desk = desk
        self._runs = runs
        self._wake = wake
        self._guard = guard
        self._prekill = prekill
        self._board = board
        self._parties: list[Party] = [prekill, *parties]
        self._teller = teller
        self._once = Once()
        self._answers: list[tuple[int, int]] = []
        self._ending = False
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self) -> None:
        """Serves until the guard is gone or SIGTERM comes, and then sees to it that nothing is left behind."""
        set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        # A guard that ignores it has us inherit that, and then no end of a command could be seen.
        signal(SIGCHLD, lambda _number, _frame: None)
        signal(SIGTERM, lambda _number, _frame: self._end())
        for number in (SIGINT, SIGHUP):
            signal(number, SIG_IGN)
        while not self._ending:
            self._turn(self._wait())
        signal(SIGTERM, SIG_DFL)
        self._turn({self._wake: POLLIN})  # its last words
        self._farewell()

    def _end(self) -> None:
        self._ending = True

    def _wait(self) -> dict[int, int]:
        """Waits until there is something to do; what there is."""
        poller = poll()
        for fd in (self._wake, self._woken):
            poller.register(fd, POLLIN)
        waiting = self._answers or self._board.news()
        poller.register(self._guard.fileno(), POLLIN | (POLLOUT if waiting else 0))
        now = monotonic()
        wait = self._runs.wait(now)
        for party in self._parties:
            wait = min(wait, party.wait(now))
            for fd, events in party.wants():
                poller.register(fd, events)
        return dict(poller.poll(None if wait == float("inf") else int(wait * 1000) + 1))

    def _turn(self, ready: dict[int, int]) -> None:
        if self._woken in ready:
            os.read(self._woken, 4096)
        if ready.get(self._guard.fileno(), 0) & ~POLLOUT:
            self._listen()
        if self._wake in ready:
            self._read()
        for party in self._parties:
            party.turn(ready, monotonic())
        self._answers += self._runs.advance(monotonic()) + self._prekill.answers()
        self._answer()
        self._report()

    def _read(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return  # the guard has not said anything since
        try:
            events, missed, damaged = self._feed.new()
        except (OSError, NotARing) as error:
            why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            self._once("ring", f"events cannot be read: {why}")
            return
        self._once.over("ring")
        if missed:
            say(f"{missed} events were overwritten before they could be acted on")
        if damaged:
            self._once("damage", f"{damaged} events are damaged and are passed over")
        # After the events were read: a policy that was sent before one of them holds for it.
        self._listen()
        for text, event in events:
            at = event.get("at")
            late = time() - at if isinstance(at, (int, float)) else 0.0
            self._answers += self._desk.take(text, event, monotonic(), late)

    def _answer(self) -> None:
        while self._answers:
            request, status = self._answers[0]
            try:
                self._guard.send(b"done %d %d" % (request, status), MSG_DONTWAIT)
            except BlockingIOError:
                del self._answers[:-ANSWERS]
                return
            except OSError:
                self._answers.clear()  # nobody hears it any more
                return
            del self._answers[0]

    def _report(self) -> None:
        """Tells the guard what is new of units' settings."""
        news = self._board.news()
        if news and self._teller:
            self._teller.settings = self._board.settings()
        while news:
            try:
                self._guard.send(news[1], MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                pass  # nobody hears it any more
            self._board.sent(news[0])
            news = self._board.news()

    def _listen(self) -> None:
        while not self._ending:
            try:
                packet = self._guard.recv(PACKET, MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._end()
                return
            try:
                hooks, notify, place = loads(packet)
                self._desk.configure(hooks, notify, Place(*place) if place else None)
            except (EOFError, TypeError, ValueError):
                self._once("policy", "another policy was not understood; the old one's hooks are run")

    def _farewell(self) -> None:
        end = monotonic() + FAREWELL
        self._runs.hurry(end)
        for party in self._parties:
            party.close()
        self._parties = []
        poller = poll()
        poller.register(self._woken, POLLIN)
        while self._runs.busy or (self._desk.busy and monotonic() < end):
            self._turn(dict(poller.poll(int(TICK * 1000))))


def main(order: int, wake: int, guard: int, listener: int) -> NoReturn:
    """Runs the courier that a descriptor describes.

    Args:
        order: A file with the options, the number of the first event that matters, and where jeepney is.
        listener: The socket at which users' managers report, or -1.
    """
    with open(order, "rb") as file:
        plain, first, directory = loads(file.read())
    options: Options = from_plain(plain, CLASSES)
    keep({0, 1, 2, wake, guard, listener})
    os.chdir("/")
    _name("okoomer-courier")
    # Commands do not inherit it, but whoever runs them should be there when memory is short.
    protect(b"-1000")
    runs, prekill, board = Runs(), Prekill(options.prekill), Board(options.hierarchy)
    parties: list[Party] = []
    if options.hierarchy:
        from okoomer.courier.subscription import Subscription

        parties.append(Subscription(board, options.managers))
    if listener >= 0:
        from okoomer.courier.reports import Reports

        parties.append(Reports(board, socket(fileno=listener)))
    teller: Tells | None = None
    if options.place:
        from okoomer.courier.dump import Limits
        from okoomer.courier.oom1 import Manager

        teller = Manager(directory, Limits(*options.place.limits, options.place.dry_run), options.hierarchy)
    desk = Desk(options, os.environb, runs, lambda: Announcer(Bus(directory)), prekill, teller)
    Courier(Feed(options.ring, first), desk, runs, wake, socket(fileno=guard), prekill, board, parties, teller).run()
    os._exit(0)


def keep(wanted: set[int]) -> None:
    """Closes all descriptors but these, and lets none of them be inherited but the first three."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if fd not in wanted:
                os.close(fd)
            elif fd > 2:
                os.set_inheritable(fd, False)
        except OSError:
            continue  # the listing's own
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one


def _name(name: str) -> None:
    try:
        fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, name.encode())
        os.close(fd)
    except OSError:
        pass  # a name is a courtesy
