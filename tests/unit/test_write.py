"""A policy as text says what the policy says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from okoomer.policy import write
from okoomer.policy.glob import literal, matches
from okoomer.policy.language import load, parse
from okoomer.policy.model import (
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
    Selector,
    Somewhere,
    Step,
)
from okoomer.policy.scope import scope_of
from okoomer.policy.select import compile_pattern
from okoomer.policy.write import text_of
from okoomer.record import replace
from tests.unit.strategies import GIB, MIB

if TYPE_CHECKING:
    pass


def read_again(policy: Policy, notes: tuple[tuple[str, str], ...] = ()) -> Policy:
    return parse(text_of(policy, notes), f"{policy.name}.toml")


def selector(written: str) -> Selector:
    kind, sign, pattern = re.split("([:~])", written, maxsplit=1)
    return Selector(kind, pattern, compile_pattern(pattern), sign == "~")


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


def test_what_a_rule_about_cgroups_looks_like() -> None:
    hurt = Held(Comparison("cgroup.psi.memory.full.avg10", ">", 0.6), 30.0)
    somewhere = Not(Somewhere(scope_of("a/*"), And((hurt, Comparison("cgroup.scan", ">", 0.0, over=1.0)))))
    given = Rule(
        "a",
        And((hurt, Held(somewhere.part, 2.0), somewhere)),
        "",
        scope=scope_of("system.slice/*"),
        unit="cgroup",
        among=scope_of("./*", relative=True),
        descend="best",
        rank="size_or_growth",
        ratios=Ratios(0.6, 0.9, 1.5),
        least_swap=Amount(0.05, share=True),
        steps=(Step("shrink", amount=Amount(0.01, share=True)), Step("prekill", 5.0), Step("kill")),
    )
    lines = text_of(Policy("p", (given,))).partition("[[rule]]\n")[2].splitlines()
    inner = "any in 'a/*' (cgroup.psi.memory.full.avg10 > 60% for 30s and cgroup.scan > 0B/s over 1s)"
    assert lines == [
        'name = "a"',
        'when = """',
        "    cgroup.psi.memory.full.avg10 > 60% for 30s",
        f"    and {inner} for 2s",
        f"    and not {inner}",
        '"""',
        'scope = "system.slice/*"',
        'unit = "cgroup"',
        'among = "./*"',
        'descend = "best"',
        'rank = "size_or_growth"',
        'dominant = "60%"',
        'percentile = "90%"',
        'growth_ratio = "1.5"',
        'steps = ["shrink 1%", "prekill 5s", "kill"]',
        'least_swap = "5%"',
    ]


def test_quotes_of_both_kinds_in_globs() -> None:
    given = Rule("a", Somewhere(scope_of("[\"]'"), WHEN), "")
    assert text_of(Policy("p", (given,))).count("any in") == 1
    again = read_again(Policy("p", (given,))).rules[0].when
    assert isinstance(again, Somewhere)
    assert [matches(again.scope, path) for path in ("/\"'", "/\\'", "/''")] == [True, False, False]


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
        Rule("a", WHEN, "", scope=literal("/a\nb")),
        Rule("a", Somewhere(literal("/a\nb"), WHEN), ""),
        Rule("a", WHEN, "", steps=(Step("run", 1.0, ("/bin/\udc80",)),)),
    ],
)
def test_what_no_text_can_say(given: Rule) -> None:
    with pytest.raises(ValueError):
        text_of(Policy("p", (given,)))
