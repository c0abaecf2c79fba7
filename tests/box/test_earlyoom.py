"""okoomer in the place of earlyoom, in a box: its command line from start to end, with real processes and signals."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.box.box import Box
from tests.box.process import Line, Proc
from tests.box.procfiles import GIB, MIB

OKOOMER = str(Path(sys.executable).with_name("okoomer"))
HOG = 300 * MIB
#: Seconds of patience: a machine that has other work is slow.
PATIENCE = 60.0

Start = Callable[..., Proc]


@pytest.fixture
def start(box: Box) -> Iterator[Start]:
    """Starts it with options and waits until it has reported once."""

    def run(*options: str, ready: str = "mem avail: ") -> Proc:
        daemon = box.daemon([OKOOMER, "earlyoom", *options])
        daemon.wait_line(ready, PATIENCE)
        return daemon

    yield run


def available(box: Box, share: float) -> None:
    box.memory(available=int(box.total * share))


def texts(daemon: Proc, stream: str) -> list[str]:
    return [line.text for line in daemon.lines if line.stream == stream]


def place(daemon: Proc, text: str) -> int:
    """Which line of standard error has a text."""
    return next(index for index, line in enumerate(texts(daemon, "stderr")) if text in line)


# --- start and end --------------------------------------------------------------------------------------------------


def test_it_starts_with_earlyooms_lines_on_earlyooms_streams(box: Box, start: Start) -> None:
    daemon = start("-m", "8,4")
    assert texts(daemon, "stderr")[0].startswith("earlyoom v1.9.0")
    first = place(daemon, "mem total: 24576 MiB, user mem total: ")
    assert texts(daemon, "stderr")[first + 1 : first + 3] == [
        "sending SIGTERM when mem avail <=  8.00% and swap free <= 10.00%,",
        "        SIGKILL when mem avail <=  4.00% and swap free <=  5.00%",
    ]
    [report] = texts(daemon, "stdout")[:1]
    assert report.startswith("mem avail: 19660 of ") and report.endswith("swap free:    0 of    0 MiB ( 0.00%)")
    daemon.kill(signal.SIGTERM)
    assert daemon.wait(PATIENCE).code == 0
    assert not box.deaths


def test_it_is_there_after_a_tenth_of_a_second(start: Start) -> None:
    def took() -> int:
        daemon = start("--dryrun", "-r", "3600")
        # Of the processor's time: how long others had it in between, and what they left of its caches, is not ours to
        # say.
        ran, *_ = (daemon.proc / "schedstat").read_text().split()
        daemon.stop()
        return int(ran)

    assert any(took() < 100_000_000 for _ in range(10))


def test_it_answers_to_the_name_earlyoom(box: Box, tmp_path: Path) -> None:
    link = tmp_path / "earlyoom"
    link.symlink_to(OKOOMER)
    daemon = box.daemon([str(link), "-m", "5,2"])
    daemon.wait_line("SIGKILL when mem avail <=  2.00%", PATIENCE)


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (["-h"], 0, "Usage: earlyoom [OPTION]..."),
        (["-v"], 0, "earlyoom v1.9.0"),
        (["-m"], 13, "earlyoom: option requires an argument -- 'm'"),
        (["-m", "0"], 15, "fatal: -m: both SIGTERM and SIGKILL values are zero"),
        (["-s", "101"], 16, "fatal: -s: value 101.000000 exceeds limit 100"),
        (["-r", "x"], 14, "fatal: -r: invalid interval 'x'"),
        (["--prefer", "("], 6, "fatal: could not compile regexp '('"),
        (["x"], 13, "fatal: extra argument not understood: 'x'"),
    ],
)
def test_what_ends_at_once_is_told_on_standard_error(box: Box, options: list[str], code: int, line: str) -> None:
    daemon = box.daemon([OKOOMER, "earlyoom", *options])
    assert daemon.wait(PATIENCE).code == code
    daemon.wait_line(line, PATIENCE)
    assert texts(daemon, "stdout") == []


def test_memory_that_cannot_be_read_is_told_before_all_else(box: Box) -> None:
    box.write("meminfo", b"Nothing: 1 kB\n")
    daemon = box.daemon([OKOOMER, "earlyoom", "-h"])
    assert daemon.wait(PATIENCE).code == 104


def test_a_daemon_that_runs_outlives_memory_that_cannot_be_read(box: Box, start: Start) -> None:
    daemon = start("-r", "0.2")
    box.write("meminfo", b"MemTotal: 99999999999999999999999 kB\n")
    time.sleep(1.0)
    assert daemon.alive
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    available(box, 0.03)
    assert hog.wait(PATIENCE).signal == signal.SIGKILL


# --- reports --------------------------------------------------------------------------------------------------------


def test_memory_is_reported_as_often_as_is_asked(box: Box, start: Start) -> None:
    daemon = start("-r", "0.5")

    def reports() -> list[Line]:
        return [line for line in daemon.lines if line.stream == "stdout" and line.text.startswith("mem avail: ")]

    box.until(lambda: len(reports()) >= 5, PATIENCE, "five reports")
    first, *_, last = [line.at for line in reports()[:5]]
    assert last - first > 1.2


def test_no_report_where_none_is_asked(start: Start) -> None:
    daemon = start("-r", "0", ready="SIGKILL when mem avail")
    time.sleep(1.5)
    assert texts(daemon, "stdout") == []


# --- kills ----------------------------------------------------------------------------------------------------------


def test_between_the_limits_the_victim_is_asked_to_end(box: Box, start: Start) -> None:
    hog, small = box.spawn(rss_bytes=HOG, name="hog", gives_back=12 * GIB), box.spawn(rss_bytes=HOG // 3)
    daemon = start()
    available(box, 0.08)
    assert hog.wait(PATIENCE).signal == signal.SIGTERM
    daemon.wait_line(f"process {hog.pid} exited after ", PATIENCE)
    assert (
        place(daemon, "low memory! at or below SIGTERM limits: mem 10.00%, swap 10.00%")
        < place(daemon, f'sending SIGTERM to process {hog.pid} uid 0 "hog": oom_score ')
        < place(daemon, f"process {hog.pid} exited after ")
    )
    assert small.alive and box.deaths == [hog]


def test_below_both_limits_it_is_killed(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, name="hog", gives_back=12 * GIB)
    daemon = start()
    available(box, 0.03)
    assert hog.wait(PATIENCE).signal == signal.SIGKILL
    daemon.wait_line(f"process {hog.pid} exited after ", PATIENCE)
    assert place(daemon, "at or below SIGKILL limits: mem  5.00%, swap  5.00%") < place(daemon, "sending SIGKILL")


def test_who_does_not_end_is_killed_after_ten_seconds(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, ignore_term=True, gives_back=12 * GIB)
    daemon = start()
    available(box, 0.08)
    asked, killed = hog.wait_signal(PATIENCE), hog.wait(PATIENCE)
    assert (asked.signal, killed.signal) == (signal.SIGTERM, signal.SIGKILL)
    assert killed.at - asked.at > 8
    daemon.wait_line("escalating to SIGKILL after 1", PATIENCE)


def test_a_fall_below_the_second_limit_kills_at_once(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, ignore_term=True, gives_back=12 * GIB)
    daemon = start()
    available(box, 0.08)
    hog.wait_signal(PATIENCE)
    available(box, 0.03)
    hog.wait(PATIENCE)
    daemon.wait_line("escalating to SIGKILL after ", PATIENCE)


def test_free_swap_keeps_everybody_alive(box: Box, start: Start) -> None:
    box.spawn(rss_bytes=HOG)
    daemon = start("-r", "0.2")
    box.memory(available=box.total // 50, swap_total=2 * GIB, swap_free=GIB)
    time.sleep(2.0)
    assert not box.deaths
    assert not any("low memory" in text for text in texts(daemon, "stderr"))


def test_a_dry_run_touches_nobody_and_does_not_flood_the_log(box: Box, start: Start) -> None:
    box.spawn(rss_bytes=HOG)
    daemon = start("--dryrun")
    available(box, 0.03)
    daemon.wait_line("dryrun, not actually sending any signal", PATIENCE)
    time.sleep(2.0)
    assert not box.deaths
    assert sum("sending SIGKILL" in text for text in texts(daemon, "stderr")) == 1


def test_nobody_dies_in_vain(box: Box, start: Start) -> None:
    small = box.spawn(rss_bytes=2 * MIB)
    daemon = start()
    available(box, 0.03)
    daemon.wait_line("Could not find a process to kill. Sleeping 1 second.", PATIENCE)
    assert small.alive and not box.deaths


@pytest.mark.parametrize(
    ("options", "victim"),
    [
        ((), "larger"),
        (("--avoid", "^larg"), "smaller"),
        (("--ignore", "er$"), "raised"),
        (("--prefer", "^small"), "smaller"),
        (("--ignore", "^larger$", "--avoid", "^raised$"), "smaller"),
        (("--sort-by-rss",), "larger"),
        (("--sort-by-rss", "--avoid", "^larger$"), "smaller"),
    ],
)
def test_names_decide_who_is_taken(box: Box, start: Start, options: tuple[str, ...], victim: str) -> None:
    hogs = {name: box.spawn(rss_bytes=mib * MIB, name=name) for name, mib in SIZES.items()}
    for proc in hogs.values():
        proc.gives_back = 12 * GIB
    # A hundredth of the kernel's scale, so that sizes alone do not decide.
    (hogs["larger"].proc / "oom_score_adj").write_text("30")
    daemon = start(*options)
    available(box, 0.03)
    assert hogs[victim].wait(PATIENCE).signal == signal.SIGKILL
    daemon.wait_line("exited after", PATIENCE)
    assert box.deaths == [hogs[victim]], texts(daemon, "stderr")


SIZES = {"larger": 400, "smaller": 250, "raised": 120}


def test_processes_of_root_are_left_alone_if_that_is_asked(box: Box, start: Start) -> None:
    roots = box.spawn(rss_bytes=2 * HOG)
    users = box.spawn(rss_bytes=HOG, uid=1000, gives_back=12 * GIB)
    start("--ignore-root-user")
    available(box, 0.03)
    assert users.wait(PATIENCE).signal == signal.SIGKILL
    assert roots.alive


PAIR = "import os, time\nos.fork()\ntime.sleep(1e6)\n"


@pytest.mark.parametrize("whole", [True, False])
def test_a_process_group_ends_together_if_that_is_asked(box: Box, start: Start, whole: bool) -> None:
    leader = box.spawn(PAIR, rss_bytes=HOG, name="pair")
    other = box.spawn(rss_bytes=HOG // 3, name="other")
    daemon = start(*["-g"] * whole, "--prefer", "pair")
    available(box, 0.03)
    count = 2 if whole else 1
    box.until(lambda: len(box.deaths) == count, PATIENCE, "whom it takes")
    available(box, 0.5)
    daemon.wait_line("exited after", PATIENCE)
    ended = {proc.pid for proc in box.deaths}
    assert leader.pid in ended or not whole
    assert len(ended) == count and other.alive and daemon.alive


# --- programs beside it ---------------------------------------------------------------------------------------------


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """A program that notes what it was told, in the file beside it."""
    program = tmp_path / "note"
    program.write_text(f"#!/bin/sh\nenv | grep ^EARLYOOM_ | sort >>{tmp_path}/noted\necho $# >>{tmp_path}/noted\n")
    program.chmod(0o755)
    return program


def noted(note: Path) -> list[str]:
    file, deadline = note.with_name("noted"), time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = file.read_text().splitlines() if file.exists() else []
        if len(found) >= 5:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"nothing was noted by {note}")


@pytest.mark.parametrize("option", ["-N", "-P"])
def test_a_program_is_told_whom_it_is_about(box: Box, start: Start, note: Path, option: str) -> None:
    hog = box.spawn(rss_bytes=HOG, name="a $hog;ls", gives_back=12 * GIB)
    start(option, str(note))
    available(box, 0.03)
    assert hog.wait(PATIENCE).signal == signal.SIGKILL
    told = noted(note)
    assert [line.partition("=")[0] for line in told[:4]] == [
        "EARLYOOM_CMDLINE",
        "EARLYOOM_NAME",
        "EARLYOOM_PID",
        "EARLYOOM_UID",
    ]
    assert told[1:] == ["EARLYOOM_NAME=a $hog;ls", f"EARLYOOM_PID={hog.pid}", "EARLYOOM_UID=0", "0"]


def test_a_program_that_hangs_does_not_hold_up_the_kill(box: Box, start: Start, note: Path) -> None:
    note.write_text("#!/bin/sh\nsleep 60\n")
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    start("-P", str(note))
    available(box, 0.03)
    before = time.monotonic()
    assert hog.wait(PATIENCE).at - before < 30


def test_the_kernels_own_killer_is_called_if_that_is_asked(box: Box, start: Start) -> None:
    box.spawn(rss_bytes=HOG)
    trigger = box.dir / "sysrq-trigger"
    if not trigger.exists():
        pytest.skip("this kernel has no sysrq")
    daemon = start("--kernel-oom")
    available(box, 0.03)
    daemon.wait_line("triggered kernel OOM killer", PATIENCE)
    assert trigger.read_text().startswith("f")
    assert not box.deaths
