"""The courier's process: it waits for the guard's sign, reads the new events, and does what they ask for."""

from __future__ import annotations

import os
from _socket import MSG_DONTWAIT, socket
from marshal import loads
from select import POLLIN, POLLOUT, poll
from time import monotonic, time

from okoomer.courier.bus import Announcer, Bus
from okoomer.courier.child import protect
from okoomer.courier.feed import Feed
from okoomer.courier.launch import Options
from okoomer.courier.runs import Runs
from okoomer.courier.say import Once, say
from okoomer.courier.subject import Subjects, arguments, of_run, variables
from okoomer.courier.words import announcement, happenings
from okoomer.events.model import NOT_STARTED
from okoomer.events.ring import NotARing
from okoomer.record import from_plain, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from signal import SIG_DFL, SIG_IGN, SIGCHLD, SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal
    from typing import Any, NoReturn, Protocol

    from okoomer.courier.launch import Hook

    class Takes(Protocol):
        """Whoever announces; see bus.Announcer."""

        def add(self, summary: str, body: str) -> None: ...
        @property
        def busy(self) -> bool: ...
else:
    from _signal import SIG_DFL, SIG_IGN, SIGCHLD, SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal

#: A command for a victim may go on so long, in seconds, even if nobody waits for it any more; one that was asked for
#: longer ago is not even begun.
AT_LEAST = 10.0
#: Seconds that commands and announcements have once the guard is gone, and between looks at them.
FAREWELL, TICK = 2.0, 0.05
#: A policy's hooks are no longer than a packet can be.
PACKET = 1 << 18
#: So many answers wait for a guard that does not hear them.
ANSWERS = 256


class Desk:
    """What is done about each event.

    Args:
        environment: What commands get beside the variables of the event.
        announcer: Makes what announces, which is made when it is first wanted.
    """

    def __init__(
        self, options: Options, environment: Mapping[bytes, bytes], runs: Runs, announcer: Callable[[], Takes]
    ) -> None:
        self._options = options
        self._environment = environment
        self._runs = runs
        self._make = announcer
        self._announcer: Takes | None = None
        self._subjects = Subjects()
        self._once = Once()
        self.configure(options.hooks, options.notify)

    def configure(self, hooks: tuple[Hook, ...], notify: tuple[str, ...]) -> None:
        """From now on these hooks are run and these events announced."""
        self._options = replace(self._options, hooks=hooks, notify=notify)
        if notify and self._announcer is None:
            self._announcer = self._make()

    @property
    def busy(self) -> bool:
        """Whether something is still to be announced."""
        return self._announcer is not None and self._announcer.busy

    def take(self, text: str, event: dict[str, Any], now: float, late: float) -> list[tuple[int, int]]:
        """Does what an event asks for; the requests that are answered at once, with their status.

        Args:
            text: The event's JSON.
            late: Seconds since it happened.
        """
        try:
            return self._take(text, event, now, late)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # The ring is a file: whatever somebody has written there, the next event is another one.
            self._once("garbage", f"an event makes no sense and is passed over: {type(error).__name__}: {error}")
            return []

    def _take(self, text: str, event: dict[str, Any], now: float, late: float) -> list[tuple[int, int]]:
        if event["event"] == "run":
            request = int(event["request"])
            begun = self._step(request, text, event, now, late)
            return [] if begun else [(request, NOT_STARTED)]
        if event["event"] == "chosen":
            self._subjects.remember(event)
        names = happenings(event)
        subject = self._subjects.of(event)
        for on, command, seconds in self._options.hooks:
            if on in names:
                environment = {**self._environment, **variables(on, event, subject, self._options.voice)}
                self._runs.begin(arguments(command, subject), environment, _line(text), seconds, now)
        if self._announcer and any(name in self._options.notify for name in names):
            self._announcer.add(*announcement(event, subject, self._options.voice))
        return []

    def _step(self, request: int, text: str, event: dict[str, Any], now: float, late: float) -> bool:
        seconds = max(float(event["seconds"]), AT_LEAST)
        command, subject = event["command"], of_run(event)
        if late > seconds:
            self._once("late", f"a command was asked for {late:.0f} s ago and is not begun any more")
            return False
        environment = {**self._environment, **variables("run", event, subject, self._options.voice)}
        return self._runs.begin(arguments(command, subject), environment, _line(text), seconds, now, request)


def _line(text: str) -> bytes:
    return text.encode("ascii", "backslashreplace") + b"\n"


class Courier:
    """The loop.

    Args:
        wake: The eventfd that is added to after each event.
        guard: The socket on which commands that have ended are told, and on which the guard tells of another policy;
            closed at the other end when the guard is gone.
    """

    def __init__(self, feed: Feed, desk: Desk, runs: Runs, wake: int, guard: socket) -> None:
        self._feed = feed
        self._desk = desk
        self._runs = runs
        self._wake = wake
        self._guard = guard
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
        poller = poll()
        for fd in (self._wake, self._woken):
            poller.register(fd, POLLIN)
        while not self._ending:
            poller.register(self._guard.fileno(), POLLIN | (POLLOUT if self._answers else 0))
            wait = self._runs.wait(monotonic())
            ready = dict(poller.poll(None if wait == float("inf") else int(wait * 1000) + 1))
            self._turn(ready)
        signal(SIGTERM, SIG_DFL)
        self._turn({self._wake: POLLIN})  # its last words
        self._farewell()

    def _end(self) -> None:
        self._ending = True

    def _turn(self, ready: dict[int, int]) -> None:
        if self._woken in ready:
            os.read(self._woken, 4096)
        if ready.get(self._guard.fileno(), 0) & ~POLLOUT:
            self._listen()
        if self._wake in ready:
            self._read()
        self._answers += self._runs.advance(monotonic())
        self._answer()

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
                hooks, notify = loads(packet)
                self._desk.configure(hooks, notify)
            except (EOFError, TypeError, ValueError):
                self._once("policy", "another policy was not understood; the old one's hooks are run")

    def _farewell(self) -> None:
        end = monotonic() + FAREWELL
        self._runs.hurry(end)
        poller = poll()
        poller.register(self._woken, POLLIN)
        while self._runs.busy or (self._desk.busy and monotonic() < end):
            self._turn(dict(poller.poll(int(TICK * 1000))))


def main(order: int, wake: int, guard: int) -> NoReturn:
    """Runs the courier that a descriptor describes.

    Args:
        order: A file with the options, the number of the first event that matters, and where jeepney is.
    """
    with open(order, "rb") as file:
        plain, first, directory = loads(file.read())
    options: Options = from_plain(plain, {"Options": Options})
    keep({0, 1, 2, wake, guard})
    os.chdir("/")
    _name("okoomer-courier")
    # Commands do not inherit it, but whoever runs them should be there when memory is short.
    protect(b"-1000")
    runs = Runs()
    desk = Desk(options, os.environb, runs, lambda: Announcer(Bus(directory)))
    Courier(Feed(options.ring, first), desk, runs, wake, socket(fileno=guard)).run()
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
