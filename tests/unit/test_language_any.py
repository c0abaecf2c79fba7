"""The policy language on generated texts: what is written is what is meant, and nothing breaks the parser."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okoomer.policy import source
from okoomer.policy.language import PolicyError, parse
from okoomer.policy.metrics import AVERAGE, COUNT, DEFAULT_WINDOW, FLOW, LEVEL, PORTION, RATIO, STALL, TIME, TREND
from okoomer.policy.metrics_cgroup import METRICS
from okoomer.policy.model import CGROUP_RANKS, RANKS, UNITS, Amount, And, Comparison, Held, Not, Or, Policy, Somewhere
from okoomer.policy.scope import scope_of

if TYPE_CHECKING:
    from okoomer.policy.model import Condition, Rule

HEAD = '[[rule]]\nname = "a"\n'
WHEN = HEAD + 'when = "mem.free < 5%"\n'

#: Other work on the machine is no failure.
unhurried = settings(deadline=None)


def when_of(text: str) -> Condition:
    return parse(f'{HEAD}scope = "x"\nwhen = "{text}"', "p.toml").rules[0].when


def rule_of(keys: str) -> Rule:
    return parse(WHEN + keys, "p.toml").rules[0]


UNITS_OF: dict[str, dict[str, float]] = {
    LEVEL: {"%": 0.01, "B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
    | {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40},
    STALL: {"%": 0.01},
    AVERAGE: {"%": 0.01},
    PORTION: {"%": 0.01},
    FLOW: {"B/s": 1, "kB/s": 1e3, "KiB/s": 2**10, "MiB/s": 2**20, "GiB/s": 2**30},
    TREND: {"B/s": 1, "kB/s": 1e3, "KiB/s": 2**10, "MiB/s": 2**20, "GiB/s": 2**30},
    COUNT: {"/s": 1},
    RATIO: {"": 1},
    TIME: {"ms": 1e-3, "s": 1, "min": 60, "h": 3600},
}
INVERSE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def about(value: float) -> Any:
    """A number that equals those that differ from it by rounding only."""
    return pytest.approx(value, rel=1e-9)


def inverse(of: Condition) -> Condition:
    if isinstance(of, Comparison):
        return Comparison(of.metric, INVERSE[of.operator], of.threshold, of.share, of.over)
    if isinstance(of, (Held, Somewhere)):
        return Not(of)
    if isinstance(of, Not):
        return of.part
    return (Or if isinstance(of, And) else And)(tuple(map(inverse, of.parts)))


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[str, Condition]:
    metric = METRICS[draw(st.sampled_from(sorted(METRICS)))]  # also of the cgroup that the rule is about
    unit = draw(st.sampled_from(sorted(UNITS_OF[metric.kind])))
    number = draw(st.one_of(st.integers(1, 99), st.decimals("0.1", "99.9", places=1)))
    operator = draw(st.sampled_from(sorted(INVERSE)))
    over = DEFAULT_WINDOW if metric.windowed else 0.0
    parts = [metric.name, operator, f"{number}{unit}"]
    if draw(st.booleans()):
        parts = [parts[2], TURNED[operator], parts[0]]
    if metric.windowed and draw(st.booleans()):
        over = draw(st.integers(1, 600))
        parts += ["over", f"{over}s"]
    threshold = float(number) * UNITS_OF[metric.kind][unit]
    share = metric.kind == LEVEL and unit == "%"
    return " ".join(parts), Comparison(metric.name, operator, about(threshold), share, float(over))


def joined(parts: list[tuple[str, Condition]], kind: type[And] | type[Or]) -> tuple[str, Condition]:
    word = " and " if kind is And else " or "
    flat: list[Condition] = []
    for _, part in parts:
        flat += part.parts if isinstance(part, kind) else [part]
    return word.join(f"({text})" for text, _ in parts), kind(tuple(flat))


def combined(inner: st.SearchStrategy[tuple[str, Condition]]) -> st.SearchStrategy[tuple[str, Condition]]:
    return st.one_of(
        st.builds(joined, st.lists(inner, min_size=2, max_size=3), st.sampled_from([And, Or])),
        st.builds(lambda c, s: (f"({c[0]}) for {s}ms", Held(c[1], s / 1000)), inner, st.integers(1, 10**6)),
        st.builds(lambda c: (f"not ({c[0]})", inverse(c[1])), inner),
    )


SOMEWHERE = st.builds(
    lambda globs, c: (f"any in '{globs}' ({c[0]})", Somewhere(scope_of(globs), c[1])),
    st.sampled_from(["a/*", "{a,b}/c, d", "/", "[!a]?"]),
    st.recursive(comparisons(), combined, max_leaves=3),
)
CONDITION = st.recursive(st.one_of(comparisons(), SOMEWHERE), combined, max_leaves=8)


@unhurried
@given(CONDITION)
def test_conditions_say_what_was_meant(generated: tuple[str, Condition]) -> None:
    text, expected = generated
    assert when_of(text) == expected


@unhurried
@given(st.integers(1, 10**6), st.sampled_from([("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0)]))
def test_durations_are_seconds(number: int, unit: tuple[str, float]) -> None:
    assert rule_of(f"rest = '{number}{unit[0]}'").rest == about(number * unit[1])


@unhurried
@given(st.decimals("0.1", "9999", places=1), st.sampled_from(sorted(UNITS_OF[LEVEL].keys() - {"%"})))
def test_sizes_are_bytes(number: object, unit: str) -> None:
    expected = float(str(number)) * UNITS_OF[LEVEL][unit]
    assert rule_of(f"least = '{number}{unit}'").least == Amount(about(expected))


PIECES = [
    *METRICS,
    *UNITS,
    *RANKS,
    *CGROUP_RANKS,
    "[[rule]]",
    "\nname = ",
    "\nwhen = ",
    '"',
    "'",
    '"""',
    "[",
    "]",
    ",",
    "=",
]
PIECES += ["<", ">=", "5%", "400MiB", "2s", " over ", " for ", " and ", " or ", " not ", "(", ")", "\n", "#"]
PIECES += [
    "\\",
    "\\u00e9",
    "[[hook]]",
    "\nrun = ",
    "\npoints = ",
    "\nsteps = ",
    "\ninstead = ",
    " => ",
    "+3",
    "run 1s: ",
]
PIECES += [
    "name~",
    "/bin/x",
    "$PID",
    "$",
    "\nscope = ",
    "\namong = ",
    "\nunit = ",
    "any in ",
    "./",
    "{a",
    "}",
    "*/",
    "shrink",
]
SOUP = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=30).map("".join)


@unhurried
@given(st.one_of(SOUP, SOUP.map(lambda text: WHEN + text), st.text()))
def test_any_text_is_a_policy_or_an_error(text: str) -> None:
    try:
        assert isinstance(parse(text, "p.toml"), Policy)
    except PolicyError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        assert str(error).count("\n") == 2


@unhurried
@given(SOUP)
def test_any_text_is_a_condition_or_an_error(text: str) -> None:
    written = '"' + "".join(f"\\U{ord(character):08x}" for character in text if character.isascii()) + '"'
    try:
        parse(f"{HEAD}when = {written}", "p.toml")
    except PolicyError as error:
        assert error.line == 3 and (error.column - len('when = "') - 1) % 10 == 0


WRITTEN = st.text(st.sampled_from("ab\\\"'nu00e9 \t\n#"))


@unhurried
@given(
    st.one_of(st.text(st.characters(codec="utf-8")), WRITTEN),
    st.sampled_from(['"{}"', "'{}'", '"""{}"""', "'''{}'''"]),
)
def test_strings_are_read_as_tomllib_does(text: str, quotes: str) -> None:
    written = "x = " + quotes.format(text)
    try:
        expected = tomllib.loads(written)
    except ValueError:
        return
    if expected.keys() == {"x"}:
        top, _ = source.sections(written, "p.toml")
        value = top.pairs[0][1].string()
        assert value.value == expected["x"] and len(value.places) == len(value.value) + 1
