"""A guest that has booted and waits for a job, saved: a second to restore, ten or more to boot."""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import cache
from .host import run
from .qemu import Hardware, Qemu, QemuError, inherited, version

SWAP_MIB = 4096  # the disk's size is saved too, so it is the most that a guest can use; sparse
JOB_MIB = 256
BOOT_S = 180
SETTLE_S = 8  # what systemd still does after the agent has started


@dataclass(frozen=True)
class Snapshot:
    """A saved state and the disk that belongs to it.

    They go together with the image: over another disk the guest's page cache would lie about what is there.
    """

    directory: Path

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def disk(self) -> Path:
        return self.directory / "disk.qcow2"

    def discard(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)  # another process may do the same


def snapshot(hardware: Hardware) -> Snapshot:
    """The saved state for this hardware, booted and saved now if there is none."""
    inputs: list[str | Path] = [Path(__file__), version(), *hardware.arguments(), str(hardware.image.disk)]
    directory = cache.built("snapshot", inputs, lambda target: _boot_and_save(hardware, Snapshot(target)))
    return Snapshot(directory)


def disks(system: str, swap: str, job: str) -> list[str]:
    """vda, vdb and vdc. Nothing is ever synced: what is on them is thrown away, or saved in good order."""
    common = "if=virtio,cache=unsafe"
    return [
        "-drive", f"{common},format=qcow2,file={system}",
        "-drive", f"{common},format=raw,file={swap}",
        "-drive", f"{common},format=raw,file={job}",
    ]  # fmt: skip


def _boot_and_save(hardware: Hardware, target: Snapshot) -> None:
    backing = ["-b", str(hardware.image.disk), "-F", "raw"]
    run("qemu-img", "create", "-q", "-f", "qcow2", *backing, target.disk)
    with tempfile.TemporaryFile() as swap, tempfile.TemporaryFile() as job:
        swap.truncate(SWAP_MIB << 20)
        job.truncate(JOB_MIB << 20)
        drives = disks(str(target.disk), inherited(swap), inherited(job))
        with Qemu(hardware, *drives, files=(swap, job)) as qemu, target.state.open("wb") as state:
            _, said = next(qemu.lines(time.monotonic() + BOOT_S), (0, "nothing"))
            if said != "ready":
                raise QemuError(f"the guest did not boot: {said}\n{qemu.console()}")
            time.sleep(SETTLE_S)
            qemu.command("stop")
            qemu.command("getfd", state, fdname="state")
            qemu.command("migrate", uri="fd:state")
            qemu.wait_until("query-migrate", "completed")
            qemu.quit()
