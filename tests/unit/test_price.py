"""What the resident guard imports, and what each module costs it for life."""

from __future__ import annotations

import compileall
import os
import posix
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

import okoomer
from okoomer.cli.compiled import compile_all
from okoomer.guard import launch
from okoomer.policy.language import load

SRC = Path(okoomer.__file__).parents[1]

#: KiB that each module of the standard library adds to the resident size of a bare interpreter, beside those above it
#: in the list that it needs itself: medians for Debian's Python 3.11. What costs nothing is built in.
PRICES = {
    "__future__": 4,  # annotations that are never evaluated, which saves typing (1850)
    "_collections": 0,  # the deque of the windows
    "_ctypes": 200,  # system calls that os does not offer, without ctypes (730)
    "_json": 56,  # strings for the log, without json (1300)
    "_socket": 60,  # the notification socket, without socket (1240)
    "_sre": 4,  # selectors that were compiled elsewhere, without re (1080)
    "_stat": 0,
    "_struct": 4,  # the ring
    "errno": 12,
    "fcntl": 4,
    "gc": 4,
    "mmap": 48,  # the ring
    "select": 0,
}
#: What would cost most is named as well, so that nobody puts it on the list lightly.
NEVER = {
    "argparse", "asyncio", "click", "collections", "contextlib", "ctypes", "dataclasses", "enum", "functools", "json",
    "lark", "logging", "os", "pathlib", "re", "rich", "signal", "socket", "subprocess", "threading", "typing",
}  # fmt: skip


#: MiB of anonymous memory for all that a guard with a door imports, and MiB that this may cost; what it does at the
#: start comes to 0.4 on top. A table of the interpreter's that grows by 0.15 at once, whenever some name is one too
#: many, is in it.
ANONYMOUS = 2.45


def started(program: str) -> list[str]:
    """The words that a program says in an interpreter that is started as the guard starts itself."""
    command = [sys.executable, "-I", "-S", "-OO", "-c", program, str(SRC)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()


def imported() -> set[str]:
    """The modules of the guard's process beyond those of a bare interpreter."""
    program = """if True:
        import sys
        bare = set(sys.modules)
        sys.path.insert(0, sys.argv[1])
        import okoomer.guard.main, okoomer.guard.reception
        # What only some policies, or only some starts, have need of.
        import okoomer.events.earlyoom, okoomer.guard.band, okoomer.guard.canary, okoomer.guard.cgroups
        import okoomer.guard.kmsg, okoomer.guard.limit, okoomer.guard.managed, okoomer.guard.prime
        import okoomer.guard.rehearsal_cgroup, okoomer.guard.reload, okoomer.guard.shrink, okoomer.guard.slow
        import okoomer.guard.pulses, okoomer.guard.room
        import okoomer.policy.instances
        import okoomer.policy.share, okoomer.policy.tentative
        print(*sorted(set(sys.modules) - bare))
    """
    return set(started(program))


def anonymous() -> float:
    """MiB of anonymous memory that the imports of the guard's process cost."""
    program = """if True:
        import sys
        def taken():
            with open("/proc/self/smaps_rollup") as file:
                return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:"))
        before = taken()
        sys.path.insert(0, sys.argv[1])
        import okoomer.guard.main, okoomer.guard.reception
        print(taken() - before)
    """
    return int(started(program)[0]) / 1024


def test_the_guard_imports_what_is_on_the_price_list_and_nothing_else() -> None:
    assert {name for name in imported() if name.split(".")[0] != "okoomer"} == set(PRICES)


def test_nothing_on_the_price_list_is_what_the_guard_cannot_afford() -> None:
    assert not imported() & NEVER
    assert not set(PRICES) & NEVER


def test_the_guard_takes_along_no_room_that_is_for_the_front() -> None:
    front = (
        "okoomer.cli",
        "okoomer.policy.language",
        "okoomer.policy.words",
        "okoomer.policy.source",
        "okoomer.policy.error",
    )
    assert not [name for name in imported() if name.startswith(front)]


def test_what_the_guard_imports_costs_it_no_more_memory_than_it_has_to() -> None:
    compile_all()  # whoever has to compile what he imports takes twice as much
    assert median(anonymous() for _ in range(5)) < ANONYMOUS


@pytest.mark.parametrize(("age", "compiled"), [(None, False), (60, False), (0, True), (-60, True)])
def test_without_docstrings_it_runs_only_where_that_has_been_compiled(
    age: float | None, compiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, cache = tmp_path / "main.py", tmp_path / "__pycache__"
    source.touch()
    cache.mkdir()
    (cache / f"main.{sys.implementation.cache_tag}.pyc").touch()
    if age is not None:
        made = cache / f"main.{sys.implementation.cache_tag}.opt-2.pyc"
        made.touch()
        os.utime(made, (0, source.stat().st_mtime - age))
    monkeypatch.setattr(launch, "__file__", str(tmp_path / "launch.py"))
    commands: list[list[str]] = []

    def execv(_program: str, command: list[str]) -> None:
        commands.append(command)
        raise InterruptedError

    monkeypatch.setattr(posix, "execv", execv)
    monkeypatch.setattr(launch, "disable_huge_pages", lambda: None)
    monkeypatch.setattr(posix, "memfd_create", lambda _name: os.open(tmp_path / "order", os.O_RDWR | os.O_CREAT))
    with pytest.raises(InterruptedError):
        launch.launch(launch.Options(load("desktop"), "", str(tmp_path)))
    os.close(int(commands[0][-2]))
    assert ("-OO" in commands[0]) == compiled == launch.is_compiled()


def test_where_nothing_can_be_written_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    monkeypatch.setattr(compileall, "compile_dir", lambda *_given, **_named: pytest.fail("compiled"))
    compile_all()
