"""The box proves itself with daemons whose behaviour is known."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.box import peers
from tests.box.box import Box, BoxError
from tests.box.procfiles import GIB, MIB, Memory, Pressure
from tests.box.signals import SignalTrace, machine_pid

HOG = 200 * MIB


def percent(box: Box, share: int) -> int:
    return box.total * share // 100


def nothing_dies(box: Box, seconds: float) -> None:
    """Give a daemon the time in which it would have acted."""
    with pytest.raises(TimeoutError):
        box.until(lambda: bool(box.deaths), seconds)


# --- the box itself ---------------------------------------------------------------------------------------


def test_a_process_sees_only_the_box(box: Box) -> None:
    look = box.spawn(["sh", "-c", "ls -d /proc/[0-9]* | wc -l; cat /proc/meminfo; ls -A /run /sys/fs/cgroup"])
    assert look.wait(60).code == 0
    look.wait_line("/sys/fs/cgroup:", 60)
    assert int(look.lines[0].text) <= 5
    assert [line.text for line in look.lines[-3:]] == ["/run:", "", "/sys/fs/cgroup:"]
    assert "MemTotal:         25165824 kB" in [line.text for line in look.lines]


def test_deaths_are_told_with_signal_and_time(box: Box) -> None:
    killed, ended = box.spawn(rss_bytes=MIB), box.spawn(["sh", "-c", "exit 3"])
    before = time.monotonic()
    killed.kill(signal.SIGTERM)
    death = killed.wait(60)
    assert (death.signal, death.code) == (signal.SIGTERM, None)
    assert before < death.at < time.monotonic()
    assert ended.wait(60).code == 3
    assert box.deaths == [killed]


def test_a_hog_has_its_size_name_threads_and_user(box: Box) -> None:
    hog = box.spawn(rss_bytes=HOG, name="browser", threads=3, uid=65534, nice=5)
    status = dict(line.split(":\t", 1) for line in (hog.proc / "status").read_text().splitlines())
    assert HOG <= int(status["VmRSS"].split()[0]) * 1024 < HOG + 32 * MIB
    assert (status["Name"], status["Threads"], status["Uid"].split()[0]) == ("browser", "3", "65534")
    assert int((hog.proc / "stat").read_text().rsplit(")", 1)[1].split()[16]) == 5


def test_a_swallowed_sigterm_names_its_sender(box: Box) -> None:
    hog = box.spawn(ignore_term=True)
    hog.kill(signal.SIGTERM)
    received = hog.wait_signal(60)
    assert (received.signal, received.sender) == (signal.SIGTERM, 1)
    assert hog.alive


def test_a_snippet_runs_in_the_hog(box: Box) -> None:
    hog = box.spawn("import sys; print(len(memory), flush=True); sys.exit(4)", rss_bytes=MIB)
    assert hog.wait_line(str(MIB), 60).stream == "stdout"
    assert hog.wait(60).code == 4


def test_a_missing_program_is_said(box: Box) -> None:
    lost = box.spawn(["/nowhere"])
    assert lost.wait(60).code == 127
    assert lost.wait_line("No such file", 60).stream == "stderr"


def test_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Box() as box:
        host_pid = box.init_pid
        box.crowd(20)
        box.fall(MIB)
        raise ZeroDivisionError
    assert not box.dir.exists()
    assert not Path(f"/proc/{host_pid}").exists()
    with pytest.raises(BoxError):
        box.spawn()


def test_the_box_ends_with_a_killed_test() -> None:
    code = "from tests.box.box import *; b = Box(); print(b.init_pid, b.dir, flush=True); time.sleep(99)"
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True) as test:
        assert test.stdout
        host_pid, left = test.stdout.readline().split()
        test.kill()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{host_pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{host_pid}").exists()
    subprocess.run(["rm", "-r", left], check=True)


def test_files_keep_their_length_and_their_sums() -> None:
    plenty = Memory(swap_total=GIB, swap_free=GIB)
    low = Memory(available=64 * MIB, swap_total=GIB, swap_free=0, shmem=GIB)
    assert len(plenty.meminfo()) == len(low.meminfo())
    assert len(plenty.swaps()) == len(low.swaps())
    kib = {line.split(":")[0]: int(line.split()[1]) for line in low.meminfo().decode().splitlines()}
    assert kib["AnonPages"] + kib["Shmem"] + kib["MemAvailable"] == kib["MemTotal"]
    calm = Pressure().text()
    assert len(calm) == len(Pressure(some=(100.0, 9.5, 0.0), full=(9.0, 0, 0), some_total=10**12).text())
    with pytest.raises(ValueError, match="no machine"):
        Memory(total=GIB, available=2 * GIB).meminfo()


def test_a_reader_that_keeps_the_file_open_sees_a_fall(box: Box) -> None:
    with (box.proc / "meminfo").open("rb", buffering=0) as meminfo:
        fall = box.fall(GIB, start=20 * GIB, floor=9 * GIB)

        def is_right() -> bool:
            time.sleep(0.1)
            before = fall.available(time.monotonic() - 0.05)
            meminfo.seek(0)
            seen = int(meminfo.read().split(b"MemAvailable:")[1].split()[0]) * 1024
            return 9 * GIB < fall.available(time.monotonic()) - 50 * MIB < seen <= before

        # Who lets it fall may be held up by what else this machine does.
        assert any(is_right() for _ in range(50))
        box.hold()
    assert fall.available(time.monotonic() + 60) == 9 * GIB


def test_a_death_gives_memory_back(box: Box) -> None:
    box.memory(available=GIB)
    box.spawn(gives_back=3 * GIB).kill()
    box.until(lambda: b"MemAvailable:      4194304 kB" in (box.proc / "meminfo").read_bytes(), 60)


def test_raw_bytes_may_be_anything(box: Box) -> None:
    box.write("meminfo", b"MemTotal: banana\n")
    assert (box.proc / "meminfo").read_bytes() == b"MemTotal: banana\n"
    box.memory()
    assert (box.proc / "meminfo").read_bytes().startswith(b"MemTotal:         25165824 kB\n")


def test_a_kernel_without_psi() -> None:
    with Box(psi=False) as box:
        assert not (box.proc / "pressure/memory").exists()
        assert (box.proc / "meminfo").exists()


def test_hidepid_hides_others() -> None:
    with Box(hidepid=True) as box:
        look = box.spawn(["ls", "-d", f"/proc/{box.spawn().pid}"], uid=65534)
        assert look.wait(60).code != 0


def test_cgroups_are_real_and_the_boxs_own() -> None:
    with Box(cgroups=True) as box:
        assert box.cgroup
        hog = box.spawn(rss_bytes=MIB, cgroup="app.slice/hog.scope")
        box.spawn(["cat", f"/proc/{hog.pid}/cgroup"]).wait_line("0::/app.slice/hog.scope", 60)
        box.spawn(["sh", "-c", "echo 1 > /sys/fs/cgroup/app.slice/cgroup.kill"])
        assert hog.wait(60).signal == signal.SIGKILL
        assert (box.proc / "1").exists()
    assert not box.cgroup.exists()


def test_signals_of_all_senders_are_seen(box: Box) -> None:
    try:
        trace = SignalTrace()
    except OSError as error:
        pytest.skip(f"no tracing: {error}")
    with trace:
        hog = box.spawn(rss_bytes=MIB)
        target, before = machine_pid(hog), time.monotonic()
        hog.kill()
        death = hog.wait(60)
        [sent] = trace.sent_to(target, since=before)
    assert (sent.signal, sent.sender) == (signal.SIGKILL, box.init_pid)
    assert before < sent.at <= death.at + 1e-6


def test_churn_keeps_its_rate(box: Box) -> None:
    box.churn(100)
    last_pid = box.proc / "loadavg"

    def keeps() -> bool:
        first, began = int(last_pid.read_text().split()[-1]), time.monotonic()
        time.sleep(1)
        born = int(last_pid.read_text().split()[-1]) - first
        return 50 < born / (time.monotonic() - began) < 150

    # A busy machine may hold it up.
    assert any(keeps() for _ in range(20))


# --- the peers in it --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "signo"), [(8, signal.SIGTERM), (3, signal.SIGKILL)])
def test_earlyoom_kills_the_largest(box: Box, earlyoom_argv: list[str], share: int, signo: int) -> None:
    box.spawn(rss_bytes=HOG // 4)
    hog = box.spawn(rss_bytes=HOG, gives_back=20 * GIB)
    box.daemon(earlyoom_argv).wait_line("mem avail", 60)
    box.memory(available=percent(box, share))
    assert hog.wait(60).signal == signo
    # On a busy machine it may go on to a second victim before the memory of the first is back.
    assert box.deaths[0] is hog


def test_earlyoom_leaves_half_full_memory_alone(box: Box, earlyoom_argv: list[str]) -> None:
    box.spawn(rss_bytes=HOG)
    box.daemon(earlyoom_argv).wait_line("mem avail", 60)
    box.memory(available=percent(box, 50))
    nothing_dies(box, 2.5)


def test_earlyoom_is_the_sender(box: Box, earlyoom_argv: list[str]) -> None:
    hog, daemon = box.spawn(rss_bytes=HOG, ignore_term=True), box.daemon(earlyoom_argv)
    daemon.wait_line("mem avail", 60)
    box.memory(available=percent(box, 8))
    assert hog.wait_signal(60).sender == daemon.pid
    assert hog.alive


@pytest.mark.parametrize(("share", "signo"), [(8, signal.SIGTERM), (3, signal.SIGKILL)])
def test_nohang_kills_the_largest(box: Box, nohang_conf: Path, share: int, signo: int) -> None:
    box.spawn(rss_bytes=HOG // 4)
    hog = box.spawn(rss_bytes=HOG, gives_back=20 * GIB)
    daemon = box.daemon(peers.nohang(nohang_conf), env={"PYTHONUNBUFFERED": "1"})
    daemon.wait_line("Monitoring", 60)
    box.memory(available=percent(box, share))
    assert hog.wait(60).signal == signo
    # On a busy machine it may go on to a second victim before the memory of the first is back.
    assert box.deaths[0] is hog


def test_nohang_leaves_half_full_memory_alone(box: Box, nohang_conf: Path) -> None:
    box.spawn(rss_bytes=HOG)
    box.daemon(peers.nohang(nohang_conf), env={"PYTHONUNBUFFERED": "1"}).wait_line("Monitoring", 60)
    box.memory(available=percent(box, 50))
    nothing_dies(box, 4)


def test_nothing_outside_is_hit(box: Box, earlyoom_argv: list[str]) -> None:
    outside = subprocess.Popen(["sleep", "60"])
    try:
        hogs = [box.spawn(rss_bytes=HOG) for _ in range(3)]
        box.daemon([*earlyoom_argv, "-g"]).wait_line("mem avail", 60)
        box.memory(available=percent(box, 3))
        assert [hog.wait(60).signal for hog in hogs] == [signal.SIGKILL] * 3
        assert outside.poll() is None
    finally:
        outside.terminate()
        outside.wait()
