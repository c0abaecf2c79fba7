"""nohang's table of processes, best victim first."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from okoomer.events.text import harmless
from okoomer.facts import Process
from okoomer.guard.scan import look
from okoomer.kernel import process as kernel
from okoomer.kernel.files import read
from okoomer.policy.choose import NEVER, needs_of
from okoomer.policy.family import Unit
from okoomer.policy.model import Policy
from okoomer.policy.scale import ORDINARY, Scale
from okoomer.record import Record
from okoomer.units import MIB

#: What a further column shows, by nohang's name of it, and what has to be read for it.
COLUMNS: dict[str, tuple[str, Callable[[Process], str]]] = {
    "cgroup_v1": ("cgroup1", lambda process: process.cgroup1),
    "cgroup_v2": ("cgroup", lambda process: process.cgroup),
    "realpath": ("exe", lambda process: process.executable),
    "cwd": ("cwd", lambda process: process.directory),
    "cmdline": ("cmdline", lambda process: process.command),
    "environ": ("environ", lambda process: process.environment),
}
_HEADER = ("PID", "PPID", "badness", "oom_score", "oom_score_adj", "eUID", "S", "VmSize", "VmRSS", "VmSwap", "Name")
_WIDTHS = (8, 8, 7, 9, 13, 10, 1, 8, 7, 7)


class Task(Record):
    """A process with its score, its state and the size of its address space in bytes."""

    process: Process
    badness: float
    state: str
    size: int


def table(proc: str, policy: Policy, extra: str = "None") -> Iterator[str]:
    """The processes that hold memory, a line each, and who is the first choice.

    Args:
        proc: Where /proc is.
        policy: Its first rule weighs them.
        extra: A further column, a key of COLUMNS, or None.

    Raises:
        OSError: /proc cannot be listed.
    """
    began = time.monotonic()
    kind, text_of = COLUMNS.get(extra, ("", lambda process: ""))
    found = tasks(proc, policy, kind)
    spent = time.monotonic() - began
    yield _row(_HEADER, extra if kind else "")
    for task in found:
        process = task.process
        cells = (
            process.pid,
            process.parent,
            f"{task.badness:.0f}",
            process.oom_score,
            process.adjustment,
            process.user,
            task.state,
            *(f"{size / MIB:.0f}" for size in (task.size, _resident(process), process.swap)),
            harmless(process.name),
        )
        yield _row(cells, harmless(text_of(process)))
    yield f"{len(found)} processes that hold memory, without init and this one; sizes in MiB; {spent * 1000:.0f} ms"
    if found:
        first = found[0]
        name = harmless(first.process.name)
        yield f"highest badness: {name} (pid {first.process.pid}) with {first.badness:.0f}"


def tasks(proc: str, policy: Policy, kind: str = "") -> list[Task]:
    """The processes by their score, best victim first; `kind` is what has to be read besides."""
    wants = needs_of(policy) | {"oom_score"} | ({kind} if kind else set())
    found = [process for pid in kernel.pids(proc) if (process := look(proc, int(pid), wants)) and _counts(process)]
    scale = Scale(policy.rules[0], policy, found, 0)
    rows = []
    for process in found:
        try:
            state = kernel.stat(proc, process.pid).state
            size = int(read(f"{proc}/{process.pid}/statm").split()[0]) * kernel.PAGE
        except (OSError, ValueError, IndexError):
            continue  # it has ended meanwhile
        score = scale.candidate(Unit("process", process, (process,), []), ORDINARY, "").score
        rows.append(Task(process, score if process.adjustment > NEVER else 0.0, state, size))
    return sorted(rows, key=lambda task: (-task.badness, -_resident(task.process), task.process.pid))


def _counts(process: Process) -> bool:
    return process.pid not in (1, os.getpid()) and not process.kernel_thread and _resident(process) > 0


def _resident(process: Process) -> int:
    return process.anon + process.file + process.shmem


def _row(cells: tuple[object, ...], extra: str) -> str:
    numbers = " ".join(f"{cell!s:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=False))
    return f"{numbers} {cells[-1]!s:15} {extra}".rstrip()
