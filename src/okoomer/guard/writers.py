"""Writers: who fills memory that belongs to no process. Looked for only while such memory is what grows: it takes one
more file for each process, and that twice.

A process is under suspicion for what it writes to anything but a disk, as much as such memory grows, however small it
is itself. But a pipe or a socket takes as much, so what counts in the end is by how much the files have grown that it
has open for writing on a tmpfs.
"""

from __future__ import annotations

from time import sleep

from okoomer.guard.scan import add_ancestors, look
from okoomer.kernel import process as kernel
from okoomer.kernel.output import in_memory, written
from okoomer.policy.metrics import available
from okoomer.policy.ownerless import WRITER_SHARE, floods
from okoomer.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.facts import Snapshot
    from okoomer.guard.scan import Scan
    from okoomer.guard.sense import Sense
    from okoomer.kernel.machine import Machine
    from okoomer.policy.model import Rule

#: So many processes at most are under suspicion, and nobody who writes less than this share of the growth.
SUSPECTS, SUSPECT_SHARE = 16, 1 / 16
#: Seconds between two readings, and after which one says nothing any more.
PAUSE, STALE = 0.1, 15.0
#: As long as what a writer left is there, and no more, nobody else is ended for it: forecasts and stalls go back to
#: when he lived, and a machine that is full and stays so needs nobody's end. After so many seconds that is over if
#: somebody has waited for memory for this share of the last ten: then it hurts, and room would help.
AFTERWARDS, HURTS = 10.0, 0.1


class Reading(Record):
    """What has been written at an instant: `time` in seconds, `shmem` and all else in bytes. `written` is by pid, and
    so are `files`, of those under suspicion (see kernel.output); None on a recorded machine, where nobody has any."""

    time: float
    shmem: int
    written: dict[int, int]
    files: dict[int, dict[tuple[int, int], int]] | None


def reading(machine: Machine, snapshot: Snapshot, before: Reading | None) -> Reading:
    """A reading; with one before it, also of the files of those who are under suspicion since then."""
    counts = {}
    try:
        for pid in kernel.pids(machine.proc):
            try:
                counts[int(pid)] = written(machine.proc, pid)
            except (OSError, ValueError, IndexError):
                continue
    except OSError:
        pass  # then nobody is known to write
    now = Reading(snapshot.time, snapshot.memory.shmem, counts, None)
    if not machine.live:
        return now
    files = {}
    for suspect in suspects(before, now) if before else ():
        try:
            files[suspect] = in_memory(machine.proc, suspect)
        except (OSError, ValueError, IndexError):
            files[suspect] = {}
    return replace(now, files=files)


def suspects(before: Reading, now: Reading) -> dict[int, int]:
    """By pid, the bytes that each process has written since, if that could explain some of the growth of memory."""
    grown = now.shmem - before.shmem
    if grown <= 0 or now.time <= before.time:
        return {}
    amounts = []
    for pid, count in now.written.items():
        then = before.written.get(pid, 0)  # who was not there began with nothing
        amount = count - then if count >= then else count
        if amount >= SUSPECT_SHARE * grown:
            amounts.append((amount, pid))
    return {pid: amount for amount, pid in sorted(amounts, reverse=True)[:SUSPECTS]}


def complete(before: Reading, now: Reading) -> bool:
    """Whether two readings are far enough apart, and hold the files of all who are under suspicion."""
    apart = now.time - before.time >= PAUSE / 2
    return apart and (now.files is None or before.files is None or now.files.keys() <= before.files.keys())


def fills(before: Reading, now: Reading) -> dict[int, float]:
    """By pid, the bytes per second that processes wrote into files in memory between two readings.

    On a recorded machine it is what they wrote to anything but a disk. Else it is no more than what their files have
    grown by; or, if no file explains the growth, as when one after another is written, the tmpfs on which they have
    one open.
    """
    amounts: dict[int, int] = suspects(before, now)
    if now.files is not None:
        own, around = {}, {}
        for pid in amounts:
            then = (before.files or {}).get(pid, {})
            grown = {key: max(0, size - then[key]) for key, size in now.files[pid].items() if key in then}
            own[pid] = sum(amount for (_, inode), amount in grown.items() if inode)
            around[pid] = max((amount for (_, inode), amount in grown.items() if not inode), default=0)
        explained = sum(own.values()) >= WRITER_SHARE * (now.shmem - before.shmem)
        limits = own if explained else around
        amounts = {pid: min(amount, limits[pid]) for pid, amount in amounts.items()}
    return {pid: amount / (now.time - before.time) for pid, amount in amounts.items() if amount}


def joined(proc: str, found: Scan, before: Reading, now: Reading, wants: frozenset[str]) -> Scan:
    """A scan with those who fill memory, whatever their size, and with the growth between two readings."""
    processes = {process.pid: process for process in found.processes}
    for pid, rate in fills(before, now).items():
        process = processes.get(pid) or look(proc, pid, wants)
        if process:
            processes[pid] = replace(process, fills=rate)
            add_ancestors(proc, process.parent, wants, processes)
    flood = max(0, now.shmem - before.shmem) / (now.time - before.time)
    return replace(found, processes=tuple(processes.values()), flood=flood)


class Writers:
    """Looks for writers on one live machine, and remembers when one was ended."""

    def __init__(self, machine: Machine, sense: Sense, wants: frozenset[str]) -> None:
        self._machine = machine
        self._sense = sense
        self._wants = wants
        self._last: Reading | None = None
        #: Until when a writer's end counts whatever it is like, and the first look after it.
        self._until: float | None = None
        self._left: Snapshot | None = None

    def join(self, found: Scan, need: int, patient: bool = True) -> Scan:
        """The scan, joined by the writers if memory that belongs to no process is what grows.

        Args:
            need: Bytes that have to come back.
            patient: Wait for what is not known yet, 0.2 s at the most; else the next call may know it.
        """
        if not floods(found.flood, found.processes, need):
            self._last = None
            return found
        before, now = self._last, self._read(self._last)
        if before and now.time - before.time > STALE:
            before = None
        for _ in range(2 if patient else 0):
            if before and complete(before, now):
                break
            sleep(PAUSE)
            before, now = now, self._read(now)
        self._last = now
        if before is None or not (patient or complete(before, now)):
            return found
        return joined(self._machine.proc, found, before, now, self._wants)

    def _read(self, before: Reading | None) -> Reading:
        return reading(self._machine, self._sense.snapshot(), before)

    def end(self, rule: Rule, now: float) -> None:
        """A rule is about to end a writer, which takes as long as its steps."""
        self._until = now + sum(step.seconds for step in rule.steps) + AFTERWARDS
        self._left = None

    def ended(self, now: float, snapshot: Snapshot) -> bool:
        """Whether a writer was ended, what he left is there, and memory stays where it is."""
        if self._until is None:
            return False
        if self._left is None:
            self._left = snapshot
        left, slack = self._left, snapshot.memory.total // 100
        if available(snapshot) <= available(left) - slack or snapshot.memory.shmem <= left.memory.shmem - slack:
            return False
        pressure = snapshot.memory_pressure
        return now < self._until or (pressure is not None and pressure.some.avg10 <= HURTS)
