"""nohang's command line: its arguments, what it shows, and that it becomes the guard."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import pytest

from okoomer.cli import nohang, nohang_memload
from okoomer.cli.nohang import Asked, Wrong, asked_for, main
from okoomer.cli.nohang_memload import BITE, BITES, LEFT, memload, other_users
from okoomer.cli.nohang_tasks import table, tasks
from okoomer.compat.nohang import parse, translate
from okoomer.compat.nohang_keys import DEFAULTS, KEYS, SECTIONS
from okoomer.compat.nohang_show import level, shown
from okoomer.guard.launch import Options
from okoomer.policy.model import Amount
from okoomer.units import GIB, MIB


def written(name: str) -> str:
    """A key's default as a file has it."""
    value = getattr(DEFAULTS, name)
    text = f"{value.value * 100:g} %" if isinstance(value, Amount) else "" if value == () else str(value)
    return f"{name} = {text}"


FULL = "\n".join(map(written, KEYS))


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "n.conf"
    path.write_text(FULL)
    return path


def run(*argv: object) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in argv])
    return code, out.getvalue(), err.getvalue()


# --- arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("--config F --monitor", Asked("--monitor", "F")),
        ("-c F --check", Asked("--check", "F")),
        ("--tasks -c F", Asked("--tasks", "F")),
        ("--check --config=F", Asked("--check", "F")),
        ("--monitor --dry-run -c F", Asked("--monitor", "F", True)),
        ("-c --check --tasks", Asked("--tasks", "--check")),
    ],
)
def test_arguments_in_any_order(line: str, asked: Asked) -> None:
    assert asked_for(line.split()) == asked


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "nothing to do"),
        ("-c F", "nothing to do"),
        ("--check", "--check needs --config FILE"),
        ("--check -c", "-c needs a file"),
        ("--check --config=", "--config needs a file"),
        ("-c F -c G --check", "-c for the second time"),
        ("-c F --check --tasks", "--check and --tasks: only one of"),
        ("-c F --check --check", "only one of"),
        ("-c F --check x", "unknown argument x"),
        ("--chekc -c F", "unknown argument --chekc"),
        ("-c F --check --dry-run", "--dry-run goes with --monitor"),
        ("-h -v", "unknown argument -h"),
    ],
)
def test_what_is_no_command_line(line: str, why: str) -> None:
    with pytest.raises(Wrong, match=f"^.*{re.escape(why)}"):
        asked_for(line.split())
    code, out, err = run(*line.split())
    assert (code, out) == (1, "") and err.startswith(f"nohang: {why[:5]}"[:8]) and "usage:" in err


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_option(flag: str) -> None:
    code, out, err = run(flag)
    assert (code, err) == (0, "")
    for option in ("--config", "--monitor", "--check", "--tasks", "--memload", "--dry-run", "--version", "Example"):
        assert option in out


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_version(flag: str) -> None:
    code, out, _err = run(flag)
    assert code == 0 and re.fullmatch(r"nohang by okoomer \d+\.\d+\.\d+\S*\n", out)


# --- --check ----------------------------------------------------------------------------------------------------


def test_check_shows_every_setting_and_says_ok(conf: Path) -> None:
    code, out, err = run("--config", conf, "--check")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[-1] == "config is OK"
    for name in KEYS:
        assert any(line.split()[:1] == [name] for line in lines), name
    assert [line for line in lines if line in SECTIONS] == list(SECTIONS)
    assert "  hard: kill when mem.available <= 2% and swap.free <= 4%" in lines
    assert "  soft: term 10s, kill when mem.available <= 5% and swap.free <= 10%" in lines


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("min_badness = 0", "n.conf:1:15: out of range: '0'; expected a whole number, at least 1"),
        ("\nnonsense = 1", "n.conf:2:1: unknown key: 'nonsense'; expected a key of nohang's"),
        ("@BADNESS_ADJ_RE_NAM 1 /// x", "n.conf:1:1: unknown directive: '@BADNESS_ADJ_RE_NAM'; expected one of"),
    ],
)
@pytest.mark.parametrize("action", ["--check", "--tasks", "--monitor"])
def test_the_first_mistake_ends_it_with_its_place(tmp_path: Path, text: str, said: str, action: str) -> None:
    (tmp_path / "n.conf").write_text(text)
    code, out, err = run("-c", tmp_path / "n.conf", action)
    assert (code, out) == (1, "") and f"nohang: {tmp_path}/{said}" in err


def test_a_file_that_is_not_there_is_named() -> None:
    code, _out, err = run("-c", "/nonesuch.conf", "--check")
    assert code == 1 and err.startswith("nohang: /nonesuch.conf: No such file or directory")


@pytest.mark.parametrize(
    ("amount", "whole", "text"),
    [
        (Amount(0.05, True), 24 * GIB, "1229 MiB, 5 %"),
        (Amount(0.125, True), GIB, "128 MiB, 12.5 %"),
        (Amount(500 * MIB), 24 * GIB, "500 MiB, 2.035 %"),
        (Amount(0.25, True), 0, "25 %"),
        (Amount(500 * MIB), 0, "500 MiB"),
        (Amount(0.0, True), GIB, "0 MiB, 0 %"),
    ],
)
def test_sizes_are_shown_in_mib_and_percent_side_by_side(amount: Amount, whole: int, text: str) -> None:
    assert level(amount, whole) == text


def test_directives_are_shown_where_they_belong() -> None:
    text = (
        "@BADNESS_ADJ_RE_UID -50 /// ^0$\n@SOFT_ACTION_RE_NAME ^a$ /// /bin/x 'b c'\n@check_kmsg\n"
        "warning_exe = /bin/say 'a b'\n"
    )
    lines = list(shown(parse(text, "n.conf"), GIB, 0))
    assert lines[lines.index("  @BADNESS_ADJ_RE_UID, by the number of the user:") + 1] == "         -50  ^0$"
    assert lines[lines.index("  @SOFT_ACTION_RE_NAME, by the process's name:") + 1] == "    ^a$  =>  /bin/x 'b c'"
    assert "  @BADNESS_ADJ_RE_NAME, by the process's name: (none)" in lines
    assert any(line.split() == ["@check_kmsg", "True"] for line in lines)
    assert any(line.split(None, 1) == ["warning_exe", "/bin/say 'a b'"] for line in lines)


# --- --tasks ----------------------------------------------------------------------------------------------------


def process(proc: Path, pid: int, name: str, score: int, adj: int = 0, mib: int = 50, flags: int = 0) -> None:
    """A process as /proc has it."""
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "stat").write_text(
        f"{pid} ({name}) S 1 {pid} {pid} 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0 {' 0' * 30}\n"
    )
    (folder / "status").write_text(
        f"Name:\t{name}\nUid:\t1000\t1000\t1000\t1000\nRssAnon:\t{mib * 1024} kB\nRssFile:\t0 kB\nRssShmem:\t0 kB\n"
        f"VmSwap:\t1024 kB\n"
    )
    (folder / "statm").write_text(f"{mib * 512} {mib * 256} 0 0 0 0 0\n")
    (folder / "oom_score").write_text(f"{score}\n")
    (folder / "oom_score_adj").write_text(f"{adj}\n")
    (folder / "cmdline").write_bytes(f"{name}\0--flag\0".encode())


def test_tasks_are_sorted_by_the_badness_of_the_policy(tmp_path: Path) -> None:
    process(tmp_path, 1, "init", 700)
    process(tmp_path, 2, "kthread", 0, flags=0x200000, mib=0)
    process(tmp_path, 10, "small", 667, mib=5)
    process(tmp_path, 11, "big", 800)
    process(tmp_path, 12, "wanted", 700)
    process(tmp_path, 13, "kept", 900, adj=-1000)
    process(tmp_path, 14, "large", 667, mib=60)
    process(tmp_path, 15, "tab", 850, adj=300)
    settings = parse(
        "@BADNESS_ADJ_RE_NAME 300 /// ^wan\n@BADNESS_ADJ_RE_NAME -200 /// big\nignore_positive_oom_score_adj = True",
        "n",
    )
    policy = translate(settings).policy
    found = [(task.process.name, task.badness) for task in tasks(str(tmp_path), policy)]
    assert found == [("wanted", 1000), ("large", 667), ("small", 667), ("tab", 650), ("big", 600), ("kept", 0)]
    lines = list(table(str(tmp_path), policy, "cmdline"))
    assert lines[0].split() == [
        "PID", "PPID", "badness", "oom_score", "oom_score_adj", "eUID", "S", "VmSize", "VmRSS", "VmSwap", "Name",
        "cmdline",
    ]  # fmt: skip
    assert lines[1].split() == [
        "12",
        "1",
        "1000",
        "700",
        "0",
        "1000",
        "S",
        "100",
        "50",
        "1",
        "wanted",
        "wanted",
        "--flag",
    ]
    assert (
        lines[-2].startswith("6 processes that hold memory")
        and lines[-1] == "highest badness: wanted (pid 12) with 1000"
    )
    assert len(lines) == 9 and "--flag" not in "".join(table(str(tmp_path), policy))


def test_a_hostile_name_stays_on_its_line(tmp_path: Path) -> None:
    process(tmp_path, 10, "a\nb", 700)
    lines = list(table(str(tmp_path), translate(DEFAULTS).policy))
    assert len(lines) == 4 and r"a\nb" in lines[1]


def test_without_a_process_there_is_a_table_all_the_same(tmp_path: Path) -> None:
    assert len(list(table(str(tmp_path), translate(DEFAULTS).policy))) == 2


def test_the_tasks_of_this_machine(conf: Path) -> None:
    code, out, err = run("-c", conf, "--tasks")
    assert (code, err) == (0, "")
    scores = [int(line.split()[2]) for line in out.splitlines()[1:-2]]
    assert scores and scores == sorted(scores, reverse=True)


# --- --monitor --------------------------------------------------------------------------------------------------


class Began(Exception):
    """The guard would begin."""


def began(*argv: object, asked: bool = False, holder: int | None = None) -> tuple[Options, str, str]:
    """The options with which a guard would begin, and what was said before."""
    found: list[Options] = []

    def start(options: Options) -> NoReturn:
        found.append(options)
        raise Began

    out, err = StringIO(), StringIO()
    with (
        patch.object(nohang, "start", start),
        patch.object(nohang, "for_reload", lambda: asked),
        patch.object(nohang, "fill_rate", lambda: 5.0),
        patch.object(nohang, "compile_all"),
        patch.object(nohang.place, "running", lambda directory: holder),
        patch.object(sys, "orig_argv", ["python3", "/usr/bin/okoomer", "nohang", *map(str, argv)]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(Began),
    ):
        main([str(word) for word in argv])
    return found[0], out.getvalue(), err.getvalue()


def test_monitor_becomes_a_guard_by_the_translated_policy(conf: Path) -> None:
    options, out, err = began("--monitor", "--config", conf)
    assert options.policy == translate(parse(FULL, str(conf))).policy
    assert (options.fill_rate, options.dry_run, options.voice) == (5.0, False, "")
    assert options.front == ("/usr/bin/okoomer", "nohang", "--monitor", "--config", str(conf))
    assert options.source == f"{conf}: a configuration of nohang's"
    assert out == err == ""


def test_what_a_person_has_to_know_is_said_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "n.conf"
    path.write_text(FULL.replace("max_sleep = 3.0", "max_sleep = 9").replace("separate_log = False", "@check_kmsg"))
    _options, _out, err = began("--monitor", "-c", path)
    assert err.splitlines() == [
        f"nohang: {path}: @check_kmsg: the kernel's own kills are told (`tell`), and nothing is held off for them",
        f"nohang: {path}: max_sleep: changes nothing here: {KEYS['max_sleep'].here}",
        f"nohang: {path}: the default holds for what is not in it: separate_log",
    ]


def test_the_settings_are_shown_at_the_start_if_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "n.conf"
    path.write_text(FULL.replace("print_config_at_startup = False", "print_config_at_startup = True"))
    assert SECTIONS[0] in began("--monitor", "-c", path)[1]


def test_for_a_reload_nothing_is_said_and_nobody_is_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "n.conf"
    path.write_text("min_badness = 7\n")
    options, out, err = began("--monitor", "-c", path, asked=True, holder=4)
    assert options.policy.rules[0].least_score == 7
    assert out == err == ""


def test_a_second_guard_is_refused(conf: Path) -> None:
    with patch.object(nohang.place, "running", lambda directory: 4):
        code, _out, err = run("--monitor", "-c", conf)
    assert code == 3 and err.startswith("nohang: okoomer is running already as pid 4")


@pytest.fixture
def guard(conf: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    if os.geteuid() == 0:
        (tmp_path / "run").mkdir()
    code = "import sys; from okoomer.cli import nohang, place"
    code += f"; place.runtime_dir = lambda given: {str(tmp_path / 'run')!r}"
    code += "; sys.argv = ['nohang', *sys.argv[1:]]; sys.exit(nohang.main(sys.argv[1:]))"
    argv = [sys.executable, "-c", code, "--config", str(conf), "--monitor", "--dry-run"]
    guard = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield guard
    guard.kill()
    guard.communicate()


@pytest.mark.timeout(180)
def test_a_guard_starts_in_a_dry_run_and_stops_when_it_is_told_to(guard: subprocess.Popen[str]) -> None:
    assert guard.stderr
    lines: list[str] = []
    while "guards" not in (lines or [""])[-1]:
        lines.append(guard.stderr.readline())
        assert lines[-1], lines
    assert "by policy n: hard, soft (dry run: nobody is touched)" in lines[-1]
    time.sleep(0.2)
    guard.send_signal(signal.SIGTERM)
    guard.communicate(timeout=60)
    assert guard.returncode == 0


# --- --memload, never for real ----------------------------------------------------------------------------------


class Trial:
    """What memload is given in the place of the machine."""

    def __init__(self, answers: list[str | None], left: int = LEFT + 10 * MIB) -> None:
        self.answers, self.left = answers, left
        self.did: list[str] = []
        self.taken = 0

    def ask(self, question: str) -> str | None:
        answer = self.answers.pop(0)
        self.did.append("asked")
        return re.findall(r"\d{6}", question)[0] if answer == "CAPTCHA" else answer

    def take(self, size: int) -> None:
        assert "dropped" in self.did and size == BITE
        self.taken += size

    def run(self, why: str | None = None) -> int:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            return memload(
                lambda: why,
                self.ask,
                lambda: self.left - self.taken,
                self.take,
                lambda: self.did.append("dropped"),
                lambda: self.did.append("ended"),
            )


def test_memload_takes_memory_until_little_is_left_and_ends() -> None:
    trial = Trial(["CAPTCHA", "Yes"])
    assert trial.run() == 1
    assert trial.did == ["asked", "dropped", "asked", "ended"]
    assert 10 * MIB <= trial.taken <= 10 * MIB + BITE * BITES


@pytest.mark.parametrize(
    ("answers", "did"),
    [
        ([None], ["asked"]),
        (["123"], ["asked"]),
        (["Yes"], ["asked"]),
        (["CAPTCHA", None], ["asked", "dropped", "asked"]),
        (["CAPTCHA", "yes"], ["asked", "dropped", "asked"]),
        (["CAPTCHA", "No"], ["asked", "dropped", "asked"]),
    ],
)
def test_memload_does_nothing_without_both_answers(answers: list[str | None], did: list[str]) -> None:
    trial = Trial(answers)
    assert (trial.run(), trial.did, trial.taken) == (1, did, 0)


def test_memload_does_not_ask_where_it_is_refused() -> None:
    trial = Trial([])
    assert (trial.run("swap is on"), trial.did, trial.taken) == (3, [], 0)


def test_memload_can_be_interrupted() -> None:
    with patch.object(nohang, "memload", side_effect=KeyboardInterrupt):
        assert run("--memload") == (130, "", "")


@pytest.mark.parametrize("flag", ["-m", "--memload"])
def test_memload_is_refused_where_there_is_no_terminal(flag: str) -> None:
    code, out, err = run(flag)
    assert (code, out, err) == (3, "", "nohang: no memload: it asks, and this is no terminal\n")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"swap": 1}, "swap is on"),
        ({"others": {1000, 1001}}, "other users are logged in: 1000, 1001"),
        ({"guarded": False}, "nothing guards this machine"),
        ({"terminal": False}, "no terminal"),
    ],
)
def test_memload_is_refused_where_it_would_hurt_others(changes: dict[str, Any], why: str | None) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return bool(changes.get("terminal", True))

    class Seen:
        def __init__(self, *_: object) -> None: ...

        def snapshot(self) -> Any:
            class Machine:
                class swap:
                    total = changes.get("swap", 0)

            return Machine

    with (
        patch.object(sys, "stdin", Terminal()),
        patch.object(sys, "stdout", Terminal()),
        patch.object(nohang_memload, "Sense", Seen),
        patch.object(nohang_memload, "other_users", lambda *_: changes.get("others", set())),
        patch.object(nohang_memload, "guarded", lambda *_: changes.get("guarded", True)),
    ):
        found = nohang_memload.refusal()
    assert found is None if why is None else why in (found or "")


def test_others_are_those_with_a_session_or_a_terminal(tmp_path: Path) -> None:
    process(tmp_path / "proc", 10, "sh", 1)
    assert other_users(str(tmp_path / "proc"), str(tmp_path / "none"), {0}) == set()
    stat = tmp_path / "proc/10/stat"
    stat.write_text(stat.read_text().replace("10 10 0 -1", "10 10 34816 -1"))
    (tmp_path / "sessions").mkdir()
    for name in ("0", "1001", "text"):
        (tmp_path / "sessions" / name).touch()
    assert other_users(str(tmp_path / "proc"), str(tmp_path / "sessions"), {0}) == {1000, 1001}
    assert other_users(str(tmp_path / "proc"), str(tmp_path / "sessions"), {0, 1000}) == {1001}


def test_a_daemon_of_the_kind_is_known_by_its_name(tmp_path: Path) -> None:
    with patch.object(nohang_memload.place, "running", lambda directory: None):
        assert not nohang_memload.guarded(str(tmp_path))
        process(tmp_path, 10, "earlyoom", 1)
        assert nohang_memload.guarded(str(tmp_path))
    with patch.object(nohang_memload.place, "running", lambda directory: 7):
        assert nohang_memload.guarded(str(tmp_path / "none"))
