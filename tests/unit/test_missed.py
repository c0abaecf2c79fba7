"""Who misses what he has in swap: known by how often he waits for a page while pages come from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.guard import missed
from okoomer.guard.missed import CLOSELY, LITTLE, OFTEN, SHARE, SPELL, Missed

if TYPE_CHECKING:
    from pathlib import Path


class Machine:
    """A /proc with some processes, whose first threads have started 10 ticks per pid after boot."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.come(0)

    def come(self, pages: int) -> None:
        """So many pages have come from swap by now."""
        (self.proc / "vmstat").write_text(f"pgpgin 99\npswpin {pages}\npswpout 5\n")

    def has(self, pid: int, waited: int, swap: int = LITTLE) -> None:
        """A process that has waited so often for a page, and has so many bytes in swap."""
        (self.proc / str(pid)).mkdir(exist_ok=True)
        fields = ["S", "1", *["0"] * 7, str(waited), *["0"] * 9, str(pid * 10), *["0"] * 20]
        (self.proc / str(pid) / "stat").write_text(f"{pid} (a) b ({pid}) {' '.join(fields)}\n")
        (self.proc / str(pid) / "status").write_text(f"Name:\ta\nVmRSS:\t 8 kB\nVmSwap:\t {swap >> 10} kB\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_whoever_waits_for_many_pages_while_many_come_from_swap_misses_them(machine: Machine) -> None:
    for pid in (7, 8, 9):
        machine.has(pid, 1000)
    found = Missed(str(machine.proc))
    assert found.look(100.0) == []
    machine.come(int(OFTEN))
    machine.has(7, 1000 + int(OFTEN))
    assert found.look(101.0) == [], "since when is not known yet"
    machine.come(int(5 * OFTEN))
    machine.has(7, 1000 + int(2 * OFTEN))
    machine.has(8, 1000 + int(3 * OFTEN))
    machine.has(9, 999 + int(OFTEN))
    assert found.look(102.0) == [(8, 80), (7, 70)]


def test_who_has_next_to_nothing_there_misses_nothing_of_it(machine: Machine) -> None:
    found = Missed(str(machine.proc))
    for time, pages in ((1.0, 0), (2.0, 10_000), (3.0, 20_000)):
        machine.come(pages)
        machine.has(7, pages, LITTLE - 1024)
        machine.has(8, pages, LITTLE)
        last = found.look(time)
    assert last == [(8, 80)]


def test_nobody_is_looked_at_while_next_to_nothing_comes_from_there(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = list[str]()
    monkeypatch.setattr("okoomer.guard.missed.kernel.pids", lambda proc: looked.append(proc) or ["7"])
    found = Missed(str(machine.proc))
    for time in range(1, 9):
        machine.has(7, time * 10_000)
        machine.come(time * (int(OFTEN) - 1))
        assert found.look(float(time)) == []
    assert not looked
    machine.come(100_000)
    found.look(9.0)
    assert looked


def test_who_is_new_or_gone_is_no_more_than_that(machine: Machine) -> None:
    machine.has(7, 0)
    found = Missed(str(machine.proc))
    for time, pages in ((1.0, 0), (2.0, 10_000)):
        machine.come(pages)
        found.look(time)
    (machine.proc / "7" / "stat").unlink()
    machine.has(8, 10_000)
    machine.come(20_000)
    assert found.look(3.0) == []
    (machine.proc / "vmstat").unlink()
    assert found.look(4.0) == [] and found.due >= 4.0 + SPELL


def test_only_those_who_miss_most_are_looked_at_closely_and_of_any_number_so_many(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missed, "MOST", 6)
    found = Missed(str(machine.proc))
    for time, pages in ((1.0, 0), (2.0, 10_000), (3.0, 20_000)):
        machine.come(pages)
        for pid in range(20, 30):
            machine.has(pid, pages * pid)
        last = found.look(time)
    assert len(last) == CLOSELY and last == sorted(last, reverse=True)
    assert len(found._waited) == 6


def test_its_looks_take_a_small_share_of_the_time(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("okoomer.guard.missed.monotonic", lambda: 2.1)
    found = Missed(str(machine.proc))
    found.look(1.0)
    machine.come(10_000)
    found.look(2.0)
    assert found.due == pytest.approx(2.0 + 0.1 / SHARE)
