"""nohang's configuration: every key, every directive, and every mistake with its place."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random

import pytest

from okoomer.compat.nohang import Settings, load, parse
from okoomer.compat.nohang_directives import ADJUSTMENTS, FLAGS, NAMES, SOFT_ACTIONS
from okoomer.compat.nohang_keys import DEFAULTS, KEYS, SECTIONS
from okoomer.facts import Process
from okoomer.policy.error import PolicyError
from okoomer.policy.model import SELECTORS, Amount
from okoomer.policy.select import matcher
from okoomer.record import replace
from okoomer.units import GIB, MIB
from tests.box.peers import unpacked
from tests.unit.strategies import cases

TOTAL = 24 * GIB
#: What has to stand beside a key so that its own limits are what counts, and not its neighbour's default.
BESIDE = {
    "soft_threshold_min_mem": "hard_threshold_min_mem = 0 %",
    "soft_threshold_min_swap": "hard_threshold_min_swap = 0 %",
    "soft_threshold_max_zram": "hard_threshold_max_zram = 90 %",
    "soft_threshold_max_psi": "hard_threshold_max_psi = 100",
    "hard_threshold_min_mem": "soft_threshold_min_mem = 50 %",
    "hard_threshold_min_swap": "soft_threshold_min_swap = 100 %",
    "hard_threshold_max_zram": "soft_threshold_max_zram = 10 %",
    "hard_threshold_max_psi": "soft_threshold_max_psi = 1",
    "min_sleep": "max_sleep = 1000000000",
    "max_sleep": "min_sleep = 0.01",
}


def read(text: str, total: int = TOTAL) -> Settings:
    return parse(text, "n.conf", total)


def alone(key: str, value: str) -> str:
    return f"{key} = {value}\n{BESIDE.get(key, '')}\n"


def mistake(text: str, total: int = TOTAL) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        read(text, total)
    return caught.value


# --- keys -------------------------------------------------------------------------------------------------------


def test_there_are_51_keys_11_directives_and_2_flags() -> None:
    assert len(KEYS) == 51 and len(ADJUSTMENTS) + len(SOFT_ACTIONS) == 11 and len(FLAGS) == 2
    assert len(NAMES) == len(set(NAMES)) == 13


def test_keys_and_settings_name_the_same() -> None:
    assert set(KEYS) < set(Settings._fields)
    assert set(Settings._fields) - set(KEYS) == {*FLAGS, "adjustments", "soft_actions", "file", "given"}
    assert {key.section for key in KEYS.values()} == set(SECTIONS)
    assert {kind for kind, _ in (*ADJUSTMENTS.values(), *SOFT_ACTIONS.values())} <= set(SELECTORS)


@pytest.mark.parametrize("text", ["", "# a comment\n\tone more\n  and = one\n\n#key = 1"])
def test_what_is_not_in_a_file_has_its_default(text: str) -> None:
    assert read(text) == replace(DEFAULTS, file="n.conf")


#: Kinds of values by what their keys take and do not take. Of each the first is taken.
FLAGS_TAKE = (["True", "False"], ["true", "yes", "1", "", "True # always"])
COMMANDS = (["", "/bin/true", "/bin/true 'a b' $PID"], ["'a", '"', "/bin/echo $HOME"])
SECONDS = (["0", "30", "0.5", "+3", "1e2", " 7 "], ["-1", "nan", "inf", "-inf", "1e99", "x", "", "3 s", "0x10", "1_0"])
TENTHS = (["0.1", "20"], ["0", "0.09", "-1", "nan", "ten"])
RATES = (["100", "6000.5"], ["99", "0", "-6000", "nan", "6000 M"])
SLEEPS = (["0.01", "3"], ["0", "0.001", "nan", "-3"])
STALLS = (["1", "99.9", "100"], ["0", "0.9", "101", "nan", "40 %"])
WARNED = (["0 %", "100 %", "20.5%", "0 M", "500 M", "24576M"], ["101 %", "-1 %", "nan %", "24577 M", "20", "%", "5 G"])
HALVES = (["0 %", "50 %", "5.5%", "0 M", "500 M", "12288 M"], ["51 %", "-1 %", "nan %", "12289 M", "5", "M", "5 k"])
SWAPS = (["0 %", "100 %", "10.5%", "0 M", "999999 M"], ["101 %", "-1 %", "-1 M", "nan %", "inf M", "10", "", "4 GiB"])
ZRAMS = (["10 %", "90 %", "5000 M"], ["9 %", "91 %", "nan %", "1 M", "24000 M", "50"])
WHOLES = (["1", "999"], ["0", "-1", "1.5", "x", "", "nan"])
VALUES: dict[str, tuple[list[str], list[str]]] = {
    "zram_checking_enabled": FLAGS_TAKE,
    "psi_checking_enabled": FLAGS_TAKE,
    "psi_path": (["/proc/pressure/memory", "/sys/fs/cgroup/user.slice/memory.pressure"], [""]),
    "psi_metrics": (
        [f"{line}_avg{seconds}" for line in ("some", "full") for seconds in (10, 60, 300)],
        ["", "full", "full_avg30", "FULL_AVG10"],
    ),
    "psi_excess_duration": SECONDS,
    "psi_post_action_delay": (["10", "15.5"], ["9.9", "0", "nan"]),
    "fill_rate_mem": RATES,
    "fill_rate_swap": RATES,
    "fill_rate_zram": RATES,
    "max_sleep": SLEEPS,
    "min_sleep": SLEEPS,
    "post_action_gui_notifications": FLAGS_TAKE,
    "hide_corrective_action_type": FLAGS_TAKE,
    "low_memory_warnings_enabled": FLAGS_TAKE,
    "warning_exe": COMMANDS,
    "warning_threshold_min_mem": WARNED,
    "warning_threshold_min_swap": SWAPS,
    "warning_threshold_max_zram": WARNED,
    "warning_threshold_max_psi": STALLS,
    "min_post_warning_delay": (["1", "60"], ["0", "0.9", "nan"]),
    "env_cache_time": SECONDS,
    "soft_threshold_min_mem": HALVES,
    "soft_threshold_min_swap": SWAPS,
    "soft_threshold_max_zram": ZRAMS,
    "soft_threshold_max_psi": STALLS,
    "hard_threshold_min_mem": HALVES,
    "hard_threshold_min_swap": SWAPS,
    "hard_threshold_max_zram": ZRAMS,
    "hard_threshold_max_psi": STALLS,
    "ignore_positive_oom_score_adj": FLAGS_TAKE,
    "max_soft_exit_time": TENTHS,
    "post_kill_exe": COMMANDS,
    "min_badness": WHOLES,
    "post_soft_action_delay": TENTHS,
    "post_zombie_delay": SECONDS,
    "victim_cache_time": SECONDS,
    "exe_timeout": TENTHS,
    "print_config_at_startup": FLAGS_TAKE,
    "print_mem_check_results": FLAGS_TAKE,
    "min_mem_report_interval": SECONDS,
    "print_proc_table": FLAGS_TAKE,
    "extra_table_info": (
        ["None", "cgroup_v1", "cgroup_v2", "realpath", "cwd", "cmdline", "environ"],
        ["", "none", "exe"],
    ),
    "print_victim_status": FLAGS_TAKE,
    "print_victim_cmdline": FLAGS_TAKE,
    "max_victim_ancestry_depth": WHOLES,
    "print_statistics": FLAGS_TAKE,
    "debug_psi": FLAGS_TAKE,
    "debug_gui_notifications": FLAGS_TAKE,
    "debug_sleep": FLAGS_TAKE,
    "debug_threading": FLAGS_TAKE,
    "separate_log": FLAGS_TAKE,
}


def test_the_table_has_every_key() -> None:
    assert set(VALUES) == set(KEYS)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, (taken, _) in VALUES.items() for value in taken])
def test_what_a_key_takes(key: str, value: str) -> None:
    settings = read(alone(key, value))
    assert settings.given >= {key}
    assert type(getattr(settings, key)) is type(getattr(DEFAULTS, key))


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, (_, refused) in VALUES.items() for value in refused])
def test_what_a_key_does_not_take(key: str, value: str) -> None:
    error = mistake(alone(key, value))
    assert (error.file, error.line) == ("n.conf", 1)
    assert error.column >= len(f"{key} = ") or not value.strip()
    assert error.expected


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("psi_excess_duration", "1e2", 100.0),
        ("warning_exe", "/bin/say 'a b' c", ("/bin/say", "a b", "c")),
        ("soft_threshold_min_mem", "5.5 %", Amount(0.055, True)),
        ("soft_threshold_min_mem", "500 M", Amount(500 * MIB)),
        ("soft_threshold_min_swap", "0.5M", Amount(MIB / 2)),
        ("hard_threshold_max_psi", "99.5", 99.5),
        ("min_badness", "20", 20),
        ("print_statistics", "False", False),
        ("extra_table_info", "cmdline", "cmdline"),
        ("psi_path", "/a b", "/a b"),
    ],
)
def test_what_a_value_means(key: str, value: str, meant: object) -> None:
    assert getattr(read(alone(key, value)), key) == meant
    assert getattr(read(alone(key, value).replace(" = ", "  =\t")), key) == meant


def test_m_is_mib_for_swap_as_for_memory() -> None:
    settings = read("soft_threshold_min_mem = 500 M\nsoft_threshold_min_swap = 500 M\nhard_threshold_min_swap = 1 M")
    assert settings.soft.mem == settings.soft.swap == Amount(500 * MIB)


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("swallow = 1", 1, 1, "unknown key"),
        ("\n\nmin_badnes = 1", 3, 1, "unknown key"),
        ("min_badness = 1\nmin_badness = 1", 2, 15, "a key for the second time"),
        ("min_badness", 1, 1, "not a setting"),
        ("[section]", 1, 1, "not a setting"),
        ("min_sleep = 4", 1, 13, "min_sleep is beyond max_sleep"),
        ("max_sleep = 0.05", 1, 13, "min_sleep is beyond max_sleep"),
        ("hard_threshold_min_mem = 6 %", 1, 26, "hard_threshold_min_mem is beyond soft_threshold_min_mem"),
        ("soft_threshold_min_mem = 1 %", 1, 26, "hard_threshold_min_mem is beyond soft_threshold_min_mem"),
        ("hard_threshold_min_mem = 2000 M", 1, 26, "hard_threshold_min_mem is beyond soft_threshold_min_mem"),
        ("hard_threshold_min_swap = 11 %", 1, 27, "hard_threshold_min_swap is beyond soft_threshold_min_swap"),
        (
            "hard_threshold_min_swap = 9 M\nsoft_threshold_min_swap = 8 M",
            1,
            27,
            "hard_threshold_min_swap is beyond soft_threshold_min_swap",
        ),
        ("hard_threshold_max_zram = 50 %", 1, 27, "soft_threshold_max_zram is beyond hard_threshold_max_zram"),
        ("soft_threshold_max_zram = 20000 M", 1, 27, "soft_threshold_max_zram is beyond hard_threshold_max_zram"),
        ("hard_threshold_max_psi = 30", 1, 26, "soft_threshold_max_psi is beyond hard_threshold_max_psi"),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, line: int, column: int, problem: str) -> None:
    error = mistake(text)
    assert (error.line, error.column, error.problem) == (line, column, problem)
    assert str(error).startswith(f"n.conf:{line}:{column}: {problem}: ")


def test_a_misspelt_name_gets_a_hint() -> None:
    assert "did you mean min_badness?" in mistake("min_badnes = 1").expected
    assert "did you mean @BADNESS_ADJ_RE_NAME?" in mistake("@BADNESS_ADJ_RE_NAM 1 /// x").expected
    assert "line 1 has this one" in mistake("min_badness = 1\nmin_badness = 1").expected


def test_sizes_are_held_against_memory_only_where_it_is_known() -> None:
    text = "soft_threshold_min_mem = 900 M\nhard_threshold_min_mem = 800 M"
    assert mistake(text, GIB).line == 1
    assert read(text, 0).soft.mem == Amount(900 * MIB)


def test_sizes_and_shares_of_swap_are_not_compared() -> None:
    assert read("hard_threshold_min_swap = 900 M").hard.swap == Amount(900 * MIB)


# --- directives -------------------------------------------------------------------------------------------------

PROCESS = Process(
    7, 1, "nginx", 0.0, user=1000, command="nginx -g x", executable="/usr/sbin/nginx", cgroup="/a/nginx.service",
    environment="HOME=/x", directory="/var/www", cgroup1="/one",
)  # fmt: skip
PARTS = {
    "name": "^ngi",
    "cgroup1": "one$",
    "cgroup": "nginx.service",
    "user": "^10",
    "exe": "sbin/",
    "cwd": "www",
    "cmdline": "-g",
    "environ": "HOME=",
}


@pytest.mark.parametrize("name", ADJUSTMENTS)
def test_points_are_given_for_a_part_of_the_text(name: str) -> None:
    kind = ADJUSTMENTS[name][0]
    [points] = read(f"@{name}  -200 ///  {PARTS[kind]}  ").adjustments
    assert (points.value, points.selector.written) == (-200.0, f"{kind}~{PARTS[kind]}")
    assert matcher((points.selector,))(PROCESS) and not matcher((points.selector,))(Process(8, 1, "x", 0.0))


@pytest.mark.parametrize("name", SOFT_ACTIONS)
def test_a_command_takes_the_place_of_sigterm(name: str) -> None:
    kind = SOFT_ACTIONS[name][0]
    [action] = read(f"@{name} {PARTS[kind]} /// /bin/systemctl restart '$SERVICE' $PID").soft_actions
    assert action.selector.written == f"{kind}~{PARTS[kind]}"
    assert action.command == ("/bin/systemctl", "restart", "$SERVICE", "$PID")
    assert matcher((action.selector,))(PROCESS)


def test_flags_stand_alone() -> None:
    settings = read("@check_kmsg\n@debug_kmsg  \n")
    assert settings.check_kmsg and settings.debug_kmsg
    assert settings.given == {"@check_kmsg", "@debug_kmsg"}


def test_directives_may_share_what_stands_before_an_equals_sign_and_come_again() -> None:
    twice = "@BADNESS_ADJ_RE_CMDLINE 9 /// --type=renderer\n@BADNESS_ADJ_RE_CMDLINE 9 /// --type=gpu\n"
    assert [one.selector.pattern for one in read(twice).adjustments] == ["--type=renderer", "--type=gpu"]
    assert len(read(twice + twice + "@check_kmsg\n@check_kmsg").adjustments) == 4


def test_a_pattern_may_hold_what_stands_between_the_parts() -> None:
    assert read("@BADNESS_ADJ_RE_NAME 1 /// file:///").adjustments[0].selector.pattern == "file:///"


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("@BADNESS_ADJ_RE_NAM 1 /// x", 1, "unknown directive"),
        ("@", 1, "unknown directive"),
        ("@check_kmsg now", 13, "too much for a flag"),
        ("@BADNESS_ADJ_RE_NAME 200 chrome", 22, "a directive without ///"),
        ("@BADNESS_ADJ_RE_NAME", 21, "a directive without ///"),
        ("@BADNESS_ADJ_RE_NAME many /// chrome", 22, "not a whole number"),
        ("@BADNESS_ADJ_RE_NAME 1.5 /// chrome", 22, "not a whole number"),
        ("@BADNESS_ADJ_RE_NAME nan /// chrome", 22, "not a whole number"),
        ("@BADNESS_ADJ_RE_NAME /// chrome", 22, "not a whole number"),
        ("@BADNESS_ADJ_RE_NAME 5 ///", 27, "an empty pattern, which would name everybody"),
        ("@BADNESS_ADJ_RE_NAME 5 /// a(b", 29, "not a regular expression, missing ), unterminated subpattern"),
        ("@BADNESS_ADJ_RE_UID 5 /// *", 27, "not a regular expression, nothing to repeat"),
        ("@SOFT_ACTION_RE_NAME ^x$", 22, "a directive without ///"),
        ("@SOFT_ACTION_RE_NAME /// /bin/x", 22, "an empty pattern, which would name everybody"),
        ("@SOFT_ACTION_RE_NAME ^x$ ///", 29, "no command"),
        ("@SOFT_ACTION_RE_NAME ^x$ /// 'a", 30, "not a command, no closing quotation"),
        ("@SOFT_ACTION_RE_NAME ^x$ /// /bin/x $HOME", 37, "unknown variable"),
        ("@SOFT_ACTION_RE_CGROUP_V2 [ /// /bin/x", 27, "not a regular expression, unterminated character set"),
    ],
)
def test_mistakes_in_directives(text: str, column: int, problem: str) -> None:
    error = mistake(f"# first\n{text}\n")
    assert (error.line, error.column, error.problem) == (2, column, problem)


# --- files ------------------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path, Path("\0")):
        with pytest.raises(PolicyError) as caught:
            load(path)
        assert str(path).replace("\0", "") in str(caught.value)


def test_a_file_that_is_not_text_is_told_where(tmp_path: Path) -> None:
    (tmp_path / "n.conf").write_bytes(b"min_badness = 1\npsi_path = /\xff\n")
    with pytest.raises(PolicyError) as caught:
        load(tmp_path / "n.conf")
    assert (caught.value.line, caught.value.column, caught.value.problem) == (2, 13, "not UTF-8")


def test_lines_of_other_systems_are_read() -> None:
    assert read("min_badness = 5\r\n@check_kmsg\r\n").min_badness == 5


@pytest.mark.parametrize(("variant", "rules"), [("nohang", 0), ("nohang-desktop", 18)])
def test_the_files_that_debian_ships_are_read_and_nothing_is_missing(variant: str, rules: int) -> None:
    try:
        root = unpacked("nohang")
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"no nohang from Debian: {error}")
    settings = load(root / f"etc/nohang/{variant}.conf", TOTAL)
    assert settings.given >= set(KEYS) and len(settings.adjustments) == rules
    desktop = variant == "nohang-desktop"
    switched = dict.fromkeys(
        ("psi_checking_enabled", "post_action_gui_notifications", "low_memory_warnings_enabled"), desktop
    )
    expected = replace(DEFAULTS, **switched, file=settings.file, given=settings.given, adjustments=settings.adjustments)
    assert settings == expected


@cases(1000)
def test_whatever_a_file_holds_it_is_read_or_refused_with_its_place(random: Random) -> None:
    pieces = [
        *KEYS,
        *NAMES,
        "=",
        " ",
        "\n",
        "///",
        "#",
        "5",
        "%",
        "M",
        "True",
        "nan",
        "(",
        "'",
        "$PID",
        "\x00",
        "é",
        "-",
    ]
    text = "".join(random.choice(pieces) for _ in range(random.randrange(1, 12)))
    try:
        settings = read(text)
    except PolicyError as error:
        assert 1 <= error.line <= text.count("\n") + 1 and error.column >= 1
    else:
        assert isinstance(settings, Settings)
