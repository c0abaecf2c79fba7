"""Debian's Prometheus, unpacked and never installed: installed, it would be started as a service."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.box import peers


@pytest.fixture(scope="session")
def programs() -> Path:
    """The directory with `prometheus` and `promtool`; skips where they cannot be had."""
    try:
        return peers.unpacked("prometheus") / "usr" / "bin"
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"no prometheus from Debian: {error}")


@pytest.fixture(scope="session")
def promtool(programs: Path) -> Path:
    return programs / "promtool"
