"""The contestants: how each daemon is started at the same levels, and where its log shows what it does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.box import peers
from tests.box.box import Box
from tests.box.process import Proc

TERM_PERCENT = 10
KILL_PERCENT = 5
START_TIMEOUT = 20.0

POLICY = f"""
[[rule]]
name  = "critical"
when  = "mem.available <= {KILL_PERCENT}% and swap.free <= {KILL_PERCENT}%"
unit  = "process"
steps = ["kill"]

[[rule]]
name  = "low"
when  = "mem.available <= {TERM_PERCENT}% and swap.free <= {TERM_PERCENT}%"
unit  = "process"
steps = ["term 10s", "kill"]
"""


@dataclass(frozen=True)
class Daemon:
    """One daemon. An empty `dry_run` says that it has none."""

    name: str
    live: list[str]
    """Kills, at 10 % and 5 %."""
    dry_run: list[str]
    """Chooses at the same levels, and kills nothing."""
    idle: list[str]
    """As it comes, without its power to kill where it can do without."""
    started: str
    """What its log says when it watches."""
    scanned: str = ""
    """What its log says once for each scan and choice."""
    scan_window: float = 1.0
    """How long memory has to stay low to see it scan."""

    def start(self, box: Box, argv: list[str]) -> Proc:
        """Run it in the box and wait until it watches."""
        proc = box.daemon(argv, env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"})
        proc.wait_line(self.started, START_TIMEOUT)
        return proc

    def scans(self, proc: Proc) -> int:
        """How often it looked for a victim so far."""
        return sum(self.scanned in line.text for line in proc.lines)


def reported_scan_seconds(proc: Proc) -> list[float]:
    """The CPU time of each scan by okoomer's own account."""
    events = [json.loads(line.text) for line in proc.lines if "scan_cpu_seconds" in line.text]
    return [event["scan_cpu_seconds"] for event in events]


def okoomer(work: Path) -> Daemon | None:
    """okoomer as installed beside this interpreter, in the checkout, or on the PATH."""
    installed = [Path(sys.executable).with_name("okoomer"), Path(".venv/bin/okoomer").absolute()]
    program = next((str(path) for path in installed if path.exists()), shutil.which("okoomer"))
    if program is None:
        return None
    policy = work / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    run = [program, "run", "--json", "--runtime-dir", "/run/okoomer"]
    return Daemon(
        name="okoomer",
        live=[*run, "--policy", str(policy)],
        dry_run=[*run, "--policy", str(policy), "--dry-run"],
        idle=[*run, "--dry-run"],
        started="{",
        scanned="scan_cpu_seconds",
        scan_window=0.05,
    )


def earlyoom() -> Daemon:
    """Debian's earlyoom; the levels are its defaults. It chooses again in every cycle of a dry run."""
    argv = peers.earlyoom("-r", "3600")
    return Daemon(
        name="earlyoom",
        live=argv,
        dry_run=[*argv, "--dryrun"],
        idle=[*argv, "--dryrun"],
        started="mem avail",
        scanned="to process",
        scan_window=5.0,
    )


def nohang(work: Path) -> Daemon:
    """Debian's nohang, with the levels of the others."""
    levels = {"soft_threshold_min_mem": f"{TERM_PERCENT} %", "hard_threshold_min_mem": f"{KILL_PERCENT} %"}
    argv = peers.nohang(peers.nohang_config(work / "nohang.conf", levels.items()))
    return Daemon(name="nohang", live=argv, dry_run=[], idle=argv, started="Monitoring")


def contestants(work: Path) -> list[Daemon]:
    """All daemons that can be had here; `work` keeps their configurations."""
    found = [okoomer(work)]
    for peer in (earlyoom, lambda: nohang(work)):
        try:
            found.append(peer())
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            print(f"a peer is missing: {error}", file=sys.stderr)
    return [daemon for daemon in found if daemon]
