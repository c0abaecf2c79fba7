"""JSON as others write it, without the `json` package, which costs 1.3 MiB."""

from __future__ import annotations

from _json import make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Plain:
    """How the scanner is to read."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, float


_scan = make_scanner(_Plain())  # type: ignore[arg-type]


def fields_of(text: str) -> dict[str, Any] | None:
    """The fields of a text that is one JSON object, or None if it is none."""
    try:
        fields, end = _scan(text, 0)
    except (StopIteration, ValueError, RecursionError, SystemError):
        return None  # SystemError is what some versions raise if nobody has imported json's own error
    return fields if end == len(text) and isinstance(fields, dict) else None
