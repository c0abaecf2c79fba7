"""Any policy as text says what the policy says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.policy.condition import LONGEST_WINDOW, SHORTEST_WINDOW
from okoomer.policy.glob import literal
from okoomer.policy.language import PRESETS, WORDS, load, parse
from okoomer.policy.metrics import COUNT, FLOW, LEVEL, RATIO, TIME, TREND
from okoomer.policy.metrics_cgroup import METRICS
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
    And,
    Comparison,
    Held,
    Hook,
    Instead,
    Not,
    Or,
    Points,
    Policy,
    Ratios,
    Rule,
    Scope,
    Selector,
    Somewhere,
    Step,
)
from okoomer.policy.scope import scope_of
from okoomer.policy.select import compile_pattern
from okoomer.policy.write import condition_text, text_of
from okoomer.record import replace
from tests.unit import strategies
from tests.unit.strategies import GIB, MIB, cases

if TYPE_CHECKING:
    from random import Random

    from okoomer.policy.model import Condition

LOW = Comparison("mem.available", "<", 0.05, share=True)
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
    """What the condition of a rule compiles to that is about a cgroup."""
    return parse(f"[[rule]]\nname = 'a'\nscope = 'a'\nwhen = '''{text}'''", "p.toml").rules[0].when


def number(random: Random) -> float:
    return random.choice((1, 5, 300, 0.1, 2.5, random.random(), random.randrange(1, 10**6), random.random() * 1e-9))


def comparison(random: Random, scoped: bool) -> Comparison:
    """A comparison that can be crossed, with a number that nobody would write as well."""
    metric = METRICS[random.choice([name for name in METRICS if scoped or not METRICS[name].of_cgroup])]
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


GLOBS = (
    "a/*",
    "/",
    "",
    " x , y/{a,b}/[!a-c]?",
    r"a\*b\,\{",
    "it's/*",
    '"a"',
    r"""\"a'""",
    "a/" + "b" * 90 + "*",
)


def globs(random: Random) -> Scope:
    return random.choice((scope_of(random.choice(GLOBS)), literal("/a\\x2d*/b c/{,}")))


def wild(random: Random, scoped: bool = True) -> Condition:
    """Any condition, with thresholds that the language does not refuse; of a cgroup only if it is about one."""

    def crossing(of: Condition, scoped: bool, within: bool) -> Condition:
        if not within and random.random() < 0.15:
            return Somewhere(globs(random), crossing(of, True, True))
        if isinstance(of, Comparison):
            return comparison(random, scoped)
        if isinstance(of, Held):
            seconds = random.choice((0.2, 2.0, 60.0, 7200.0, number(random)))
            return Held(crossing(of.condition, scoped, within), seconds)
        if isinstance(of, Not):
            return Not(crossing(of.part, scoped, within))
        return replace(of, parts=tuple(crossing(part, scoped, within) for part in of.parts))

    return crossing(strategies.condition(random, 3, held=True), scoped, False)


def condition(random: Random, scoped: bool) -> Condition:
    """A condition as the language compiles it."""
    return normal(wild(random, scoped))


def normal(of: Condition, negated: bool = False) -> Condition:
    """A condition as the language puts it: flat, and `not` only before `for`."""
    if isinstance(of, Comparison):
        return replace(of, operator=INVERSE[of.operator]) if negated else of
    if isinstance(of, Not):
        return normal(of.part, not negated)
    if isinstance(of, Held):
        held = Held(normal(of.condition), of.seconds)
        return Not(held) if negated else held
    if isinstance(of, Somewhere):
        somewhere = replace(of, condition=normal(of.condition))
        return Not(somewhere) if negated else somewhere
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


def steps(random: Random, scoped: bool) -> tuple[Step, ...]:
    before = [Step("warn"), Step("warn", 0.5), Step("run", 0.2, command(random)), Step("term", 10.0), Step("term", 0.1)]
    if scoped:
        before += [Step("shrink", amount=Amount(0.01, True)), Step("shrink", 2.0, amount=Amount(50 * MIB))]
    last = random.choice(((Step("kill"),), (Step("oom"),), (Step("prekill", 5.0), Step("kill")), ()))
    if last and last[-1].kind == "kill":
        before += [Step("pause", 10.0), Step("ask", 90.0)]
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
    unit = random.choice(UNITS)
    whole = unit == "cgroup"
    rank = random.choice((*(rank for rank in RANKS if rank not in POINTED), *CGROUP_RANKS) if whole else ranks)
    pointed = rank in POINTED
    managed = random.choice(("", "", *MANAGED[:2], f"{MANAGED[2]}:x"))
    scope = globs(random) if not managed and random.random() < 0.5 else None
    scoped = bool(managed or scope)
    amongst = random.choice((None, globs(random), scope_of("./*", relative=True) if scoped else None))
    ladder = steps(random, scoped)
    by = random.choice(("", *HOLDERS)) if Rule("", LOW, "", unit=unit, steps=ladder).chooses and not whole else ""
    return Rule(
        name=random.choice(("low", "a 'b' \"c\"", "é\\")) + str(number_),
        when=condition(random, scoped),
        when_text="",
        until=condition(random, scoped) if random.random() < 0.3 else None,
        unit=unit,
        rank=rank,
        managed=managed,
        scope=scope,
        among=amongst if unit in ("cgroup", "auto") else None,
        descend=random.choice(DESCENTS) if whole else "leaves",
        least_swap=amount(random) if whole else None,
        ratios=random.choice((Ratios(), Ratios(0.6, 0.0, 1.9))) if rank == "size_or_growth" else Ratios(),
        prefer=some_selectors(random),
        avoid=some_selectors(random),
        spare=some_selectors(random),
        points=points(random, pointed) if rank != "oom_score" and not whole else (),
        instead=insteads(random),
        steps=ladder,
        rest=random.choice((0.0, 0.5, 2.0, 60.0, 5400.0)),
        target=amount(random),
        least=amount(random),
        least_score=random.choice((0.0, 10.0, 0.5)) if pointed else 0.0,
        raised=not pointed or random.random() < 0.5,
        level=random.choice((0, 0, *LEVELS.values())),
        by=by,
        share=amount(random) if by else None,
    )


def hook(random: Random) -> Hook:
    return Hook(
        random.choice(HAPPENINGS), command(random), random.choice((20.0, 1.0)), random.choice(("", "root", "daemon"))
    )


def takes_points(rule: Rule) -> bool:
    return rule.chooses and rule.rank != "oom_score" and not rule.of_cgroups


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
        points=points(random, pointed) if any(takes_points(one) for one in rules) else (),
        instead=insteads(random),
        hooks=tuple(hook(random) for _ in range(2)),
        notify=tuple(random.sample(HAPPENINGS, random.choice((0, 2)))),
        report=random.choice((0.0, 1.0, 3600.0)),
        pressure=random.choice(("", "/sys/fs/cgroup/user.slice/memory.pressure")),
        tell=random.choice(((), ("cmdline",), TOLD)),
        prime=not any(one.rank in POINTED for one in rules) and random.random() < 0.5,
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
