"""Cgroups for tests: directories that look like some, and a real one where this machine lets us make it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from okoomer.kernel.cgroup import mount

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A program that waits for ever, whatever it is asked.
DEAF = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"
#: One that has born many others before it says so, and bears more as long as it lives.
FORKS = """if True:
    import os, signal, sys, time
    for number in range(20):
        if os.fork() == 0:
            signal.pause()
    print(1, flush=True)
    while True:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        time.sleep(0.02)
"""


@contextmanager
def running(program: str = DEAF, count: int = 1) -> Iterator[list[int]]:
    """Children that run a program, each in a process group of its own, and are gone with all of it afterwards."""
    children = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
        for _ in range(count)
    ]
    try:
        for child in children:
            assert child.stdout and child.stdout.readline() == b"1\n"
        yield [child.pid for child in children]
    finally:
        for child in children:
            try:
                os.killpg(child.pid, 9)
            except ProcessLookupError:
                pass
            child.wait()
            assert child.stdout
            child.stdout.close()


def alive(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def make(root: Path, path: str, pids: list[int] | None = None, **files: str) -> Path:
    """A directory like that of a cgroup; `memory__max="max"` is a file memory.max."""
    folder = root / path.strip("/")
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"cgroup.events": "populated 1\nfrozen 0\n"} | {n.replace("__", "."): text for n, text in files.items()}
    texts["cgroup.procs"] = "".join(f"{pid}\n" for pid in pids or ())
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def proc_of(folder: Path, root: Path) -> str:
    """A /proc that says that the unified hierarchy is mounted there, and nothing else."""
    (folder / "self").mkdir()
    (folder / "self/mounts").write_text(f"none /proc proc rw 0 0\ncgroup2 {root} cgroup2 rw 0 0\n")
    return str(folder)


@contextmanager
def real(name: str) -> Iterator[Path | None]:
    """A cgroup of our own with one below it, both empty; None where none can be made."""
    mounted = mount()
    folder = Path(mounted) / f"okoomer-test-{name}-{os.getpid()}" if mounted else None
    try:
        if folder:
            (folder / "below").mkdir(parents=True)
    except OSError:
        folder = None
    try:
        yield folder
    finally:
        for one in (folder / "below", folder) if folder else ():
            remove(one)


def remove(cgroup: Path, seconds: float = 60) -> None:
    """Removes a cgroup as soon as nobody is in it any more: who was killed is gone a moment later.

    Raises:
        OSError: Somebody stays in it.
    """
    until = monotonic() + seconds
    while True:
        try:
            return cgroup.rmdir()
        except OSError:
            if monotonic() > until:
                raise
            sleep(0.01)
