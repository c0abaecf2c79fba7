"""Putting into swap and fetching back: of whom, how far, and that it comes to an end whatever becomes of them."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, cast

import pytest

from okoomer.facts import Process
from okoomer.guard.jobs import by_job, each, key_of
from okoomer.guard.paging import PIECE, Paging
from okoomer.kernel.process import private, resident, ticks, worked
from okoomer.kernel.syscalls import MADV_PAGEOUT, process_madvise, touch
from okoomer.policy.jobs import Family, Job
from okoomer.record import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from okoomer.guard.missed import Missed

MIB = 1024**2
HOLDER = """
import mmap, sys
memory = mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, len(memory), 4096):
    memory[at] = 1
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder() -> Iterator[tuple[int, int]]:
    """A process with 8 MiB of its own."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout and child.stdout.readline()
        yield child.pid, ticks("/proc", child.pid)
        child.kill()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_all_of_a_process_is_asked_for_and_nothing_of_it_is_lost(holder: tuple[int, int]) -> None:
    paging = Paging("/proc")
    held = resident("/proc", holder[0])
    paging.put_out([holder], 4 * MIB)
    until(lambda: not paging._busy)
    paging.fetch([holder])
    until(lambda: paging.fetched([holder]))
    # Counters of the kernel are not exact at once.
    until(lambda: resident("/proc", holder[0]) >= held)
    assert not paging.trouble


def test_whoever_is_gone_or_another_by_now_is_passed_over(holder: tuple[int, int]) -> None:
    paging = Paging("/proc")
    other = (holder[0], holder[1] + 1)
    paging.put_out([other, (2**22 - 1, 5)], 4 * MIB)
    paging.fetch([other, (2**22 - 1, 5)])
    until(lambda: not paging._busy and paging.fetched([other]))
    assert not paging.trouble


def test_nothing_is_fetched_beyond_what_there_is_room_for(
    holder: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    (tmp_path / "meminfo").write_text("MemTotal: 1600 kB\nMemAvailable: 99 kB\n")
    monkeypatch.setattr("okoomer.guard.paging.touch", lambda pid, *rest: asked.append(pid))
    (tmp_path / str(holder[0])).symlink_to(f"/proc/{holder[0]}")
    paging = Paging(str(tmp_path))
    paging.fetch([holder])
    until(lambda: paging.fetched([holder]) and not paging._busy)
    assert not asked
    (tmp_path / "meminfo").write_text("MemTotal: 1600 kB\nMemAvailable: 100 kB\n")
    paging.fetch([holder])
    until(lambda: paging.fetched([holder]) and not paging._busy)
    assert len(asked) >= 8 and not paging.trouble
    (tmp_path / "meminfo").unlink()
    paging.fetch([holder])
    until(lambda: paging.fetched([holder]) and not paging._busy)
    assert not paging.trouble


def test_who_has_to_stand_still_again_is_fetched_no_longer(
    holder: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    paging, asked = Paging("/proc"), []

    def touched(pid: int, *rest: int) -> None:
        asked.append(pid)
        paging.put_out([holder], 0)

    monkeypatch.setattr("okoomer.guard.paging.touch", touched)
    paging.fetch([holder])
    until(lambda: not paging._busy)
    assert len(asked) == 1 and paging.fetched([holder])


def test_while_it_is_watched_whoever_misses_something_is_fetched(
    holder: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = set[int]()
    looks = list[float]()

    class Misses:
        due = 0.0

        def look(self, now: float) -> list[tuple[int, int]]:
            looks.append(now)
            self.due = now + 0.01
            return [holder] if len(looks) == 3 else []

    monkeypatch.setattr("okoomer.guard.paging.touch", lambda pid, *rest: asked.add(pid))
    paging = Paging("/proc", PIECE, cast("Missed", Misses()))
    paging.watch(600.0)
    until(lambda: asked == {holder[0]})
    paging.watch(0.0)
    until(lambda: not paging._busy)
    assert len(looks) >= 3


def test_advice_goes_to_a_range_of_another_process() -> None:
    memory = mmap.mmap(-1, MIB)
    pidfd = os.pidfd_open(os.getpid())
    try:
        with pytest.raises(OSError, match="process_madvise"):
            process_madvise(pidfd, 4096, 4096, MADV_PAGEOUT)
        with pytest.raises(OSError, match="process_madvise"):
            process_madvise(pidfd, 0, 4096, 12345)
    finally:
        os.close(pidfd)
        memory.close()
    assert not touch(os.getpid(), 4096, 4096, 4096)


def test_what_is_seen_of_a_job_is_what_it_holds_and_does(holder: tuple[int, int]) -> None:
    pid = holder[0]
    assert 8 * MIB <= private("/proc", pid) < 40 * MIB
    before = worked("/proc", os.getpid())
    until(lambda: sum(range(10_000)) > 0 and worked("/proc", os.getpid()) > before)
    assert worked("/proc", 2**22 - 1) == private("/proc", 2**22 - 1) == 0


def test_a_process_belongs_to_the_job_above_it() -> None:
    known = {
        pid: Process(pid, parent, "x", float(pid)) for pid, parent in ((20, 1), (30, 20), (31, 20), (40, 30), (41, 40))
    }
    jobs = tuple(Job(key_of(known[pid]), "x", 1.0, 5, 5) for pid in (30, 31))
    seen = [Family((20, 2000), "make", 0, jobs)]
    assert by_job(seen, known) == {(30, 3000): (30, 40, 41), (31, 3100): (31,)}
    known[20] = replace(known[20], parent=41)  # a circle, of processes that were read while pids were used again
    assert set(by_job(seen, known)) == {(30, 3000), (31, 3100)}
    assert [job.size for job in each(seen, lambda job: replace(job, size=7))[0].jobs] == [7, 7]


def test_the_kernel_is_asked_for_what_nobody_uses_in_small_pieces_until_there_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "memory.reclaim"
    asked.write_bytes(b"")
    monkeypatch.setattr("okoomer.guard.paging.mount", lambda proc: str(tmp_path))
    monkeypatch.setattr("okoomer.guard.paging.os.open", lambda path, flags: os.open(path, flags | os.O_APPEND))
    paging = Paging("/proc")
    paging.sweep(3 * PIECE)
    until(lambda: not paging._busy)
    assert asked.read_bytes() == b"%d" % PIECE * 3
    asked.unlink()
    paging.sweep(PIECE)  # an older kernel
    until(lambda: not paging._busy)
    assert not paging.trouble and not asked.exists()
