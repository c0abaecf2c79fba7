"""A policy file with the place of everything in it.

tomllib says what TOML is; a grammar of our own (policy.lark) finds where each key and value of it stands. For
the short-lived front only.
"""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from collections.abc import Collection, Iterable, Sequence

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from okoomer.policy.error import PolicyError
from okoomer.record import Record

#: One character of a TOML string as it is written: itself or an escape; the end of a line can be escaped too.
_WRITTEN = re.compile(r"\\(?:x..|u.{4}|U.{8}|[ \t]*\n\s*|.)|.", re.DOTALL)


class Text(Record):
    """A piece of a policy file: what it says, and where.

    `places` has the offset in `source`, the whole file, of each character of `value` and of what comes next.
    """

    file: str
    source: str
    value: str
    places: Sequence[int]

    def part(self, start: int, end: int | None = None) -> Text:
        """What lies between two offsets in `value`."""
        end = len(self.value) if end is None else end
        return Text(self.file, self.source, self.value[start:end], self.places[start : end + 1])

    def of(self, node: Token | Tree[Token]) -> Text:
        """What a node of the syntax tree of `value` covers."""
        span = node if isinstance(node, Token) else node.meta
        return self.part(span.start_pos or 0, span.end_pos)

    @property
    def line(self) -> int:
        """The number of the line, from 1, in which it begins."""
        return self.source.count("\n", 0, self.places[0]) + 1

    def error(self, problem: str, expected: str) -> PolicyError:
        """An error that points at all of this text, or at its first line."""
        start, end = self.places[0], self.places[-1]
        begin = self.source.rfind("\n", 0, start) + 1
        line = self.source[begin:].partition("\n")[0]
        column, width = start - begin + 1, max(1, min(end, begin + len(line)) - start)
        return PolicyError(self.file, problem, self.value, expected, self.line, column, line, width)


class Value(Record):
    """The value of a key, as it stands in the whole text."""

    whole: Text
    node: Token | Tree[Token]

    @property
    def text(self) -> Text:
        """The value as it is written, quotes and all."""
        return self.whole.of(self.node)

    def string(self) -> Text:
        """A string's value, each character with its place.

        Raises:
            PolicyError: The value is not a string.
        """
        text = self.text
        if not (isinstance(self.node, Token) and self.node.type == "STRING"):
            raise text.error("not a string", 'a text in quotes, such as "2s"')
        quotes = text.value[:3] if text.value.startswith(('"""', "'''")) else text.value[0]
        body = text.part(len(quotes), len(text.value) - len(quotes))
        if len(quotes) == 3 and body.value.startswith("\n"):
            body = body.part(1)
        if quotes[0] == "'":
            return body
        value, places = [], []
        for written in _WRITTEN.finditer(body.value):
            character = written[0]
            if character[0] == "\\":
                character = tomllib.loads(f'_ = """{character}"""')["_"]
            value.append(character)
            places += [body.places[written.start()]] * len(character)
        return Text(body.file, body.source, "".join(value), [*places, body.places[-1]])

    def boolean(self) -> bool:
        """A truth value.

        Raises:
            PolicyError: The value is none.
        """
        text = self.text
        if text.value not in ("true", "false"):
            raise text.error("neither true nor false", "true or false, without quotes")
        return text.value == "true"

    def strings(self) -> list[Text]:
        """A list's values.

        Raises:
            PolicyError: The value is not a list of strings.
        """
        if isinstance(self.node, Token):
            raise self.text.error("not a list", 'texts in brackets, such as ["name:chrome"]')
        return [Value(self.whole, item).string() for item in self.node.children]


class Section(Record):
    """The keys of one table; `header` is where it begins."""

    header: Text
    pairs: list[tuple[Text, Value]]


#: The kinds of tables that a policy has, several of each.
TABLES = ("rule", "hook")


def sections(text: str, file: str) -> tuple[Section, dict[str, list[Section]]]:
    """The keys before the first table, and the tables of each kind with their keys.

    Raises:
        PolicyError: The text is not TOML, or has something that no policy has.
    """
    text = text.replace("\r\n", "\n")  # as tomllib does
    whole = Text(file, text, text, range(len(text) + 1))
    try:
        tomllib.loads(text)
    except RecursionError:
        raise whole.part(0, 0).error("lists within lists within lists", "lists of strings") from None
    except ValueError as error:
        raise _not_toml(whole, str(error)) from None
    try:
        tree = parser("policy").parse(text)
    except UnexpectedInput as error:
        rest = whole.part(error.pos_in_stream or 0)
        line = rest.part(0, len(rest.value.partition("\n")[0].rstrip()))
        expected = "plain keys, strings, lists of strings, [[rule]] and [[hook]]"
        raise line.error("nothing that a policy has", expected) from None

    top = current = Section(whole.part(0, 0), [])
    tables: dict[str, list[Section]] = {kind: [] for kind in TABLES}
    for statement in tree.children:
        assert isinstance(statement, Tree)
        key = whole.of(statement.children[0])
        if statement.data == "pair":
            current.pairs.append((key, Value(whole, statement.children[1])))
        elif statement.data == "tables" and key.value in tables:
            current = Section(whole.of(statement), [])
            tables[key.value].append(current)
        else:
            known = "[[rule]] or [[hook]], in two brackets as there may be several"
            meant = "" if key.value in tables else near(key.value, TABLES)
            raise whole.of(statement).error("not a table of a policy", known + meant)
    return top, tables


@functools.cache
def parser(start: str) -> Lark:
    """The parser of `policy` or `condition`."""
    return Lark.open("policy.lark", rel_to=__file__, start=start, parser="lalr", propagate_positions=True)


def near(word: str, names: Iterable[str]) -> str:
    """A hint at the name that was probably meant, or ''."""
    lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), lower, 1) if len(word) > 1 else []
    return f" (did you mean {lower[close[0]]}?)" if close else ""


def choice(text: Text, what: str, known: Collection[str], hint: str = "") -> str:
    """A word that must be one of those known.

    Args:
        text: The word.
        what: What it names, for people.
        known: What it may be.
        hint: What an error says behind those.

    Raises:
        PolicyError: It is none of them.
    """
    if text.value in known:
        return text.value
    raise text.error(f"unknown {what}", f"one of {', '.join(known)}{hint}{near(text.value, known)}")


def _not_toml(whole: Text, message: str) -> PolicyError:
    """tomllib's complaint at its place: (at line 3, column 7) or (at end of document), or at none."""
    problem, _, place = message.partition(" (at ")
    lines = whole.value.split("\n")
    if found := re.match(r"line (\d+), column (\d+)", place):
        row, column = int(found[1]) - 1, int(found[2]) - 1
    else:
        row = whole.value.rstrip().count("\n")
        column = len(lines[row])
    if not lines[row][column:].strip():
        # Nothing stands there: it is the line as a whole that is wrong.
        column = len(lines[row]) - len(lines[row].lstrip())
    start = sum(len(line) + 1 for line in lines[:row]) + column
    wrong = whole.part(start, start + len(lines[row][column:].rstrip()))
    return wrong.error(problem, "valid TOML (texts stand in quotes)")
