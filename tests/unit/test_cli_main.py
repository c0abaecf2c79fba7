"""The command line as a whole: help, exit codes, one line for whatever is wrong; `doctor` and `status`."""

from __future__ import annotations

import json
import os
from fcntl import LOCK_EX, flock
from pathlib import Path

import click
import pytest

from okoomer import __version__
from okoomer.cli import commands, doctor, errors, place
from okoomer.events import model
from okoomer.events.ring import Ring
from okoomer.events.text import line
from okoomer.guard.launch import keep, kept
from okoomer.guard.sense import Unreadable
from okoomer.policy.language import load
from okoomer.record import replace
from tests.unit.console import okoomer

CALM = '[[rule]]\nname = "calm"\nwhen = "mem.available < 1B"\n'


# --- help and errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), *((command,) for command in commands.COMMANDS)])
def test_every_command_has_help_with_an_example(arguments: tuple[str, ...]) -> None:
    ended = okoomer(*arguments, "--help")
    assert (ended.code, ended.err) == (0, "")
    shown, _, example = ended.out.partition("Example:\n")
    assert shown.startswith(" ".join(("Usage: okoomer", *arguments)))
    assert example.strip().startswith("okoomer")
    assert okoomer(*arguments, "-h").out == ended.out


def test_the_help_lists_all_commands_in_their_order() -> None:
    listed = okoomer("--help").out.partition("Commands:\n")[2].splitlines()
    names = [text.split()[0] for text in listed if text.startswith("  ") and text[2] != " "]
    assert names == list(commands.COMMANDS)


def test_the_version() -> None:
    assert okoomer("--version").out == f"okoomer {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("frobnicate",), "frobnicate"),
        (("--frob",), "--frob"),
        (("check", "--frob"), "--frob"),
        (("check", "a", "b"), "b"),
        (("snapshot",), "DIR"),
        (("why", "--policy"), "--policy"),
        (("run", "stray"), "stray"),
    ],
)
def test_a_slip_of_the_pen_is_bad_input_told_in_one_line(arguments: tuple[str, ...], named: str) -> None:
    ended = okoomer(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("okoomer: ") and ended.err.count("\n") == 1
    assert named in ended.err


def test_a_slip_of_the_pen_is_told_where_to_look() -> None:
    assert okoomer("check", "--frob").err == "okoomer: No such option '--frob' (see okoomer check --help)\n"


def test_no_command_at_all_shows_the_help() -> None:
    ended = okoomer()
    assert ended.code == 2
    assert "Usage: okoomer" in ended.out + ended.err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.BadInput("wrong"), 2, "okoomer: wrong\n"),
        (errors.CannotHere("absent"), 3, "okoomer: absent\n"),
        (PermissionError(13, "Permission denied", "/proc"), 3, "okoomer: /proc: Permission denied\n"),
        (Unreadable("no meminfo"), 3, "okoomer: no meminfo\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_goes_wrong_becomes_one_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(click.Group, "invoke", fail)
    ended = okoomer("doctor")
    assert (ended.code, ended.err.strip("\n"), ended.out) == (code, said.strip("\n"), "")


# --- doctor ---------------------------------------------------------------------------------------------------------


def test_the_doctor_says_what_it_costs_and_how_to_mend_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PEERS", {})  # they may come and go between two looks
    ended = okoomer("doctor", "--json", "--runtime-dir", tmp_path, "--policy", "server")
    answer = json.loads(ended.out)
    assert set(answer) == {"guard", "findings"} and answer["guard"] is None
    for finding in answer["findings"]:
        assert set(finding) == {"wrong", "what", "cost", "mend"}
        assert finding["what"] and finding["cost"] and finding["mend"]
    assert ended.code == int(any(finding["wrong"] for finding in answer["findings"]))
    words = okoomer("doctor", "--runtime-dir", tmp_path, "--policy", "server").out
    assert all(finding["what"] in words for finding in answer["findings"])


def test_a_bad_policy_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("nonsense")
    ended = okoomer("doctor", "--json", "--policy", tmp_path / "p.toml", "--runtime-dir", tmp_path)
    assert ended.code == 1
    found = [finding for finding in json.loads(ended.out)["findings"] if finding["what"] == "the policy is not valid"]
    assert len(found) == 1 and f"{tmp_path}/p.toml:1:" in found[0]["cost"]


def test_another_daemon_of_the_kind_is_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.PEERS, Path("/proc/self/comm").read_text().strip(), "ours.service")
    found = [finding for finding in doctor.peers() if f"(pid {os.getpid()})" in finding.what]
    assert [finding.mend for finding in found] == ["systemctl disable --now ours.service"]
    assert found[0].wrong


# --- where things are -----------------------------------------------------------------------------------------------


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """A directory whose lock somebody holds, as a guard does, and the ring of that guard."""
    started = model.Started("1", 4711, "p", f"{tmp_path}/p.toml: why", ("calm",), 1, 0, True, True, True, ())
    (tmp_path / "p.toml").write_text(CALM)
    Ring(f"{tmp_path}/ring").write(line(started, 1.0, 1))
    return tmp_path


def test_who_writes_the_ring_is_the_guard(tmp_path: Path) -> None:
    assert place.running(str(tmp_path)) is None
    ring = Ring(f"{tmp_path}/ring")
    assert place.running(str(tmp_path)) == os.getpid()
    ring.close()
    assert place.running(str(tmp_path)) is None
    (tmp_path / "ring").write_text("junk")
    with (tmp_path / "ring").open() as lock:
        flock(lock, LOCK_EX)
        assert place.running(str(tmp_path)) == 0


def test_a_user_has_a_directory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert place.runtime_dir(None) == "/run/user/1000/okoomer"
    assert place.runtime_dir("/else") == "/else"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert place.runtime_dir(None) == "/run/okoomer"


def test_the_administrators_policy_comes_before_any_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "POLICY", tmp_path / "policy.toml")
    assert place.policy_of_this_machine()[0] in ("desktop", "server")
    (tmp_path / "policy.toml").write_text(CALM)
    assert place.policy_of_this_machine() == (f"{tmp_path}/policy.toml", "the administrator's")


def test_status_without_a_guard_says_no_and_what_it_would_see(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(CALM)
    ended = okoomer("status", "--runtime-dir", tmp_path, "--policy", tmp_path / "p.toml")
    assert ended.code == 1
    assert ended.out.startswith(f"no guard runs here ({tmp_path})")
    assert "rule calm is quiet" in ended.out and "ranking, best first:" in ended.out


def test_status_of_a_guard_is_by_the_guards_own_policy(held: Path) -> None:
    ring = Ring(f"{held}/ring")
    ended = okoomer("status", "--runtime-dir", held, "--json")
    ring.close()
    answer = json.loads(ended.out)
    assert ended.code == 0
    assert (answer["guard"], answer["policy"]) == (os.getpid(), f"{held}/p.toml")
    assert answer["snapshot"]["memory"]["total"] > 0
    assert [rule["name"] for rule in answer["now"]["rules"]] == ["calm"]


def test_status_of_a_guard_whose_policy_is_no_file_is_by_what_it_has_left(held: Path) -> None:
    keep(replace(load("server"), rules=load("server").rules[:1]), str(held))
    ring = Ring(f"{held}/ring")
    answer = json.loads(okoomer("status", "--runtime-dir", held, "--json").out)
    ring.close()
    assert [rule["name"] for rule in answer["now"]["rules"]] == ["exhausted"]
    for spoiled in (b"", b"garbage", b"\xe9"):
        (held / "policy").write_bytes(spoiled)
        assert kept(str(held)) is None
