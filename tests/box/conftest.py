"""Fixtures for tests that run in a box."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.box import peers
from tests.box.box import Box


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0 and shutil.which("unshare"):
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="a box needs root and unshare"))


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that other users come to. Pytest's own lie in one that each pytest which starts closes to them."""
    with tempfile.TemporaryDirectory(prefix="okoomer-box-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def box() -> Iterator[Box]:
    """A box with 24 GiB of memory, 80 % of it available, and no swap."""
    with Box() as box:
        yield box


@pytest.fixture(scope="session")
def earlyoom_argv() -> list[str]:
    """earlyoom's argv, to be followed by options; skips where the package cannot be had."""
    try:
        return peers.earlyoom()
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"no earlyoom from Debian: {error}")


@pytest.fixture(scope="session")
def nohang_conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of nohang with the usual 10 % and 5 %; skips where the package cannot be had."""
    levels = {"soft_threshold_min_mem": "10 %", "hard_threshold_min_mem": "5 %"}
    try:
        return peers.nohang_config(tmp_path_factory.mktemp("nohang") / "nohang.conf", levels.items())
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"no nohang from Debian: {error}")
