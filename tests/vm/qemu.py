"""One QEMU process: how it is started, spoken to (QMP) and heard (the guest's debug port)."""

import json
import os
import select
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

from .host import run
from .image import Image

REPLY_S = 60  # a busy host may be slow to answer


class QemuError(Exception):
    """QEMU refused or ended; the text has its last words and the guest's console."""


@dataclass(frozen=True)
class Hardware:
    """What must be the same in a saved guest and in the one restored from it."""

    image: Image
    memory_mib: int = 1024
    cpus: int = 2

    def arguments(self) -> list[str]:
        return [
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-M", "pc",
            # QEMU's own translation buffer would be 1 GiB a guest.
            "-accel", "tcg,thread=multi,tb-size=256",
            # With ERMS and FSRM the kernel clears pages by `rep stosb`, which TCG does byte by byte.
            "-cpu", "max,-erms,-fsrm",
            "-smp", str(self.cpus),
            "-m", str(self.memory_mib),
            "-kernel", str(self.image.vmlinux),
            "-initrd", str(self.image.initrd),
            # no5lvl: a level less to walk in every TLB miss. panic: with -no-reboot a dead guest ends QEMU.
            "-append", "console=ttyS0 loglevel=3 psi=1 mitigations=off nokaslr no5lvl panic=-1",
            # SeaBIOS writes to the debug port that is QEMU's default.
            "-chardev", "stdio,id=port,signal=off", "-device", "isa-debugcon,iobase=0xe9,chardev=port",
            "-chardev", "file,id=console,path=/dev/stderr,append=on", "-serial", "chardev:console",
        ]  # fmt: skip


def version() -> str:
    """QEMU's version: a saved state is restored only by the one that saved it."""
    return run("qemu-system-x86_64", "--version").decode()


def inherited(file: IO[bytes]) -> str:
    """A name for QEMU's arguments, even for a temporary file that has none and so is never left behind."""
    return f"/proc/self/fd/{file.fileno()}"


class Qemu:
    """A running QEMU; a context manager, and it never outlives its process."""

    def __init__(self, hardware: Hardware, *arguments: str, files: tuple[IO[bytes], ...] = ()) -> None:
        """Start it with these files inherited."""
        with ExitStack() as undo:
            self._errors = undo.enter_context(tempfile.TemporaryFile("ab+"))
            self._qmp, theirs = socket.socketpair()
            undo.enter_context(self._qmp)
            with theirs:
                descriptors = [file.fileno() for file in files]
                self._process = undo.enter_context(
                    subprocess.Popen(
                        [
                            # Whatever happens to this process, by whatever signal, QEMU goes with it.
                            "setpriv", "--pdeathsig", "KILL",
                            "qemu-system-x86_64", *hardware.arguments(), *arguments,
                            "-chardev", f"socket,id=qmp,fd={theirs.fileno()}",
                            "-mon", "chardev=qmp,mode=control",
                        ],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=self._errors,
                        pass_fds=[theirs.fileno(), *descriptors],
                    )
                )  # fmt: skip
            undo.callback(self._process.kill)
            self._qmp.settimeout(REPLY_S)
            self._replies = undo.enter_context(self._qmp.makefile("rb"))
            self._heard = deque[tuple[float, str]]()
            self._part = b""  # of a line
            self._reply("QMP")
            self.command("qmp_capabilities")
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def command(self, name: str, file: IO[bytes] | None = None, **arguments: object) -> Any:
        """Execute a QMP command, with a file for those that take one."""
        message = json.dumps({"execute": name, "arguments": arguments}).encode()
        try:
            socket.send_fds(self._qmp, [message], [file.fileno()] if file else [])
        except OSError as error:
            raise QemuError(f"{name}: {error}\n{self.console()}") from error
        return self._reply("return")

    def quit(self) -> None:
        """End it in good order, so that all is written to its disks."""
        self.command("quit")
        self._process.wait(REPLY_S)

    def _reply(self, key: str) -> Any:
        while True:
            try:
                line = self._replies.readline()
            except OSError as error:
                raise QemuError(f"no reply: {error}\n{self.console()}") from error
            if not line:
                raise QemuError(f"QEMU ended\n{self.console()}")
            reply = json.loads(line)
            if "error" in reply:
                raise QemuError(f"{reply['error']['desc']}\n{self.console()}")
            if key in reply:
                return reply[key]

    def wait_until(self, query: str, *statuses: str) -> None:
        """Ask until the status is one of these."""
        deadline = time.monotonic() + REPLY_S
        while (status := self.command(query).get("status")) not in statuses:
            if status == "failed" or time.monotonic() > deadline:
                raise QemuError(f"{query}: {status}\n{self.console()}")
            time.sleep(0.02)

    def lines(self, until: float) -> Iterator[tuple[float, str]]:
        """What the guest says, each line with the time at which it was heard (``time.monotonic``).

        Ends at the time ``until``, or when QEMU ends.
        """
        out = self._process.stdout
        assert out is not None
        while True:
            while self._heard:  # a caller may stop in between and come back for the rest
                yield self._heard.popleft()
            left = until - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                return
            data = os.read(out.fileno(), 1 << 16)
            if not data:
                return
            now = time.monotonic()
            *whole, self._part = (self._part + data).split(b"\n")
            self._heard.extend((now, line.decode(errors="backslashreplace")) for line in whole)

    def console(self) -> str:
        """The last of QEMU's errors and of the guest's console."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-4000:]
