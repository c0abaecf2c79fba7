"""What a guard writes to its standard streams, caught."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterator

import pytest

from okoomer.guard import tell
from okoomer.guard.tell import Stream

MARK = b"<the end>"


@contextlib.contextmanager
def captured(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, int]]:
    """The reading ends of what stands for standard output and standard error."""
    pipes = {1: os.pipe(), 2: os.pipe()}
    monkeypatch.setattr(tell, "Stream", lambda fd, count: Stream(pipes[fd][1], count))
    for reader, _ in pipes.values():
        os.set_blocking(reader, False)
    yield {fd: reader for fd, (reader, _) in pipes.items()}
    for fd in (*pipes[1], *pipes[2]):
        os.close(fd)


def shown(reader: int, writer: int) -> str:
    """All that was written to a terminal up to now; its two ends. The kernel takes its time to hand it over, so the end
    is marked."""
    os.set_blocking(writer, False)
    got, mark = b"", MARK
    deadline = time.monotonic() + 60
    while not got.endswith(MARK):
        assert time.monotonic() < deadline
        with contextlib.suppress(BlockingIOError):  # there may be no room before something was read
            mark = mark[os.write(writer, mark) :] if mark else mark
        if select.select([reader], [], [], 0.01)[0]:
            got += os.read(reader, 65536)
    return got.removesuffix(MARK).decode()


def drain(fd: int) -> str:
    """All that can be read from a pipe now."""
    text = b""
    try:
        while more := os.read(fd, 65536):
            text += more
    except BlockingIOError:
        pass
    return text.decode()
