"""What is read of cgroups: each field, what is wrong with files, and what need not be read at all."""

from __future__ import annotations

import errno
import os
import posix
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from okoomer.facts import Cgroup
from okoomer.guard.cgroups import Cgroups
from okoomer.record import Record
from tests.unit.live_cgroups import Hierarchy, ask, build
from tests.unit.machines import GIB, MIB, write

PAGE = os.sysconf("SC_PAGE_SIZE")
STAT = "anon 5\nfile 6\nshmem 1\npgscan 4\npgsteal 3\nworkingset_refault_anon 1\nworkingset_refault_file 1"
IO = "8:0 rbytes=0 wbytes=0 rios=1000 wios=0 dbytes=0 dios=0\n8:16 rbytes=0 wbytes=0 rios=1000 wios=0 dbytes=0 dios=0"
#: Fields by what has to be written for them.
FIELDS: list[tuple[str, dict[str, object], object]] = [
    ("memory", {"memory_current": 7}, 7),
    ("swap", {"memory_swap_current": 8}, 8),
    ("anon", {"memory_stat": STAT}, 5),
    ("file", {"memory_stat": STAT}, 6),
    ("shmem", {"memory_stat": STAT}, 1),
    ("scan", {"memory_stat": STAT}, 4 * PAGE),
    ("steal", {"memory_stat": STAT}, 3 * PAGE),
    ("refault", {"memory_stat": STAT}, 2 * PAGE),
    ("minimum", {"memory_min": 9}, 9),
    ("low", {"memory_low": "max"}, 2**63 - 1),
    ("high", {"memory_high": 10}, 10),
    ("high", {"memory_high": "max"}, None),
    ("maximum", {"memory_max": 11}, 11),
    ("whole", {"memory_oom_group": 1}, True),
    ("populated", {"cgroup_events": "populated 1\nfrozen 0"}, True),
    ("populated", {"cgroup_events": "populated 0"}, False),
    ("frozen", {"cgroup_events": "populated 1\nfrozen 1"}, True),
    ("frozen", {"cgroup_events": "populated 1\nfrozen 0", "cgroup_freeze": 1}, False),
    ("frozen", {"cgroup_freeze": 1}, True),
    ("dying", {"cgroup_stat": "nr_descendants 1\nnr_dying_descendants 3"}, 3),
    ("processes", {"pids_current": 12}, 12),
    ("events", {"memory_events": "low 1\noom_kill 2"}, (("low", 1), ("oom_kill", 2))),
    ("io_cost", {"io_stat": IO}, pytest.approx(1.31 + 12.1)),
    ("left", {"memory_current": 7, "memory_max": 100, "memory_high": 50}, 43),
    ("left", {"memory_current": 70, "memory_max": 100, "memory_high": 50}, 0),
    ("left", {"memory_current": 70, "memory_max": "max", "memory_high": "max"}, None),
]


def one(cgroups: Cgroups, path: str, time: float, *fields: str) -> Cgroup:
    (found,) = cgroups.area(None, path, False, frozenset(fields), time)
    return found


@pytest.mark.parametrize(("field", "files", "value"), FIELDS)
def test_each_field_is_read_from_its_file(tmp_path: Path, field: str, files: dict[str, object], value: object) -> None:
    made = build(tmp_path, {"/a.slice/b": files})
    write(made.folder / "sys/dev/block/8:0/queue/rotational", b"1\n")
    assert getattr(one(Cgroups(made.machine), "/a.slice/b", 10.0, field), field) == value


@pytest.mark.parametrize("field", [name for name in Cgroup._fields if name not in ("path", "inode", "owner")])
def test_what_is_absent_is_what_a_record_has_by_itself(tmp_path: Path, field: str) -> None:
    made = build(tmp_path, ["/a.slice"])
    cgroups = Cgroups(made.machine)
    found = one(cgroups, "/a.slice", 10.0, field)
    assert getattr(found, field) == (0.0 if field == "age" else getattr(Cgroup("/"), field))
    assert list(cgroups.troubles()) == []


def test_no_file_is_opened_that_was_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = build(tmp_path, {"/a.slice": {"memory_current": 7, "memory_stat": STAT, "memory_max": 9}})
    opened = watched(monkeypatch, "open")
    found = one(Cgroups(made.machine), "/a.slice", 10.0, "anon")
    assert [name for name in opened if "memory" in name] == ["memory.stat"]
    assert (found.anon, found.memory, found.maximum) == (5, None, None)


def test_the_true_root_has_what_the_machine_has(tmp_path: Path) -> None:
    made = build(tmp_path)
    write(made.folder / "proc/pressure/memory", b"some avg10=5.00 avg60=0.00 avg300=0.00 total=3000000\n")
    found = one(
        Cgroups(made.machine), "/", 10.0, "memory", "swap", "memory_pressure", "populated", "left", "protection"
    )
    assert (found.memory, found.swap, found.populated, found.left) == (6 * GIB, GIB, True, None)
    assert found.protection == found.memory
    assert found.memory_pressure and found.memory_pressure.some.total == 3.0
    made.put("/", cgroup_events="populated 1", memory_current=5)
    assert one(Cgroups(made.machine), "/", 10.0, "memory").memory == 5


def test_what_is_left_is_the_least_of_its_own_and_of_all_above(tmp_path: Path) -> None:
    made = build(
        tmp_path,
        {
            "/a.slice": {"memory_current": 90, "memory_max": 100},
            "/a.slice/b.slice": {"memory_current": 50, "memory_max": "max"},
            "/a.slice/b.slice/c": {"memory_current": 40, "memory_high": 55},
        },
    )
    cgroups = Cgroups(made.machine)
    found = cgroups.area(None, "/a.slice", True, frozenset(("left",)), 10.0)
    assert [(each.left, each.memory) for each in found] == [(10, 90), (10, 50), (10, 40)]
    made.put("/a.slice", memory_current=20)
    assert one(cgroups, "/a.slice/b.slice/c", 10.1, "left").left == 15


def test_protection_is_shared_among_siblings_that_claim_more_than_there_is(tmp_path: Path) -> None:
    made = build(
        tmp_path,
        {
            "/a.slice": {"memory_current": 100 * MIB, "memory_low": 30 * MIB, "memory_min": 0},
            "/a.slice/b": {"memory_current": 60 * MIB, "memory_low": 40 * MIB},
            "/a.slice/c": {"memory_current": 20 * MIB, "memory_min": "max"},
            "/a.slice/d": {"memory_current": 20 * MIB},
            "/e": {"memory_current": 5 * MIB, "memory_low": 40 * MIB},
            "/f/g": {"memory_current": 5 * MIB, "memory_low": 40 * MIB},
            "/f": {"memory_current": 9 * MIB},
        },
    )
    found = Cgroups(made.machine).area(None, "/", True, frozenset(("protection",)), 10.0)
    kept = {each.path: each.protection for each in found}
    assert kept == {
        "/": 6 * GIB, "/a.slice": 30 * MIB, "/a.slice/b": 20 * MIB, "/a.slice/c": 10 * MIB, "/a.slice/d": 0,
        "/e": 5 * MIB, "/f": 0, "/f/g": 0,
    }  # fmt: skip


# --- what is wrong with files -----------------------------------------------------------------------------------------


def watched(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """The paths that a function of `posix` was called with."""
    called: list[str] = []
    real: Callable[..., Any] = getattr(os, name)

    def call(path: str | int, *arguments: object, **named: object) -> object:
        called.append(str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(posix, name, call)
    return called


def failing(monkeypatch: pytest.MonkeyPatch, name: str, part: str, number: int) -> None:
    """Lets a function of `posix` fail where its path has a part."""
    real: Callable[..., Any] = getattr(os, name)

    def call(path: str, *arguments: object, **named: object) -> object:
        if part in str(path):
            raise OSError(number, os.strerror(number), path)
        return real(path, *arguments, **named)

    monkeypatch.setattr(posix, name, call)


def test_a_file_that_may_not_be_read_hides_no_sibling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, object] = {"memory_oom_group": 1, "memory_current": 5}
    made = build(tmp_path, {"/s/a": files, "/s/b": files, "/s/c": files})
    cgroups = Cgroups(made.machine, keep=0)
    failing(monkeypatch, "open", "/b/memory.oom.group", errno.EACCES)
    ((_, found),) = cgroups.scoped([ask("s/*", "whole", "memory")], 10.0)
    assert [(each.path, each.whole, each.memory) for each in found] == [
        ("/s/a", True, 5), ("/s/b", False, 5), ("/s/c", True, 5),
    ]  # fmt: skip
    assert list(cgroups.troubles()) == [f"{made.mount}/s/b/memory.oom.group: Permission denied"]
    monkeypatch.undo()
    assert one(cgroups, "/s/b", 12.5, "whole").whole
    assert list(cgroups.troubles()) == []


@pytest.mark.parametrize("nonsense", ["", "many", "-", "9" * 40, "\x00", "12 13"])
def test_a_number_that_makes_no_sense_leaves_the_last_one_standing(tmp_path: Path, nonsense: str) -> None:
    made = build(tmp_path, {"/a": {"memory_current": nonsense}})
    cgroups = Cgroups(made.machine)
    assert one(cgroups, "/a", 10.0, "memory").memory is None
    made.put("/a", memory_current=5)
    assert one(cgroups, "/a", 12.0, "memory").memory == 5
    assert list(cgroups.troubles()) == []
    made.put("/a", memory_current=nonsense)
    assert one(cgroups, "/a", 12.1, "memory").memory == 5
    assert list(cgroups.troubles()) == [f"{made.mount}/a/memory.current: its text makes no sense"]


def test_however_many_are_wrong_few_are_told(tmp_path: Path) -> None:
    made = build(tmp_path, {f"/s/{number}": {"memory_current": "what"} for number in range(100)})
    cgroups = Cgroups(made.machine)
    ((_, found),) = cgroups.scoped([ask("s/*", "memory")], 10.0)
    assert {each.memory for each in found} == {None} and len(found) == 100
    assert len(list(cgroups.troubles())) == 16


FILES: dict[str, object] = {
    "memory_current": 5, "memory_stat": STAT, "cgroup_events": "populated 1", "io_stat": IO, "memory_max": 9,
    "memory_pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", "memory_low": 3,
}  # fmt: skip
EVERY = frozenset(Cgroup._fields) - {"path", "inode", "owner", "leaf"}


@pytest.mark.parametrize("after", range(24))
def test_one_may_vanish_between_any_two_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    made = build(tmp_path, {"/s/a": FILES, "/s/b": FILES, "/s/c": FILES})
    cgroups = Cgroups(made.machine)
    if after % 2:
        cgroups.area(None, "/s", True, EVERY, 8.0)
    real, calls = os.pread, []

    def pread(fd: int, size: int, offset: int) -> bytes:
        calls.append(fd)
        if len(calls) > after and "/s/b/" in str(Path(f"/proc/self/fd/{fd}").readlink()):
            if (made.mount / "s/b").exists():
                made.remove("/s/b")
            raise OSError(errno.ENODEV, "No such device")
        return real(fd, size, offset)

    monkeypatch.setattr(posix, "pread", pread)
    found = cgroups.area(None, "/s", True, EVERY, 10.0)
    assert {each.path for each in found} >= {"/s", "/s/a", "/s/c"}
    assert all(each.memory == 5 for each in found if each.path in ("/s/a", "/s/c"))
    if not (made.mount / "s/b").exists():
        assert [each.path for each in found if each.path == "/s/b"] == []
        monkeypatch.undo()
        assert cgroups.area(None, "/s/b", False, EVERY, 10.1) == ()
    assert list(cgroups.troubles()) == []
    cgroups.close()


# --- what need not be read --------------------------------------------------------------------------------------------


def crowd(folder: Path, count: int) -> Hierarchy:
    made = build(folder)
    for number in range(count):
        path = f"/{'even' if number % 2 == 0 else 'odd'}.slice/{number:04}"
        made.put(path)
        made.stall(path, 0.0)
    for path in ("/", "/even.slice", "/odd.slice"):
        made.stall(path, 0.0)
    return made


def test_while_nothing_stalls_one_file_tells_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = crowd(tmp_path, 60)
    cgroups = Cgroups(made.machine)
    asked = [ask("*/*", "memory_pressure"), ask("odd.slice/*", "memory_pressure")]
    before = cgroups.scoped(asked, 10.0)
    opened, read = watched(monkeypatch, "open"), watched(monkeypatch, "pread")
    assert cgroups.scoped(asked, 10.1) == before
    assert (len(opened), len(read)) == (0, 1)


def test_only_where_something_stalled_above_it_is_looked_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = crowd(tmp_path, 60)
    cgroups = Cgroups(made.machine)
    asked = [ask("*/*", "memory_pressure")]
    cgroups.scoped(asked, 10.0)
    for path in ("/", "/odd.slice", "/odd.slice/0007"):
        made.stall(path, 0.5)
    read = watched(monkeypatch, "pread")
    ((_, found),) = cgroups.scoped(asked, 10.1)
    assert [each.path for each in found if each.memory_pressure and each.memory_pressure.some.total] == [
        "/odd.slice/0007"
    ]
    assert len(read) == 1 + 2 + 30


def test_a_stall_that_was_rounded_away_above_is_seen_soon(tmp_path: Path) -> None:
    made = crowd(tmp_path, 20)
    cgroups = Cgroups(made.machine)
    asked = [ask("odd.slice/0007", "memory_pressure")]
    cgroups.scoped(asked, 10.0)
    made.stall("/odd.slice/0007", 0.5)

    def total(time: float) -> float:
        ((_, (found,)),) = cgroups.scoped(asked, time)
        assert found.memory_pressure
        return found.memory_pressure.some.total

    assert total(10.1) == 0.0
    assert total(13.1) == 0.5


def test_averages_that_fall_are_read_though_nothing_stalls(tmp_path: Path) -> None:
    made = crowd(tmp_path, 2)
    text = "some avg10={0} avg60=1.00 avg300=1.00 total=5\nfull avg10={0} avg60=1.00 avg300=1.00 total=5"
    made.put("/odd.slice/0001", memory_pressure=text.format("40.00"))
    cgroups = Cgroups(made.machine)
    asked = [ask("odd.slice/*", "memory_pressure")]
    cgroups.scoped(asked, 10.0)
    made.put("/odd.slice/0001", memory_pressure=text.format("10.00"))
    ((_, (found,)),) = cgroups.scoped(asked, 12.0)
    assert found.memory_pressure and found.memory_pressure.some.avg10 == 0.1


def test_a_group_without_an_account_hides_none_below_it(tmp_path: Path) -> None:
    made = crowd(tmp_path, 4)
    (made.mount / "odd.slice/memory.pressure").unlink()
    cgroups = Cgroups(made.machine)
    asked = [ask("*/*", "memory_pressure")]
    cgroups.scoped(asked, 10.0)
    made.stall("/odd.slice/0003", 0.5)
    ((_, found),) = cgroups.scoped(asked, 10.1)
    assert [each.memory_pressure.some.total for each in found if each.memory_pressure] == [0, 0, 0, 0.5]


def test_limits_are_read_now_and_then_and_sizes_each_time(tmp_path: Path) -> None:
    made = build(tmp_path, {"/a": {"memory_current": 5, "memory_max": 10}})
    cgroups = Cgroups(made.machine)
    found = one(cgroups, "/a", 10.0, "left", "maximum")
    assert (found.left, found.maximum) == (5, 10)
    made.put("/a", memory_current=6, memory_max=20)
    found = one(cgroups, "/a", 10.1, "left", "maximum")
    assert (found.left, found.maximum) == (4, 10)
    found = one(cgroups, "/a", 12.1, "left", "maximum")
    assert (found.left, found.maximum) == (14, 20)


def test_what_has_not_changed_is_the_same_record(tmp_path: Path) -> None:
    made = build(tmp_path, {"/a": {"memory_current": 5}})
    cgroups = Cgroups(made.machine)
    first: Record = one(cgroups, "/a", 10.0, "memory")
    assert one(cgroups, "/a", 10.1, "memory") is first
    made.put("/a", memory_current=6)
    assert one(cgroups, "/a", 10.2, "memory").memory == 6
