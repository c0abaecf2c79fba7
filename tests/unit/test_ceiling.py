"""Ceilings: cgroups by their own file, processes by a limit of theirs, and nobody who is not meant."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from errno import EPERM, ESRCH
from pathlib import Path
from signal import SIGKILL
from typing import TYPE_CHECKING

import pytest

from okoomer.events.model import Limited
from okoomer.guard import ceiling as module
from okoomer.guard.ceiling import LEEWAY, limit
from okoomer.kernel import process as kernel
from okoomer.record import replace
from okoomer.units import GIB, MIB
from tests.unit.cgroups import make, proc_of
from tests.unit.standing import seen, sleepers, state, within

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/app.slice/hog.scope"
#: It says what it has mapped, takes so many MiB at a word, and says whether it got them.
TAKES = """if True:
    import sys
    kept = []
    print(1, flush=True)
    for line in sys.stdin:
        try:
            kept.append(bytearray(int(line) << 20))
            print("got", flush=True)
        except MemoryError:
            print("none", flush=True)
"""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(autouse=True)
def threads_are_done() -> Iterator[None]:
    before = threads()
    yield
    assert within(lambda: threads() <= before)


def threads() -> set[str]:
    return {task.name for task in Path("/proc/self/task").iterdir()}


class Place:
    """A hierarchy that only looks like one, and processes that are said to be in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "cgroups"
        self.root.mkdir()
        (folder / "proc").mkdir()
        self.proc = proc_of(folder / "proc", self.root)

    def make(self, pids: list[int], high: str | None = "max\n", path: str = PATH) -> Path:
        for pid in pids:
            inner = self.folder / f"proc/{pid}"
            inner.mkdir(exist_ok=True)
            for name in ("stat", "status", "limits"):
                if not (inner / name).exists():
                    (inner / name).symlink_to(f"/proc/{pid}/{name}")
            (inner / "cgroup").write_text(f"0::{path}\n")
        return make(self.root, path, pids, **({"memory__high": high} if high else {}))

    def high(self, path: str = PATH) -> str:
        return (self.root / path.strip("/") / "memory.high").read_text().strip()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def soft(pid: int) -> int:
    return resource.prlimit(pid, resource.RLIMIT_DATA)[0]


# --- cgroups --------------------------------------------------------------------------------------------------------


def test_a_whole_cgroup_has_a_ceiling_that_ends_nobody(place: Place) -> None:
    with sleepers(2) as pids:
        folder = place.make(pids)
        (folder / "memory.max").write_text("max\n")
        found = limit(place.proc, "hog", seen(pids[0]), PATH, folder.stat().st_ino, 1000, 100 * MIB)
        assert found == Limited("hog", (pids[0],), 1000, PATH, 100 * MIB, "memory.high")
        assert within(lambda: place.high() == str(100 * MIB))
        assert (folder / "memory.max").read_text() == "max\n" and soft(pids[0]) == resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("before", "size", "after"), [("50", 100, 50), ("100", 100, 100), ("200", 100, 100), ("max", 100, 100), ("0", 9, 0)]
)
def test_a_ceiling_is_never_higher_than_it_was(place: Place, before: str, size: int, after: int) -> None:
    with sleepers() as pids:
        place.make(pids, before if before == "max" else str(int(before) * MIB))
        assert limit(place.proc, "hog", seen(*pids), PATH, 0, 0, size * MIB).bytes == after * MIB
        assert within(lambda: place.high() == str(after * MIB))


def test_processes_that_are_all_of_their_cgroup_are_limited_by_it(place: Place) -> None:
    with sleepers(2) as pids:
        place.make(pids)
        found = limit(place.proc, "hog", seen(*pids), "", 0, 0, 100 * MIB)
        assert (found.cgroup, found.means) == (PATH, "memory.high") and within(lambda: place.high() == str(100 * MIB))


@pytest.mark.parametrize("where", ["in it", "below it"])
def test_a_cgroup_that_others_are_in_is_not_limited(place: Place, where: str) -> None:
    with sleepers(2) as [mine, theirs]:
        place.make([mine] if where == "below it" else [mine, theirs])
        if where == "below it":
            place.make([theirs], path=f"{PATH}/below")
        found = limit(place.proc, "hog", seen(mine), "", 0, 0, 100 * MIB)
        assert found.means == "RLIMIT_DATA" and place.high() == "max"
        assert soft(mine) < GIB and soft(theirs) == resource.RLIM_INFINITY


@pytest.mark.parametrize("path", ["/", ""])
def test_processes_in_no_cgroup_of_their_own_are_limited_one_by_one(place: Place, path: str) -> None:
    with sleepers() as pids:
        place.make(pids, path="/other")
        (place.folder / f"proc/{pids[0]}/cgroup").write_text(f"0::{path}\n" if path else "")
        assert limit(place.proc, "hog", seen(*pids), "", 0, 0, 100 * MIB).means == "RLIMIT_DATA"


def test_without_a_memory_controller_processes_are_limited_but_a_cgroup_is_not(place: Place) -> None:
    with sleepers() as pids:
        place.make(pids, high=None)
        with pytest.raises(FileNotFoundError):
            limit(place.proc, "hog", seen(*pids), PATH, 0, 0, 100 * MIB)
        assert soft(pids[0]) == resource.RLIM_INFINITY
        assert limit(place.proc, "hog", seen(*pids), "", 0, 0, 100 * MIB).means == "RLIMIT_DATA"


def test_another_cgroup_of_that_name_and_the_root_are_not_limited(place: Place) -> None:
    with sleepers() as pids:
        place.make(pids)
        with pytest.raises(FileNotFoundError):
            limit(place.proc, "hog", seen(*pids), PATH, 4, 0, 100 * MIB)
        with pytest.raises(PermissionError):
            limit(place.proc, "hog", seen(*pids), "/", 0, 0, 100 * MIB)
        assert place.high() == "max" and soft(pids[0]) == resource.RLIM_INFINITY


def test_where_no_thread_can_wait_for_it_it_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_given: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "start_new_thread", none)
    with sleepers() as pids:
        place.make(pids)
        with pytest.raises(OSError, match="can't start new thread"):
            limit(place.proc, "hog", seen(*pids), PATH, 0, 0, 100 * MIB)
        assert place.high() == "max"


# --- processes ------------------------------------------------------------------------------------------------------


def test_a_process_gets_what_is_under_its_ceiling_and_no_more_and_lives() -> None:
    child = subprocess.Popen([sys.executable, "-c", TAKES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin and child.stdout
    try:
        assert child.stdout.readline() == "1\n"
        found = limit("/proc", "hog", seen(child.pid), "", 0, 1000, 100 * MIB)
        assert found.means == "RLIMIT_DATA" and found.bytes == 100 * MIB

        def take(mib: int) -> str:
            assert child.stdin and child.stdout
            child.stdin.write(f"{mib}\n")
            child.stdin.flush()
            return child.stdout.readline().strip()

        assert [take(mib) for mib in (40, 200, 40, 40, 1)] == ["got", "none", "got", "none", "got"]
        assert child.poll() is None
    finally:
        child.kill()
        child.communicate()


def test_nobody_is_limited_to_less_than_it_has() -> None:
    with sleepers() as [pid]:
        mapped = kernel.data("/proc", pid)[0]
        limit("/proc", "hog", seen(pid), "", 0, 0, 1)
        assert soft(pid) == mapped + LEEWAY
        # Nor is a limit ever raised.
        limit("/proc", "hog", seen(pid), "", 0, 0, GIB)
        assert soft(pid) == mapped + LEEWAY
        assert resource.prlimit(pid, resource.RLIMIT_DATA)[1] == resource.RLIM_INFINITY


def test_a_limit_stays_under_the_hard_one() -> None:
    with sleepers() as [pid]:
        resource.prlimit(pid, resource.RLIMIT_DATA, (64 * MIB, 64 * MIB))
        limit("/proc", "hog", seen(pid), "", 0, 0, GIB)
        assert resource.prlimit(pid, resource.RLIMIT_DATA) == (64 * MIB, 64 * MIB)


def test_several_share_what_is_left_under_a_ceiling() -> None:
    with sleepers(4) as pids:
        limit("/proc", "hog", seen(*pids), "", 0, 0, 100 * MIB)
        mapped = [kernel.data("/proc", pid)[0] for pid in pids]
        rooms = [soft(pid) - had for pid, had in zip(pids, mapped, strict=True)]
        assert 90 * MIB < sum(rooms) <= 100 * MIB and max(rooms) - min(rooms) < MIB


def test_a_pid_that_is_another_process_by_now_is_not_limited() -> None:
    with sleepers(2) as pids:
        first, second = seen(*pids)
        limit("/proc", "hog", [first, replace(second, started=second.started - 1)], "", 0, 0, 64 * MIB)
        assert soft(pids[0]) < GIB and soft(pids[1]) == resource.RLIM_INFINITY
        with pytest.raises(OSError) as caught:
            limit("/proc", "hog", [replace(second, started=1.0)], "", 0, 0, 64 * MIB)
        assert caught.value.errno == ESRCH
        with pytest.raises(OSError):
            limit("/proc", "hog", [], "", 0, 0, 64 * MIB)


def test_where_it_is_not_permitted_it_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_given: object) -> None:
        raise PermissionError(EPERM, os.strerror(EPERM))

    monkeypatch.setattr(module, "limit_data", forbidden)
    with sleepers() as [pid], pytest.raises(PermissionError, match="not permitted"):
        limit("/proc", "hog", seen(pid), "", 0, 0, 64 * MIB)


# --- what is read and set for it ------------------------------------------------------------------------------------


def test_the_kernel_takes_and_tells_limits_of_data() -> None:
    with sleepers() as [pid]:
        mapped, least, most = kernel.data("/proc", pid)
        assert mapped > 0 and (least, most) == (None, None)
        resource.prlimit(pid, resource.RLIMIT_DATA, (5 * MIB, 6 * MIB))
        assert kernel.data("/proc", pid) == (mapped, 5 * MIB, 6 * MIB)
        os.kill(pid, SIGKILL)
        assert within(lambda: state(pid) == "Z")
        with pytest.raises(ValueError):
            kernel.data("/proc", pid)  # like a kernel thread, it has no memory
    with pytest.raises(OSError):
        module.limit_data(2**22 - 1, 1, 1)


def test_all_users_of_a_process_are_known() -> None:
    assert kernel.users("/proc", os.getpid()) == {os.getuid(), os.geteuid()}
    assert kernel.users("/proc", 2**22 - 1) == frozenset()
    if os.geteuid() == 0:
        program = "import os, time\nos.setresuid(1, 2, 3)\nprint(1, flush=True)\ntime.sleep(300)"
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert child.stdout and child.stdout.readline() == b"1\n"
        assert kernel.users("/proc", child.pid) == {1, 2, 3}
        child.kill()
        child.communicate()
