"""What other daemons announce on the system bus (net.nuetzlich.SystemNotifications), as systembus-notify shows it.
Anybody can send such a signal, so only the system's own users are heard, and not more than a person can read.

Whose a sender is can be asked only as long as it is there, and earlyoom's (dbus-send) has gone by then. So okoomer
brings a policy for the bus that lets only root and okoomer send these signals. Whether that is in force shows when we
try it ourselves: if our own signal does not come back, the bus vouches for those who have gone."""

from __future__ import annotations

from _collections import deque  # type: ignore[import-not-found]
from time import monotonic

from jeepney import (  # type: ignore[import-untyped]
    DBusAddress,
    HeaderFields,
    MatchRule,
    MessageType,
    new_signal,
)

from okoomer.bus.daemon import bus_call
from okoomer.desktop.okoomer import NAME
from okoomer.desktop.texts import foreign
from okoomer.people import PEOPLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jeepney import Message

    from okoomer.bus.connection import Connection
    from okoomer.desktop.screen import Screen

INTERFACE, MEMBER = "net.nuetzlich.SystemNotifications", "Notify"
#: So many are shown in so many seconds.
MOST, SECONDS = 10, 10.0
#: So many senders are asked about in that time; whoever else sends meanwhile is not heard.
SENDERS = 32
#: What okoomer calls itself there.
OWN = "okoomer"


class Others:
    """See the module.

    Args:
        system: The system bus. Who owns okoomer's name is watched there (see Okoomer): he tells us everything himself.
    """

    def __init__(self, system: Connection, screen: Screen, clock: Callable[[], float] = monotonic) -> None:
        self._bus = system
        self._screen = screen
        self._clock = clock
        #: Users by senders' unique names, which are never given to another; None while the bus is asked.
        self._users: dict[str, int | None] = {}
        #: Whether the bus lets only the system's own users send.
        self._vouched = False
        self._since = float("-inf")
        self._shown: deque[float] = deque(maxlen=MOST)
        self._count = 0
        system.match(MatchRule(type="signal", interface=INTERFACE, member=MEMBER), self._hear)
        system.on_up.append(self._try)

    def _try(self) -> None:
        self._users.clear()
        self._vouched = True
        probe = new_signal(DBusAddress("/", interface=INTERFACE), MEMBER)
        probe.header.fields[HeaderFields.destination] = self._bus.name
        self._bus.send(probe)

    def _hear(self, message: Message) -> None:
        now, fields = self._clock(), message.header.fields
        sender = fields.get(HeaderFields.sender, "")
        if sender == self._bus.name:
            self._vouched = False
            return
        if sender == self._bus.owner(NAME) or fields.get(HeaderFields.signature, "") not in ("", "s", "ss"):
            return
        if sender in self._users:
            user = self._users[sender]
            if user is not None:
                self._show(user, message, now)
            return  # what comes faster than the bus says whose it is comes too fast
        if now > self._since + SECONDS:
            self._users.clear()
            self._since = now
        if len(self._users) < SENDERS:
            self._users[sender] = None
            asked = bus_call("GetConnectionUnixUser", "s", (sender,))
            self._bus.call(asked, lambda answer: self._learnt(sender, message, answer), now)

    def _learnt(self, sender: str, message: Message, answer: Message | None) -> None:
        if answer is not None and answer.header.message_type is MessageType.method_return:
            self._users[sender] = answer.body[0]
            self._show(answer.body[0], message, self._clock())
        elif answer is not None and self._vouched:
            self._show(0, message, self._clock())

    def _show(self, user: int, message: Message, now: float) -> None:
        note = foreign(message.body) if user < PEOPLE else None
        if note is None or (self._bus.owner(NAME) and note.summary == OWN):
            return
        if len(self._shown) == MOST and now < self._shown[0] + SECONDS:
            return
        self._shown.append(now)
        self._count += 1
        self._screen.show(f"other {self._count}", note)
