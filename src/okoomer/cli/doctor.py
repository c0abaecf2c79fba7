"""`okoomer doctor`: what is missing or in the way on this machine, and the command that mends it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import click

from okoomer.cli import place
from okoomer.cli.doctor_canary import canary
from okoomer.cli.doctor_cgroups import cgroups
from okoomer.cli.doctor_courier import agent, courier
from okoomer.cli.errors import NO
from okoomer.cli.finding import Finding
from okoomer.events.text import harmless
from okoomer.guard.sense import Sense
from okoomer.kernel import process
from okoomer.kernel.machine import LIVE
from okoomer.kernel.pressure import open_trigger
from okoomer.policy.error import PolicyError
from okoomer.policy.examine import inert
from okoomer.policy.language import load
from okoomer.units import size

#: Other daemons of the kind, by the names of their processes, and the units that start them.
PEERS = {
    "earlyoom": "earlyoom.service",
    "nohang": "nohang.service nohang-desktop.service",
    "oomd": "oomd.service",
    "systemd-oomd": "systemd-oomd.service systemd-oomd.socket",
    "thrash-protect": "thrash-protect.service",
    "bustd": "bustd.service",
}


@click.command()
@place.policy_option
@place.json_option
@place.runtime_option
@click.pass_context
def command(ctx: click.Context, policy: str | None, as_json: bool, runtime_dir: str | None) -> None:
    """Find what is missing or in the way here, and say how to mend it.

    Exits with 1 if something is wrong, with 0 if there is advice at most.

    \b
    Example:
      okoomer doctor
      okoomer doctor --json
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        rights,
        pressure,
        swap,
        peers,
        hidden_processes,
        cgroups,
        kernel,
        courier,
        agent,
        lambda: canary(place.runtime_dir(runtime_dir)),
        lambda: rules(policy or place.policy_of_this_machine()[0]),
    ]
    findings = [finding for check in checks for finding in check()]
    pid = place.running(place.runtime_dir(runtime_dir))
    if as_json:
        click.echo(json.dumps({"guard": pid, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        click.echo(f"the guard runs as pid {pid}" if pid else "no guard runs here: okoomer run starts one")
        for finding in findings:
            click.echo(f"{'WRONG ' if finding.wrong else 'ADVICE'} {harmless(finding.what)}")
            click.echo(f"       {harmless(finding.cost)}")
            click.echo(f"       mend: {harmless(finding.mend)}")
        if not findings:
            click.echo("nothing is missing or in the way")
    ctx.exit(NO if any(finding.wrong for finding in findings) else 0)


def rights() -> Iterator[Finding]:
    """What needs root."""
    if os.geteuid() != 0:
        cost = "only processes of this user can be guarded, and memory cannot be locked"
        yield Finding(False, "not run as root", cost, "sudo okoomer run")


def pressure() -> Iterator[Finding]:
    """Pressure stall information and its triggers."""
    if not Path("/proc/pressure/memory").exists():
        cost = "rules about stalls cannot act; only how much memory is left is seen"
        compiled = any(
            "CONFIG_PSI=y" in config.read_text(errors="replace")
            for config in Path("/boot").glob(f"config-{platform.release()}")
        )
        mend = "add psi=1 to the kernel's command line" if compiled else "use a kernel with CONFIG_PSI=y"
        yield Finding(True, "the kernel gives no pressure information", cost, mend)
        return
    trigger = open_trigger("/proc/pressure/memory", "some", 0.1, 1.0)
    if trigger is None:
        cost = "the guard looks four times a second instead of sleeping until a stall begins"
        mend = "run as root on the machine itself, not in a container with its own /proc"
        yield Finding(False, "the kernel takes no pressure trigger from us", cost, mend)
    else:
        os.close(trigger)


def swap() -> Iterator[Finding]:
    """Whether there is any, and of which kind."""
    snapshot = Sense(LIVE).snapshot()
    if not snapshot.swap.total:
        cost = "nothing can be moved out of the way: pages of files that are in use are evicted instead"
        mend = "fallocate -l 4G /swap && chmod 600 /swap && mkswap /swap && swapon /swap, or install zram-tools"
        yield Finding(False, "there is no swap", cost, mend)
    elif snapshot.zram and snapshot.zram.used and snapshot.zram.stored < snapshot.zram.used * 1.2:
        cost = f"{size(snapshot.zram.used)} of memory hold {size(snapshot.zram.stored)}: hardly anything is won"
        yield Finding(False, "zram does not compress what is in it", cost, "use swap on a disk instead")


def peers() -> Iterator[Finding]:
    """Other daemons that would kill at the same time."""
    for pid in process.pids("/proc"):
        try:
            name = process.stat("/proc", pid).name
        except (OSError, ValueError):
            continue
        if name in PEERS:
            cost = "two of a kind kill two where one is enough"
            yield Finding(True, f"{name} runs too (pid {pid})", cost, f"systemctl disable --now {PEERS[name]}")


def hidden_processes() -> Iterator[Finding]:
    """hidepid."""
    for line in Path("/proc/self/mounts").read_text(errors="replace").splitlines():
        _device, where, kind, options, *_ = line.split()
        hidden = [option for option in options.split(",") if option.startswith("hidepid=")]
        if where == "/proc" and kind == "proc" and hidden and hidden[0] not in ("hidepid=0", "hidepid=off"):
            cost = "whoever is not root, and not in the group that gid= names, sees no process but its own"
            mend = "mount -o remount,hidepid=0 /proc, or run the guard as root with CAP_SYS_PTRACE"
            yield Finding(os.geteuid() != 0, f"/proc is mounted with {hidden[0]}", cost, mend)


def kernel() -> Iterator[Finding]:
    """What the kernel could do better."""
    version = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdecimal())
    if version < (5, 15):
        cost = "a killed process that gets no CPU keeps its memory for seconds"
        yield Finding(False, f"Linux {platform.release()} has no process_mrelease", cost, "use Linux 5.15 or newer")
    if not Path("/proc/self/io").exists():
        cost = "who fills memory that belongs to no process, as with files on a tmpfs, is not known"
        mend = "use a kernel with CONFIG_TASK_IO_ACCOUNTING=y"
        yield Finding(False, "the kernel does not tell who writes how much (/proc/PID/io)", cost, mend)
    ttl = Path("/sys/kernel/mm/lru_gen/min_ttl_ms")
    if ttl.exists() and ttl.read_text().strip() == "0":
        cost = "the pages that are being used can all be evicted, which is what a freeze is made of"
        mend = "echo y > /sys/kernel/mm/lru_gen/enabled; echo 1000 > /sys/kernel/mm/lru_gen/min_ttl_ms"
        yield Finding(False, "the kernel does not protect the working set of the last second", cost, mend)


def rules(source: str) -> Iterator[Finding]:
    """Rules of the policy that cannot act here."""
    try:
        policy = load(source)
    except PolicyError as error:
        yield Finding(True, "the policy is not valid", str(error).splitlines()[0], f"okoomer check {source}")
        return
    for name, missing in inert(policy, Sense(LIVE).snapshot()).items():
        cost = f"this machine has no {', '.join(missing)}"
        yield Finding(True, f"rule {name} of {source} cannot act here", cost, "see the advice above, or change it")
