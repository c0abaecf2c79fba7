"""Scanning: the processes of a machine, as far as a choice needs them.

In two phases, because the price of a scan is the number of files opened, about 10 us each: one small file for every
process gives an upper bound of what it could free; only those for whom that matters are looked at closely, and of
their ancestors just who they are.
"""

from __future__ import annotations

from okoomer.facts import Process
from okoomer.kernel import process as kernel
from okoomer.kernel.statm import Sizes
from okoomer.record import Record, replace
from okoomer.units import MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: So many processes at most are looked at closely.
CLOSELY = 256
#: Nobody smaller is looked at closely: an idle shell or a sleeping helper.
FLOOR = 2 * MIB
#: So many of those in a cgroup are looked at, one by one, before it ends whole.
MEMBERS = 4096
#: Kinds of selectors that look at the cgroup of a process.
BY_CGROUP = frozenset(("unit", "cgroup", "container", "pod", "tag"))
#: The oom_score_adj of whom the kernel's own killer is to take first (see guard.prime); nobody else writes this number.
#: Where it stands it was 0, and whoever is chosen, or inherits it, is chosen as if it were.
RAISED = 987
#: A process younger than this grew to what it is at least this fast.
YOUNG = 10.0


def floor_of(least: int) -> int:
    """Bytes from which a process is looked at closely if a victim has to free `least`: sixteen small ones of a family
    may be enough together."""
    return max(FLOOR, least // 16)


class Scan(Record):
    """Processes looked at closely and their ancestors; `seen` counts all. `time` is in seconds since boot; everybody
    who is not here could free `floor` bytes at most. `shmem` is all shared memory and tmpfs, in bytes, and `flood` by
    how many bytes per second that part of it grows which no process maps."""

    time: float
    processes: tuple[Process, ...]
    seen: int
    floor: int = FLOOR
    shmem: int = 0
    flood: float = 0.0


def untagged(cgroup: str) -> tuple[str, ...]:
    """The extended attributes of cgroups where none are known."""
    return ()


def scan(
    proc: str,
    now: float,
    swap_used: int,
    wants: frozenset[str],
    floor: int = FLOOR,
    earlier: Scan | None = None,
    me: int = 0,
    sizes: Sizes | None = None,
    shmem: int = 0,
    tags: Callable[[str], tuple[str, ...]] = untagged,
) -> Scan:
    """The processes that could matter.

    A process that goes away while it is read is left out; nothing that a single process does ends the scan.

    Args:
        proc: Where /proc is.
        now: Seconds since boot.
        swap_used: Bytes of swap in use: what a process might have there besides what is resident.
        wants: Kinds of selectors for which more has to be read (`cmdline`, `exe`, `unit`...), and `oom_score`.
        floor: Bytes below which nobody is looked at closely.
        earlier: A scan some seconds ago, from which growth is taken.
        me: Our own pid: it and its ancestors are known whatever their size, so that they can be left alone.
        sizes: Keeps descriptors from one scan to the next.
        shmem: Bytes of shared memory and tmpfs in use.
        tags: The names of a cgroup's extended attributes, by its path.

    Raises:
        OSError: /proc cannot be listed.
    """
    bounds, seen = (sizes or Sizes(proc)).bounds(swap_used, floor)
    bounds.sort(reverse=True)

    found: dict[int, Process] = {}
    for _bound, pid in bounds[:CLOSELY]:
        process = look(proc, pid, wants)
        if process:
            found[process.pid] = process
    for process in list(found.values()):
        add_ancestors(proc, process.parent, wants, found)
    add_ancestors(proc, me, wants, found)
    known = {process.pid: process for process in earlier.processes} if earlier else {}
    if "tag" in wants:
        found = _with_tags(found, tags)
    processes = tuple(_with_growth(process, now, earlier, known) for process in found.values())
    floor = max(floor, bounds[CLOSELY][0] if len(bounds) > CLOSELY else 0)
    return Scan(now, processes, seen, floor, shmem, _flood(processes, now, shmem, earlier))


def look(proc: str, pid: int, wants: frozenset[str], sizes: bool = True) -> Process | None:
    """One process in detail, or None where it is gone (or letting go of its memory). Its user is known with its sizes
    only, so it has those as well where a selector asks for users."""
    try:
        stat = kernel.stat(proc, pid)
        source = kernel.source(proc, pid, stat)
        status = kernel.parse_status(kernel.status(proc, source)) if sizes or "user" in wants else None
    except (OSError, ValueError, IndexError):
        return None
    return Process(
        pid=pid,
        parent=stat.parent,
        name=stat.name,
        started=stat.started,
        user=status.user if status else 0,
        group=stat.group,
        session=stat.session,
        terminal=stat.terminal,
        threads=stat.threads,
        anon=status.anon if status else 0,
        swap=status.swap if status else 0,
        shmem=status.shmem if status else 0,
        file=status.file if status else 0,
        adjustment=0 if (own := kernel.number(proc, pid, "oom_score_adj")) == RAISED else own,
        oom_score=kernel.number(proc, pid, "oom_score") if "oom_score" in wants else 0,
        kernel_thread=stat.kernel_thread,
        command=kernel.command(proc, source) if "cmdline" in wants else "",
        executable=kernel.executable(proc, source) if "exe" in wants else "",
        cgroup=kernel.cgroup(proc, source) if wants & BY_CGROUP else "",
        environment=kernel.environment(proc, source) if "environ" in wants else "",
        directory=kernel.directory(proc, source) if "cwd" in wants else "",
        cgroup1=kernel.named_cgroup(proc, source) if "cgroup1" in wants else "",
    )


def still(proc: str, process: Process) -> bool:
    """Whether a pid is still the process that was seen: pids are used again, start times are not."""
    try:
        return kernel.stat(proc, process.pid).started == process.started
    except (OSError, ValueError, IndexError):
        return False


def group_of(
    proc: str,
    group: int,
    known: set[int],
    wants: frozenset[str],
    leave: Callable[[Process], object] = lambda process: False,
) -> list[Process]:
    """The processes of a process group that are not known yet, without those that `leave` is true of.

    Raises:
        OSError: /proc cannot be listed.
    """
    found = []
    for pid in kernel.pids(proc):
        try:
            if int(pid) in known or kernel.stat(proc, pid).group != group:
                continue
        except (OSError, ValueError, IndexError):
            continue
        process = look(proc, int(pid), wants)
        if process and not leave(process):
            found.append(process)
    return found


def descendants(
    proc: str,
    roots: Iterable[int],
    known: set[int],
    wants: frozenset[str],
    leave: Callable[[Process], object] = lambda process: False,
) -> list[Process]:
    """Processes below the given ones that are not known yet: small ones that the scan passed over, and those born
    since. Those that `leave` is true of are left out, and all below them."""
    found = []
    pending = list(roots)
    for pid in pending:
        for child in kernel.children(proc, pid):
            if child in known:
                continue
            known.add(child)
            process = look(proc, child, wants)
            if process and not leave(process):
                found.append(process)
                pending.append(child)
    return found


def add_ancestors(proc: str, pid: int, wants: frozenset[str], found: dict[int, Process]) -> None:
    """Adds a process and those above it, without their sizes, as far as they are not there."""
    while pid > 0 and pid not in found:
        process = look(proc, pid, wants, sizes=False)
        if process is None:
            return
        found[pid] = process
        pid = process.parent


def with_all(
    proc: str,
    pids: Iterable[int],
    wants: frozenset[str],
    processes: tuple[Process, ...],
    tags: Callable[[str], tuple[str, ...]] = untagged,
) -> tuple[Process, ...]:
    """Processes, and with them those that were too small to be looked at, MEMBERS at most, with their ancestors.

    Args:
        tags: The names of a cgroup's extended attributes, by its path.
    """
    found = {process.pid: process for process in processes}
    for pid in [pid for pid in pids if pid not in found][:MEMBERS]:
        process = look(proc, pid, wants)
        if process:
            found[pid] = process
            add_ancestors(proc, process.parent, wants, found)
    if "tag" in wants:
        found = _with_tags(found, tags, frozenset(process.pid for process in processes))
    return tuple(found.values())


def _with_tags(
    found: dict[int, Process], tags: Callable[[str], tuple[str, ...]], known: frozenset[int] = frozenset()
) -> dict[int, Process]:
    new = {process.cgroup for process in found.values() if process.pid not in known}
    named = {cgroup: tags(cgroup) for cgroup in new}
    return {pid: p if pid in known else replace(p, tags=named[p.cgroup]) for pid, p in found.items()}


def _with_growth(process: Process, now: float, earlier: Scan | None, known: Mapping[int, Process]) -> Process:
    mine = process.held
    age = now - process.started
    if earlier and process.started < earlier.time < now:
        before = known.get(process.pid)
        # Who was too small to be looked at then has grown by what is above that at least.
        then = before.held if before else min(mine, earlier.floor)
        return replace(process, growth=(mine - then) / (now - earlier.time))
    if 0 <= age < YOUNG:
        return replace(process, growth=mine / max(age, 0.1))
    return process


def _flood(processes: tuple[Process, ...], now: float, shmem: int, earlier: Scan | None) -> float:
    if not earlier or earlier.time >= now:
        return 0.0
    # What many map counts many times: rather too little than too much belongs to nobody. But when somebody who mapped
    # some of it has gone, nothing has grown by that.
    mapped = sum(p.shmem for p in processes) - sum(p.shmem for p in earlier.processes)
    return max(0, shmem - earlier.shmem - max(0, mapped)) / (now - earlier.time)
