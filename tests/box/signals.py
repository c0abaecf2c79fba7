"""Who sent which signal when, from the kernel's own trace: also those that no process lives to tell of."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.box.process import Proc

_RECORD = re.compile(r"-(\d+) +\[\d+\] \S+ +([\d.]+): signal_generate: sig=(\d+) .* pid=(\d+) ")


@dataclass(frozen=True)
class Sent:
    """One SIGKILL or SIGTERM; `sender` is a pid of the machine, not of the box."""

    signal: int
    sender: int
    at: float


class SignalTrace:
    """A private tracing instance that records every SIGKILL and SIGTERM while it is open.

    Raises OSError where the kernel has no tracing. Costs nothing between signals.
    """

    def __init__(self) -> None:
        self._mount = Path(tempfile.mkdtemp(prefix="trace-"))
        done = subprocess.run(["mount", "-t", "tracefs", "none", self._mount], capture_output=True, text=True)
        if done.returncode:
            self._mount.rmdir()
            raise OSError(done.stderr)
        self._instance = self._mount / "instances" / self._mount.name
        try:
            self._instance.mkdir()
            event = self._instance / "events/signal/signal_generate"
            (self._instance / "trace_clock").write_text("mono")  # the clock of time.monotonic()
            (event / "filter").write_text("sig==9||sig==15")
            (event / "enable").write_text("1")
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the instance and the mount."""
        if self._instance.is_dir():
            self._instance.rmdir()
        subprocess.run(["umount", self._mount], check=True)
        self._mount.rmdir()

    def sent_to(self, machine_pid: int, since: float) -> list[Sent]:
        """The signals to that process; ask `machine_pid(proc)` for it while it lives. Pids come again."""
        text = (self._instance / "trace").read_text(encoding="utf-8", errors="replace")
        return [
            Sent(int(signo), int(sender), float(at))
            for sender, at, signo, target in _RECORD.findall(text)
            if int(target) == machine_pid and float(at) >= since
        ]


def machine_pid(proc: Proc) -> int:
    """The pid by which the machine outside knows a process of the box."""
    init = proc.box.init_pid
    for child in Path(f"/proc/{init}/task/{init}/children").read_text(encoding="ascii").split():
        status = Path(f"/proc/{child}/status").read_text(encoding="utf-8", errors="replace")
        if int(status.split("NSpid:")[1].split("\n")[0].split()[-1]) == proc.pid:
            return int(child)
    raise ProcessLookupError(proc.pid)
