"""The policy language: what it means, and what it refuses and where."""

from __future__ import annotations

import pwd
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from okoomer.facts import Process
from okoomer.policy.condition import LONGEST_WINDOW, SHORTEST_WINDOW
from okoomer.policy.language import PolicyError, load, parse
from okoomer.policy.metrics import DEFAULT_WINDOW
from okoomer.policy.model import Amount, And, Comparison, Held, Not, Or, Rule, Selector, Step
from okoomer.policy.select import compile_pattern, matcher

if TYPE_CHECKING:
    from okoomer.policy.model import Condition

MIB, GIB = 1024**2, 1024**3
HEAD = '[[rule]]\nname = "a"\n'
WHEN = HEAD + 'when = "mem.free < 5%"\n'
#: The first character of a condition that `when_of` wraps.
AT = 9


def when_of(text: str) -> Condition:
    return parse(f'{HEAD}when = "{text}"', "p.toml").rules[0].when


def rule_of(keys: str) -> Rule:
    return parse(WHEN + keys, "p.toml").rules[0]


def error_of(text: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse(text, "p.toml")
    return caught.value


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


# --- what it refuses, and where -----------------------------------------------------------------------------

CONDITIONS = [
    # condition, offset in it, what is marked, what is said
    ("", 0, "", "ends too early"),
    ("mem.free", 8, "", "ends too early: ''; expected <, <=, > or >="),
    ("mem.free <", 10, "", "expected a metric or a quantity"),
    ("mem.free < 5% for", 17, "", "expected a duration, such as 2s"),
    ("mem.free < 5% and", 17, "", "expected a comparison"),
    ("(mem.free < 5%", 14, "", "expected and, or, over, for or )"),
    ("mem.free < 5%)", 13, ")", "expected and, or, over, for or the end"),
    ("mem.free < 5% && mem.free < 3%", 14, "&&", "out of place"),
    ("mem.free < 5% and and mem.free < 3%", 18, "and", "expected a comparison"),
    ("mem.free < 5% orx mem.free < 3%", 14, "orx", "out of place"),
    ("mem.free < 5% for5s", 14, "for5s", "out of place"),
    ("mem.free < 5% # soon", 14, "#", "out of place"),
    ("mem.free < 5 %", 13, "%", "no space between a number and its unit"),
    ("mem.free = 5%", 9, "=", "expected <, <=, > or >="),
    ("mem.free =< 5%", 9, "=<", "not a comparison"),
    ("mem.avaliable < 5%", 0, "mem.avaliable", "did you mean mem.available?"),
    ("5% < 10%", 5, "10%", "unknown metric"),
    ("mem.free < swap.free", 11, "swap.free", "not a quantity"),
    ("mem.free < nan", 11, "nan", "not a quantity"),
    ("mem.free < -5%", 11, "-5%", "not a quantity"),
    ("mem.free < 5.%", 11, "5.%", "not a quantity"),
    ("mem.free < 1234567890123456B", 11, "1234567890123456B", "not a quantity"),
    ("mem.free < 0x10", 12, "x10", "unknown unit"),
    ("mem.free < 1e3B", 12, "e3B", "unknown unit"),
    ("mem.free < 400", 11, "400", "units: %, B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"),
    ("mem.free < 400mb", 14, "mb", "did you mean MB?"),
    ("mem.free < 101%", 11, "101%", "at most 100%"),
    ("mem.free < 10MiB/s", 13, "MiB/s", "unknown unit"),
    ("psi.memory.full > 0.2", 18, "0.2", "a number without a unit"),
    ("psi.memory.full > 2s", 19, "s", "unknown unit"),
    ("vm.swapin > 10%", 14, "%", "expected a rate, such as 10MiB/s"),
    ("vm.swapin > 10MiB", 14, "MiB", "did you mean MiB/s?"),
    ("vm.major_faults > 10", 18, "10", "such as 100/s"),
    ("zram.ratio > 2x", 14, "x", "a plain number"),
    ("forecast.exhausted < 5", 21, "5", "units: ms, s, min, h"),
    ("mem.free < 5% over 2s", 19, "2s", "mem.free has no window: '2s'; expected for instead of over"),
    ("psi.memory.full > 5% over 50ms", 26, "50ms", "expected 0.1s to 600s"),
    ("psi.memory.full > 5% over 11min", 26, "11min", "not a window"),
    ("psi.memory.full > 5% over 2", 26, "2", "a number without a unit"),
    ("mem.free < 5% for 0s", 18, "0s", "more than 0s"),
    ("psi.memory.full > 100%", 0, "psi.memory.full > 100%", "this can never hold"),
    ("mem.free < 5% or (mem.free < 0B)", 18, "mem.free < 0B", "this can never hold"),
    ("0% > mem.free", 0, "0% > mem.free", "this can never hold"),
    ("mem.free <= 100%", 0, "mem.free <= 100%", "this always holds"),
    ("not mem.free >= 0%", 4, "mem.free >= 0%", "this always holds"),
    ("not " * 60 + "mem.free < 5%", 0, "not " * 60 + "mem.free < 5%", "at most 50 conditions"),
]


@pytest.mark.parametrize(("text", "offset", "marked", "said"), CONDITIONS)
def test_refused_conditions(text: str, offset: int, marked: str, said: str) -> None:
    error = error_of(f'{HEAD}when = "{text}"')
    assert (error.line, error.column, error.text) == (3, AT + offset, marked)
    assert said in str(error).split("\n")[0]


FILES = [
    # text, line, column, what is marked, what is said
    ("", 1, 1, "", "a policy without rules"),
    ("x = ", 1, 1, "x =", "Invalid value"),
    ("# é\nx = family\n", 2, 5, "family", "Invalid value: 'family'; expected valid TOML"),
    ("[[rule]]\nname='a'\n  name='b' \n", 3, 3, "name='b'", "Cannot overwrite a value"),
    ("x = [\n 'a'\n\n", 2, 2, "'a'", "Unclosed array"),
    ("a=" + "[" * 5000, 1, 1, "", "lists within lists"),
    ("a=" + "9" * 5000, 1, 1, "a=" + "9" * 5000, "Exceeds the limit"),
    ("a = {b = 'c'}", 1, 5, "{b = 'c'}", "nothing that a policy has"),
    ("'a' = 'c'", 1, 1, "'a' = 'c'", "nothing that a policy has"),
    ("[rule]\n", 1, 1, "[rule]", "expected [[rule]], in two brackets"),
    ("\n[[rules]]\n", 2, 1, "[[rules]]", "not a table of a policy"),
    ("rule = 5", 1, 1, "rule", "unknown key"),
    ("a.b = 5", 1, 1, "a.b", "unknown key"),
    ("steps = ['kill']\n" + WHEN, 1, 1, "steps", "what one rule has stands below its [[rule]]"),
    ("[[rule]]\nwhen = 'mem.free < 5%'", 1, 1, "[[rule]]", "a rule without name"),
    (HEAD, 1, 1, "[[rule]]", "a rule without when"),
    (WHEN + HEAD + "when = 'mem.free < 3%'", 5, 9, "a", "another name (line 1 has this one)"),
    (HEAD + "whem = 'x'", 3, 1, "whem", "did you mean when?"),
    (HEAD + "scope = 'x'", 3, 1, "scope", "this version does not have the key: 'scope'; expected"),
    (HEAD + 'when = """\n  mem.free < 5%\n  and mem.fre < 5%\n"""', 5, 7, "mem.fre", "mean mem.free?"),
    (HEAD + 'when = "\\u006dem.free < 5% & x"', 3, 28, "&", "out of place"),
    (HEAD + "when = 5", 3, 8, "5", "not a string"),
    (HEAD + "when = 1979-05-27", 3, 8, "1979-05-27", "not a string"),
    (HEAD + "when = 1979-05-27 07:32:00", 3, 19, "07:32:00", "nothing that a policy has"),
    (HEAD + "when = ['mem.free < 5%']", 3, 8, "['mem.free < 5%']", "not a string"),
    ("[[rule]]\nname = ' '", 2, 9, " ", "not a name"),
    ("[[rule]]\nname = 'a\tb'", 2, 9, "a\tb", "not a name"),
    (WHEN + "unit = 'proces'", 4, 9, "proces", "one of process, family (did you mean process?)"),
    (WHEN + "unit = 'cgroup'", 4, 9, "cgroup", "this version does not have the unit: 'cgroup'"),
    (WHEN + "rank = 'pgscan'", 4, 9, "pgscan", "this version does not have the rank"),
    (WHEN + "rank = ''", 4, 9, "", "unknown rank"),
    (WHEN + "spare = 'name:a'", 4, 9, "'name:a'", "not a list"),
    (WHEN + "spare = ['name:a',\n # b\n 5]", 6, 2, "5", "not a string"),
    (WHEN + "spare = [['name:a']]", 4, 10, "['name:a']", "not a string"),
    (WHEN + "spare = ['chrome']", 4, 11, "chrome", "not a selector"),
    (WHEN + "spare = ['name:']", 4, 11, "name:", "not a selector"),
    (WHEN + 'spare = ["name:\\u001b"]', 4, 11, "name:\x1b", "not a selector"),
    (WHEN + "spare = ['nmae:a']", 4, 11, "nmae", "did you mean name?"),
    (WHEN + "spare = ['pod:a']", 4, 11, "pod", "this version does not have the kind of selector"),
    (WHEN + "spare = ['name:a(b']", 4, 17, "(b", "missing ), unterminated subpattern"),
    (WHEN + 'spare = ["name:\\\\d\\u0061(b"]', 4, 25, "(b", "not a regular expression"),
    (WHEN + "spare = ['name:a{99999999999}']", 4, 16, "a{99999999999}", "not a regular expression"),
    (WHEN + "spare = ['name:[[a]']", 4, 16, "[[a]", "not a regular expression, Possible nested set"),
    (WHEN + "spare = ['user:no such']", 4, 16, "no such", "unknown user"),
    (WHEN + "steps = []", 4, 9, "[]", "no step"),
    (WHEN + "steps = ['']", 4, 11, "", "not a step"),
    (WHEN + "steps = ['kil']", 4, 11, "kil", "did you mean kill?"),
    (WHEN + "steps = ['pause 5s', 'kill']", 4, 11, "pause", "this version does not have the step"),
    (WHEN + "steps = ['term']", 4, 11, "term", "a step without a duration"),
    (WHEN + "steps = ['term 5']", 4, 16, "5", "a number without a unit"),
    (WHEN + "steps = ['term  5s 6s']", 4, 20, "6s", "expected term and a duration"),
    (WHEN + "steps = ['kill 5s']", 4, 16, "5s", "expected kill alone"),
    (WHEN + "steps = ['kill', 'term 5s']", 4, 19, "term 5s", "a step after kill"),
    (WHEN + "steps = ['warn 0s']", 4, 16, "0s", "more than 0s"),
    (WHEN + "rest = 5", 4, 8, "5", "not a string"),
    (WHEN + "rest = '5'", 4, 9, "5", "a number without a unit"),
    (WHEN + "target = '5'", 4, 11, "5", "a number without a unit"),
    (WHEN + "least = '200%'", 4, 10, "200%", "more than all there is"),
    (WHEN.replace("\n", "\r\n") + "rest = '5'\r\n", 4, 9, "5", "a number without a unit"),
]


@pytest.mark.parametrize(("text", "line", "column", "marked", "said"), FILES)
def test_refused_files(text: str, line: int, column: int, marked: str, said: str) -> None:
    error = error_of(text)
    assert (error.line, error.column, error.text) == (line, column, marked)
    assert said in str(error).split("\n")[0]


def test_how_an_error_looks() -> None:
    assert str(error_of(f'{HEAD}when = "mem.free < 5% and mem.fre < 3%"')).split("\n") == [
        "p.toml:3:27: unknown metric: 'mem.fre'; expected one of "
        "mem.*, swap.*, zram.*, psi.*, vm.*, forecast.* (did you mean mem.free?)",
        'when = "mem.free < 5% and mem.fre < 3%"',
        " " * 26 + "^" * 7,
    ]


def test_an_error_cannot_drive_a_terminal() -> None:
    assert all(line.isprintable() for line in str(error_of("\x1b[31m\t= 5")).split("\n"))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    for name, said in (
        ("srever", "No such file or directory: 'srever'; expected a file or a preset: desktop, server (did"),
        (str(tmp_path), "Is a directory"),
        ("a\0b", "null byte"),
    ):
        with pytest.raises(PolicyError, match=re.escape(said)) as caught:
            load(name)
        assert caught.value.line == 0
    path = tmp_path / "p.toml"
    path.write_bytes(b"# \xc3\xa9\nname = '\xff'")
    with pytest.raises(PolicyError, match=re.escape(f"{path}:2:9: not UTF-8")):
        load(str(path))
