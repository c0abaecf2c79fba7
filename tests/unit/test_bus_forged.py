"""Answers that somebody else sends: a session's bus passes them on, and the numbers of calls can be guessed."""

from __future__ import annotations

import pytest
from jeepney import (  # type: ignore[import-untyped]
    DBusAddress,
    Endianness,
    Header,
    HeaderFields,
    Message,
    MessageType,
    new_method_call,
)

from okoomer.bus.connection import Connection
from okoomer.bus.daemon import BUS, bus_call

ASKED = bus_call("GetNameOwner", "s", ("org.freedesktop.Notifications",))
ONE = new_method_call(DBusAddress("/", bus_name=":1.7", interface="a.b"), "C")
NAMED = new_method_call(DBusAddress("/", bus_name="org.example.Name", interface="a.b"), "C")


def answer(kind: MessageType, serial: int, sender: str) -> bytes:
    fields = {HeaderFields.reply_serial: serial, HeaderFields.sender: sender, HeaderFields.signature: "s"}
    if kind is MessageType.error:
        fields[HeaderFields.error_name] = "org.example.Error"
    return bytes(Message(Header(Endianness.little, kind, 0, 1, -1, -1, fields), (sender,)).serialise(serial=9))


@pytest.mark.parametrize("kind", [MessageType.method_return, MessageType.error])
@pytest.mark.parametrize(
    ("call", "heard", "passed_over"),
    [(ASKED, (BUS,), (":1.9", "")), (ONE, (":1.7", BUS), (":1.9", "")), (NAMED, (":1.9", BUS), ())],
)
def test_only_who_was_asked_answers_or_the_bus_for_him(
    monkeypatch: pytest.MonkeyPatch,
    kind: MessageType,
    call: Message,
    heard: tuple[str, ...],
    passed_over: tuple[str, ...],
) -> None:
    for sender in heard:
        one = Connection("SESSION")
        one.up = True
        monkeypatch.setattr(one, "_write", lambda *_data: None)
        answers: list[Message | None] = []
        one.call(call, answers.append, 0.0)
        for other in passed_over:
            one._hear(answer(kind, 1, other), 0.0)
        assert not answers
        for _ in range(2):
            one._hear(answer(kind, 1, sender), 0.0)
        [found] = answers
        assert found and found.body == (sender,)
