"""What others can call on a bus: objects with interfaces, each made of one table, and names of our own."""

from __future__ import annotations

from jeepney import (  # type: ignore[import-untyped]
    DBusAddress,
    Endianness,
    Header,
    HeaderFields,
    Message,
    MessageType,
    new_signal,
)

from okoomer.bus.connection import plain
from okoomer.bus.daemon import DO_NOT_QUEUE, OWNED, TAKEN, bus_call, owner_rule
from okoomer.bus.frames import NO_REPLY, RETURN, Head
from okoomer.bus.introspection import document, signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    from okoomer.bus.connection import Connection

    #: What is taken and given, as in introspection.arguments, and who does it.
    Method: TypeAlias = tuple[str, str, Callable[["Call"], None]]
    Property: TypeAlias = tuple[str, Callable[[], Any]]
    #: Sees to it that properties are fresh, and then goes on with what it is given, at once or later.
    Fresh: TypeAlias = Callable[[Callable[[], None]], None]

PROPERTIES, INTROSPECTABLE, PEER = (
    "org.freedesktop.DBus.Properties",
    "org.freedesktop.DBus.Introspectable",
    "org.freedesktop.DBus.Peer",
)
_ERROR = "org.freedesktop.DBus.Error."
#: So many senders' users are remembered, and so many calls wait until it is known whose they are.
SENDERS, WAITING = 256, 256


class Interface:
    """One interface of an object.

    Args:
        methods: By member: what it takes and gives ("u question, s word"), and its handler.
        properties: By name: the type, and what gives the value.
        signals: By member: what it carries.
        changing, constant: Properties whose changes are told; that never change.
        fresh: Is asked before properties are read.
    """

    def __init__(
        self,
        name: str,
        methods: Mapping[str, Method] | None = None,
        properties: Mapping[str, Property] | None = None,
        signals: Mapping[str, str] | None = None,
        changing: tuple[str, ...] = (),
        constant: tuple[str, ...] = (),
        fresh: Fresh | None = None,
    ) -> None:
        self.name = name
        self.methods = dict(methods or {})
        self.properties = dict(properties or {})
        self.signals = dict(signals or {})
        self.changing, self.constant = changing, constant
        self.fresh = fresh

    def values(self) -> dict[str, tuple[str, Any]]:
        """All properties, as a{sv}."""
        return {name: (kind, get()) for name, (kind, get) in self.properties.items()}


class Call:
    """A call by somebody: answered or failed once, at once or later.

    Args:
        gives: The signature of the answer.
        uid: Whose the caller is.
    """

    def __init__(self, connection: Connection, one: Head, body: tuple[Any, ...], gives: str, uid: int = -1) -> None:
        self._connection = connection
        self._head = one
        self._gives = gives
        self._over = bool(one.flags & NO_REPLY)
        # The name is of no use on another connection: who is called so there is somebody else.
        self._name = connection.name
        self.body = body
        self.sender = one.sender
        self.uid = uid

    def answer(self, *body: Any) -> None:
        """Answers."""
        try:
            self._reply(MessageType.method_return, self._gives, body)
        except Exception as error:
            self.fail(f"{_ERROR}Failed", f"the answer cannot be told: {plain(error)}")

    def fail(self, name: str, text: str) -> None:
        """Answers with an error."""
        self._reply(MessageType.error, "s", (sayable(text),), name)

    def _reply(self, kind: MessageType, kinds: str, body: tuple[Any, ...], name: str = "") -> None:
        if self._over or self._connection.name != self._name:
            return
        fields: dict[HeaderFields, Any] = {HeaderFields.reply_serial: self._head.serial}
        if self._head.sender:
            fields[HeaderFields.destination] = self._head.sender
        if name:
            fields[HeaderFields.error_name] = name
        if kinds:
            fields[HeaderFields.signature] = kinds
        self._connection.send(Message(Header(Endianness.little, kind, 0, 1, -1, -1, fields), body))
        self._over = True


class Objects:
    """Dispatches calls. Whoever asks for something that is not there is told so."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._objects: dict[str, dict[str, Interface]] = {}
        self._users: dict[str, int] = {}
        self._waiting: dict[str, list[Callable[[int], None]]] = {}

    def add(self, path: str, interface: Interface) -> None:
        self._objects.setdefault(path, {})[interface.name] = interface

    def forget(self) -> None:
        """The bus has gone: whom its names meant is not known any more."""
        self._users.clear()
        self._waiting.clear()

    def refuse(self, one: Head) -> None:
        """Says that somebody calls too often."""
        Call(self._connection, one, (), "").fail(f"{_ERROR}LimitsExceeded", "too many calls")

    def take(self, one: Head, raw: bytes) -> None:
        """Takes a call."""
        standard = {PROPERTIES: _PROPERTIES, INTROSPECTABLE: _INTROSPECTABLE, PEER: _PEER}
        here = self._objects.get(one.path, {})
        call = Call(self._connection, one, (), "")
        if one.interface in standard:
            methods = standard[one.interface]
        elif one.interface in here:
            methods = {name: entry[:2] for name, entry in here[one.interface].methods.items()}
        elif one.interface:
            return call.fail(f"{_ERROR}UnknownInterface", f"there is no {one.interface} at {one.path}")
        else:
            # Without an interface it is the member that decides.
            methods = {name: entry[:2] for each in here.values() for name, entry in each.methods.items()}
            methods = {**_PROPERTIES, **_INTROSPECTABLE, **_PEER, **methods}
        if one.member not in methods:
            return call.fail(f"{_ERROR}UnknownMethod", f"there is no method {one.member} at {one.path}")
        taken, given = methods[one.member]
        if one.signature != signature(taken):
            return call.fail(f"{_ERROR}InvalidArgs", f"{one.member} takes ({signature(taken)})")
        try:
            body = Message.from_buffer(raw).body
        except Exception:
            return call.fail(f"{_ERROR}InvalidArgs", "that cannot be read")
        call = Call(self._connection, one, body, signature(given))
        handler = next(
            (
                each.methods[one.member][2]
                for name, each in here.items()
                if one.interface in ("", name) and one.member in each.methods
            ),
            None,
        )
        if handler is None:
            return self._standard(one, call)
        return self._identified(call, handler)

    def uid(self, sender: str, known: Callable[[int], None]) -> None:
        """Whose a connection is: `known` is told at once or later, -1 if it cannot be learnt. A unique name is never
        another's while a bus lives, so what was learnt stays true."""
        if sender in self._users:
            return known(self._users[sender])
        waiting = self._waiting.setdefault(sender, [])
        waiting.append(known)
        if len(waiting) > 1:
            return None

        def answered(answer: Message | None) -> None:
            user = -1
            if answer is not None and answer.header.message_type.value == RETURN:
                user = int(answer.body[0])
                while len(self._users) >= SENDERS:
                    del self._users[next(iter(self._users))]
                self._users[sender] = user
            for each in self._waiting.pop(sender, []):
                self._connection.later(lambda each=each: each(user))  # type: ignore[misc]

        return self._connection.call(bus_call("GetConnectionUnixUser", "s", (sender,)), answered)

    def _identified(self, call: Call, handler: Callable[[Call], None]) -> None:
        def known(user: int) -> None:
            if user < 0:
                return call.fail(f"{_ERROR}AccessDenied", "it is not known whose call this is")
            call.uid = user
            try:
                handler(call)
            except Exception as error:
                self._connection.complain("call", f"a call cannot be answered: {plain(error)}")
                call.fail(f"{_ERROR}Failed", plain(error))
            return None

        if sum(map(len, self._waiting.values())) >= WAITING:
            return call.fail(f"{_ERROR}LimitsExceeded", "too many calls")
        return self.uid(call.sender, known)

    def _standard(self, one: Head, call: Call) -> None:
        here = self._objects.get(one.path, {})
        if one.member == "Introspect":
            call.answer(document(here.values(), self._below(one.path)))
        elif one.member == "Ping":
            call.answer()
        elif one.member == "GetMachineId":
            call.answer(_machine())
        elif call.body[0] and call.body[0] not in here:
            call.fail(f"{_ERROR}UnknownInterface", f"there is no {call.body[0]} at {one.path}")
        elif one.member == "GetAll":
            found = [here[call.body[0]]] if call.body[0] else list(here.values())
            self._fresh(found, lambda: call.answer({k: v for each in found for k, v in each.values().items()}))
        else:
            name = call.body[1]
            found = [each for key, each in here.items() if call.body[0] in ("", key) and name in each.properties]
            if not found:
                call.fail(f"{_ERROR}UnknownProperty", f"there is no property {name} at {one.path}")
            elif one.member == "Set":
                call.fail(f"{_ERROR}PropertyReadOnly", f"{name} can only be read")
            else:
                kind, get = found[0].properties[name]
                self._fresh(found[:1] if name not in found[0].constant else [], lambda: call.answer((kind, get())))

    def _fresh(self, interfaces: list[Interface], then: Callable[[], None]) -> None:
        """Goes on when what the interfaces tell is fresh. (An object has one at most that takes a time for it.)"""
        slow = next((each.fresh for each in interfaces if each.fresh), None)
        if slow:
            slow(then)
        else:
            then()

    def _below(self, path: str) -> list[str]:
        above = "/" if path == "/" else f"{path}/"
        found = [each[len(above) :].partition("/")[0] for each in self._objects if each.startswith(above)]
        return sorted({name for name in found if name})


_PROPERTIES = {"Get": ("s,s", "v"), "GetAll": ("s", "a{sv}"), "Set": ("s,s,v", "")}
_INTROSPECTABLE, _PEER = {"Introspect": ("", "s")}, {"Ping": ("", ""), "GetMachineId": ("", "s")}


class Service:
    """Names of our own, signals and properties."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def serve(self, path: str, interface: Interface) -> None:
        """From now on an object has an interface."""
        self.connection.serve(path, interface)

    def emit(self, path: str, interface: str, member: str, kinds: str = "", body: tuple[Any, ...] = ()) -> None:
        """Sends a signal to whoever listens; nobody does while there is no bus.

        Raises:
            TypeError, ValueError, struct.error, ...: The body is not what the signature says.
        """
        self.connection.send(new_signal(DBusAddress(path, interface=interface), member, kinds or None, body))

    def changed(self, path: str, interface: Interface, *names: str) -> None:
        """Tells that properties have changed, and what they are now."""
        values = {name: (kind, get()) for name, (kind, get) in interface.properties.items() if name in names}
        self.emit(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", (interface.name, values, []))

    def own(
        self,
        name: str,
        lost: Callable[[], None] | None = None,
        got: Callable[[], None] | None = None,
    ) -> None:
        """Owns a name whenever that is possible: asks for it at each connection, and when somebody else has given it
        up. `got` and `lost` are told when it is ours, and when it is not (any more)."""
        _Name(self.connection, name, lost, got)


class _Name:
    def __init__(
        self, connection: Connection, name: str, lost: Callable[[], None] | None, got: Callable[[], None] | None
    ) -> None:
        self._connection = connection
        self._name = name
        self._lost, self._got = lost, got
        self._ours = False
        self._asking = False
        # Asked for first, so that an application that starts beside us finds an owner as early as can be.
        connection.on_up.insert(0, self._ask)
        connection.on_down.append(self._down)
        connection.match(owner_rule(name), self._changed)
        if connection.up:
            self._ask()

    def _ask(self) -> None:
        if self._asking:
            return
        self._asking = True
        self._connection.call(bus_call("RequestName", "su", (self._name, DO_NOT_QUEUE)), self._asked)

    def _asked(self, answer: Message | None) -> None:
        self._asking = False
        if answer is None:
            if self._connection.up:
                self._ask()
        elif answer.header.message_type.value != RETURN:
            why = answer.body[0] if answer.body else "refused"
            self._connection.complain(self._name, f"{self._name} cannot be offered: {plain(why)}")
            self._set(False)
        elif answer.body[0] in OWNED:
            self._set(True)
        elif answer.body[0] == TAKEN:
            self._connection.complain(self._name, f"{self._name} is somebody else's; it is waited for")
            self._set(False)

    def _changed(self, message: Message) -> None:
        owner = message.body[2]
        if owner == self._connection.name:
            self._set(True)
        elif self._ours:
            self._set(False)
        if not owner:
            self._ask()

    def _down(self) -> None:
        self._asking = False
        self._set(False)

    def _set(self, ours: bool) -> None:
        if ours == self._ours:
            return
        self._ours = ours
        if ours:
            self._connection.settled(self._name)
        told = self._got if ours else self._lost
        if told:
            told()


def sayable(text: object) -> str:
    """Text that a bus takes: no NUL and no half of a character."""
    return str(text).replace("\0", " ").encode("utf-8", "backslashreplace").decode()


def _machine() -> str:
    try:
        with open("/etc/machine-id", encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return ""
