"""A process in a box, as the test sees it."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.box.box import Box


@dataclass(frozen=True)
class Death:
    """The end of a process: by `signal`, or by itself with exit status `code`."""

    at: float
    signal: int | None
    code: int | None
    cpu_seconds: float


@dataclass(frozen=True)
class Received:
    """A signal that a process got and outlived."""

    signal: int
    sender: int
    at: float


@dataclass(frozen=True)
class Line:
    """One line that a process wrote to `stream`, and when it was read."""

    text: str
    stream: str
    at: float


@dataclass
class Proc:
    """A process in a box. What is known about it grows while it runs."""

    box: Box = field(repr=False)
    pid: int
    ready: bool = False
    death: Death | None = None
    signals: list[Received] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list, repr=False)
    gives_back: int = 0

    @property
    def alive(self) -> bool:
        return self.death is None

    @property
    def proc(self) -> Path:
        """This process's directory in the box's /proc, readable from outside."""
        return self.box.proc / str(self.pid)

    def wait(self, timeout: float) -> Death:
        """Its death; raises TimeoutError if it lives longer."""
        self.box.until(lambda: self.death is not None, timeout, f"the death of {self}")
        assert self.death is not None
        return self.death

    def wait_signal(self, timeout: float) -> Received:
        """The first signal that it got: outlived (see `ignore_term`) or deadly, as seen at its death."""
        self.box.until(lambda: bool(self.signals or self.death), timeout, f"a signal to {self}")
        if self.signals:
            return self.signals[0]
        assert self.death is not None
        return Received(self.death.signal or 0, 0, self.death.at)

    def wait_line(self, text: str, timeout: float) -> Line:
        """The first line written so far or later that contains `text`."""
        said = f"{text!r} from {self}"
        self.box.until(lambda: any(text in line.text for line in self.lines), timeout, said)
        return next(line for line in self.lines if text in line.text)

    def kill(self, signo: int = signal.SIGKILL) -> None:
        """Send a signal from the box's first process."""
        self.box.kill(self, signo)

    def stop(self) -> None:
        """Kill it if it lives, and wait until it is gone."""
        self.kill()
        self.wait(60)
