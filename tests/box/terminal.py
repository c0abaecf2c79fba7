"""A terminal of the test's own, with a program in a box behind it; and who pauses and resumes what runs there."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from okoomer.cli.door import Door
from tests.box.guards import OKOOMER, state_of

if TYPE_CHECKING:
    from tests.box.box import Box
    from tests.box.process import Proc

#: How often each program is paused and resumed.
ROUNDS = int(os.environ.get("OKOOMER_ROUNDS", "5"))
#: Seconds for whatever has to happen, however busy the machine is.
PATIENCE = 60.0
#: Seconds for which everybody has time to see what has happened.
MOMENT = 0.05
#: A rule that never fires: only persons have somebody stand still.
POLICY = '[[rule]]\nname = "low"\nwhen = "mem.available <= 1%"\n'
RUN = "/run/okoomer-0"
#: What keeps the processors busy meanwhile.
BUSY = ["sh", "-c", "while :; do :; done"]


def until(check: Callable[[], object], what: str = "it", seconds: float = PATIENCE) -> None:
    """Waits until something is so."""
    end = monotonic() + seconds
    while not check():
        assert monotonic() < end, f"waited {seconds:.0f} s for {what}"
        sleep(0.005)


class Terminal:
    """See the module. `said` is all that was written to it so far.

    Args:
        argv: The program, which leads the session of this terminal; as root, without the environment of the test.
    """

    def __init__(self, box: Box, *argv: str) -> None:
        self._box = box
        self.said = b""
        self._master, self._slave = pty.openpty()
        termios.tcsetwinsize(self._master, (40, 120))
        # As nice as programs are that people run, however nice the tests are.
        enter = [
            "nice",
            "-n",
            str(-os.nice(0)),
            "nsenter",
            "--target",
            str(box.init_pid),
            "--mount",
            "--pid",
            "setsid",
            "--ctty",
            *argv,
        ]
        env = {
            "PATH": os.environ["PATH"],
            "TERM": "xterm",
            "PS1": "ready> ",
            "HOME": "/nonexistent",
            "LC_ALL": "C.UTF-8",
        }
        self._program = subprocess.Popen(
            enter, stdin=self._slave, stdout=self._slave, stderr=self._slave, env=env, start_new_session=True
        )  # fmt: skip
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._over.is_set():
            if select.select([self._master], [], [], 0.1)[0]:
                self.said += os.read(self._master, 65536)

    def close(self) -> None:
        """What runs there ends with its box."""
        self._over.set()
        self._reader.join()
        self._program.kill()
        self._program.wait()
        os.close(self._master)
        os.close(self._slave)

    def type(self, text: str) -> None:
        """Types."""
        os.write(self._master, text.encode())

    def command(self, text: str) -> None:
        """Types a line when the shell is ready for one."""
        self.wait("ready> ")
        self.said = b""
        self.type(f"{text}\r")

    def wait(self, text: str, count: int = 1) -> None:
        """Waits until something was written to it, so many times."""
        until(lambda: self.said.count(text.encode()) >= count, f"{text!r} in {self.said[-2000:]!r}")

    @property
    def settings(self) -> list[object]:
        """How the terminal is set."""
        return [*termios.tcgetattr(self._slave)]

    @property
    def foreground(self) -> int:
        """The process group that has the terminal."""
        return os.tcgetpgrp(self._master)

    @property
    def leader(self) -> int:
        """The program's pid in the box."""
        children = Path(f"/proc/{self._program.pid}/task/{self._program.pid}/children")
        until(lambda: children.read_text().strip(), "the program")
        status = Path(f"/proc/{children.read_text().split()[0]}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])


class Person:
    """Somebody who pauses and resumes what is in a box, at its guard's door."""

    def __init__(self, box: Box, guard: Proc) -> None:
        self._box = box
        self.guard = guard
        self._door = Door(f"/proc/{box.init_pid}/root{RUN}")

    def pause(self, *pids: int) -> None:
        """Has processes stand still, and waits until they do."""
        for pid in pids:
            assert self._door.pause(pid, 0) == ("ok", "")
        until(lambda: all(self.state(pid) == "T" for pid in pids), f"{pids} to stand still")
        sleep(MOMENT)

    def resume(self, *pids: int) -> None:
        """Lets processes run again, and waits until they do."""
        self.let_go(*pids)
        until(lambda: all(self.state(pid) not in "Tt" for pid in pids), f"{pids} to run")
        sleep(MOMENT)

    def let_go(self, *pids: int) -> None:
        """Lets processes run again."""
        for pid in pids:
            assert self._door.resume(pid, 0) == ("ok", "")

    def state(self, pid: int) -> str:
        return state_of(self._box.proc / str(pid))

    def below(self, pid: int) -> list[int]:
        """The children of a process."""
        return [int(child) for child in (self._box.proc / f"{pid}/task/{pid}/children").read_text().split()]

    def find(self, pid: int, name: str) -> int:
        """The process of that name below another, as soon as it is there."""
        found: list[int] = []

        def there() -> bool:
            found[:] = [pid]
            for one in found:
                try:
                    found.extend(self.below(one))
                    if one != pid and (self._box.proc / f"{one}/comm").read_text().strip() == name:
                        found[:] = [one]
                        return True
                except OSError:
                    continue
            return False

        until(there, f"{name} below {pid}")
        return found[0]

    def close(self) -> None:
        self._door.close()


@contextmanager
def person(box: Box, folder: Path) -> Iterator[Person]:
    """A guard in a box that does nothing by itself, somebody at its door, and processors that have more to do."""
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    guard = guarded(box, policy)
    for _ in range(2):
        box.spawn(BUSY, nice=5)
    made = Person(box, guard)
    try:
        yield made
    finally:
        made.close()


def guarded(box: Box, policy: Path) -> Proc:
    """A guard in a box."""
    guard = box.daemon([OKOOMER, "run", "--json", "--force", "--runtime-dir", RUN, "--policy", str(policy)])
    guard.wait_line('"event": "started"', PATIENCE)
    return guard
