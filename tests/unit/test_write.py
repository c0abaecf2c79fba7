"""A policy as text says what the policy says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from okoomer.policy import write
from okoomer.policy.condition import LONGEST_WINDOW, SHORTEST_WINDOW
from okoomer.policy.language import PRESETS, WORDS, load, parse
from okoomer.policy.metrics import COUNT, FLOW, LEVEL, METRICS, RATIO, TIME, TREND
from okoomer.policy.model import (
    HAPPENINGS,
    POINTED,
    RANKS,
    SELECTORS,
    UNITS,
    Amount,
    And,
    Comparison,
    Held,
    Hook,
    Instead,
    Not,
    Or,
    Points,
    Policy,
    Rule,
    Selector,
    Step,
)
from okoomer.policy.select import compile_pattern
from okoomer.policy.write import condition_text, text_of
from okoomer.record import replace
from tests.unit import strategies
from tests.unit.strategies import GIB, MIB, cases

if TYPE_CHECKING:
    from random import Random

    from okoomer.policy.model import Condition

INVERSE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def plain(policy: Policy) -> Policy:
    """Without what a text does not keep: a condition's own words, lines, and how a pattern before an arrow is put."""
    rules = (replace(r, line=0, when_text="", until_text="", instead=patterns_aside(r.instead)) for r in policy.rules)
    return replace(policy, rules=tuple(rules), instead=patterns_aside(policy.instead))


def patterns_aside(insteads: tuple[Instead, ...]) -> tuple[Instead, ...]:
    return tuple(replace(one, selector=replace(one.selector, pattern="")) for one in insteads)


def read_again(policy: Policy, notes: tuple[tuple[str, str], ...] = ()) -> Policy:
    return parse(text_of(policy, notes), f"{policy.name}.toml")


def compiled(text: str) -> Condition:
    return parse(f"[[rule]]\nname = 'a'\nwhen = '{text}'", "p.toml").rules[0].when


def selector(written: str) -> Selector:
    kind, sign, pattern = re.split("([:~])", written, maxsplit=1)
    return Selector(kind, pattern, compile_pattern(pattern), sign == "~")


# --- generated ------------------------------------------------------------------------------------------------------


def number(random: Random) -> float:
    return random.choice((1, 5, 300, 0.1, 2.5, random.random(), random.randrange(1, 10**6), random.random() * 1e-9))


def comparison(random: Random) -> Comparison:
    """A comparison that can be crossed, with a number that nobody would write as well."""
    metric = METRICS[random.choice(list(METRICS))]
    operator, over = random.choice(list(INVERSE)), 0.0
    if metric.windowed:
        over = random.choice((SHORTEST_WINDOW, LONGEST_WINDOW, 1.0, 2.5, 90.0, 0.1 + random.random()))
    share = random.choice((0.03, 0.1, 0.29, 0.5, 0.999, random.uniform(1e-9, 1)))
    if metric.kind == LEVEL and random.random() < 0.5:
        return Comparison(metric.name, operator, share, True, over)
    if metric.kind in (LEVEL, FLOW, TREND):
        size = random.choice((1, 1000, 4096, 1.5 * GIB, 400 * MIB, 3e15 + 1, random.randrange(1, 10**15), 0.1 * GIB))
        return Comparison(metric.name, operator, size, False, over)
    if metric.kind in (COUNT, RATIO, TIME):
        return Comparison(metric.name, operator, number(random), False, over)
    return Comparison(metric.name, operator, share, False, over)


def wild(random: Random) -> Condition:
    """Any condition, with thresholds that the language does not refuse."""

    def crossing(of: Condition) -> Condition:
        if isinstance(of, Comparison):
            return comparison(random)
        if isinstance(of, Held):
            return Held(crossing(of.condition), random.choice((0.2, 2.0, 60.0, 7200.0, number(random))))
        if isinstance(of, Not):
            return Not(crossing(of.part))
        return replace(of, parts=tuple(map(crossing, of.parts)))

    return crossing(strategies.condition(random, 3, held=True))


def condition(random: Random) -> Condition:
    """A condition as the language compiles it."""
    return normal(wild(random))


def normal(of: Condition, negated: bool = False) -> Condition:
    """A condition as the language puts it: flat, and `not` only before `for`."""
    if isinstance(of, Comparison):
        return replace(of, operator=INVERSE[of.operator]) if negated else of
    if isinstance(of, Not):
        return normal(of.part, not negated)
    if isinstance(of, Held):
        held = Held(normal(of.condition), of.seconds)
        return Not(held) if negated else held
    kind = And if isinstance(of, And) != negated else Or
    parts: list[Condition] = []
    for part in of.parts:
        found = normal(part, negated)
        parts += found.parts if isinstance(found, kind) else [found]
    return kind(tuple(parts))


PATTERNS = (
    "a",
    r"\d+",
    "it's",
    '"',
    r"\"'",
    "a => b",
    "=>",
    "a:b~c",
    "#",
    "é{1,2}",
    " ",
    r"[\]\\]",
    "(?i)x",
    "$",
    "x" * 90,
)
ARGUMENTS = ("-x", "a b", "", "'", '"', "\\", "$5", "a\tb\n", "é", "#", ":", "=>", *(f"-{'$'}{word}" for word in WORDS))


def some_selector(random: Random) -> Selector:
    kind, part = random.choice(SELECTORS), random.random() < 0.5
    pattern = "0" if kind == "user" and not part else random.choice(PATTERNS[:7] if kind == "user" else PATTERNS)
    if kind == "user" and part and pattern.isalpha():
        pattern = "^0$"
    return Selector(kind, pattern, compile_pattern(pattern), part)


def some_selectors(random: Random) -> tuple[Selector, ...]:
    return tuple(some_selector(random) for _ in range(random.choice((0, 0, 1, 2, 9))))


def command(random: Random) -> tuple[str, ...]:
    program = random.choice(("/bin/x", "/opt/my tool"))
    return (program, *(random.choice(ARGUMENTS) for _ in range(random.randrange(4))))


def steps(random: Random) -> tuple[Step, ...]:
    before = (Step("warn"), Step("warn", 0.5), Step("run", 0.2, command(random)), Step("term", 10.0), Step("term", 0.1))
    last = random.choice(((Step("kill"),), (Step("oom"),), ()))
    return (*random.sample(before, random.randrange(4)), *last) or (Step("kill"),)


def points(random: Random, pointed: bool) -> tuple[Points, ...]:
    def one() -> Points:
        value = number(random) if pointed else random.choice((3 * GIB, 1.5 * MIB, 1, 12345))
        return Points(random.choice((1, -1)) * value, some_selector(random))

    return tuple(one() for _ in range(random.choice((0, 0, 1, 3))))


def insteads(random: Random) -> tuple[Instead, ...]:
    return tuple(Instead(some_selector(random), command(random)) for _ in range(random.choice((0, 0, 1, 2))))


def amount(random: Random) -> Amount | None:
    return random.choice((None, Amount(0.1, share=True), Amount(64 * MIB), Amount(random.random(), share=True)))


def rule(random: Random, number_: int, ranks: tuple[str, ...]) -> Rule:
    rank = random.choice(ranks)
    pointed = rank in POINTED
    return Rule(
        name=random.choice(("low", "a 'b' \"c\"", "é\\")) + str(number_),
        when=condition(random),
        when_text="",
        until=condition(random) if random.random() < 0.3 else None,
        unit=random.choice(UNITS),
        rank=rank,
        prefer=some_selectors(random),
        avoid=some_selectors(random),
        spare=some_selectors(random),
        points=points(random, pointed) if rank != "oom_score" else (),
        instead=insteads(random),
        steps=steps(random),
        rest=random.choice((0.0, 0.5, 2.0, 60.0, 5400.0)),
        target=amount(random),
        least=amount(random),
        least_score=random.choice((0.0, 10.0, 0.5)) if pointed else 0.0,
        raised=not pointed or random.random() < 0.5,
    )


def policy(random: Random) -> Policy:
    pointed = random.random() < 0.5
    ranks = random.choice((POINTED, POINTED[1:])) if pointed else tuple(rank for rank in RANKS if rank not in POINTED)
    rules = tuple(rule(random, n, ranks) for n in range(random.randint(1, 3)))
    return Policy(
        name="p",
        rules=rules,
        prefer=some_selectors(random),
        avoid=some_selectors(random),
        spare=some_selectors(random),
        supervisors=some_selectors(random),
        points=points(random, pointed) if any(one.rank != "oom_score" for one in rules if one.chooses) else (),
        instead=insteads(random),
        hooks=tuple(Hook(random.choice(HAPPENINGS), command(random), random.choice((20.0, 1.0))) for _ in range(2)),
        notify=tuple(random.sample(HAPPENINGS, random.choice((0, 2)))),
        report=random.choice((0.0, 1.0, 3600.0)),
        pressure=random.choice(("", "/sys/fs/cgroup/user.slice/memory.pressure")),
        tell=random.choice(((), ("cmdline",), ("cmdline", "kernel_kills"))),
    )


@cases(100)
def test_any_policy_is_read_back_as_it_is(random: Random) -> None:
    given = policy(random)
    notes = (
        ("", "a\nb"),
        ("points", "c " * 90),
        (given.rules[0].name, "d"),
        ("unheard of", '"""'),
        ("hook", "\x1b[31m"),
    )
    assert plain(read_again(given)) == plain(given)
    assert plain(read_again(given, notes)) == plain(given)


@cases(600)
def test_any_condition_is_read_back_as_the_language_puts_it(random: Random) -> None:
    given = wild(random)
    assert compiled(condition_text(given)) == normal(given)
    assert compiled(condition_text(normal(given))) == normal(given)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_read_back_as_they_are(name: str) -> None:
    assert plain(read_again(load(name))) == plain(load(name))


# --- as a person would write it -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0B"),
        (1, "1B"),
        (512, "512B"),
        (1000, "1kB"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (1536, "1.5KiB"),
        (123_000_000, "123MB"),
        (400 * MIB, "400MiB"),
        (1.5 * GIB, "1.5GiB"),
        (GIB + 1, "1073741825B"),
        (0.1 * GIB, "102.4MiB"),
        (1 / 3, "0.3333333333333333B"),
        (2.0**50 + 1, "1024.0000000000009094947017729282379150390625TiB"),
    ],
)
def test_sizes(value: float, text: str) -> None:
    assert write.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0s"),
        (0.2, "200ms"),
        (1.0, "1s"),
        (1.5, "1500ms"),
        (60.0, "1min"),
        (90.0, "90s"),
        (7200.0, "2h"),
        (1e-4, "0.0001s"),
    ],
)
def test_durations(value: float, text: str) -> None:
    assert write.duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.05, "5%"), (0.29, "29%"), (0.012, "1.2%"), (1.0, "100%"), (1 / 3, "33.33333333333333%")]
)
def test_shares(value: float, text: str) -> None:
    assert write.share(value) == text


WHEN = Comparison("mem.available", "<", 0.05, share=True)


def test_how_a_policy_looks() -> None:
    given = Policy(
        "p",
        (
            Rule(
                "term",
                And(
                    (
                        Comparison("mem.available.user", "<=", 0.1, share=True),
                        Comparison("swap.free", "<=", 0.1, share=True),
                    )
                ),
                "",
                unit="group",
                rank="badness",
                raised=False,
                least_score=10.0,
                steps=(Step("run", 0.2, ("/bin/a", "$PID", "b c", "it's")), Step("term", 10.0), Step("kill")),
            ),
            Rule("oom", WHEN, "", steps=(Step("oom"),)),
        ),
        spare=(selector("user:0"),),
        points=(Points(300.0, selector("name~^(a|b)$")), Points(-300.0, selector(r"name~\.x"))),
        instead=(Instead(selector("unit:sql.*"), ("/usr/bin/systemctl", "restart", "$SERVICE")),),
        hooks=(Hook("signalled", ("/bin/b",)), Hook("warned", ("/bin/c", "$NAME"), 5.0)),
        notify=("signalled", "refused"),
        report=3600.0,
        pressure="/p",
    )
    notes = (
        ("", "What it was."),
        ("report", "Each hour."),
        ("term", "It escalates."),
        ("steps", "Not for ever."),
        ("hook", "As before."),
        ("sleep", "Not needed."),
        ("nap", "Not needed."),
    )
    assert text_of(given, notes) == (
        """# What it was.
# sleep, nap: Not needed.

avoid = []
spare = ["user:0"]
supervisors = []
points = ["+300 name~^(a|b)$", '-300 name~\\.x']
instead = ["unit:sql.* => /usr/bin/systemctl restart $SERVICE"]
# Each hour.
report = "1h"
notify = ["signalled", "refused"]
pressure = "/p"

# It escalates.
[[rule]]
name = "term"
when = "mem.available.user <= 10% and swap.free <= 10%"
unit = "group"
rank = "badness"
raised = "ignored"
least_score = "10"
# Not for ever.
steps = ["run 200ms: /bin/a $PID 'b c' \\"it's\\"", "term 10s", "kill"]

[[rule]]
name = "oom"
when = "mem.available < 5%"
steps = ["oom"]

# As before.
[[hook]]
on = "signalled"
run = "/bin/b"

[[hook]]
on = "warned"
run = "/bin/c $NAME"
limit = "5s"
"""
    )


def test_what_is_long_takes_several_lines() -> None:
    parts = tuple(replace(WHEN, threshold=0.01 * n) for n in range(1, 5))
    when = Or((And((*parts, Held(Or(parts[:2]), 2.0))), Held(And((*parts, *parts)), 3.0)))
    spare = tuple(selector(f"name:{letter * 20}") for letter in "abcdef")
    text = text_of(Policy("p", (Rule("a", when, "", spare=spare),), avoid=load("server").avoid, supervisors=()))
    assert max(map(len, text.splitlines())) <= 120
    assert '    "name:aaaaaaaaaaaaaaaaaaaa",\n    "name:b' in text
    assert 'when = """\n    (mem.available < 1%\n' in text
    assert "avoid" not in text and "supervisors = []" in text


def test_what_is_invisible_is_written_as_what_means_the_same() -> None:
    given = Rule("a", WHEN, "", spare=(selector("name~a\tb\u00a0\U000e0041"), selector("name~\\\t"), selector("name~")))
    again = read_again(Policy("p", (given,))).rules[0]
    assert [one.written for one in again.spare] == [r"name~a\x09b\xa0\U000e0041", r"name~\x09", "name~(?:)"]
    assert [one.code for one in again.spare] == [one.code for one in given.spare]


def test_an_arrow_in_a_pattern_is_not_the_arrow() -> None:
    given = Instead(selector("cmdline:a => b"), ("/bin/x",))
    again = read_again(Policy("p", (Rule("a", WHEN, "", instead=(given,)),))).rules[0].instead[0]
    assert (again.selector.code, again.command) == (given.selector.code, given.command)


@pytest.mark.parametrize(
    "given",
    [
        Rule("a", Comparison("mem.available", "<", -1.0), ""),
        Rule("a", Comparison("mem.available", "<", float("inf")), ""),
        Rule("a", Comparison("mem.available", "<", float("nan")), ""),
        Rule("a", WHEN, "", rest=1e15),
        Rule("a", WHEN, "", steps=(Step("run", 1.0, ("/bin/\udc80",)),)),
    ],
)
def test_what_no_text_can_say(given: Rule) -> None:
    with pytest.raises(ValueError):
        text_of(Policy("p", (given,)))
