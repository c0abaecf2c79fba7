"""systemd-oomd's command line and its unit: that okoomer becomes the guard there, and what it hands over."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from fcntl import F_DUPFD, fcntl
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import pytest

from okoomer.cli import systemd_oomd
from okoomer.cli.main import ROLES
from okoomer.cli.systemd_oomd import handed, main
from okoomer.compat.systemd_oomd import load
from okoomer.courier import Place
from okoomer.guard.launch import Options
from okoomer.policy.language import parse
from tests.unit.console import okoomer

ROOT = Path(__file__).parents[2]
DROP_IN = ROOT / "systemd/systemd-oomd.service.d/okoomer.conf"


class Became(Exception):
    """The front has become the guard."""

    def __init__(self, options: Options, place: Place | None = None, listener: int = -1) -> None:
        self.options, self.place, self.listener = options, place, listener
        super().__init__()


def become(*given: Any) -> NoReturn:
    raise Became(*given)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    """A machine's files in the place of this one's, and nobody who guards it."""
    (tmp_path / "etc/systemd").mkdir(parents=True)
    with (
        patch.object(systemd_oomd, "load", lambda: load(tmp_path)),
        patch.object(systemd_oomd, "start", become),
        patch.object(systemd_oomd, "hierarchy", lambda _machine: "/sys/fs/cgroup"),
        patch.object(systemd_oomd.place, "runtime_dir", lambda _given: str(tmp_path / "run")),
        patch.object(systemd_oomd, "compile_all"),
        patch.object(systemd_oomd, "fill_rate", lambda: 1e9),
    ):
        yield tmp_path


def run(*argv: str) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(argv))
    return code, out.getvalue(), err.getvalue()


def became(*argv: str) -> tuple[Became, str]:
    """What the guard gets, and what is said before."""
    err = StringIO()
    with redirect_stderr(err), pytest.raises(Became) as caught:
        main(list(argv))
    return caught.value, err.getvalue()


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_has_an_example_and_the_exit_codes(word: str) -> None:
    code, out, err = run(word)
    assert (code, err) == (0, "") and "Example:" in out and "Exit codes:" in out


def test_the_version_says_whose_it_is() -> None:
    assert run("--version")[1].startswith("systemd-oomd by okoomer ")


@pytest.mark.parametrize("argv", [("--bus-introspect=x",), ("run",), ("--dry-run", "--dry-run"), ("--dry-run", "x\n")])
def test_what_is_not_known_is_refused(argv: tuple[str, ...]) -> None:
    code, out, err = run(*argv)
    assert (code, out) == (2, "") and err.startswith("systemd-oomd: unknown argument ") and err.count("\n") == 2


def test_it_becomes_a_guard_by_the_configuration(machine: Path) -> None:
    (machine / "etc/systemd/oomd.conf").write_text("[OOM]\nSwapUsedLimit=80%\nColour=red\n")
    found, said = became()
    assert [rule.name for rule in found.options.policy.rules] == ["swap", "pressure"]
    assert found.options.policy.managed and found.options.policy.runs
    assert found.place == Place(("80.00%", "60.00%", "30s"), (("swap", "memory-used"), ("pressure", "memory-pressure")))
    assert tuple(found.place or ()) == found.options.place
    assert (found.options.dry_run, found.options.voice, found.listener) == (False, "", -1)
    assert "oomd.conf:3:1: Colour is no key of [OOM]" in said and "no socket was handed over" in said


def test_a_dry_run_is_one(machine: Path) -> None:
    found, _ = became("--dry-run")
    assert found.options.dry_run and found.place and found.place.dry_run


def test_a_mistake_is_one_line_with_its_place(machine: Path) -> None:
    path = machine / "etc/systemd/oomd.conf"
    path.write_text("[OOM]\nSwapUsedLimit=80\n")
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err.startswith(f"systemd-oomd: {path}:2:15: not a share: '80'; expected a share from 0% to 100%")


def test_without_a_unified_hierarchy_it_cannot(machine: Path) -> None:
    with patch.object(systemd_oomd, "hierarchy", lambda _machine: None):
        code, _, err = run()
    assert code == 3 and "no unified hierarchy" in err


def test_two_guards_are_one_too_many(machine: Path) -> None:
    with patch.object(systemd_oomd.place, "running", lambda _directory: 77):
        code, _, err = run()
    assert code == 3 and "running already as pid 77" in err


def test_for_a_reload_only_the_policy_is_wanted(machine: Path) -> None:
    with patch.object(systemd_oomd, "for_reload", lambda: True):
        found, _ = became()
    assert found.place is None and found.options.place


# --- what systemd hands over ------------------------------------------------------------------------------------

#: Takes the descriptors that are handed over from 3 on, in a process of its own.
TAKE = """
import os, sys
os.environ["LISTEN_PID"] = sys.argv[1].replace("SELF", str(os.getpid()))
os.dup2(int(sys.argv[2]), 3)
os.dup2(int(sys.argv[3]), 4)
from okoomer.cli.systemd_oomd import handed
found = handed()
print(found, *sorted(name for name in os.environ if name.startswith("LISTEN")))
print(*[fd for fd in (3, 4) if os.get_inheritable(fd)])
"""


def taken(first: int, second: int, count: str = "2", pid: str = "SELF") -> list[str]:
    """What a process finds that has these as 3 and 4, and which of them others would inherit."""
    program = [sys.executable, "-c", TAKE, pid, str(first), str(second)]
    environment = {**os.environ, "LISTEN_FDS": count, "LISTEN_FDNAMES": "a:b", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        program, env=environment, pass_fds=(first, second), capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()


def test_the_listening_socket_among_what_is_handed_over_is_taken(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        listener.bind(str(tmp_path / "listener"))
        listener.listen()
        other.bind(str(tmp_path / "other"))
        high = [fcntl(one.fileno(), F_DUPFD, 100) for one in (listener, other)]
        assert taken(*high) == ["3", ""]
        assert taken(*reversed(high)) == ["4", ""]
        assert taken(*reversed(high), count="1") == ["-1", "4"]
        assert taken(*high, pid="1") == ["-1", "3 4"]
        assert taken(*high, count="many") == ["-1", "3 4"]
        for fd in high:
            os.close(fd)


def test_without_anything_handed_over_there_is_nothing() -> None:
    with patch.dict(os.environ):
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            os.environ.pop(name, None)
        assert handed() == -1


# --- import, and the unit ---------------------------------------------------------------------------------------


def test_import_gives_a_policy_with_notes(tmp_path: Path) -> None:
    slice_ = tmp_path / "etc/systemd/system/work.slice"
    slice_.parent.mkdir(parents=True)
    slice_.write_text("[Slice]\nManagedOOMSwap=kill\n")
    ended = okoomer("import", "systemd-oomd", "--root", tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert parse(ended.out, "x.toml").managed
    words = re.sub(r"\s*\n#\s*", " ", ended.out)
    assert "its own defaults: there is no oomd.conf" in words and "work.slice has ManagedOOMSwap=kill" in words


def test_import_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    ended = okoomer("import", "systemd-oomd", "--root", tmp_path / "none")
    assert ended.code == 2 and "is not a directory" in ended.err
    path = tmp_path / "run/systemd/oomd.conf.d/a.conf"
    path.parent.mkdir(parents=True)
    path.write_text("[OOM]\nDefaultMemoryPressureDurationSec=1\n DefaultMemoryPressureLimit=60\n")
    ended = okoomer("import", "systemd-oomd", "--root", tmp_path)
    assert ended.code == 2 and ended.err.startswith(f"okoomer: {path}:3:29: not a share: '60'")


def test_the_unit_starts_what_there_is() -> None:
    lines = DROP_IN.read_text().splitlines()
    assert [line for line in lines if line.startswith("ExecStart=")] == [
        "ExecStart=",
        "ExecStart=/usr/bin/okoomer systemd-oomd",
    ]
    assert "systemd-oomd" in ROLES


def test_a_unit_with_the_drop_in_is_one_that_systemd_takes(tmp_path: Path) -> None:
    """systemd's own check, on a unit as systemd-oomd's is."""
    from shutil import which

    if not which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze here")
    unit = tmp_path / "systemd-oomd.service"
    unit.write_text(
        "[Unit]\nDescription=x\nDefaultDependencies=no\n[Service]\nType=notify\nBusName=org.freedesktop.oom1\n"
        "ExecStart=/bin/true\nUser=systemd-oom\nSystemCallFilter=@system-service\nProtectSystem=strict\n"
    )
    drop_in = tmp_path / "systemd-oomd.service.d/okoomer.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(DROP_IN.read_text().replace("/usr/bin/okoomer", "/bin/true"))
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:", "LC_ALL": "C"}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not [line for line in done.stderr.splitlines() if "okoomer.conf" in line], done.stderr
    assert done.returncode == 0, done.stderr
