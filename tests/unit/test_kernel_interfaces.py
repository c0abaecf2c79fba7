"""The kernel's interfaces beyond single texts: triggers, devices, cgroups, processes."""

from __future__ import annotations

import errno
import os
import posix
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from okoomer.facts import Zram
from okoomer.kernel import cgroup, clock, process, zram
from okoomer.kernel.machine import LIVE, recorded
from okoomer.kernel.pressure import open_trigger
from tests.unit.machines import GIB, MIB, App, build, write

PRESSURE = Path("/proc/pressure/memory")
#: On procfs and writable by anybody, which is all that a trigger asks for before it is written.
ON_PROCFS = "/proc/self/comm"


# --- pressure triggers ----------------------------------------------------------------------------------------------


def test_a_copy_of_a_pressure_file_is_never_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "memory"
    copy.write_bytes(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
    before = copy.read_bytes(), copy.stat().st_mtime_ns
    monkeypatch.setattr(posix, "write", lambda *_: pytest.fail("written to"))
    assert open_trigger(str(copy), "some", 0.1, 1.0) is None
    assert (copy.read_bytes(), copy.stat().st_mtime_ns) == before


def test_where_there_is_no_file_there_is_no_trigger(tmp_path: Path) -> None:
    assert open_trigger(str(tmp_path / "absent"), "some", 0.1, 1.0) is None


@pytest.mark.skipif(not PRESSURE.exists(), reason="this kernel gives no pressure")
def test_a_trigger_on_the_real_file_is_a_descriptor_or_nothing() -> None:
    fd = open_trigger(str(PRESSURE), "some", 0.1, 1.0)
    if os.geteuid() == 0:
        assert fd is not None
    if fd is not None:
        os.close(fd)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written to a trigger, on a kernel that takes only windows in multiples of 2 s."""
    texts: list[str] = []

    def write_trigger(_fd: int, text: bytes) -> int:
        texts.append(text.decode())
        if int(text.split()[2]) % 2_000_000:
            raise OSError(errno.EINVAL, "Invalid argument")
        return len(text)

    monkeypatch.setattr(posix, "write", write_trigger)
    return texts


@pytest.mark.parametrize(
    ("stall", "window", "tried"),
    [
        (0.1, 1.0, ["full 100000 1000000\n", "full 200000 2000000\n"]),
        (0.3, 3.0, ["full 300000 3000000\n", "full 400000 4000000\n"]),
        (0.2, 2.0, ["full 200000 2000000\n"]),
    ],
)
def test_a_refused_window_is_doubled_with_its_stall(
    written: list[str], stall: float, window: float, tried: list[str]
) -> None:
    fd = open_trigger(ON_PROCFS, "full", stall, window)
    assert fd is not None
    os.close(fd)
    assert written == tried


def test_a_kernel_that_refuses_altogether_is_asked_once_and_the_file_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(fd: int, _text: bytes) -> int:
        asked.append(fd)
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(posix, "write", refuse)
    assert open_trigger(ON_PROCFS, "some", 0.1, 1.0) is None
    assert len(asked) == 1
    with pytest.raises(OSError):
        os.fstat(asked[0])


# --- zram -----------------------------------------------------------------------------------------------------------


def test_all_zram_devices_count_together(tmp_path: Path) -> None:
    build(tmp_path, zram=[(GIB, 300 * MIB, 100 * MIB), (2 * GIB, 30 * MIB, 10 * MIB)])
    (tmp_path / "sys/block/sda").mkdir()
    found = zram.devices(recorded(str(tmp_path)).sys)
    assert [Path(device).name for device in found] == ["zram0", "zram1"]
    assert zram.read_all(found) == Zram(3 * GIB, 330 * MIB, 110 * MIB)


@pytest.mark.parametrize("text", [b"", b"1 2", b"x y z", b"%d 1 1 0" % 2**70])
def test_a_device_that_makes_no_sense_or_has_gone_is_left_out(tmp_path: Path, text: bytes) -> None:
    build(tmp_path, zram=[(GIB, 9, 3), (GIB, 9, 3)])
    write(tmp_path / "sys/block/zram0/mm_stat", text)
    devices = zram.devices(f"{tmp_path}/sys")
    assert zram.read_all([*devices, f"{tmp_path}/sys/block/zram7"]) == Zram(GIB, 9, 3)


def test_without_a_device_of_some_size_there_is_no_zram(tmp_path: Path) -> None:
    build(tmp_path, zram=[(0, 0, 0)])
    assert zram.read_all(zram.devices(f"{tmp_path}/sys")) is None
    assert zram.devices(f"{tmp_path}/nowhere") == []


# --- cgroups --------------------------------------------------------------------------------------------------------


def test_the_unified_hierarchy_is_found_behind_any_number_of_mounts(tmp_path: Path) -> None:
    others = b"".join(b"tmpfs /run/user/%d tmpfs rw 0 0\n" % number for number in range(1000))
    write(tmp_path / "self/mounts", others + b"cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")
    assert cgroup.mount(str(tmp_path)) == "/sys/fs/cgroup"
    write(tmp_path / "self/mounts", others + b"\ncgroup /sys/fs/cgroup/cgroup2 cgroup rw 0 0\nodd\n")
    assert cgroup.mount(str(tmp_path)) is None
    assert cgroup.mount(str(tmp_path / "absent")) is None


def test_controllers_of_a_hierarchy(tmp_path: Path) -> None:
    write(tmp_path / "cgroup.controllers", b"cpu io memory\n")
    assert cgroup.controllers(str(tmp_path)) == {"cpu", "io", "memory"}
    assert cgroup.controllers(str(tmp_path / "absent")) == set()


# --- processes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sleeper() -> Iterator[int]:
    child = subprocess.Popen(["sleep", "60"])
    yield child.pid
    child.kill()
    child.wait()


def test_a_living_process_is_seen_with_its_parent_and_command(sleeper: int) -> None:
    assert str(sleeper) in set(process.pids("/proc"))
    assert sleeper in process.children("/proc", os.getpid())
    deadline = time.monotonic() + 60
    while process.command("/proc", sleeper) != "sleep 60" and time.monotonic() < deadline:
        time.sleep(0.01)  # not executed yet
    assert process.command("/proc", sleeper) == "sleep 60"
    stat = process.stat("/proc", sleeper)
    assert (stat.name, stat.parent, stat.threads) == ("sleep", os.getpid(), 1)
    assert abs(clock.since_boot() - stat.started) < 60
    assert process.threads("/proc", sleeper) == [sleeper]
    assert process.executable("/proc", sleeper).endswith(("sleep", "coreutils", "busybox"))


def test_a_process_that_is_gone_has_nothing(tmp_path: Path) -> None:
    proc = str(tmp_path)
    assert process.command(proc, 7) == process.executable(proc, 7) == process.cgroup(proc, 7) == ""
    assert process.number(proc, 7, "oom_score_adj") == 0
    assert process.threads(proc, 7) == process.children(proc, 7) == []
    with pytest.raises(OSError):
        process.stat(proc, 7)


def test_only_numbers_are_processes(tmp_path: Path) -> None:
    for name in ("1", "42", "self", "0", "007", "4x", "sys", "-3"):
        (tmp_path / name).mkdir()
    assert sorted(process.pids(str(tmp_path))) == ["1", "42"]


def test_text_of_a_process_whatever_bytes_its_owner_chose(tmp_path: Path) -> None:
    machine = build(tmp_path, apps=[App(5, command=b"run\0a b\0\xff\n\0", cgroup=b"/x\xfe", adjustment=-17)])
    proc = recorded(str(machine)).proc
    assert process.command(proc, 5) == "run a b \\xff"
    assert process.cgroup(proc, 5) == "/x\\xfe"
    assert process.number(proc, 5, "oom_score_adj") == -17
    write(tmp_path / "proc/5/oom_score_adj", b"much\n")
    assert process.number(proc, 5, "oom_score_adj") == 0


def test_a_deleted_program_keeps_its_path(tmp_path: Path) -> None:
    (tmp_path / "5").mkdir()
    (tmp_path / "5/exe").symlink_to("/usr/bin/app (deleted)")
    assert process.executable(str(tmp_path), 5) == "/usr/bin/app"


def test_clocks_differ_by_the_time_asleep() -> None:
    # Between two of the looks others may run for long.
    assert min(abs(clock.since_boot() - clock.monotonic() - clock.asleep()) for _ in range(20)) < 0.2


def test_only_the_machine_itself_is_live() -> None:
    assert LIVE.live and (LIVE.proc, LIVE.sys) == ("/proc", "/sys")
    assert not recorded("/some/where").live


def test_a_thread_is_named_by_at_most_15_bytes() -> None:
    code = "from okoomer.kernel.syscalls import set_name; set_name('twenty-three-characters'); " + (
        "print(open('/proc/thread-self/comm').read())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "twenty-three-ch"
