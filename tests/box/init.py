"""The first process of a box: mounts, spawns, reaps, and says how and when each process died.

Runs as PID 1 of a private PID and mount namespace, as `python -I -S init.py FD`. FD is one end of a
SEQPACKET socket pair; every message is one JSON object. When the other end closes, this process leaves,
and the kernel kills whatever is still in the namespace.

All times are CLOCK_MONOTONIC, which a PID namespace shares with its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

MS_BIND = 4096
MS_REMOUNT = 32
MNT_DETACH = 2
# Deaths must be stamped in time on a machine whose CPUs the test keeps busy.
NICE = -20
LONGEST_LINE = 16384

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """Without a source what is mounted there, and below, is taken away."""
    if not source:
        if _libc.umount2(target.encode(), MNT_DETACH):
            raise OSError(ctypes.get_errno(), f"umount {target}")
        return
    if _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()):
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}")


class Init:
    """Answers commands and watches the children; one thread, no state but the open pipes."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        woken, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        reports, self._report_end = os.pipe2(os.O_CLOEXEC)
        self._watch(control.fileno(), lambda _: self._command())
        self._watch(woken, self._reap)
        self._watch(reports, self._forward_reports)

    def _watch(self, fd: int, ready: Callable[[int], None]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, ready)

    def _tell(self, **message: object) -> None:
        self._control.send(json.dumps(message).encode())

    def run(self) -> NoReturn:
        while True:
            for key, _ in self._selector.select():
                key.data(key.fd)

    def _command(self) -> None:
        data = self._control.recv(1 << 18)
        if not data:
            os._exit(0)
        message: dict[str, Any] = json.loads(data)
        action = getattr(self, "do_" + message.pop("do"))
        try:
            answer = action(**message)
        except OSError as error:
            self._tell(event="answer", error=str(error))
        else:
            self._tell(event="answer", value=answer)

    # --- commands -------------------------------------------------------------------------------------

    def do_mount(self, mounts: list[tuple[str, str, str, int, str]]) -> None:
        for source, target, kind, flags, data in mounts:
            mount(source, target, kind, flags, data)
        # Daemons take a low pid, or a child of one, for a part of the kernel: use up pid 2.
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    def do_spawn(self, argv: list[str], env: dict[str, str], reports: bool, **traits: Any) -> int:
        out, out_end = os.pipe2(os.O_CLOEXEC)
        err, err_end = os.pipe2(os.O_CLOEXEC)
        begins, begins_end = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            _become(argv, env, [out_end, err_end] + [self._report_end] * reports, **traits)
        # Until it is the program that was asked for, it has our name and our size.
        os.close(begins_end)
        os.read(begins, 1)
        os.close(begins)
        os.close(out_end)
        os.close(err_end)
        self._tell(event="born", pid=pid)
        self._watch(out, _Lines(self, pid, "stdout"))
        self._watch(err, _Lines(self, pid, "stderr"))
        return pid

    def do_crowd(self, count: int) -> list[int]:
        """`count` idle processes, as cheap as a program can be."""
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        argv = ["sleep", "infinity"]
        pids = [os.posix_spawn("/bin/sleep", argv, {}, setpgroup=0) for _ in range(count)]
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
        for pid in pids:
            self._tell(event="born", pid=pid)
        return pids

    def do_kill(self, pid: int, signo: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # its death is on its way to the other end
            os.kill(pid, signo)

    # --- what happens ---------------------------------------------------------------------------------

    def _reap(self, woken: int) -> None:
        os.read(woken, 4096)
        while True:
            at = time.monotonic()
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._tell(event="exit", pid=pid, status=status, at=at, cpu=usage.ru_utime + usage.ru_stime)

    def _forward_reports(self, fd: int) -> None:
        for line in os.read(fd, 65536).decode().splitlines():
            pid, *words = line.split()
            self._tell(event="report", pid=int(pid), words=words)

    def forget(self, fd: int) -> None:
        self._selector.unregister(fd)
        os.close(fd)

    def line(self, pid: int, stream: str, text: str, at: float) -> None:
        self._tell(event="line", pid=pid, stream=stream, text=text, at=at)


class _Lines:
    """One output of one child, cut into lines, each stamped with the time at which it was read."""

    def __init__(self, init: Init, pid: int, stream: str) -> None:
        self._init, self._pid, self._stream, self._rest = init, pid, stream, b""

    def __call__(self, fd: int) -> None:
        data = os.read(fd, 65536)
        at = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data:
            self._init.forget(fd)
            lines = [self._rest] if self._rest else []
        for line in lines:
            self._init.line(self._pid, self._stream, line[:LONGEST_LINE].decode(errors="replace"), at)


def _become(
    argv: list[str],
    env: dict[str, str],
    fds: list[int],
    *,
    nice: int,
    uid: int,
    own_session: bool,
    cgroup: str,
) -> NoReturn:
    """Turn this forked child into the program, in a group of its own."""
    try:
        if own_session:
            os.setsid()
        else:
            os.setpgid(0, 0)
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        if cgroup:
            path = Path("/sys/fs/cgroup", cgroup)
            path.mkdir(parents=True, exist_ok=True)
            (path / "cgroup.procs").write_text("0")
        # First out of the way of 1, 2 and 3, then there.
        for target, fd in enumerate([os.dup(fd) for fd in fds], start=1):
            os.dup2(fd, target)
        if uid:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def main() -> None:
    with contextlib.suppress(PermissionError):  # already a leader
        os.setsid()
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    Init(socket.socket(fileno=int(sys.argv[1]))).run()


main()
