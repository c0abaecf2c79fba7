"""A process with a size, run inside a box: takes memory, says so, and waits to be killed.

Run as `python -I -S hog.py SPEC`; see `Box.spawn` for what SPEC holds. Reports go to file descriptor 3,
one line each, short enough to be written in one piece: all hogs of a box share that pipe.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import threading
import time
from pathlib import Path

REPORT_FD = 3
PAGE = mmap.PAGESIZE


def report(*words: object) -> None:
    os.write(REPORT_FD, (" ".join(map(str, (os.getpid(), *words))) + "\n").encode())


def swallow_term() -> None:
    """Take every SIGTERM from the queue; unlike a handler this also tells who sent it, at once."""
    while True:
        info = signal.sigwaitinfo({signal.SIGTERM})
        report("signal", info.si_signo, info.si_pid, time.monotonic())


def main() -> None:
    spec = json.loads(sys.argv[1])
    if spec["ignore_term"]:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if spec["name"]:
        Path("/proc/self/comm").write_text(spec["name"])
    pages = -(-spec["rss_bytes"] // PAGE)
    memory = mmap.mmap(-1, max(1, pages) * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[: pages * PAGE : PAGE] = b"x" * pages
    for _ in range(spec["threads"] - 1):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    if spec["snippet"] and spec["ignore_term"]:
        threading.Thread(target=swallow_term, daemon=True).start()
    if spec["uid"]:
        os.setgroups([])
        os.setgid(spec["uid"])
        os.setuid(spec["uid"])
    report("ready")
    if spec["snippet"]:
        exec(compile(spec["snippet"], "<snippet>", "exec"), {"__name__": "__main__", "memory": memory})
    elif spec["ignore_term"]:
        swallow_term()
    else:
        while True:
            signal.pause()


main()
