"""okoomer in the place of nohang, in a box: nohang's configuration, real processes, real signals."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from okoomer.events.ring import NotARing, read
from tests.box.box import Box
from tests.box.process import Proc
from tests.box.procfiles import GIB, MIB

OKOOMER = str(Path(sys.executable).with_name("okoomer"))
HOG = 300 * MIB
#: Seconds of patience: a machine that has other work is slow.
PATIENCE = 60.0

Start = Callable[..., Proc]


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return tmp_path / "nohang.conf"


@pytest.fixture
def start(box: Box, conf: Path) -> Iterator[Start]:
    """Starts a guard in the box by settings, and waits until it is ready."""

    def run(settings: str = "") -> Proc:
        conf.write_text(settings)
        guard = box.daemon([OKOOMER, "nohang", "--config", str(conf), "--monitor"])
        guard.wait_line("guards", 2 * PATIENCE)
        return guard

    yield run


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """A program that notes how many arguments it has been given, and which, in the file beside it."""
    program = tmp_path / "note"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$#" "$@" >>{tmp_path}/noted\n')
    program.chmod(0o755)
    return program


def noted(note: Path, lines: int) -> list[str]:
    """What has been noted, at least so many lines."""
    file = note.with_name("noted")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = file.read_text().splitlines() if file.exists() else []
        if len(found) >= lines:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{lines} lines of {note}")


def events(box: Box, kind: str = "") -> list[dict[str, Any]]:
    try:
        found = [json.loads(text) for _, text in read(f"/proc/{box.init_pid}/root/run/okoomer/ring")]
    except (FileNotFoundError, NotARing):
        return []
    return [event for event in found if not kind or event["event"] == kind]


def await_event(box: Box, kind: str, text: str = "") -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for event in events(box, kind):
            if text in json.dumps(event):
                return event
        time.sleep(0.05)
    raise TimeoutError(f"no {kind} with {text!r} among {events(box)}")


def available(box: Box, share: float) -> None:
    box.memory(available=int(box.total * share))


# --- levels -----------------------------------------------------------------------------------------------------


def test_at_the_soft_level_the_victim_is_asked(box: Box, start: Start) -> None:
    hog, small = box.spawn(rss_bytes=HOG, gives_back=12 * GIB), box.spawn(rss_bytes=HOG // 3)
    start()
    available(box, 0.04)
    assert hog.wait(PATIENCE).signal == signal.SIGTERM
    assert small.alive and await_event(box, "chosen")["rule"] == "soft"


def test_who_does_not_go_is_killed_when_its_time_is_over(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, ignore_term=True, gives_back=12 * GIB)
    start("max_soft_exit_time = 1")
    available(box, 0.04)
    asked = hog.wait_signal(PATIENCE)
    killed = hog.wait(PATIENCE)
    assert (asked.signal, killed.signal) == (signal.SIGTERM, signal.SIGKILL)
    await_event(box, "died")
    first, second = events(box, "signalled")
    assert second["at"] - first["at"] > 0.9


def test_the_hard_level_does_not_wait_for_the_soft_one(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, ignore_term=True, gives_back=12 * GIB)
    start("max_soft_exit_time = 600")
    available(box, 0.04)
    hog.wait_signal(PATIENCE)
    available(box, 0.01)
    assert hog.wait(PATIENCE).signal == signal.SIGKILL


def test_at_the_hard_level_the_victim_is_killed_at_once(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, ignore_term=True, gives_back=12 * GIB)
    start()
    available(box, 0.01)
    assert hog.wait(PATIENCE).signal == signal.SIGKILL
    assert not hog.signals and await_event(box, "chosen")["rule"] == "hard"


def test_while_swap_is_free_nobody_is_touched(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    box.memory(swap_total=8 * GIB, swap_free=8 * GIB)
    start("soft_threshold_min_swap = 500 M\nhard_threshold_min_swap = 100 M")
    available(box, 0.04)
    time.sleep(1.5)
    assert hog.alive
    box.memory(swap_free=499 * MIB)
    assert hog.wait(PATIENCE).signal == signal.SIGTERM


PSI = "psi_checking_enabled = True\npsi_excess_duration = 2\n"


def test_pressure_that_lasts_takes_the_place_of_full_swap(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    box.memory(swap_total=8 * GIB, swap_free=8 * GIB)
    start(PSI)
    available(box, 0.04)
    before = time.monotonic()
    box.pressure(full=(50.0, 50.0, 50.0), some=(60.0, 60.0, 60.0))
    death = hog.wait(PATIENCE)
    assert death.signal == signal.SIGTERM and death.at - before > 1.9
    assert await_event(box, "chosen")["rule"] == "soft-psi"


def test_pressure_alone_touches_nobody(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG)
    box.memory(swap_total=8 * GIB, swap_free=8 * GIB)
    start(PSI)
    box.pressure(full=(99.0, 99.0, 99.0), some=(99.0, 99.0, 99.0))
    time.sleep(4)
    assert hog.alive and not events(box, "chosen")


def test_pressure_that_comes_again_begins_anew(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG)
    box.memory(swap_total=8 * GIB, swap_free=8 * GIB)
    start(PSI.replace("= 2", "= 4"))
    for _ in range(3):
        available(box, 0.04)
        box.pressure(full=(50.0, 50.0, 50.0), some=(60.0, 60.0, 60.0))
        time.sleep(1.5)
        available(box, 0.5)
        time.sleep(1)
    assert hog.alive and not events(box, "chosen")


def test_pressure_is_read_from_the_file_that_is_named(box: Box, start: Start, tmp_path: Path) -> None:
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    box.memory(swap_total=8 * GIB, swap_free=8 * GIB)
    other = tmp_path / "memory.pressure"
    other.write_bytes(Path("/proc/pressure/memory").read_bytes())
    calm = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    other.write_text(calm)
    start(f"{PSI}psi_path = {other}")
    available(box, 0.04)
    box.pressure(full=(99.0, 99.0, 99.0), some=(99.0, 99.0, 99.0))
    time.sleep(3.5)
    assert hog.alive
    other.write_text(calm.replace("avg10=0.00", "avg10=50.0"))
    assert hog.wait(PATIENCE).signal == signal.SIGTERM


# --- whom -------------------------------------------------------------------------------------------------------


def test_points_decide_who_is_taken(box: Box, start: Start) -> None:
    large, wanted = (
        box.spawn(rss_bytes=2 * HOG, name="large"),
        box.spawn(rss_bytes=HOG, name="wanted", gives_back=12 * GIB),
    )
    start("@BADNESS_ADJ_RE_NAME 300 /// ^want\n@BADNESS_ADJ_RE_NAME -300 /// large")
    available(box, 0.01)
    assert wanted.wait(PATIENCE).signal == signal.SIGKILL
    assert large.alive


def test_a_command_line_or_a_user_gives_points_too(box: Box, start: Start) -> None:
    box.spawn(rss_bytes=2 * HOG, name="large")
    other = box.spawn(rss_bytes=HOG, uid=65534, gives_back=12 * GIB)
    start("@BADNESS_ADJ_RE_UID 200 /// ^65534$\n@BADNESS_ADJ_RE_CMDLINE 100 /// rss_bytes")
    available(box, 0.01)
    assert other.wait(PATIENCE).signal == signal.SIGKILL


def test_nobody_below_the_least_badness_is_taken_and_that_is_said(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG)
    start("min_badness = 1900")
    available(box, 0.01)
    await_event(box, "refused")
    time.sleep(0.5)
    assert hog.alive and not box.deaths


# --- commands ---------------------------------------------------------------------------------------------------


def test_a_soft_action_takes_the_place_of_sigterm_and_a_name_stays_one_argument(
    box: Box, start: Start, note: Path
) -> None:
    hog = box.spawn(rss_bytes=HOG, ignore_term=True, name="a'b; $(x) \"y", gives_back=12 * GIB)
    start(f"max_soft_exit_time = 2\n@SOFT_ACTION_RE_NAME ^a /// {note} '$PID' $NAME x$NAME $SERVICE")
    available(box, 0.04)
    assert noted(note, 5)[:5] == ["4", str(hog.pid), "a'b; $(x) \"y", "xa'b; $(x) \"y", ""]
    assert hog.wait(PATIENCE).signal == signal.SIGKILL  # its time was over: the program did nothing
    assert not hog.signals


def test_a_soft_action_may_end_the_victim_itself(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    start("max_soft_exit_time = 60\n@SOFT_ACTION_RE_NAME . /// /bin/kill -USR1 $PID")
    available(box, 0.04)
    assert hog.wait(PATIENCE).signal == signal.SIGUSR1


def test_who_has_no_soft_action_gets_a_signal(box: Box, start: Start, note: Path) -> None:
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    start(f"@SOFT_ACTION_RE_NAME ^nginx$ /// {note}")
    available(box, 0.04)
    assert hog.wait(PATIENCE).signal == signal.SIGTERM
    assert not note.with_name("noted").exists()


def test_at_the_hard_level_there_is_no_soft_action(box: Box, start: Start, note: Path) -> None:
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    start(f"@SOFT_ACTION_RE_NAME . /// {note}")
    available(box, 0.01)
    assert hog.wait(PATIENCE).signal == signal.SIGKILL
    assert not note.with_name("noted").exists()


def test_a_warning_runs_its_command_and_touches_nobody(box: Box, start: Start, note: Path) -> None:
    hog = box.spawn(rss_bytes=HOG)
    start(f"low_memory_warnings_enabled = True\nmin_post_warning_delay = 1\nwarning_exe = {note} 'memory is low'")
    available(box, 0.15)
    assert noted(note, 4)[:4] == ["1", "memory is low", "1", "memory is low"]  # and again while it lasts
    assert hog.alive and not box.deaths


@pytest.mark.parametrize(("share", "signo"), [(0.04, signal.SIGTERM), (0.01, signal.SIGKILL)])
def test_post_kill_exe_is_run_after_either_signal(
    box: Box, start: Start, note: Path, share: float, signo: signal.Signals
) -> None:
    hog = box.spawn(rss_bytes=HOG, name="big one", gives_back=12 * GIB)
    start(f"post_kill_exe = {note} $PID $NAME")
    available(box, share)
    assert hog.wait(PATIENCE).signal == signo
    assert noted(note, 3)[:3] == ["2", str(hog.pid), "big one"]


def test_a_command_that_is_not_there_does_not_save_the_victim(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, ignore_term=True, gives_back=12 * GIB)
    start("max_soft_exit_time = 1\n@SOFT_ACTION_RE_NAME . /// /nonesuch $PID")
    available(box, 0.04)
    assert hog.wait(PATIENCE).signal == signal.SIGKILL


# --- the life of the guard --------------------------------------------------------------------------------------


def test_memory_is_reported_as_often_as_asked_for(box: Box, start: Start) -> None:
    before = time.monotonic()
    start("print_mem_check_results = True\nmin_mem_report_interval = 1")
    box.until(lambda: len(events(box, "report")) >= 4, PATIENCE)
    assert len(events(box, "report")) <= time.monotonic() - before + 2


def test_a_changed_file_holds_after_sighup(box: Box, start: Start, conf: Path) -> None:
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    guard = start("soft_threshold_min_mem = 5 %")
    available(box, 0.08)
    time.sleep(0.5)
    assert hog.alive
    conf.write_text("soft_threshold_min_mem = 10 %\n")
    box.kill(guard, signal.SIGHUP)
    assert hog.wait(PATIENCE).signal == signal.SIGTERM
    assert guard.alive and await_event(box, "changed", "nohang.conf")


def test_after_sighup_with_a_broken_file_the_old_one_holds(box: Box, start: Start, conf: Path) -> None:
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    guard = start("soft_threshold_min_mem = 5 %")
    conf.write_text("soft_threshold_min_mem = 10 %\nnonsense = 1\n")
    box.kill(guard, signal.SIGHUP)
    guard.wait_line(f"{conf}:2:1: unknown key", PATIENCE)
    await_event(box, "trouble", "the old one holds")
    available(box, 0.08)
    time.sleep(1)
    assert hog.alive and guard.alive
    available(box, 0.04)
    assert hog.wait(PATIENCE).signal == signal.SIGTERM


def test_a_broken_file_starts_nothing(box: Box, conf: Path) -> None:
    conf.write_text("min_badness = many\n")
    guard = box.daemon([OKOOMER, "nohang", "--config", str(conf), "--monitor"])
    assert guard.wait(60).code == 1
    assert any(f"{conf}:1:15: not a whole number" in line.text for line in guard.lines)


def test_the_name_alone_is_enough(box: Box, conf: Path, tmp_path: Path) -> None:
    link = tmp_path / "nohang"
    link.symlink_to(OKOOMER)
    conf.write_text("")
    check = box.daemon([str(link), "--check", "--config", str(conf)])
    assert check.wait(60).code == 0
    assert check.lines[-1].text == "config is OK"
