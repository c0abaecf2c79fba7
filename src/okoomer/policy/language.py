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

from okoomer.policy.condition import SCORE, SIZE, condition, duration, quantity
from okoomer.policy.error import PolicyError
from okoomer.policy.fits import KERNELS, RATIO_KEYS, check, check_prime
from okoomer.policy.metrics import AVERAGE, LEVEL, RATIO, TIME
from okoomer.policy.model import (
    CGROUP_RANKS,
    DESCENTS,
    HAPPENINGS,
    HOLDERS,
    LEVELS,
    MANAGED,
    POINTED,
    RANKS,
    SELECTORS,
    TOLD,
    UNITS,
    Amount,
    Hook,
    Instead,
    Points,
    Policy,
    Ratios,
    Rule,
    Selector,
    Step,
)
from okoomer.policy.scope import parse_scope
from okoomer.policy.select import compile_pattern
from okoomer.policy.source import Section, Text, Value, choice, near, sections
from okoomer.policy.steps import WORDS, command, steps
from okoomer.record import Record

__all__ = ["PRESETS", "WORDS", "PolicyError", "essential", "load", "parse"]

_FOLDER = Path(__file__).parent / "presets"
#: What holds for a policy that says nothing else; no preset by itself, as it has no rule.
_ESSENTIAL = _FOLDER / "essential.toml"
#: The policies that come with okoomer, by name.
PRESETS = {path.stem: path for path in sorted(_FOLDER.glob("*.toml")) if path != _ESSENTIAL}

_Readers = Mapping[str, Callable[[Value], Any]]

#: What `raised` can say of those who raised their own oom_score_adj: the model's True and False.
RAISED = ("counted", "ignored")


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
    for_all = essential() | _for_all(top)
    rules: dict[str, Rule] = {}
    for table in tables["rule"]:
        rule = _rule(table)
        if rule.name in rules:
            name = next(value.string() for key, value in table.pairs if key.value == "name")
            first = rules[rule.name].line
            raise name.error("a second rule of this name", f"another name (line {first} has this one)")
        rules[rule.name] = rule
    if not rules:
        raise top.header.error("a policy without rules", "at least one [[rule]]")
    for_all["points"] = _fitting(for_all.get("points", ()), tuple(rules.values()))
    if for_all.get("prime"):
        check_prime(next(key for key, _ in top.pairs if key.value == "prime"), rules.values())
    hooks = tuple(Hook(**_fields(table, _HOOK, needed=("on", "command"))) for table in tables["hook"])
    return Policy(Path(file).stem, tuple(rules.values()), **for_all, hooks=hooks)


@functools.cache
def essential() -> dict[str, Any]:
    """The lists of a policy that does not name its own, by key."""
    return _for_all(sections(_ESSENTIAL.read_text("utf-8"), str(_ESSENTIAL))[0])


def _for_all(top: Section) -> dict[str, Any]:
    return _fields(top, _FOR_ALL, " (what one rule has stands below its [[rule]])")


def _rule(table: Section) -> Rule:
    scoped = any(key.value in ("scope", "managed") for key, _ in table.pairs)
    fields = _fields(table, _SCOPED if scoped else _RULE, needed=("name", "when"))
    check(table, fields)
    if "level" in fields and "steps" not in fields:
        fields["steps"] = _no_steps(table)
    for key, value in table.pairs:
        if key.value in ("when", "until"):
            fields[f"{key.value}_text"] = " ".join(value.string().value.split())
    ratios = {key.removesuffix("_ratio"): fields.pop(key) for key in RATIO_KEYS if key in fields}
    fields["points"] = tuple(weight.points(fields.get("rank", RANKS[0])) for weight in fields.get("points", ()))
    return Rule(**fields, ratios=Ratios(**ratios), line=table.header.line)


def _no_steps(table: Section) -> tuple[Step, ...]:
    """A rule that only says how short memory is takes nobody, so it cannot say whom."""
    for key, _ in table.pairs:
        if key.value not in _OF_LEVEL:
            raise key.error("a rule that takes nobody", f"steps in it, or a level and no more than {_OF_LEVEL_TEXT}")
    return ()


def _fitting(weights: Collection[_Weight], rules: tuple[Rule, ...]) -> tuple[Points, ...]:
    """The points for all rules: they have to mean the same in each that chooses among processes."""
    if not weights:
        return ()
    first = next(iter(weights)).amount
    rules = tuple(rule for rule in rules if not rule.of_cgroups)
    if not rules:
        raise first.error("points, and only rules of unit cgroup, which takes none", "prefer and avoid")
    choosing = [rule.rank for rule in rules if rule.chooses]
    ranks = {rank in POINTED: rank for rank in choosing or [rule.rank for rule in rules]}
    if set(choosing) == {KERNELS}:
        raise first.error(f"points, and only rules of rank {KERNELS}, which takes none", "rank badness")
    if len(ranks) > 1:
        problem = f"points for rules of rank {ranks[True]}, which counts points, and {ranks[False]}, which weighs bytes"
        raise first.error(problem, "points below each [[rule]] that wants them")
    return tuple(weight.points(rank) for weight in weights for rank in ranks.values())


def _fields(section: Section, readers: _Readers, hint: str = "", needed: Collection[str] = ()) -> dict[str, Any]:
    """What the keys of a section hold, by the names of the fields that they fill."""
    found = {
        _FIELDS.get(key.value, key.value): readers[choice(key, "key", readers, hint)](value)
        for key, value in section.pairs
    }
    for name in needed:
        if name not in found:
            key = next((key for key, field in _FIELDS.items() if field == name), name)
            kind = section.header.value.strip("[] ")
            raise section.header.error(f"a {kind} without {key}", f"{key} among its keys")
    return found


def _name(text: Text) -> str:
    if not text.value.strip() or not text.value.isprintable():
        raise text.error("not a name", "printable words on one line")
    return text.value


def _each(read: Callable[[Text], Any]) -> Callable[[Value], Any]:
    return lambda value: tuple(map(read, value.strings()))


def _selector(text: Text) -> Selector:
    written = re.match(r"([^:~]*)([:~])(.+)", text.value, re.DOTALL)
    if not written or not text.value.isprintable():
        kinds = ", ".join(SELECTORS)
        raise text.error("not a selector", f"kind:pattern or kind~pattern, such as name:chrome (kinds: {kinds})")
    kind, sign, pattern = written.groups()
    choice(text.part(0, len(kind)), "kind of selector", SELECTORS)
    rest, part = text.part(len(kind) + 1), sign == "~"
    if kind == "user" and part and pattern.isalpha():
        raise rest.error("a name, where the user's number is searched", f"user:{pattern}, or a pattern of digits")
    # A process has its user's number. The selector keeps what was written, for people.
    return Selector(kind, pattern, _program(rest, _user(rest) if kind == "user" and not part else pattern), part)


def _program(text: Text, pattern: str) -> bytes:
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


class _Weight(Record):
    """What `+300 name:chrome` says, before it is known what the number counts."""

    sign: int
    amount: Text
    selector: Selector

    def points(self, rank: str) -> Points:
        hint = f" (rank {rank} {'counts points' if rank in POINTED else 'weighs bytes'})"
        value, _ = quantity(self.amount, SCORE if rank in POINTED else SIZE, hint)
        return Points(self.sign * value, self.selector)


def _weight(text: Text) -> _Weight:
    written = re.fullmatch(r"([+-])(\S+)\s+(.+)", text.value, re.DOTALL)
    if not written:
        raise text.error("not points for somebody", "+ or -, a number and a selector, such as +300 name:chrome")
    return _Weight(-1 if written[1] == "-" else 1, text.part(*written.span(2)), _selector(text.part(*written.span(3))))


def _instead(text: Text) -> Instead:
    arrow = re.search(r"\s+=>\s+", text.value)
    if not arrow:
        example = "unit:sql.service => /usr/bin/systemctl restart $SERVICE"
        raise text.error("not a command instead of a signal", f"selector => command, such as {example}")
    return Instead(_selector(text.part(0, arrow.start())), command(text.part(arrow.end())))


def _path(text: Text) -> str:
    if not text.value.startswith("/") or not text.value.isprintable():
        raise text.error("not a path", "one that begins with /, such as /sys/fs/cgroup/user.slice/memory.pressure")
    return text.value


def _score(text: Text) -> float:
    return quantity(text, SCORE)[0]


def _time(text: Text) -> float:
    return quantity(text, TIME)[0]


def _word(what: str, known: Collection[str]) -> Callable[[Text], str]:
    return lambda text: choice(text, what, known)


def _amount(text: Text) -> Amount:
    value, unit = quantity(text, LEVEL)
    return Amount(value, unit == "%")


def _share(text: Text) -> float:
    return quantity(text, AVERAGE)[0]


def _percentile(text: Text) -> float:
    value = _share(text)
    if value >= 1:
        raise text.error("above which nobody is", "less than 100%")
    return value


def _managed(text: Text) -> str:
    setting, colon, name = text.value.partition(":")
    choice(text.part(0, len(setting)), "setting of systemd", MANAGED, ": what a unit has set")
    named = setting == "OOMRules"
    if named != bool(colon) or (named and not (name.isprintable() and name.split() == [name])):
        expected = "OOMRules:NAME, with the name of a rule" if named else f"{setting} alone"
        raise text.error("not a setting of systemd", expected)
    return text.value


def _existing(text: Text) -> str:
    try:
        return pwd.getpwnam(text.value).pw_name
    except (KeyError, ValueError):
        raise text.error("unknown user", "the name of a user of this machine") from None


def _of_string(read: Callable[[Text], Any]) -> Callable[[Value], Any]:
    return lambda value: read(value.string())


#: What each key holds, in the order in which the keys are named to people.
_LISTS: _Readers = dict.fromkeys(("prefer", "avoid", "spare"), _each(_selector))
_SCORING: _Readers = {"points": _each(_weight), "instead": _each(_instead)}
_FOR_ALL: _Readers = {
    **_LISTS,
    "supervisors": _each(_selector),
    **_SCORING,
    "report": _of_string(_time),
    "notify": _each(_word("event", HAPPENINGS)),
    "pressure": _of_string(_path),
    "tell": _each(_word("thing to tell", TOLD)),
    "prime": Value.boolean,
}
_RULE: _Readers = {
    "name": _of_string(_name),
    "when": _of_string(condition),
    "until": _of_string(condition),
    "unit": _of_string(_word("unit", UNITS)),
    "rank": _of_string(_word("rank", (*RANKS, *CGROUP_RANKS))),
    "scope": _of_string(parse_scope),
    "among": _of_string(lambda text: parse_scope(text, relative=True)),
    "descend": _of_string(_word("descent", DESCENTS)),
    **_LISTS,
    **_SCORING,
    "raised": _of_string(lambda text: choice(text, "word", RAISED) == RAISED[0]),
    "least_score": _of_string(_score),
    "steps": steps,
    "rest": _of_string(_time),
    "target": _of_string(_amount),
    "least": _of_string(_amount),
    "least_swap": _of_string(_amount),
    "by": _of_string(_word("holder", HOLDERS)),
    "share": _of_string(_amount),
    "dominant": _of_string(_share),
    "percentile": _of_string(_percentile),
    "growth_ratio": _of_string(lambda text: quantity(text, RATIO)[0]),
    "managed": _of_string(_managed),
    "level": _of_string(lambda text: LEVELS[choice(text, "level", LEVELS)]),
}
#: What a rule can have that has a level and no steps.
_OF_LEVEL = ("name", "when", "until", "scope", "level")
_OF_LEVEL_TEXT = f"{', '.join(_OF_LEVEL[:-2])} and {_OF_LEVEL[-2]}"
_SCOPED = {**_RULE, **dict.fromkeys(("when", "until"), _of_string(lambda text: condition(text, scoped=True)))}
_HOOK: _Readers = {
    "on": _of_string(_word("event", HAPPENINGS)),
    "run": _of_string(command),
    "limit": _of_string(duration),
    "user": _of_string(_existing),
}
#: The fields of keys that have another name.
_FIELDS = {"run": "command", "limit": "seconds"}
