"""Which runs are missing, and how they are run: with made-up guests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import matrix
from lab.daemons import DAEMONS
from lab.matrix import Cell
from lab.run import Ending, Run, Seen, Swap, encoded, read
from lab.scenarios import SCENARIOS
from tests.vm.host import HostError

CELLS = [Cell("S1", Swap.NONE, "okoomer"), Cell("S1", Swap.NONE, "earlyoom"), Cell("S1", Swap.DISK, "okoomer", 2)]


def made(cell: Cell, key: str = "k", ending: Ending = Ending.DONE, noise_s: float = 0) -> Run:
    return Run(
        scenario=cell.scenario,
        swap=cell.swap,
        daemon=cell.daemon,
        repeat=cell.repeat,
        point=cell.point,
        key=key,
        began="2026-01-01T00:00:00",
        took_s=1,
        seen=Seen(ending=ending, noise_s=noise_s),
    )


class Guests:
    """Processes that print what is given for their cell, one after another, or sleep."""

    def __init__(self, *outputs: bytes) -> None:
        self.outputs = list(outputs)
        self.started: list[Cell] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, cell: Cell) -> subprocess.Popen[bytes]:
        self.started.append(cell)
        script = "import sys; sys.stdout.buffer.write(bytes.fromhex(sys.argv[1]))"
        arguments = [self.outputs.pop(0).hex()] if self.outputs else []
        command = [sys.executable, "-c", script if arguments else "import time; time.sleep(60)", *arguments]
        self.processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return self.processes[-1]


def fill(tmp_path: Path, guests: Guests, cells: list[Cell], jobs: int = 1) -> tuple[int, list[Run], list[str]]:
    said: list[str] = []
    failed = matrix.fill(cells, tmp_path / "runs", jobs, said.append, guests.start)
    return failed, read(tmp_path / "runs"), said


def test_a_cell_is_missing_until_it_was_run_as_it_is_today() -> None:
    assert matrix.missing(CELLS, [], lambda _: "k") == CELLS
    runs = [made(CELLS[0]), made(CELLS[2], key="old")]
    assert matrix.missing(CELLS, runs, lambda _: "k") == CELLS[1:]
    assert matrix.missing(CELLS, [*runs, made(CELLS[2])], lambda _: "k") == CELLS[1:2]


def test_runs_are_kept_as_they_end(tmp_path: Path) -> None:
    guests = Guests(*(encoded(made(cell)) for cell in CELLS))
    failed, runs, said = fill(tmp_path, guests, CELLS)
    assert failed == 0
    assert runs == [made(cell) for cell in CELLS]
    assert said[-1].startswith("3 of 3: S1 disk okoomer #2: done")


def test_a_noisy_run_is_made_again_once_and_the_calmer_one_counts(tmp_path: Path) -> None:
    first, second = made(CELLS[0], noise_s=1.9), made(CELLS[0], noise_s=1.7)
    failed, runs, _ = fill(tmp_path, Guests(encoded(first), encoded(second)), CELLS[:1])
    assert (failed, runs) == (0, [second])


def test_a_run_that_failed_is_tried_again_and_then_said_to_have_failed(tmp_path: Path) -> None:
    bad = made(CELLS[0], ending=Ending.FAILED)
    failed, runs, _ = fill(tmp_path, Guests(encoded(bad), encoded(bad)), CELLS[:1])
    assert (failed, runs) == (1, [bad])
    failed, runs, said = fill(tmp_path, Guests(b"no QEMU"), CELLS[1:2])
    assert failed == 1
    assert "no QEMU" in said[-1]


def test_a_machine_that_cannot_run_guests_ends_it_all(tmp_path: Path) -> None:
    def start(_: Cell) -> subprocess.Popen[bytes]:
        script = "import sys; print('lab: no QEMU', file=sys.stderr); sys.exit(3)"
        return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    with pytest.raises(HostError, match="no QEMU"):
        matrix.fill(CELLS, tmp_path / "runs", 1, print, start)


def test_an_interruption_keeps_what_is_done_and_leaves_no_process(tmp_path: Path) -> None:
    guests = Guests(encoded(made(CELLS[0])))

    def interrupt(_: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        matrix.fill(CELLS, tmp_path / "runs", 2, interrupt, guests.start)
    assert time.monotonic() - start < 50, "nobody waits for those that sleep"
    assert all(process.returncode is not None for process in guests.processes)
    assert read(tmp_path / "runs") == [made(CELLS[0])]


def test_guests_share_no_processor_while_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 5, 6})
    assert matrix.places(2) == [{0, 2, 6}, {1, 5}]
    assert matrix.places(1) == [{0, 1, 2, 5, 6}]
    assert matrix.places(6)[5] == {0, 1, 2, 5, 6}


def test_compact_keeps_the_last_run_of_each_cell_in_order(tmp_path: Path) -> None:
    runs = [made(CELLS[2]), made(CELLS[0], key="old"), made(CELLS[0])]
    path = tmp_path / "runs"
    path.write_bytes(b"".join(map(encoded, runs)))
    matrix.compact(path)
    assert read(path) == [made(CELLS[2]), made(CELLS[0])]


def test_the_full_matrix_has_every_daemon_in_every_scenario_on_each_of_its_layouts() -> None:
    cells = matrix.full()
    assert len(cells) == len(set(cells))
    for scenario in SCENARIOS.values():
        for swap in scenario.swaps:
            assert {
                cell.daemon for cell in cells if (cell.scenario, cell.swap, cell.point) == (scenario.name, swap, "")
            } == set(scenario.daemons or DAEMONS)
    thrice = {(cell.scenario, cell.daemon) for cell in cells if cell.repeat == 3}
    assert ("S10", "okoomer") in thrice and ("S10", "oomd") not in thrice and ("S3", "okoomer") not in thrice


def test_the_quick_matrix_is_part_of_the_full_one() -> None:
    assert set(matrix.quick()) < set(matrix.full())
