"""How long a big victim of low priority takes to die on a busy machine, and its memory to come back."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.daemons import Daemon
from bench.result import SUBJECT, Measure
from tests.box.box import Box
from tests.box.process import Proc
from tests.box.procfiles import GIB
from tests.box.signals import SignalTrace, machine_pid

TRIALS = 5
HOG = 2 * GIB
PATIENCE = 60.0
POLL = 0.002
PLAIN = "plain SIGKILL"
RELEASE = "with mrelease"
_SYS_PROCESS_MRELEASE = 448
_libc = ctypes.CDLL(None)

Killer = Callable[[int], None]


def run(daemons: list[Daemon], trials: int | None) -> list[Measure]:
    """A plain SIGKILL; SIGKILL and process_mrelease, as earlyoom does it; okoomer. Needs signal tracing."""
    death = Measure("SIGKILL to death", "s")
    back = Measure("SIGKILL to 75 % of its memory back", "s")
    with ExitStack() as stack:
        trace = stack.enter_context(SignalTrace())
        box = stack.enter_context(Box())
        loops = [box.spawn("while True: pass", own_session=False) for _ in range(os.cpu_count() or 1)]
        for _ in range(trials or TRIALS):
            for name, kill in {PLAIN: _plain, RELEASE: _release}.items():
                _record(name, _hog(box, loops), kill, trace, death, back)
            for daemon in daemons:
                if daemon.name == SUBJECT:
                    with _running(daemon, box):
                        _record(SUBJECT, _hog(box, loops), lambda _: _short(box), trace, death, back)
    return [death, back]


@contextlib.contextmanager
def _running(daemon: Daemon, box: Box) -> Iterator[None]:
    proc = daemon.start(box, daemon.live)
    try:
        yield
    finally:
        proc.stop()


def _hog(box: Box, loops: list[Proc]) -> Proc:
    """In one session with the busy loops, which rest while it grows, or it would never be big.

    With the kernel's autogroups, nice 19 means little to another session.
    """
    for loop in loops:
        loop.kill(signal.SIGSTOP)
    box.memory(available=box.total * 8 // 10)
    hog = box.spawn(rss_bytes=HOG, nice=19, own_session=False, gives_back=box.total)
    for loop in loops:
        loop.kill(signal.SIGCONT)
    time.sleep(1)
    return hog


def _record(name: str, hog: Proc, kill: Killer, trace: SignalTrace, death: Measure, back: Measure) -> None:
    pid = machine_pid(hog)
    pidfd = os.pidfd_open(pid)
    # Not all of it: the rest of the machine may take some meanwhile.
    enough = _available() + HOG * 3 // 4
    began = time.monotonic()
    with ThreadPoolExecutor(1) as watcher:
        seen = watcher.submit(_watch, pidfd, enough)
        kill(pidfd)
        dead, returned = seen.result()
    os.close(pidfd)
    sent = trace.sent_to(pid, since=began)
    death.add(name, dead - sent[0].at if sent else math.inf)
    back.add(name, returned - sent[0].at if sent else math.inf)
    hog.stop()


def _watch(pidfd: int, enough: int) -> tuple[float, float]:
    """When the process was dead, and when that much memory was available."""
    dead = returned = math.inf
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    give_up = time.monotonic() + PATIENCE
    while (math.isinf(dead) or math.isinf(returned)) and time.monotonic() < give_up:
        time.sleep(POLL)
        if math.isinf(dead) and poll.poll(0):
            dead = time.monotonic()
        if math.isinf(returned) and _available() >= enough:
            returned = time.monotonic()
    return dead, returned


def _plain(pidfd: int) -> None:
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def _release(pidfd: int) -> None:
    """At once, in the same thread: a victim that gets to its own exit first cannot be helped any more."""
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _libc.syscall(_SYS_PROCESS_MRELEASE, pidfd, 0)


def _short(box: Box) -> None:
    box.memory(available=box.total * 3 // 100)


def _available() -> int:
    """The machine's real MemAvailable, in bytes."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return int(text.split("MemAvailable:")[1].split()[0]) * 1024
