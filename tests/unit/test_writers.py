"""Who fills memory that belongs to no process: what counts as evidence, and when it is looked for at all."""

from __future__ import annotations

import os
import posix
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from okoomer.facts import Memory, Pressure, Process, Snapshot, Stall
from okoomer.guard import writers
from okoomer.guard.ladder import Ladder
from okoomer.guard.loop import Guard
from okoomer.guard.scan import Scan, scan
from okoomer.guard.sense import Sense
from okoomer.guard.writers import AFTERWARDS, HURTS, PAUSE, STALE, Reading, Writers, complete, fills, reading, suspects
from okoomer.kernel import clock
from okoomer.kernel.machine import LIVE, Machine
from okoomer.kernel.output import in_memory
from okoomer.policy.choose import choose
from okoomer.policy.model import Policy, Rule, Step
from okoomer.record import replace
from tests.unit.bodies import World
from tests.unit.machines import GIB, MIB, App, build, write
from tests.unit.test_choose import LOW

NOTHING: frozenset[str] = frozenset()
#: Between two readings of a second.
GROWN = 100 * MIB


def readings(
    written: dict[int, int], files: dict[int, dict[tuple[int, int], int]] | None = None, grown: int = GROWN
) -> tuple[Reading, Reading]:
    """Two readings a second apart: what each process has written between them, and what its files have grown by."""
    zeros = None if files is None else {pid: dict.fromkeys(sizes, 7) for pid, sizes in files.items()}
    ends = files and {pid: {key: size + 7 for key, size in sizes.items()} for pid, sizes in files.items()}
    first = Reading(10.0, GIB, dict.fromkeys(written, 5000), zeros)
    return first, Reading(11.0, GIB + grown, {pid: 5000 + amount for pid, amount in written.items()}, ends)


# --- evidence -------------------------------------------------------------------------------------------------------


def test_under_suspicion_is_who_writes_a_part_of_what_memory_grows_by() -> None:
    assert suspects(*readings({5: GROWN, 6: GROWN // 16, 7: GROWN // 17, 8: 0, 9: -MIB})) == {5: GROWN, 6: GROWN // 16}
    assert suspects(*readings({5: GROWN}, grown=0)) == {}
    assert suspects(*readings({5: GROWN}, grown=-MIB)) == {}
    many = {pid: GROWN + pid for pid in range(10, 50)}
    assert sorted(suspects(*readings(many))) == list(range(34, 50))


def test_a_process_that_was_not_there_before_has_written_all_since() -> None:
    before, now = readings({5: GROWN, 6: GROWN})
    now.written[7] = GROWN  # born
    before.written[6], now.written[6] = GIB, 50 * MIB  # another process with the same pid
    assert suspects(before, now) == {5: GROWN, 7: GROWN, 6: 50 * MIB}


def test_on_a_recorded_machine_what_is_written_has_to_be_enough() -> None:
    assert fills(*readings({5: GROWN, 6: 40 * MIB})) == {5: GROWN, 6: 40 * MIB}


def test_what_is_written_counts_as_far_as_the_own_files_have_grown() -> None:
    files = {5: {(9, 1): 60 * MIB, (9, 2): 40 * MIB}, 6: {}, 7: {(9, 3): 0}, 8: {(9, 4): -MIB}}
    assert fills(*readings(dict.fromkeys(files, 2 * GROWN), files)) == {5: GROWN}


def test_who_writes_less_than_its_file_grows_by_did_not_do_it_all() -> None:
    shared = {(9, 1): GROWN}
    assert fills(*readings({5: 90 * MIB, 6: 10 * MIB}, {5: shared, 6: shared})) == {5: 90 * MIB, 6: 10 * MIB}


def test_one_file_after_another_counts_by_the_tmpfs_they_are_on() -> None:
    unpack = {(9, 0): GROWN, (9, 50): 3 * MIB}
    assert fills(*readings({5: GROWN, 6: GROWN}, {5: unpack, 6: {(8, 0): 0, (8, 60): 0}})) == {5: GROWN}
    # Whose own file explains it is a better explanation.
    log = {(9, 0): GROWN, (9, 70): GROWN}
    assert fills(*readings({5: GROWN, 6: GROWN}, {5: unpack, 6: log})) == {5: 3 * MIB, 6: GROWN}


def test_a_file_that_was_opened_since_says_nothing() -> None:
    before, now = readings({5: GROWN}, {5: {(9, 1): GROWN}})
    assert fills(replace(before, files={}), now) == {}
    assert fills(replace(before, files={5: {(9, 2): 0}}), now) == {}


def test_two_readings_are_complete_if_they_are_apart_and_know_the_files_of_all() -> None:
    before, now = readings({5: GROWN}, {5: {}})
    assert complete(before, now)
    assert not complete(replace(before, files={6: {}}), now)
    assert not complete(replace(before, time=now.time - PAUSE / 3), now)
    assert complete(*readings({5: GROWN}))


# --- files of a machine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, b"", b"nonsense", b"wchar: x\nwrite_bytes: 0\n", b"wchar: 1\n"])
def test_a_process_whose_figures_cannot_be_read_is_not_known_to_write(tmp_path: Path, text: bytes | None) -> None:
    machine = build(tmp_path, apps=[App(5, written=None), App(6, written=70, to_disk=20)])
    if text is not None:
        write(machine / "proc/5/io", text)
    snapshot = Snapshot(3.0, Memory(GIB, 0, 0, shmem=9))
    found = reading(Machine(f"{machine}/proc", live=False), snapshot, None)
    assert found == Reading(3.0, 9, {1: 0, 6: 50}, None)
    assert reading(Machine(f"{machine}/proc"), snapshot, replace(found, time=2.0, shmem=8, written={})).files == {6: {}}
    assert reading(Machine(f"{tmp_path}/absent", live=False), snapshot, None).written == {}


FILL = """
import os, sys, time
fd, rate = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), int(sys.argv[2])
block, began, done = bytes(65536), time.monotonic(), 0
print("ready", flush=True)
while done < 48 * 2**20:
    done += os.write(fd, block)
    time.sleep(max(0.0, began + done / rate - time.monotonic()))
time.sleep(60)
"""
PIPE = """
import os, threading, time
out, into = os.pipe()
threading.Thread(target=lambda: any(not os.read(out, 65536) for _ in iter(int, 1)), daemon=True).start()
print("ready", flush=True)
while True:
    os.write(into, bytes(65536)), time.sleep(0.001)
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    running = []

    def run(code: str, *arguments: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        running.append(child)
        assert child.stdout and child.stdout.readline() == b"ready\n"
        return child

    yield run
    for child in running:
        child.kill()
        child.communicate()


@pytest.fixture
def in_shm() -> Iterator[Path]:
    """A file that does not exist yet, on a tmpfs."""
    if " /dev/shm tmpfs " not in Path("/proc/mounts").read_text():
        pytest.skip("no tmpfs on /dev/shm here")
    path = Path(f"/dev/shm/okoomer-test-{os.getpid()}-{time.monotonic_ns()}")
    yield path
    path.unlink(missing_ok=True)


def test_the_files_in_memory_are_those_on_a_tmpfs_that_are_open_for_writing(in_shm: Path) -> None:
    with in_shm.open("wb") as file, in_shm.open("rb"), Path("/proc/self/comm").open("r+b") as other:
        status, elsewhere = in_shm.stat(), os.fstat(other.fileno())
        key, whole = (status.st_dev, status.st_ino), (status.st_dev, 0)
        grown = []
        for _ in range(20):
            file.truncate(0)
            file.seek(0)
            before = in_memory("/proc", os.getpid())
            file.write(bytes(8 * MIB))
            file.flush()
            after = in_memory("/proc", os.getpid())
            assert elsewhere.st_dev not in {device for device, _inode in before}
            assert (before[key], after[key]) == (0, 8 * MIB)
            grown.append(after.get(whole, 8 * MIB) - before.get(whole, 0))
    # Others have files there, too, and may remove some meanwhile.
    assert max(grown) >= 8 * MIB
    assert key not in in_memory("/proc", os.getpid())
    with in_shm.open("rb"):
        assert key not in in_memory("/proc", os.getpid())


class Pretended:
    """A sense for which a file is all the shared memory there is."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def snapshot(self) -> Snapshot:
        return Snapshot(time.monotonic(), Memory(GIB, 0, 0, shmem=self.file.stat().st_blocks * 512))


@pytest.mark.timeout(180)
def test_a_real_writer_is_told_from_those_who_write_more_to_a_pipe_and_to_a_disk(
    start: Start, in_shm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(writers, "sleep", lambda seconds: pauses.append(seconds) or time.sleep(seconds))
    pipe = start(PIPE)
    sense: Any = Pretended(in_shm)
    policy = Policy("p", (Rule("low", LOW, ""),))
    # On a busy machine it may happen that the writer does not have its turn between two readings, or has it in the
    # middle of one.
    for _ in range(20):
        disk, writer = start(FILL, tmp_path / "backup", 60 * MIB), start(FILL, in_shm, 20 * MIB)
        pauses.clear()
        joined = Writers(LIVE, sense, NOTHING).join(Scan(0.0, (), 0, flood=20.0 * MIB), MIB)
        assert sum(pauses) < 2.0
        rates = {process.pid: process.fills for process in joined.processes if process.fills}
        assert set(rates) <= {writer.pid}, (pipe.pid, disk.pid)
        choice = choose(policy.rules[0], policy, sense.snapshot(), joined.processes, os.getpid(), flood=joined.flood)
        if choice.writes:
            break
        for child in (disk, writer):
            child.kill()
            child.wait()
    assert rates[writer.pid] >= 0.5 * joined.flood > 0
    assert choice.writes and choice.victim and choice.victim.pids == (writer.pid,)


# --- how much belongs to nobody -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "shmem", "flood"),
    [
        ([], [], 80 * MIB, 20 * MIB),
        ([], [], -80 * MIB, 0),
        ([], [App(5, shmem=60 * MIB)], 80 * MIB, 5 * MIB),
        ([App(5, shmem=60 * MIB)], [App(5, shmem=60 * MIB)], 80 * MIB, 20 * MIB),
        ([App(5, shmem=60 * MIB)], [App(5, shmem=60 * MIB), App(6, shmem=60 * MIB)], 80 * MIB, 5 * MIB),
        ([App(5, shmem=60 * MIB)], [], 0, 0),
        ([App(5, shmem=60 * MIB)], [], 80 * MIB, 20 * MIB),
    ],
)
def test_what_processes_map_is_theirs(
    tmp_path: Path, before: list[App], after: list[App], shmem: int, flood: int
) -> None:
    """Over four seconds."""
    earlier = scan(f"{build(tmp_path / 'a', apps=before)}/proc", 100.0, 0, NOTHING, shmem=GIB)
    later = scan(f"{build(tmp_path / 'b', apps=after)}/proc", 104.0, 0, NOTHING, earlier=earlier, shmem=GIB + shmem)
    assert (earlier.flood, later.flood) == (0, flood)


# --- when it is looked for ------------------------------------------------------------------------------------------


class Script:
    """Readings as they are written down, one after another, on a clock that only sleeping turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, live: bool = True) -> None:
        self.now, self.asked, self.slept, self.live = 100.0, 0, 0.0, live
        monkeypatch.setattr(writers, "reading", self.reading)
        monkeypatch.setattr(writers, "sleep", self.sleep)
        monkeypatch.setattr(writers, "look", lambda proc, pid, wants: Process(pid, 1, "writer", 0.0))
        monkeypatch.setattr(writers, "add_ancestors", lambda *_: None)
        self.writers = Writers(LIVE, self, NOTHING)  # type: ignore[arg-type]

    def snapshot(self) -> Snapshot:
        return Snapshot(self.now, Memory(GIB, 0, 0))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds

    def reading(self, _machine: Machine, _snapshot: Snapshot, before: Reading | None) -> Reading:
        self.asked += 1
        amount = int((self.now - 100) * GROWN)
        files = {5: {(9, 1): amount}} if before else {}
        return Reading(self.now, amount, {5: amount}, files if self.live else None)

    def join(self, flood: float = GROWN, patient: bool = True) -> Scan:
        return self.writers.join(Scan(self.now, (), 0, flood=flood), MIB, patient)


def test_without_a_flood_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    assert script.join(flood=0.0) == Scan(100.0, (), 0)
    assert script.asked == 0
    script.join()
    assert script.asked == 3


def test_the_writer_is_known_after_a_moment_and_at_once_if_it_was_looked_for_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(monkeypatch)
    joined = script.join()
    assert [(one.pid, one.fills) for one in joined.processes] == [(5, pytest.approx(GROWN))]
    assert (joined.flood, script.slept) == (pytest.approx(GROWN), pytest.approx(2 * PAUSE))
    script.now += 1.0
    assert [one.pid for one in script.join().processes] == [5]
    assert script.slept == pytest.approx(2 * PAUSE)


def test_who_is_not_patient_never_waits_and_prepares_for_who_is(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    known = []
    for _ in range(3):
        known.append(len(script.join(patient=False).processes))
        script.now += 1.0
    assert (known, script.slept) == ([0, 0, 1], 0.0)


@pytest.mark.parametrize(("pause", "waits"), [(STALE - 0.1, 0.0), (STALE + 0.1, PAUSE), (PAUSE / 3, PAUSE)])
def test_what_was_read_too_long_ago_or_just_now_says_nothing(
    monkeypatch: pytest.MonkeyPatch, pause: float, waits: float
) -> None:
    script = Script(monkeypatch)
    script.join()
    script.slept = 0.0
    script.now += pause
    assert script.join().processes
    assert script.slept == pytest.approx(waits)


def test_the_end_of_a_writer_counts_for_some_seconds_and_as_long_as_memory_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(available: int, shmem: int = 4 * GIB, waits: float | None = None) -> Snapshot:
        pressure = None if waits is None else Pressure(Stall(waits, 0.0, 0.0, 0.0), None)
        return Snapshot(0.0, Memory(8 * GIB, 0, available, shmem=shmem), memory_pressure=pressure)

    watched = Script(monkeypatch).writers
    rule = Rule("low", LOW, "", steps=(Step("term", 5.0), Step("kill")))
    assert not watched.ended(0.0, found(GIB))
    watched.end(rule, 100.0)
    assert watched.ended(104.0, found(100 * MIB))
    assert watched.ended(105.0, found(30 * MIB))
    assert not watched.ended(106.0, found(10 * MIB))
    assert watched.ended(105.0 + AFTERWARDS - 0.1, found(100 * MIB, waits=0.9))
    later = 105.0 + AFTERWARDS
    assert not watched.ended(later, found(100 * MIB))  # whether it hurts is not known
    assert not watched.ended(later, found(100 * MIB, waits=HURTS + 0.01))
    assert watched.ended(later + 1e6, found(100 * MIB, waits=HURTS))
    assert not watched.ended(later, found(10 * MIB, waits=0.0))
    assert not watched.ended(later, found(100 * MIB, shmem=3 * GIB, waits=0.0))


# --- in the guard ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flood", [False, True])
def test_on_the_ordinary_path_no_io_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flood: bool) -> None:
    """The whole guard on a machine of files; of its acts none reaches anybody, as it is a dry run."""
    opened: list[str] = []
    real_open = os.open

    def spy(path: Any, *arguments: Any, **options: Any) -> int:
        opened.append(os.fsdecode(path))
        return real_open(path, *arguments, **options)

    now = [1000.0]
    monkeypatch.setattr(writers, "sleep", lambda seconds: None)
    monkeypatch.setattr(clock, "since_boot", lambda: now[0])
    machine = Machine(f"{tmp_path}/proc", f"{tmp_path}/sys", live=False)
    policy = Policy("p", (Rule("low", LOW, "mem.available < 5%"),))
    events: list[Any] = []
    guard: Guard | None = None
    for second in range(7):
        grown = second * GIB
        hog = App(5, b"hog", anon=GIB if flood else GIB + grown, user=os.geteuid())
        writer = App(6, b"writer", file=MIB, user=os.geteuid(), written=grown if flood else 0)
        build(tmp_path, apps=[hog, writer], available=6 * GIB + MIB - grown, Shmem=grown if flood else 0)
        now[0] += 1.001
        if guard is None:
            sense = Sense(machine, (), now=lambda: now[0])
            ladder = Ladder(World(), events.append, policy)
            guard = Guard(machine, policy, sense, ladder, events.append, 1, True, now=lambda: now[0])
            monkeypatch.setattr(posix, "open", spy)
        guard.cycle()
    (chosen,) = [event for event in events if type(event).__name__ == "Chosen"]
    assert any(path.endswith("/6/io") for path in opened) is flood
    assert (chosen.pids, chosen.reason) == (((6,), "ownerless-memory") if flood else ((5,), "low-memory"))
