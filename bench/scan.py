"""The CPU time of one scan and choice among many processes."""

from __future__ import annotations

import time

from bench.daemons import Daemon, reported_scan_seconds
from bench.process import cpu_seconds
from bench.result import Measure
from tests.box.box import Box
from tests.box.procfiles import MIB

TRIALS = 5
CROWDS = (200, 1000, 3000)
SETTLE = 1.0


def run(daemons: list[Daemon], trials: int | None) -> list[Measure]:
    """CPU time from outside, with all threads, over the scans that the log shows; okoomer's own account."""
    measures = []
    for crowd in CROWDS:
        outside = Measure(f"{crowd} processes, from outside", "ms")
        reported = Measure(f"{crowd} processes, okoomer's account", "ms")
        with Box() as box:
            box.crowd(crowd)
            box.spawn(rss_bytes=300 * MIB)
            for _ in range(trials or TRIALS):
                for daemon in daemons:
                    if daemon.dry_run:
                        seconds, own = _scan(box, daemon)
                        outside.add(daemon.name, seconds * 1000)
                        for value in own:
                            reported.add(daemon.name, value * 1000)
        measures += [outside, reported] if reported.samples else [outside]
    return measures


def _scan(box: Box, daemon: Daemon) -> tuple[float, list[float]]:
    """A fresh start, a look at the machine, and then memory is low for a while."""
    box.memory(available=box.total * 8 // 10)
    proc = daemon.start(box, daemon.dry_run)
    time.sleep(SETTLE)
    cpu, scans = cpu_seconds(proc.proc), daemon.scans(proc)
    box.memory(available=box.total * 3 // 100)
    box.until(lambda: daemon.scans(proc) > scans, 10, "a scan")
    time.sleep(daemon.scan_window)
    cpu, scans = cpu_seconds(proc.proc) - cpu, daemon.scans(proc) - scans
    proc.stop()
    return cpu / scans, reported_scan_seconds(proc)
