"""A box: a private namespace with real processes and invented memory, for daemons that kill.

    with Box() as box:
        hog = box.spawn(rss_bytes=300 * MIB)
        daemon = box.daemon(["earlyoom"])
        box.memory(available=box.total * 8 // 100)
        death = hog.wait(5)
        assert death.signal == signal.SIGTERM

Inside, /proc shows only the box's own processes, and /proc/meminfo, /proc/swaps, /proc/vmstat and
/proc/pressure/* are files that the test writes: any level of memory within a millisecond. Whatever a daemon
does there, it can only reach what the test put there: it sees no process outside, no cgroup, no bus, and
no sysrq. Processes are named by the pids that they have in the box; all times are `time.monotonic()`.

Needs root. When the test ends or dies, by whatever way, the kernel removes everything that is in the box.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.box.process import Death, Line, Proc, Received
from tests.box.procfiles import GIB, MIB, Fall, Memory, Pressure, idle_vmstat, vmstat

HERE = Path(__file__).parent
PYTHON = [sys.executable, "-I", "-S"]
ANSWER_TIMEOUT = 60.0
FALL_STEP = 0.001
_MS_BIND = 4096
_MS_REMOUNT_STRICT = 32 | 2 | 4 | 8  # remount, with procfs's usual nosuid, nodev, noexec

_CHURN = """
import os, time
due = time.monotonic()
while True:
    os.posix_spawn("/bin/true", ["true"], {{}})
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    due = max(due + 1 / {rate}, time.monotonic() - 0.1)
    time.sleep(max(0.0, due - time.monotonic()))
"""


class BoxError(RuntimeError):
    """The box could not do what was asked, or is gone."""


class Box:
    """See the module. All methods may be called from any thread; close() may be called twice."""

    def __init__(
        self,
        *,
        total: int = 24 * GIB,
        invented: bool = True,
        psi: bool = True,
        hidepid: bool = False,
        cgroups: bool = False,
    ) -> None:
        """`invented=False` leaves the machine's real memory in sight; `psi=False` is a kernel without PSI.

        With `cgroups`, /sys/fs/cgroup is a real cgroup2 tree of the box's own (at `box.cgroup` from outside),
        without controllers: freeze, kill and pressure work. Else there are no cgroups to be seen.
        """
        self._memory = Memory(total=total, available=total * 8 // 10)
        self._vmstat = idle_vmstat()
        self._procs: dict[int, Proc] = {}  # pids come again: the last bearer of each
        self._deaths: list[Proc] = []
        self._changed = threading.Condition(threading.RLock())
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._asking = threading.Lock()
        self._fall: tuple[Fall, threading.Event] | None = None
        self._closed = False
        shm = Path("/dev/shm")  # a file on a disk would now and then wait for its write-back
        self.dir = Path(tempfile.mkdtemp(prefix="box-", dir=shm if shm.is_dir() else None))
        self._fds: dict[str, int] = {}
        self.cgroup = cgroup2_mount() / self.dir.name if cgroups else None
        try:
            self._start(self._mounts(invented, psi, hidepid))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- start and end --------------------------------------------------------------------------------

    def _mounts(self, invented: bool, psi: bool, hidepid: bool) -> list[tuple[str, str, str, int, str]]:
        empty = self.dir / "empty"
        empty.mkdir()
        files = [name for name in ("sysrq-trigger",) if Path("/proc", name).exists()]
        if invented:
            files += ["meminfo", "swaps", "vmstat"]
            files += [f"pressure/{name}" for name in ("memory", "io", "cpu")] if psi else []
        for name in files:
            path = self.dir / name
            path.parent.mkdir(exist_ok=True)
            self._fds[name] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if invented:
            self.memory()
            self.vmstat()
            if psi:
                self.pressure()
                self.pressure("io")
                self.pressure("cpu")
        mounts = [(str(self.dir / name), f"/proc/{name}", "", _MS_BIND, "") for name in files]
        if not psi:
            mounts.append((str(empty), "/proc/pressure", "", _MS_BIND, ""))
        mounts.append(("tmpfs", "/run", "tmpfs", 0, ""))
        if self.cgroup:
            # Not above the machine's own hierarchies: whoever asks where one is mounted would find those.
            mounts += [("", "/sys/fs/cgroup", "", 0, ""), ("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, "")]
        else:
            mounts.append((str(empty), "/sys/fs/cgroup", "", _MS_BIND, ""))
        if hidepid:
            mounts.append(("proc", "/proc", "proc", _MS_REMOUNT_STRICT, "hidepid=2"))
        return mounts

    def _start(self, mounts: list[tuple[str, str, str, int, str]]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if self.cgroup:
            self.cgroup.mkdir()
            enter = ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.cgroup / "cgroup.procs")]
            argv = [*enter, *argv, "--cgroup"]
        argv += [*PYTHON, str(HERE / "init.py"), str(theirs.fileno())]
        with theirs, (self.dir / "stderr").open("wb") as log:
            self._unshare = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, name="box", daemon=True)
        self._reader.start()
        self._ask("mount", mounts=mounts)
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        self.init_pid = int(children.read_text(encoding="ascii"))
        self.proc = Path(f"/proc/{self.init_pid}/root/proc")

    def close(self) -> None:
        """Kill all that is in the box, wait until it is gone, remove the files."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
        self.hold()
        if hasattr(self, "_unshare"):
            self._socket.shutdown(socket.SHUT_RDWR)
            try:
                self._unshare.wait(30)
            except subprocess.TimeoutExpired:
                self._unshare.kill()  # which kills the box's first process, too
                self._unshare.wait()
            self._reader.join()
            self._socket.close()
        for fd in self._fds.values():
            os.close(fd)
        shutil.rmtree(self.dir)
        if self.cgroup and self.cgroup.exists():
            for path in sorted(self.cgroup.glob("**/"), reverse=True):
                path.rmdir()

    # --- talking with the box's first process ---------------------------------------------------------

    def _ask(self, do: str, **arguments: object) -> Any:
        with self._asking:
            with contextlib.suppress(OSError):  # closed: there will be no answer
                self._socket.send(json.dumps({"do": do, **arguments}).encode())
            try:
                answer = self._answers.get(timeout=ANSWER_TIMEOUT)
            except queue.Empty:
                answer = None
        if answer is None:
            log = self.dir / "stderr"
            said = log.read_text(encoding="utf-8") if log.exists() else "it was closed"
            raise BoxError(f"the box gives no answer: {said}")
        if "error" in answer:
            raise BoxError(answer["error"])
        return answer["value"]

    def _read(self) -> None:
        while data := self._receive():
            message = json.loads(data)
            event = message.pop("event")
            if event == "answer":
                self._answers.put(message)
                continue
            pid = message["pid"]
            with self._changed:
                if event == "born" or pid not in self._procs:  # an orphan is first heard of at its death
                    self._procs[pid] = Proc(self, pid)
                self._note(event, self._procs[pid], message)
                self._changed.notify_all()
        self._answers.put(None)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 18)
        except ConnectionError:
            return b""

    def _note(self, event: str, proc: Proc, message: dict[str, Any]) -> None:
        match event:
            case "exit":
                code = os.waitstatus_to_exitcode(message["status"])
                by, status = (-code, None) if code < 0 else (None, code)
                proc.death = Death(message["at"], by, status, message["cpu"])
                if by:
                    self._deaths.append(proc)
                if proc.gives_back:
                    self._return(proc.gives_back)
            case "line":
                proc.lines.append(Line(message["text"], message["stream"], message["at"]))
            case "report":
                match message["words"]:
                    case ["signal", signo, sender, at]:
                        proc.signals.append(Received(int(signo), int(sender), float(at)))
                    case ["ready"]:
                        proc.ready = True

    def until(self, condition: Callable[[], bool], timeout: float, what: str = "it") -> None:
        """Wait for something; what the box reports is seen at once. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"waited {timeout} s for {what}")
                self._changed.wait(min(left, 0.05))

    # --- memory ---------------------------------------------------------------------------------------

    @property
    def total(self) -> int:
        return self._memory.total

    def write(self, name: str, content: bytes) -> None:
        """Put raw bytes, malformed ones if you like, into /proc/`name`: in one write, never a torn file."""
        fd = self._fds[name]
        os.pwrite(fd, content, 0)
        if os.fstat(fd).st_size != len(content):
            os.ftruncate(fd, len(content))

    def memory(self, **changes: int | None) -> None:
        """Change fields of `Memory`, in bytes; what is not named stays. Ends a fall."""
        self.hold()
        with self._changed:
            self._memory = replace(self._memory, **changes)  # type: ignore[arg-type]
            self.write("swaps", self._memory.swaps())
            self.write("meminfo", self._memory.meminfo())

    def pressure(self, resource: str = "memory", **fields: Any) -> None:
        """Write a pressure file; fields are those of `Pressure`, what is not named is zero."""
        self.write(f"pressure/{resource}", Pressure(**fields).text())

    def vmstat(self, **counters: int) -> None:
        """Set counters of vmstat; what is not named stays."""
        with self._changed:
            self._vmstat |= counters
            self.write("vmstat", vmstat(self._vmstat))

    def fall(self, rate: float, *, start: int | None = None, floor: int = 64 * MIB) -> Fall:
        """Let available memory fall by `rate` bytes per second from now on; hold() or memory() ends it."""
        self.hold()
        with self._changed:
            fall = Fall(self._memory.available if start is None else start, time.monotonic(), rate, floor)
            self._begin(fall)
        return fall

    def _begin(self, fall: Fall) -> None:
        ended = threading.Event()
        self._fall = fall, ended
        threading.Thread(target=self._drive, args=(fall, ended), name="fall", daemon=True).start()

    def _drive(self, fall: Fall, ended: threading.Event) -> None:
        while not ended.wait(FALL_STEP):
            with self._changed:
                if not ended.is_set():
                    self._memory = replace(self._memory, available=fall.available(time.monotonic()))
                    self.write("meminfo", self._memory.meminfo())

    def hold(self) -> None:
        """End a fall; memory stays where it is."""
        with self._changed:
            if self._fall:
                self._fall[1].set()
                self._fall = None

    def _return(self, size: int) -> None:
        """The memory of a process comes back; a fall goes on from there."""
        fall = self._fall and self._fall[0]
        if fall:
            self.hold()
            now = time.monotonic()
            self._begin(replace(fall, start=min(self.total, fall.available(now) + size), since=now))
        else:
            self.memory(available=min(self.total, self._memory.available + size))

    # --- processes ------------------------------------------------------------------------------------

    def spawn(
        self,
        program: Sequence[str] | str | None = None,
        *,
        rss_bytes: int = 0,
        ignore_term: bool = False,
        name: str = "",
        threads: int = 1,
        uid: int = 0,
        nice: int = 0,
        own_session: bool = True,
        cgroup: str = "",
        env: dict[str, str] | None = None,
        gives_back: int = 0,
    ) -> Proc:
        """Start a process: a hog (nothing), a hog that runs a Python snippet (a str), or any program (argv).

        A hog holds `rss_bytes` of anonymous memory when this returns; with `ignore_term` it swallows SIGTERM
        and tells of each. When the process dies, `gives_back` bytes become available in the box.
        `own_session=False` keeps it in the session of all such processes: with the kernel's autogroups,
        nice values count only among those. `cgroup` is a path in the box's tree, made if need be.
        """
        is_hog = program is None or isinstance(program, str)
        if is_hog:
            spec = {"rss_bytes": rss_bytes, "ignore_term": ignore_term, "name": name, "threads": threads,
                    "uid": uid, "snippet": program}  # fmt: skip
            argv = [*PYTHON, str(HERE / "hog.py"), json.dumps(spec)]
        elif rss_bytes or ignore_term or name or threads != 1:
            raise ValueError("a program takes its own memory, name, threads and signals")
        else:
            argv = list(program or ())
        pid = self._ask(
            "spawn", argv=argv, env=dict(os.environ) if env is None else env, nice=nice,
            uid=0 if is_hog else uid, own_session=own_session, cgroup=cgroup, reports=is_hog,
        )  # fmt: skip
        with self._changed:
            proc = self._procs[pid]
            proc.gives_back = gives_back
        if is_hog:
            self.until(lambda: proc.ready or not proc.alive, ANSWER_TIMEOUT, f"{proc} to be ready")
            if not proc.ready:
                raise BoxError(f"the hog died at birth: {[line.text for line in proc.lines]}")
        return proc

    def daemon(self, argv: Sequence[str], *, uid: int = 0, env: dict[str, str] | None = None) -> Proc:
        """Start a program whose output lines are of interest; the same as spawn()."""
        return self.spawn(argv, uid=uid, env=env)

    def crowd(self, count: int) -> list[Proc]:
        """Start many idle processes."""
        pids = self._ask("crowd", count=count)
        with self._changed:
            return [self._procs[pid] for pid in pids]

    def churn(self, rate: float) -> Proc:
        """Start and reap `rate` short-lived processes per second, until the returned process is killed."""
        return self.spawn(_CHURN.format(rate=rate))

    def kill(self, proc: Proc, signo: int = signal.SIGKILL) -> None:
        """Send a signal to a process of the box; one that is dead already stays so."""
        if proc.alive:
            self._ask("kill", pid=proc.pid, signo=int(signo))

    @property
    def deaths(self) -> list[Proc]:
        """All processes that a signal ended, orphans included, in the order of their deaths."""
        with self._changed:
            return list(self._deaths)


def cgroup2_mount() -> Path:
    """Where this machine has its cgroup2 tree; raises BoxError if nowhere."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, target, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(target)
    raise BoxError("this machine has no cgroup2")
