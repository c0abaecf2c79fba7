"""`okoomer snapshot`: this machine's facts as a directory, on which `why --machine` decides again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from okoomer.cli import place
from okoomer.cli.errors import BadInput, CannotHere
from okoomer.kernel import cgroup, clock, process, zram

#: Per machine, below /proc.
PRESSURE_FILES = ("pressure/memory", "pressure/io", "pressure/cpu")
MACHINE_FILES = ("meminfo", "vmstat", "swaps", *PRESSURE_FILES, "spl/kstat/zfs/arcstats")
#: Per process, below /proc/PID.
PROCESS_FILES = ("stat", "statm", "status", "comm", "cmdline", "cgroup", "oom_score", "oom_score_adj", "io")
#: Attributes of cgroups by which others mark them.
MARKS = ("user.", "trusted.")


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
    proc = Path("/proc")
    for name in MACHINE_FILES:
        copied += copy(proc / name, directory / "proc" / name)
    for pid in process.pids("/proc"):
        for name in PROCESS_FILES:
            copied += copy(proc / pid / name, directory / "proc" / pid / name)
    for device in zram.devices("/sys"):
        for name in ("disksize", "mm_stat"):
            copied += copy(Path(device, name), directory / "sys/block" / Path(device).name / name)
    mount = cgroup.mount_point()
    marks: dict[str, dict[str, str]] = {}
    for root, _folders, files in os.walk(mount) if mount else ():
        path = "/" + "/".join(Path(root).relative_to(mount or "/").parts)
        for name in cgroup.RECORDED:
            if name in files:
                copied += copy(Path(root, name), directory / "sys/fs/cgroup" / path[1:] / name)
        if found := marks_of(root):
            marks[path] = found
    (directory / "xattrs.json").write_text(json.dumps(marks, indent=1) + "\n")
    return copied + 1


def copy(source: Path, target: Path) -> int:
    """Copies one file of the kernel, whose size is not known before it is read; 1, or 0 if it cannot be read."""
    try:
        text = source.read_bytes()
    except OSError:
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text)
    return 1


def marks_of(directory: str) -> dict[str, str]:
    """The extended attributes of a cgroup."""
    try:
        names = [name for name in os.listxattr(directory) if name.startswith(MARKS)]
        return {name: os.getxattr(directory, name).decode("utf-8", "backslashreplace") for name in names}
    except OSError:
        return {}
