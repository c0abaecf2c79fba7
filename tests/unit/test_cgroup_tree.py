"""Which cgroups a scope names, while they come and go and are many."""

from __future__ import annotations

import gc
import os
import posix
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from okoomer.guard import cgroup_tree
from okoomer.guard.cgroups import Cgroups
from okoomer.policy.scope import scope_of
from tests.unit.descriptors import descriptors
from tests.unit.live_cgroups import Hierarchy, ask, build

TREE = (
    "/a.slice", "/a.slice/one.service", "/a.slice/two.service", "/a.slice/deep.slice/three.service",
    "/b.slice/one.service", "/.hidden/one.service", "/a.slice/two.service/inner",
)  # fmt: skip


def paths(cgroups: Cgroups, text: str, time: float = 10.0) -> list[str]:
    ((told, found),) = cgroups.scoped([ask(text)], time)
    assert told == scope_of(text).text
    return [one.path for one in found]


@pytest.fixture
def quick() -> Iterator[Path]:
    """A folder in memory, if there is one: thousands of files take their time on a disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder) / "machine"


def open_files() -> int:
    gc.collect()  # or it would happen between two counts
    return len(descriptors())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a.slice", ["/a.slice"]),
        ("/a.slice/", ["/a.slice"]),
        ("*", ["/a.slice", "/b.slice"]),
        ("a.slice/*.service", ["/a.slice/one.service", "/a.slice/two.service"]),
        ("*/one.service", ["/a.slice/one.service", "/b.slice/one.service"]),
        ("*/*/*", ["/a.slice/deep.slice/three.service", "/a.slice/two.service/inner"]),
        ("*.slice/{two,one}.service", ["/a.slice/one.service", "/a.slice/two.service", "/b.slice/one.service"]),
        ("a.slice/one.service,a.slice/*", ["/a.slice/deep.slice", "/a.slice/one.service", "/a.slice/two.service"]),
        ("/", ["/"]),
        ("none,none/*", []),
        (".hidden/*", ["/.hidden/one.service"]),
        ("a.slice/[!o]*.service", ["/a.slice/two.service"]),
    ],
)
def test_a_scope_names_what_its_globs_match(tmp_path: Path, text: str, named: list[str]) -> None:
    cgroups = Cgroups(build(tmp_path, TREE).machine)
    assert sorted(paths(cgroups, text)) == named
    assert list(cgroups.troubles()) == []
    cgroups.close()


def test_nothing_is_looked_at_if_nothing_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroups = Cgroups(build(tmp_path, TREE).machine)
    for name in ("open", "stat", "scandir", "listdir"):
        monkeypatch.setattr(posix, name, None)
    assert cgroups.scoped((), 10.0) == ()


def test_only_directories_that_can_match_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = build(tmp_path, TREE)
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(posix, "scandir", lambda path: listed.append(path) or scandir(path))  # type: ignore[func-returns-value]
    cgroups = Cgroups(made.machine)
    paths(cgroups, "a.slice/one.service")
    assert not listed
    paths(cgroups, "a.slice/*.service/*")
    assert listed == [f"{made.mount}/{path}" for path in ("a.slice", "a.slice/one.service", "a.slice/two.service")]


@pytest.mark.parametrize("text", ["a.slice/*", "a.slice/new.service", "*/new.service"])
def test_one_that_comes_is_seen_within_a_second(tmp_path: Path, text: str) -> None:
    made = build(tmp_path, TREE)
    cgroups = Cgroups(made.machine)
    before = paths(cgroups, text)
    made.put("/a.slice/new.service")
    assert paths(cgroups, text, 10.9) == before
    assert sorted(paths(cgroups, text, 11.0)) == sorted([*before, "/a.slice/new.service"])


@pytest.mark.parametrize("text", ["a.slice/*", "a.slice/new.service", "*/new.service"])
def test_one_that_comes_is_seen_by_all_who_ask_though_another_saw_it_first(tmp_path: Path, text: str) -> None:
    made = build(tmp_path, TREE)
    cgroups = Cgroups(made.machine)
    paths(cgroups, text)
    paths(cgroups, "a.slice/*,none")
    made.put("/a.slice/new.service")
    assert "/a.slice/new.service" in paths(cgroups, "a.slice/*,none", 11.5)
    cgroups.area(None, "/a.slice", True, frozenset(), 11.5)
    assert "/a.slice/new.service" in paths(cgroups, text, 11.5)
    made.remove("/a.slice/new.service")
    assert "/a.slice/new.service" not in paths(cgroups, "a.slice/*,none", 13.0)
    assert "/a.slice/new.service" not in paths(cgroups, text, 13.0)


@pytest.mark.parametrize("text", ["a.slice/*", "a.slice/one.service", "*/one.service"])
def test_one_that_goes_is_forgotten_within_a_second_and_its_descriptors_are_given_back(
    tmp_path: Path, text: str
) -> None:
    made = build(tmp_path, TREE)
    made.put("/a.slice/one.service", memory_current=5)
    cgroups = Cgroups(made.machine)
    before = open_files()
    asked = [ask(text, "memory")]
    cgroups.scoped(asked, 10.0)
    held = open_files()
    assert held >= before + 2
    made.remove("/a.slice/one.service")
    ((_, found),) = cgroups.scoped(asked, 11.0)
    assert "/a.slice/one.service" not in [one.path for one in found]
    assert open_files() <= held - 2
    cgroups.close()
    assert open_files() == before


@pytest.mark.parametrize("text", ["a.slice/*", "a.slice/one.service"])
def test_one_that_was_made_anew_is_another(tmp_path: Path, text: str) -> None:
    made = build(tmp_path, TREE)
    made.put("/a.slice/one.service", memory_current=5)
    cgroups = Cgroups(made.machine)
    asked = [ask(text, "memory", "age")]
    first = next(one for one in cgroups.scoped(asked, 10.0)[0][1] if one.path == "/a.slice/one.service")
    (made.mount / "a.slice/one.service").rename(made.mount / "a.slice/gone.service")
    made.put("/a.slice/one.service", memory_current=7)
    second = next(one for one in cgroups.scoped(asked, 12.0)[0][1] if one.path == "/a.slice/one.service")
    assert (first.memory, second.memory) == (5, 7)
    assert first.inode != second.inode
    assert second.age == 0.0
    assert cgroups.exists("/a.slice/one.service", second.inode)
    assert not cgroups.exists("/a.slice/one.service", first.inode)
    assert not cgroups.exists("/a.slice/absent", first.inode)


def test_a_hierarchy_that_goes_and_comes_is_found_again(tmp_path: Path) -> None:
    made = build(tmp_path, TREE)
    cgroups = Cgroups(made.machine)
    assert paths(cgroups, "b.slice") == ["/b.slice"]
    made.remove("/")
    assert cgroups.scoped([ask("b.slice")], 12.0) == ()
    made.put("/b.slice")
    assert paths(cgroups, "b.slice", 14.0) == ["/b.slice"]
    mounts = made.folder / "proc/self/mounts"
    mounts.write_text("")
    assert cgroups.scoped([ask("b.slice")], 100.0) == ()
    assert cgroups.area(None, "/", True, frozenset(), 100.0) == ()


@pytest.mark.parametrize(
    "name", [b"a\nb", b"\xff\xfe", b" ", b"\x1b[31m", b"a\\x2db", "\u202e".encode(), b"{}*[", b"-"]
)
def test_names_may_be_anything(tmp_path: Path, name: bytes) -> None:
    made = build(tmp_path, TREE)
    directory = made.put(f"/b.slice/{os.fsdecode(name)}", memory_current=77)
    cgroups = Cgroups(made.machine)
    ((_, found),) = cgroups.scoped([ask("b.slice/*", "memory")], 10.0)
    (one,) = [one for one in found if one.path != "/b.slice/one.service"]
    assert one.memory == 77
    one.path.encode()  # there is nothing in it that is no text
    (again,) = cgroups.area(None, one.path, False, frozenset(("memory",)), 10.0)
    assert again == one
    (fresh,) = Cgroups(made.machine).area(None, one.path, False, frozenset(("memory",)), 10.0)
    assert fresh == one
    assert cgroups.exists(one.path, one.inode)
    assert cgroups.directory(one.path) == str(directory)


@pytest.mark.parametrize(
    "path", ["/..", "/../../etc", "/./b.slice", "/b.slice/../a.slice", "/b.slice\0", "/b.slice\ud800"]
)
def test_no_path_leads_out_of_the_hierarchy(tmp_path: Path, path: str) -> None:
    cgroups = Cgroups(build(tmp_path, TREE).machine)
    assert cgroups.area(None, path, True, frozenset(), 10.0) == ()
    assert cgroups.members(path) == []
    assert cgroups.directory(path) is None
    assert not cgroups.exists(path, 1)


def test_links_are_not_followed(tmp_path: Path) -> None:
    made = build(tmp_path, TREE)
    (made.mount / "link").symlink_to(made.mount / "a.slice")
    cgroups = Cgroups(made.machine)
    assert paths(cgroups, "*") == ["/a.slice", "/b.slice"]
    assert paths(cgroups, "link") == []


def test_however_deep_somebody_makes_it_it_ends(tmp_path: Path) -> None:
    made = build(tmp_path)
    directory = os.open(made.mount, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("d", dir_fd=directory)
        below = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)
    cgroups = Cgroups(made.machine)
    found = cgroups.area(None, "/", True, frozenset(("memory_pressure", "left", "protection")), 10.0)
    assert len(found) == cgroup_tree.DEEPEST + 1
    assert cgroups.members("/d") == []


def test_however_many_somebody_makes_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = build(tmp_path, [f"/u.slice/{number:03}" for number in range(40)])
    monkeypatch.setattr(cgroup_tree, "MOST", 30)
    cgroups = Cgroups(made.machine)
    assert len(cgroups.area(None, "/", True, frozenset(), 10.0)) == 30
    assert list(cgroups.troubles()) == ["there are more than 30 cgroups: the rest is not looked at"]


def test_a_directory_that_may_not_be_listed_is_told_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build(tmp_path, TREE)
    scandir = os.scandir

    def forbidden(path: str) -> object:
        if str(path).endswith("a.slice"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(posix, "scandir", forbidden)
    cgroups = Cgroups(made.machine)
    assert paths(cgroups, "*/*.service") == ["/b.slice/one.service"]
    assert list(cgroups.troubles()) == [f"{made.mount}/a.slice: Permission denied"]
    monkeypatch.undo()
    assert len(paths(cgroups, "*/*.service", 12.0)) == 3
    assert list(cgroups.troubles()) == []


@pytest.mark.parametrize("count", [1000, 5000])
def test_thousands_are_read_with_few_descriptors_and_given_back(quick: Path, count: int) -> None:
    made = build(quick)
    for number in range(count):
        made.put(f"/s.slice/{number:05}.scope", memory_current=number)
    before = open_files()
    cgroups = Cgroups(made.machine, keep=100)
    asked = [ask("s.slice/*.scope", "memory"), ask("s.slice/*1.scope", "memory", "leaf", "owner")]
    for time in (10.0, 10.1, 11.5):
        (_, every), (_, some) = cgroups.scoped(asked, time)
        assert [one.memory for one in every] == list(range(count))
        assert [one.memory for one in some] == list(range(1, count, 10))
        assert all(one.leaf for one in every)
        assert 0 < open_files() - before <= 100
    made.remove("/s.slice")
    assert cgroups.scoped(asked, 13.0) == (("s.slice/*.scope", ()), ("s.slice/*1.scope", ()))
    assert open_files() <= before + 2
    cgroups.close()
    assert open_files() == before


def test_who_was_asked_for_once_is_forgotten_after_a_while(tmp_path: Path) -> None:
    made: Hierarchy = build(tmp_path)
    for number in range(50):
        made.put(f"/s.slice/{number}", memory_current=1)
    made.put("/t.slice", memory_current=1)
    cgroups = Cgroups(made.machine)
    before = open_files()
    assert len(cgroups.area(None, "/s.slice", True, frozenset(("memory",)), 10.0)) == 51
    assert open_files() > before + 50
    for time in range(11, 80):
        cgroups.scoped([ask("t.slice", "memory")], float(time))
    assert open_files() <= before + 4
