"""Unified hierarchies made of ordinary files, as a live machine would show them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from okoomer.kernel.machine import Machine
from okoomer.policy.scope import scope_of
from okoomer.policy.wants import Want
from tests.unit.machines import GIB, meminfo, stalls, write


def ask(text: str, *fields: str) -> Want:
    """What is wanted of the cgroups of a scope."""
    return Want(scope_of(text), frozenset(fields))


@dataclass(frozen=True)
class Hierarchy:
    """A machine below a folder, whose hierarchy is mounted at an odd place."""

    folder: Path

    @property
    def mount(self) -> Path:
        return self.folder / "cg roup"

    @property
    def machine(self) -> Machine:
        return Machine(f"{self.folder}/proc", f"{self.folder}/sys")

    def put(self, path: str, **files: object) -> Path:
        """Makes a cgroup or changes its files; `memory_current` is `memory.current`."""
        directory = self.mount / path.strip("/")
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write(directory / name.replace("_", "."), f"{text}\n".encode())
        return directory

    def stall(self, path: str, some: float, full: float = 0.0, resource: str = "memory") -> None:
        """Sets the totals of a pressure file, in seconds."""
        write(self.mount / path.strip("/") / f"{resource}.pressure", stalls(some, full))

    def remove(self, path: str) -> None:
        """Takes away a cgroup and all below it."""
        shutil.rmtree(self.mount / path.strip("/"))


def build(folder: Path, cgroups: Mapping[str, Mapping[str, object]] | Iterable[str] = ()) -> Hierarchy:
    """A machine of 8 GiB, 2 GiB of them free, with 1 of 2 GiB of swap in use and with these cgroups."""
    made = Hierarchy(folder)
    made.mount.mkdir(parents=True)
    escaped = os.fsencode(made.mount).replace(b" ", b"\\040")
    write(folder / "proc/self/mounts", b"tmpfs / tmpfs rw 0 0\ncgroup2 " + escaped + b" cgroup2 rw 0 0\n")
    write(folder / "proc/meminfo", meminfo(8 * GIB, 4 * GIB, (2 * GIB, GIB)))
    for path in cgroups:
        made.put(path, **(cast(dict[str, object], cgroups[path]) if isinstance(cgroups, Mapping) else {}))
    return made
