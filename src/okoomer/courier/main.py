"""The courier's process: it waits for the guard's sign, reads the new events, and does what they ask for."""

from __future__ import annotations

import os
from _socket import socket
from marshal import loads
from select import POLLIN, POLLOUT, epoll, poll
from time import monotonic, time

from okoomer.courier.child import protect
from okoomer.courier.desk import Desk
from okoomer.courier.feed import Feed
from okoomer.courier.launch import CLASSES, REST, Options, Place
from okoomer.courier.line import Line
from okoomer.courier.managed import Board
from okoomer.courier.parts import Parts
from okoomer.courier.prekill import Prekill
from okoomer.courier.runs import Runs
from okoomer.events.ring import NotARing
from okoomer.events.sign import heed
from okoomer.record import from_plain
from okoomer.say import Once, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from signal import SIG_DFL, SIG_IGN, SIGCHLD, SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal
    from typing import Any, NoReturn, Protocol

    from okoomer.courier.desk import Tells
    from okoomer.courier.knock import Knock, Welcome

    class Party(Protocol):
        """Somebody else whom the courier speaks with; see Subscription, Reports and Prekill."""

        def wants(self) -> list[tuple[int, int]]: ...
        def wait(self, now: float) -> float: ...
        def turn(self, ready: dict[int, int], now: float) -> None: ...
        def close(self) -> None: ...

    class Hears(Protocol):
        """A party that wants events, as they stand in the ring and decoded: `at` is when it happened, in Unix time.
        `lost` tells that the guard has gone, and with it the level and all questions."""

        def hear(self, event: dict[str, Any], at: float, now: float) -> None: ...
        def lost(self, now: float) -> None: ...
else:
    from _signal import SIG_DFL, SIG_IGN, SIGCHLD, SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal

#: Seconds that commands and announcements have once the guard is gone, and between looks at them.
FAREWELL, TICK = 2.0, 0.05
#: So many answers wait for a guard that does not hear them.
ANSWERS = 256


class Courier:
    """The loop.

    Args:
        line: To the guard: closed at the other end when the guard is gone.
        prekill: Those who want to know of a kill before it.
        board: What the guard is to be told of units' settings.
        parties: Who is spoken with besides the guard, also those that are added later.
        hearers: Those of them who want events.
        teller: Is told of the units' settings, too.
        knock: Seeks a guard whenever there is none. Without, this courier ends with its guard.
    """

    def __init__(
        self,
        line: Line,
        desk: Desk,
        runs: Runs,
        prekill: Prekill,
        board: Board,
        parties: list[Party],
        hearers: Sequence[Hears] = (),
        teller: Tells | None = None,
        knock: Knock | None = None,
    ) -> None:
        self._line = line
        self._desk = desk
        self._runs = runs
        self._prekill = prekill
        self._board = board
        self._parties = parties
        self._hearers = list(hearers)
        self._teller = teller
        self._knock = knock
        self._feed: Feed | None = None
        self._wake: epoll | None = None
        self._once = Once()
        self._answers: list[tuple[int, int]] = []
        #: Questions that were heard of since this line is up, be they open or not.
        self._questions: set[int] = set()
        self._ending = False
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def attend(self, feed: Feed, wake: epoll) -> None:
        """Reads these events from now on, whenever there is a sign."""
        self._feed, self._wake = feed, wake

    def run(self) -> None:
        """Serves until SIGTERM comes, or the guard is gone and no other is sought, and then sees to it that nothing is
        left behind."""
        set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        # A guard that ignores it has us inherit that, and then no end of a command could be seen.
        signal(SIGCHLD, lambda _number, _frame: None)
        signal(SIGTERM, lambda _number, _frame: self._end())
        for number in (SIGINT, SIGHUP):
            # Those of a terminal are for the guard, which takes its child along.
            signal(number, (lambda _number, _frame: self._end()) if self._knock else SIG_IGN)
        while not self._ending:
            self._turn(self._wait())
        for number in (SIGTERM, SIGINT, SIGHUP) if self._knock else (SIGTERM,):
            signal(number, SIG_DFL)
        self._read(unsigned=True)
        self._farewell()

    def _end(self) -> None:
        self._ending = True

    def _wait(self, most: float = float("inf")) -> dict[int, int]:
        """Waits until there is something to do, so many seconds at most; what there is."""
        poller = poll()
        poller.register(self._woken, POLLIN)
        if self._wake:
            poller.register(self._wake.fileno(), POLLIN)
        if self._line.socket and not self._ending:
            waiting = self._answers or self._board.news()
            poller.register(self._line.fd, POLLIN | (POLLOUT if waiting else 0))
        now = monotonic()
        wait = min(most, self._runs.wait(now), self._line.wait(now))
        if self._knock:
            wait = min(wait, self._knock.wait(now))
            for fd, events in self._knock.wants():
                poller.register(fd, events)
        for party in self._parties:
            wait = min(wait, party.wait(now))
            for fd, events in party.wants():
                poller.register(fd, events)
        return dict(poller.poll(None if wait == float("inf") else int(wait * 1000) + 1))

    def _turn(self, ready: dict[int, int]) -> None:
        if self._woken in ready:
            os.read(self._woken, 4096)
        if self._knock:
            welcome = self._knock.turn(monotonic())
            if welcome:
                self._begin(welcome)
        if ready.get(self._line.fd, 0) & ~POLLOUT:
            self._listen()
        if self._wake and self._wake.fileno() in ready:
            self._read()
        for party in self._parties:
            party.turn(ready, monotonic())
        self._line.turn(monotonic())
        self._answers += self._runs.advance(monotonic()) + self._prekill.answers()
        self._answer()
        self._report()

    def _read(self, unsigned: bool = False) -> None:
        """Reads what is new.

        Args:
            unsigned: Also without a sign: those of a guard that has gone have gone with it.
        """
        if self._feed is None or self._wake is None:
            return
        signed = heed(self._wake)
        if not signed and not unsigned:
            return
        try:
            events, missed, damaged = self._feed.new()
        except (OSError, NotARing) as error:
            if not signed:
                return  # a guard that has never said anything
            why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            self._once("ring", f"events cannot be read: {why}")
            return
        self._once.over("ring")
        if missed:
            say(f"{missed} events were overwritten before they could be acted on")
        if damaged:
            self._once("damage", f"{damaged} events are damaged and are passed over")
        # After the events were read: a policy that was sent before one of them holds for it.
        self._listen(last=True)
        for text, event in events:
            at = event.get("at")
            at = float(at) if isinstance(at, (int, float)) else time()
            self._answers += self._desk.take(text, event, monotonic(), time() - at)
            self._tell(event, at)

    # --- the guard ----------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        while self._answers:
            request, status = self._answers[0]
            if not self._line.send(b"done %d %d" % (request, status)):
                del self._answers[:-ANSWERS]
                return
            del self._answers[0]

    def _report(self) -> None:
        """Tells the guard what is new of units' settings."""
        news = self._board.news()
        if news and self._teller:
            self._teller.settings = self._board.settings()
        while news and self._line.send(news[1]):
            self._board.sent(news[0])
            news = self._board.news()

    def _listen(self, last: bool = False) -> None:
        """Hears what the guard says.

        Args:
            last: That it has gone is seen to another time: there are events to be read first.
        """
        while (packet := self._line.receive()) is not None:
            if not packet:
                if not last:
                    self._lost()
                return
            if self._line.heard(packet):
                continue
            try:
                hooks, notify, place = loads(packet)
                self._desk.configure(hooks, notify, Place(*place) if place else None)
            except (EOFError, TypeError, ValueError):
                self._once("policy", "another policy was not understood; the old one's hooks are run")

    def _begin(self, welcome: Welcome) -> None:
        """There is a guard."""
        self._line.socket = welcome.socket
        self.attend(Feed("the guard's ring", welcome.first, welcome.ring), welcome.wake)
        self._listen()
        # The sign for what was told since may have been heeded while the welcome was looked at.
        self._read(unsigned=True)
        # What began before we came.
        self._line.ask("state {ref}", self._catch_up)

    def _lost(self) -> None:
        """The guard has gone."""
        if self._knock is None:
            self._end()
            return
        self._read(unsigned=True)
        self._line.close()
        if self._wake and self._feed:
            self._wake.close()
            self._feed.close()
        self._wake = self._feed = None
        self._answers.clear()
        self._questions.clear()
        self._knock.lost(monotonic())
        for hearer in self._hearers:
            hearer.lost(monotonic())

    # --- those who hear -----------------------------------------------------------------------------------------

    def _tell(self, event: dict[str, Any], at: float) -> None:
        question = event.get("question")
        if isinstance(question, int):
            self._questions.add(question)
        for hearer in self._hearers:
            try:
                hearer.hear(event, at, monotonic())
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                name = type(hearer).__name__
                self._once(f"garbage {name}", f"{name} makes nothing of an event: {type(error).__name__}: {error}")

    def _catch_up(self, status: str, text: str) -> None:
        """Tells of the level and the questions that the guard had before there was a line, as if they came now."""
        from okoomer.courier.parse import fields_of

        state = fields_of(text) if status == "ok" else None
        if state is None or self._feed is None:
            return
        # What was told since comes first: it is newer, or the same.
        self._read()
        now = time()
        if state.get("level"):
            told = {key: state.get(key) for key in ("level", "available", "left")}
            self._tell({"event": "level", "rules": [], **told}, now)
        for question in state.get("questions", ()):
            if isinstance(question, dict) and question.get("question") not in self._questions:
                self._tell({**question, "event": "question", "seconds": question.get("left", 0.0)}, now)

    def _farewell(self) -> None:
        end = monotonic() + FAREWELL
        self._runs.hurry(end)
        if self._knock:
            self._knock.close()
            self._knock = None
        # What happened last is to be told, too, also on a bus that has just been joined.
        while self._desk.busy and (left := end - monotonic()) > 0:
            self._turn(self._wait(left))
        # Backwards: some have last words for the bus, which is the first.
        for party in reversed(self._parties):
            party.close()
        self._parties, self._hearers = [], []
        poller = poll()
        poller.register(self._woken, POLLIN)
        while self._runs.busy:
            self._turn(dict(poller.poll(int(TICK * 1000))))


def main(order: int, wake: int, guard: int, listener: int) -> NoReturn:
    """Runs the courier that a descriptor describes.

    Args:
        order: A file with the options, the number of the first event that matters, and where jeepney is.
        wake: What polls readable after each event, or -1 if the guard has yet to be found.
        guard: The line to the guard, or -1.
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
    made(options, first, directory, wake, guard, listener).run()
    os._exit(0)


def made(options: Options, first: int, directory: str, wake: int, guard: int, listener: int) -> Courier:
    """A courier as the options have it; see main."""
    runs, prekill, board, parts = Runs(), Prekill(options.prekill), Board(options.hierarchy), Parts(directory)
    parts.parties.append(prekill)
    if options.hierarchy:
        from okoomer.courier.subscription import Subscription

        parts.parties.append(Subscription(board, options.managers))
    if listener >= 0:
        from okoomer.courier.reports import Reports

        parts.parties.append(Reports(board, socket(fileno=listener)))
    teller: Tells | None = None
    if options.place:
        from okoomer.courier.dump import Limits

        teller = parts.manager(Limits(*options.place.limits, options.place.dry_run), options.hierarchy)
    line = Line(socket(fileno=guard) if guard >= 0 else None)
    shout, knock = None, None
    if options.services:
        shout = parts.offer(options.services, options.runtime_dir, line.ask, runs, alone=options.part == REST)
    if options.part == REST:
        from okoomer.courier.knock import Knock

        knock = Knock(options.door)
    announcer = None if options.services else parts.announcer
    desk = Desk(options, os.environb, runs, announcer, prekill, teller, shout)
    courier = Courier(line, desk, runs, prekill, board, parts.parties, parts.hearers, teller, knock)
    if wake >= 0:
        courier.attend(Feed(options.ring, first), epoll.fromfd(wake))
    return courier


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
