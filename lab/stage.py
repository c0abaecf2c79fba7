"""One scenario with one daemon, as a job for the guest."""

import functools
import hashlib
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from msgspec import structs

from lab.daemons import PACKAGES, VOICES, Daemon, contestant
from lab.matrix import Cell
from lab.observe import observed
from lab.run import Run, Swap
from lab.scenario import Scenario
from lab.scenarios import SCENARIOS
from tests.vm import cache
from tests.vm.host import run as command
from tests.vm.image import GUEST as VM_GUEST
from tests.vm.image import image
from tests.vm.job import PRELUDE, File, Job
from tests.vm.machine import EMMC, DiskSwap, Machine, ZramSwap
from tests.vm.qemu import Hardware, version

GUEST = Path(__file__).parent / "guest"
STAGE = GUEST / "stage.sh"
MEMORY_MIB = 1024
CPUS = 2
SWAP_MIB = 1024
SETUP_S = 180  # a busy host; it takes a tenth of that
AFTER_S = 4  # how long the canaries are heard when it is over
GRACE_S = 15  # beyond the incident's limit, for a guest that still stalls
CANARIES = """\
SLICE=user-1000-app.slice start canary-ui user /opt/lab/canary-ui /var/tmp/canary-ui
SLICE=system.slice start canary-login root /opt/lab/canary-login
SLICE=system.slice start canary-web daemon /opt/lab/canary-service
await 60 holds canary-ui 60
"""
CANARY_VOICES = ("canary-ui", "canary-login", "canary-web")


def play(cell: Cell) -> Run:
    """Run it in a guest of its own; ``HostError`` or ``QemuError`` if there is none to be had."""
    began, start = datetime.now(UTC), time.monotonic()
    scenario, daemon = SCENARIOS[cell.scenario], contestant(cell.daemon, cell.point)
    machine, job = _machine(cell), _job(scenario, daemon)
    seen = observed(machine.run(job, SETUP_S), scenario, daemon)
    return Run(
        scenario=cell.scenario,
        swap=cell.swap,
        daemon=cell.daemon,
        repeat=cell.repeat,
        point=cell.point,
        key=_digest(job, machine),
        began=began.isoformat(timespec="seconds"),
        took_s=round(time.monotonic() - start, 1),
        seen=structs.replace(seen, versions=_versions(machine) | seen.versions),
    )


def _versions(machine: Machine) -> dict[str, str]:
    """What the figures depend on besides the daemon."""
    processor = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "host": f"{processor[1] if processor else os.uname().machine}, {os.cpu_count()} processors",
        "qemu": version().splitlines()[0].removeprefix("QEMU emulator version "),
        "kernel": machine.hardware.image.release,
        "guest": f"Debian 12, {MEMORY_MIB} MiB of memory, {CPUS} processors, emulated",
    }


def key(cell: Cell) -> str:
    """The same for runs with the same programs, scripts, settings and machine."""
    return _digest(_job(SCENARIOS[cell.scenario], contestant(cell.daemon, cell.point)), _machine(cell))


def _machine(cell: Cell) -> Machine:
    mib = SCENARIOS[cell.scenario].swap_mib.get(cell.swap, SWAP_MIB)
    swap = {Swap.NONE: None, Swap.DISK: DiskSwap(mib), Swap.ZRAM: ZramSwap(mib)}[cell.swap]
    return Machine(_hardware(), swap, EMMC)


@functools.cache
def _hardware() -> Hardware:
    return Hardware(image(*PACKAGES), MEMORY_MIB, CPUS)


def _job(scenario: Scenario, daemon: Daemon) -> Job:
    return Job(
        script=_script(scenario, daemon),
        voices=(*CANARY_VOICES, *VOICES, *scenario.voices),
        until="run",
        files=(File("/opt/lab", _programs()), File("/job/stage.sh", STAGE), *daemon.files()),
        settle_s=0,
    )


def _script(scenario: Scenario, daemon: Daemon) -> str:
    return f"""
        . /job/stage.sh
        LIMIT={scenario.limit_s}
        start_daemon() {{
            :
            {daemon.start}
        }}
        {CANARIES}
        {scenario.before}
        {daemon.setup}
        {"" if scenario.daemon_late else "start_daemon"}
        echo "version $({daemon.version or "uname -r"})"
        sleep 2
        cost before "{daemon.unit}"
        echo "deadline {scenario.limit_s + GRACE_S}"
        echo "incident $(clock)"
        {{
        {scenario.act}
        }} || echo "not over: status $?"
        echo "over $(clock)"
        sleep {AFTER_S}
        cost after "{daemon.unit}"
    """


@functools.cache
def _programs() -> Path:
    """The programs of guest/, compiled."""
    return cache.built("lab", [*_sources(), VM_GUEST / "load.h"], _compile)


def _sources() -> list[Path]:
    return sorted(GUEST.glob("*.[ch]"))


def _compile(target: Path) -> None:
    flags = ("-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{VM_GUEST}")
    for source in _sources():
        if source.suffix == ".c":
            command("gcc", *flags, "-o", target / source.stem, source)


def _digest(job: Job, machine: Machine) -> str:
    hardware = machine.hardware
    image_hash = hardware.image.disk.parent.name
    guest = (image_hash, hardware.memory_mib, hardware.cpus, machine.swap, machine.speed)
    total = hashlib.sha256(f"{guest}\n{job.script}\n".encode())
    for name, data in _contents((*job.files, File("prelude.sh", PRELUDE))):
        total.update(f"{name} {len(data)}\n".encode() + data)
    return total.hexdigest()[:16]


def _contents(files: tuple[File, ...]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        match file.content:
            case str(text):
                yield file.path, text.encode()
            case path if path.is_dir():
                for part in sorted(path.rglob("*")):
                    if part.is_file() and part.suffix != ".pyc":  # compiled ones carry times
                        yield f"{file.path}/{part.relative_to(path)}", part.read_bytes()
            case path:
                yield file.path, path.read_bytes()
