"""Machines as directories, as `okoomer snapshot` records them: made to order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MIB, GIB = 1024**2, 1024**3
PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class App:
    """One process; sizes in bytes, `started` in seconds since boot, names as the bytes that their owner chose. It has
    `written` so many bytes, `to_disk` so many of them; None where nobody may know."""

    pid: int
    name: bytes = b"app"
    parent: int = 1
    anon: int = 0
    swap: int = 0
    shmem: int = 0
    file: int = 4 * MIB
    started: float = 50.0
    user: int = 1000
    session: int = 1
    terminal: int = 0
    threads: int = 1
    flags: int = 0x400000
    adjustment: int = 0
    oom_score: int = 0
    command: bytes = b""
    cgroup: bytes = b"/"
    environment: bytes = b""
    cgroup1: bytes = b""
    written: int | None = 0
    to_disk: int = 0

    def files(self) -> dict[str, bytes]:
        """The files of its folder in /proc."""
        resident, shared = self.anon + self.file + self.shmem, self.file + self.shmem
        pages = [size // PAGE for size in (resident + self.swap, resident, shared, 4 * PAGE, 0, self.anon + self.swap)]
        numbers = [self.parent, self.pid, self.session, self.terminal, -1, self.flags, *[0] * 9, 0, self.threads, 0]
        stat = f"{' '.join(map(str, numbers))} {round(self.started * TICKS)} {pages[0] * PAGE} {pages[1]}"
        status = {
            "Umask": "0022",
            "State": "S (sleeping)",
            "Pid": self.pid,
            "PPid": self.parent,
            "Uid": f"0\t{self.user}\t0\t0",
            "VmRSS": f"{resident // 1024:8d} kB",
            "RssAnon": f"{self.anon // 1024:8d} kB",
            "RssFile": f"{self.file // 1024:8d} kB",
            "RssShmem": f"{self.shmem // 1024:8d} kB",
            "VmSwap": f"{self.swap // 1024:8d} kB",
            "Threads": self.threads,
        }
        io = f"rchar: 9\nwchar: {self.written}\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: {self.to_disk}\n"
        return {
            "stat": b"%d (%s) S " % (self.pid, self.name[:15]) + stat.encode() + b" 0 0\n",
            "statm": f"{' '.join(map(str, pages))} 0\n".encode(),
            "status": "".join(f"{key}:\t{value}\n" for key, value in status.items()).encode(),
            "comm": self.name[:15] + b"\n",
            "cmdline": self.command,
            "environ": self.environment,
            "cgroup": (b"1:name=elogind:%s\n" % self.cgroup1 if self.cgroup1 else b"") + b"0::" + self.cgroup + b"\n",
            "oom_score": b"%d\n" % self.oom_score,
            "oom_score_adj": b"%d\n" % self.adjustment,
        } | ({} if self.written is None else {"io": f"{io}cancelled_write_bytes: 0\n".encode()})


INIT = App(1, b"systemd", parent=0, anon=8 * MIB, started=1.0, user=0)


def meminfo(total: int, available: int, swap: tuple[int, int] = (0, 0), **others: int) -> bytes:
    """/proc/meminfo; `swap` is total and free, all in bytes."""
    fields = {
        "MemTotal": total,
        "MemFree": available // 2,
        "MemAvailable": available,
        "Buffers": 0,
        "Cached": available // 2,
        "SwapCached": 0,
        "SwapTotal": swap[0],
        "SwapFree": swap[1],
        **others,
    }
    return "".join(f"{name + ':':15} {size // 1024:8d} kB\n" for name, size in fields.items()).encode()


def stalls(some: float, full: float | None = None) -> bytes:
    """A pressure file with totals in seconds; the averages are those of a calm machine."""
    totals = {"some": some, "full": full}
    return "".join(
        f"{line} avg10=0.00 avg60=0.00 avg300=0.00 total={round(total * 1e6)}\n"
        for line, total in totals.items()
        if total is not None
    ).encode()


def areas(*zram: tuple[int, int]) -> bytes:
    """/proc/swaps with a swap file, and a zram device for each (size, used), in bytes."""
    lines = ["Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority", "/swapfile file\t\t1048572\t\t0\t\t-2"]
    lines += [f"/dev/zram{n} partition\t{size // 1024}\t\t{used // 1024}\t\t100" for n, (size, used) in enumerate(zram)]
    return ("\n".join(lines) + "\n").encode()


VMSTAT = b"nr_free_pages 1000\npgpgin 1\npswpin 10\npswpout 20\npgmajfault 30\npgscan_kswapd 40\npgscan_direct 50\n"


def build(
    folder: Path,
    clock: float = 1000.0,
    total: int = 8 * GIB,
    available: int = 4 * GIB,
    swap: tuple[int, int] = (0, 0),
    apps: Iterable[App] = (),
    pressure: Mapping[str, bytes] | None = None,
    zram: Iterable[tuple[int, int, int]] = (),
    cgroups: Mapping[str, Mapping[str, str]] | None = None,
    marks: Mapping[str, Mapping[str, str]] | None = None,
    **others: int,
) -> Path:
    """Writes a machine.

    Args:
        apps: Its processes besides init.
        pressure: /proc/pressure by resource; calm if it is not given, absent if it is empty.
        zram: Devices as (size, stored, used), in bytes; they are swapped on.
        cgroups: Files by name by path below /sys/fs/cgroup.
        marks: Extended attributes by the cgroup's path.
        others: More lines of /proc/meminfo.
    """
    zram = list(zram)
    write(folder / "clock", f"{clock}\n".encode())
    write(folder / "proc/meminfo", meminfo(total, available, swap, **others))
    write(folder / "proc/vmstat", VMSTAT)
    write(folder / "proc/swaps", areas(*((size, stored) for size, stored, _ in zram)))
    for resource, raw in ({"memory": stalls(0, 0), "io": stalls(0, 0)} if pressure is None else pressure).items():
        write(folder / "proc/pressure" / resource, raw)
    for app in (INIT, *apps):
        for name, content in app.files().items():
            write(folder / "proc" / str(app.pid) / name, content)
    for number, (size, stored, used) in enumerate(zram):
        write(folder / f"sys/block/zram{number}/disksize", b"%d\n" % size)
        write(folder / f"sys/block/zram{number}/mm_stat", b"%8d %8d %8d 0 0 0 0 0 0\n" % (stored, used, used))
    for path, files in (cgroups or {"/": {"cgroup.controllers": "cpu memory\n"}}).items():
        for name, text in files.items():
            write(folder / "sys/fs/cgroup" / path.strip("/") / name, text.encode())
    write(folder / "xattrs.json", json.dumps(dict(marks or {})).encode())
    return folder


def write(path: Path, content: bytes) -> None:
    """A file and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
