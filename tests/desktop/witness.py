"""Who sees all that passes on a session's bus, and so knows what a notification server has on its screen."""

from __future__ import annotations

import threading
from typing import Any

from jeepney import HeaderFields, Message, MessageType  # type: ignore[import-untyped]
from jeepney.bus_messages import Monitoring  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]


class Witness:
    """See the module."""

    def __init__(self, address: str) -> None:
        self._connection: DBusConnection = open_dbus_connection(address, auth_timeout=60)
        self._connection.send_and_get_reply(Monitoring().BecomeMonitor([]), timeout=20)
        #: Calls of Notify that have no answer yet, by caller and serial number; and what is shown, by number.
        self._asked: dict[tuple[str, int], tuple[Any, ...]] = {}
        self._shown: dict[int, tuple[Any, ...]] = {}
        self._over = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def shown(self) -> dict[str, list[str]]:
        """What is on the screen: summaries, and the buttons of each."""
        return {words[3]: words[5][1::2] for words in list(self._shown.values())}

    def close(self) -> None:
        self._over = True
        self._thread.join()
        self._connection.close()

    def _watch(self) -> None:
        while not self._over:
            try:
                self._see(self._connection.receive(timeout=0.05))
            except TimeoutError:
                continue
            except OSError:
                return

    def _see(self, message: Message) -> None:
        fields, kind = message.header.fields, message.header.message_type
        member = fields.get(HeaderFields.member)
        if kind is MessageType.method_call and member == "Notify":
            self._asked[fields[HeaderFields.sender], message.header.serial] = message.body
        elif kind is MessageType.method_return:
            words = self._asked.pop((fields.get(HeaderFields.destination), fields[HeaderFields.reply_serial]), None)
            if words:
                self._shown[message.body[0]] = words
        elif kind is MessageType.signal and member == "NotificationClosed":
            self._shown.pop(message.body[0], None)
