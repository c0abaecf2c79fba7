"""The bounds of all processes' sizes, and the descriptors that are kept for them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from okoomer.kernel.statm import Sizes
from tests.unit.machines import GIB, MIB, PAGE, App, build, write


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "60"])
    yield child
    child.kill()
    child.wait()


def descriptors() -> list[str]:
    """The files of /proc/PID that this process has open."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(fd.readlink()))
        except OSError:
            continue
    return [path for path in found if path.endswith("/statm")]


def pids(sizes: Sizes, floor: int = 0) -> set[int]:
    return {pid for _bound, pid in sizes.bounds(0, floor)[0]}


@pytest.mark.parametrize(
    ("swap_used", "bound"),
    [(0, 100 * MIB), (PAGE, 100 * MIB + PAGE), (30 * MIB, 130 * MIB), (GIB, 140 * MIB)],
)
def test_a_bound_is_what_is_resident_and_what_may_be_swapped(tmp_path: Path, swap_used: int, bound: int) -> None:
    machine = build(tmp_path, apps=[App(5, anon=96 * MIB, swap=40 * MIB, file=4 * MIB)])
    found, seen = Sizes(f"{machine}/proc").bounds(swap_used, 64 * MIB)
    assert (found, seen) == ([(bound, 5)], 2)


@pytest.mark.parametrize("text", [b"", b"1", b"x y z", b"1 2 3", b"-1 -2 -3 0 0 -4 0"])
def test_a_process_that_makes_no_sense_has_no_bound_and_counts_as_seen(tmp_path: Path, text: bytes) -> None:
    machine = build(tmp_path, apps=[App(5, anon=GIB), App(6, anon=GIB)])
    write(machine / "proc/5/statm", text)
    found, seen = Sizes(f"{machine}/proc").bounds(GIB, MIB * 64)
    assert ([pid for _, pid in found], seen) == ([6], 3)


def test_descriptors_are_kept_up_to_a_number_and_given_back(sleeper: subprocess.Popen[bytes]) -> None:
    sizes = Sizes("/proc", 2)
    for _ in range(2):
        assert {os.getpid(), sleeper.pid} <= pids(sizes)
    assert len(descriptors()) == 2
    assert pids(Sizes("/proc")) and len(descriptors()) == 2
    sizes.close()
    assert descriptors() == []


def test_a_process_that_has_ended_is_forgotten_with_its_descriptor(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    # No more descriptors than may be open at once, however many processes there are.
    (tmp_path / str(sleeper.pid)).symlink_to(f"/proc/{sleeper.pid}")
    sizes = Sizes(str(tmp_path), 1000)
    assert sleeper.pid in pids(sizes)
    mine = f"/proc/{sleeper.pid}/statm"
    assert mine in descriptors()
    sleeper.kill()
    sleeper.wait()
    assert sleeper.pid not in pids(sizes)
    assert mine not in descriptors()
    sizes.close()


def test_a_kept_descriptor_shows_how_a_process_grows(tmp_path: Path) -> None:
    (tmp_path / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
    sizes = Sizes(str(tmp_path), 1000)

    def mine() -> int:
        return next(bound for bound, pid in sizes.bounds(0, 0)[0] if pid == os.getpid())

    before = mine()
    held = bytearray(64 * MIB)
    deadline = time.monotonic() + 60
    while mine() < before + 60 * MIB and time.monotonic() < deadline:
        time.sleep(0.01)  # counters of the kernel are not exact at once
    assert len(held) == 64 * MIB and mine() >= before + 60 * MIB
    sizes.close()


def test_processes_that_cannot_be_listed_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Sizes(f"{tmp_path}/absent").bounds(0, 0)
