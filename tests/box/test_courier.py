"""What a hook sees of okoomer's courier, beside what the same hook sees of the real earlyoom."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import okoomer
from tests.box.box import PYTHON, Box
from tests.box.process import Proc
from tests.box.procfiles import GIB, MIB

#: Writes what it sees of how it was started to a file beside it.
HOOK = """
import json, os, sys
seen = {
    "arguments": sys.argv[1:],
    "environment": {name: value for name, value in os.environ.items()},
    "descriptors": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")),
    "blocked": [line for line in open("/proc/self/status") if line.startswith("SigBlk")],
}
out = OUT + os.environ.get("EARLYOOM_PID", "")
with open(out + ".new", "w") as file:
    json.dump(seen, file)
os.rename(out + ".new", out)
"""

#: In the guard's place: it starts a courier, and tells of an act.
GUARD = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
from okoomer import courier
from okoomer.events import model
from okoomer.events.ring import Ring
from okoomer.events.sign import Sign
from okoomer.events.text import line
from okoomer.guard.link import Link
spec = json.loads(sys.argv[2])
hook = (spec["on"], (spec["hook"],), 100.0)
wake, answers = courier.start(courier.Options(spec["ring"], (hook,), (), "earlyoom"))
sign, link = Sign(wake), Link(answers)
ring = Ring(spec["ring"])
chosen = model.Chosen(
    "low", "", "low-memory", (), "process", spec["name"], (spec["pid"],), spec["command"], 1, 1, "", (), (), 1, 0.0,
    0.0, False, spec["name"], spec["user"], 1, 1, 0, "/",
)
for event in (chosen, model.Signalled("low", "SIGTERM", spec["name"], (spec["pid"],), ())):
    ring.write(line(event, time.time(), ring.sequence))
    sign()
time.sleep(600)
"""


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    path = tmp_path / "hook"
    path.write_text(f"#!{sys.executable} -IS\nOUT = {str(tmp_path / 'seen')!r}\n{HOOK}")
    path.chmod(0o755)
    return path


def seen_by(hook: Path, victim: Proc) -> dict[str, Any]:
    """What the hook saw that was run for a victim; the next one begins anew. On a busy machine a second process can
    die before the first one's memory is seen to be back."""
    out, deadline = hook.with_name(f"seen{victim.pid}"), time.monotonic() + 60
    while not out.exists():
        assert time.monotonic() < deadline, "the hook was not run"
        time.sleep(0.01)
    seen: dict[str, Any] = json.loads(out.read_text())
    out.unlink()
    return seen


def start_courier(box: Box, hook: Path, hog: Proc, name: str, user: int) -> Proc:
    command = (hog.proc / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    spec = {"on": "signalled", "hook": str(hook), "ring": str(hook.with_name("ring"))}
    spec |= {"pid": hog.pid, "name": name, "user": user, "command": command}  # type: ignore[dict-item]
    return box.daemon([*PYTHON, "-c", GUARD, str(Path(okoomer.__file__).parents[1]), json.dumps(spec)])


@pytest.mark.parametrize(("name", "user"), [("hog", 0), ("a name of 15 by", 65534), ("caf\u00e9 & <b>", 1)])
def test_a_hook_sees_what_it_sees_of_earlyoom(
    box: Box, earlyoom_argv: list[str], hook: Path, name: str, user: int
) -> None:
    hog = box.spawn(rss_bytes=300 * MIB, name=name, uid=user, gives_back=12 * GIB)
    courier = start_courier(box, hook, hog, name, user)
    ours = seen_by(hook, hog)
    courier.stop()
    earlyoom = box.daemon([*earlyoom_argv, "-N", str(hook), "-r", "0", "--avoid", "^hook$"])
    earlyoom.wait_line("SIGKILL when", 60)
    box.memory(available=box.total * 7 // 100)
    theirs = seen_by(hook, hog)
    hog.wait(60)

    def of(seen: dict[str, Any]) -> dict[str, str]:
        return {key: value for key, value in seen["environment"].items() if key.startswith("EARLYOOM_")}

    assert of(theirs).items() <= of(ours).items()
    assert {"EARLYOOM_PID", "EARLYOOM_UID", "EARLYOOM_NAME"} <= of(theirs).keys()
    assert of(ours)["EARLYOOM_PID"] == str(hog.pid)
    assert ours["arguments"] == theirs["arguments"] == []
    assert ours["blocked"] == theirs["blocked"]
    rest = {key: value for key, value in theirs["environment"].items() if not key.startswith("EARLYOOM_")}
    assert rest.items() <= ours["environment"].items()
    assert ours["descriptors"] == [0, 1, 2] and set(ours["descriptors"]) <= set(theirs["descriptors"]) | {0}
