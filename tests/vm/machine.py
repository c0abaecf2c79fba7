"""Runs a job in a guest that is restored for it and thrown away afterwards."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO

from . import job as jobs
from .job import Job
from .qemu import Hardware, Qemu, QemuError, inherited
from .result import Ending, Result
from .snapshot import JOB_MIB, SWAP_MIB, Snapshot, disks, snapshot


@dataclass(frozen=True)
class DiskSwap:
    """Swap on a disk, in MiB."""

    mib: int

    def script(self) -> str:
        return f"mkswap /dev/vdb {self.mib * 1024} >/dev/null; swapon /dev/vdb"


@dataclass(frozen=True)
class ZramSwap:
    """Swap on compressed memory: what fits into it, in MiB, before compression."""

    mib: int

    def script(self) -> str:
        return f"echo {self.mib}M >/sys/block/zram0/disksize; mkswap /dev/zram0 >/dev/null; swapon /dev/zram0"


@dataclass(frozen=True)
class DiskSpeed:
    """What the system's disk and the swap disk can do, each. Swapping is bound by ``iops``."""

    iops: int
    mb_per_s: int

    def script(self) -> str:
        """QEMU's disks say that they rotate, and kernel and daemons treat such disks differently."""
        return "for _disk in /sys/block/vd?/queue/rotational; do echo 0 >$_disk; done"


EMMC = DiskSpeed(iops=1500, mb_per_s=40)


@dataclass(frozen=True)
class Machine:
    """A guest's hardware and swap; without a speed its disks are as fast as the host's."""

    hardware: Hardware
    swap: DiskSwap | ZramSwap | None = None
    speed: DiskSpeed | None = None

    def run(self, job: Job, limit_s: float) -> Result:
        """Restore, run the job, and say what happened; after ``limit_s`` seconds of the host it is over.

        The script may bring the end nearer, or put it off: ``echo deadline 30`` gives it 30 seconds from there.

        A guest that hangs or dies is a result; ``QemuError`` means that there was no guest.
        """
        with tempfile.TemporaryFile() as swap_disk, tempfile.TemporaryFile() as job_disk:
            swap_disk.truncate(SWAP_MIB << 20)
            job_disk.truncate(JOB_MIB << 20)
            prepare = "\n".join(part.script() for part in (self.speed, self.swap) if part)
            jobs.write(job, prepare, job_disk)
            with self._restored(swap_disk, job_disk) as qemu:
                if job.reboots:
                    qemu.command("set-action", reboot="reset")
                ending, heard = _hear(qemu, job, limit_s)
                return Result.of(ending, heard, qemu.console())

    @contextmanager
    def _restored(self, swap_disk: IO[bytes], job_disk: IO[bytes]) -> Iterator[Qemu]:
        with ExitStack() as stack:

            def restore(saved: Snapshot) -> Qemu:
                qemu = stack.enter_context(self._start(saved, swap_disk, job_disk))
                qemu.wait_until("query-status", "paused")  # as it was when it was saved
                qemu.command("cont")
                return qemu

            saved = snapshot(self.hardware)
            try:
                qemu = restore(saved)
            except QemuError:
                # Whatever made it unusable, a new one is made in half a minute.
                stack.close()
                saved.discard()
                qemu = restore(snapshot(self.hardware))
            yield qemu

    def _start(self, saved: Snapshot, swap_disk: IO[bytes], job_disk: IO[bytes]) -> Qemu:
        limit = ""
        if self.speed:
            bytes_per_s = self.speed.mb_per_s * 1000**2
            limit = f",throttling.iops-total={self.speed.iops},throttling.bps-total={bytes_per_s}"
        system = f"{saved.disk},snapshot=on{limit}"  # QEMU writes to a file of its own without a name
        drives = disks(system, f"{inherited(swap_disk)}{limit}", inherited(job_disk))
        with saved.state.open("rb") as state:
            incoming = ("-incoming", f"fd:{state.fileno()}")
            return Qemu(self.hardware, *drives, *incoming, files=(swap_disk, job_disk, state))


def _hear(qemu: Qemu, job: Job, limit_s: float) -> tuple[Ending, list[tuple[float, str]]]:
    """Listen until the job is over."""
    start = time.monotonic()
    end = start + limit_s
    heard: list[tuple[float, str]] = []
    while (next_line := next(qemu.lines(end), None)) is not None:
        at, line = next_line
        heard.append((at - start, line))
        tag, _, rest = line.partition(" ")
        if line.startswith("say run deadline "):
            end = at + float(line.removeprefix("say run deadline "))
        if tag == "failed" or (tag == "end" and rest != "0"):
            return Ending.FAILED, heard
        if (tag, rest) == ("gone", job.until):
            break
    else:
        return Ending.MACHINE_GONE if time.monotonic() < end else Ending.LIMIT, heard
    heard += [(at - start, line) for at, line in qemu.lines(time.monotonic() + job.settle_s)]
    return Ending.DONE, heard
