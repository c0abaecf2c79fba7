"""A notification server with buttons and nobody before it: what is shown, and closed, is said and written to a file, a
line of JSON each; a key that is written to the FIFO of the same name with `.press` is pressed."""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, "/opt/okoomer/lib")

from jeepney import (  # type: ignore[import-untyped]
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    new_method_return,
    new_signal,
)
from jeepney.bus_messages import message_bus  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]

NAME, PATH = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
ITSELF = DBusAddress(PATH, NAME, NAME)


class Screen:
    def __init__(self, bus: DBusConnection, file: Path) -> None:
        self._bus = bus
        self._file = file
        self._last = 0
        self._open: dict[int, tuple[str, list[str]]] = {}  # who wants to know, and the keys

    def answer(self, message: Message) -> None:
        if message.header.message_type is not MessageType.method_call:
            return
        fields = message.header.fields
        sender = fields[HeaderFields.sender]
        reply: tuple[str | None, tuple[object, ...]]
        match fields[HeaderFields.member], message.body:
            case "GetCapabilities", _:
                reply = ("as", (["actions", "body"],))
            case "GetServerInformation", _:
                reply = ("ssss", ("screen", "test", "1", "1.2"))
            case "Notify", (app, replaces, _, summary, body, actions, _, timeout):
                if replaces not in self._open:
                    self._last += 1
                number = replaces if replaces in self._open else self._last
                self._open[number] = (sender, actions[::2])
                self._say(shown=number, app=app, summary=summary, body=body, actions=actions, timeout=timeout)
                reply = ("u", (number,))
            case "CloseNotification", (number,):
                self._close(number, 3)
                reply = (None, ())
            case _:
                return
        self._bus.send(new_method_return(message, *reply))

    def press(self, key: str) -> None:
        for number in sorted(self._open, reverse=True):
            sender, keys = self._open[number]
            if key in keys:
                self._say(pressed=number, key=key)
                self._tell(sender, "ActionInvoked", "us", (number, key))
                self._close(number, 2)
                return
        self._say(nobody_has=key)

    def _close(self, number: int, reason: int) -> None:
        if number in self._open:
            sender, _ = self._open.pop(number)
            self._say(closed=number, reason=reason)
            self._tell(sender, "NotificationClosed", "uu", (number, reason))

    def _tell(self, whom: str, signal: str, signature: str, body: tuple[object, ...]) -> None:
        message = new_signal(ITSELF, signal, signature, body)
        message.header.fields[HeaderFields.destination] = whom
        self._bus.send(message)

    def _say(self, **what: object) -> None:
        line = json.dumps(what)
        print(line, flush=True)
        with self._file.open("a") as file:
            file.write(f"{line}\n")


def main() -> None:
    file = Path(sys.argv[1])
    os.mkfifo(f"{file}.press", 0o600)
    presses = os.open(f"{file}.press", os.O_RDWR | os.O_NONBLOCK)
    with open_dbus_connection("SESSION", auth_timeout=60) as bus:
        screen = Screen(bus, file)
        bus.send_and_get_reply(message_bus.RequestName(NAME))
        while True:
            try:
                screen.answer(bus.receive(timeout=0.1))
            except TimeoutError:
                pass
            try:
                keys = os.read(presses, 4096).decode().split()
            except BlockingIOError:
                continue
            for key in keys:
                screen.press(key)


main()
