"""Sensing: a machine's files as a snapshot, whatever comes, goes or breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from okoomer.facts import Arc, Paging, Pressure, Stall, Swap, Zram
from okoomer.guard.sense import DEVICES_AGE, EVERYTHING, Sense, Unreadable, recorded_clock, wants_of
from okoomer.kernel import clock
from okoomer.kernel.machine import LIVE, recorded
from okoomer.policy.language import PRESETS, load, parse
from okoomer.policy.metrics import available
from tests.unit.machines import GIB, MIB, areas, build, meminfo, stalls, write


class Time:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return build(tmp_path, total=8 * GIB, available=3 * GIB, swap=(2 * GIB, GIB))


def sense_of(root: Path, now: Time, wants: frozenset[str] = EVERYTHING) -> Sense:
    return Sense(recorded(str(root)), wants, now)


def with_arc(root: Path, size: int, minimum: int) -> None:
    write(root / "proc/spl/kstat/zfs/arcstats", b"c_min 4 %d\nsize 4 %d\n" % (minimum, size))


# --- one snapshot ---------------------------------------------------------------------------------------------------


def test_a_snapshot_has_all_that_the_machine_offers(tmp_path: Path, now: Time) -> None:
    root = build(
        tmp_path,
        total=8 * GIB,
        available=3 * GIB,
        swap=(3 * GIB, 2 * GIB),
        pressure={"memory": stalls(2.0, 1.0), "io": stalls(4.0, 3.0), "cpu": stalls(5.0)},
        zram=[(GIB, 300 * MIB, 100 * MIB)],
    )
    with_arc(root, GIB, 64 * MIB)
    snapshot = sense_of(root, now).snapshot()
    assert (snapshot.time, snapshot.asleep) == (100.0, 0.0)
    assert (snapshot.memory.total, snapshot.memory.available) == (8 * GIB, 3 * GIB)
    assert snapshot.swap == Swap(3 * GIB, 2 * GIB, GIB, GIB - 300 * MIB)
    assert snapshot.zram == Zram(GIB, 300 * MIB, 100 * MIB)
    assert snapshot.arc == Arc(GIB, 64 * MIB)
    assert snapshot.memory_pressure == Pressure(Stall(0, 0, 0, 2.0), Stall(0, 0, 0, 1.0))
    assert snapshot.io_pressure and snapshot.io_pressure.some.total == 4.0
    assert snapshot.cpu_pressure and snapshot.cpu_pressure.full is None
    assert isinstance(snapshot.paging, Paging) and snapshot.paging.major_faults == 30


def test_what_is_absent_is_none_and_no_trouble(tmp_path: Path, now: Time) -> None:
    write(tmp_path / "proc/meminfo", meminfo(GIB, GIB // 2))
    sense = sense_of(tmp_path, now)
    snapshot = sense.snapshot()
    assert [field for field, value in zip(snapshot._fields, snapshot, strict=True) if value is None] == [
        "zram",
        "arc",
        "memory_pressure",
        "io_pressure",
        "cpu_pressure",
        "paging",
        "canary",
    ]
    assert snapshot.swap == Swap(0, 0)
    assert list(sense.troubles()) == []


def test_only_what_is_wanted_is_read(root: Path, now: Time) -> None:
    snapshot = sense_of(root, now, frozenset(("io_pressure",))).snapshot()
    assert snapshot.io_pressure is not None
    assert snapshot.memory_pressure is None and snapshot.paging is None and snapshot.zram is None


def test_this_machine_can_be_read() -> None:
    snapshot = Sense(LIVE).snapshot()
    assert 0 < available(snapshot) <= snapshot.memory.total
    assert abs(snapshot.time - clock.monotonic()) < 60
    # Others may run for long between two looks at clocks.
    assert min(abs(Sense(LIVE).snapshot().asleep - clock.asleep()) for _ in range(20)) < 0.2


def test_the_time_asleep_is_part_of_a_live_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "asleep", lambda: 3600.0)
    assert Sense(LIVE).snapshot().asleep == 3600.0


# --- what comes and goes --------------------------------------------------------------------------------------------


def test_swap_may_vanish_and_come_back(root: Path, now: Time) -> None:
    sense = sense_of(root, now)
    assert sense.snapshot().swap == Swap(2 * GIB, GIB)
    (root / "proc/meminfo").write_bytes(meminfo(8 * GIB, 3 * GIB))
    assert sense.snapshot().swap == Swap(0, 0)
    (root / "proc/meminfo").write_bytes(meminfo(8 * GIB, 3 * GIB, (GIB, GIB)))
    assert sense.snapshot().swap == Swap(GIB, GIB)


def test_zram_that_is_swapped_on_is_seen_at_once(root: Path, now: Time) -> None:
    sense = sense_of(root, now)
    assert sense.snapshot().zram is None
    build(root, swap=(3 * GIB, 2 * GIB), zram=[(GIB, 300 * MIB, 100 * MIB)])
    snapshot = sense.snapshot()
    assert snapshot.zram == Zram(GIB, 300 * MIB, 100 * MIB)
    assert (snapshot.swap.zram_total, snapshot.swap.zram_free) == (GIB, GIB - 300 * MIB)


def test_zram_that_is_removed_is_gone_at_once(tmp_path: Path, now: Time) -> None:
    build(tmp_path, swap=(GIB, GIB), zram=[(GIB, 30, 10)])
    sense = sense_of(tmp_path, now)
    assert sense.snapshot().zram is not None
    for name in ("disksize", "mm_stat"):
        (tmp_path / "sys/block/zram0" / name).unlink()
    assert sense.snapshot().zram is None


def test_zram_that_is_not_swapped_on_is_found_within_a_minute(root: Path, now: Time) -> None:
    sense = sense_of(root, now)
    sense.snapshot()
    build(root, swap=(2 * GIB, GIB), zram=[(GIB, 30, 10)])
    now.seconds += DEVICES_AGE + 1
    assert sense.snapshot().zram == Zram(GIB, 30, 10)


def test_swap_on_zram_is_never_more_than_all_swap(root: Path, now: Time) -> None:
    (root / "proc/swaps").write_bytes(areas((64 * GIB, 0)))
    assert sense_of(root, now).snapshot().swap == Swap(2 * GIB, GIB, 2 * GIB, GIB)


def test_the_cache_of_zfs_counts_as_available_down_to_its_minimum(root: Path, now: Time) -> None:
    with_arc(root, GIB, 64 * MIB)
    sense = sense_of(root, now)
    assert available(sense.snapshot()) == 3 * GIB + GIB - 64 * MIB
    with_arc(root, 10 * MIB, 64 * MIB)
    assert available(sense.snapshot()) == 3 * GIB


def test_zfs_that_is_loaded_later_is_found_within_a_minute(root: Path, now: Time) -> None:
    sense = sense_of(root, now)
    assert sense.snapshot().arc is None
    with_arc(root, GIB, 64 * MIB)
    now.seconds += DEVICES_AGE + 1
    assert sense.snapshot().arc == Arc(GIB, 64 * MIB)
    now.seconds += 0.1
    assert sense.snapshot().arc == Arc(GIB, 64 * MIB)


# --- what breaks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"", b"MemTotal: 8 kB\n", b"\0\xff" * 40, b"MemTotal: -1 kB\nMemFree: 1 kB\n"])
def test_a_meminfo_that_breaks_leaves_the_last_good_reading(root: Path, now: Time, text: bytes) -> None:
    sense = sense_of(root, now)
    good = sense.snapshot()
    (root / "proc/meminfo").write_bytes(text)
    now.seconds += 1
    later = sense.snapshot()
    assert (later.memory, later.swap, later.time) == (good.memory, good.swap, 101.0)
    assert list(sense.troubles()) == [f"{root}/proc/meminfo: its text makes no sense"]
    (root / "proc/meminfo").write_bytes(meminfo(8 * GIB, 2 * GIB))
    assert sense.snapshot().memory.available == 2 * GIB
    assert list(sense.troubles()) == []


def test_a_meminfo_that_vanishes_leaves_the_last_good_reading(
    root: Path, now: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    sense = sense_of(root, now)
    good = sense.snapshot()
    with monkeypatch.context() as patch:
        patch.setattr(sense._memory, "read", lambda: None)
        assert sense.snapshot().memory == good.memory
        assert list(sense.troubles()) == [f"{root}/proc/meminfo: is missing"]
    assert sense.snapshot().memory == good.memory
    assert list(sense.troubles()) == []


@pytest.mark.parametrize("text", [None, b"", b"junk"])
def test_a_machine_whose_memory_was_never_readable_is_unreadable(tmp_path: Path, now: Time, text: bytes | None) -> None:
    if text is not None:
        write(tmp_path / "proc/meminfo", text)
    with pytest.raises(Unreadable, match="meminfo"):
        sense_of(tmp_path, now).snapshot()


@pytest.mark.parametrize("name", ["pressure/memory", "pressure/io", "vmstat", "swaps", "spl/kstat/zfs/arcstats"])
def test_any_other_file_that_makes_no_sense_is_named_and_the_rest_is_read(root: Path, now: Time, name: str) -> None:
    write(root / "proc" / name, b"header\nnonsense\n")
    sense = sense_of(root, now)
    assert sense.snapshot().memory.total == 8 * GIB
    assert list(sense.troubles()) == [f"{root}/proc/{name}: its text makes no sense"]


# --- what a policy wants --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "wants"),
    [
        ("mem.available < 5%", set()),
        ("swap.free < 5%", set()),
        ("swap.effective < 5%", {"zram"}),
        ("zram.used > 5%", {"zram"}),
        ("forecast.exhausted < 5s", {"zram"}),
        ("psi.memory.full > 5% over 2s", {"memory_pressure"}),
        ("psi.io.some.avg10 > 5% or psi.cpu.some > 5%", {"io_pressure", "cpu_pressure"}),
        ("vm.swapin > 5MiB/s and not mem.free > 5%", {"paging"}),
    ],
)
def test_a_policy_wants_what_its_metrics_are_read_from(when: str, wants: set[str]) -> None:
    assert wants_of(parse(f'[[rule]]\nname = "r"\nwhen = "{when}"\n', "p.toml")) == wants
    hidden = f'[[rule]]\nname = "r"\nwhen = "mem.free < 1%"\nuntil = "({when}) for 2s"\n'
    assert wants_of(parse(hidden, "p.toml")) == wants


@pytest.mark.parametrize("name", PRESETS)
def test_presets_want_nothing_that_cannot_be_read(name: str) -> None:
    assert wants_of(load(name)) <= EVERYTHING


# --- the clock of a recording ---------------------------------------------------------------------------------------


def test_the_clock_of_a_recording(root: Path) -> None:
    assert recorded_clock(str(root)) == 1000.0


@pytest.mark.parametrize("text", [None, b"", b"now", b"1 2", b"nan", b"inf", b"1e999", b"\xff"])
def test_a_recording_without_a_clock_is_unreadable(root: Path, text: bytes | None) -> None:
    (root / "clock").unlink()
    if text is not None:
        (root / "clock").write_bytes(text)
    with pytest.raises(Unreadable, match="clock"):
        recorded_clock(str(root))
