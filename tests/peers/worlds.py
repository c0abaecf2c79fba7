"""Random worlds: a box full of processes, what can be seen of each, and a level of memory."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.box.box import Box
from tests.box.process import Proc
from tests.box.procfiles import KIB, MIB, Memory

PAGE = os.sysconf("SC_PAGE_SIZE")
#: include/linux/sched.h
PF_EXITING = 0x00000004
NAMES = (
    "web", "web.1", "Web Content", "java", "javac", "postgres", "sshd", "x) R 1 (", "a b", "firefox-esr", "cc1plus",
    "kworker/0:1", "python3", "-bash", "ÜberProzeß", "(sd-pam)",
)  # fmt: skip
ROLES = ("renderer", "database", "build")
USERS = (0, 0, 0, 33, 1000, 1001, 65534)
#: Of oom_score_adj; each counts two thirds of a point in oom_score, since Linux 5.9.
ADJUSTMENTS: tuple[int, ...] = (0, 0, 0, 0, 1, 2, 3, 5, 10, 50, 100, 200, 300, 400, 440, 455, 500, 900, 1000)
LOWERED: tuple[int, ...] = (-1, -3, -10, -50, -100, -200, -300, -440, -455, -500, -900, -999, -1000)

#: A hog that has a child; what it says is that of the parent (see tests/box/hog.py).
_FORK = """
import mmap, os, signal
if os.fork() == 0:
    {child}
    more = mmap.mmap(-1, {size}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    more[::4096] = b"x" * ({size} // 4096)
    with open("/proc/self/comm", "w") as comm:
        comm.write({name!r})
    os.setuid({user})
elif {leaves}:
    os._exit(0)
while True:
    signal.pause()
"""
_TERMINAL = """
import fcntl, os, signal, termios
_outer, inner = os.openpty()
fcntl.ioctl(inner, termios.TIOCSCTTY, 0)
while True:
    signal.pause()
"""


@dataclass(frozen=True)
class Seen:
    """What can be seen of a process, sizes in bytes; `rss` is by /proc/PID/status, `statm` by the file of that name.
    `shell`: it leads a session that has a terminal. `ends`: it is as good as dead."""

    pid: int
    parent: int
    name: str
    state: str
    score: int
    adjustment: int
    rss: int
    statm: int
    freed: int
    user: int
    shell: bool
    ends: bool


def look(proc: Path) -> Seen:
    """A process in a box."""
    stat = (proc / "stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    sizes = {key: int(status.get(key, "0 kB").split()[0]) * KIB for key in ("VmRSS", "RssAnon", "VmSwap")}
    pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
    return Seen(
        pid=int(proc.name),
        parent=int(stat[1]),
        name=(proc / "comm").read_text().removesuffix("\n"),
        state=stat[0],
        score=int((proc / "oom_score").read_text()),
        adjustment=int((proc / "oom_score_adj").read_text()),
        rss=sizes["VmRSS"],
        statm=int((proc / "statm").read_text().split()[1]) * PAGE,
        freed=sizes["RssAnon"] + sizes["VmSwap"],
        user=int(status["Uid"].split()[1]),
        shell=stat[4] != "0" and stat[3] == proc.name,
        ends=stat[0] != "Z" and bool(int(stat[6]) & PF_EXITING or pending >> (signal.SIGKILL - 1) & 1),
    )


class Pool:
    """The processes of a box: hogs, some with children or orphans, idle ones, a zombie, a shell with a terminal.

    Args:
        asked: They outlive a SIGTERM and tell of it.
        pretended: Scores and their adjustments are files of ours, bound over the kernel's: lowering an adjustment
            takes a capability that root does not have everywhere.
    """

    def __init__(self, box: Box, rng: random.Random, *, asked: bool = False, pretended: bool = False) -> None:
        self.box, self.rng, self.asked = box, rng, asked
        self.base: dict[int, int] = {}
        self.procs: dict[int, Proc] = {}
        self._size = 40 * MIB
        self._wanted = Counter({("sleep", False): rng.randint(0, 3)})
        self.procs.update((proc.pid, proc) for proc in box.crowd(self._wanted["sleep", False]))
        for _ in range(rng.randint(6, 8)):
            self.hog()
        self._family(leaves=False)
        self._family(leaves=True)
        if rng.random() < 0.5:
            self._zombie()
        if rng.random() < 0.5 and Path("/dev/ptmx").exists():
            self.hog(_TERMINAL)
            self._settle(lambda one: one.shell)
        if pretended:
            self._pretend()

    def hog(self, snippet: str | None = None, name: str = "", user: int | None = None) -> None:
        """One more process."""
        name = name or self.rng.choice(NAMES)
        user = self.rng.choice(USERS) if user is None else user
        self._wanted[name, False] += 1
        # Some are as large as another: what breaks the tie then matters.
        self._size = self.rng.choice((self._size, self.rng.randint(1, 20) * MIB, self.rng.randint(20, 120) * MIB))
        proc = self.box.spawn(
            snippet, rss_bytes=self._size, name=name, threads=self.rng.choice((1, 1, 4)), uid=user,
            ignore_term=self.asked, env={"ROLE": self.rng.choice(ROLES), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        self.procs[proc.pid] = proc

    def _family(self, leaves: bool) -> None:
        parent, name = self.rng.sample(NAMES, 2)
        size, user = self.rng.randint(10, 100) * MIB, self.rng.choice(USERS)
        self.hog(_FORK.format(child="", size=size, name=name, user=user, leaves=leaves), parent, user=0)
        self._wanted[name, False] += 1
        self._wanted[parent, False] -= leaves
        self._settle()

    def _zombie(self) -> None:
        name = self.rng.choice(NAMES)
        self.hog(_FORK.format(child="os._exit(0)", size=PAGE, name="", user=0, leaves=False), name)
        self._wanted[name, True] += 1
        self._settle()

    def _settle(self, there: Callable[[Seen], bool] = lambda _: True) -> None:
        """Waits for what has been begun: each process has its name, and one is `there`."""
        self.wait(
            lambda seen: (
                Counter((one.name, one.state == "Z") for one in seen) == +self._wanted and any(map(there, seen))
            )
        )

    def wait(self, condition: Callable[[list[Seen]], bool]) -> None:
        """Waits until something holds of all processes."""
        deadline = time.monotonic() + 30
        while not condition(seen := self.seen()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not so yet: {seen}")
            time.sleep(0.003)

    def seen(self) -> list[Seen]:
        """All processes but the box's first, in the order of their pids."""
        found = []
        for pid in sorted(int(path.name) for path in self.box.proc.iterdir() if path.name.isdecimal()):
            if pid > 1:
                try:
                    found.append(look(self.box.proc / str(pid)))
                except (FileNotFoundError, ProcessLookupError, KeyError, IndexError):
                    continue  # it has just ended
        return found

    def _pretend(self) -> None:
        binds = []
        for one in self.seen():
            self.base[one.pid] = one.score
            for name, value in (("oom_score", one.score), ("oom_score_adj", one.adjustment)):
                file = self.box.dir / f"{name}-{one.pid}"
                file.write_text(f"{value}\n")
                binds.append(f"mount --bind {file} /proc/{one.pid}/{name}")
        enter = ["nsenter", "--target", str(self.box.init_pid), "--mount", "sh", "-ec", "\n".join(binds)]
        subprocess.run(enter, check=True)

    def adjust(self) -> None:
        """Gives every process an oom_score_adj anew; where they are pretended, all may be lowered."""
        adjustments = (*ADJUSTMENTS, *LOWERED) if self.base else ADJUSTMENTS
        if self.base and self.rng.random() < 0.2:
            adjustments = self.rng.choice((LOWERED, LOWERED[-3:-1]))
        for one in self.seen():
            adjustment = 0 if 0 in adjustments and self.rng.random() < 0.3 else self.rng.choice(adjustments)
            if one.pid in self.base:
                score = self.base[one.pid] + adjustment * 2 // 3
                if one.state == "Z" or adjustment == -1000:
                    score = 0
                (self.box.dir / f"oom_score-{one.pid}").write_text(f"{max(0, score)}\n")
                (self.box.dir / f"oom_score_adj-{one.pid}").write_text(f"{adjustment}\n")
            elif not self.base:
                (self.box.proc / str(one.pid) / "oom_score_adj").write_text(f"{adjustment}\n")


def level(rng: random.Random, *limits: float) -> float:
    """A share of memory or swap that is above, between, at or below some limits (shares, too)."""
    edges = sorted((0.002, *(limit for limit in limits if 0.002 < limit < 0.9), 0.95))
    if rng.random() < 0.1:
        return rng.choice(edges)
    place = rng.randrange(len(edges) - 1) if rng.random() < 0.5 else 0
    return rng.uniform(edges[place], edges[place + 1])


def memory(
    rng: random.Random, box: Box, mem: tuple[float, ...], swap: tuple[float, ...], like: Memory | None = None
) -> Memory:
    """Invents memory and swap: their sizes (or those of another), and levels around these limits; whole KiB, so that
    nothing is rounded."""
    total = like.total if like else int(1024 + 7168 * rng.random() ** 3) * MIB
    swap_total = like.swap_total if like else rng.choice((0, rng.randint(256, 4096) * MIB))
    available = int(total * level(rng, *mem)) // KIB * KIB
    swap_free = int(swap_total * level(rng, *swap)) // KIB * KIB
    used = total - available
    shmem = (used * rng.randint(1, 60) // 100 if rng.random() < 0.1 else 0) // KIB * KIB
    anon = (used - shmem) * rng.randint(10, 100) // 100 // KIB * KIB if rng.random() < 0.15 else None
    found = Memory(total, available, swap_total, swap_free, anon, shmem)
    box.memory(
        total=total, available=available, swap_total=swap_total, swap_free=swap_free, anon=anon, shmem=shmem,
    )  # fmt: skip
    return found


def anon_of(machine: Memory) -> int:
    """Bytes of anonymous memory (see tests/box/procfiles.py)."""
    return max(0, machine.total - machine.available - machine.shmem) if machine.anon is None else machine.anon


def least_of(machine: Memory) -> int:
    """Bytes that a process has to give back so that okoomer ends it: 1 % of memory, 4 to 64 MiB."""
    return max(4 * MIB, min(machine.total // 100, 64 * MIB))


def in_vain(machine: Memory, level: float, freed: int) -> bool:
    """Whether it is memory of no process that fills the machine, so that okoomer ends nobody; `level` is how many bytes
    have to be available."""
    need = max(level + machine.total / 100 - machine.available, machine.total / 100)
    homeless = machine.total - machine.available - anon_of(machine)
    return freed < need and freed < homeless // 4


def seed() -> int:
    """OKOOMER_SEED, or a new one."""
    return int(os.environ.get("OKOOMER_SEED") or random.SystemRandom().randrange(1 << 32))
