"""`python -m lab`: what it says about bad input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab import stage
from lab.__main__ import lab
from lab.daemons import DAEMONS
from lab.scenarios import SCENARIOS
from tests.vm import cache
from tests.vm.host import HostError


def test_an_unknown_scenario_lists_the_known_ones() -> None:
    got = CliRunner().invoke(lab, ["run", "S99", "okoomer"])
    assert got.exit_code == 2
    assert "there is no scenario 'S99'" in got.output
    assert all(name in got.output.replace("\n", " ") for name in SCENARIOS)


def test_an_unknown_daemon_lists_the_known_ones() -> None:
    got = CliRunner().invoke(lab, ["run", "S1", "earlyboom"])
    assert got.exit_code == 2
    assert all(name in got.output for name in DAEMONS)


def test_an_unknown_point_lists_the_points() -> None:
    got = CliRunner().invoke(lab, ["run", "S1", "okoomer", "--point", "all"])
    assert got.exit_code == 2
    assert all(setting.label in got.output for setting in DAEMONS["okoomer"].sweep)


def test_a_machine_without_qemu_is_one_line_and_exit_3(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(cell: object) -> None:
        raise HostError("as root: apt-get install --yes qemu-system-x86\nmore")

    monkeypatch.setattr(stage, "play", none)
    got = CliRunner().invoke(lab, ["run", "S1", "okoomer"])
    assert got.exit_code == 3
    assert got.stderr == "lab: as root: apt-get install --yes qemu-system-x86\n"


def test_a_full_disk_is_one_line_and_exit_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.__main__.DISK_MIB", 1 << 40)
    got = CliRunner().invoke(lab, ["run", "S1", "okoomer"])
    assert got.exit_code == 3
    assert got.stderr.count("\n") == 1 and str(cache.root().parents[-2]) in got.stderr


def test_there_is_nothing_to_publish(tmp_path: Path) -> None:
    got = CliRunner().invoke(lab, ["publish", "--out", str(tmp_path)])
    assert got.exit_code == 2
    assert got.stderr == f"lab: {tmp_path}/runs.jsonl has no runs; `make lab` makes them\n"


def test_help_is_fast_and_says_what_it_is() -> None:
    done = subprocess.run([sys.executable, "-m", "lab", "--help"], capture_output=True, text=True, check=True)
    assert "matrix" in done.stdout and "publish" in done.stdout
