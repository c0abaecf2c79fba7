"""courier.toml: what the courier offers besides what the policy asks for (see courier.services)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from okoomer.cli.errors import BadInput
from okoomer.courier import Services
from okoomer.courier.gate import place_of
from okoomer.courier.mail import recipient

#: A file of so many bytes is none of ours.
LONGEST = 1 << 16


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    """What the file may hold: the fields of Services."""

    low_memory_monitor: bool = True
    okoomer1: bool = True
    system_notifications: Literal["never", "auto", "always"] = "auto"
    pressure_watch: bool = True
    metrics: str = ""
    wall: bool = False
    mail: str = ""


#: What is expected of a key, in words.
EXPECTED = {
    "low_memory_monitor": "true or false",
    "okoomer1": "true or false",
    "system_notifications": "'never', 'auto' or 'always'",
    "pressure_watch": "true or false",
    "metrics": "'127.0.0.1:PORT', '[::1]:PORT', 'unix:PATH', or '' for nowhere",
    "wall": "true or false",
    "mail": "the name of a local user or an address, or '' for nobody",
}


def services(path: Path, needed: bool = False) -> Services:
    """What a file says; the defaults if it is not there.

    Args:
        needed: It has to be there.

    Raises:
        BadInput: It is wrong.
    """
    try:
        with path.open("rb") as file:
            source = file.read(LONGEST + 1)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not needed:
            return Services()
        raise BadInput(f"{path}: {error.strerror}") from None
    if len(source) > LONGEST:
        raise BadInput(f"{path}: longer than {LONGEST} bytes; expected a few lines of TOML")
    return parsed(source, str(path))


def parsed(source: bytes, path: str) -> Services:
    """What the text of such a file says.

    Raises:
        BadInput: It is wrong.
    """
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}:{line}: not UTF-8; expected TOML") from None
    try:
        written = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(_not_toml(path, str(error))) from None
    for key in written:
        if key not in EXPECTED:
            raise _wrong(path, text, key, f"unknown key {key!r}", f"one of {', '.join(EXPECTED)}")
    try:
        found = msgspec.convert(written, _Written, strict=True)
    except msgspec.ValidationError as error:
        key = str(error).rpartition("`$.")[2].strip("`")
        raise _wrong(
            path, text, key, f"{key} = {_shown(written.get(key))}", EXPECTED.get(key, "another value")
        ) from None
    if found.metrics:
        try:
            place_of(found.metrics)
        except ValueError as error:
            raise _wrong(path, text, "metrics", f"metrics: {error}") from None
    if found.mail:
        try:
            recipient(found.mail)
        except ValueError:
            raise _wrong(path, text, "mail", f"mail = {_shown(found.mail)}", EXPECTED["mail"]) from None
    return Services(**msgspec.structs.asdict(found))


def _wrong(path: str, text: str, key: str, problem: str, expected: str = "") -> BadInput:
    line, column = _place(text, key)
    where = f"{path}:{line}:{column}" if line else path
    return BadInput(f"{where}: {problem}" + (f"; expected {expected}" if expected else ""))


def _place(text: str, key: str) -> tuple[int, int]:
    """The line and the column, from 1, in which a key stands first; zeros if it is written in some unusual way."""
    written = re.compile(rf"""[ \t]*\[*[ \t]*(["']?){re.escape(key)}\1[ \t]*[=.\]]""")
    for number, line in enumerate(text.split("\n"), 1):
        if written.match(line):
            return number, line.index(key) + 1
    return 0, 0


def _not_toml(path: str, problem: str) -> str:
    what, _, where = problem.partition(" (at ")
    found = re.match(r"line (\d+), column (\d+)", where)
    place = f"{path}:{found[1]}:{found[2]}" if found else path
    return f"{place}: {what[:1].lower()}{what[1:]}; expected TOML"


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
