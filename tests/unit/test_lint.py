"""The linters and the import contract, as tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "src", "tests", "bench", "lab"],
        ["ruff", "format", "--check", "src", "tests", "bench", "lab"],
        ["mypy"],
        [
            "mypy",
            "--explicit-package-bases",
            "tests/box",
            "tests/bus",
            "tests/desktop",
            "tests/peers",
            "tests/prometheus",
            "tests/vm",
            "tests/needs.py",
            "bench",
            "lab",
        ],
        ["lint-imports"],
    ],
    ids=" ".join,
)
def test_the_linter_is_content(command: list[str]) -> None:
    found = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_no_file_of_the_package_is_longer_than_400_lines() -> None:
    long = {
        str(path): lines for path in ROOT.glob("src/**/*.py") if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long, "which second idea moved in?"
