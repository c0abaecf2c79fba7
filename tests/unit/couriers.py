"""A courier, and in the guard's place the test: it writes events and hears the answers."""

from __future__ import annotations

import contextlib
import os
import select
import time
import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from okoomer import courier
from okoomer.events import model
from okoomer.events.ring import Ring
from okoomer.events.sign import Sign
from okoomer.events.text import line
from okoomer.guard.link import Link
from okoomer.record import Record

VICTIM = model.Chosen(
    rule="low", when="mem.available < 5%", reason="low-memory", values=(("mem.available", 1e6),), kind="process",
    name="hog", pids=(42, 43), command="hog --size 1 GiB", freed=1, need=1, why="large", steps=("kill",), ranking=(),
    processes=1, scan_cpu_seconds=0.0, seconds=0.0, dry_run=False, root="hog & co", user=7, rss=1, oom_score=2,
    cgroup="/system.slice/web.service",
)  # fmt: skip
KILLED = model.Signalled("low", "SIGKILL", "hog", (42,), ())


def asked(request: int, *command: str, seconds: float = 100.0) -> model.Run:
    return model.Run(request, "low", command, seconds, 42, "hog & co", 7, "/system.slice/web.service", "hog -x")


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Waits for something; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.005)


class Guarded:
    """A courier that runs as the guard would have it, with the guard's ring in a directory of the test."""

    def __init__(self, directory: Path, listener: int = -1, **options: Any) -> None:
        self.options = courier.Options(str(directory / "ring"), **options)
        before = children()
        with copied() as copies:
            wake, self._answers = courier.start(self.options, listener)
        [self.pid] = children() - before
        [self._copy] = copies
        self.sign = Sign(wake)
        self.link = Link(self._answers)
        self.ring = Ring(self.options.ring)
        self.answers: list[tuple[int, int]] = []
        self.status: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        with contextlib.suppress(TimeoutError):
            until(self.ended)
        if self.status is None:
            os.kill(self.pid, 9)  # our own child, not yet waited for
            os.waitpid(self.pid, 0)
        self.sign.close()
        os.close(self._copy)

    def tell(self, *events: Record, at: float | None = None) -> None:
        """What the guard does with an event."""
        for event in events:
            self.ring.write(line(event, time.time() if at is None else at, self.ring.sequence))
            self.sign()

    def heeded(self) -> bool:
        """Whether the courier has taken the last sign, and so is through with the one before."""
        poller = select.poll()
        poller.register(self._copy, select.POLLIN)
        return not poller.poll(0)

    def answered(self, count: int, seconds: float = 60.0) -> list[tuple[int, int]]:
        """The answers so far, when there are so many."""

        def enough() -> bool:
            self.answers += self.link.answers()
            return len(self.answers) >= count

        until(enough, seconds)
        return self.answers

    def leave(self) -> None:
        """The guard ends."""
        if self._answers >= 0:
            self.link.close()
            self.ring.close()
            self._answers = -1

    def ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status is not None


@contextlib.contextmanager
def copied() -> Iterator[list[int]]:
    """Keeps a copy of what couriers are given that wait for a sign: what one has heeded, the other does not show."""
    copies: list[int] = []
    real = Sign.reader

    def reader(sign: Sign) -> int:
        fd = real(sign)
        copies.append(os.dup(fd))
        return fd

    with unittest.mock.patch.object(Sign, "reader", reader):
        yield copies


def children() -> set[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    return {int(pid) for pid in text.split()}
