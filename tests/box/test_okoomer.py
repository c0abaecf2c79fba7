"""The installed okoomer in a box: real processes, real signals, any level of memory."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.box.box import Box
from tests.box.guards import OKOOMER, events
from tests.box.process import Proc
from tests.box.procfiles import GIB, MIB
from tests.box.signals import machine_pid

HOG = 300 * MIB

LEVELS = """
[[rule]]
name  = "critical"
when  = "mem.available <= 5%"
unit  = "UNIT"
least = "8MiB"
steps = ["kill"]
[[rule]]
name  = "low"
when  = "mem.available <= 10%"
unit  = "UNIT"
least = "8MiB"
steps = ["warn", "term 1s", "kill"]
"""

Start = Callable[..., Proc]


@pytest.fixture
def start(box: Box, tmp_path: Path) -> Iterator[Start]:
    """Starts a guard in the box and waits until it is ready."""

    def run(policy: str = LEVELS, *options: str, unit: str = "process", uid: int = 0) -> Proc:
        file = tmp_path / "policy.toml"
        file.write_text(policy.replace("UNIT", unit))
        file.chmod(0o644)
        runtime = f"/run/okoomer-{uid}" if uid == 0 else f"/tmp/okoomer-test-{uid}-{time.monotonic_ns()}"
        argv = [OKOOMER, "run", "--json", "--runtime-dir", runtime, "--policy", str(file), *options]
        guard = box.daemon(argv, uid=uid)
        guard.wait_line('"event": "started"', 60)
        return guard

    yield run


def available(box: Box, share: float) -> None:
    box.memory(available=int(box.total * share))


def test_below_the_kill_level_the_largest_is_killed_and_nobody_else(box: Box, start: Start) -> None:
    hog, small = box.spawn(rss_bytes=HOG, gives_back=12 * GIB), box.spawn(rss_bytes=HOG // 3)
    guard = start()
    available(box, 0.03)
    assert hog.wait(60).signal == signal.SIGKILL
    guard.wait_line('"event": "died"', 60)
    [chosen] = events(guard, "chosen")
    assert (chosen["rule"], chosen["pids"], chosen["reason"]) == ("critical", [hog.pid], "low-memory")
    assert [ranked["pids"] for ranked in chosen["ranking"]][:2] == [[hog.pid], [small.pid]]
    [died] = events(guard, "died")
    assert died["came_back"] > 11 * GIB
    assert small.alive and guard.alive and box.deaths == [hog]


def test_between_the_levels_the_victim_is_asked_first(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    guard = start()
    available(box, 0.08)
    assert hog.wait(60).signal == signal.SIGTERM
    guard.wait_line('"event": "died"', 60)
    assert [event["event"] for event in events(guard)][-5:-1] == ["chosen", "warned", "signalled", "rulechanged"]


def test_who_ignores_the_question_is_killed_when_its_time_is_over(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, ignore_term=True, gives_back=12 * GIB)
    guard = start()
    available(box, 0.08)
    asked = hog.wait_signal(60)
    killed = hog.wait(60)
    assert (asked.signal, killed.signal) == (signal.SIGTERM, signal.SIGKILL)
    guard.wait_line('"signal": "SIGKILL"', 60)
    [first, second] = events(guard, "signalled")
    assert second["at"] - first["at"] > 0.9


def test_a_more_urgent_rule_does_not_wait_for_the_answer(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, ignore_term=True, gives_back=12 * GIB)
    guard = start(LEVELS.replace("term 1s", "term 1min"))
    available(box, 0.08)
    hog.wait_signal(60)
    available(box, 0.03)
    assert hog.wait(60).signal == signal.SIGKILL
    guard.wait_line('"event": "died"', 60)
    assert [event["signal"] for event in events(guard, "signalled")] == ["SIGTERM", "SIGKILL"]


def test_nothing_dies_while_there_is_plenty_and_after_it_came_back(box: Box, start: Start) -> None:
    box.spawn(rss_bytes=HOG)
    guard = start(LEVELS.replace('when  = "mem.available <= 5%"', 'when  = "mem.available <= 5% for 2s"'))
    available(box, 0.5)
    time.sleep(0.5)
    available(box, 0.12)
    time.sleep(0.5)
    assert not box.deaths and not events(guard, "chosen")


def test_a_victim_that_cannot_die_does_not_hold_up_the_next(box: Box, start: Start) -> None:
    stuck, hog = box.spawn(rss_bytes=2 * HOG), box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    with frozen(stuck):
        guard = start()
        available(box, 0.03)
        assert hog.wait(60).signal == signal.SIGKILL
        guard.wait_line('"event": "stuck"', 10)
        [aside] = events(guard, "stuck")
        assert aside["pids"] == [stuck.pid] and stuck.alive
    assert stuck.wait(60).signal == signal.SIGKILL


class frozen:
    """Keeps a process from dying: what a freezer of the first version holds takes no signal, not even the last."""

    HIERARCHY = Path("/sys/fs/cgroup/freezer")

    def __init__(self, proc: Proc) -> None:
        if not (self.HIERARCHY / "tasks").exists():
            pytest.skip("no freezer of the first version here: nothing else makes a process unkillable at will")
        self._group = self.HIERARCHY / f"okoomer-test-{proc.pid}-{time.monotonic_ns()}"
        self._group.mkdir()
        outside = machine_pid(proc)
        (self._group / "tasks").write_text(str(outside))

    def __enter__(self) -> None:
        (self._group / "freezer.state").write_text("FROZEN")

    def __exit__(self, *_: object) -> None:
        (self._group / "freezer.state").write_text("THAWED")
        for _attempt in range(100):
            try:
                self._group.rmdir()
                return
            except OSError:
                time.sleep(0.05)


def test_twenty_growers_go_together_and_the_database_lives(box: Box, start: Start) -> None:
    database = box.spawn(rss_bytes=350 * MIB, name="postgres")
    grower = "import os, time\nfor _ in range(20):\n    if os.fork() == 0:\n        held = []\n        while True:\n" \
        "            held.append(bytearray(b'x') * 1048576); time.sleep(0.08)\ntime.sleep(1e6)\n"  # fmt: skip
    available(box, 0.12)
    guard = start(unit="family")
    growers = box.spawn(grower, name="build", gives_back=12 * GIB)
    box.until(lambda: sum(size > 30 * MIB for size in sizes_below(box, growers)) == 20, 60, "all to grow")
    available(box, 0.03)
    growers.wait(60)
    guard.wait_line('"event": "died"', 60)
    chosen = events(guard, "chosen")[0]
    assert chosen["kind"] == "family" and len(chosen["pids"]) == 21, chosen
    assert database.alive


def sizes_below(box: Box, parent: Proc) -> list[int]:
    """The bytes that each child of a process has in memory."""
    children = (parent.proc / "task" / str(parent.pid) / "children").read_text().split()
    return [int((box.proc / pid / "statm").read_text().split()[1]) * 4096 for pid in children]


def test_the_shell_lives_and_its_child_goes(box: Box, start: Start) -> None:
    # Nothing comes back of one whom the box does not know; but one act is all that is to be seen.
    guard = start(f'[[rule]]{LEVELS.split("[[rule]]")[1]}rest = "1min"\n', unit="family")
    hog = f"tail -f /dev/null | {sys.executable} -c 'x = bytes([1]) * {HOG}; input()'"
    shell = box.spawn(["sh", "-c", f"{hog}; sleep 1000"])
    wait_for_hog(box)
    available(box, 0.03)
    guard.wait_line('"event": "signalled"', 60)
    time.sleep(0.3)
    [signalled] = events(guard, "signalled")
    assert shell.pid not in signalled["pids"] and shell.alive


def wait_for_hog(box: Box) -> None:
    """Waits until some process of the box has grown to a hog's size."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for statm in box.proc.glob("[0-9]*/statm"):
            try:
                if int(statm.read_text().split()[1]) * 4096 > HOG:
                    return
            except (OSError, IndexError):
                continue
        time.sleep(0.05)
    raise TimeoutError("no hog")


def test_whom_the_policy_spares_lives(box: Box, start: Start) -> None:
    spared, hog = box.spawn(rss_bytes=2 * HOG, name="precious"), box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    start('spare = ["name:prec.*"]\n' + LEVELS)
    available(box, 0.03)
    hog.wait(60)
    time.sleep(0.3)
    assert spared.alive


def test_nobody_dies_in_vain_and_that_is_said_once(box: Box, start: Start) -> None:
    box.spawn(rss_bytes=40 * MIB)
    guard = start(LEVELS.replace('least = "8MiB"\n', ""))
    box.memory(available=box.total // 50, shmem=20 * GIB)
    guard.wait_line('"event": "refused"', 60)
    time.sleep(2.5)
    assert len(events(guard, "refused")) == 1 and not box.deaths


FILL = """
import os, time
os.makedirs("/run/filled")
began, done = time.monotonic(), 0
fd = os.open("/run/filled/file", os.O_WRONLY | os.O_CREAT)
while done < 96 * 2**20:
    done += os.write(fd, bytes(65536))
    time.sleep(max(0.0, began + done / (30 * 2**20) - time.monotonic()))
time.sleep(1e6)
"""
PIPE = """
import os, threading, time
out, into = os.pipe()
threading.Thread(target=lambda: any(not os.read(out, 65536) for _ in iter(int, 1)), daemon=True).start()
while True:
    os.write(into, bytes(65536)), time.sleep(0.001)
"""
#: Over and over into the same pages, which become dirty once only.
DISK = """
import os, time
fd = os.open({path!r}, os.O_WRONLY | os.O_CREAT)
while True:
    os.pwrite(fd, bytes(2**20), 0), time.sleep(0.01)
"""


def test_a_tiny_process_that_fills_a_tmpfs_is_ended_and_nobody_else(box: Box, start: Start, tmp_path: Path) -> None:
    left = 115 * MIB
    box.memory(total=512 * MIB, available=left)
    box.spawn(rss_bytes=60 * MIB, name="database")
    box.spawn(PIPE), box.spawn(DISK.format(path=str(tmp_path / "backup")))
    guard = start(unit="family")
    writer = box.spawn(FILL, name="writer")
    file = Path(f"/proc/{box.init_pid}/root/run/filled/file")
    deadline = time.monotonic() + 60
    while writer.alive and time.monotonic() < deadline:
        filled = file.stat().st_blocks * 512 if file.exists() else 0
        box.memory(available=left - filled, shmem=filled)
        time.sleep(0.01)
    assert writer.wait(60).signal in (signal.SIGTERM, signal.SIGKILL)
    guard.wait_line('"event": "refused"', 60)
    time.sleep(2.5)
    assert box.deaths == [writer]
    [chosen], [refused] = events(guard, "chosen"), events(guard, "refused")
    assert (chosen["pids"], chosen["reason"]) == ([writer.pid], "ownerless-memory")
    assert "belong to no process" in refused["why"]


def test_a_dry_run_touches_nobody(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG)
    guard = start(LEVELS, "--dry-run")
    available(box, 0.03)
    guard.wait_line('"event": "chosen"', 60)
    time.sleep(0.5)
    assert hog.alive and not events(guard, "signalled")


def test_malformed_files_are_said_once_and_do_not_stop_it(box: Box, start: Start) -> None:
    hog = box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    guard = start()
    box.write("meminfo", b"MemTotal: what?\n")
    box.write("vmstat", b"\0\0\0")
    guard.wait_line('"event": "trouble"', 60)
    time.sleep(1)
    assert len(events(guard, "trouble")) == 1 and guard.alive and hog.alive
    available(box, 0.03)
    assert hog.wait(60).signal == signal.SIGKILL


def test_a_hostile_name_forges_no_line(box: Box, start: Start, tmp_path: Path) -> None:
    hog = box.spawn(rss_bytes=HOG, name="a'b\n<7>fake", gives_back=12 * GIB)
    file = tmp_path / "plain.toml"
    file.write_text(LEVELS.replace("UNIT", "process"))
    guard = box.daemon([OKOOMER, "run", "--runtime-dir", "/run/plain", "--policy", str(file)])
    guard.wait_line("guards", 60)
    available(box, 0.03)
    hog.wait(60)
    guard.wait_line("is gone", 60)
    assert not any(line.text.startswith("<7>fake") for line in guard.lines)
    assert any(r"a'b\n<7>fake" in line.text for line in guard.lines)
    why = box.spawn([OKOOMER, "why", "--runtime-dir", "/run/plain"])
    why.wait(60)
    assert any(r"took a'b\n<7>fake" in line.text for line in why.lines)


def test_the_second_guard_says_who_runs(box: Box, start: Start) -> None:
    guard = start()
    second = box.spawn([OKOOMER, "run", "--runtime-dir", "/run/okoomer-0"])
    assert second.wait(60).code == 3
    assert any(f"running already as pid {guard.pid}" in line.text for line in second.lines)


def test_without_pressure_it_guards_all_the_same(tmp_path: Path) -> None:
    with Box(psi=False) as box:
        file = tmp_path / "policy.toml"
        file.write_text(LEVELS.replace("UNIT", "process"))
        hog = box.spawn(rss_bytes=HOG)
        guard = box.daemon([OKOOMER, "run", "--json", "--runtime-dir", "/run/o", "--policy", str(file)])
        guard.wait_line('"event": "started"', 60)
        available(box, 0.03)
        assert hog.wait(60).signal == signal.SIGKILL


def test_another_user_guards_his_own_processes_only(box: Box, start: Start) -> None:
    others, own = box.spawn(rss_bytes=2 * HOG), box.spawn(rss_bytes=HOG, uid=65534, gives_back=12 * GIB)
    guard = start(uid=65534)
    assert any("not root" in lack for lack in events(guard, "started")[0]["lacks"])
    available(box, 0.03)
    assert own.wait(60).signal == signal.SIGKILL
    assert others.alive and not events(guard, "stuck")


def test_hidden_processes_are_said(tmp_path: Path) -> None:
    with Box(hidepid=True) as box:
        guard = box.daemon(
            [OKOOMER, "run", "--json", "--runtime-dir", f"/tmp/okoomer-hide-{time.monotonic_ns()}"], uid=65534
        )
        line = guard.wait_line('"event": "started"', 60)
        assert "hidepid" in line.text


def test_it_ends_when_told_and_says_so(box: Box, start: Start) -> None:
    guard = start()
    guard.kill(signal.SIGTERM)
    assert guard.wait(60).code == 0
    assert events(guard)[-1]["event"] == "stopped"
