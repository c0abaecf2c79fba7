"""Hierarchies of cgroups, drawn by hand and generated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from okoomer.facts import Cgroup, Memory, Pressure, Snapshot, Stall, Swap
from okoomer.policy.model import Comparison, Rule
from okoomer.record import replace
from tests.unit.strategies import GIB, MIB, selector

if TYPE_CHECKING:
    from random import Random

    from okoomer.policy.model import Selector

TAGS = ("user.oomd_prefer", "user.oomd_avoid", "user.oomd_omit", "trusted.oomd_avoid", "user.other")
RULE = Rule("low", Comparison("mem.available", "<", 0.05, share=True), "mem.available < 5%", unit="cgroup")


def cgroup(path: str, memory: int = 0, **more: object) -> Cgroup:
    """A cgroup that has processes and so many MiB, all of them anonymous."""
    inode = sum(place * ord(letter) for place, letter in enumerate(path, 1))
    return replace(Cgroup(path, inode, populated=True, memory=memory * MIB, anon=memory * MIB, swap=0), **more)


def machine(available: int = 200, swap: int = 4096) -> Snapshot:
    """8 GiB of memory, of which so many MiB are available, and so many MiB of swap."""
    return Snapshot(0.0, Memory(8 * GIB, 0, available * MIB), Swap(swap * MIB, swap * MIB))


def stalled(avg10: float, avg60: float, some: float = 1.0) -> Pressure:
    """Pressure in percent."""
    return Pressure(Stall(some, some, some, 0.0), Stall(avg10 / 100, avg60 / 100, 0.0, 0.0))


def tag(name: str) -> Selector:
    return replace(selector(f"tag:{name.replace('.', '[.]')}"), pattern=name.replace(".", "[.]"))


def hierarchy(random: Random, count: int) -> list[Cgroup]:
    """Cgroups below the root, parents before their children, with what the kernel would account to them."""
    paths = [""]
    for number in range(count):
        name = random.choice((f"s{number}.slice", f"u{number}.service", f"g{number}", "init.scope"))
        path = f"{random.choice(paths[: 1 + len(paths) * 2 // 3])}/{name}"
        if path not in paths:
            paths.append(path)
    found: dict[str, Cgroup] = {}
    for number, path in enumerate(reversed(paths[1:])):
        below = [one for one in found.values() if one.path.rpartition("/")[0] == path]
        if below:
            anon, swap = sum(one.anon or 0 for one in below), sum(one.swap or 0 for one in below)
            memory = sum(one.memory or 0 for one in below)
        else:
            anon = random.choice((0, 100 * 1024, MIB, random.randrange(GIB)))
            swap = random.choice((0, 0, 50 * MIB, random.randrange(GIB)))
            memory = anon + random.choice((0, random.randrange(100 * MIB)))
        found[path] = Cgroup(
            path,
            inode=number + 10,
            owner=random.choice((0, 0, 1000)),
            leaf=not below,
            populated=any(one.populated for one in below) if below else random.random() < 0.9,
            whole=random.random() < 0.1,
            memory=memory,
            swap=swap,
            anon=anon,
            minimum=random.choice((0, 0, random.randrange(GIB))),
            low=random.choice((0, 0, random.randrange(GIB))),
            scan=random.randrange(GIB),
            io_cost=random.random(),
            memory_pressure=stalled(random.randrange(100), random.randrange(100)),
            tags=tuple(one for one in TAGS if random.random() < 0.1),
        )
    return list(reversed(found.values()))
