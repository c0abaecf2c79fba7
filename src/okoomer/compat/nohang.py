"""nohang's configuration file, read strictly.

Lines are `key = value`, directives with an @, or comments, which begin with #, a space or a tab. A key that is
missing has its default. What nohang would stumble over later, or silently misread, is an error here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from okoomer.compat.nohang_directives import directive, stripped
from okoomer.compat.nohang_keys import DEFAULTS, KEYS, Settings
from okoomer.compat.nohang_policy import translate
from okoomer.policy.error import PolicyError
from okoomer.policy.model import Amount, Instead, Points
from okoomer.policy.source import Text, near
from okoomer.record import Record, replace

__all__ = ["Settings", "load", "parse", "translate"]

#: Settings of which the first must not be beyond the second.
_ORDERED = (
    ("min_sleep", "max_sleep"),
    ("hard_threshold_min_mem", "soft_threshold_min_mem"),
    ("hard_threshold_min_swap", "soft_threshold_min_swap"),
    ("soft_threshold_max_zram", "hard_threshold_max_zram"),
    ("soft_threshold_max_psi", "hard_threshold_max_psi"),
)
#: Shares of memory between which a size has to lie; nohang checks these, too.
_SHARES = {
    "warning_threshold_min_mem": (0.0, 1.0),
    "warning_threshold_max_zram": (0.0, 1.0),
    "soft_threshold_min_mem": (0.0, 0.5),
    "soft_threshold_max_zram": (0.1, 0.9),
    "hard_threshold_min_mem": (0.0, 0.5),
    "hard_threshold_max_zram": (0.1, 0.9),
}


class _Line(Record):
    """What one line says."""

    name: str
    value: Any
    text: Text


def load(path: str | Path, memory_total: int = 0) -> Settings:
    """The settings of a file.

    Args:
        path: Where it lies.
        memory_total: Bytes of memory of the machine for which it is meant; 0 if that is not known.

    Raises:
        PolicyError: It cannot be read, or is not a configuration of nohang's.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        problem = (isinstance(error, OSError) and error.strerror) or str(error)
        raise PolicyError(str(path), problem, str(path), "a configuration file of nohang's") from None
    try:
        return parse(data.decode(), str(path), memory_total)
    except UnicodeDecodeError as error:
        text, place = data.decode(errors="replace"), len(data[: error.start].decode())
        raise Text(str(path), text, text[place], (place, place + 1)).error("not UTF-8", "a text file") from None


def parse(text: str, file: str, memory_total: int = 0) -> Settings:
    """The settings that a text gives; see `load`.

    Raises:
        PolicyError: It is not a configuration of nohang's.
    """
    lines = [_read(line) for line in _lines(text, file)]
    keys: dict[str, _Line] = {}
    for line in lines:
        if line.name in keys:
            first = keys[line.name].text.line
            raise line.text.error("a key for the second time", f"each key once (line {first} has this one)")
        if line.name in KEYS:
            keys[line.name] = line
    settings = replace(
        DEFAULTS,
        **{name: line.value for name, line in keys.items()},
        check_kmsg=any(line.name == "@check_kmsg" for line in lines),
        debug_kmsg=any(line.name == "@debug_kmsg" for line in lines),
        adjustments=tuple(line.value for line in lines if isinstance(line.value, Points)),
        soft_actions=tuple(line.value for line in lines if isinstance(line.value, Instead)),
        file=file,
        given=frozenset(line.name for line in lines),
    )
    _check_machine(keys, memory_total)
    _check_order(settings, keys, memory_total)
    return settings


def _lines(text: str, file: str) -> list[Text]:
    """The lines that say something."""
    text = text.replace("\r\n", "\n")
    found, start = [], 0
    for line in text.split("\n"):
        if line and line[0] not in "# \t":
            found.append(Text(file, text, line, range(start, start + len(line) + 1)))
        start += len(line) + 1
    return found


def _read(line: Text) -> _Line:
    if line.value.startswith("@"):
        return _Line(*directive(line), line)
    before, equals, _after = line.value.partition("=")
    name = stripped(line.part(0, len(before)))
    if not equals:
        raise stripped(line).error("not a setting", "key = value, @DIRECTIVE, or a comment that begins with #")
    if name.value not in KEYS:
        hint = near(name.value, KEYS) or " (docs/from-nohang.md lists them)"
        raise name.error("unknown key", f"a key of nohang's{hint}")
    value = stripped(line.part(len(before) + 1))
    return _Line(name.value, KEYS[name.value].kind.read(value), value)


def _check_machine(keys: dict[str, _Line], memory_total: int) -> None:
    """Sizes are held against the memory of the machine."""
    if not memory_total:
        return
    for name, (low, high) in _SHARES.items():
        given = keys.get(name)
        if given and not given.value.share and not low <= given.value.value / memory_total <= high:
            raise given.text.error("out of range", KEYS[name].kind.expected)


def _check_order(settings: Settings, keys: dict[str, _Line], memory_total: int) -> None:
    for first, second in _ORDERED:
        one, other = getattr(settings, first), getattr(settings, second)
        if isinstance(one, Amount):
            mixed = one.share != other.share
            if mixed and (not memory_total or first.endswith("swap")):
                continue  # which of them is more depends on the machine, and swap comes and goes
            one, other = (_bytes(level, memory_total if mixed else 1) for level in (one, other))
        if one > other and first in keys:
            raise keys[first].text.error(f"{first} is beyond {second}", f"at most that of {second}")
        if one > other:
            raise keys[second].text.error(f"{first} is beyond {second}", f"at least that of {first}")


def _bytes(level: Amount, whole: float) -> float:
    return level.value * (whole if level.share else 1)
