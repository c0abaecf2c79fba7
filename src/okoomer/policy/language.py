"""The policy language: TOML in, a compiled `Policy` out, and every mistake with its place.

All sizes become bytes, all times seconds, all percentages shares 0..1. A policy that names no `avoid` or no
`supervisors` for all its rules has those of presets/essential.toml; one that does replaces them altogether.

For the short-lived front only: the guard is handed the compiled policy and never imports this module.
"""

from __future__ import annotations

import functools
import pwd
import re
import shlex
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from okoomer.policy.condition import SCORE, SIZE, condition, duration, quantity
from okoomer.policy.metrics import LEVEL, TIME
from okoomer.policy.model import (
    HAPPENINGS,
    POINTED,
    RANKS,
    SELECTORS,
    STEPS,
    TOLD,
    UNITS,
    Amount,
    Hook,
    Instead,
    Points,
    Policy,
    Rule,
    Selector,
    Step,
)
from okoomer.policy.select import compile_pattern
from okoomer.policy.source import PolicyError, Section, Text, Value, near, sections
from okoomer.record import Record

__all__ = ["PRESETS", "WORDS", "PolicyError", "essential", "load", "parse"]

_FOLDER = Path(__file__).parent / "presets"
#: What holds for a policy that says nothing else; no preset by itself, as it has no rule.
_ESSENTIAL = _FOLDER / "essential.toml"
#: The policies that come with okoomer, by name.
PRESETS = {path.stem: path for path in sorted(_FOLDER.glob("*.toml")) if path != _ESSENTIAL}

#: What stands for something of the victim in a command's arguments, each with a dollar sign before it.
WORDS = ("PID", "NAME", "SERVICE", "UID", "CMDLINE")

_Readers = Mapping[str, Callable[[Value], Any]]

#: Words that the language reserves for what this version does not do.
_LATER = {
    "key": ("scope",),
    "kind of selector": ("container", "pod", "tag"),
    "unit": ("cgroup", "auto"),
    "rank": ("pressure", "pgscan", "io"),
    "step": ("shrink", "slow", "pause", "ask"),
}
#: What `raised` can say of those who raised their own oom_score_adj: the model's True and False.
RAISED = ("counted", "ignored")
#: The rank that is what the kernel says and nothing more.
_KERNELS = "oom_score"
#: Steps after which there is nothing left to do.
_LAST = ("oom", "kill")


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
    hooks = tuple(Hook(**_fields(table, _HOOK, needed=("on", "command"))) for table in tables["hook"])
    return Policy(Path(file).stem, tuple(rules.values()), **for_all, hooks=hooks)


@functools.cache
def essential() -> dict[str, Any]:
    """The lists of a policy that does not name its own, by key."""
    return _for_all(sections(_ESSENTIAL.read_text("utf-8"), str(_ESSENTIAL))[0])


def _for_all(top: Section) -> dict[str, Any]:
    return _fields(top, _FOR_ALL, " (what one rule has stands below its [[rule]])")


def _rule(table: Section) -> Rule:
    fields = _fields(table, _RULE, needed=("name", "when"))
    rank = fields.get("rank", RANKS[0])
    for key, value in table.pairs:
        if key.value in ("when", "until"):
            fields[f"{key.value}_text"] = " ".join(value.string().value.split())
        if key.value in ("least_score", "raised") and rank not in POINTED:
            raise key.error(f"rank {rank} has no scores", f"this key with rank {' or '.join(POINTED)} only")
        if key.value == "points" and rank == _KERNELS:
            raise key.error(f"rank {rank} takes no points", "rank badness, which is the same with points")
    fields["points"] = tuple(weight.points(rank) for weight in fields.get("points", ()))
    return Rule(**fields, line=table.header.line)


def _fitting(weights: Collection[_Weight], rules: tuple[Rule, ...]) -> tuple[Points, ...]:
    """The points for all rules: they have to mean the same in each that chooses somebody."""
    choosing = [rule.rank for rule in rules if rule.chooses]
    ranks = {rank in POINTED: rank for rank in choosing or [rule.rank for rule in rules]}
    if weights and set(choosing) == {_KERNELS}:
        raise next(iter(weights)).amount.error(
            f"points, and only rules of rank {_KERNELS}, which takes none", "rank badness"
        )
    if weights and len(ranks) > 1:
        problem = f"points for rules of rank {ranks[True]}, which counts points, and {ranks[False]}, which weighs bytes"
        raise next(iter(weights)).amount.error(problem, "points below each [[rule]] that wants them")
    return tuple(weight.points(rank) for weight in weights for rank in ranks.values())


def _fields(section: Section, readers: _Readers, hint: str = "", needed: Collection[str] = ()) -> dict[str, Any]:
    """What the keys of a section hold, by the names of the fields that they fill."""
    found = {
        _FIELDS.get(key.value, key.value): readers[_choice(key, "key", readers, hint)](value)
        for key, value in section.pairs
    }
    for name in needed:
        if name not in found:
            key = next((key for key, field in _FIELDS.items() if field == name), name)
            kind = section.header.value.strip("[] ")
            raise section.header.error(f"a {kind} without {key}", f"{key} among its keys")
    return found


def _choice(text: Text, what: str, known: Collection[str], hint: str = "") -> str:
    """A word that must be one of those known."""
    if text.value in known:
        return text.value
    names = f"one of {', '.join(known)}{hint}"
    if text.value in _LATER.get(what, ()):
        raise text.error(f"this version does not have the {what}", names)
    raise text.error(f"unknown {what}", names + near(text.value, known))


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
    _choice(text.part(0, len(kind)), "kind of selector", SELECTORS)
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


def _steps(value: Value) -> tuple[Step, ...]:
    texts = value.strings()
    if not texts:
        raise value.text.error("no step", 'at least one, such as ["kill"]')
    steps = tuple(map(_step, texts))
    for step, following in zip(steps, texts[1:], strict=False):
        if step.kind in _LAST:
            raise following.error(f"a step after {step.kind}", f"{step.kind} as the last one")
    return steps


def _step(text: Text) -> Step:
    colon = text.value.find(":") if re.match(r"\s*run\b", text.value) else -1
    head = text if colon < 0 else text.part(0, colon)
    words = [head.part(*word.span()) for word in re.finditer(r"\S+", head.value)]
    if not words:
        raise text.error("not a step", f"one of {', '.join(STEPS)}")
    kind = _choice(words[0], "step", STEPS)
    if len(words) > (1 if kind in _LAST else 2):
        expected = f"{kind} alone" if kind in _LAST else f"{kind} and a duration"
        raise words[-1].error("too much for a step", expected)
    if kind in ("term", "run") and len(words) == 1:
        example = "term 5s" if kind == "term" else "run 200ms: /usr/bin/logger $NAME"
        raise text.error("a step without a duration", f"how long to wait before the next, such as {example}")
    seconds = duration(words[1]) if len(words) == 2 else 0.0
    if kind != "run":
        return Step(kind, seconds)
    if colon < 0:
        raise text.error("a step without a command", "a colon and a command, such as run 200ms: /usr/bin/logger $NAME")
    return Step(kind, seconds, _command(text.part(colon + 1)))


def _command(text: Text) -> tuple[str, ...]:
    """A command, split as a shell would; no shell ever sees it."""
    example = "/usr/bin/logger $NAME"
    if "\0" in text.value:
        raise text.error("a NUL in a command", f"plain text, such as {example}")
    try:
        words = tuple(shlex.split(text.value))
    except ValueError as error:
        raise text.error(f"not a command, {str(error).lower()}", "each quotation mark closed") from None
    if not words:
        raise text.error("no command", f"the path of a program and its arguments, such as {example}")
    body = text.part(len(text.value) - len(text.value.lstrip()))
    if not words[0].startswith("/"):
        raise body.error("a program without its path", f"one that begins with /, such as {example}")
    if "$" in words[0]:
        raise body.error("a program that depends on the victim", "$ in the arguments only")
    for dollar in re.finditer(r"\$(?:\{|([A-Za-z_]\w*))", text.value):
        if dollar[1] not in WORDS:
            known = f"one of {', '.join('$' + word for word in WORDS)}{near(dollar[1] or '', WORDS)}"
            raise text.part(*dollar.span()).error("unknown word of a command", known)
    return words


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
    return Instead(_selector(text.part(0, arrow.start())), _command(text.part(arrow.end())))


def _path(text: Text) -> str:
    if not text.value.startswith("/") or not text.value.isprintable():
        raise text.error("not a path", "one that begins with /, such as /sys/fs/cgroup/user.slice/memory.pressure")
    return text.value


def _score(text: Text) -> float:
    return quantity(text, SCORE)[0]


def _time(text: Text) -> float:
    return quantity(text, TIME)[0]


def _word(what: str, known: Collection[str]) -> Callable[[Text], str]:
    return lambda text: _choice(text, what, known)


def _amount(text: Text) -> Amount:
    value, unit = quantity(text, LEVEL)
    return Amount(value, unit == "%")


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
}
_RULE: _Readers = {
    "name": _of_string(_name),
    "when": _of_string(condition),
    "until": _of_string(condition),
    "unit": _of_string(_word("unit", UNITS)),
    "rank": _of_string(_word("rank", RANKS)),
    **_LISTS,
    **_SCORING,
    "raised": _of_string(lambda text: _choice(text, "word", RAISED) == RAISED[0]),
    "least_score": _of_string(_score),
    "steps": _steps,
    "rest": _of_string(_time),
    "target": _of_string(_amount),
    "least": _of_string(_amount),
}
_HOOK: _Readers = {
    "on": _of_string(_word("event", HAPPENINGS)),
    "run": _of_string(_command),
    "limit": _of_string(duration),
}
#: The fields of keys that have another name.
_FIELDS = {"run": "command", "limit": "seconds"}
