"""Ending whole cgroups: real processes of the test's own, in directories like cgroups and in real ones."""

from __future__ import annotations

import os
from _signal import SIGKILL, SIGTERM
from errno import ENOENT, EPERM
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from okoomer.guard import band as module
from okoomer.guard.band import Band
from okoomer.guard.victim import Hands
from tests.unit.cgroups import FORKS, alive, make, proc_of, real, running
from tests.unit.descriptors import descriptors, left_open
from tests.unit.standing import within

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/system.slice/hog.service"

pytestmark = pytest.mark.timeout(180)


class Place:
    """A hierarchy that only looks like one."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cgroups"
        self.root.mkdir()
        (folder / "proc").mkdir()
        self.hands = Hands(proc_of(folder / "proc", self.root), None)

    def make(self, pids: list[int], path: str = PATH) -> Path:
        return make(self.root, path, pids)

    def enclose(self, inode: int = 0) -> Band:
        band = self.hands.enclose(PATH, inode)
        assert band
        return band


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = descriptors()
    yield
    assert not left_open(before)


def gone(pids: list[int]) -> bool:
    """Whether all of them come to be gone."""
    return within(lambda: not any(map(alive, pids)))


def bears(cgroup: Path) -> bool:
    """Whether one that forks without end comes to have borne some in there."""
    return within(lambda: len((cgroup / "cgroup.procs").read_text().split()) > 3)


# --- which cgroup ---------------------------------------------------------------------------------------------------


def test_a_cgroup_that_is_gone_is_nobody(place: Place) -> None:
    assert place.hands.enclose(PATH, 0) is None


def test_another_cgroup_of_the_same_name_is_nobody(place: Place) -> None:
    folder = place.make([])
    assert place.hands.enclose(PATH, folder.stat().st_ino + 1) is None
    band = place.enclose(folder.stat().st_ino)
    assert band.inode == folder.stat().st_ino
    band.close()


def test_a_link_is_no_cgroup(place: Place) -> None:
    folder = place.make([])
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")
    with pytest.raises(OSError):
        place.hands.enclose(PATH, 0)


@pytest.mark.parametrize("path", ["/", "", "//"])
def test_the_root_is_never_ended(place: Place, path: str) -> None:
    with pytest.raises(PermissionError):
        place.hands.enclose(path, 0)


@pytest.mark.parametrize("number", [SIGKILL, SIGTERM])
@pytest.mark.parametrize("who", [1, os.getpid()])
def test_a_cgroup_that_we_or_the_init_process_are_in_is_never_ended(place: Place, number: int, who: int) -> None:
    with running() as [child]:
        place.make([child])
        make(place.root, f"{PATH}/below", [who])
        band = place.enclose()
        assert band.signal(number) == ((), EPERM)
        with pytest.raises(PermissionError):
            band.exhaust()
        assert alive(child)
        band.close()


# --- process by process ---------------------------------------------------------------------------------------------


def test_where_it_cannot_be_killed_at_once_each_process_is_and_those_below_it(place: Place) -> None:
    with running(count=3) as children:
        folder = place.make(children[:1])
        make(place.root, f"{PATH}/a", children[1:2])
        make(place.root, f"{PATH}/a/b", children[2:])
        band = place.enclose()
        reached, refused = band.signal(SIGKILL)
        assert (sorted(reached), refused) == (sorted(children), 0)
        assert gone(children) and band.pidfds() == []
        assert not band.dead()
        (folder / "cgroup.events").write_text("populated 0\n")
        assert band.dead()
        band.close()


def test_who_is_born_meanwhile_has_the_same_end(place: Place) -> None:
    with running(count=2) as [first, second]:
        folder = place.make([first])
        band = place.enclose()
        assert band.signal(SIGKILL) == ((first,), 0)
        (folder / "cgroup.procs").write_text(f"{second}\n")
        assert not band.dead()
        assert gone([first, second])
        band.close()


def test_who_comes_after_a_sigterm_is_waited_for_and_not_asked(place: Place) -> None:
    with running(count=2) as [first, second]:
        folder = place.make([first])
        band = place.enclose()
        assert band.signal(SIGTERM) == ((first,), 0)
        os.kill(first, SIGKILL)
        assert gone([first])
        (folder / "cgroup.procs").write_text(f"{second}\n")
        assert not band.dead() and len(band.pidfds()) == 1
        assert alive(second) and band.left() == (second,)
        band.close()


@pytest.mark.parametrize("number", [SIGKILL, SIGTERM])
def test_all_get_the_signal_however_few_can_be_held(place: Place, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(module, "HELD", 2)
    with running("import signal; print(1, flush=True); signal.pause()", count=5) as children:
        place.make(children)
        band = place.enclose()
        assert sorted(band.signal(number)[0]) == sorted(children)
        assert gone(children)
        band.close()


def test_a_pid_that_is_not_in_it_any_more_once_it_is_held_is_left_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(count=2) as [inside, outside]:
        folder = place.make([inside, outside])

        def hold(pid: int, open_now: object = place.hands._hold) -> object:
            # Between the list and the descriptor it left, and the pid could by now be anybody's.
            (folder / "cgroup.procs").write_text(f"{inside}\n")
            return open_now(pid)  # type: ignore[operator]

        monkeypatch.setattr(place.hands, "_hold", hold)
        band = place.enclose()
        assert band.signal(SIGKILL) == ((inside,), 0)
        assert gone([inside]) and alive(outside)
        band.close()


@pytest.mark.parametrize("events", ["", "frozen 0\n", "populated x\n"])
def test_where_it_does_not_say_whether_it_is_populated_its_processes_do(place: Place, events: str) -> None:
    with running() as [child]:
        (place.make([child]) / "cgroup.events").write_text(events)
        band = place.enclose()
        assert band.signal(SIGTERM) == ((child,), 0)
        assert not band.dead()
        os.kill(child, SIGKILL)
        assert gone([child]) and band.dead()
        band.close()


def test_one_that_is_removed_is_dead(place: Place) -> None:
    folder = place.make([])
    band = place.enclose()
    assert not band.dead()
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert band.dead() and band.left() == ()
    band.close()


# --- at once --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cgroup() -> Iterator[Path]:
    with real("band") as folder:
        if folder is None:
            pytest.skip("no cgroup can be made here")
        yield folder


def test_a_real_cgroup_that_forks_without_end_dies_with_all_below_it_and_is_marked(cgroup: Path) -> None:
    with running(FORKS) as [forks], running() as [below]:
        (cgroup / "below/cgroup.procs").write_text(f"{below}\n")
        (cgroup / "cgroup.procs").write_text(f"{forks}\n")
        assert bears(cgroup)
        os.setxattr(cgroup, "user.oomd_kill", b"3")
        band = Hands("/proc", None).enclose(f"/{cgroup.name}", cgroup.stat().st_ino)
        assert band
        assert not band.dead()
        reached, refused = band.signal(SIGKILL)
        assert {forks, below} < set(reached) and not refused
        assert within(band.dead) and band.left() == ()
        band.close()
    assert os.getxattr(cgroup, "user.oomd_ooms") == b"1"
    assert os.getxattr(cgroup, "user.oomd_kill") == b"%d" % (3 + len(reached))
    assert os.getxattr(cgroup, "trusted.oomd_ooms") == b"1"
    assert os.getxattr(cgroup, "trusted.oomd_kill") == b"%d" % len(reached)
    names = {os.getxattr(cgroup, f"{space}.oomd_kill_uuid") for space in ("user", "trusted")}
    assert len(names) == 1 and len(names.pop()) == 32


def test_one_that_forks_without_end_does_not_outrun_the_kernel_that_has_no_kill_for_cgroups(
    cgroup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(directory: int, name: str, text: bytes) -> None:
        raise FileNotFoundError(ENOENT, "No such file", name)

    with running(FORKS) as [forks]:
        (cgroup / "cgroup.procs").write_text(f"{forks}\n")
        assert bears(cgroup)
        monkeypatch.setattr(module.control, "put", absent)
        band = Hands("/proc", None).enclose(f"/{cgroup.name}", 0)
        assert band
        assert band.signal(SIGKILL)[0]
        assert within(band.dead)
        band.close()
        monkeypatch.undo()


def test_a_real_cgroup_that_is_only_asked_is_not_marked(cgroup: Path) -> None:
    with running() as [child]:
        (cgroup / "cgroup.procs").write_text(f"{child}\n")
        band = Hands("/proc", None).enclose(f"/{cgroup.name}", 0)
        assert band
        assert band.signal(SIGTERM) == ((child,), 0)
        assert not band.dead() and len(band.pidfds()) == 1
        band.close()
        assert "user.oomd_ooms" not in os.listxattr(cgroup)
