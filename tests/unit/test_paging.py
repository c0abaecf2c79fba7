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
from okoomer.guard.paging import ASKED, PIECE, Paging
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
    (tmp_path / "meminfo").write_text("MemTotal: 1600 kB\nMemFree: 0 kB\nMemAvailable: 99 kB\n")
    monkeypatch.setattr("okoomer.guard.paging.touch", lambda pid, *rest: asked.append(pid))
    (tmp_path / str(holder[0])).symlink_to(f"/proc/{holder[0]}")
    paging = Paging(str(tmp_path))
    paging.fetch([holder])
    until(lambda: paging.fetched([holder]) and not paging._busy)
    assert not asked
    (tmp_path / "meminfo").write_text("MemTotal: 1600 kB\nMemFree: 0 kB\nMemAvailable: 100 kB\n")
    paging.fetch([holder])
    until(lambda: paging.fetched([holder]) and not paging._busy)
    assert len(asked) >= 8 and not paging.trouble
    (tmp_path / "meminfo").unlink()
    paging.fetch([holder])
    until(lambda: paging.fetched([holder]) and not paging._busy)
    assert not paging.trouble


@pytest.mark.parametrize("text", [None, "MemTotal: much\n", ""])
def test_where_it_is_not_known_what_is_on_its_way_to_the_disk_that_go_ends_and_why_is_known(
    holder: tuple[int, int], tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    (tmp_path / str(holder[0])).symlink_to(f"/proc/{holder[0]}")
    paging = Paging(str(tmp_path))
    for _ in range(2):
        paging.trouble = ""
        paging.put_out([holder], 4 * MIB)
        until(lambda: not paging._busy)
        assert paging.trouble.startswith("/proc/meminfo: ")


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


def meminfo(**kib: int) -> str:
    sizes = {"MemTotal": 1 << 20, "MemFree": 0, "SwapTotal": 1 << 20, **kib}
    return "".join(f"{name}: {size} kB\n" for name, size in sizes.items())


@pytest.mark.parametrize(
    ("now", "pieces"),
    [
        ({"MemAvailable": 99 << 10}, 5),
        ({"MemAvailable": 100 << 10}, 2),
        ({"MemAvailable": 99 << 10, "SwapFree": 98 << 10, "Writeback": 2 << 10}, 2),
        ({"MemAvailable": 99 << 10, "SwapFree": 98 << 10}, 5),
        ({"MemAvailable": 99 << 10, "Writeback": 20 << 10}, 5),
    ],
    ids=[
        "room can be had",
        "there is enough",
        "it waits for a disk",
        "it goes to a fast one, or to zram",
        "others write",
    ],
)
def test_the_kernel_is_asked_for_what_nobody_uses_in_small_pieces_as_long_as_that_makes_nobody_wait(
    now: dict[str, int], pieces: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = {"SwapFree": 100 << 10, "Writeback": 0, "MemAvailable": 60 << 10}
    asked: list[bytes] = []

    def write(fd: int, text: bytes) -> int:
        asked.append(text)
        if len(asked) == 5:
            raise OSError(11, "no more")
        (tmp_path / "meminfo").write_text(meminfo(**begin | now if len(asked) >= 2 else begin))
        return len(text)

    (tmp_path / "meminfo").write_text(meminfo(**begin))
    (tmp_path / "memory.reclaim").write_bytes(b"")
    monkeypatch.setattr("okoomer.guard.paging.SECONDS", 60.0)
    monkeypatch.setattr("okoomer.guard.paging.mount", lambda proc: str(tmp_path))
    monkeypatch.setattr("okoomer.guard.paging.set_name", lambda name: None)  # writes, too
    monkeypatch.setattr("okoomer.guard.paging.os.write", write)
    paging = Paging(str(tmp_path), ahead=PIECE)
    paging.sweep(100 * MIB)
    until(lambda: not paging._busy)
    assert asked == [b"%d" % ASKED] * pieces
    (tmp_path / "memory.reclaim").unlink()
    paging.sweep(100 * MIB)  # an older kernel
    until(lambda: not paging._busy)
    assert not paging.trouble and len(asked) == pieces


class Kernel:
    """What a process's memory becomes by advice: of each MiB what is in memory."""

    def __init__(self, proc: Path, pages: dict[int, int]) -> None:
        self.proc = proc
        self.there = dict(pages)
        self.touched: list[tuple[int, int]] = []
        self.advised: list[tuple[int, int]] = []
        self.given_up: list[bytes] = []
        self.after: dict[int, Callable[[], object]] = {}
        self.says()

    def says(self, cached: int = 1 << 20, swap_free: int = 900 << 10, writeback: int = 0) -> None:
        text = meminfo(SwapCached=cached, Writeback=writeback, SwapTotal=1000 << 10, SwapFree=swap_free)
        (self.proc / "meminfo").write_text(text)

    def resident(self, proc: str, pid: int) -> int:
        return sum(self.there.values())

    def advise(self, pidfd: int, start: int, length: int, advice: int) -> None:
        assert advice == MADV_PAGEOUT
        self.advised.append((start, length))
        for at in self.there:
            if start <= at < start + length:
                self.there[at] = 0
        self.after.get(start, list)()

    def touch(self, pid: int, start: int, length: int, page: int) -> bool:
        if length > page:
            self.touched.append((start, length))
        return True


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Of one process, which has reserved 4 GiB and filled the first eight MiB of them."""
    made = Kernel(tmp_path, {at * MIB: MIB for at in range(16, 24)})
    (tmp_path / "7").mkdir()
    (tmp_path / "7/maps").write_text(f"{16 * MIB:x}-{4112 * MIB:x} rw-p 00000000 00:00 0\n")
    for name, to in {
        "AT_HAND": 60.0, "resident": made.resident, "process_madvise": made.advise, "touch": made.touch,
        "lives": lambda *of: True,
        "os.pidfd_open": lambda pid: os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), "mount": str,
        "control.enter": lambda *of: os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC),
        "control.put": lambda directory, name, text: made.given_up.append(text),
    }.items():  # fmt: skip
        monkeypatch.setattr(f"okoomer.guard.paging.{name}", to)
    return made


def put_out(kernel: Kernel, wanted: int, ahead: int = PIECE) -> Paging:
    paging = Paging(str(kernel.proc), ahead)
    paging.put_out([(7, 70)], wanted, lambda key: "/a")
    until(lambda: not paging._busy)
    assert not paging.trouble
    return paging


def test_what_was_written_leaves_memory_too_and_nothing_else_is_asked_for(kernel: Kernel) -> None:
    assert put_out(kernel, 3 * MIB).written == 3 * MIB
    pieces = [(at * MIB, MIB) for at in (16, 17, 18)]
    assert kernel.touched == pieces and all(kernel.advised.count(piece) == 2 for piece in pieces)
    assert not kernel.given_up


def test_what_has_left_memory_by_itself_is_not_read_back_for_that(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("okoomer.guard.paging.AT_HAND", 0.0)  # each page comes too late
    assert put_out(kernel, 3 * MIB).written == 3 * MIB
    assert not kernel.touched and kernel.advised == [(at * MIB, MIB) for at in (16, 17, 18)]


def test_what_is_empty_is_passed_over_in_longer_strides_and_what_is_not_goes_out_by_the_mib(kernel: Kernel) -> None:
    assert put_out(kernel, 64 * MIB).written == 8 * MIB
    strides = [length // MIB for at, length in kernel.advised if (at, length) not in kernel.touched]
    assert strides[:5] == [1, 2, 4, 8, 8] and len(strides) < 4096 // 8 + 5
    assert kernel.touched == [(at * MIB, MIB) for at in range(16, 24)]


def test_what_has_left_memory_already_is_not_read_again(kernel: Kernel) -> None:
    kernel.says(cached=0)  # as on zram
    assert put_out(kernel, 3 * MIB).written == 3 * MIB and not kernel.touched


def test_where_swap_is_more_than_half_full_reading_would_free_it_so_the_cgroup_is_told(kernel: Kernel) -> None:
    kernel.says(swap_free=400 << 10)
    put_out(kernel, 5 * MIB)
    assert not kernel.touched and kernel.given_up == [b"%d" % (4 * MIB)]


def test_what_the_disk_has_not_taken_yet_is_not_read_again(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("okoomer.guard.paging.SECONDS", 0.3)
    kernel.says(writeback=4 << 10)
    paging = put_out(kernel, 3 * MIB)
    assert paging.written and not kernel.touched


def test_nothing_more_is_put_out_of_who_runs_again(kernel: Kernel) -> None:
    paging = Paging(str(kernel.proc), PIECE)
    kernel.after = {17 * MIB: paging.halt}
    paging.put_out([(7, 70)], 64 * MIB)
    until(lambda: not paging._busy)
    assert paging.written == 2 * MIB
    kernel.after = {}
    paging.put_out([(7, 70)], MIB)
    until(lambda: not paging._busy)
    assert paging.written == 3 * MIB
    kernel.there[16 * MIB] = MIB  # it has come back to it
    paging.halt()
    paging.put_out([(7, 70)], MIB)
    until(lambda: not paging._busy)
    assert paging.written == 4 * MIB and not kernel.there[16 * MIB]
