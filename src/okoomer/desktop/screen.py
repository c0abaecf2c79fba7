"""Notifications on the screen, by org.freedesktop.Notifications. Each has a key of ours, under which it is updated in
place and closed; the server may be late, hang, die or be another one at any time."""

from __future__ import annotations

from time import monotonic

from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, new_method_call  # type: ignore[import-untyped]

from okoomer.desktop.texts import DEFAULT, STAYS
from okoomer.events.markup import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jeepney import Message

    from okoomer.bus.connection import Connection
    from okoomer.desktop.texts import Note

NAME, PATH = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
SERVER = DBusAddress(PATH, bus_name=NAME, interface=NAME)
#: Seconds that a server has to say what it can, and to show something: some animate first, or are started for it.
PATIENCE, LONG_PATIENCE = 5.0, 25.0
#: What could not be shown is tried again after so many seconds, so often; and whenever there is another server.
PAUSE, TRIES = 15.0, 8
#: Seconds in which a server closes what was clicked on, if it does.
SOON = 1.0
#: So many are on the screen or wait for it.
MOST = 32


class Slot:
    """One notification: what it should be (`note`, None: gone) and what it is."""

    def __init__(self) -> None:
        self.note: Note | None = None
        self.pressed: Callable[[str], None] | None = None
        self.gone: Callable[[], None] | None = None
        self.sent: Note | None = None
        self.waiting = False
        #: The server's number, and whose it is; 0 where the server knows nothing of it (any more).
        self.id = 0
        self.server = ""
        self.open = False
        self.tries = 0
        self.due = float("inf")


class Screen:
    """See the module.

    Args:
        session: The session's bus.
    """

    def __init__(self, session: Connection, clock: Callable[[], float] = monotonic) -> None:
        self._bus = session
        self._clock = clock
        self._slots: dict[str, Slot] = {}
        #: What the server can, None if it has not said it.
        self._can: frozenset[str] | None = None
        self._asking = False
        self._server = ""
        session.watch(NAME, self._other)
        for member, heard in (("ActionInvoked", self._invoked), ("NotificationClosed", self._closed)):
            session.match(MatchRule(type="signal", sender=NAME, interface=NAME, path=PATH, member=member), heard)
        session.on_up.append(self._show_all)

    def show(
        self,
        key: str,
        note: Note,
        pressed: Callable[[str], None] | None = None,
        gone: Callable[[], None] | None = None,
    ) -> None:
        """Shows something, in the place of what is there under that key.

        Args:
            pressed: Is called with the key of an action that was invoked.
            gone: Is called when the person has closed it, or it has expired; not if there is another server.
        """
        slot = self._slots.pop(key, None) or Slot()
        self._slots[key] = slot  # the latest is last
        slot.note, slot.pressed, slot.gone, slot.tries = note, pressed, gone, 0
        if len(self._slots) > MOST:
            # What nobody has to answer goes first.
            least = min(self._slots, key=lambda other: self._slots[other].pressed is not None)
            self._drop(least, self._slots[least])
        self._send(key, slot)

    def close(self, key: str) -> None:
        """Takes something off the screen, if it is there."""
        slot = self._slots.get(key)
        if slot is not None:
            self._drop(key, slot)

    def _drop(self, key: str, slot: Slot) -> None:
        if self._slots.get(key) is slot:
            del self._slots[key]
        slot.note = slot.pressed = slot.gone = None
        if slot.open and not slot.waiting:
            self._bus.send(new_method_call(SERVER, "CloseNotification", "u", (slot.id,)))

    def shows(self, key: str) -> bool:
        """Whether something is on the screen under that key, or on its way there."""
        slot = self._slots.get(key)
        return slot is not None and slot.note is not None and (slot.open or slot.waiting or slot.due < float("inf"))

    def wait(self, now: float) -> float:
        """Seconds until something is to be tried again."""
        return max(0.0, min((slot.due for slot in self._slots.values()), default=float("inf")) - now)

    def turn(self, now: float) -> None:
        """Tries again what is due."""
        for key, slot in list(self._slots.items()):
            if slot.due <= now:
                slot.due = float("inf")
                if slot.open and not slot.waiting:
                    # Some servers have hidden it without a word, and would never take it away again.
                    self._bus.send(new_method_call(SERVER, "CloseNotification", "u", (slot.id,)))
                    slot.open, slot.id = False, 0
                self._send(key, slot)

    # --- to the server --------------------------------------------------------------------------------------------

    def _show_all(self) -> None:
        """There is another server, or another bus: none knows anything of what the other has shown."""
        for key, slot in list(self._slots.items()):
            if slot.note is not None and not slot.waiting and not slot.open:
                self._send(key, slot)

    def _other(self, server: str) -> None:
        self._can, self._server = None, server
        for key, slot in list(self._slots.items()):
            if server and slot.server == server:
                continue  # it has shown it before we heard of it
            shown, slot.open, slot.id = slot.open, False, 0
            if shown and slot.note is not None and slot.note.timeout != STAYS and not slot.waiting:
                del self._slots[key]  # it would have been gone by itself
        if server:
            self._show_all()

    def _send(self, key: str, slot: Slot) -> None:
        if slot.waiting or slot.note is None:
            return  # when the answer is there
        if not self._bus.up:
            return  # it is shown when there is a bus
        slot.waiting = True
        if self._can is not None:
            self._notify(key, slot)
        elif not self._asking:
            self._ask()

    def _ask(self) -> None:
        """Asks the server what it can."""
        self._asking, asked = True, self._server
        message = new_method_call(SERVER, "GetCapabilities")
        self._bus.call(message, lambda answer: self._answered(asked, answer), self._clock(), PATIENCE)

    def _answered(self, asked: str, message: Message | None) -> None:
        self._asking = False
        body = _answer(message, "as")
        if body:
            self._can = frozenset(body[0])
        elif self._server not in ("", asked):
            self._ask()  # it is another one by now
            return
        for key, slot in list(self._slots.items()):
            if slot.waiting and slot.sent is None:
                self._notify(key, slot)

    def _notify(self, key: str, slot: Slot) -> None:
        assert slot.note is not None  # or it would be in no slot
        note, can = slot.note, self._can or frozenset()
        slot.sent = note
        has_actions = "actions" in can and bool(note.actions)
        body = note.body if has_actions or not note.otherwise else f"{note.body}\n{note.otherwise}"
        if self._can is None or "body-markup" in can:
            body = escape(body)
        hints = {"urgency": ("y", note.urgency), "category": ("s", "device.warning")}
        if note.actions:
            hints["resident"] = ("b", True)
        words = (
            "okoomer", slot.id if slot.open else 0, note.icon, note.summary, body,
            list(note.actions) if has_actions else [], hints, note.timeout,
        )  # fmt: skip
        message = new_method_call(SERVER, "Notify", "susssasa{sv}i", words)
        self._bus.call(message, lambda answer: self._shown(key, slot, answer), self._clock(), LONG_PATIENCE)

    def _shown(self, key: str, slot: Slot, message: Message | None) -> None:
        sent, slot.sent, slot.waiting = slot.sent, None, False
        body = _answer(message, "u")
        slot.open = bool(body)
        slot.id, slot.server = (body[0], _sender(message)) if body else (0, "")
        if slot.note is None:
            self._drop(key, slot)
        elif slot.note is not sent:
            self._send(key, slot)
        elif slot.open:
            slot.tries, slot.due = 0, float("inf")
        elif slot.note.timeout != STAYS:
            del self._slots[key]  # too late to matter
        else:
            slot.tries += 1
            # At once, too: it may be another server by now.
            if slot.tries < TRIES:
                slot.due = self._clock() + (PAUSE if slot.tries > 1 else 0.0)

    # --- from the server ------------------------------------------------------------------------------------------

    def _find(self, message: Message) -> tuple[str, Slot] | None:
        for key, slot in self._slots.items():
            if slot.id and (slot.id, slot.server) == (message.body[0], _sender(message)):
                return key, slot
        return None

    def _invoked(self, message: Message) -> None:
        if message.header.fields.get(HeaderFields.signature) != "us" or not (found := self._find(message)):
            return
        _, slot = found
        word = message.body[1]
        if word == DEFAULT:
            # It changes nothing, so it stays, also where a server closes whatever was clicked on: before or after.
            slot.due = self._clock() + (SOON if slot.open else 0.0)
        elif slot.pressed and slot.note is not None and word in slot.note.actions[::2]:
            slot.pressed(word)

    def _closed(self, message: Message) -> None:
        if message.header.fields.get(HeaderFields.signature) != "uu" or not (found := self._find(message)):
            return
        key, slot = found
        slot.open = False
        if slot.waiting:
            return  # it is being shown anew
        if slot.pressed is None:
            self._slots.pop(key)
        if slot.gone:
            slot.gone()


def _answer(message: Message | None, signature: str) -> tuple[Any, ...]:
    """The body of an answer of that form; nothing of any other, or of none."""
    if message is None or message.header.message_type is not MessageType.method_return:
        return ()
    return message.body if message.header.fields.get(HeaderFields.signature) == signature else ()


def _sender(message: Message) -> str:
    sender: Any = message.header.fields.get(HeaderFields.sender, "")
    return str(sender)
