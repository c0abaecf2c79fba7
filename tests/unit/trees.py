"""Recorded machines with a tree of cgroups, each with a process of its size."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.unit.machines import GIB, MIB, App, build, write


@dataclass(frozen=True)
class Group:
    """A cgroup without children. Sizes are MiB, pressures percent of the time (avg10, avg60, avg300), `scan` pages;
    what it holds is anonymous, unless `anon` says otherwise. `apps` are its processes; without any it has one that is
    as big as itself, and with `empty` none."""

    memory: int
    anon: int | None = None
    swap: int = 0
    scan: int = 0
    stalled: tuple[float, float, float] = (0.0, 0.0, 0.0)
    io_stalled: tuple[float, float, float] = (0.0, 0.0, 0.0)
    io: str = ""
    low: int = 0
    whole: bool = False
    dying: int = 0
    empty: bool = False
    apps: tuple[App, ...] = ()


@dataclass(frozen=True)
class Slice:
    """What is said of a cgroup with children; their sizes and scans add up, and the rest is as for one without."""

    stalled: tuple[float, float, float] = (0.0, 0.0, 0.0)
    low: int = 0
    whole: bool = False


def tree(
    folder: Path,
    clock: float,
    groups: Mapping[str, Group],
    slices: Mapping[str, Slice] | None = None,
    available: int = 4 * GIB,
    swap: tuple[int, int] = (4 * GIB, 4 * GIB),
    apps: Iterable[App] = (),
    marks: Mapping[str, Mapping[str, str]] | None = None,
    owners: Mapping[str, int] | None = None,
) -> Path:
    """Writes a machine of 8 GiB at an instant. The processes of groups that name none have 101, 102... in their order.

    Args:
        groups: By path, from the root on, `/a/b`.
        slices: The same for those above them, as far as there is something to say of them.
        apps: More processes, wherever they say that they are.
    """
    everybody = list(apps)
    files: dict[str, dict[str, str]] = {"/": {"cgroup.controllers": "cpu io memory pids\n"}}
    for number, (path, group) in enumerate(groups.items(), 101):
        own = group.apps or (App(number, name_of(path), anon=anon_of(group), swap=group.swap * MIB, started=10.0),)
        inside = [] if group.empty else [place(app, path) for app in own]
        everybody += inside
        files[path] = written(
            group.memory, anon_of(group), group.swap, group.scan, group.stalled, group.low, group.whole, not group.empty
        )
        files[path] |= {
            "cgroup.procs": "".join(f"{app.pid}\n" for app in inside),
            "cgroup.stat": f"nr_descendants 0\nnr_dying_descendants {group.dying}\n",
            "io.pressure": pressure(group.io_stalled),
            "io.stat": group.io,
        }
    above = {path[:at] for path in groups for at in range(1, len(path)) if path[at] == "/"}
    for path in sorted(above):
        below = [group for one, group in groups.items() if one.startswith(f"{path}/")]
        said = (slices or {}).get(path, Slice())
        total = [sum(values) for values in zip(*((g.memory, anon_of(g), g.swap, g.scan) for g in below), strict=True)]
        files[path] = written(*total[:4], said.stalled, said.low, said.whole, any(not group.empty for group in below))
        files[path]["cgroup.procs"] = ""
    build(folder, clock, available=available, swap=swap, apps=everybody, cgroups=files, marks=marks)
    write(folder / "owners.json", json.dumps(dict(owners or {})).encode())
    return folder


def written(
    memory: int,
    anon: int,
    swap: int,
    scan: int,
    stalled: tuple[float, float, float],
    low: int,
    whole: bool,
    populated: bool,
) -> dict[str, str]:
    """The files of a cgroup; `anon` is in bytes, other sizes are MiB."""
    return {
        "cgroup.events": f"populated {int(populated)}\nfrozen 0\n",
        "memory.current": f"{memory * MIB}\n",
        "memory.swap.current": f"{swap * MIB}\n",
        "memory.stat": f"anon {anon}\nfile {max(0, memory * MIB - anon)}\nshmem 0\npgscan {scan}\npgsteal {scan}\n",
        "memory.min": "0\n",
        "memory.low": f"{low * MIB}\n",
        "memory.max": "max\n",
        "memory.oom.group": f"{int(whole)}\n",
        "memory.pressure": pressure(stalled),
    }


def pressure(stalled: tuple[float, float, float]) -> str:
    averages = "avg10={:.2f} avg60={:.2f} avg300={:.2f} total=0\n".format(*stalled)
    return f"some {averages}full {averages}"


def anon_of(group: Group) -> int:
    return (group.memory if group.anon is None else group.anon) * MIB


def name_of(path: str) -> bytes:
    return path.rpartition("/")[2].partition(".")[0].encode()


def place(app: App, path: str) -> App:
    return App(**{**app.__dict__, "cgroup": path.encode()})
