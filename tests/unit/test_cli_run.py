"""`okoomer run`, always as a dry run in a directory of its own: it watches and touches nobody."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from okoomer.events.ring import NotARing, read
from tests.unit.console import okoomer

OKOOMER = str(Path(sys.executable).with_name("okoomer"))
CALM = '[[rule]]\nname = "calm"\nwhen = "mem.available < 1B"\n'

pytestmark = pytest.mark.timeout(180)


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    (folder / "p.toml").write_text(CALM)
    return subprocess.Popen(
        [OKOOMER, "run", "--dry-run", "--policy", folder / "p.toml", "--runtime-dir", folder / "run", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def events(folder: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(text) for _, text in read(f"{folder}/run/ring")]
    except (FileNotFoundError, NotARing):
        return []  # it is only just being made


def await_start(folder: Path, guard: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and guard.poll() is None:
        # From this event on, and not before, it hears signals.
        if any(event.get("pid") == guard.pid for event in events(folder)):
            return
        time.sleep(0.02)
    guard.kill()
    pytest.fail(f"no guard has started: {guard.communicate()}")


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    guard = start(tmp_path)
    await_start(tmp_path, guard)
    yield guard
    guard.kill()
    guard.communicate()


def test_a_guard_starts_and_stops_when_it_is_told_to(tmp_path: Path, guard: subprocess.Popen[str]) -> None:
    (started,) = [event for event in events(tmp_path) if event["event"] == "started"]
    assert started["pid"] == guard.pid
    assert started["dry_run"] is True and started["rules"] == ["calm"]
    guard.send_signal(signal.SIGTERM)
    _out, err = guard.communicate(timeout=60)
    assert guard.returncode == 0
    assert "(dry run: nobody is touched)" in err and "stopped by SIGTERM" in err
    assert events(tmp_path)[-1]["event"] == "stopped"


def test_a_second_guard_is_refused_and_names_the_first(tmp_path: Path, guard: subprocess.Popen[str]) -> None:
    second = start(tmp_path)
    _out, err = second.communicate(timeout=60)
    assert second.returncode == 3
    assert err == f"okoomer: okoomer is running already as pid {guard.pid} (see {tmp_path}/run/ring)\n"
    assert guard.poll() is None


def test_a_running_guard_is_seen_by_status_and_doctor(tmp_path: Path, guard: subprocess.Popen[str]) -> None:
    ended = okoomer("status", "--runtime-dir", tmp_path / "run", "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["guard"] == guard.pid
    assert f"the guard runs as pid {guard.pid}" in okoomer("doctor", "--runtime-dir", tmp_path / "run").out
    assert guard.poll() is None


def test_with_json_each_line_of_standard_output_is_an_event(tmp_path: Path) -> None:
    guard = start(tmp_path, "--json")
    await_start(tmp_path, guard)
    guard.send_signal(signal.SIGINT)
    out, _err = guard.communicate(timeout=60)
    told = [json.loads(text) for text in out.splitlines()]
    assert [event["event"] for event in told if event["event"] not in ("trouble", "late")] == ["started", "stopped"]
    assert [event["sequence"] for event in told] == list(range(1, len(told) + 1))


def test_numbers_of_events_go_on_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        guard = start(tmp_path)
        await_start(tmp_path, guard)
        guard.send_signal(signal.SIGTERM)
        guard.communicate(timeout=60)
        seen = events(tmp_path)
    assert [event["sequence"] for event in seen] == list(range(1, len(seen) + 1))
    assert [event["event"] for event in seen].count("stopped") == 2
