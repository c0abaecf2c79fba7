"""`okoomer demo`: a rehearsal in a box, with a real hog, the real guard and a pretended memory.

The box is a private mount and PID namespace: the guard in it sees and can signal only what was started in it. Over
/proc/meminfo lies a file that this module writes: a machine of 1 GiB on which nothing runs but the box's processes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from okoomer.cli.errors import CannotHere
from okoomer.units import MIB, size

#: The pretended machine, in bytes, and what everybody else on it uses.
TOTAL, OTHERS = 1024 * MIB, 330 * MIB
#: The hog's pace in bytes per second, and the size of an honest neighbour.
PACE, NEIGHBOUR = 60 * MIB, 180 * MIB
#: Seconds after which the rehearsal ends in any case.
LIMIT = 40.0

# Each gives itself a name, so that the story has a hog and a neighbour and not two pythons.
HOG = """
import sys, time
open("/proc/self/comm", "w").write("hog")
held, step = [], int(sys.argv[1])
while True:
    held.append(b"x" * step)
    time.sleep(0.05)
"""
HOLDER = """
import sys, time
open("/proc/self/comm", "w").write("neighbour")
held = b"x" * int(sys.argv[1])
time.sleep(1e6)
"""


@click.command()
def command() -> None:
    """Rehearse an emergency: memory is pretended, the hog and its end are real, nothing outside can be hit.

    Takes about ten seconds.

    \b
    Example:
      okoomer demo
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        raise CannotHere("the demo needs the command unshare (apt-get install util-linux)")
    box = [unshare, "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        box[1:1] = ["--user", "--map-root-user"]
    # What cannot be boxed must not be started: if the namespaces are refused, unshare runs nothing.
    ended = subprocess.run([*box, sys.executable, "-m", "okoomer.cli.demo"], check=False)
    if ended.returncode == 1:
        raise CannotHere("no private namespace is to be had here (a container?), so there is no safe place for a demo")
    sys.exit(ended.returncode)


def rehearse(folder: Path) -> int:
    """Runs in the box, as its first process; the exit code."""
    os.setsid()
    meminfo = folder / "meminfo"
    write_meminfo(meminfo, TOTAL - OTHERS)
    for source, target in ((meminfo, "/proc/meminfo"), (calm(folder), "/proc/pressure/memory")):
        if Path(target).exists():
            subprocess.run(["mount", "--bind", source, target], check=True)

    def start(code: str, amount: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-I", "-S", "-c", code, str(amount)])

    click.echo(f"A machine of {size(TOTAL)}, pretended; {size(OTHERS)} of it are in use. In it start, for real:")
    neighbour = start(HOLDER, NEIGHBOUR)
    click.echo(f"  a neighbour (pid {neighbour.pid}) that holds {size(NEIGHBOUR)} and is content")
    guard = subprocess.Popen([sys.executable, "-m", "okoomer.cli.demo", "guard", str(folder)], stderr=subprocess.STDOUT)
    time.sleep(1.0)
    hog = start(HOG, PACE // 20)
    click.echo(f"  a hog (pid {hog.pid}) that takes {size(PACE)} each second and will not stop")
    began = told = time.monotonic()
    while hog.poll() is None and time.monotonic() - began < LIMIT:
        left = TOTAL - OTHERS - resident(neighbour.pid) - resident(hog.pid)
        write_meminfo(meminfo, left)
        if time.monotonic() - told >= 1.0:
            told += 1.0
            click.echo(f"  {told - began:3.0f} s: {size(left)} available")
        time.sleep(0.01)
    ended = time.monotonic() - began
    write_meminfo(meminfo, TOTAL - OTHERS - resident(neighbour.pid))
    time.sleep(1.0)
    lives = neighbour.poll() is None
    guard.send_signal(signal.SIGINT)
    guard.wait(10)
    if hog.returncode is None or not lives:
        click.echo("That is not what should happen: " + ("the neighbour died." if not lives else "the hog lives."))
        return 1
    by = signal.Signals(-hog.returncode).name
    click.echo(f"The hog ended by {by} after {ended:.1f} s, the neighbour lives. Why, in okoomer's own words:")
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", "okoomer.cli.demo", "why", str(folder)], check=True)
    return 0


def write_meminfo(path: Path, available: int) -> None:
    """The pretended /proc/meminfo, in one write of always the same length, so that no reader sees half of it."""
    left = max(0, available) // 1024
    fields = {"MemTotal": TOTAL // 1024, "MemFree": left, "MemAvailable": left, "SwapTotal": 0, "SwapFree": 0}
    text = "".join(f"{name + ':':15} {value:8d} kB\n" for name, value in fields.items())
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.pwrite(fd, text.encode(), 0)
    os.close(fd)


def calm(folder: Path) -> Path:
    """A pressure file without any pressure."""
    path = folder / "pressure"
    line = "avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    path.write_text(f"some {line}full {line}")
    return path


def resident(pid: int) -> int:
    """Resident bytes of a process, 0 once it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def main() -> None:
    """What runs inside the box: the rehearsal, and, started by it, the guard and its explanation."""
    from okoomer.cli.commands import okoomer

    if len(sys.argv) == 3:
        # As a service it has no courier of its own: what happens here is nobody's business outside.
        extra = ["--service", "--policy", "server"] if sys.argv[1] == "guard" else []
        okoomer.main([{"guard": "run"}.get(sys.argv[1], sys.argv[1]), *extra, "--runtime-dir", sys.argv[2]])
    with tempfile.TemporaryDirectory(prefix="okoomer-demo-") as folder:
        sys.exit(rehearse(Path(folder)) and 4)


if __name__ == "__main__":
    main()
