"""Values of oomd's configuration, read strictly.

oomd takes of a number what it can read and drops the rest: 1m is one second, 5x is 5. Here that is an error. Where it
is clear what was meant, that is what holds, and the difference is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from okoomer.policy.model import Amount, Scope
from okoomer.policy.scope import parse_scope
from okoomer.policy.source import Text, near
from okoomer.record import Record

#: Takes a sentence about what is different.
Hear = Callable[[str], None]
#: More than anybody means.
MOST = 10**9

_NUMBER = re.compile(r"\s*([+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(.*?)\s*", re.DOTALL)
_PIECE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kKmMgGtT]?)")
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_ATTRIBUTE = re.compile(r"(?:user|trusted)\.[^\s/,\\]{1,247}")
_SERVICE = re.compile(r"[A-Za-z0-9:_.@\\-]+\.[a-z]+")
#: What stands in regular expressions and hardly ever in the names of cgroups.
_REGEX = re.compile(
    r"\\[dwsDWS.*+]|\.\\\*"  # escapes of regular expressions only
    r"|(?:^|(?<=[/,]))(?:\.\*|\^)|(?<=[^\w\s/,])\.\*"  # what begins a name, or follows none of it
    r"|[.\])]\+|[$|()]"
)


class Kind(Record):
    """A kind of value: what is expected, for people, and how it is read."""

    expected: str
    read: Callable[[Text, Hear], Any]


class Globs(Record):
    """Cgroups as oomd lists them: `scope` are those beside the root, None if there are none; `root` whether the root
    is among them. The paths of a ruleset's own cgroups (`ruleset_cgroup`) begin at that cgroup, which is their root."""

    text: Text
    scope: Scope | None
    root: bool

    @property
    def several(self) -> bool:
        """Whether they can be more than one."""
        paths = self.scope.paths if self.scope else ()
        return len(paths) + self.root > 1 or any(code for path in paths for _, code in path)


def number(
    text: Text, hear: Hear, kind: str, low: float, high: float, unit: str = "", whole: bool = True, cut: bool = True
) -> float:
    """A number within limits.

    Args:
        text: As it is written.
        hear: Is told if oomd reads another number.
        kind: What is expected, for people.
        low: The least that it may be.
        high: The most that it may be.
        unit: What may stand behind it and changes nothing, such as % for a percentage.
        whole: Whether it has to be a whole number.
        cut: Whether oomd drops what is behind the point.

    Raises:
        PolicyError: It is none, or out of range.
    """
    found = _NUMBER.fullmatch(text.value)
    if not found or found[2] not in ("", unit):
        digits = re.match(r"\s*[+-]?[0-9]+", text.value)
        read = f" (oomd reads {int(digits[0])})" if digits else ""
        raise text.error(f"not a number{read}", kind)
    value = float(found[1])
    if whole and value != int(value):
        raise text.error(f"not a whole number (oomd reads {int(value)})", kind)
    if not low <= value <= high:
        raise text.error("out of range", kind)
    if cut and value != int(value):
        hear(f"oomd reads {int(value)}; here it is {value:g}")
    return value


def _of_number(kind: str, low: float, high: float, **how: Any) -> Kind:
    return Kind(kind, lambda text, hear: number(text, hear, kind, low, high, **how))


def size(text: Text, hear: Hear) -> Amount:
    """A size in oomd's manner: a percentage, a plain number of MiB, or a sum such as 1.5G 200M.

    Raises:
        PolicyError: It is none.
    """
    expected = "a percentage, a number of MiB, or a size such as 1.5G"
    value = text.value.strip()
    if value.endswith("%"):
        return Amount(number(text, hear, expected, 0, 100, unit="%", whole=False) / 100, share=True)
    if re.fullmatch(r"[0-9]{1,12}", value):
        return Amount(float(int(value) * 1024**2))
    total, place, pieces = 0.0, 0, 0
    while piece := _PIECE.match(value, place):
        total += float(piece[1]) * _UNITS[piece[2].lower()]
        place, pieces = piece.end(), pieces + 1
    if not pieces or place != len(value):
        rest = text.part(len(text.value) - len(text.value.lstrip()))
        raise rest.error("not a size", expected)
    if pieces == 1 and value[-1].isdecimal():
        hear(f"a plain number is MiB, here {value} of them")
        total *= 1024**2
    if total > 1024**5:
        raise text.error("out of range", expected)
    return Amount(float(int(total)))


def truth(text: Text, _hear: Hear) -> bool:
    """True or false.

    Raises:
        PolicyError: It is neither.
    """
    if text.value in ("true", "True", "1"):
        return True
    if text.value in ("false", "False", "0"):
        return False
    raise text.error("neither true nor false", "true or false")


def resource(text: Text, _hear: Hear) -> str:
    """Which pressure: memory or io.

    Raises:
        PolicyError: It is neither.
    """
    if text.value not in ("memory", "io"):
        raise text.error("unknown resource", f"memory or io{near(text.value, ('memory', 'io'))}")
    return text.value


def globs(text: Text, hear: Hear) -> Globs:
    """A list of cgroups.

    Raises:
        PolicyError: It is none, or oomd would not find with it what its author meant.
    """
    if regex := _REGEX.search(text.value):
        spot = text.part(regex.start(), max(regex.end(), regex.start() + 1))
        raise spot.error(
            "a regular expression where oomd takes wildcards",
            "* for anything within one name, ? for one character, [abc], {one,other}",
        )
    if "\\" in text.value:
        spot = text.part(text.value.index("\\"))
        raise spot.error(
            "a backslash, which oomd takes for an escape", "? in its place, which stands for any one character"
        )
    if re.search(r"(?<=\w)\.\*(?=[/,]|$)", text.value):
        hear("a dot and a star are a dot and whatever follows, in oomd as here")
    if "**" in text.value:
        hear("** is *: it does not go below one name, in oomd as here")
    whole = parse_scope(text)
    if whole.tag:
        raise text.error("blanks within a path", "the name of a cgroup, or xattr_filter beside the ruleset's cgroup")
    if re.search(r"^\s|,\s|\s,|\s$", text.value):
        hear("blanks beside commas are left out; oomd looks for cgroups with blanks in their names, and finds none")
    others = tuple(path for path in whole.paths if path)
    rest = _without_root(text.value) if len(others) < len(whole.paths) else text.value.strip()
    return Globs(text, Scope(_tidy(rest), others) if others else None, len(others) < len(whole.paths))


def _without_root(text: str) -> str:
    return ",".join(item for item in items(text) if item.strip("/ "))


def _tidy(text: str) -> str:
    """Without blanks beside commas, and slashes around the paths."""
    return ",".join(item.strip().strip("/") for item in items(text))


def items(text: str) -> list[str]:
    """What stands between the commas that are not within braces."""
    found, depth = [""], 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if character == "," and not depth:
            found.append("")
        else:
            found[-1] += character
    return found


def attribute(text: Text, _hear: Hear) -> str:
    """The name of an extended attribute.

    Raises:
        PolicyError: It is none.
    """
    if not _ATTRIBUTE.fullmatch(text.value):
        raise text.error("not the name of an extended attribute", "one such as user.restartable")
    return text.value


def service(text: Text, _hear: Hear) -> str:
    """The name of a systemd unit.

    Raises:
        PolicyError: It is none.
    """
    if not _SERVICE.fullmatch(text.value) or len(text.value) > 255:
        raise text.error("not a unit", "the name of a systemd unit, such as backup.service")
    return text.value


SECONDS = _of_number("a number of seconds, at least 0", 0, MOST, unit="s", whole=False)
PERCENT = _of_number("a percentage from 0 to 100", 0, 100, unit="%", whole=False)
SHARE = _of_number("a percentage from 0 to 100", 0, 100, unit="%", whole=False, cut=False)
PERCENTILE = _of_number("a percentage from 0 to 99", 0, 99, unit="%", whole=False)
GROWTH = _of_number("a ratio, at least 0", 0, 1000, whole=False)
RATIO = _of_number("a ratio from 0 to 1", 0, 1, whole=False, cut=False)
FACTOR = _of_number("a number, at least 0", 0, MOST, whole=False, cut=False)
COUNT = _of_number("a whole number, at least 0", 0, MOST)
TICKS = _of_number("a whole number of intervals, at least 1", 1, MOST)
MILLISECONDS = _of_number("a whole number of milliseconds, at least 0", 0, MOST)
RATE = _of_number("a whole number of bytes a second, at least 0", 0, 10**14)
SIZE = Kind("a percentage, a number of MiB, or a size such as 1.5G", size)
TRUTH = Kind("true or false", truth)
RESOURCE = Kind("memory or io", resource)
CGROUPS = Kind("paths with wildcards, commas between them", globs)
ATTRIBUTE = Kind("the name of an extended attribute", attribute)
SERVICE = Kind("the name of a systemd unit", service)
TEXT = Kind("a text", lambda text, _hear: text.value)
