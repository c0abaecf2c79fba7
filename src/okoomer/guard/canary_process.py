"""The canary itself: a small ordinary process that answers when it has come to its own memory (see guard.canary).

Ordinary is: of default priority, chosen by the kernel like anybody (oom_score_adj 0), not locked into memory, of a user
that nobody is. It is as lean as an interpreter can be, since it lies in memory for nothing else than this.
"""

from __future__ import annotations

import gc
import posix as os
import sys
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, PROT_EXEC, PROT_READ, PROT_WRITE, mmap
from time import monotonic

from okoomer.guard.canary import ANSWERED, ASKED, AT, NUMBER, PAGE, TIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Its memory: so many pages of a file, as a program's code is, so many without, as its data are, and so many that it
#: asks for anew each time, as whoever draws a window does: that is where the kernel has a program look for room itself.
FILE_PAGES, PAGES, FRESH_PAGES = 32, 64, 32
#: The user that nobody is, in every system.
NOBODY = 65534


def main(page: int, code: int) -> None:
    """Answers until nobody can ask any more.

    Args:
        page: A descriptor of the page that is shared with the guard; the pipe is standard input.
        code: A descriptor of a file that stands for a program's code, or -1.
    """
    be_ordinary()
    shared = mmap(page, PAGE)
    data, text = _asked_for(PAGES), _mapped(code)
    # What is mapped has descriptors of its own.
    os.close(page)
    if code >= 0:
        os.close(code)
    sys.path_importer_cache.clear()
    gc.collect()
    gc.disable()
    while os.read(0, PAGE):
        number = shared[ASKED : ASKED + NUMBER.size]
        _ = text[::PAGE], data[::PAGE]
        _asked_for(FRESH_PAGES).close()
        TIME.pack_into(shared, AT, monotonic())
        shared[ANSWERED : ANSWERED + NUMBER.size] = number


def be_ordinary() -> None:
    """Gives up what the front has and others have not. What cannot be given up here, is not there, or is kept."""
    steps: tuple[tuple[Callable[..., object], tuple[object, ...]], ...] = (
        (_write, ("/proc/self/comm", b"okoomer-canary")),
        (os.sched_setscheduler, (0, os.SCHED_OTHER, os.sched_param(0))),
        (os.setpriority, (os.PRIO_PROCESS, 0, 0)),
        (os.setgroups, ((),)),
        (os.setresgid, (NOBODY, NOBODY, NOBODY)),
        # Last, since the right to the others goes with it. Who has changed users is not to be traced by the new one.
        (os.setresuid, (NOBODY, NOBODY, NOBODY)),
    )
    for give_up, what in steps:
        try:
            give_up(*what)
        except OSError:
            pass


def _write(path: str, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def _asked_for(pages: int) -> mmap:
    """So many pages of memory, all of them there."""
    found = mmap(-1, pages * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, PROT_READ | PROT_WRITE)
    for at in range(0, len(found), PAGE):
        found[at] = 1
    return found


def _mapped(file: int) -> mmap | bytes:
    """The first pages of a file, to be executed, since the kernel keeps code longer than data."""
    for protection in (PROT_READ | PROT_EXEC, PROT_READ):
        try:
            size = os.fstat(file).st_size
            return mmap(file, min(size, FILE_PAGES * PAGE), MAP_PRIVATE, protection)
        except (OSError, ValueError):
            pass  # none, empty, or on a file system for data only
    return b""
