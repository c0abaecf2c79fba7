"""A stream is cut into messages, heads are read without bodies, and how much of others' is looked at is bounded."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jeepney import (  # type: ignore[import-untyped]
    DBusAddress,
    Endianness,
    HeaderFields,
    Message,
    new_error,
    new_method_call,
    new_method_return,
    new_signal,
)

from okoomer.bus.frames import HEAD, NO_REPLY, SENDER, Frames, head
from okoomer.bus.quota import ALL, EACH, FEW, TOLD, Quota

LONGEST = 1 << 16
ADDRESS = DBusAddress("/a/b", bus_name="a.b", interface="c.d")


def message(length: int, order: str = "l") -> bytes:
    """A message of a bus, as far as its length goes."""
    body = (length - HEAD - 8).to_bytes(4, "little" if order == "l" else "big")
    fields = (5).to_bytes(4, "little" if order == "l" else "big")
    return order.encode() + bytes(3) + body + bytes(4) + fields + bytes(length - HEAD)


@pytest.mark.parametrize("piece", [1, 7, 15, 16, 17, 1000, 1 << 20])
def test_a_stream_is_cut_into_messages_and_too_long_ones_are_dropped(piece: int) -> None:
    wanted = [message(24), message(40, "B"), message(LONGEST), message(32)]
    stream = wanted[0] + message(LONGEST + 8) + wanted[1] + wanted[2] + message(3 * LONGEST, "B") + wanted[3]
    frames, found = Frames(LONGEST), []
    for start in range(0, len(stream), piece):
        found += frames.add(stream[start : start + piece])
    assert found == wanted


def test_what_is_no_bus_is_left() -> None:
    with pytest.raises(ValueError, match="no message"):
        Frames(LONGEST).add(b"HTTP/1.1 400 Bad Request\r\n")


CALL = new_method_call(ADDRESS, "Member", "su", ("text", 5))
CALL.header.serial = 9
MESSAGES = {
    "call": CALL,
    "call without a body": new_method_call(DBusAddress("/", bus_name="a.b"), "M"),
    "signal": new_signal(ADDRESS, "Signal", "a{sv}", ({"x": ("as", ["y"])},)),
    "answer": new_method_return(CALL, "t", (1 << 60,)),
    "error": new_error(CALL, "a.b.Error", "s", ("why",)),
}


@pytest.mark.parametrize("order", [Endianness.little, Endianness.big])
@pytest.mark.parametrize("name", MESSAGES)
def test_a_head_is_read_as_the_library_reads_it(name: str, order: Endianness) -> None:
    sent: Message = MESSAGES[name]
    sent.header.endianness = order
    sent.header.fields[HeaderFields.sender] = ":1.42"
    raw = sent.serialise(serial=77)
    header, one = Message.from_buffer(raw).header, head(raw)
    assert (one.kind, one.flags, one.serial) == (header.message_type.value, header.flags, 77)
    assert one.fields == {int(key): value for key, value in header.fields.items()}
    assert one.sender == ":1.42"
    assert one.signature == header.fields.get(HeaderFields.signature, "")


@given(st.data())
def test_damage_in_a_head_is_an_error_that_is_known(data: st.DataObject) -> None:
    raw = bytearray(CALL.serialise(serial=1))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        one = head(cut)
    except ValueError:
        return
    assert isinstance(one.sender, str) and isinstance(one.path, str) and isinstance(one.flags & NO_REPLY, int)


def test_a_sender_cannot_be_put_into_another_field() -> None:
    # A field that nobody knows, with what looks like the field of a sender in its text.
    forged = b"\x07\x01s\x00" + struct.pack("<I", 4) + b":1.1\0"
    text = b"xxxxx\0\0\0" + forged
    field = struct.pack("<BB", 100, 1) + b"s\0" + struct.pack("<I", len(text)) + text + b"\0"
    field += bytes(-len(field) % 8)
    true = struct.pack("<BB", SENDER, 1) + b"s\0" + struct.pack("<I", 4) + b":1.9\0"
    fields = field + true
    raw = b"l\4\0\1" + struct.pack("<III", 0, 5, len(fields)) + fields
    raw += bytes(-len(raw) % 8)
    assert head(raw).sender == ":1.9"


def test_one_senders_flood_is_cut_off_and_another_is_heard() -> None:
    quota = Quota()
    assert sum(quota.admits(":1.1", 100, 5.0) for _ in range(10_000)) == EACH
    assert quota.admits(":1.2", 100, 5.5)
    assert quota.admits(":1.1", 100, 6.0), "the next second is another one"
    assert sum(quota.tells() for _ in range(1000)) == TOLD


def test_a_crowd_leaves_everybody_the_first_few() -> None:
    quota = Quota()
    taken = sum(quota.admits(f":1.{sender}", 100, 5.0) for sender in range(50) for _ in range(EACH))
    assert ALL <= taken <= ALL + 50 * FEW
    heard: list[Any] = [quota.admits(":1.99", 100, 5.9) for _ in range(EACH)]
    assert sum(heard) == FEW


def test_long_messages_count_more() -> None:
    quota = Quota()
    assert sum(quota.admits(":1.1", 100 * 1024, 5.0) for _ in range(100)) == EACH // 101
