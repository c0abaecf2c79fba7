"""A guard in a box, with scripted memory and pressure, a courier beside it, and a system bus that reaches into the box:
what is told there is heard by programs outside of it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.box.box import Box
from tests.box.guards import OKOOMER, events
from tests.box.process import Proc
from tests.unit.buses import Daemon
from tests.unit.loops import DBUS, public
from tests.unit.sessions import until

RUN = "/run/okoomer"
PYTHON = "/usr/bin/python3"
APPLICATION = Path(__file__).with_name("application.py")
#: In the place of the user okoomer, whom not every machine has.
COURIER, COURIER_UID = "daemon", 1
NOBODY = 65534
LOW, MEDIUM, CRITICAL = 50, 100, 255

#: Levels that come by themselves, and that want pressure as well.
LEVELS = """
[[rule]]
name  = "tight"
when  = "mem.available < 20%"
level = "low"
[[rule]]
name  = "short"
when  = "mem.available < 10%"
level = "medium"
[[rule]]
name  = "critical"
when  = "mem.available < 5%"
level = "critical"
"""
#: Shares of memory at which LEVELS has each level, and what is none.
AVAILABLE = {0: 80, LOW: 15, MEDIUM: 8, CRITICAL: 3}


class Application:
    """application.py, running. `levels` are what it has heard, and when, in Unix time."""

    def __init__(self, **environment: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [PYTHON, str(APPLICATION)], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        until(lambda: self.said("listens"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as out:
            self.lines.extend(line.strip() for line in out)

    def said(self, word: str) -> list[list[str]]:
        """What came after a word, each time that it was said."""
        return [line.split()[1:] for line in list(self.lines) if line.split()[0] == word]

    @property
    def levels(self) -> list[tuple[int, float]]:
        return [(int(level), float(at)) for level, at in self.said("level")]

    @property
    def heard(self) -> list[int]:
        """The levels alone."""
        return [level for level, _ in self.levels]

    def follows(self, times: int = 1) -> None:
        """Waits until it hears whoever owns the name, for the first time or once more."""
        until(lambda: len(self.said("follows")) >= times)

    def hears(self, *levels: int, seconds: float = 60.0) -> None:
        """Waits until it has heard these, and no others; each may have been said more than once."""
        until(lambda: len([*groupby(self.heard)]) >= len(levels), seconds)
        assert [level for level, _ in groupby(self.heard)] == [*levels]


class Scene:
    """See the module."""

    def __init__(self, directory: Path, bus: Daemon, box: Box) -> None:
        self.directory = directory
        self.bus = bus
        self.box = box

    def guard(self, policy: str, *options: str) -> Proc:
        """Starts a guard, with its courier as a child unless the options say otherwise; policy is a preset's name or
        the text of one."""
        if "\n" in policy:
            file = self.directory / "policy.toml"
            file.write_text(policy)
            policy = str(file)
        guard = self.box.daemon([OKOOMER, "run", "--json", "--runtime-dir", RUN, "--policy", policy, *options])
        self.box.until(lambda: not guard.alive or bool(events(guard, "started")), 60, "the guard")
        assert guard.alive, guard.lines
        return guard

    def apart(self, policy: str) -> Proc:
        """A guard as the shipped unit runs it, to whom a courier comes."""
        return self.guard(policy, "--service", "--courier-user", COURIER)

    def courier(self) -> Proc:
        """Starts a courier of a user of its own."""
        own = self.directory / "courier"
        own.mkdir(exist_ok=True)
        os.chown(own, COURIER_UID, COURIER_UID)
        argv = [OKOOMER, "courier", "--socket", f"{RUN}/guard.sock", "--runtime-dir", str(own)]
        return self.box.daemon(argv, uid=COURIER_UID)

    def short(self, level: int) -> None:
        """Memory is as short as LEVELS has it at a level."""
        self.box.memory(available=self.box.total * AVAILABLE[level] // 100)

    @contextlib.contextmanager
    def stall(self, some: float, full: float) -> Iterator[None]:
        """Pressure of these shares, for as long as it is entered."""
        over = threading.Event()
        before = getattr(self, "_stalled", 0.0)

        def stall() -> None:
            began = time.monotonic()
            while not over.wait(0.05):
                self._stalled = before + time.monotonic() - began
                some_total, full_total = (int(self._stalled * share * 1e6) for share in (some, full))
                self.box.pressure(some_total=some_total, full_total=full_total)

        thread = threading.Thread(target=stall, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    """A bus with the shipped policies, and a box."""
    with contextlib.ExitStack() as stack:
        policies = Path(stack.enter_context(_directory()))
        for file in DBUS.glob("*.conf"):
            shipped = file.read_text()
            (policies / file.name).write_text(re.sub('user="okoomer"', f'user="{COURIER}"', shipped))
        bus = stack.enter_context(public(*sorted(policies.glob("*.conf"))))
        yield Scene(policies, bus, stack.enter_context(Box()))


@contextlib.contextmanager
def _directory() -> Iterator[str]:
    """A directory that other users may look into."""
    with tempfile.TemporaryDirectory(prefix="okoomer-scene-") as directory:
        Path(directory).chmod(0o755)
        yield directory


def one(guard: Proc, kind: str) -> dict[str, Any]:
    """The only event of its kind, as soon as it is told."""
    guard.wait_line(f'"event": "{kind}"', 60)
    [event] = events(guard, kind)
    return event


def absent(*programs: str) -> list[str]:
    """Which of these programs are not here, or cannot be run."""
    return [program for program in programs if shutil.which(program) is None]


def has_gi() -> bool:
    """Whether Debian's Python has GLib."""
    try:
        done = subprocess.run([PYTHON, "-c", "import gi.repository.Gio"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0
