"""What a guard writes to its standard streams, caught."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from okoomer.guard import tell
from okoomer.guard.tell import Stream


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


def drain(fd: int) -> str:
    """All that can be read now."""
    text = b""
    try:
        while more := os.read(fd, 65536):
            text += more
    except BlockingIOError:
        pass
    return text.decode()
