r"""POSIX extended regular expressions, as regcomp(3) of the GNU library takes them in the C locale, as Python's.

They look alike and are not: a backslash between brackets is itself, `[[:digit:]]` is a class, `a**` is allowed and
`*a` is not, `a*?` is no lazy repetition, `\<` begins a word and `\d` is a d. A pattern that is meant for the one and
given to the other mostly works, and sometimes names the wrong process. Where that library counts bytes, characters are
counted here: `.` is one whole letter of any alphabet.
"""

from __future__ import annotations

_DIGIT, _UPPER, _LOWER = "0-9", "A-Z", "a-z"
#: What each class holds in the C locale, as the inside of Python's brackets.
CLASSES = {
    "alpha": _UPPER + _LOWER,
    "digit": _DIGIT,
    "alnum": _DIGIT + _UPPER + _LOWER,
    "upper": _UPPER,
    "lower": _LOWER,
    "space": r"\x09-\x0d\x20",
    "blank": r"\x09\x20",
    "punct": r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    "print": r"\x20-\x7e",
    "graph": r"\x21-\x7e",
    "cntrl": r"\x00-\x1f\x7f",
    "xdigit": _DIGIT + "A-Fa-f",
}
#: The most repetitions that the library takes.
MOST = 32767
#: Groups within each other; more would exhaust the stack.
DEEPEST = 50

_WORD = "[0-9A-Za-z_]"
#: What matches a place rather than a character.
_PLACES = {
    "^": "^",
    "$": r"\Z",
    r"\`": r"\A",
    r"\'": r"\Z",
    r"\<": f"(?<!{_WORD})(?={_WORD})",
    r"\>": f"(?<={_WORD})(?!{_WORD})",
    r"\b": f"(?:(?<!{_WORD})(?={_WORD})|(?<={_WORD})(?!{_WORD}))",
    r"\B": f"(?:(?<!{_WORD})(?!{_WORD})|(?<={_WORD})(?={_WORD}))",
}
#: Short names of classes.
_CLASSES = {
    r"\w": _WORD,
    r"\W": "[^0-9A-Za-z_]",
    r"\s": f"[{CLASSES['space']}]",
    r"\S": f"[^{CLASSES['space']}]",
}


class NotAnExpression(ValueError):
    """The text is no extended regular expression: what is wrong, and `column` where, from 1."""

    def __init__(self, problem: str, column: int) -> None:
        super().__init__(f"{problem} at character {column}")
        self.column = column


def python(expression: str) -> str:
    """The Python pattern that is found in the same texts.

    Raises:
        NotAnExpression: The library would not take it.
    """
    reader = _Reader(expression)
    pattern = reader.alternatives(0)
    # Python's dot spares the end of a line; the library's does not.
    return "(?s)" + pattern if reader.dots else pattern


class _Reader:
    """Reads an expression from left to right; each method takes a part of it and gives Python's."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._groups = 0
        #: Groups that are complete where we are, so that they can be referred to.
        self._complete: frozenset[int] = frozenset()
        self.dots = False

    def alternatives(self, depth: int) -> str:
        """All up to the end, or within a group up to its end."""
        before, found, branches = self._complete, self._complete, []
        while True:
            self._complete = before
            branches.append(self._branch(depth))
            found |= self._complete
            if not self._take("|"):
                break
        self._complete = found
        return "|".join(branches)

    def _branch(self, depth: int) -> str:
        parts = []
        while self._at < len(self._text) and not self._sees("|") and not (depth and self._sees(")")):
            parts.append(self._repeated(depth))
        return "".join(parts)

    def _repeated(self, depth: int) -> str:
        token = self._token()
        if token in _PLACES:
            return _PLACES[token]
        if token in ("*", "+", "?", "{"):
            raise self._error("nothing to repeat", -1)
        part = self._one(token, depth)
        repeats, count = self._repetition(), 1
        while following := self._repetition():
            if len(repeats) == 1 and len(following) == 1:
                # Each within the other would be a matter of 2**n ways for the same.
                repeats = repeats if repeats == following else "*"
                continue
            # Python would take a second sign for a lazy or a possessive repetition.
            part, repeats, count = f"(?:{part}{repeats})", following, count + 1
            if count > DEEPEST:
                raise self._error(f"more than {DEEPEST} repetitions of one part")
        return part + repeats

    def _one(self, token: str, depth: int) -> str:
        if token == "(":
            return self._group(depth)
        if token == "[":
            return self._brackets()
        if token == ".":
            self.dots = True
            return "."
        if token in _CLASSES:
            return _CLASSES[token]
        if token[0] == "\\":
            if len(token) == 1:
                raise self._error("a backslash at the end", -1)
            if token[1] in "123456789":
                if int(token[1]) not in self._complete:
                    raise self._error(f"{token} refers to no group before it", -2)
                # A digit may follow.
                return f"(?:{token})"
        return _literal(token[-1])

    def _group(self, depth: int) -> str:
        start = self._at
        if depth >= DEEPEST:
            raise self._error(f"more than {DEEPEST} groups within each other", -1)
        self._groups += 1
        number = self._groups
        inside = self.alternatives(depth + 1)
        if not self._take(")"):
            raise self._error("a ( without its )", start - 1 - self._at)
        if number < 10:
            self._complete |= {number}
        return f"({inside})"

    def _repetition(self) -> str:
        for sign in "*+?":
            if self._take(sign):
                return sign
        if not self._take("{"):
            return ""
        start = self._at
        least = self._number()
        most = least
        if self._take_comma():
            most = self._number()
            least = least or 0
        elif least is None:
            raise self._interval(start)
        if not self._take("}"):
            raise self._interval(start)
        if most is not None and least is not None and least > most:
            raise self._error("repetitions from more to fewer", start - self._at)
        if (least if most is None else most or 0) > MOST:
            raise self._error(f"more than {MOST} repetitions", start - self._at)
        return f"{{{least}}}" if most == least else f"{{{least},{'' if most is None else most}}}"

    def _interval(self, start: int) -> NotAnExpression:
        return self._error("not a number of repetitions, such as {2} or {1,3}", start - self._at)

    def _number(self) -> int | None:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] in "0123456789":
            self._at += 1
        # So many digits are too many whatever they are, and a number of any length takes its time.
        return min(int(self._text[start : self._at][:20]), 10 * MOST) if self._at > start else None

    def _take_comma(self) -> bool:
        return self._take(",") or self._take("\\,")

    # --- between brackets ---------------------------------------------------------------------------------------

    def _brackets(self) -> str:
        start = self._at
        negated, items, first = self._take("^"), [], True
        while first or not self._take("]"):
            left, is_class = self._element(start, first)
            first = False
            if self._sees("-") and self._text[self._at + 1 : self._at + 2] not in ("", "]"):
                self._at += 1
                right, right_is_class = self._element(start, True)
                if is_class or right_is_class or left > right:
                    raise self._error("not a range", -1)
                items.append(f"{_inside(left)}-{_inside(right)}")
            else:
                items.append(left if is_class else _inside(left))
        return f"[{'^' if negated else ''}{''.join(items)}]"

    def _element(self, start: int, hyphen: bool) -> tuple[str, bool]:
        """One character, or the inside of a class and True. A hyphen is one where it is allowed, and before the end."""
        if self._at >= len(self._text):
            raise self._unclosed(start)
        for kind in ":.=":
            if self._take("[" + kind):
                return self._named(kind, start)
        char = self._text[self._at]
        self._at += 1
        if char == "-" and not hyphen and not self._sees("]"):
            raise self._unclosed(start) if self._at >= len(self._text) else self._error("not a range", -1)
        return char, False

    def _named(self, kind: str, start: int) -> tuple[str, bool]:
        end = self._text.find(kind + "]", self._at)
        if end < 0:
            raise self._unclosed(start)
        name, self._at = self._text[self._at : end], end + 2
        if kind == ":":
            if name not in CLASSES:
                raise self._error(f"unknown class {name!r}, one of {', '.join(CLASSES)}", -2 - len(name))
            return CLASSES[name], True
        if len(name) != 1:
            raise self._error(f"{name!r} is not one character", -2 - len(name))
        return (_inside(name), True) if kind == "=" else (name, False)

    def _unclosed(self, start: int) -> NotAnExpression:
        return self._error("a [ without its ]", start - 1 - self._at)

    # --- reading ------------------------------------------------------------------------------------------------

    def _token(self) -> str:
        length = 2 if self._text[self._at] == "\\" else 1
        token = self._text[self._at : self._at + length]
        self._at += len(token)
        return token

    def _sees(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _take(self, text: str) -> bool:
        found = self._sees(text)
        if found:
            self._at += len(text)
        return found

    def _error(self, problem: str, offset: int = 0) -> NotAnExpression:
        return NotAnExpression(problem, self._at + offset + 1)


def _literal(char: str) -> str:
    return char if char.isalnum() or char in "_-/ ,:;=@!%<>\"'~`" or ord(char) > 127 else "\\" + char


def _inside(char: str) -> str:
    """A character between Python's brackets."""
    if char.isalnum() or char in "_./ ,:;=@!%<>+*?$(){}\"'`" or ord(char) > 127:
        return char
    return f"\\x{ord(char):02x}" if ord(char) < 32 else "\\" + char
