"""`okoomer pressure` that is drawn again and again."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from okoomer.cli import pressure
from okoomer.cli.pressure_live import draw
from okoomer.kernel.machine import recorded
from tests.unit.console import okoomer
from tests.unit.live_cgroups import build
from tests.unit.machines import stalls, write

PICTURES = [[f"head {number}", "a", "b", "c"] for number in range(9)]


def drawn(count: int | None, stop_after: int, terminal: bool, height: int = 30) -> tuple[str, list[float]]:
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        return len(waited) >= stop_after

    pictures = iter(PICTURES)
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=60, height=height, color_system=None)
    draw(lambda: next(pictures), wait, 0.5, count, console)
    return out.getvalue(), waited


def test_beside_a_terminal_pictures_stand_one_below_the_other() -> None:
    text, waited = drawn(None, 2, terminal=False)
    assert text == "head 0\na\nb\nc\n\nhead 1\na\nb\nc\n"
    assert waited == [0.5, 0.5]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_count_ends_it_without_another_wait(terminal: bool) -> None:
    text, waited = drawn(3, 99, terminal)
    assert "head 2" in text and "head 3" not in text
    assert waited == [0.5, 0.5]


def test_on_a_terminal_only_what_fits_is_shown_and_the_screen_is_given_back() -> None:
    text, _ = drawn(None, 2, terminal=True, height=3)
    assert "head 0" in text and "head 1" in text and "b" in text
    assert "c" not in text.replace("\x1b", "")
    assert text.startswith("\x1b[?1049h") and "\x1b[?1049l" in text


def test_live_on_request_draws_the_table_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = build(tmp_path, ["/calm", "/busy"])
    write(tmp_path / "proc/pressure/memory", stalls(1, 1))
    for path, share in (("calm", "1.00"), ("busy", "5.00")):
        made.put(path, memory_pressure=f"some avg10={share} avg60=0.00 avg300=0.00 total=0")
    # The hierarchy is where the mounts say, as on a live machine.
    monkeypatch.setattr(pressure, "LIVE", recorded(str(tmp_path)))
    ended = okoomer("pressure", "--live", "-i", "0.1", "--count", "2")
    assert (ended.code, ended.err) == (0, "")
    once = okoomer("pressure", "--once").out
    assert ended.out == f"{once}\n{once}"
    assert [row.rpartition("| ")[2] for row in once.splitlines()[2:]] == ["SYSTEM_WIDE", "/busy", "/calm"]
    (tmp_path / "proc/pressure/memory").unlink()
    assert okoomer("pressure", "--live", "--count", "2").code == 3


@pytest.mark.skipif(not Path("/proc/pressure/memory").exists(), reason="this kernel gives no pressure")
def test_on_a_terminal_it_is_live_until_ctrl_c_which_is_no_failure() -> None:
    if okoomer("pressure").code:
        pytest.skip("there is no unified hierarchy here")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from okoomer.cli.main import main; main()", "pressure", "-i", "0.1"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    poller = select.poll()
    poller.register(ours, select.POLLIN)
    text, until = b"", time.monotonic() + 60
    try:
        while text.count(b"SYSTEM_WIDE") < 2 and time.monotonic() < until:
            if poller.poll(1000):
                text += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        while process.poll() is None and time.monotonic() < until:
            if poller.poll(100):
                try:
                    text += os.read(ours, 65536)
                except OSError:
                    break
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert text.count(b"SYSTEM_WIDE") >= 2
    assert b"Traceback" not in text
