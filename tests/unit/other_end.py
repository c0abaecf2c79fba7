"""A bus without a bus: whatever somebody calls, sends and hears goes to the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jeepney import (  # type: ignore[import-untyped]
    DBusAddress,
    HeaderFields,
    MatchRule,
    Message,
    new_error,
    new_method_return,
    new_signal,
)


class Bus:
    """A connection to a bus, at whose other end the test is.

    Args:
        name, path: Of whoever is spoken with.
    """

    #: The name that the bus gave us.
    unique = ":1.1"

    def __init__(self, name: str, path: str) -> None:
        self.name = self.unique
        self._theirs, self._path = name, path
        self.owned = ""
        self.up = True
        self.on_up: list[Callable[[], None]] = []
        self.on_down: list[Callable[[], None]] = []
        self.asked: list[tuple[Message, Callable[[Message | None], None]]] = []
        self.sent: list[Message] = []
        self.now = 0.0
        self._heard: list[tuple[MatchRule, Callable[[Message], None]]] = []
        self._changed: list[Callable[[str], None]] = []

    def match(self, rule: MatchRule, heard: Callable[[Message], None]) -> None:
        self._heard.append((rule, heard))

    def watch(self, _name: str, changed: Callable[[str], None]) -> None:
        self._changed.append(changed)

    def call(
        self, message: Message, answered: Callable[[Message | None], None], _now: float, _seconds: float = 5.0
    ) -> None:
        self.asked.append((message, answered))

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def owner(self, name: str) -> str:
        return self.owned if name == self._theirs else ""

    def becomes(self, unique: str) -> None:
        """The name has another owner."""
        self.owned = unique
        for changed in self._changed:
            changed(unique)

    def answer(self, signature: str, *body: Any, sender: str = ":1.5", error: str = "") -> Message:
        """Answers the oldest call that is open; the call."""
        message, answered = self.asked.pop(0)
        message.header.serial = 1
        reply = new_error(message, error) if error else new_method_return(message, signature, body)
        reply.header.fields[HeaderFields.sender] = sender
        answered(reply)
        return message

    def times_out(self) -> None:
        self.asked.pop(0)[1](None)

    def signal(
        self, member: str, signature: str, *body: Any, sender: str = ":1.5", interface: str = "", path: str = ""
    ) -> None:
        """Somebody sends a signal; who has asked only for those of the name's owner hears no other's."""
        message = new_signal(
            DBusAddress(path or self._path, interface=interface or self._theirs), member, signature, body
        )
        message.header.fields[HeaderFields.sender] = sender
        for rule, heard in self._heard:
            wanted = dict(rule.header_fields)
            if wanted.pop("sender", "") == self._theirs and sender != self.owned:
                continue
            if all(message.header.fields.get(HeaderFields[field]) == value for field, value in wanted.items()):
                heard(message)

    def open_calls(self) -> list[str]:
        return [message.header.fields[HeaderFields.member] for message, _ in self.asked]

    def closed(self) -> list[int]:
        return [message.body[0] for message in self.sent]
