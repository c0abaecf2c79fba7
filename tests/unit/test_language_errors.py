"""What the policy language refuses, and where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from okoomer.policy.language import PolicyError, load, parse
from okoomer.policy.model import HAPPENINGS

HEAD = '[[rule]]\nname = "a"\n'
WHEN = HEAD + 'when = "mem.free < 5%"\n'
#: The first character of a condition.
AT = 9


def error_of(text: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse(text, "p.toml")
    return caught.value


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
    ("[rule]\n", 1, 1, "[rule]", "expected [[rule]] or [[hook]], in two brackets"),
    ("\n[[rules]]\n", 2, 1, "[[rules]]", "not a table of a policy"),
    ("rule = 5", 1, 1, "rule", "unknown key"),
    ("a.b = 5", 1, 1, "a.b", "unknown key"),
    ("steps = ['kill']\n" + WHEN, 1, 1, "steps", "what one rule has stands below its [[rule]]"),
    ("[[rule]]\nwhen = 'mem.free < 5%'", 1, 1, "[[rule]]", "a rule without name"),
    (HEAD, 1, 1, "[[rule]]", "a rule without when"),
    (WHEN + HEAD + "when = 'mem.free < 3%'", 5, 9, "a", "another name (line 1 has this one)"),
    (HEAD + "whem = 'x'", 3, 1, "whem", "did you mean when?"),
    (HEAD + "scopes = 'x'", 3, 1, "scopes", "did you mean scope?"),
    (HEAD + 'when = """\n  mem.free < 5%\n  and mem.fre < 5%\n"""', 5, 7, "mem.fre", "mean mem.free?"),
    (HEAD + 'when = "\\u006dem.free < 5% & x"', 3, 28, "&", "out of place"),
    (HEAD + "when = 5", 3, 8, "5", "not a string"),
    (HEAD + "when = 1979-05-27", 3, 8, "1979-05-27", "not a string"),
    (HEAD + "when = 1979-05-27 07:32:00", 3, 19, "07:32:00", "nothing that a policy has"),
    (HEAD + "when = ['mem.free < 5%']", 3, 8, "['mem.free < 5%']", "not a string"),
    ("[[rule]]\nname = ' '", 2, 9, " ", "not a name"),
    ("[[rule]]\nname = 'a\tb'", 2, 9, "a\tb", "not a name"),
    (WHEN + "unit = 'proces'", 4, 9, "proces", "family, auto, cgroup (did you mean process?)"),
    (WHEN + "rank = ''", 4, 9, "", "unknown rank"),
    (WHEN + "spare = 'name:a'", 4, 9, "'name:a'", "not a list"),
    (WHEN + "spare = ['name:a',\n # b\n 5]", 6, 2, "5", "not a string"),
    (WHEN + "spare = [['name:a']]", 4, 10, "['name:a']", "not a string"),
    (WHEN + "spare = ['chrome']", 4, 11, "chrome", "not a selector"),
    (WHEN + "spare = ['name:']", 4, 11, "name:", "not a selector"),
    (WHEN + 'spare = ["name:\\u001b"]', 4, 11, "name:\x1b", "not a selector"),
    (WHEN + "spare = ['nmae:a']", 4, 11, "nmae", "did you mean name?"),
    (WHEN + "spare = ['name:a(b']", 4, 17, "(b", "missing ), unterminated subpattern"),
    (WHEN + 'spare = ["name:\\\\d\\u0061(b"]', 4, 25, "(b", "not a regular expression"),
    (WHEN + "spare = ['name:a{99999999999}']", 4, 16, "a{99999999999}", "not a regular expression"),
    (WHEN + "spare = ['name:[[a]']", 4, 16, "[[a]", "not a regular expression, Possible nested set"),
    (WHEN + "spare = ['user:no such']", 4, 16, "no such", "unknown user"),
    (WHEN + "steps = []", 4, 9, "[]", "no step"),
    (WHEN + "steps = ['']", 4, 11, "", "not a step"),
    (WHEN + "steps = ['kil']", 4, 11, "kil", "did you mean kill?"),
    (WHEN + "steps = ['term']", 4, 11, "term", "a step without a duration"),
    (WHEN + "steps = ['term 5']", 4, 16, "5", "a number without a unit"),
    (WHEN + "steps = ['term  5s 6s']", 4, 20, "6s", "expected term and a duration"),
    (WHEN + "steps = ['kill 5s']", 4, 16, "5s", "expected kill alone"),
    (WHEN + "steps = ['kill', 'term 5s']", 4, 19, "term 5s", "a step after kill"),
    (WHEN + "steps = ['warn 0s']", 4, 16, "0s", "more than 0s"),
    (WHEN + "rest = 5", 4, 8, "5", "not a string"),
    (WHEN + "rest = '5'", 4, 9, "5", "a number without a unit"),
    (WHEN + "target = '5'", 4, 11, "5", "a number without a unit"),
    (WHEN + "spare = ['name~']", 4, 11, "name~", "not a selector"),
    (WHEN + "spare = ['name~a(b']", 4, 17, "(b", "missing ), unterminated subpattern"),
    (WHEN + "spare = ['user~root']", 4, 16, "root", "expected user:root, or a pattern of digits"),
    (WHEN + "steps = ['oom 5s']", 4, 15, "5s", "expected oom alone"),
    (WHEN + "steps = ['oom', 'kill']", 4, 18, "kill", "a step after oom"),
    (WHEN + "steps = ['run']", 4, 11, "run", "a step without a duration"),
    (WHEN + "steps = ['run: /bin/a']", 4, 11, "run: /bin/a", "such as run 200ms: /usr/bin/logger $NAME"),
    (WHEN + "steps = ['run 5s']", 4, 11, "run 5s", "a step without a command"),
    (WHEN + "steps = ['run 5s /bin/a']", 4, 18, "/bin/a", "too much for a step"),
    (WHEN + "steps = ['run 5: /bin/a']", 4, 15, "5", "a number without a unit"),
    (WHEN + "steps = ['run 5s: ']", 4, 18, " ", "no command"),
    (WHEN + "steps = ['run 5s: a /bin/b']", 4, 19, "a /bin/b", "a program without its path"),
    (WHEN + "steps = ['run 5s: /bin/$NAME']", 4, 19, "/bin/$NAME", "a program that depends on the victim"),
    (WHEN + "steps = ['run 5s: /a \"b']", 4, 18, ' /a "b', "not a command, no closing quotation"),
    (WHEN + "steps = ['run 5s: /a $NMAE']", 4, 22, "$NMAE", "did you mean NAME?"),
    (WHEN + "steps = ['run 5s: /a ${NAME}']", 4, 22, "${", "$PID, $NAME, $SERVICE, $UID, $CMDLINE"),
    (WHEN + 'steps = ["run 5s: /a \\u0000"]', 4, 18, " /a \0", "a NUL in a command"),
    (WHEN + "points = ['300 name:a']", 4, 12, "300 name:a", "expected + or -, a number and a selector"),
    (WHEN + "points = ['+300']", 4, 12, "+300", "not points for somebody"),
    (WHEN + "points = ['+300 a']", 4, 17, "a", "not a selector"),
    (WHEN + "points = ['+300 name:a']", 4, 13, "300", "TiB) (rank freed weighs bytes)"),
    (WHEN + "points = ['+3% name:a']", 4, 14, "%", "unknown unit"),
    (WHEN + "rank = 'badness'\npoints = ['-3GiB name:a']", 5, 14, "GiB", "(rank badness counts points)"),
    ("points = ['+3 name:a']\n" + WHEN, 1, 13, "3", "a number without a unit"),
    (
        "points = ['+3 name:a']\n" + WHEN + "rank = 'badness'\n" + WHEN.replace('"a"', '"b"'),
        1,
        13,
        "3",
        "points for rules of rank badness, which counts points, and freed, which weighs bytes",
    ),
    (WHEN + "rank = 'oom_score'\npoints = ['+3 name:a']", 5, 1, "points", "expected rank badness, which is the same"),
    ("points = ['+3 name:a']\n" + WHEN + "rank = 'oom_score'", 1, 13, "3", "only rules of rank oom_score"),
    (WHEN + "least_score = '10'", 4, 1, "least_score", "this key with rank oom_score or badness only"),
    (WHEN + "raised = 'ignored'\nrank = 'rss'", 4, 1, "raised", "rank rss has no scores"),
    (WHEN + "rank = 'badness'\nleast_score = '1MiB'", 5, 17, "MiB", "a plain number, such as 300"),
    (WHEN + "rank = 'badness'\nraised = 'ignore'", 5, 11, "ignore", "one of counted, ignored (did you mean ignored?)"),
    (WHEN + "instead = ['name:a']", 4, 13, "name:a", "expected selector => command"),
    (WHEN + "instead = ['name:a => b']", 4, 23, "b", "a program without its path"),
    (WHEN + "instead = ['a => /b']", 4, 13, "a", "not a selector"),
    (WHEN + "report = '1h'", 4, 1, "report", "unknown key"),
    ("report = '1'\n" + WHEN, 1, 11, "1", "a number without a unit"),
    ("notify = ['signaled']\n" + WHEN, 1, 12, "signaled", "unknown event"),
    ("pressure = 'proc/x'\n" + WHEN, 1, 13, "proc/x", "expected one that begins with /"),
    ("prime = 'true'\n" + WHEN, 1, 9, "'true'", "neither true nor false"),
    ("prime = yes\n" + WHEN, 1, 9, "yes", "Invalid value"),
    ("prime = 1\n" + WHEN, 1, 9, "1", "expected true or false, without quotes"),
    ("prime = ['true']\n" + WHEN, 1, 9, "['true']", "neither true nor false"),
    (WHEN + "prime = true", 4, 1, "prime", "unknown key"),
    ("prime = true\n" + WHEN + "rank = 'badness'", 1, 1, "prime", "other than oom_score and badness"),
    ("prime = true\n" + WHEN + "rank = true", 5, 8, "true", "not a string"),
    ("[[hooks]]\n", 1, 1, "[[hooks]]", "(did you mean hook?)"),
    ("[[hook]]\non = 'warned'\n" + WHEN, 1, 1, "[[hook]]", "a hook without run"),
    (WHEN + "[[hook]]\nrun = '/a'", 4, 1, "[[hook]]", "a hook without on"),
    (WHEN + "[[hook]]\non = 'x'", 5, 7, "x", f"one of {', '.join(HAPPENINGS)}"),
    (WHEN + "[[hook]]\nlimit = '0s'", 5, 10, "0s", "more than 0s"),
    (WHEN + "[[hook]]\nname = 'x'", 5, 1, "name", "one of on, run, limit"),
    (WHEN + "[[hook]]\nuser = 'nobdy'", 5, 9, "nobdy", "unknown user: 'nobdy'; expected the name of a user of this"),
    (WHEN + "[[hook]]\nuser = '0'", 5, 9, "0", "unknown user"),
    (WHEN + "level = 'hihg'", 4, 10, "hihg", "unknown level: 'hihg'; expected one of low, medium, critical"),
    (WHEN + "level = 50", 4, 9, "50", "a string"),
    (WHEN + "level = 'low'\nsteps = []", 5, 9, "[]", "no step"),
    (WHEN + "rest = '5s'\nlevel = 'low'", 4, 1, "rest", "a rule that takes nobody: 'rest'; expected steps in it"),
    (WHEN + "level = 'low'\nprefer = ['name:a']", 5, 1, "prefer", "no more than name, when, until and scope"),
    ("level = 'low'\n" + WHEN, 1, 1, "level", "unknown key"),
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
        "mem.*, swap.*, zram.*, psi.*, vm.*, forecast.*, canary.*, cgroup.* (did you mean mem.free?)",
        'when = "mem.free < 5% and mem.fre < 3%"',
        " " * 26 + "^" * 7,
    ]


def test_an_error_cannot_drive_a_terminal() -> None:
    assert all(line.isprintable() for line in str(error_of("\x1b[31m\t= 5")).split("\n"))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    for name, said in (
        ("srever", "No such file or directory: 'srever'; expected a file or a preset: containers, desktop, server "),
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
