"""A courier that runs, and those for whom it does: a program that watches for pressure, and a user with a hook."""

from __future__ import annotations

import os
import pwd
import select
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from okoomer.courier.services import Services
from okoomer.events import model
from tests.unit.couriers import KILLED, VICTIM, Guarded, asked, until

DIED = model.Died("low", "hog", (42, 43), 0.004, 1 << 30)


def services(**wanted: Any) -> Services:
    """Those that are named and no other."""
    none = {"low_memory_monitor": False, "okoomer1": False, "system_notifications": "never", "pressure_watch": False}
    return Services(**(none | wanted))


@pytest.fixture
def line() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        yield line


def test_a_program_without_a_bus_is_told_while_memory_is_short(tmp_path: Path, line: socket.socket) -> None:
    with Guarded(tmp_path, services=services(pressure_watch=True), runtime_dir=str(tmp_path)) as guarded:
        place = tmp_path / "pressure"
        until(place.exists)
        line.connect(str(place))
        line.sendall(b"some 200000 2000000\0")
        line.settimeout(60)
        guarded.tell(model.Level(50, 1, None, ("low",)))
        assert line.recv(4096)
        guarded.tell(model.Level(0, 1, None, ()), KILLED)
        until(guarded.heeded)
        assert not select.select([line], [], [], 1.1)[0]
        guarded.leave()
        until(guarded.ended)
        assert line.recv(4096) == b"" and not place.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone can")
def test_a_hook_with_a_user_is_run_as_that_user_and_the_others_are_not(tmp_path: Path) -> None:
    user = pwd.getpwnam("nobody")
    words = 'echo "$(id -u) $(id -g) $HOME $OKOOMER_EVENT $OKOOMER_PID $(wc -l)" > "$0"'
    with tempfile.TemporaryDirectory() as directory:
        # The directories that tests are given are for their own user only.
        Path(directory).chmod(0o755)
        outs = {name: Path(directory) / (name or "plain") for name in ("", "nobody")}
        for out in outs.values():
            out.touch()
            out.chmod(0o666)
        hooks = tuple(("died", ("/bin/sh", "-c", words, str(out)), 60.0, name) for name, out in outs.items())
        with Guarded(tmp_path, hooks=hooks) as guarded:
            guarded.tell(VICTIM, DIED)
            until(lambda: all(out.read_text() for out in outs.values()))
        found = {name: out.read_text().split() for name, out in outs.items()}
    assert found == {
        "": ["0", "0", os.environ["HOME"], "died", "42", "1"],
        "nobody": [str(user.pw_uid), str(user.pw_gid), user.pw_dir, "died", "42", "1"],
    }


def test_a_user_whom_nobody_knows_is_said_once_with_the_event(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hooks = (("died", ("/bin/true",), 60.0, "nobody-of-that-name"), ("died", ("/bin/true",), 60.0, ""))
    with Guarded(tmp_path, hooks=hooks) as guarded:
        for _ in range(3):
            guarded.tell(VICTIM, DIED)
        guarded.tell(asked(7, "/bin/true"))
        assert guarded.answered(1) == [(7, 0)]
    assert capfd.readouterr().err.splitlines() == [
        "okoomer: /bin/true, as user nobody-of-that-name on died, cannot be run: there is no such user"
    ]
