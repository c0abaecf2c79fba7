"""okoomer in earlyoom's and in nohang's place, each beside the one whose place it takes."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.daemons import Daemon
from bench.process import cpu_seconds, memory_kib
from bench.result import SUBJECT, Measure
from tests.box import peers
from tests.box.box import Box
from tests.box.process import Proc
from tests.box.procfiles import MIB

TRIALS = 5
CROWD = 1000
HOG = 300 * MIB
SETTLE = 10.0
PATIENCE = 20.0
#: Shell loops that run /bin/true, which stop the peer from ever coming to a kill.
LOOPS = 4
LOOP = ["sh", "-c", "while :; do /bin/true; done"]


def run(daemons: list[Daemon], trials: int | None) -> list[Measure]:
    """Start, descriptors and memory of both roles; search and kill of nohang's with its desktop rules."""
    okoomer = str(Path(sys.executable).with_name("okoomer"))
    with tempfile.TemporaryDirectory(prefix="roles-") as work:
        config = peers.nohang_config(Path(work) / "desktop.conf", variant="nohang-desktop")
        levels = (("soft_threshold_min_mem", "5 %"), ("hard_threshold_min_mem", "3 %"))
        kills = peers.nohang_config(Path(work) / "kills.conf", levels, variant="nohang-desktop")
        return [
            *_earlyoom(okoomer, trials or TRIALS),
            *_resident(okoomer, config),
            *_search(okoomer, kills, trials or TRIALS),
            _churn(okoomer, kills, trials or TRIALS),
        ]


def _start(box: Box, argv: list[str], says: str) -> tuple[Proc, float]:
    began = time.monotonic()
    proc = box.daemon(argv, env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"})
    return proc, proc.wait_line(says, 60).at - began


def _earlyoom(okoomer: str, trials: int) -> list[Measure]:
    report = Measure("earlyoom's place: to the first report", "ms")
    descriptors = Measure("earlyoom's place: descriptors", "")
    rss = Measure("earlyoom's place: RSS", "KiB")
    with Box() as box:
        for _ in range(trials):
            for name, argv in ((SUBJECT, [okoomer, "earlyoom"]), ("earlyoom", peers.earlyoom())):
                proc, took = _start(box, [*argv, "-r", "3600"], "mem avail: ")
                report.add(name, took * 1000)
                time.sleep(1)
                # What whoever started it has left open is not its own.
                own = [fd for fd in (proc.proc / "fd").iterdir() if int(fd.name) < 3 or not _inherited(box, fd)]
                descriptors.add(name, len(own))
                rss.add(name, memory_kib(proc.proc)["Rss"])
                proc.stop()
    return [report, descriptors, rss]


def _inherited(box: Box, fd: Path) -> bool:
    mine = {str(one.readlink()) for one in (box.proc / "1" / "fd").iterdir()}
    return str(fd.readlink()) in mine


def _nohang(okoomer: str, config: Path) -> tuple[tuple[str, list[str], str], tuple[str, list[str], str]]:
    role = [okoomer, "nohang", "--config", str(config), "--monitor"]
    return (SUBJECT, role, "guards"), ("nohang", peers.nohang(config), "Monitoring")


def _resident(okoomer: str, config: Path) -> list[Measure]:
    measures = [Measure(f"nohang's place: {field}", "KiB") for field in ("Rss", "Pss", "Anonymous")]
    with Box() as box:
        procs = {name: _start(box, argv, says)[0] for name, argv, says in _nohang(okoomer, config)}
        time.sleep(SETTLE)
        for measure in measures:
            for name, proc in procs.items():
                measure.add(name, memory_kib(proc.proc)[measure.name.split(": ")[1]])
    return measures


def _search(okoomer: str, config: Path, trials: int) -> list[Measure]:
    """CPU time of all that is done from the fall of memory until a victim is signalled, from outside, and of the scan
    and the choice alone by okoomer's own account."""
    whole = Measure(f"nohang's place, {CROWD} processes: to the signal, CPU", "ms")
    own = Measure(f"nohang's place, {CROWD} processes: okoomer's account of the search", "ms")
    wall = Measure(f"nohang's place, {CROWD} processes: to the signal", "s")
    with Box() as box:
        box.crowd(CROWD)
        for _ in range(trials):
            for name, argv, says in _nohang(okoomer, config):
                proc, _took = _start(box, argv, says)
                hog = box.spawn(rss_bytes=HOG, gives_back=box.total)
                time.sleep(1)
                before, began = cpu_seconds(proc.proc), time.monotonic()
                box.memory(available=box.total * 2 // 100)
                death = hog.wait(60)
                whole.add(name, (cpu_seconds(proc.proc) - before) * 1000)
                wall.add(name, death.at - began)
                if name == SUBJECT:
                    own.add(name, _account(box) * 1000)
                proc.stop()
                box.memory(available=box.total * 8 // 10)
    return [whole, own, wall]


def _account(box: Box) -> float:
    from okoomer.events.ring import read

    events = [json.loads(text) for _, text in read(f"/proc/{box.init_pid}/root/run/okoomer/ring")]
    return float([event["scan_cpu_seconds"] for event in events if event["event"] == "chosen"][-1])


def _churn(okoomer: str, config: Path, trials: int) -> Measure:
    measure = Measure(f"nohang's place, {LOOPS} loops that fork: to death", "s")
    with Box() as box:
        box.crowd(200)
        for _ in range(trials):
            for name, argv, says in _nohang(okoomer, config):
                proc, _took = _start(box, argv, says)
                loops = [box.spawn(LOOP) for _ in range(LOOPS)]
                hog = box.spawn(rss_bytes=HOG, gives_back=box.total)
                time.sleep(1)
                began = time.monotonic()
                box.memory(available=box.total * 2 // 100)
                with contextlib.suppress(TimeoutError):
                    hog.wait(PATIENCE)
                measure.add(name, hog.death.at - began if hog.death else math.inf)
                for one in (*loops, hog, proc):
                    one.stop()
                box.memory(available=box.total * 8 // 10)
    return measure
