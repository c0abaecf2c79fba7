"""Fixtures for tests beside the real peers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.box import peers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0 and shutil.which("unshare") and shutil.which("nsenter"):
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="a box needs root, unshare and nsenter"))


def unpacked(package: str) -> Path:
    """The root of a peer's package; skips where it cannot be had."""
    try:
        return peers.unpacked(package)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"no {package} from Debian: {error}")


@pytest.fixture(scope="session")
def earlyoom() -> Path:
    return unpacked("earlyoom")


@pytest.fixture(scope="session")
def nohang() -> Path:
    return unpacked("nohang")
