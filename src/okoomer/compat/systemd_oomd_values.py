"""Values as systemd writes them: shares and spans of time."""

from __future__ import annotations

import re
from fractions import Fraction

from okoomer.policy.source import Text

#: What a whole is, in the unit that shares have here and in systemd.
PERMYRIAD = 10_000

_SHARE = re.compile(r"([0-9]{1,5})(?:\.([0-9]{1,2}))?(%|‰|‱)")
_SHARES = {"%": 100, "‰": 10, "‱": 1}
_EXPECTED_SHARE = "a share from 0% to 100%, in %, ‰ or ‱"

_UNITS = {
    "usec": 0.000001, "us": 0.000001, "µs": 0.000001, "μs": 0.000001,
    "msec": 0.001, "ms": 0.001,
    "seconds": 1, "second": 1, "sec": 1, "s": 1, "": 1,
    "minutes": 60, "minute": 60, "min": 60, "m": 60,
    "hours": 3600, "hour": 3600, "hr": 3600, "h": 3600,
    "days": 86400, "day": 86400, "d": 86400,
    "weeks": 604800, "week": 604800, "w": 604800,
    "months": 2629800, "month": 2629800, "M": 2629800,
    "years": 31557600, "year": 31557600, "y": 31557600,
}  # fmt: skip
_SPAN = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([^\W\d_]*)")
_EXPECTED_SPAN = "a span of time, such as 30s, 1min 30s or 500ms"
#: A day. Whoever waits longer than that does not mean memory.
LONGEST = 86400.0


def permyriad(text: Text) -> int:
    """A share, in parts of ten thousand.

    Raises:
        PolicyError: It is none.
    """
    found = _SHARE.fullmatch(text.value)
    if not found:
        raise text.error("not a share", _EXPECTED_SHARE)
    scale = _SHARES[found[3]]
    value = Fraction(f"{found[1]}.{found[2] or 0}") * scale
    if value.denominator != 1:
        raise text.error("finer than a part of ten thousand", _EXPECTED_SHARE)
    if value > PERMYRIAD:
        raise text.error("more than all there is", _EXPECTED_SHARE)
    return int(value)


def span(text: Text) -> float:
    """A span of time, in seconds; without a unit a number is seconds.

    Raises:
        PolicyError: It is none, or longer than a day.
    """
    seconds, place = 0.0, 0
    if text.value == "infinity":
        raise text.error("a time that does not end", _EXPECTED_SPAN)
    while place < len(text.value):
        found = _SPAN.match(text.value, place)
        if not found:
            raise text.part(place).error("not a span of time", _EXPECTED_SPAN)
        if found[2] not in _UNITS:
            unit = text.part(found.start(2), found.end(2))
            raise unit.error("unknown unit of time", "usec, msec, s, min, h, d, w, month or y")
        seconds += float(found[1]) * _UNITS[found[2]]
        place = found.end()
    if not text.value:
        raise text.error("no time", _EXPECTED_SPAN)
    if seconds > LONGEST:
        raise text.error("longer than a day", _EXPECTED_SPAN)
    return round(seconds, 6)
