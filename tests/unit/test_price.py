"""What the resident guard imports, and what each module costs it for life."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import okoomer

SRC = Path(okoomer.__file__).parents[1]

#: KiB that each module of the standard library adds to the resident size of a bare interpreter, beside those above it
#: in the list that it needs itself: medians for Debian's Python 3.11. What costs nothing is built in.
PRICES = {
    "__future__": 4,  # annotations that are never evaluated, which saves typing (1850)
    "_collections": 0,  # the deque of the windows
    "_collections_abc": 80,  # os needs it
    "_ctypes": 200,  # system calls that os does not offer, without ctypes (730)
    "_json": 56,  # strings for the log, without json (1300)
    "_socket": 60,  # the notification socket, without socket (1240)
    "_sre": 4,  # selectors that were compiled elsewhere, without re (1080)
    "_stat": 0,
    "_struct": 4,  # the ring
    "errno": 12,
    "fcntl": 4,
    "gc": 4,
    "genericpath": 8,  # os needs it
    "mmap": 48,  # the ring
    "os": 40,
    "os.path": 0,  # another name of posixpath
    "posixpath": 20,
    "select": 0,
    "stat": 4,  # os needs it
}
#: What would cost most is named as well, so that nobody puts it on the list lightly.
NEVER = {
    "argparse", "asyncio", "click", "collections", "contextlib", "ctypes", "dataclasses", "enum", "functools", "json",
    "lark", "logging", "pathlib", "re", "rich", "signal", "socket", "subprocess", "threading", "typing",
}  # fmt: skip


def imported() -> set[str]:
    """The modules of the guard's process, started as it starts itself, beyond those of a bare interpreter."""
    program = """if True:
        import sys
        bare = set(sys.modules)
        sys.path.insert(0, sys.argv[1])
        import okoomer.guard.main
        print(*sorted(set(sys.modules) - bare))
    """
    command = [sys.executable, "-I", "-S", "-c", program, str(SRC)]
    return set(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split())


def test_the_guard_imports_what_is_on_the_price_list_and_nothing_else() -> None:
    assert {name for name in imported() if name.split(".")[0] != "okoomer"} == set(PRICES)


def test_nothing_on_the_price_list_is_what_the_guard_cannot_afford() -> None:
    assert not imported() & NEVER
    assert not set(PRICES) & NEVER


def test_the_guard_takes_along_no_room_that_is_for_the_front() -> None:
    front = ("okoomer.cli", "okoomer.policy.language", "okoomer.policy.words", "okoomer.policy.source")
    assert not [name for name in imported() if name.startswith(front)]
