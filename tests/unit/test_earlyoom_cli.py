"""`okoomer earlyoom` up to the point where a guard would start: names, streams, exit codes, what the guard is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from okoomer.cli import earlyoom, main
from okoomer.compat.earlyoom import parse, usage
from okoomer.events.earlyoom import Limits
from okoomer.facts import Memory, Swap
from okoomer.units import GIB, KIB

MEMORY, SWAP = Memory(24 * GIB, 20 * GIB, 20 * GIB, anon=GIB), Swap(2 * GIB, GIB)


def ended(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", list(words))
    with pytest.raises(SystemExit) as end:
        main.main()
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize("words", [("/usr/bin/earlyoom",), ("earlyoom",), ("/usr/bin/okoomer", "earlyoom")])
@pytest.mark.parametrize(
    ("arguments", "code", "last"),
    [
        (("-h",), 0, usage()[-1]),
        (("-v",), 0, "earlyoom v1.9.0 (okoomer"),
        (("-m",), 13, "Try 'earlyoom --help' for more information."),
        (("--nonsense",), 13, "Try 'earlyoom --help' for more information."),
        (("nohang",), 13, "fatal: extra argument not understood: 'nohang'"),
        (("earlyoom",), 13, "fatal: extra argument not understood: 'earlyoom'"),
        (("-m", "0"), 15, "fatal: -m: both SIGTERM and SIGKILL values are zero"),
        (("--avoid", "*"), 6, "fatal: could not compile regexp '*': nothing to repeat at character 1"),
    ],
)
def test_the_name_is_enough(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    arguments: tuple[str, ...],
    code: int,
    last: str,
) -> None:
    assert ended(monkeypatch, *words, *arguments) == code
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("earlyoom v1.9.0 (okoomer ")
    assert err.splitlines()[-1].startswith(last)


def test_nohang_is_a_role_of_its_own(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, "/usr/bin/nohang", "earlyoom") == 1
    assert "earlyoom" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "code"),
    [(None, 102), ("", 104), ("MemTotal: 5 kB\n", 104), ("MemTotal: x kB\nMemFree: 1 kB\n", 104), ("folder", 103)],
)
def test_memory_that_cannot_be_read_comes_before_all_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    text: str | None,
    code: int,
) -> None:
    file = tmp_path / "meminfo"
    if text == "folder":
        file.mkdir()
    elif text is not None:
        file.write_text(text)
    monkeypatch.setattr(earlyoom, "MEMINFO", str(file))
    assert earlyoom.main(["-h"]) == code
    assert "fatal: " in capfd.readouterr().err


def test_the_guard_is_told_what_the_first_lines_say() -> None:
    options = earlyoom.options(parse(["-m", "4", "-M", str(KIB * KIB), "-d", "--dryrun", "--syslog"]), MEMORY, SWAP)
    limits = Limits(*options.limits)
    assert (limits.memory, limits.user, limits.swap, limits.debug) == (24 * GIB, 21 * GIB, 2 * GIB, True)
    assert (limits.mem_term, limits.mem_kill, limits.swap_term, limits.swap_kill) == (4, 2, 10, 5)
    assert (options.voice, options.dry_run, options.syslog) == ("earlyoom", True, True)
    assert options.policy.name == "earlyoom" and options.front == tuple(sys.orig_argv[1:])


def test_where_the_kernel_cannot_be_asked_processes_are_ended_as_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    started: list[earlyoom.launch.Options] = []
    monkeypatch.setattr(earlyoom, "SYSRQ", str(tmp_path / "none"))
    monkeypatch.setattr(earlyoom, "start", started.append)
    monkeypatch.setattr(earlyoom, "compile_once", lambda: None)
    earlyoom.main(["--kernel-oom"])
    assert "warning: --kernel-oom: " in capfd.readouterr().err
    assert [step.kind for step in started[0].policy.rules[0].steps] == ["kill"]


@pytest.mark.parametrize(
    ("terminal", "no_color", "shown"),
    [
        (True, None, b"\x1b[33mcareful\n\x1b[0m"),
        (True, "", b"careful\n"),
        (False, None, b"careful\n"),
    ],
)
def test_colours_are_for_terminals(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, no_color: str | None, shown: bytes
) -> None:
    written: list[bytes] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "isatty", lambda _fd: terminal)
        patch.setattr(os, "write", lambda _fd, data: written.append(data))
        patch.delenv("NO_COLOR", raising=False)
        if no_color is not None:
            patch.setenv("NO_COLOR", no_color)
        earlyoom.say("warn", "careful")
    assert written == [shown]


def test_it_starts_without_what_it_can_do_without() -> None:
    program = (
        "import sys; bare = set(sys.modules); import okoomer.cli.main, okoomer.cli.earlyoom; "
        "print(*set(sys.modules) - bare)"
    )
    run = [sys.executable, "-I", "-c", program]
    loaded = set(subprocess.run(run, check=True, capture_output=True, text=True, timeout=60).stdout.split())
    assert not loaded & {"click", "lark", "rich", "json", "pathlib", "subprocess", "dataclasses", "okoomer.guard.main"}
