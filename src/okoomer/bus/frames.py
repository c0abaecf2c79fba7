"""Cutting what comes from a bus into messages, and reading a message's head without its body: that is cheap, and who
sent it decides whether the rest is worth the time."""

from __future__ import annotations

from _struct import Struct

from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: A header no longer than this is the least that tells how long a message is, in bytes.
HEAD = 16
CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
#: A flag: whoever calls wants no answer.
NO_REPLY = 1
#: The fields of a header (D-Bus specification, "Header Fields").
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE, UNIX_FDS = range(1, 10)
_LENGTHS = {ord("l"): Struct("<4xI4xI"), ord("B"): Struct(">4xI4xI")}
_SERIALS = {ord("l"): Struct("<8xII"), ord("B"): Struct(">8xII")}
_NUMBERS = {ord("l"): Struct("<I"), ord("B"): Struct(">I")}
#: What values of fields are: a signature, a number, text.
_SHORT, _NUMBER, _TEXTS = ord("g"), ord("u"), (ord("s"), ord("o"))


class Head(Record):
    """A message without its body: its kind, flags and serial number, and the header's fields by their number."""

    kind: int
    flags: int
    serial: int
    fields: dict[int, Any]

    @property
    def sender(self) -> str:
        return str(self.fields.get(SENDER, ""))

    @property
    def path(self) -> str:
        return str(self.fields.get(PATH, ""))

    @property
    def interface(self) -> str:
        return str(self.fields.get(INTERFACE, ""))

    @property
    def member(self) -> str:
        return str(self.fields.get(MEMBER, ""))

    @property
    def signature(self) -> str:
        return str(self.fields.get(SIGNATURE, ""))


class Frames:
    """Cuts a stream into messages, and drops what is longer than one to us has to be.

    Args:
        longest: The bytes of such a message.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._data = bytearray()
        self._skip = 0

    def add(self, data: bytes) -> list[bytes]:
        """The messages that are complete now.

        Raises:
            ValueError: This is no bus.
        """
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._data += data[skipped:]
        found = []
        while len(self._data) >= HEAD:
            lengths = _LENGTHS.get(self._data[0])
            if lengths is None:
                raise ValueError("what comes from the bus is no message")
            body, fields = lengths.unpack_from(self._data)
            length = HEAD + fields + -fields % 8 + body
            if length > self._longest:
                held = min(length, len(self._data))
                self._skip = length - held
                del self._data[:held]
            elif len(self._data) < length:
                break
            else:
                found.append(bytes(self._data[:length]))
                del self._data[:length]
        return found


def head(raw: bytes) -> Head:
    """The head of a whole message.

    Raises:
        ValueError: It has none that makes sense.
    """
    try:
        order = raw[0]
        number = _NUMBERS[order].unpack_from
        serial, length = _SERIALS[order].unpack_from(raw)
        fields: dict[int, Any] = {}
        at, end = HEAD, HEAD + length
        while at < end:
            at += -at % 8
            code, kind = raw[at], raw[at + 2]
            if raw[at + 1] != 1:
                raise ValueError("a field of a header that is no plain value")
            at += 4
            if kind == _SHORT:
                size = raw[at]
                at += 1
            else:
                (size,) = number(raw, at)
                at += 4
            if kind == _NUMBER:
                fields[code] = size
                continue
            if kind != _SHORT and kind not in _TEXTS:
                raise ValueError("a field of a header of an unknown type")
            if at + size > end:
                raise ValueError("a field of a header that is longer than the header")
            fields[code] = raw[at : at + size].decode()
            at += size + 1
        return Head(raw[1], raw[2], serial, fields)
    except (IndexError, KeyError, ArithmeticError) as error:
        raise ValueError("a message without a head") from error
    except Exception as error:
        if isinstance(error, ValueError):
            raise
        raise ValueError("a message without a head") from error  # struct.error, which is no ValueError
