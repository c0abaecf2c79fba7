"""The policy language: TOML in, a compiled `Policy` out, and every mistake with its place.

All sizes become bytes, all times seconds, all percentages shares 0..1. A policy that names no `avoid` or no
`supervisors` for all its rules has those of presets/essential.toml; one that does replaces them altogether.

For the short-lived front only: the guard is handed the compiled policy and never imports this module.
"""

from __future__ import annotations

import functools
import pwd
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from okoomer.policy.condition import condition, duration, quantity
from okoomer.policy.metrics import LEVEL, TIME
from okoomer.policy.model import RANKS, SELECTORS, STEPS, UNITS, Amount, Policy, Rule, Selector, Step
from okoomer.policy.select import compile_pattern
from okoomer.policy.source import PolicyError, Section, Text, Value, near, sections

__all__ = ["PRESETS", "PolicyError", "load", "parse"]

_FOLDER = Path(__file__).parent / "presets"
#: What holds for a policy that says nothing else; no preset by itself, as it has no rule.
_ESSENTIAL = _FOLDER / "essential.toml"
#: The policies that come with okoomer, by name.
PRESETS = {path.stem: path for path in sorted(_FOLDER.glob("*.toml")) if path != _ESSENTIAL}

_Readers = Mapping[str, Callable[[Value], Any]]

#: Words that the language reserves for what this version does not do.
_LATER = {
    "key": ("scope",),
    "kind of selector": ("container", "pod", "tag"),
    "unit": ("group", "cgroup", "auto"),
    "rank": ("pressure", "pgscan", "io", "badness"),
    "step": ("shrink", "slow", "pause", "ask"),
}


def load(name_or_path: str) -> Policy:
    """The policy of a preset's name or of a file. A preset comes first: `./server` is a file for certain.

    Raises:
        PolicyError: There is no such preset or file, it cannot be read, or it is not a policy.
    """
    path = PRESETS.get(name_or_path, Path(name_or_path))
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        problem = (isinstance(error, OSError) and error.strerror) or str(error)
        expected = f"a file or a preset: {', '.join(PRESETS)}{near(name_or_path, PRESETS)}"
        raise PolicyError(str(path), problem, name_or_path, expected) from None
    try:
        return parse(data.decode(), str(path))
    except UnicodeDecodeError as error:
        text, place = data.decode(errors="replace"), len(data[: error.start].decode())
        spot = Text(str(path), text, text[place], (place, place + 1))
        raise spot.error("not UTF-8", "a text file") from None


def parse(text: str, file: str) -> Policy:
    """Compiles a policy; its name is that of the file, without folder and suffix.

    Raises:
        PolicyError: The text is not a policy.
    """
    top, tables = sections(text, file)
    for_all = _essential() | _for_all(top)
    rules: dict[str, Rule] = {}
    for table in tables:
        rule = _rule(table)
        if rule.name in rules:
            name = next(value.string() for key, value in table.pairs if key.value == "name")
            first = rules[rule.name].line
            raise name.error("a second rule of this name", f"another name (line {first} has this one)")
        rules[rule.name] = rule
    if not rules:
        raise top.header.error("a policy without rules", "at least one [[rule]]")
    return Policy(Path(file).stem, tuple(rules.values()), **for_all)


@functools.cache
def _essential() -> dict[str, Any]:
    return _for_all(sections(_ESSENTIAL.read_text("utf-8"), str(_ESSENTIAL))[0])


def _for_all(top: Section) -> dict[str, Any]:
    return _fields(top, _FOR_ALL, " (what one rule has stands below its [[rule]])")


def _rule(table: Section) -> Rule:
    fields = _fields(table, _RULE)
    for needed in ("name", "when"):
        if needed not in fields:
            raise table.header.error(f"a rule without {needed}", f"{needed} among its keys")
    for key, value in table.pairs:
        if key.value in ("when", "until"):
            fields[f"{key.value}_text"] = " ".join(value.string().value.split())
    return Rule(**fields, line=table.header.line)


def _fields(section: Section, readers: _Readers, hint: str = "") -> dict[str, Any]:
    return {key.value: readers[_choice(key, "key", readers, hint)](value) for key, value in section.pairs}


def _choice(text: Text, what: str, known: Collection[str], hint: str = "") -> str:
    """A word that must be one of those known."""
    if text.value in known:
        return text.value
    names = f"one of {', '.join(known)}{hint}"
    if text.value in _LATER[what]:
        raise text.error(f"this version does not have the {what}", names)
    raise text.error(f"unknown {what}", names + near(text.value, known))


def _name(text: Text) -> str:
    if not text.value.strip() or not text.value.isprintable():
        raise text.error("not a name", "printable words on one line")
    return text.value


def _selectors(value: Value) -> tuple[Selector, ...]:
    return tuple(map(_selector, value.strings()))


def _selector(text: Text) -> Selector:
    kind, _, pattern = text.value.partition(":")
    if not pattern or not text.value.isprintable():
        kinds = ", ".join(SELECTORS)
        raise text.error("not a selector", f"kind:pattern, such as name:chrome (kinds: {kinds})")
    _choice(text.part(0, len(kind)), "kind of selector", SELECTORS)
    rest = text.part(len(kind) + 1)
    # A process has its user's number. The selector keeps what was written, for people.
    return Selector(kind, pattern, _program(rest, _user(rest) if kind == "user" else pattern))


def _program(text: Text, pattern: str) -> tuple[int, ...]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of what will mean something else in a later Python
            return compile_pattern(pattern)
    except re.error as error:
        spot, reason = text.part(error.pos or 0), error.msg
    except (ValueError, OverflowError, RecursionError, Warning) as error:
        spot, reason = text, str(error)
    raise spot.error(f"not a regular expression, {reason}", "one as Python has them")


def _user(text: Text) -> str:
    try:
        return str(int(text.value) if text.value.isdecimal() else pwd.getpwnam(text.value).pw_uid)
    except (KeyError, ValueError):
        raise text.error("unknown user", "the name or the number of a user of this machine") from None


def _steps(value: Value) -> tuple[Step, ...]:
    texts = value.strings()
    if not texts:
        raise value.text.error("no step", 'at least one, such as ["kill"]')
    steps = tuple(map(_step, texts))
    for step, following in zip(steps, texts[1:], strict=False):
        if step.kind == "kill":
            raise following.error("a step after kill", "kill as the last one")
    return steps


def _step(text: Text) -> Step:
    words = [text.part(*word.span()) for word in re.finditer(r"\S+", text.value)]
    if not words:
        raise text.error("not a step", f"one of {', '.join(STEPS)}")
    kind = _choice(words[0], "step", STEPS)
    if len(words) > (1 if kind == "kill" else 2):
        expected = "kill alone" if kind == "kill" else f"{kind} and a duration"
        raise words[-1].error("too much for a step", expected)
    if kind == "term" and len(words) == 1:
        raise text.error("a step without a duration", "how long to wait before the next, such as term 5s")
    return Step(kind, duration(words[1]) if len(words) == 2 else 0.0)


def _amount(text: Text) -> Amount:
    value, unit = quantity(text, LEVEL)
    return Amount(value, unit == "%")


def _of_string(read: Callable[[Text], Any]) -> Callable[[Value], Any]:
    return lambda value: read(value.string())


#: What each key holds, in the order in which the keys are named to people.
_LISTS: _Readers = dict.fromkeys(("prefer", "avoid", "spare"), _selectors)
_FOR_ALL: _Readers = {**_LISTS, "supervisors": _selectors}
_RULE: _Readers = {
    "name": _of_string(_name),
    "when": _of_string(condition),
    "until": _of_string(condition),
    "unit": _of_string(lambda text: _choice(text, "unit", UNITS)),
    "rank": _of_string(lambda text: _choice(text, "rank", RANKS)),
    **_LISTS,
    "steps": _steps,
    "rest": _of_string(lambda text: quantity(text, TIME)[0]),
    "target": _of_string(_amount),
    "least": _of_string(_amount),
}
