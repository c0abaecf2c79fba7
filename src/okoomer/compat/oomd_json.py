"""JSON with comments as in C++, as oomd's reader takes it, and the place of everything in it.

A key for the second time, what follows the end, and half a character are errors here: that reader lets them through.
"""

from __future__ import annotations

import re

from okoomer.policy.source import Text
from okoomer.record import Record

#: Lists and objects within each other; more would exhaust the stack.
DEEPEST = 50

_SPACE = re.compile(r"(?:[ \t\r\n\ufeff]|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.])")
_WORD = re.compile(r"[^\s,:\[\]{}\"]+")
#: What stands in a string: a character, or an escape.
_WRITTEN = re.compile(r"\\u([0-9a-fA-F]{4})|\\([^u])|([^\\\x00-\x1f])")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

OBJECT, ARRAY, STRING, NUMBER, TRUTH, NULL = "an object", "a list", "a text", "a number", "true or false", "null"
#: Kinds of values that are one word; oomd takes each as a text.
PLAIN = (STRING, NUMBER, TRUTH)


class Node(Record):
    """A value: its kind and what it covers; of a string, the characters that it stands for, each with its place.

    Of an object `items` are the values and `keys` their names, of a list `items` are what is in it.
    """

    kind: str
    text: Text
    items: tuple[Node, ...] = ()
    keys: tuple[Text, ...] = ()

    def get(self, name: str) -> Node | None:
        """The value of an object's key, if it is there."""
        for key, item in zip(self.keys, self.items, strict=True):
            if key.value == name:
                return item
        return None


def read(source: str, file: str) -> Node:
    """The value that a text stands for.

    Raises:
        PolicyError: It is not JSON.
    """
    whole = Text(file, source, source, range(len(source) + 1))
    reader = _Reader(whole)
    node = reader.value(0)
    reader.skip()
    if reader.place < len(source):
        raise reader.here().error("more after the end", "one object and nothing after it")
    return node


class _Reader:
    """Reads a text from its beginning on; `place` is how far it has come."""

    def __init__(self, whole: Text) -> None:
        self.whole, self.source = whole, whole.value
        self.place = 0

    def value(self, depth: int) -> Node:
        self.skip()
        character = self.source[self.place : self.place + 1]
        if depth > DEEPEST:
            raise self.here().error("too much within each other", f"at most {DEEPEST} lists and objects in each other")
        if character == "{":
            return self._object(depth)
        if character == "[":
            return self._array(depth)
        if character == '"':
            return Node(STRING, self._string())
        start = self.place
        if number := _NUMBER.match(self.source, start):
            self.place = number.end()
            return Node(NUMBER, self.whole.part(start, self.place))
        word = self.here()
        kind = {"true": TRUTH, "false": TRUTH, "null": NULL}.get(word.value)
        if kind is None:
            raise word.error("not a value" if word.value else "the text ends too early", 'a value, such as "10"')
        self.place = start + len(word.value)
        return Node(kind, word)

    def skip(self) -> None:
        """Goes on to the next that is neither blank nor comment."""
        found = _SPACE.match(self.source, self.place)
        assert found
        self.place = found.end()
        if self.source.startswith("/*", self.place):
            raise self.whole.part(self.place, self.place + 2).error("a comment that does not end", "*/ after it")

    def here(self) -> Text:
        """The word or sign that comes next, empty at the end."""
        found = _WORD.match(self.source, self.place)
        return self.whole.part(self.place, found.end() if found else min(self.place + 1, len(self.source)))

    def _object(self, depth: int) -> Node:
        start = self.place
        self.place += 1
        keys: dict[str, Text] = {}
        items: list[Node] = []
        while not self._closed("}", bool(keys), 'a key in quotes, such as "name"'):
            if self.source[self.place] != '"':
                raise self.here().error("not a key", 'a key in quotes, such as "name"')
            key = self._string()
            if key.value in keys:
                line = keys[key.value].line
                raise key.error("a key for the second time", f"each key once (line {line} has this one)")
            keys[key.value] = key
            self.skip()
            if not self.source.startswith(":", self.place):
                raise self.here().error("a key without a value", "a colon and a value after the key")
            self.place += 1
            items.append(self.value(depth + 1))
        return Node(OBJECT, self.whole.part(start, self.place), tuple(items), tuple(keys.values()))

    def _array(self, depth: int) -> Node:
        start = self.place
        self.place += 1
        items: list[Node] = []
        while not self._closed("]", bool(items), "a value"):
            items.append(self.value(depth + 1))
        return Node(ARRAY, self.whole.part(start, self.place), tuple(items))

    def _closed(self, sign: str, begun: bool, expected: str) -> bool:
        """Whether a list or object ends here; otherwise goes on to what comes next in it. A comma before the end is
        fine, as it is for oomd."""
        self.skip()
        comma = begun and self.source.startswith(",", self.place)
        if comma:
            self.place += 1
            self.skip()
        if self.source.startswith(sign, self.place):
            self.place += 1
            return True
        if self.place >= len(self.source):
            raise self.here().error("the text ends too early", f"{expected} or {sign}")
        if begun and not comma:
            raise self.here().error("out of place", f"a comma or {sign}")
        return False

    def _string(self) -> Text:
        start = self.place + 1
        value, places, place = [], [], start
        while not self.source.startswith('"', place):
            written = _WRITTEN.match(self.source, place)
            if not written:
                end = place >= len(self.source) or self.source[place] == "\n"
                spot = self.whole.part(start - 1 if end else place, place + (not end))
                raise spot.error("a text that does not end" if end else "not part of a text", 'a " at its end')
            character, end_of = self._character(written)
            value.append(character)
            places.append(place)
            place = end_of
        self.place = place + 1
        return Text(self.whole.file, self.source, "".join(value), [*places, place])

    def _character(self, written: re.Match[str]) -> tuple[str, int]:
        """What is written somewhere in a string, and where it ends."""
        if written[3]:
            return written[3], written.end()
        spot = self.whole.part(written.start(), written.end())
        if written[2]:
            if written[2] not in _ESCAPES:
                raise spot.error("unknown escape", "one of " + " ".join("\\" + sign for sign in _ESCAPES) + " \\u")
            return _ESCAPES[written[2]], written.end()
        code, end = int(written[1], 16), written.end()
        if 0xD800 <= code < 0xDC00:
            low = _WRITTEN.match(self.source, end)
            if low and low[1] and 0xDC00 <= int(low[1], 16) < 0xE000:
                return chr(0x10000 + ((code - 0xD800) << 10) + int(low[1], 16) - 0xDC00), low.end()
        if 0xD800 <= code < 0xE000:
            raise spot.error("half a character", "both halves, one after the other")
        return chr(code), end
