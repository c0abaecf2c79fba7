"""What the policy language says of cgroups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.guard.sense import wants_of
from okoomer.policy.language import parse
from okoomer.policy.model import (
    CGROUP_RANKS,
    DESCENTS,
    Amount,
    And,
    Comparison,
    Held,
    Not,
    Or,
    Ratios,
    Rule,
    Selector,
    Somewhere,
    Step,
)
from okoomer.policy.scope import scope_of
from okoomer.policy.select import compile_pattern
from tests.unit.test_language_errors import HEAD, WHEN, error_of

if TYPE_CHECKING:
    from okoomer.policy.model import Condition

MIB = 1024**2
#: Where a condition between double quotes begins.
AT = 9

BIG = Comparison("cgroup.memory", ">", 0.05, share=True)
HURT = Comparison("cgroup.psi.memory.full", ">", 0.4, over=2.0)
LOW = Comparison("mem.free", "<", 0.05, share=True)
BIG_TEXT, HURT_TEXT, LOW_TEXT = "cgroup.memory > 5%", "cgroup.psi.memory.full > 40% over 2s", "mem.free < 5%"
SLICE = scope_of("system.slice/*")


def rule_of(keys: str) -> Rule:
    return parse(HEAD + keys, "p.toml").rules[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"any in 'system.slice/*' ({BIG_TEXT})", Somewhere(SLICE, BIG)),
        (f"any in\\t\\u0022system.slice/*\\u0022({BIG_TEXT})", Somewhere(SLICE, BIG)),
        (f"any in 'system.slice/*' ({HURT_TEXT} for 3s)", Somewhere(SLICE, Held(HURT, 3.0))),
        (f"any in 'system.slice/*' ({HURT_TEXT}) for 3s", Held(Somewhere(SLICE, HURT), 3.0)),
        (f"{LOW_TEXT} and any in 'system.slice/*' ({BIG_TEXT})", And((LOW, Somewhere(SLICE, BIG)))),
        (f"any in 'system.slice/*' ({BIG_TEXT} and {LOW_TEXT})", Somewhere(SLICE, And((BIG, LOW)))),
        (f"not any in 'system.slice/*' ({BIG_TEXT})", Not(Somewhere(SLICE, BIG))),
        (
            f"not (any in 'system.slice/*' ({BIG_TEXT}) and mem.free >= 5%)",
            Or((Not(Somewhere(SLICE, BIG)), LOW)),
        ),
        (
            f"any in 'a, b' ({BIG_TEXT}) or any in '/' ({BIG_TEXT})",
            Or((Somewhere(scope_of("a, b"), BIG), Somewhere(scope_of("/"), BIG))),
        ),
        ("any in 'a' (cgroup.populated >= 0)", Somewhere(scope_of("a"), Comparison("cgroup.populated", ">=", 0.0))),
        (
            "any in 'a' (not cgroup.memory < 0B)",
            Somewhere(scope_of("a"), Comparison("cgroup.memory", ">=", 0.0)),
        ),
    ],
)
def test_any_in(text: str, expected: Condition) -> None:
    assert rule_of(f'when = "{text}"').when == expected


def test_a_rule_about_cgroups() -> None:
    rule = rule_of(
        f"""
        when = "{HURT_TEXT} and {LOW_TEXT}"
        until = "cgroup.memory < 1GiB"
        scope = "system.slice/*, user.slice"
        unit = "cgroup"
        among = "./*, ./*/*"
        descend = "best"
        rank = "size_or_growth"
        dominant = "60%"
        percentile = "0%"
        growth_ratio = "1.9"
        least_swap = "5%"
        avoid = ["tag:user.oomd_avoid", 'container~^ab', "pod:x", "tag~omit"]
        steps = ["warn", "shrink 1%", "shrink 50MiB 2s", "prekill 5s", "oom"]
        """
    )
    assert rule == Rule(
        "a",
        And((HURT, LOW)),
        f"{HURT_TEXT} and {LOW_TEXT}",
        until=Comparison("cgroup.memory", "<", 1024 * MIB),
        until_text="cgroup.memory < 1GiB",
        scope=scope_of("system.slice/*, user.slice"),
        unit="cgroup",
        among=scope_of("./*, ./*/*", relative=True),
        descend="best",
        rank="size_or_growth",
        ratios=Ratios(0.6, 0.0, 1.9),
        least_swap=Amount(0.05, share=True),
        avoid=(
            Selector("tag", "user.oomd_avoid", compile_pattern("user.oomd_avoid")),
            Selector("container", "^ab", compile_pattern("^ab"), True),
            Selector("pod", "x", compile_pattern("x")),
            Selector("tag", "omit", compile_pattern("omit"), True),
        ),
        steps=(
            Step("warn"),
            Step("shrink", amount=Amount(0.01, share=True)),
            Step("shrink", 2.0, amount=Amount(50 * MIB)),
            Step("prekill", 5.0),
            Step("oom"),
        ),
        line=1,
    )
    assert rule.chooses and rule.of_cgroups and not rule.only_warns


@pytest.mark.parametrize("setting", ["ManagedOOMSwap", "ManagedOOMMemoryPressure", "OOMRules:my-rule"])
def test_a_rule_for_what_systemd_manages_is_about_a_cgroup(setting: str) -> None:
    rule = rule_of(f"managed = '{setting}'\nwhen = '{BIG_TEXT}'\nunit = 'cgroup'\namong = './*'")
    assert rule.managed == setting and rule.scope is None and rule.when == BIG


@pytest.mark.parametrize("rank", [*CGROUP_RANKS, "freed", "rss", "growth", "swap"])
@pytest.mark.parametrize("descend", DESCENTS)
def test_ranks_of_cgroups(rank: str, descend: str) -> None:
    rule = parse(WHEN + f"unit = 'cgroup'\nrank = '{rank}'\ndescend = '{descend}'", "p.toml").rules[0]
    assert (rule.rank, rule.descend) == (rank, descend)


def test_a_rule_that_only_shrinks_ends_nobody() -> None:
    rule = rule_of(f"scope = 'a'\nwhen = '{BIG_TEXT}'\nsteps = ['warn', 'shrink 10%']")
    assert rule.only_warns and not rule.chooses


def test_whom_the_kernel_shall_end_is_chosen_where_units_are_cgroups() -> None:
    for unit, chooses in (("family", False), ("auto", True), ("cgroup", True)):
        assert parse(f"{WHEN}unit = '{unit}'\nsteps = ['oom']", "p.toml").rules[0].chooses == chooses


def test_points_for_all_rules_are_for_those_that_choose_among_processes() -> None:
    other = WHEN.replace('"a"', '"b"') + "unit = 'cgroup'\n"
    policy = parse("points = ['+3 name:a']\n" + WHEN + "rank = 'badness'\n" + other, "p.toml")
    assert [one.value for one in policy.points] == [3.0]
    with pytest.raises(Exception, match="only rules of unit cgroup, which takes none"):
        parse("points = ['+3MiB name:a']\n" + other, "p.toml")


CONDITIONS = [
    # condition, offset in it, what is marked, what is said
    (BIG_TEXT, 0, "cgroup.memory", "a metric of a cgroup, and no cgroup: 'cgroup.memory'; expected scope, or any in"),
    (f"any in 'a' ({BIG_TEXT}) and {BIG_TEXT}", 36, "cgroup.memory", "and no cgroup"),
    (f"any in 'a' (any in 'b' ({BIG_TEXT}))", 12, f"any in 'b' ({BIG_TEXT})", "any in within any in"),
    (f"any in 'a' (not any in 'b' ({BIG_TEXT}))", 16, f"any in 'b' ({BIG_TEXT})", "any in within any in"),
    ("any", 3, "", "ends too early: ''; expected any in 'system.slice/*' (...)"),
    ("any in", 6, "", "the cgroups in quotes"),
    ("any in a (x)", 7, "a", "the cgroups in quotes"),
    ("any 'a' (x)", 4, "'a'", "out of place"),
    (f"any in 'a' {BIG_TEXT}", 11, "cgroup.memory", "expected a condition in brackets"),
    ("any in 'a' ()", 12, ")", "expected a comparison"),
    ("any in 'a (x)", 7, "'a", "the cgroups in quotes"),
    (f"{LOW_TEXT} any", 14, "any", "expected and, or, over, for or the end"),
    (f"any in 'a//b' ({BIG_TEXT})", 10, "", "a path with nothing between two slashes"),
    (f"any in './a' ({BIG_TEXT})", 8, "./a", "./ in among only"),
    ("any in 'a' (cgroup.memory < 0B)", 12, "cgroup.memory < 0B", "this can never hold"),
    ("any in 'a' (not cgroup.memory >= 0B)", 16, "cgroup.memory >= 0B", "this can never hold"),
    ("any in 'a' (cgroup.memry > 5%)", 12, "cgroup.memry", "did you mean cgroup.memory?"),
    ("any in 'a' (cgroup.memory > 5% over 2s)", 36, "2s", "cgroup.memory has no window"),
]


@pytest.mark.parametrize(("text", "offset", "marked", "said"), CONDITIONS)
def test_refused_conditions(text: str, offset: int, marked: str, said: str) -> None:
    error = error_of(f'{HEAD}when = "{text}"')
    assert (error.line, error.column, error.text) == (3, AT + offset, marked)
    assert said in str(error).split("\n")[0]


SCOPED = WHEN + "scope = 'a/*'\n"
CGROUP = WHEN + "unit = 'cgroup'\n"
FILES = [
    # text, line, column, what is marked, what is said
    (WHEN + "rank = 'pgscan'", 4, 9, "pgscan", "a rank of cgroups: 'pgscan'; expected unit = \"cgroup\" with it"),
    (WHEN + "rank = 'pgscan'\nunit = 'auto'", 4, 9, "pgscan", "a rank of cgroups"),
    (CGROUP + "rank = 'badness'", 5, 9, "badness", "a rank of processes: 'badness'; expected one of freed, rss"),
    (CGROUP + "rank = 'io'", 5, 9, "io", "unknown rank"),
    (CGROUP + "points = ['+3MiB name:a']", 5, 1, "points", "unit cgroup takes no points"),
    (CGROUP + "descend = 'deep'", 5, 12, "deep", "unknown descent: 'deep'; expected one of no, best, leaves"),
    (CGROUP + "dominant = '50%'", 5, 1, "dominant", "this key with rank size_or_growth only"),
    (CGROUP + "growth_ratio = '2'", 5, 1, "growth_ratio", "rank freed has no such ratio"),
    (CGROUP + "rank = 'size_or_growth'\ngrowth_ratio = '125%'", 6, 20, "%", "a plain number"),
    (CGROUP + "rank = 'size_or_growth'\ndominant = '50'", 6, 13, "50", "a number without a unit"),
    (CGROUP + "rank = 'size_or_growth'\npercentile = '100%'", 6, 15, "100%", "less than 100%"),
    (CGROUP + "among = './*'", 5, 10, "./*", "a rule that is about no cgroup"),
    (CGROUP + "least_swap = '5'", 5, 15, "5", "a number without a unit"),
    (WHEN + "among = 'a'", 4, 1, "among", "unit family is not of cgroups: 'among'; expected this key with unit cgroup"),
    (WHEN + "unit = 'auto'\ndescend = 'no'", 5, 1, "descend", "this key with unit cgroup only"),
    (WHEN + "least_swap = '5%'", 4, 1, "least_swap", "unit family is not of cgroups"),
    (WHEN + "scope = './a'", 4, 10, "./a", "./ in among only"),
    (WHEN + "scope = 'a/[b'", 4, 12, "[b", "a bracket that is not closed"),
    (WHEN + "scope = ['a']", 4, 9, "['a']", "not a string"),
    (WHEN + "scope = 'a'\nmanaged = 'ManagedOOMSwap'", 4, 1, "scope", "a scope beside managed"),
    (WHEN + "managed = 'ManagedOOM'", 4, 12, "ManagedOOM", "unknown setting of systemd"),
    (WHEN + "managed = 'ManagedOOMSwap:a'", 4, 12, "ManagedOOMSwap:a", "expected ManagedOOMSwap alone"),
    (WHEN + "managed = 'OOMRules'", 4, 12, "OOMRules", "expected OOMRules:NAME"),
    (WHEN + "managed = 'OOMRules:a b'", 4, 12, "OOMRules:a b", "expected OOMRules:NAME"),
    (WHEN + "steps = ['warn', ' shrink 1%']", 4, 19, " shrink 1%", "no cgroup to shrink"),
    (SCOPED + "steps = ['shrink']", 5, 11, "shrink", "a step without an amount"),
    (SCOPED + "steps = ['shrink 5']", 5, 18, "5", "a number without a unit"),
    (SCOPED + "steps = ['shrink 0%']", 5, 18, "0%", "nothing to take away"),
    (SCOPED + "steps = ['shrink 1% 2s 3s']", 5, 24, "3s", "expected shrink and an amount and a duration"),
    (SCOPED + "steps = ['prekill', 'kill']", 5, 11, "prekill", "a step without a duration"),
    (SCOPED + "steps = ['prekill 5s']", 5, 11, "prekill 5s", "expected one of term, oom, kill after it"),
    (SCOPED + "spare = ['tag:a(']", 5, 16, "(", "missing ), unterminated subpattern"),
]


@pytest.mark.parametrize(("text", "line", "column", "marked", "said"), FILES)
def test_refused_rules(text: str, line: int, column: int, marked: str, said: str) -> None:
    error = error_of(text)
    assert (error.line, error.column, error.text) == (line, column, marked)
    assert said in str(error).split("\n")[0]


@pytest.mark.parametrize(
    ("when", "wants"),
    [
        ("cgroup.swap > 1MiB", set()),
        ("cgroup.psi.io.full > 5%", {"io_pressure"}),
        ("cgroup.stall.some > 5%", {"memory_pressure"}),
        ("cgroup.refault > 1MiB/s and cgroup.scan > 1MiB/s", {"paging"}),
    ],
)
def test_of_the_machine_is_read_what_no_cgroup_can_do_alone(when: str, wants: set[str]) -> None:
    assert wants_of(parse(f"{HEAD}scope = 'a'\nwhen = '{when}'", "p.toml")) == wants
