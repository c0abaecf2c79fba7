"""A connection to a bus: one socket that never waits, driven by its owner's loop, and made again whenever it has gone.

jeepney has to be found when this module is imported: who starts without the directories of other packages adds the
one that launch.third_party() has found first."""

from __future__ import annotations

import os
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, socket
from array import array
from select import POLLIN, POLLOUT
from time import monotonic

from jeepney import HeaderFields, MatchRule, Message  # type: ignore[import-untyped]
from jeepney.auth import BEGIN, Authenticator  # type: ignore[import-untyped]
from jeepney.bus import get_bus  # type: ignore[import-untyped]

from okoomer.bus.daemon import BUS, bus_call
from okoomer.bus.frames import CALL, ERROR, MEMBER, REPLY_SERIAL, RETURN, SIGNAL, Frames, Head, head
from okoomer.bus.outgoing import Outgoing
from okoomer.bus.owners import Owners
from okoomer.bus.quota import Quota

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from okoomer.bus.service import Interface, Objects

    class Complains(Protocol):
        """Says a thing once, until it is over; see say.Once."""

        def __call__(self, about: str, text: str) -> None: ...
        def over(self, about: str) -> None: ...


#: Seconds between tries to reach a bus, at first and at most; and for a bus to let us in.
SOON, LATE, PATIENCE = 0.5, 10.0, 5.0
#: Bytes that are read in one turn; of the longest message that is looked at; that may wait to be sent; and beyond which
#: nobody is heard until they are sent, since an answer can be much longer than what was asked.
READ, LONGEST, ROOM, FULL = 1 << 14, 1 << 18, 1 << 20, 1 << 16


class Connection:
    """See the module. All that is given to it (matches, objects, watches) holds for every connection to come.

    Args:
        address: "SYSTEM", "SESSION", or a bus's address.
        once: Where complaints go.
    """

    def __init__(self, address: str, once: Complains | None = None) -> None:
        self._address = address
        self._once = once
        self.up = False
        #: Our unique name, while it is up.
        self.name = ""
        self.on_up: list[Callable[[], None]] = []
        self.on_down: list[Callable[[], None]] = []
        self._socket: socket | None = None
        self._login: Authenticator | None = None
        self._frames = Frames(LONGEST)
        self._came: list[bytes] = []
        self._jobs: list[Callable[[], None]] = []
        self._out = Outgoing()
        self._broken: OSError | None = None
        self._serial = 0
        self._calls: dict[int, tuple[Callable[[Message | None], None], float, str]] = {}
        self._lost: list[Callable[[Message | None], None]] = []
        self._due, self._pause, self._since = float("-inf"), SOON, 0.0
        self._matches: list[tuple[MatchRule, MatchRule, str, Callable[[Message], None]]] = []
        self._owners = Owners(self)
        self._quota = Quota()
        self._objects: Objects | None = None

    # --- the loop's side ---------------------------------------------------------------------------------------

    def wants(self) -> list[tuple[int, int]]:
        """The descriptor to wait for, if there is one, and for what."""
        if self._socket is None:
            return []
        return [(self._socket.fileno(), (POLLIN if self._hears else 0) | (POLLOUT if self._out else 0))]

    @property
    def reached(self) -> bool:
        """Whether there is a bus at the other end, be it that we are not let in yet."""
        return self._socket is not None

    def wait(self, now: float) -> float:
        """Seconds until it wants a turn whatever happens."""
        if self._lost or self._broken or ((self._came or self._jobs) and self._hears):
            return 0.0
        due = [deadline for _, deadline, _ in self._calls.values()]
        if self._socket is None:
            due.append(self._due)
        elif not self.up:
            due.append(self._since + PATIENCE)
        return max(0.0, min(due) - now) if due else float("inf")

    def turn(self, ready: dict[int, int], now: float) -> None:
        """Does what can be done at once."""
        try:
            if self._broken:
                raise self._broken
            if self._socket is None:
                if now >= self._due:
                    self._connect(now)
            else:
                events = ready.get(self._socket.fileno(), 0)
                if events & POLLOUT:
                    self._flush()
                if events & ~POLLOUT and not self._came:
                    self._read(now)
                self._take(now)
                if not self.up and now >= self._since + PATIENCE:
                    raise TimeoutError(0, f"the bus does not let us in within {PATIENCE:.0f} s")
        except Exception as error:
            # Whatever a strange bus makes us or jeepney raise, it is tried again.
            self._fail(error, now)
        self._expire(now)

    def close(self) -> None:
        """Ends the connection; the next turn makes it anew."""
        self._drop()
        self._due = float("-inf")

    # --- the owner's side --------------------------------------------------------------------------------------

    def send(self, message: Message) -> int:
        """Sends a message, at once or when the bus takes it; its serial number. While there is no connection it is
        dropped, and the number is 0.

        Raises:
            TypeError, ValueError, struct.error, ...: The body is not what the signature says.
        """
        return self._send(message) if self.up else 0

    def call(
        self,
        message: Message,
        answered: Callable[[Message | None], None],
        now: float | None = None,
        seconds: float = 5.0,
    ) -> None:
        """Sends a call. What comes back, be it an error, goes to `answered`, once, and never before this returns;
        None when the time is over or the bus gone."""
        serial = self.send(message)
        if serial:
            to = str(message.header.fields.get(HeaderFields.destination, ""))
            self._calls[serial] = (answered, (monotonic() if now is None else now) + seconds, to)
        else:
            self._lost.append(answered)

    def later(self, job: Callable[[], None]) -> None:
        """Does something as soon as there is room for what may come of it: who answers many at once does it so. Not if
        the bus goes before."""
        self._jobs.append(job)

    def match(self, rule: MatchRule, heard: Callable[[Message], None]) -> None:
        """Hears messages that a rule is about. A rule with the name of a sender hears only who owns that name."""
        sender = rule.header_fields.get("sender", "")
        if sender and sender != BUS and not sender.startswith(":"):
            self.watch(sender)
        local = MatchRule(type=rule.message_type)
        local.header_fields = {key: value for key, value in rule.header_fields.items() if key != "sender"}
        local.path_namespace, local.arg_conditions = rule.path_namespace, rule.arg_conditions
        self._matches.append((rule, local, sender, heard))
        if self.up:
            self.add_match(rule)

    def watch(self, name: str, changed: Callable[[str], None] | None = None) -> None:
        """Follows who owns a name: `changed` is told the unique name, "" when nobody does, as soon as it is known and
        at each change while the bus is there."""
        self._owners.watch(name, changed)

    def forget(self, name: str) -> None:
        """Ends what `watch` began, for all who wanted to know."""
        self._owners.forget(name)

    def owner(self, name: str) -> str:
        """Who owns a name that is watched; "" if nobody does, or it is not known."""
        return self._owners.of(name)

    def serve(self, path: str, interface: Interface) -> None:
        """From now on an object has an interface."""
        self.objects.add(path, interface)

    @property
    def objects(self) -> Objects:
        """What others can call here."""
        if self._objects is None:
            from okoomer.bus.service import Objects

            self._objects = Objects(self)
        return self._objects

    def complain(self, about: str, text: str) -> None:
        """Says something once."""
        if self._once is not None:
            self._once(about, text)

    def settled(self, about: str) -> None:
        """What was said once would be another thing the next time."""
        if self._once is not None:
            self._once.over(about)

    # --- the socket --------------------------------------------------------------------------------------------

    def _connect(self, now: float) -> None:
        self._since = now
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        self._socket.connect(_place(self._address))
        self._login = Authenticator(enable_fds=True)
        self._write(self._login.data_to_send() or b"")

    def _read(self, now: float) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(READ, MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionResetError(0, "the bus has closed the connection")
        if self._login is not None:
            self._login.feed(data)
            self._write(self._login.data_to_send() or b"")
            if self._login.authenticated:
                self._login = None
                self._write(BEGIN)
                serial = self._send(bus_call("Hello"))
                self._calls[serial] = (self._welcome, now + PATIENCE, BUS)
            return
        self._came += self._frames.add(data)

    @property
    def _hears(self) -> bool:
        return len(self._out) <= FULL

    def _take(self, now: float) -> None:
        """Hears what came, as far as there is room for answers."""
        while (self._jobs or self._came) and self._hears and not self._broken:
            try:
                if self._jobs:
                    self._jobs.pop(0)()
                else:
                    self._hear(self._came.pop(0), now)
            except Exception as error:
                # A message in no form that is known, or one that its reader trips over: the next is another one.
                self.complain("garbage", f"a message from the bus is passed over: {plain(error)}")

    def _welcome(self, answer: Message | None) -> None:
        if answer is None or answer.header.message_type.value != RETURN:
            self._broken = ConnectionRefusedError(0, "the bus does not let us in")
            return
        self.name = str(answer.body[0])
        self.up = True
        self.settled("bus")
        self._owners.joined()
        for rule, *_ in self._matches:
            self.add_match(rule)
        for told in list(self.on_up):
            told()

    def _hear(self, raw: bytes, now: float) -> None:
        one = head(raw)
        if one.kind in (RETURN, ERROR):
            serial = one.fields.get(REPLY_SERIAL, 0)
            answered, _, to = self._calls.get(serial, (None, 0.0, ""))
            # A session's bus lets anybody answer for anybody, and numbers can be guessed.
            known = to == BUS or to.startswith(":")
            if answered is not None and (one.sender in (BUS, to) or not known):
                del self._calls[serial]
                try:
                    message = Message.from_buffer(raw)
                except Exception:
                    message = None
                answered(message)
            return
        if one.sender != BUS and not self._quota.admits(one.sender, len(raw), now):
            if one.kind == CALL and self._quota.tells():
                self.objects.refuse(one)
        elif one.kind == CALL:
            self.objects.take(one, raw)
        elif one.kind == SIGNAL:
            self._signal(one, raw)

    def _signal(self, one: Head, raw: bytes) -> None:
        message = None
        if one.sender == BUS and one.fields.get(MEMBER) == "NameOwnerChanged":
            message = Message.from_buffer(raw)
            self._owners.changed(str(message.body[0]), str(message.body[2]))
        for _, local, sender, heard in self._matches:
            fields = local.header_fields
            if (
                fields.get("member", one.member) != one.member
                or fields.get("interface", one.interface) != one.interface
                or (sender and one.sender != (self.owner(sender) if sender in self._owners else sender))
            ):
                continue
            if message is None:
                message = Message.from_buffer(raw)
            if local.matches(message):
                heard(message)

    def _send(self, message: Message) -> int:
        serial = self._serial = self._serial % 0xFFFFFFFF + 1
        fds = array("i")
        data = message.serialise(serial=serial, fds=fds)
        self._write(data, fds)
        return serial

    def _write(self, data: bytes, fds: Sequence[int] = ()) -> None:
        if self._broken:
            return  # it goes nowhere
        self._out.add(data, fds)
        if len(self._out) == len(data):
            try:
                self._flush()
            except OSError as error:
                self._broken = error
        if len(self._out) > ROOM:
            self._broken = BlockingIOError(0, "the bus does not take what is sent")

    def _flush(self) -> None:
        assert self._socket is not None
        self._out.flush(self._socket)

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        was_up, self.up, self.name = self.up, False, ""
        self._socket = self._login = self._broken = None
        self._frames = Frames(LONGEST)
        self._came.clear()
        self._jobs.clear()
        self._out.clear()
        self._lost += [answered for answered, *_ in self._calls.values() if answered != self._welcome]
        self._calls.clear()
        if was_up:
            if self._objects is not None:
                self._objects.forget()
            self._owners.left()
            for told in list(self.on_down):
                told()

    def _fail(self, error: Exception, now: float) -> None:
        if self.up and now - self._since > LATE:
            self._pause = SOON
        self.complain("bus", f"the bus at {self._address} cannot be used: {plain(error)}")
        self._drop()
        self._due = now + self._pause
        self._pause = min(LATE, self._pause * 2)

    def _expire(self, now: float) -> None:
        lost, self._lost = self._lost, []
        for serial, (answered, deadline, _) in list(self._calls.items()):
            if now >= deadline:
                del self._calls[serial]
                lost.append(answered)
        for answered in lost:
            try:
                answered(None)
            except Exception as error:
                self.complain("garbage", f"what the bus does not answer is passed over: {plain(error)}")

    def add_match(self, rule: MatchRule) -> None:
        """Has the bus send us what a rule is about."""

        def added(answer: Message | None) -> None:
            if answer is not None and answer.header.message_type.value == ERROR:
                why = answer.body[0] if answer.body else "refused"
                self.complain("match", f"the bus does not let us hear {rule.serialise()}: {plain(why)}")

        self.call(bus_call("AddMatch", "s", (rule.serialise(),)), added)


def _place(address: str) -> str:
    """Where a bus listens, as connect() takes it.

    Raises:
        ValueError, KeyError, RuntimeError, StopIteration: It is no address that is known.
    """
    if address == "SESSION" and not os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        address = f"unix:path={os.environ.get('XDG_RUNTIME_DIR', '/run')}/bus"
    return str(get_bus(address))


def plain(error: object) -> str:
    """Why something failed, on one line, whoever wrote it."""
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)[:300]
