"""What the doctor finds out about cgroups: what this hierarchy cannot do, and how it could."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from okoomer.cli.finding import Finding
from okoomer.kernel import cgroup

UNIFIED = (
    "add systemd.unified_cgroup_hierarchy=1 to GRUB_CMDLINE_LINUX in /etc/default/grub, then: update-grub && reboot"
)
#: So many cgroups are looked at; one that differs from all of these is rare.
LOOKED_AT = 1000


def cgroups(proc: Path = Path("/proc")) -> Iterator[Finding]:
    """The unified hierarchy, its memory controller, and what it offers of each cgroup."""
    mount = cgroup.mount(str(proc))
    if mount is None:
        cost = (
            'no rule with a scope or with unit = "cgroup" can act, no cgroup.* is known and nothing can be shrunk; '
            'services and containers are seen process by process (unit = "auto")'
        )
        version_1 = _mounted(proc, b"cgroup")
        what = "there are cgroups of version 1 only" if version_1 else "there is no unified cgroup hierarchy"
        mend = UNIFIED if version_1 else "mount -t cgroup2 none /sys/fs/cgroup"
        yield Finding(False, what, cost, mend)
        return
    if "memory" not in cgroup.controllers(mount):
        cost = (
            "what a service or container uses is not accounted for: of cgroup.* only stalls are known, "
            'unit = "cgroup" finds nobody, and nothing can be shrunk'
        )
        if _mounted(proc, b"cgroup", b"memory"):
            what = f"memory is accounted for by cgroups of version 1, not in the hierarchy at {mount}"
            yield Finding(False, what, cost, UNIFIED)
        else:
            mend = "take cgroup_disable=memory off the kernel's command line, or use a kernel with CONFIG_MEMCG=y"
            yield Finding(False, f"the hierarchy at {mount} has no memory controller", cost, mend)
    elif "memory" not in _words(Path(mount, "cgroup.subtree_control")):
        cost = "what a service or container uses is not accounted for"
        mend = f"echo +memory > {mount}/cgroup.subtree_control"
        yield Finding(False, "the memory controller is not on for any cgroup", cost, mend)
    yield from each(mount, (proc / "pressure/memory").exists())


def each(mount: str, stalls: bool) -> Iterator[Finding]:
    """What single cgroups lack.

    Args:
        stalls: Whether the kernel accounts for stalls at all.
    """
    paths = [path for path, _ in zip(cgroup.below(mount), range(LOOKED_AT), strict=False)]
    if not paths:
        return
    if not any(Path(mount + path, "cgroup.kill").exists() for path in paths):
        cost = "a cgroup is killed process by process, which one that forks fast can outrun"
        yield Finding(False, "cgroups have no cgroup.kill", cost, "use Linux 5.14 or newer")
    accounted = [path for path in paths if Path(mount + path, "memory.current").exists()]
    if accounted and not any(Path(mount + path, "memory.reclaim").exists() for path in accounted):
        cost = "the step shrink cannot act"
        yield Finding(False, "cgroups have no memory.reclaim", cost, "use Linux 5.19 or newer")
    if not stalls:
        return
    cost = "rules about the stalls of a cgroup (cgroup.psi.*, cgroup.stall.*) cannot act"
    if not any(Path(mount + path, "memory.pressure").exists() for path in paths):
        mend = "take cgroup_disable=pressure out of /etc/default/grub, then: update-grub && reboot"
        yield Finding(False, "the kernel gives no pressure information of cgroups", cost, mend)
        return
    off = [path for path in paths if _words(Path(mount + path, "cgroup.pressure")) == ["0"]]
    if off:
        who = f"{off[0]} keeps" if len(off) == 1 else f"{off[0]} and {len(off) - 1} more keep"
        mend = f"echo 1 > '{mount}{off[0]}/cgroup.pressure'"
        yield Finding(False, f"{who} no account of stalls (cgroup.pressure is 0)", f"{cost} there", mend)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").split()
    except OSError:
        return []


def _mounted(proc: Path, kind: bytes, option: bytes = b"") -> bool:
    """Whether a file system of this kind is mounted, with an option."""
    try:
        lines = (proc / "self/mounts").read_bytes().splitlines()
    except OSError:
        return False
    rows = [line.split() for line in lines]
    return any(len(row) > 3 and row[2] == kind and (not option or option in row[3].split(b",")) for row in rows)
