"""Cgroups as scopes and choices ask for them: areas, members and marks, on live machines and on recorded ones."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from okoomer.guard.cgroups import Cgroups
from okoomer.kernel.cgroup import mount
from okoomer.kernel.machine import LIVE, Machine, recorded
from okoomer.policy.model import Scope
from okoomer.policy.scope import scope_of
from okoomer.policy.wants import Want
from tests.unit import machines
from tests.unit.live_cgroups import ask, build
from tests.unit.machines import MIB, App, stalls, write

FIELDS = frozenset(("memory",))
TREE = {f"/{path}": {"memory_current": 5} for path in ("a/b/c", "a/b", "a/d", "a", "e")}


@pytest.mark.parametrize(
    ("among", "base", "deep", "found"),
    [
        (None, "/", False, ["/"]),
        (None, "/", True, ["/", "/a", "/a/b", "/a/b/c", "/a/d", "/e"]),
        (None, "/a/b", True, ["/a/b", "/a/b/c"]),
        (None, "/none", True, []),
        ("*", "/a", False, ["/a", "/e"]),
        ("a/*", "/", True, ["/a/b", "/a/b/c", "/a/d"]),
        ("a,a/b", "/", True, ["/a", "/a/b", "/a/b/c", "/a/d"]),
    ],
)
def test_an_area_is_what_a_choice_is_made_among(
    tmp_path: Path, among: str | None, base: str, deep: bool, found: list[str]
) -> None:
    cgroups = Cgroups(build(tmp_path, TREE).machine)
    area = cgroups.area(scope_of(among) if among else None, base, deep, FIELDS, 10.0)
    assert [one.path for one in area] == found
    assert [one.memory for one in area if one.path != "/"] == [5] * (len(found) - ("/" in found))
    assert [one.leaf for one in area] == [one.path in ("/a/b/c", "/a/d", "/e") for one in area]


@pytest.mark.parametrize(
    ("base", "found"), [("/a", ["/a/b", "/a/d"]), ("/a/b", ["/a/b/c"]), ("/", ["/a", "/e"]), ("/x", [])]
)
def test_a_relative_scope_begins_at_the_rules_own_cgroup(tmp_path: Path, base: str, found: list[str]) -> None:
    every = scope_of("*")
    relative = Scope("./*", every.paths, relative=True)
    area = Cgroups(build(tmp_path, TREE).machine).area(relative, base, False, FIELDS, 10.0)
    assert [one.path for one in area] == found


def test_the_members_are_those_of_all_below(tmp_path: Path) -> None:
    made = build(tmp_path, TREE)
    made.put("/a", cgroup_procs="1\n2")
    made.put("/a/b", cgroup_procs="")
    made.put("/a/b/c", cgroup_procs="\n".join(map(str, range(10, 5000))))
    made.put("/a/d", cgroup_procs="0\n3\n0")
    made.put("/e", cgroup_procs="7")
    cgroups = Cgroups(made.machine)
    assert sorted(cgroups.members("/a")) == [1, 2, 3, *range(10, 5000)]
    assert cgroups.members("/e") == [7]
    assert cgroups.members("/gone") == []


def test_without_a_hierarchy_processes_tell_where_they_are(tmp_path: Path) -> None:
    apps = [App(5, cgroup=b"/a"), App(6, cgroup=b"/a/b"), App(7, cgroup=b"/ab"), App(8, cgroup=b"/")]
    folder = machines.build(tmp_path, apps=apps)
    cgroups = Cgroups(Machine(f"{folder}/proc", f"{folder}/sys"))
    assert sorted(cgroups.members("/a")) == [5, 6]
    assert sorted(cgroups.members("/")) == [1, 5, 6, 7, 8]
    assert cgroups.scoped([ask("a")], 1.0) == ()
    assert cgroups.tags("/a") == () and cgroups.directory("/a") is None
    assert list(cgroups.troubles()) == []


def test_marks_are_names_of_attributes(tmp_path: Path) -> None:
    made = build(tmp_path, TREE)
    try:
        os.setxattr(made.mount / "a/b", "user.oomd_avoid", b"1")
    except OSError:
        pytest.skip("this file system keeps no attributes")
    cgroups = Cgroups(made.machine)
    assert cgroups.tags("/a/b") == ("user.oomd_avoid",)
    assert [one.tags for one in cgroups.area(None, "/a", True, frozenset(("tags",)), 1.0)] == [
        (), ("user.oomd_avoid",), (), (),
    ]  # fmt: skip


@pytest.mark.parametrize(("tag", "found"), [("user.oomd_prefer", ["/a/b"]), ("user.other", [])])
def test_of_a_scope_with_a_mark_only_those_count_that_have_it(tmp_path: Path, tag: str, found: list[str]) -> None:
    cgroups = Cgroups(recording(tmp_path, 5 * MIB, 10.0))
    every = scope_of("*,*/*")
    marked = Scope(f"*,*/* with {tag}", every.paths, tag=tag)
    assert [one.path for one in cgroups.area(marked, "/", False, FIELDS, 1.0)] == found
    ((text, scoped),) = cgroups.scoped([Want(marked, frozenset(("tags",)))], 1.0)
    assert (text, [one.path for one in scoped]) == (marked.text, found)


# --- recorded machines ------------------------------------------------------------------------------------------------


def recording(folder: Path, memory: int, clock: float) -> Machine:
    machines.build(
        folder,
        clock,
        apps=[App(5, cgroup=b"/a/b"), App(6, cgroup=b"/c")],
        cgroups={
            "/": {"cgroup.controllers": "memory\n"},
            "/a/b": {"memory.current": f"{memory}\n", "memory.pressure": stalls(memory / MIB).decode()},
            "/c": {"memory.current": "1\n", "cgroup.procs": "9\n"},
            "/d": {"memory.current": "1\n"},
        },
        marks={"/a/b": {"user.oomd_prefer": "1"}, "/c": {"trusted.oomd_avoid": "1", "user.x": ""}},
    )
    return recorded(str(folder))


def test_a_recorded_machine_answers_as_it_would_have(tmp_path: Path) -> None:
    cgroups = Cgroups(recording(tmp_path, 5 * MIB, 10.0))
    area = {one.path: one for one in cgroups.area(None, "/", True, FIELDS | {"populated", "tags"}, 10.0)}
    assert {path: (one.memory, one.populated, one.tags) for path, one in area.items() if path != "/"} == {
        "/a": (None, True, ()),
        "/a/b": (5 * MIB, True, ("user.oomd_prefer",)),
        "/c": (1, True, ("trusted.oomd_avoid", "user.x")),
        "/d": (1, False, ()),
    }
    assert {one.owner for one in area.values()} == {0}
    assert cgroups.members("/a") == [5]
    assert set(cgroups.members("/c")) == {9}
    assert cgroups.tags("/a/b") == ("user.oomd_prefer",)
    assert cgroups.exists("/a/b", area["/a/b"].inode)
    assert not cgroups.exists("/c", area["/a/b"].inode)


def test_in_successive_recordings_a_cgroup_is_the_same_and_grows_older(tmp_path: Path) -> None:
    cgroups = Cgroups(recording(tmp_path / "1", 5 * MIB, 10.0))
    asked = [ask("a/*", "memory", "age", "memory_pressure")]
    ((_, (first,)),) = cgroups.scoped(asked, 10.0)
    cgroups.turn(recording(tmp_path / "2", 7 * MIB, 10.2))
    ((_, (second,)),) = cgroups.scoped(asked, 10.2)
    assert first.inode == second.inode > 0
    assert (first.age, second.age) == (0.0, pytest.approx(0.2))
    assert (first.memory, second.memory) == (5 * MIB, 7 * MIB)
    assert first.memory_pressure and second.memory_pressure
    assert (first.memory_pressure.some.total, second.memory_pressure.some.total) == (5.0, 7.0)


def test_owners_are_written_down_beside_a_recording(tmp_path: Path) -> None:
    machine = recording(tmp_path, 1, 1.0)
    write(tmp_path / "owners.json", b'{"/a/b": 1000, "/c": "who"}')
    owners = {one.path: one.owner for one in Cgroups(machine).area(None, "/", True, frozenset(), 1.0)}
    assert owners == {"/": 0, "/a": 0, "/a/b": 1000, "/c": 0, "/d": 0}


@pytest.mark.parametrize("text", [b"", b"[]", b"nonsense", b'{"/c": 5}', b"[" * 100000, b"\xff"])
def test_marks_that_make_no_sense_are_none(tmp_path: Path, text: bytes) -> None:
    machine = recording(tmp_path, 1, 1.0)
    write(tmp_path / "xattrs.json", text)
    assert Cgroups(machine).tags("/c") == ()


def test_a_recording_may_lie_behind_links(tmp_path: Path) -> None:
    recording(tmp_path / "real", 5 * MIB, 10.0)
    (tmp_path / "link/sys/fs").mkdir(parents=True)
    (tmp_path / "link/sys/fs/cgroup").symlink_to(tmp_path / "real/sys/fs/cgroup")
    (found,) = Cgroups(recorded(str(tmp_path / "link"))).area(None, "/a/b", False, FIELDS, 10.0)
    assert found.memory == 5 * MIB


def test_a_recording_without_cgroups_has_none(tmp_path: Path) -> None:
    write(tmp_path / "proc/meminfo", b"")
    assert Cgroups(recorded(str(tmp_path))).scoped([ask("*")], 1.0) == ()


# --- the kernel's own -------------------------------------------------------------------------------------------------


@pytest.fixture
def ours() -> Iterator[str]:
    """A cgroup of the machine that the tests run on."""
    path = f"/okoomer-test-{os.getpid()}"
    directory = Path((mount() or "/proc") + path)
    try:
        directory.mkdir()
    except OSError:
        pytest.skip("no cgroup can be made here")
    yield path
    for each in (directory / "below", directory):
        with contextlib.suppress(OSError):
            each.rmdir()


def test_a_real_cgroup_comes_goes_and_comes_again(ours: str) -> None:
    directory = Path((mount() or "") + ours)
    cgroups = Cgroups(LIVE)
    asked = [ask(f"{ours[1:]}*", "memory_pressure", "populated", "frozen", "dying")]
    now = time.monotonic()
    ((_, (first,)),) = cgroups.scoped(asked, now)
    assert (first.path, first.leaf, first.populated, first.frozen, first.dying) == (ours, True, False, False, 0)
    assert first.inode == directory.stat().st_ino
    (directory / "below").mkdir()
    area = cgroups.area(None, ours, True, frozenset(("populated",)), now + 10)
    assert [(one.path, one.leaf) for one in area] == [(ours, False), (f"{ours}/below", True)]
    (directory / "below").rmdir()
    directory.rmdir()
    # What is read at each look has descriptors that were kept: they never read what has the same name later.
    directory.mkdir()
    ((_, found),) = cgroups.scoped(asked, now + 10.1)
    assert found == () or found[0].inode != first.inode
    ((_, (second,)),) = cgroups.scoped(asked, now + 12)
    assert second.inode == directory.stat().st_ino != first.inode
    assert not cgroups.exists(ours, first.inode)
    assert cgroups.exists(ours, second.inode)
    assert list(cgroups.troubles()) == []
    cgroups.close()
