"""Scopes as they are written: paths of cgroups with the wildcards of glob(3), separated by commas.

`*`, `?`, `[...]` and `[!...]` stand for something within one component of a path, `{a,b}` for one or the other, and a
backslash takes the meaning from what follows. A wildcard at the beginning of a component stands for no dot. Behind the
paths, `with user.NAME` leaves only cgroups that have this extended attribute. For the short-lived front only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, pairwise

from okoomer.policy.error import PolicyError
from okoomer.policy.model import Scope
from okoomer.policy.select import compile_pattern
from okoomer.policy.source import Text

#: Bytes of a file's name.
LONGEST = 255
#: Paths that the braces of one scope may stand for, and braces in it.
MOST_PATHS, MOST_BRACES = 256, 32

#: A character of a scope, with the backslash before it.
_WRITTEN = re.compile(r"\\.|.", re.DOTALL)
#: What stands behind the paths; a backslash before it makes it part of a name.
_WITH = re.compile(r"(?<![\\\s])\s+with\s+(\S+)\s*$")
_ATTRIBUTE = re.compile(r"(?:user|trusted)\.[^\s/,\\]{1,247}")
_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "punct": r"!-\/:-@\[-`{-~",
    "space": "\\s",
    "xdigit": "0-9a-fA-F",
}


def parse_scope(text: Text, relative: bool = False) -> Scope:
    """What a scope compiles to.

    Args:
        text: Globs, separated by commas, each a path from the root of the hierarchy; "/" is the root itself.
        relative: Whether the paths may begin with `./`, at the cgroup that the rule is about.

    Raises:
        PolicyError: It is not a scope, or names what can never be there.
    """
    if not text.value.isprintable():
        raise text.error("not a scope", "printable text on one line, such as system.slice/*")
    whole, tag = text.value, ""
    if found := _WITH.search(whole):
        named = text.part(*found.span(1))
        if relative:
            raise named.error("an attribute of those who are sought", "prefer or spare with tag:...")
        if not _ATTRIBUTE.fullmatch(named.value):
            raise named.error("not an extended attribute", "the name of one, such as user.restartable")
        text, tag = text.part(0, found.start()), named.value
    items = list(_items(text))
    if len(items) > 1:
        for item in items:
            if not item.value:
                raise item.error("no path between commas", "a path, or / for the root")
    paths: dict[tuple[tuple[str, bytes], ...], None] = {}
    begins: set[bool] = set()
    for item in items:
        here = item.value == "." or item.value.startswith("./")
        if here and not relative:
            raise item.error("a path that begins at a rule's cgroup", "one from the root here; ./ in among only")
        begins.add(here)
        if len(begins) > 1:
            raise item.error("paths from the root and from the rule's cgroup in one scope", "all with ./ or none")
        body = item.part(1) if here else item
        alternatives = list(islice(_alternatives(body), MOST_PATHS + 1 - len(paths)))
        paths |= dict.fromkeys(map(_path, alternatives))
        if len(paths) > MOST_PATHS:
            raise item.error("too many paths", f"at most {MOST_PATHS} in one scope")
    return Scope(whole, tuple(paths), True in begins, tag)


def scope_of(text: str, relative: bool = False) -> Scope:
    """What a scope compiles to that stands in no file.

    Raises:
        ValueError: It is not a scope; the error says why in a sentence.
    """
    try:
        return parse_scope(Text("", text, text, range(len(text) + 1)), relative)
    except PolicyError as error:
        raise ValueError(f"{error.problem}: {error.text!r}; expected {error.expected}") from None


def _items(text: Text) -> Iterator[Text]:
    """What stands between the commas that are not within braces, without blanks around it."""
    opened: list[int] = []
    braces = start = 0
    for written in _WRITTEN.finditer(text.value):
        place = written.start()
        if written[0] == "{":
            opened.append(place)
            braces += 1
        elif written[0] == "}":
            if not opened:
                raise text.part(place, place + 1).error("a brace that closes nothing", "a { before it")
            opened.pop()
        elif written[0] == "," and not opened:
            yield _trimmed(text.part(start, place))
            start = place + 1
        elif written[0] == "\\":
            raise text.part(place).error("a backslash before nothing", "what it takes the meaning from")
    if opened:
        raise text.part(opened[-1]).error("a brace that is not closed", "a } after it")
    if braces > MOST_BRACES:
        raise text.error("too many braces", f"at most {MOST_BRACES} in one scope")
    yield _trimmed(text.part(start))


def _trimmed(text: Text) -> Text:
    # A blank after a backslash is meant.
    inner = re.fullmatch(r" *((?:\\.|[^\\])*?) *", text.value, re.DOTALL)
    assert inner
    return text.part(*inner.span(1))


def _alternatives(text: Text) -> Iterator[Text]:
    """What a path with braces stands for; each is closed."""
    depth, cuts = 0, list[int]()
    for written in _WRITTEN.finditer(text.value):
        place = written.start()
        if written[0] == "{":
            depth += 1
            if depth == 1:
                cuts = [place]
        elif written[0] == "," and depth == 1:
            cuts.append(place)
        elif written[0] == "}":
            depth -= 1
            if not depth:
                cuts.append(place)
                break
    if not cuts:
        yield text
        return
    before, after = text.part(0, cuts[0]), text.part(cuts[-1] + 1)
    for start, end in pairwise(cuts):
        parts = (before, text.part(start + 1, end), after)
        places = [place for part in parts for place in part.places[:-1]]
        whole = Text(text.file, text.source, "".join(part.value for part in parts), [*places, after.places[-1]])
        yield from _alternatives(whole)


def _path(text: Text) -> tuple[tuple[str, bytes], ...]:
    value = text.value
    start, end = len(value) - len(value.lstrip("/")), len(value.rstrip("/"))
    if start >= end:
        return ()
    found = []
    for name in re.finditer(r"[^/]*(?:/|$)", value[start:end]):
        component = text.part(start + name.start(), start + name.start() + len(name[0].rstrip("/")))
        if not component.value and name.end() == end - start:
            break  # behind the last one
        found.append(_component(component))
    return tuple(found)


def _component(text: Text) -> tuple[str, bytes]:
    if not text.value:
        raise text.error("a path with nothing between two slashes", "one slash between two names")
    if text.value in (".", ".."):
        raise text.error("a path that goes elsewhere", "names of cgroups only")
    #: Pieces of the pattern between the stars, and the least that they match.
    pieces, length, plain = [""], 0, ""
    wild, place = False, 0
    while place < len(text.value):
        character = text.value[place]
        if character == "*":
            wild = True
            pieces += [""] if pieces[-1] or len(pieces) == 1 else []
            place += 1
            continue
        if character == "[":
            end, piece = _set(text, place)
        elif character == "?":
            end, piece = place + 1, "."
        else:
            end = place + (2 if character == "\\" else 1)
            piece = re.escape(text.value[end - 1])
            plain += text.value[end - 1]
        wild = wild or character in "[?"
        pieces[-1] += piece
        length += 1 if character in "[?" else len(text.value[end - 1].encode(errors="surrogateescape"))
        place = end
    if length > LONGEST:
        raise text.error("longer than a name can be", f"at most {LONGEST} bytes between two slashes")
    if not wild:
        return plain, b""
    # Each piece where it first fits, for good: no name, however it was made up, makes the search long.
    first, *rest = pieces
    pattern = first
    if rest:
        *between, last = rest
        pattern += "".join(f"(?>.*?{piece})" for piece in between) + f".*{last}"
    hidden = r"(?!\.)" if text.value[0] in "*?[" else ""
    return text.value, compile_pattern(f"(?s){hidden}{pattern}")


def _set(text: Text, start: int) -> tuple[int, str]:
    """Where a set of characters ends that begins with a bracket there, and the pattern for one of them."""
    body = re.compile(r"\[([!^]?)(\]?+(?:\[:\w*:\]|\\.|[^\]\\])*)\]", re.DOTALL).match(text.value, start)
    if not body:
        raise text.part(start).error("a bracket that is not closed", "a ] after it, or a backslash before it")
    members = ""
    last = ""  # the character that a range can begin with
    tokens = list(re.finditer(r"\[:(\w*):\]|(\\)?(.)", body[2], re.DOTALL))
    place = 0
    while place < len(tokens):
        token = tokens[place]
        place += 1
        if token[1] is not None:
            if token[1] not in _CLASSES:
                spot = text.part(body.start(2) + token.start(), body.start(2) + token.end())
                raise spot.error("unknown class of characters", f"one of {', '.join(_CLASSES)}")
            members, last = members + _CLASSES[token[1]], ""
            continue
        if token[3] == "-" and not token[2] and last and place < len(tokens) and tokens[place][3]:
            end = tokens[place][3]
            place += 1
            if end < last:
                spot = text.part(body.start(2) + token.start() - 1, body.start(2) + token.end() + 1)
                raise spot.error("a range that ends before it begins", f"{end}-{last}")
            members, last = f"{members}-{re.escape(end)}", ""
            continue
        members, last = members + re.escape(token[3]), token[3]
    return body.end(), f"[{'^' if body[1] else ''}{members}]"
