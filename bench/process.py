"""What the kernel counts for a process and for all its threads."""

from __future__ import annotations

from pathlib import Path

from tests.box.process import Proc


def cpu_seconds(process: Path) -> float:
    """CPU time of all living threads, to the nanosecond."""
    tasks = (process / "task").iterdir()
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


def wakeups(process: Path) -> int:
    """Context switches of all living threads."""
    total = 0
    for task in (process / "task").iterdir():
        lines = (task / "status").read_text(encoding="utf-8", errors="replace").splitlines()
        total += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return total


def memory_kib(process: Path) -> dict[str, int]:
    """Fields of smaps_rollup: Rss, Pss, Anonymous and the rest."""
    lines = (process / "smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def family(proc: Proc) -> list[Path]:
    """The process and its descendants, as directories of the box's /proc."""
    found, pids = [], [str(proc.pid)]
    while pids:
        process = proc.box.proc / pids.pop()
        found.append(process)
        for task in (process / "task").iterdir():
            pids += (task / "children").read_text(encoding="ascii").split()
    return found
