"""earlyoom's command line: every option, limit and mistake, in the order in which earlyoom finds them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from okoomer.compat.earlyoom import OPTIONS, Refused, Settings, number, parse, usage
from okoomer.compat.earlyoom_policy import Levels
from okoomer.units import GIB, KIB
from tests.unit.strategies import cases

TOTAL, SWAP = 24 * GIB, 2 * GIB
DOCS = Path(__file__).parents[2] / "docs" / "from-earlyoom.md"


def asked(*arguments: str, swap: int = SWAP) -> Settings:
    return parse(arguments, TOTAL, swap)


def said(*arguments: str, swap: int = SWAP) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    try:
        parse(arguments, TOTAL, swap, lambda style, line: lines.append((style, line)))
    except Refused as error:
        lines += [("refused", line) for line in error.lines]
    return lines


def refusal(*arguments: str, swap: int = SWAP) -> tuple[int, tuple[str, ...]]:
    with pytest.raises(Refused) as error:
        parse(arguments, TOTAL, swap)
    return error.value.code, error.value.lines


# --- what is asked for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["-m", "5"], "memory", Levels(5, 2.5)),
        (["-m5"], "memory", Levels(5, 2.5)),
        (["-m", "5,3"], "memory", Levels(5, 3)),
        (["-m", "5,0"], "memory", Levels(5, 0)),
        (["-m", "5,"], "memory", Levels(5, 0)),
        (["-m", "0,5"], "memory", Levels(5, 5)),
        (["-m", "5,9"], "memory", Levels(9, 9)),
        (["-m", "99"], "memory", Levels(99, 49.5)),
        (["-m", " +5e0,.5"], "memory", Levels(5, 0.5)),
        (["-m", "5.,2."], "memory", Levels(5, 2)),
        (["-m", "1", "-m", "7"], "memory", Levels(7, 3.5)),
        (["-s", "100"], "swap", Levels(100, 50)),
        (["-s", "100,100"], "swap", Levels(100, 100)),
        (["-M", "409600"], "memory_size", Levels(409600, 204800)),
        (["-M", "409600,1"], "memory_size", Levels(409600, 1)),
        (["-S", "1024"], "swap_size", Levels(1024, 512)),
        (["-n"], "notify", True),
        (["-g"], "group", True),
        (["-d"], "debug", True),
        (["--debug"], "debug", True),
        (["-p"], "priority", True),
        (["-r", "0"], "report", 0.0),
        (["-r", "3600"], "report", 3600.0),
        (["-r", "0.5"], "report", 0.5),
        (["-r=60"], "report", 60.0),
        (["-r=0"], "report", 0.0),
        (["--ignore-root-user"], "spare_root", True),
        (["--sort-by-rss"], "by_rss", True),
        (["--dryrun"], "dry_run", True),
        (["--syslog"], "syslog", True),
        (["--kernel-oom"], "kernel_oom", True),
        (["-h"], "asked", "help"),
        (["--help"], "asked", "help"),
        (["-v"], "asked", "version"),
        (["-N", "/bin/true"], "after", "/bin/true"),
        (["-N", "true"], "after", ""),
        (["-N", "/bin/true", "-N", "true"], "after", ""),
        (["-P", "/nowhere"], "before", "/nowhere"),
    ],
)
def test_an_option_is_a_setting(arguments: list[str], field: str, value: object) -> None:
    assert getattr(asked(*arguments), field) == value


@pytest.mark.parametrize("name", ["prefer", "avoid", "ignore"])
def test_an_expression_is_a_selector_of_names(name: str) -> None:
    selector = getattr(asked(f"--{name}", "^a[[:digit:]]$"), name)
    assert (selector.kind, selector.pattern, selector.part) == ("name", r"^a[0-9]\Z", True)
    assert selector.code


@pytest.mark.parametrize(
    ("arguments", "same"),
    [
        (["-dm5"], ["-d", "-m", "5"]),
        (["-dgnm", "5"], ["-d", "-g", "-n", "-m", "5"]),
        (["--dry"], ["--dryrun"]),
        (["--pre", "x"], ["--prefer", "x"]),
        (["--prefer=x"], ["--prefer", "x"]),
        (["--pref=x=y"], ["--prefer", "x=y"]),
        (["--prefer", "-m"], ["--prefer=-m"]),
        (["--prefer", "--"], ["--prefer=--"]),
        (["--ignore-"], ["--ignore-root-user"]),
        (["-m", "5", "--"], ["-m5"]),
        (["-k", "-i", "-g"], ["-g"]),
        (["-h", "-m", "0"], ["-h"]),
        (["-hm"], ["-h"]),
        (["-v", "--nonsense"], ["-v"]),
        (["x", "-h"], ["-h"]),
        (["--prefer", "(", "-h"], ["-h"]),
    ],
)
def test_a_command_line_is_read_as_getopt_long_reads_it(arguments: list[str], same: list[str]) -> None:
    assert asked(*arguments) == asked(*same)


def test_nothing_asked_for_is_the_defaults() -> None:
    assert asked() == Settings()
    assert (Settings().report, Settings().memory) == (1.0, None)


# --- what is refused ------------------------------------------------------------------------------------------------

TRY = "Try 'earlyoom --help' for more information."


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-m"], "option requires an argument -- 'm'"),
        (["-dm"], "option requires an argument -- 'm'"),
        (["-x"], "invalid option -- 'x'"),
        (["-dx"], "invalid option -- 'x'"),
        (["--prefer"], "option '--prefer' requires an argument"),
        (["--pre"], "option '--prefer' requires an argument"),
        (["--dryrun=3"], "option '--dryrun' doesn't allow an argument"),
        (["--foo"], "unrecognized option '--foo'"),
        (["--foo=1"], "unrecognized option '--foo=1'"),
        (["--version"], "unrecognized option '--version'"),
        (["--d"], "option '--d' is ambiguous; possibilities: '--debug' '--dryrun'"),
        (["--ign", "x"], "option '--ign' is ambiguous; possibilities: '--ignore-root-user' '--ignore'"),
    ],
)
def test_bad_usage_is_told_as_getopt_tells_it(arguments: list[str], problem: str) -> None:
    assert refusal(*arguments) == (13, (f"earlyoom: {problem}", TRY))


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["xyz"], 13, "extra argument not understood: 'xyz'"),
        (["--", "-h", "x"], 13, "extra argument not understood: '-h'"),
        (["-"], 13, "extra argument not understood: '-'"),
        (["-m", "0"], 15, "-m: both SIGTERM and SIGKILL values are zero"),
        (["-m", ""], 15, "-m: both SIGTERM and SIGKILL values are zero"),
        (["-m", ","], 15, "-m: both SIGTERM and SIGKILL values are zero"),
        (["-m", "-0"], 15, "-m: both SIGTERM and SIGKILL values are zero"),
        (["-m", "abc"], 15, "-m: trailing garbage 'abc'"),
        (["-m", "5x"], 15, "-m: trailing garbage 'x'"),
        (["-m", "5 "], 15, "-m: trailing garbage ' '"),
        (["-m", "5%"], 15, "-m: trailing garbage '%'"),
        (["-m", "=5"], 15, "-m: trailing garbage '=5'"),
        (["-m", "1,2,3"], 15, "-m: trailing garbage ',3'"),
        (["-m", "5,x"], 15, "-m: trailing garbage 'x'"),
        (["-m", "nan"], 15, "-m: trailing garbage 'nan'"),
        (["-m", "10,nan"], 15, "-m: trailing garbage 'nan'"),
        (["-m", "inf"], 15, "-m: trailing garbage 'inf'"),
        (["-m", "0x5"], 15, "-m: trailing garbage 'x5'"),
        (["-m", "1_0"], 15, "-m: trailing garbage '_0'"),
        (["-m", "5e"], 15, "-m: trailing garbage 'e'"),
        (["-m", "\u0665"], 15, "-m: trailing garbage '\u0665'"),
        (["-m", "1e999"], 15, "-m: conversion error: Numerical result out of range"),
        (["-m", "1e-999"], 15, "-m: conversion error: Numerical result out of range"),
        (["-m", "100"], 15, "-m: value 100.000000 exceeds limit 99"),
        (["-m", "99.5"], 15, "-m: value 99.500000 exceeds limit 99"),
        (["-m", "5,100"], 15, "-m: value 100.000000 exceeds limit 99"),
        (["-m", "-1"], 15, "-m: value -1.000000 below zero"),
        (["-m", "-1,-2"], 15, "-m: value -1.000000 below zero"),
        (["-m", "5,-1"], 15, "-m: value -1.000000 below zero"),
        (["-m", "5" * 300], 15, "-m: argument too long (300 bytes)"),
        (["-m", "1", "-m", "0"], 15, "-m: both SIGTERM and SIGKILL values are zero"),
        (["-m", "0", "-h"], 15, "-m: both SIGTERM and SIGKILL values are zero"),
        (["-s", "101"], 16, "-s: value 101.000000 exceeds limit 100"),
        (["-s", "0"], 16, "-s: both SIGTERM and SIGKILL values are zero"),
        (["-s", "x"], 16, "-s: trailing garbage 'x'"),
        (["-M", "0"], 15, "-M: both SIGTERM and SIGKILL values are zero"),
        (["-M", "10%"], 15, "-M: trailing garbage '%'"),
        (["-M", "25165824"], 15, "-M: value 25165824.000000 exceeds limit 24914165"),
        (["-S", "2118400"], 16, "-S: value 2118400.000000 exceeds limit 2118335"),
        (["-S", "0"], 16, "-S: both SIGTERM and SIGKILL values are zero"),
        (["-r", "-1"], 14, "-r: invalid interval '-1'"),
        (["-r", ""], 14, "-r: invalid interval ''"),
        (["-r", "="], 14, "-r: invalid interval '='"),
        (["-r", "abc"], 14, "-r: invalid interval 'abc': trailing garbage 'abc'"),
        (["-r", "1x"], 14, "-r: invalid interval '1x': trailing garbage 'x'"),
        (["-r", "nan"], 14, "-r: invalid interval 'nan': trailing garbage 'nan'"),
        (["--prefer", "("], 6, "could not compile regexp '(': a ( without its ) at character 1"),
        (["--avoid", "*a"], 6, "could not compile regexp '*a': nothing to repeat at character 1"),
        (["--ignore", "[a"], 6, "could not compile regexp '[a': a [ without its ] at character 1"),
        (["--prefer", "(", "-m", "0"], 15, "-m: both SIGTERM and SIGKILL values are zero"),
        (["x", "--prefer", "("], 13, "extra argument not understood: 'x'"),
    ],
)
def test_what_is_wrong_is_told_with_earlyooms_exit_code(arguments: list[str], code: int, problem: str) -> None:
    assert refusal(*arguments) == (code, (f"fatal: {problem}",))


def test_an_expression_that_was_replaced_may_be_wrong() -> None:
    assert asked("--prefer", "(", "--prefer", "a").prefer == asked("--prefer", "a").prefer


def test_sizes_have_no_limit_on_a_machine_that_is_not_known() -> None:
    assert parse(["-M", "99999999999", "-S", "99999999999"]).memory_size == Levels(99999999999, 99999999999 / 2)


def test_a_size_of_swap_is_taken_where_there_is_none() -> None:
    assert asked("-S", "5000", swap=0).swap_size == Levels(5000, 2500)
    assert said("-S", "5000", swap=0) == [
        ("warn", "warning: -S: there is no swap now; the size counts if some is added later")
    ]


@cases(4000)
def test_a_number_is_what_python_takes_for_one_and_no_more(source: random.Random) -> None:
    text = "".join(source.choices("0123456789.eE+-, xn", k=source.randint(0, 7)))
    try:
        expected = float(text)
    except ValueError:
        expected = None
    try:
        found = number(text)
    except ValueError:
        assert expected is None or text[-1:] == " " or "e" in text.lower()
    else:
        assert found == (0.0 if not text.strip(" ") else expected)


# --- what is said ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["-n"], [("", "Notifying through D-Bus")]),
        (["--dryrun"], [("", "dryrun mode enabled, will not kill anything")]),
        (["-k"], [("warn", "Option -k is ignored since earlyoom v1.2")]),
        (["-i"], [("warn", "Option -i is ignored since earlyoom v1.7")]),
        (["-N", "/bin/true"], []),
        (["-N", "foo"], [("warn", "warning: -N: 'foo' is not an absolute path: nothing is run")]),
        (["-P", "/nowhere"], [("warn", "warning: -P: '/nowhere' cannot be executed now; it is tried all the same")]),
        (
            ["-m", "5,9"],
            [("warn", "warning: SIGTERM value 5.00 is below SIGKILL value 9.00, setting SIGTERM = SIGKILL = 9.00")],
        ),
        (
            ["--prefer", "a", "-n", "--avoid", "b", "--ignore", "c"],
            [
                ("", "Notifying through D-Bus"),
                ("", "Preferring to kill process names that match regex 'a'"),
                ("", "Will avoid killing process names that match regex 'b'"),
                ("", "Will ignore process names that match regex 'c'"),
            ],
        ),
        (["-n", "x"], [("", "Notifying through D-Bus"), ("refused", "fatal: extra argument not understood: 'x'")]),
    ],
)
def test_options_are_echoed_in_their_order(arguments: list[str], lines: list[tuple[str, str]]) -> None:
    assert said(*arguments) == lines


def test_the_help_has_every_option_that_does_something_and_fits_a_terminal() -> None:
    lines = usage()
    for option in OPTIONS:
        name = f"-{option.short}" if option.short else f"--{option.long}"
        assert any(line.strip().startswith(name) for line in lines) is (option.short not in ("k", "i")), name
    assert all(len(line) <= 90 for line in lines)


def test_the_documentation_has_every_option() -> None:
    text = DOCS.read_text("utf-8")
    for option in OPTIONS:
        for name in (f"-{option.short}" * bool(option.short), f"--{option.long}" * bool(option.long)):
            assert f"`{name}" in text, name


def test_posix_order_ends_the_options_at_the_first_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSIXLY_CORRECT", "1")
    assert refusal("x", "-h") == (13, ("fatal: extra argument not understood: 'x'",))


def test_kibibytes_are_what_sizes_are_in() -> None:
    assert asked("-M", str(TOTAL // KIB // 100)).memory_size == Levels(251658, 125829)
