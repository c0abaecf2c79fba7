"""The parsers of the kernel's texts: what they read, and that nothing can surprise them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okoomer.facts import Arc, Memory, Paging, Pressure, Stall, Swap
from okoomer.kernel import arc, meminfo, output, pressure, process, swaps, vmstat
from okoomer.record import Record
from tests.unit.machines import GIB, INIT, MIB, VMSTAT, App, areas, stalls
from tests.unit.machines import meminfo as meminfo_of

ARC = b"9 1 0x01 123 33456 1 2\nname type data\nhits 4 5\nc_min 4 64\nsize 4 1000\n"
MOUNTS = (
    b"22 27 0:21 / /proc rw,relatime - proc proc rw\n25 24 0:23 / /dev/shm rw shared:3 - tmpfs tmpfs rw,size=24k\n"
    b"27 1 254:0 / / rw,relatime - ext4 /dev/tmpfs rw\n28 27 0:9 / /a\\040-\\040tmpfs rw - tmpfs none ro\n"
)
CGROUP_1 = b"4:memory:/a\n1:name=systemd:/user.slice:odd\n"

PARSERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "meminfo": (meminfo.parse, meminfo_of(8 * GIB, 4 * GIB, (GIB, GIB), Shmem=MIB)),
    "pressure": (pressure.parse, stalls(1.5, 0.5)),
    "vmstat": (vmstat.parse, VMSTAT),
    "swaps": (swaps.parse, areas((GIB, MIB))),
    "arcstats": (arc.parse, ARC),
    "stat": (process.parse_stat, INIT.files()["stat"]),
    "status": (process.parse_status, INIT.files()["status"]),
    "cgroup": (process.parse_cgroup, CGROUP_1),
    "io": (output.parse_io, App(5, written=100, to_disk=40).files()["io"]),
    "mountinfo": (output.parse_mounts, MOUNTS),
}
ODD = st.one_of(
    st.binary(max_size=12),
    st.integers(-(2**70), 2**70).map(lambda n: b"%d" % n),
    st.sampled_from([b"", b"\n", b" ", b":", b"=", b"(", b")", b"nan", b"inf", b"1e999", b"9" * 400, b"9" * 5000]),
)


def floats_of(value: object) -> list[float]:
    if isinstance(value, tuple):
        return [found for item in value for found in floats_of(item)]
    return [float(value)] if isinstance(value, (int, float)) else []


def parses_or_refuses(name: str, text: bytes) -> None:
    """Any other exception than these two, or a number that cannot be counted with, fails the test."""
    try:
        value = PARSERS[name][0](text)
    except (ValueError, IndexError):
        return
    assert all(number == number and abs(number) < 2**80 for number in floats_of(value))


@pytest.mark.parametrize("name", PARSERS)
@given(text=st.binary())
@settings(max_examples=60, deadline=None)
def test_any_bytes_give_a_value_or_are_refused(name: str, text: bytes) -> None:
    parses_or_refuses(name, text)


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_spoiled_file_gives_a_value_or_is_refused(name: str, data: st.DataObject) -> None:
    text = PARSERS[name][1]
    words = text.replace(b"\n", b" \n ").split(b" ")
    for _ in range(data.draw(st.integers(1, 3))):
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(ODD)
    parses_or_refuses(name, b" ".join(words))
    parses_or_refuses(name, text[: data.draw(st.integers(0, len(text)))])


@pytest.mark.parametrize("name", PARSERS)
def test_a_good_file_is_understood(name: str) -> None:
    parse, text = PARSERS[name]
    assert parse(text)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("meminfo", "/proc/meminfo"),
        ("pressure", "/proc/pressure/memory"),
        ("pressure", "/proc/pressure/cpu"),
        ("vmstat", "/proc/vmstat"),
        ("swaps", "/proc/swaps"),
        ("stat", "/proc/self/stat"),
        ("status", "/proc/self/status"),
        ("status", "/proc/2/status"),
        ("cgroup", "/proc/self/cgroup"),
        ("io", "/proc/self/io"),
        ("mountinfo", "/proc/self/mountinfo"),
    ],
)
def test_the_files_of_this_kernel_are_understood(name: str, path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"no {path} here")
    assert PARSERS[name][0](Path(path).read_bytes())


# --- /proc/meminfo --------------------------------------------------------------------------------------------------


def test_meminfo_in_bytes() -> None:
    text = b"MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 300 kB\nBuffers: 10 kB\nCached: 200 kB\n" + (
        b"SwapTotal: 50 kB\nSwapFree: 20 kB\nAnonPages: 400 kB\nShmem: 30 kB\nSUnreclaim: 5 kB\nHugetlb: 7 kB\n"
        b"Writeback: 8 kB\nWritebackTmp: 9 kB\nSwapCached: 6 kB\n"
    )
    kib = 1024
    assert meminfo.parse(text) == (
        Memory(1000 * kib, 100 * kib, 300 * kib, 400 * kib, 180 * kib, 30 * kib, 5 * kib, 7 * kib, 8 * kib),
        Swap(50 * kib, 20 * kib, cached=6 * kib),
    )


@pytest.mark.parametrize(
    ("figures", "available"),
    [
        ({"MemAvailable": 300}, 300),
        ({}, 100 + 200 + 10 - 30),  # before Linux 3.14
        ({"MemAvailable": 5000}, 1000),  # more than there is
        ({"MemAvailable": 2**64 - 8}, 0),  # below 0, printed without its sign
        ({"MemAvailable": -5}, 0),
        ({"Shmem": 2**64 - 4}, 310 + 4),  # a counter that drifted a little below 0
    ],
)
def test_available_memory_is_within_what_there_is(figures: dict[str, int], available: int) -> None:
    fields = {"MemTotal": 1000, "MemFree": 100, "Buffers": 10, "Cached": 200, "Shmem": 30, **figures}
    text = "".join(f"{name}: {number} kB\n" for name, number in fields.items()).encode()
    assert meminfo.parse(text)[0].available == available * 1024


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"MemFree: 1 kB\n",
        b"MemTotal: 1000 kB\n",
        b"MemTotal: 0 kB\nMemFree: 0 kB\n",
        b"MemTotal: -8 kB\nMemFree: 0 kB\n",
        b"MemTotal: 18446744073709551615 kB\nMemFree: 0 kB\n",
        b"MemTotal: 1000 kB\nMemFree:\n",
        b"MemTotal: many kB\nMemFree: 1 kB\n",
        b"MemTotal: 1000 kB\nMemFr",
    ],
)
def test_meminfo_without_total_or_free_is_refused(text: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        meminfo.parse(text)


def test_no_swap_is_nought_of_nought_and_free_swap_is_within_the_total() -> None:
    assert meminfo.parse(b"MemTotal: 8 kB\nMemFree: 1 kB\n")[1] == Swap(0, 0)
    assert meminfo.parse(b"MemTotal: 8 kB\nMemFree: 1 kB\nSwapTotal: 4 kB\nSwapFree: 9 kB\n")[1] == Swap(4096, 4096)
    assert meminfo.parse(b"MemTotal: 8 kB\nMemFree: 1 kB\nSwapTotal: -4 kB\nSwapFree: 9 kB\n")[1] == Swap(0, 0)


# --- pressure, flows, swap ------------------------------------------------------------------------------------------


def test_pressure_in_shares_and_seconds() -> None:
    text = b"some avg10=50.00 avg60=1.25 avg300=0.00 total=2500000\nfull avg10=100.00 avg60=0.5 avg300=0.1 total=7\n"
    assert pressure.parse(text) == Pressure(Stall(0.5, 0.0125, 0.0, 2.5), Stall(1.0, 0.005, 0.001, 7e-6))


def test_pressure_of_processors_has_no_line_full_on_older_kernels() -> None:
    assert pressure.parse(stalls(1.0)).full is None


@pytest.mark.parametrize("average", ["nan", "inf", "-3", "250.00"])
def test_shares_of_time_are_between_none_and_all(average: str) -> None:
    text = f"some avg10={average} avg60=0 avg300=0 total=0\n".encode()
    assert 0.0 <= pressure.parse(text).some.avg10 <= 1.0


@pytest.mark.parametrize("text", [b"", b"\n", b"full avg10=0 avg60=0 avg300=0 total=0\n", b"some avg10=0.00 avg60="])
def test_what_is_no_pressure_file_is_refused(text: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        pressure.parse(text)


def test_flows_in_bytes_and_counts_as_they_are() -> None:
    page = 4096
    assert vmstat.parse(VMSTAT + b"workingset_refault_anon 3\nworkingset_refault_file 4\noom_kill 2\n") == Paging(
        10 * page, 20 * page, 3 * page, 4 * page, 40 * page, 50 * page, 0, 0, 30, 2
    )
    assert vmstat.parse(VMSTAT + b"pgsteal_kswapd 5\npgsteal_direct 6\n").steal == 11 * page
    assert vmstat.parse(VMSTAT + b"pgactivate 7\n").activated == 7 * page
    assert vmstat.parse(VMSTAT + b"workingset_refault 9\n").refault_file == 9 * page  # before Linux 5.9


def test_only_swap_devices_of_zram_count_as_zram() -> None:
    text = areas((GIB, 256 * MIB), (GIB, 0)) + b"/mnt/zram-copy file\t9999\t0\t-3\n/dev/sda2 partition\t9999\t0\t-4\n"
    assert swaps.parse(text) == (2 * GIB, 2 * GIB - 256 * MIB)
    assert swaps.parse(b"") == swaps.parse(areas()) == (0, 0)
    assert swaps.parse(b"header\n/dev/zram0 partition 4 99 5\n") == (4096, 0)


def test_the_cache_of_zfs() -> None:
    assert arc.parse(ARC) == Arc(1000, 64)
    with pytest.raises(ValueError):
        arc.parse(b"size 4 1000\n")


# --- processes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"bash", "bash"),
        (b"(sd-pam)", "(sd-pam)"),
        (b") R 1 1 1 (", ") R 1 1 1 ("),
        (b"a b  c", "a b  c"),
        (b"x\n0 (y) S", "x\n0 (y) S"),
        (b"", ""),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("日本".encode(), "日本"),
    ],
)
def test_names_of_processes_may_be_anything(raw: bytes, name: str) -> None:
    stat = process.parse_stat(App(42, raw, parent=7, session=40, terminal=34816, threads=3).files()["stat"])
    assert stat == process.Stat(name, "S", 7, 42, 40, True, False, 3, 50.0)


def test_a_kernel_thread_is_known_by_its_flag() -> None:
    stat = process.parse_stat(App(9, b"kworker/0:1", parent=2, flags=0x00200000 | 0x40).files()["stat"])
    assert stat.kernel_thread and not stat.terminal


def test_sizes_of_a_process_in_bytes() -> None:
    app = App(42, anon=8 * MIB, swap=3 * MIB, shmem=2 * MIB, file=MIB, user=1234)
    assert process.parse_status(app.files()["status"]) == process.Status(1234, 8 * MIB, MIB, 2 * MIB, 3 * MIB)
    assert process.parse_status(b"Name:\tkthreadd\nUid:\t0\t0\t0\t0\n") == process.Status(0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "text", [b"", b"Uid:\n", b"Name:\tx\n", b"Uid:\t0\t0\t0\t0\nVmSwap:\t 99999999999999999999 kB\n"]
)
def test_a_status_that_makes_no_sense_is_refused(text: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        process.parse_status(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b"0::/user.slice/app-a:b.scope\n", "/user.slice/app-a:b.scope"),
        (CGROUP_1, "/user.slice:odd"),
        (b"1:name=systemd:/old\n0::/new\n", "/new"),
        (b"0::/torn", "/torn"),
        (b"4:memory:/only\n", ""),
        (b"", ""),
        (b"0::/\xff\n", "/\\xff"),
    ],
)
def test_the_cgroup_of_a_process(text: bytes, path: str) -> None:
    assert process.parse_cgroup(text) == path


@given(st.binary(max_size=15), st.integers(0, 2**31), st.integers(-(2**31), 2**31))
@settings(deadline=None)
def test_whatever_the_name_the_numbers_behind_it_are_right(name: bytes, parent: int, terminal: int) -> None:
    stat = process.parse_stat(App(5, name, parent=parent, terminal=terminal).files()["stat"])
    assert (stat.parent, stat.terminal) == (parent, terminal != 0)
    assert isinstance(stat, Record)


def test_a_resident_size_that_is_not_told_apart_counts_as_anonymous() -> None:
    assert process.parse_status(b"Uid:\t1\t2\t3\t4\nVmRSS:\t  12 kB\nVmSwap:\t 3 kB\n").anon == 12 * 1024
    assert process.parse_status(b"Uid:\t1\t2\t3\t4\nVmRSS:\t  12 kB\nRssAnon:\t 5 kB\n").anon == 5 * 1024


# --- /proc/PID/io and mountinfo -------------------------------------------------------------------------------------


def test_what_goes_to_a_disk_does_not_stay_in_memory() -> None:
    assert output.parse_io(App(5, written=500, to_disk=480).files()["io"]) == 20
    assert output.parse_io(App(5, written=0, to_disk=4096).files()["io"]) == -4096


@pytest.mark.parametrize("text", [b"", b"wchar: 5\n", b"write_bytes: 5\n", b"rchar: 1\ncancelled_write_bytes: 5\n"])
def test_what_does_not_say_what_is_written_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        output.parse_io(text)


def test_mounts_of_a_tmpfs_are_told_by_their_kind_and_not_by_their_names() -> None:
    assert output.parse_mounts(MOUNTS) == {25, 28}
