"""Scanning: who could matter, seen through files that may vanish or lie at any moment."""

from __future__ import annotations

import os
import posix
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okoomer.facts import Process
from okoomer.guard.scan import CLOSELY, FLOOR, Scan, descendants, group_of, look, scan, still
from okoomer.kernel import clock
from tests.unit.machines import GIB, MIB, PAGE, App, build, write

NOTHING: frozenset[str] = frozenset()


def scanned(
    root: Path,
    *apps: App,
    now: float = 1000.0,
    swap_used: int = 0,
    wants: frozenset[str] = NOTHING,
    floor: int = FLOOR,
    earlier: Scan | None = None,
) -> Scan:
    """A scan of a machine with these processes and init."""
    shutil.rmtree(root / "m", ignore_errors=True)
    machine = build(root / "m", apps=apps)
    return scan(f"{machine}/proc", now, swap_used, wants, floor, earlier)


def by_pid(found: Scan) -> dict[int, Process]:
    return {process.pid: process for process in found.processes}


# --- who is looked at -----------------------------------------------------------------------------------------------


def test_a_process_is_seen_with_all_that_a_choice_needs(tmp_path: Path) -> None:
    app = App(
        42,
        b"hog",
        anon=300 * MIB,
        swap=20 * MIB,
        shmem=8 * MIB,
        file=12 * MIB,
        started=900.25,
        session=40,
        terminal=34816,
        threads=9,
        adjustment=200,
        oom_score=777,
        command=b"/bin/hog\0--all\0",
        cgroup=b"/user.slice/hog.scope",
    )
    found = scanned(tmp_path, app, wants=frozenset(("cmdline", "cgroup", "oom_score", "exe")))
    assert by_pid(found)[42] == Process(
        pid=42,
        parent=1,
        name="hog",
        started=900.25,
        user=1000,
        group=42,
        session=40,
        terminal=True,
        threads=9,
        anon=300 * MIB,
        swap=20 * MIB,
        shmem=8 * MIB,
        file=12 * MIB,
        adjustment=200,
        oom_score=777,
        command="/bin/hog --all",
        cgroup="/user.slice/hog.scope",
    )
    assert (found.time, found.seen) == (1000.0, 2)


@pytest.mark.parametrize(
    ("wants", "field"),
    [
        ("cmdline", "command"),
        ("unit", "cgroup"),
        ("cgroup", "cgroup"),
        ("oom_score", "oom_score"),
        ("environ", "environment"),
        ("cgroup1", "cgroup1"),
    ],
)
def test_text_that_no_selector_asks_for_is_not_read(tmp_path: Path, wants: str, field: str) -> None:
    app = App(42, anon=9 * MIB, command=b"x", cgroup=b"/x", oom_score=5, environment=b"A=1\0B=2\0", cgroup1=b"/y")
    assert not getattr(by_pid(scanned(tmp_path, app))[42], field)
    assert getattr(by_pid(scanned(tmp_path, app, wants=frozenset((wants,))))[42], field)


@pytest.mark.parametrize(("size", "seen"), [(FLOOR, True), (FLOOR - PAGE, False)])
def test_nobody_below_the_floor_is_looked_at(tmp_path: Path, size: int, seen: bool) -> None:
    found = scanned(tmp_path, App(42, anon=size, file=0))
    assert (42 in by_pid(found)) is seen
    assert found.seen == 2


def test_what_might_be_in_swap_counts_for_the_floor_as_far_as_swap_is_used(tmp_path: Path) -> None:
    sleeper = App(42, anon=PAGE, file=0, swap=300 * MIB)
    assert 42 not in by_pid(scanned(tmp_path, sleeper, swap_used=0))
    assert 42 not in by_pid(scanned(tmp_path, sleeper, swap_used=FLOOR - 2 * PAGE))
    assert by_pid(scanned(tmp_path, sleeper, swap_used=GIB))[42].swap == 300 * MIB


def test_of_too_many_the_biggest_are_looked_at(tmp_path: Path) -> None:
    crowd = [App(1000 + n, anon=(4 + n % 50) * MIB) for n in range(CLOSELY + 40)]
    hogs = [App(90, anon=GIB), App(91, anon=2 * GIB)]
    found = scanned(tmp_path, *crowd, *hogs)
    assert {90, 91} <= set(by_pid(found))
    assert len(set(by_pid(found)) - {1}) == CLOSELY
    assert found.seen == 1 + len(crowd) + len(hogs)


def test_ancestors_are_known_however_small_without_their_sizes(tmp_path: Path) -> None:
    found = scanned(
        tmp_path,
        App(10, b"sshd", file=0, anon=PAGE),
        App(20, b"bash", parent=10, file=0, anon=PAGE),
        App(30, b"hog", parent=20, anon=GIB),
        App(40, b"idle", parent=20, file=0, anon=PAGE),
    )
    processes = by_pid(found)
    assert set(processes) == {1, 10, 20, 30}
    assert [processes[pid].parent for pid in (30, 20, 10, 1)] == [20, 10, 1, 0]
    assert processes[20].name == "bash" and processes[20].anon == 0


def test_ancestors_have_their_user_where_somebody_asks_for_users(tmp_path: Path) -> None:
    apps = App(20, b"make", file=0, anon=PAGE, user=1001), App(30, b"hog", parent=20, anon=GIB, user=1001)
    asked = scanned(tmp_path, *apps, wants=frozenset(("user",)))
    assert by_pid(asked)[20].user == 1001
    assert by_pid(scanned(tmp_path, *apps))[20].user == 0


@pytest.mark.timeout(60)
def test_parents_in_a_circle_end_the_climb(tmp_path: Path) -> None:
    found = scanned(tmp_path, App(5, parent=6, anon=9 * MIB), App(6, parent=5, anon=PAGE, file=0))
    assert {5, 6} <= set(by_pid(found))


# --- growth ---------------------------------------------------------------------------------------------------------


def growth(root: Path, before: list[App], after: list[App], seconds: float = 4.0) -> dict[int, float | None]:
    earlier = scanned(root, *before, now=1000.0)
    later = scanned(root, *after, now=1000.0 + seconds, earlier=earlier)
    return {process.pid: process.growth for process in later.processes}


def test_growth_is_the_difference_to_an_earlier_scan(tmp_path: Path) -> None:
    before = [App(5, anon=100 * MIB), App(6, anon=100 * MIB, swap=8 * MIB), App(7, anon=64 * MIB)]
    after = [App(5, anon=140 * MIB), App(6, anon=60 * MIB, swap=48 * MIB), App(7, anon=32 * MIB)]
    found = growth(tmp_path, before, after)
    assert (found[5], found[6], found[7]) == (10 * MIB, 0.0, -8 * MIB)


def test_who_was_below_the_floor_has_grown_from_there_at_least(tmp_path: Path) -> None:
    assert growth(tmp_path, [App(5, anon=PAGE, file=0)], [App(5, anon=80 * MIB)])[5] == (80 * MIB - FLOOR) / 4


def test_without_an_earlier_scan_only_the_young_have_grown(tmp_path: Path) -> None:
    young, old = App(5, anon=100 * MIB, started=998.0), App(6, anon=100 * MIB, started=900.0)
    processes = by_pid(scanned(tmp_path, young, old, now=1000.0))
    assert (processes[5].growth, processes[6].growth) == (50 * MIB, None)


def test_a_process_of_this_instant_does_not_grow_without_bounds(tmp_path: Path) -> None:
    assert by_pid(scanned(tmp_path, App(5, anon=100 * MIB, started=1000.0)))[5].growth == 1000 * MIB


def test_a_pid_that_was_used_again_grew_since_its_own_start(tmp_path: Path) -> None:
    before = [App(5, b"old", anon=GIB, started=100.0)]
    after = [App(5, b"new", anon=100 * MIB, started=1002.0)]
    assert growth(tmp_path, before, after)[5] == 50 * MIB


def test_a_scan_of_the_same_instant_tells_no_growth(tmp_path: Path) -> None:
    apps = [App(5, anon=100 * MIB)]
    assert growth(tmp_path, apps, apps, seconds=0.0)[5] is None


# --- what vanishes or lies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stat", "status", "statm"])
@pytest.mark.parametrize("text", [None, b"", b"nonsense", b"1 2 3", b"9" * 4096])
def test_a_process_without_its_files_is_left_out(tmp_path: Path, name: str, text: bytes | None) -> None:
    machine = build(tmp_path, apps=[App(5, anon=GIB), App(6, anon=GIB)])
    (machine / "proc/5" / name).unlink()
    if text is not None:
        write(machine / "proc/5" / name, text)
    found = scan(f"{machine}/proc", 1000.0, 0, NOTHING)
    assert 5 not in by_pid(found) and 6 in by_pid(found)


@pytest.mark.parametrize("name", ["cmdline", "cgroup", "oom_score_adj", "oom_score"])
def test_a_process_without_its_texts_still_counts(tmp_path: Path, name: str) -> None:
    machine = build(tmp_path, apps=[App(5, anon=GIB, command=b"x", cgroup=b"/x", adjustment=7, oom_score=8)])
    (machine / "proc/5" / name).unlink()
    process = look(f"{machine}/proc", 5, frozenset(("cmdline", "cgroup", "oom_score")))
    assert process is not None and process.anon == GIB
    kept = {"cmdline": process.command, "cgroup": process.cgroup}
    kept |= {"oom_score_adj": str(process.adjustment or ""), "oom_score": str(process.oom_score or "")}
    assert [file for file, value in kept.items() if not value] == [name]


@pytest.mark.parametrize("at", ["statm", "stat", "status"])
def test_a_process_that_ends_while_it_is_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    machine = build(tmp_path, apps=[App(5, anon=GIB), App(6, anon=GIB)])

    real = os.open

    def open_then(path: str | bytes, *arguments: int, **options: Any) -> int:
        if os.fsdecode(path).endswith(f"/5/{at}"):
            shutil.rmtree(machine / "proc/5")
        return real(path, *arguments, **options)

    monkeypatch.setattr(posix, "open", open_then)
    found = scan(f"{machine}/proc", 1000.0, 0, NOTHING)
    assert not (machine / "proc/5").exists()
    assert 6 in by_pid(found) and 5 not in by_pid(found)


def test_a_parent_that_has_gone_ends_the_climb(tmp_path: Path) -> None:
    assert set(by_pid(scanned(tmp_path, App(30, parent=29, anon=GIB)))) == {1, 30}


def test_a_machine_without_processes_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        scan(f"{tmp_path}/absent", 0.0, 0, NOTHING)


@given(st.binary(max_size=15), st.binary(max_size=40))
@settings(max_examples=25, deadline=None)
def test_hostile_names_change_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, name: bytes, command: bytes
) -> None:
    root = tmp_path_factory.mktemp("machine")
    app = App(7, name, parent=1, anon=64 * MIB, command=command, terminal=3, threads=2)
    process = by_pid(scanned(root, app, wants=frozenset(("cmdline",))))[7]
    assert (process.pid, process.parent, process.anon, process.threads) == (7, 1, 64 * MIB, 2)
    assert process.terminal and not process.kernel_thread


# --- the same process? ----------------------------------------------------------------------------------------------


def test_a_pid_is_still_the_process_only_with_the_same_start(tmp_path: Path) -> None:
    machine = build(tmp_path, apps=[App(5, anon=GIB, started=77.0)])
    proc = f"{machine}/proc"
    process = look(proc, 5, NOTHING)
    assert process and still(proc, process)
    for name, content in App(5, anon=GIB, started=78.0).files().items():
        write(machine / "proc/5" / name, content)
    assert not still(proc, process)
    write(machine / "proc/5/stat", b"")
    assert not still(proc, process)
    shutil.rmtree(machine / "proc/5")
    assert not still(proc, process)


def test_descendants_are_found_by_the_lists_of_the_kernel(tmp_path: Path) -> None:
    apps = [App(5), App(6, parent=5), App(7, parent=6), App(8, parent=5)]
    machine = build(tmp_path, apps=apps)
    for pid, task, children in ((5, 5, b"6 "), (5, 55, b"8 9 "), (6, 6, b"7 "), (7, 7, b"5 ")):
        write(machine / f"proc/{pid}/task/{task}/children", children)
    found = descendants(f"{machine}/proc", [5], {5, 8}, NOTHING)
    assert [process.pid for process in found] == [6, 7]


def test_this_machine_can_be_scanned() -> None:
    found = scan("/proc", clock.since_boot(), 0, frozenset(("cmdline", "cgroup", "exe")), floor=0)
    me = by_pid(found)[os.getpid()]
    assert me.parent == os.getppid() and me.anon > MIB and me.user == os.geteuid()
    assert "python" in me.executable
    assert found.seen >= len(found.processes)


def test_a_process_group_is_found_whatever_the_size_of_its_members(tmp_path: Path) -> None:
    proc = f"{build(tmp_path / 'm', apps=(App(42, anon=9 * MIB), App(43), App(44)))}/proc"
    assert [process.pid for process in group_of(proc, 43, {42}, frozenset())] == [43]
    assert group_of(proc, 43, {43}, frozenset()) == []
    assert group_of(proc, 43, set(), frozenset(), lambda process: process.pid == 43) == []
