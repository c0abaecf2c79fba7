"""A hook as a user: it is that user's in every respect, or it is not run."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from okoomer.courier.child import Child, start
from okoomer.courier.runs import Runs

#: What a program can see of whose it is, as JSON.
DUMP = """
import json, os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if line.startswith("Cap"))
print(json.dumps({
    "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(), "directory": os.getcwd(),
    "environment": dict(os.environ), "capabilities": [int(status[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")],
    "adjustment": int(open("/proc/self/oom_score_adj").read()), "stdin": os.read(0, 99).decode(),
}))
"""
NOBODY = "nobody"
#: One that all users can run: ours may be where nobody else can look.
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone can")


def ended(child: Child) -> int:
    """How it ended; raises what it could not be started for."""
    until = time.monotonic() + 60
    try:
        while (status := child.status()) is None:
            assert time.monotonic() < until
            time.sleep(0.005)
        return status
    finally:
        child.bury()


def seen(user: str, **environment: str) -> dict[str, Any]:
    """What a program sees that is run as a user."""
    given = {name.encode(): value.encode() for name, value in environment.items()}
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out"
        out.touch()
        out.chmod(0o666)
        # The directories that tests are given are for their own user only.
        out.parent.chmod(0o755)
        words = map(os.fsencode, (PYTHON, DUMP, out))
        command = [b"/bin/sh", b"-c", b'exec "$0" -IS -c "$1" > "$2"', *words]
        assert ended(start(command, given, b"the event\n", user)) == 0
        found: dict[str, Any] = json.loads(out.read_text())
    return found


@root
def test_it_has_the_users_name_groups_home_and_none_of_our_power() -> None:
    user = pwd.getpwnam(NOBODY)
    found = seen(NOBODY, HOME="/root", USER="root", CANARY="sings", DBUS_SESSION_BUS_ADDRESS="unix:path=/x")
    assert found["uids"] == [user.pw_uid] * 3 and found["gids"] == [user.pw_gid] * 3
    assert found["groups"] == sorted(os.getgrouplist(NOBODY, user.pw_gid))
    assert found["capabilities"] == [0, 0, 0] and found["adjustment"] == 0
    assert (found["directory"], found["stdin"]) == ("/", "the event\n")
    expected = {
        "HOME": user.pw_dir, "USER": NOBODY, "LOGNAME": NOBODY, "SHELL": user.pw_shell, "CANARY": "sings",
        "XDG_RUNTIME_DIR": f"/run/user/{user.pw_uid}",
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{user.pw_uid}/bus",
    }  # fmt: skip
    assert {name: found["environment"].get(name) for name in expected} == expected


def test_without_a_user_it_is_ours_with_our_environment() -> None:
    found = seen("", HOME="/somewhere")
    assert (found["uids"], found["environment"]["HOME"]) == ([os.getuid()] * 3, "/somewhere")
    assert "XDG_RUNTIME_DIR" not in found["environment"]


def test_who_is_that_user_already_needs_no_power_for_it() -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    found = seen(me)
    assert found["uids"] == [os.getuid()] * 3 and found["environment"]["LOGNAME"] == me


@pytest.mark.parametrize("user", ["nobody-of-that-name", "no\nbody", "x" * 5000, "-1", "65534"])
def test_as_a_user_whom_nobody_knows_it_is_not_run(tmp_path: Path, user: str) -> None:
    out = tmp_path / "out"
    with pytest.raises(OSError, match="there is no such user"):
        ended(start([b"/bin/touch", str(out).encode()], {}, b"", user))
    assert not out.exists()


@root
def test_who_may_not_become_that_user_does_not_run_it_as_himself() -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            try:
                ended(start([b"/bin/true"], {}, b"", "root"))
            except PermissionError:
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@root
def test_a_users_hook_that_takes_too_long_is_ended_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("okoomer.say.say", said.append)
    runs = Runs()
    assert runs.begin([b"/bin/sleep", b"1000"], {b"OKOOMER_EVENT": b"chosen"}, b"", 5.0, 100.0, 9, NOBODY)
    assert runs.advance(104.0) == []
    answers = runs.advance(105.0)
    until = time.monotonic() + 60
    while not answers and time.monotonic() < until:
        time.sleep(0.005)
        answers = runs.advance(105.0)
    assert answers == [(9, -15)]
    assert said == ["/bin/sleep, as user nobody on chosen, takes too long and is ended"]
    runs.advance(108.0)
    assert not runs.busy
