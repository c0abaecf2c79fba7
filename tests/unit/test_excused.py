"""Whose stall: that of who is slowed down is no reason to act, and that of anybody else is one as before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from okoomer.facts import Memory, Pressure, Snapshot, Stall
from okoomer.guard.excused import MOST, Excused, excused
from okoomer.policy.engine import FIRED, QUIET, Engine
from okoomer.policy.language import parse
from okoomer.policy.metrics import METRICS
from okoomer.units import GIB
from tests.unit.live_cgroups import build
from tests.unit.strategies import cases

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

HOG, WEB, SHELL = "/app.slice/hog.scope", "/system.slice/web.service", "/app.slice/shell.scope"
OURS = "/system.slice/okoomer.service"
STALLED = parse('[[rule]]\nname = "s"\nwhen = "psi.memory.full > 20% over 1s"\n', "p.toml")


class Machine:
    """A machine whose cgroups stall as a test says; time passes in tenths of a second."""

    def __init__(self, folder: Path, *more: str, able: bool = True) -> None:
        self.made = build(folder, (HOG, WEB, SHELL, OURS, *more))
        self.some: dict[str, float] = dict.fromkeys((HOG, WEB, SHELL, OURS, *more), 0.0)
        (folder / f"proc/{os.getpid()}").mkdir()
        (folder / "proc/self/cgroup").write_text(f"0::{OURS}\n")
        self.made.put(OURS, cgroup_procs=os.getpid())
        self.total = self.time = 0.0
        self.excused = Excused(str(folder / "proc"), lambda: {1, os.getpid()}, lambda: able)
        self.engine = Engine(STALLED)
        self.write()

    def write(self) -> None:
        whole: dict[str, float] = {}
        for path, some in self.some.items():
            while path:
                whole[path] = max(whole.get(path, 0.0), some)
                path = path.rpartition("/")[0]
        for path, some in whole.items():
            self.made.stall(path, some, some)

    def look(self, total: float, **stalled: float) -> float:
        """The machine stalls for so many more seconds, and cgroups by the last parts of their names as well. What rules
        see of the machine's total afterwards."""
        for path in self.some:
            self.some[path] += stalled.get(path.rpartition("/")[2].partition(".")[0], 0.0)
        self.write()
        self.total += total
        self.time += 0.1
        stall = Stall(0.0, 0.0, 0.0, self.total)
        snapshot = self.excused(Snapshot(self.time, Memory(GIB, 0, GIB // 2), memory_pressure=Pressure(stall, stall)))
        assert snapshot.memory_pressure and snapshot.memory_pressure.some.total == self.total, "what is so stays known"
        self.state = self.engine.step(snapshot).rules[0].state
        some, full = (METRICS[f"psi.memory.{line}"].read(snapshot) for line in ("some", "full"))
        assert some is not None and some == full
        return round(some, 6)


@pytest.mark.parametrize(
    ("machine", "slowed", "other", "left"),
    [
        (0.1, 0.1, 0.0, 0.0),
        (0.1, 0.1, 0.1, 0.1),
        (0.1, 0.1, 0.03, 0.03),
        (0.1, 0.04, 0.0, 0.06),
        (0.1, 0.04, 0.05, 0.06),
        (0.1, 0.04, 0.09, 0.09),
        (0.1, 0.0, 0.0, 0.1),
        (0.1, 0.2, 0.0, 0.0),
        (0.1, 0.1, 0.3, 0.1),
        (0.0, 0.1, 0.0, 0.0),
        (0.0, 0.1, 0.1, 0.0),
    ],
)
def test_what_is_left_of_a_stall(machine: float, slowed: float, other: float, left: float) -> None:
    assert machine - excused(machine, slowed, other) == pytest.approx(left)


def test_the_stall_of_who_is_slowed_does_not_grow_what_rules_see(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.look(0.1, hog=0.1) == 0.1
    machine.excused.begin(HOG)
    assert machine.look(0.1, hog=0.1) == 0.2, "from when it began nothing is known yet"
    assert [machine.look(0.1, hog=0.1) for _ in range(30)] == [0.2] * 30
    assert machine.state == QUIET
    machine.excused.end()
    assert [machine.look(0.1, hog=0.1) for _ in range(3)] == [0.3, 0.4, 0.5], "it goes on from where it was"


def test_what_anybody_else_stalls_counts_though_he_stalls_at_the_same_time(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.excused.begin(HOG)
    machine.look(0.1, hog=0.1)
    assert machine.look(0.1, hog=0.1, web=0.1) == 0.2
    assert machine.look(0.1, hog=0.1, shell=0.05) == 0.25
    assert machine.look(0.1, shell=0.05) == 0.35, "what nobody was seen to stall is somebody else's"
    for _ in range(20):
        machine.look(0.1, hog=0.1, web=0.1)
    assert machine.state == FIRED


def test_what_we_stall_ourselves_in_taking_memory_back_is_excused_too(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.excused.begin(HOG)
    machine.look(0.1)
    assert machine.look(0.1, hog=0.1, okoomer=0.1) == 0.1
    # But not where others live in our cgroup, as in a terminal.
    machine.made.put(OURS, cgroup_procs=f"{os.getpid()}\n77777")
    for _ in range(11):
        machine.look(0.0)
    machine.look(0.1, hog=0.1, okoomer=0.1)
    before = machine.look(0.1, hog=0.1, okoomer=0.1)
    assert machine.look(0.1, hog=0.1, okoomer=0.1) == pytest.approx(before + 0.1)


def test_who_comes_later_is_seen_within_a_second(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.excused.begin(HOG)
    assert machine.look(0.1, hog=0.1) == 0.1
    machine.made.put("/new.slice")
    machine.some["/new.slice"] = 0.0
    seen = [machine.look(0.1, hog=0.1, new=0.1) for _ in range(14)]
    assert seen[0] == 0.1 and seen[-1] > seen[-2] > 0.1


@pytest.mark.parametrize("lack", ["a part of the hierarchy", "another pressure", "too many", "the slowed one's"])
def test_where_it_cannot_be_told_all_stall_counts(tmp_path: Path, lack: str) -> None:
    more = [f"/a.slice/{number}.scope" for number in range(MOST + 1)] if lack == "too many" else ()
    machine = Machine(tmp_path, *more, able=lack != "another pressure")
    path = f"{HOG}/inner" if lack == "the slowed one's" else HOG
    if lack == "too many":
        path = more[0]
    if lack == "a part of the hierarchy":
        machine.made.put("/", cgroup_events="populated 1")
    machine.excused.begin(path)
    assert [machine.look(0.1, hog=0.1) for _ in range(4)] == [0.1, 0.2, 0.3, 0.4]


def test_a_cgroup_that_is_gone_excuses_nothing_any_more(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.excused.begin(HOG)
    machine.look(0.1, hog=0.1)
    assert machine.look(0.1, hog=0.1) == 0.1
    machine.made.remove(HOG)
    del machine.some[HOG]
    assert [machine.look(0.1) for _ in range(3)] == [0.2, 0.3, 0.4]


def test_a_machine_without_pressure_is_taken_as_it_is(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.excused.begin(HOG)
    snapshot = Snapshot(1.0, Memory(GIB, 0, GIB))
    assert machine.excused(snapshot) == snapshot and METRICS["psi.memory.some"].read(snapshot) is None


@cases(2_000)
def test_what_is_excused_is_never_more_than_who_is_slowed_has_stalled_nor_what_another_one_has(random: Random) -> None:
    machine, slowed, other = (random.choice((0.0, random.random(), 1.0)) for _ in range(3))
    found = excused(machine, slowed, other)
    assert 0.0 <= found <= machine and found <= slowed + 1e-12
    assert machine - found >= min(machine, other) - 1e-12
