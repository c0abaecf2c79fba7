"""The policy language: what it means."""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING

import pytest

from okoomer.facts import Process
from okoomer.policy.condition import LONGEST_WINDOW, SHORTEST_WINDOW
from okoomer.policy.language import load, parse
from okoomer.policy.metrics import DEFAULT_WINDOW
from okoomer.policy.model import (
    HAPPENINGS,
    Amount,
    And,
    Comparison,
    Held,
    Hook,
    Instead,
    Not,
    Or,
    Points,
    Rule,
    Selector,
    Step,
)
from okoomer.policy.select import compile_pattern, matcher

if TYPE_CHECKING:
    from okoomer.policy.model import Condition

MIB, GIB = 1024**2, 1024**3
HEAD = '[[rule]]\nname = "a"\n'
WHEN = HEAD + 'when = "mem.free < 5%"\n'


def when_of(text: str) -> Condition:
    return parse(f'{HEAD}when = "{text}"', "p.toml").rules[0].when


def rule_of(keys: str) -> Rule:
    return parse(WHEN + keys, "p.toml").rules[0]


# --- what it means ------------------------------------------------------------------------------------------

LOW = Comparison("mem.free", "<", 0.05, share=True)
HURT = Comparison("psi.memory.full", ">", 0.2, over=2.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mem.free < 5%", LOW),
        ("5% > mem.free", LOW),
        ("mem.free<5%", LOW),
        ("not mem.free >= 5%", LOW),
        ("not (not (mem.free < 5%))", LOW),
        ("400MiB <= mem.free", Comparison("mem.free", ">=", 400 * MIB)),
        ("mem.free < 1.5GiB", Comparison("mem.free", "<", 1.5 * GIB)),
        ("mem.free < 1kB", Comparison("mem.free", "<", 1000)),
        ("swap.total <= 0B", Comparison("swap.total", "<=", 0)),
        ("psi.memory.full > 20% over 2s", HURT),
        ("psi.memory.full > 20%", Comparison("psi.memory.full", ">", 0.2, over=DEFAULT_WINDOW)),
        ("psi.memory.full.avg10 > 7%", Comparison("psi.memory.full.avg10", ">", 0.07)),
        ("vm.swapin > 10MiB/s over 500ms", Comparison("vm.swapin", ">", 10 * MIB, over=0.5)),
        ("vm.major_faults >= 100/s", Comparison("vm.major_faults", ">=", 100, over=DEFAULT_WINDOW)),
        ("zram.ratio < 1.5", Comparison("zram.ratio", "<", 1.5)),
        ("forecast.exhausted < 2min", Comparison("forecast.exhausted", "<", 120)),
        ("mem.free < 5% for 2s", Held(LOW, 2.0)),
        ("(mem.free < 5% for 2s) for 500ms", Held(Held(LOW, 2.0), 0.5)),
        ("psi.memory.full > 20% over 2s for 3s", Held(HURT, 3.0)),
        ("mem.free < 5% and psi.memory.full > 20% over 2s for 3s", And((LOW, Held(HURT, 3.0)))),
        ("(mem.free < 5% and psi.memory.full > 20% over 2s) for 3s", Held(And((LOW, HURT)), 3.0)),
        ("mem.free < 5% or mem.free < 5% and psi.memory.full > 20% over 2s", Or((LOW, And((LOW, HURT))))),
        ("(mem.free < 5% or mem.free < 5%) and psi.memory.full > 20% over 2s", And((Or((LOW, LOW)), HURT))),
        ("mem.free < 5% and (mem.free < 5% and psi.memory.full > 20% over 2s)", And((LOW, LOW, HURT))),
        ("not (mem.free >= 5% or psi.memory.full <= 20% over 2s)", And((LOW, HURT))),
        ("not mem.free < 5% for 2s", Not(Held(LOW, 2.0))),
        ("not not mem.free < 5% for 2s", Held(LOW, 2.0)),
        ("not (mem.free >= 5% and mem.free < 5% for 2s)", Or((LOW, Not(Held(LOW, 2.0))))),
    ],
)
def test_condition(text: str, expected: Condition) -> None:
    assert when_of(text) == expected


@pytest.mark.parametrize("seconds", [SHORTEST_WINDOW, LONGEST_WINDOW])
def test_windows_may_be_as_short_and_as_long_as_this(seconds: float) -> None:
    found = when_of(f"psi.memory.full > 20% over {seconds:g}s")
    assert found == Comparison("psi.memory.full", ">", 0.2, over=seconds)


def test_rule() -> None:
    rule = rule_of(
        """
        until = '''
            mem.free > 10%
            for 2s'''
        unit = "process"
        rank = "growth"
        prefer = ['name:a']
        avoid = ["exe:/usr/\\\\w+", ]
        spare = []  # nobody
        steps = ["warn", "warn 5s", "term 2.5s", "kill"]
        rest = "0s"
        target = "10%"
        least = "64MiB"
        """
    )
    assert rule == Rule(
        name="a",
        when=LOW,
        when_text="mem.free < 5%",
        until=Held(Comparison("mem.free", ">", 0.1, share=True), 2.0),
        until_text="mem.free > 10% for 2s",
        unit="process",
        rank="growth",
        prefer=(Selector("name", "a", compile_pattern("a")),),
        avoid=(Selector("exe", "/usr/\\w+", compile_pattern("/usr/\\w+")),),
        steps=(Step("warn"), Step("warn", 5.0), Step("term", 2.5), Step("kill")),
        rest=0.0,
        target=Amount(0.1, share=True),
        least=Amount(64 * MIB),
        line=1,
    )


def test_defaults() -> None:
    assert rule_of("") == Rule("a", LOW, "mem.free < 5%", line=1)


def test_lists_for_all_rules_replace_the_essential_ones() -> None:
    plain = parse(WHEN, "dir/p.toml")
    assert plain.name == "p"
    assert plain.avoid == load("server").avoid and plain.supervisors == load("server").supervisors
    own = parse('avoid = []\nsupervisors = ["name:make"]\n' + WHEN, "p.toml")
    assert own.avoid == () and [s.pattern for s in own.supervisors] == ["make"]


def test_a_user_is_matched_by_number_and_told_by_name() -> None:
    user = pwd.getpwuid(0)
    match = matcher(rule_of(f'spare = ["user:{user.pw_name}", "user:012"]').spare)
    told = [match(Process(pid=5, parent=1, name="x", started=0.0, user=number)) for number in (0, 1, 12)]
    assert told == [f"user:{user.pw_name}", "", "user:012"]


def selector(kind: str, pattern: str, part: bool = False) -> Selector:
    return Selector(kind, pattern, compile_pattern(pattern), part)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("name~ed$", selector("name", "ed$", True)),
        ("name:a~b", selector("name", "a~b")),
        ("name~a:b", selector("name", "a:b", True)),
        ("environ:LANG=C", selector("environ", "LANG=C")),
        ("cwd~^/tmp", selector("cwd", "^/tmp", True)),
        ("cgroup1:/user\\.slice", selector("cgroup1", "/user\\.slice")),
        ("user~^1...$", selector("user", "^1...$", True)),
    ],
)
def test_selectors(written: str, expected: Selector) -> None:
    assert rule_of(f"spare = ['{written}']").spare == (expected,)
    assert expected.written == written


def test_a_part_is_enough_for_a_tilde() -> None:
    here = [Process(pid=5, parent=1, name=name, started=0.0, user=12) for name in ("sed", "seds")]
    for written, told in (("name~ed$", [True, False]), ("name:ed", [False, False]), ("user~2", [True, True])):
        match = matcher(rule_of(f"spare = ['{written}']").spare)
        assert [bool(match(process)) for process in here] == told


def test_scores() -> None:
    rule = rule_of(
        """
        unit = "group"
        rank = "badness"
        points = ["+300 name~a b", '-12.5 user:0']
        least_score = "10"
        raised = "ignored"
        instead = ["unit:x => /bin/y  'a b' $SERVICE-$PID", "name~a=>b=> c   =>   /bin/z \\"$NAME\\""]
        steps = ["run 200ms: /bin/w '' $UID $CMDLINE $5 5$", " run  1s :/bin/v", "term 10s", "oom"]
        """
    )
    assert rule == Rule(
        name="a",
        when=LOW,
        when_text="mem.free < 5%",
        unit="group",
        rank="badness",
        points=(Points(300.0, selector("name", "a b", True)), Points(-12.5, selector("user", "0"))),
        least_score=10.0,
        raised=False,
        instead=(
            Instead(selector("unit", "x"), ("/bin/y", "a b", "$SERVICE-$PID")),
            Instead(selector("name", "a=>b=> c", True), ("/bin/z", "$NAME")),
        ),
        steps=(
            Step("run", 0.2, ("/bin/w", "", "$UID", "$CMDLINE", "$5", "5$")),
            Step("run", 1.0, ("/bin/v",)),
            Step("term", 10.0),
            Step("oom"),
        ),
        line=1,
    )
    assert rule_of('rank = "oom_score"\nraised = "counted"').raised
    assert rule_of('points = ["-1.5GiB name:x"]').points == (Points(-1.5 * GIB, selector("name", "x")),)


def test_what_holds_for_all_rules() -> None:
    policy = parse(
        f"""
        points = ["+300 name:a"]
        instead = ["name:a => /bin/b"]
        report = "1h"
        notify = [{", ".join(f"'{name}'" for name in HAPPENINGS)}]
        pressure = "/sys/fs/cgroup/user.slice/memory.pressure"
        {WHEN}
        rank = "badness"
        [[hook]]
        on = "signalled"
        run = "/bin/c $NAME"
        [[rule]]
        name = "b"
        when = "mem.free < 9%"
        steps = ["warn"]  # chooses nobody, so that its rank is that of nothing
        [[hook]]
        limit = "5s"
        run = "/bin/d"
        on = "warned"
        """,
        "p.toml",
    )
    assert policy.points == (Points(300.0, selector("name", "a")),)
    assert policy.instead == (Instead(selector("name", "a"), ("/bin/b",)),)
    assert (policy.report, policy.notify) == (3600.0, HAPPENINGS)
    assert policy.pressure == "/sys/fs/cgroup/user.slice/memory.pressure"
    assert policy.hooks == (Hook("signalled", ("/bin/c", "$NAME")), Hook("warned", ("/bin/d",), 5.0))
    assert [rule.name for rule in policy.rules] == ["a", "b"] and policy.runs


@pytest.mark.parametrize(("text", "prime"), [("", False), ("prime = false", False), ("prime=true # so be it", True)])
def test_the_kernels_killer_is_told_whom_to_take_if_that_is_wanted(text: str, prime: bool) -> None:
    assert parse(f"{text}\n{WHEN}", "p.toml").prime is prime


def test_points_for_all_rules_are_bytes_where_bytes_are_weighed() -> None:
    policy = parse('points = ["+1GiB name:a"]\n' + WHEN + "rank = 'rss'\n" + WHEN.replace('"a"', '"b"'), "p.toml")
    assert policy.points == (Points(GIB, selector("name", "a")),)
