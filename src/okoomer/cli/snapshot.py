"""`okoomer snapshot`: this machine's facts as a directory, on which `why --machine` decides again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from okoomer.cli import place
from okoomer.cli.errors import BadInput, CannotHere
from okoomer.cli.status import standing
from okoomer.kernel import cgroup, cgroup_text, clock, process, zram

#: Per machine, below /proc.
PRESSURE_FILES = ("pressure/memory", "pressure/io", "pressure/cpu")
MACHINE_FILES = ("meminfo", "vmstat", "swaps", *PRESSURE_FILES, "spl/kstat/zfs/arcstats")
#: Per process, below /proc/PID.
PROCESS_FILES = ("stat", "statm", "status", "comm", "cmdline", "cgroup", "oom_score", "oom_score_adj", "io")


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@place.json_option
def command(directory: Path, as_json: bool) -> None:
    """Record this machine's facts in a new directory.

    Command lines of processes are part of them: look through them before you hand the directory on.

    \b
    Example:
      okoomer snapshot /tmp/now
      okoomer why --machine /tmp/now --policy desktop
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise BadInput(f"{directory}: exists and is not an empty directory; name a new one")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        files = record(directory)
    except OSError as error:
        raise CannotHere(f"{error.filename or directory}: {error.strerror}") from error
    answer = {"directory": str(directory), "files": files}
    click.echo(json.dumps(answer) if as_json else f"{files} files in {directory}")


def record(directory: Path) -> int:
    """Copies the facts; how many files there are. What vanishes meanwhile is absent.

    Raises:
        OSError: The directory cannot be written.
    """
    (directory / "clock").write_text(f"{clock.since_boot():.3f}\n")
    copied = 1
    here = place.runtime_dir(None)
    late = standing(None, here).late if place.running(here) is not None else None
    if late is not None:
        (directory / "canary").write_text(f"{late:.6f}\n")
        copied += 1
    proc = Path("/proc")
    for name in MACHINE_FILES:
        copied += copy(proc / name, directory / "proc" / name)
    for pid in process.pids("/proc"):
        for name in PROCESS_FILES:
            copied += copy(proc / pid / name, directory / "proc" / pid / name)
    for device in zram.devices("/sys"):
        for name in ("disksize", "mm_stat"):
            copied += copy(Path(device, name), directory / "sys/block" / Path(device).name / name)
    return copied + record_cgroups(directory)


def record_cgroups(directory: Path) -> int:
    """Copies what decisions need of the unified hierarchy; how many files there are.

    Raises:
        OSError: The directory cannot be written.
    """
    copied = 0
    mount = cgroup.mount()
    marks: dict[str, dict[str, str]] = {}
    owners: dict[str, int] = {}
    devices: set[str] = set()
    for root, _folders, files in os.walk(mount) if mount else ():
        path = cgroup.path_text("/" + "/".join(Path(root).relative_to(mount or "/").parts))
        for name in cgroup.RECORDED:
            if name in files:
                copied += copy(
                    Path(root, name), directory / "sys/fs/cgroup" / Path(root).relative_to(mount or "/") / name
                )
        if found := cgroup.marks(root):
            marks[path] = found
        if owner := owner_of(root):
            owners[path] = owner
        devices |= devices_of(Path(root, "io.stat"))
    for device in sorted(devices):
        # What reads and writes cost depends on whether a device turns.
        flag = f"dev/block/{device}/queue/rotational"
        copied += copy(Path("/sys", flag), directory / "sys" / flag)
    (directory / "xattrs.json").write_text(json.dumps(marks, indent=1) + "\n")
    if owners:
        (directory / "owners.json").write_text(json.dumps(owners, indent=1) + "\n")
    return copied + 1 + bool(owners)


def owner_of(directory: str) -> int:
    """The user that a cgroup belongs to; 0 is also one that is gone."""
    try:
        return Path(directory).stat().st_uid
    except OSError:
        return 0


def devices_of(file: Path) -> set[str]:
    """The devices that an io.stat tells of, as `major:minor`."""
    try:
        return {
            device for device, _counted in cgroup_text.flows(file.read_bytes()) if device.replace(":", "").isdigit()
        }
    except (OSError, ValueError):
        return set()


def copy(source: Path, target: Path) -> int:
    """Copies one file of the kernel, whose size is not known before it is read; 1, or 0 if it cannot be read."""
    try:
        text = source.read_bytes()
    except OSError:
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text)
    return 1
