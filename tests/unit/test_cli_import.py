"""`okoomer import`: another daemon's configuration becomes a policy that says the same, with what is different."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from okoomer.cli import import_
from okoomer.compat import earlyoom, nohang
from okoomer.compat.nohang_keys import KEYS
from okoomer.guard.sense import Sense
from okoomer.kernel.machine import LIVE
from okoomer.policy.language import load
from okoomer.policy.model import Policy
from okoomer.record import replace
from tests.unit.console import Ended, okoomer

NOHANG = r"""
## a comment
psi_checking_enabled = True
psi_path = /sys/fs/cgroup/user.slice/memory.pressure
zram_checking_enabled = True
soft_threshold_min_mem = 8 %
hard_threshold_min_swap = 500 M
low_memory_warnings_enabled = True
post_action_gui_notifications = True
ignore_positive_oom_score_adj = True
max_soft_exit_time = 3.5
min_badness = 12
post_kill_exe = /bin/echo "it's" $PID $NAME
print_mem_check_results = True
@BADNESS_ADJ_RE_NAME 300 /// ^(Web Content|"x"|it's)$
@BADNESS_ADJ_RE_CMDLINE -200 /// --type=\w+ => \d
@BADNESS_ADJ_RE_UID 10 /// ^(0|1\d{3})$
@BADNESS_ADJ_RE_CGROUP_V1 -5 /// ^/system\.slice/
@SOFT_ACTION_RE_NAME ^nginx$ /// /bin/kill -TERM $PID
@check_kmsg
"""


def plain(policy: Policy) -> Policy:
    """What a file can say of a policy."""
    rules = tuple(replace(rule, line=0, when_text="", until_text="") for rule in policy.rules)
    return replace(policy, name="", rules=rules)


def imported(tmp_path: Path, *arguments: object) -> tuple[Policy, Ended]:
    """The policy that an import wrote, by the name of its file."""
    ended = okoomer("import", *arguments)
    assert (ended.code, ended.err) == (0, "")
    path = tmp_path / "imported.toml"
    path.write_text(ended.out)
    return load(str(path)), ended


def comments_of(ended: Ended) -> str:
    return " ".join(line.removeprefix("#").strip() for line in ended.out.splitlines() if line.startswith("#"))


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "nohang.conf"
    path.write_text(NOHANG)
    return path


# --- nohang ---------------------------------------------------------------------------------------------------------


def test_a_configuration_of_nohang_becomes_a_policy_that_says_the_same(tmp_path: Path, configuration: Path) -> None:
    policy, _ = imported(tmp_path, "nohang", configuration)
    assert plain(policy) == plain(nohang.translate(nohang.load(configuration)).policy)
    assert okoomer("check", tmp_path / "imported.toml").code in (0, 1)


def test_an_empty_configuration_of_nohang_has_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.conf"
    path.write_text("")
    policy, ended = imported(tmp_path, "nohang", path)
    assert plain(policy) == plain(nohang.translate(nohang.parse("", "empty.conf")).policy)
    assert f"{', '.join(KEYS)}: is not in the file" in comments_of(ended)


def test_each_difference_stands_in_a_comment(tmp_path: Path, configuration: Path) -> None:
    _, ended = imported(tmp_path, "nohang", configuration)
    comments = comments_of(ended)
    assert comments.startswith(f"Translated from {configuration}, a configuration of nohang's")
    for _, note in nohang.translate(nohang.load(configuration)).notes:
        assert " ".join(note.split()) in comments


def test_a_wrong_configuration_is_bad_input_at_its_place(tmp_path: Path) -> None:
    path = tmp_path / "nohang.conf"
    path.write_text("# one\npsi_checking_enabled = yes\n")
    ended = okoomer("import", "nohang", path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"okoomer: {path}:2:24: ")


def test_a_command_without_its_path_is_told_and_has_to_be_mended(tmp_path: Path) -> None:
    path = tmp_path / "nohang.conf"
    path.write_text("post_kill_exe = no-such-program-anywhere $PID\n")
    ended = okoomer("import", "nohang", path)
    assert ended.code == 1
    assert "no-such-program-anywhere $PID" in ended.out
    assert "has to be mended before it can be run: policy.toml:" in ended.err and ended.err.count("\n") == 1


# --- earlyoom -------------------------------------------------------------------------------------------------------

ARGUMENTS = [
    [],
    ["-m", "5"],
    ["-m", "7.5,2", "-s", "100"],
    ["-M", "409600", "-n", "-g"],
    ["-r", "3600", "--prefer", r"(^|/)(java|chrom\.*)$", "--avoid", "^(sshd|it's)$", "--ignore", "^X$"],
    ["--sort-by-rss", "--avoid", "a|b", "--ignore-root-user"],
    ["-N", "/bin/echo", "-P", "/bin/true", "-r", "0"],
    ["--kernel-oom"],
    ["--dryrun", "-p", "-d", "--syslog"],
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
def test_options_of_earlyoom_become_a_policy_that_says_the_same(tmp_path: Path, arguments: list[str]) -> None:
    policy, ended = imported(tmp_path, "earlyoom", "--", *arguments)
    snapshot = Sense(LIVE).snapshot()
    translation = earlyoom.translate(earlyoom.parse(arguments), snapshot.memory.total, snapshot.swap.total)
    assert plain(policy) == plain(translation.policy)
    comments = comments_of(ended)
    assert comments.startswith("Translated from the options given: earlyoom")
    assert all(" ".join(note.split()) in comments for _, note in translation.notes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('EARLYOOM_ARGS="-r 3600"', ["-r", "3600"]),
        ("EARLYOOM_ARGS=-r 3600 -m 5\n", ["-r", "3600", "-m", "5"]),
        ("# EARLYOOM_ARGS=-x\n  export EARLYOOM_ARGS='-g'\n", ["-g"]),
        ('EARLYOOM_ARGS="-m 5"\nEARLYOOM_ARGS="-m 6"\n', ["-m", "6"]),
        ("EARLYOOM_ARGS=\"--prefer '^a b$' -g\"", ["--prefer", "^a b$", "-g"]),
        ("EARLYOOM_ARGS=--prefer '^a b$' -g", ["--prefer", "^a b$", "-g"]),
        ('EARLYOOM_ARGS="-m 5 \\\n  -s 6"', ["-m", "5", "-s", "6"]),
        ("EARLYOOM_ARGS=", []),
        ('OTHER="x"\nEARLYOOM_ARGS=""\n', []),
    ],
)
def test_the_options_in_a_file(tmp_path: Path, text: str, expected: list[str]) -> None:
    path = tmp_path / "earlyoom"
    path.write_text(text)
    assert import_.arguments_of(str(path)) == expected


def test_the_options_are_those_of_the_service_if_nothing_else_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_, "DEFAULT", tmp_path / "earlyoom")
    ended = okoomer("import", "earlyoom")
    assert (ended.code, ended.out) == (2, "") and f"there is no {tmp_path}/earlyoom here" in ended.err
    (tmp_path / "earlyoom").write_text('EARLYOOM_ARGS="-m 4 --ignore ^x$"\n')
    ended = okoomer("import", "earlyoom")
    assert ended.code == 0 and f"{tmp_path}/earlyoom: earlyoom -m 4 --ignore '^x$'" in comments_of(ended)
    assert okoomer("import", "earlyoom", "--").out == okoomer("import", "earlyoom", "--", "-m", "10").out.replace(
        " -m 10", ""
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no arguments of earlyoom's: 'EARLYOOM_ARGS'; expected a line such as EARLYOOM_ARGS="),
        ("\nEARLYOOM_ARGS='-r 1\n", "earlyoom:2:15: not words, no closing quotation"),
        ('EARLYOOM_ARGS="--prefer \'a"\n', "earlyoom:1:15: not words, no closing quotation"),
    ],
)
def test_a_file_without_options_is_bad_input(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "earlyoom"
    path.write_text(text)
    ended = okoomer("import", "earlyoom", path)
    assert (ended.code, ended.out) == (2, "") and said in ended.err


def test_what_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    for peer in ("earlyoom", "nohang"):
        ended = okoomer("import", peer, tmp_path / "absent")
        assert (ended.code, ended.out) == (2, "")
        assert f"{tmp_path}/absent: No such file or directory" in ended.err and ended.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["-m", "nan"], ["--no-such-option"], ["-m"], ["--prefer", "("], ["extra"], ["-h"], ["-v", "-x"], ["-r", "9e99"]],
)
def test_wrong_options_of_earlyoom_are_bad_input(arguments: list[str]) -> None:
    ended = okoomer("import", "earlyoom", "--", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("okoomer: ") and ended.err.count("\n") == 1


def test_what_is_no_part_of_a_policy_and_what_earlyoom_warns_of_is_told() -> None:
    comments = comments_of(okoomer("import", "earlyoom", "--", "--dryrun", "-m", "5,9", "-i"))
    assert "--dryrun: is no part of a policy: okoomer run --dry-run" in comments
    assert "SIGTERM value 5.00 is below SIGKILL value 9.00" in comments and "Option -i is ignored" in comments


def test_a_file_and_options_are_too_much() -> None:
    ended = okoomer("import", "earlyoom", "/etc/default/earlyoom", "--", "-m", "5")
    assert ended.code == 2 and "expected one of them" in ended.err


# --- where it goes --------------------------------------------------------------------------------------------------


def test_a_policy_is_written_to_a_new_file_and_never_over_one(tmp_path: Path, configuration: Path) -> None:
    path = tmp_path / "mine.toml"
    ended = okoomer("import", "nohang", configuration, "-o", path)
    assert (ended.code, ended.err) == (0, "") and f"{path} is written" in ended.out
    written = path.read_text()
    assert written == okoomer("import", "nohang", configuration).out
    path.write_text("mine")
    ended = okoomer("import", "nohang", configuration, "-o", path)
    assert ended.code == 2 and "is there already" in ended.err and path.read_text() == "mine"


def test_a_policy_and_its_notes_as_json(configuration: Path) -> None:
    ended = okoomer("import", "nohang", configuration, "--json")
    answer = json.loads(ended.out)
    assert answer["policy"] == okoomer("import", "nohang", configuration).out
    expected = nohang.translate(nohang.load(configuration)).notes
    assert [(note["of"], note["note"]) for note in answer["notes"]] == list(expected)


def test_a_link_is_not_followed_either(tmp_path: Path, configuration: Path) -> None:
    (tmp_path / "link.toml").symlink_to(tmp_path / "absent.toml")
    assert okoomer("import", "nohang", configuration, "-o", tmp_path / "link.toml").code == 2
    assert not (tmp_path / "absent.toml").exists()


def test_help_has_an_example() -> None:
    for arguments in (("import",), ("import", "earlyoom"), ("import", "nohang")):
        ended = okoomer(*arguments, "--help")
        assert ended.code == 0 and "Example:" in ended.out
