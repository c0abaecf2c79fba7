"""The guest's hardware. A machine that cannot build it skips these tests and says why."""

from collections.abc import Callable

import pytest

from . import daemon
from .host import HostError
from .image import image
from .job import File
from .qemu import Hardware


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vm: runs a guest in QEMU, and builds it the first time")


@pytest.fixture(scope="session")
def hardware() -> Hardware:
    try:
        return Hardware(image(), memory_mib=1024, cpus=2)
    except HostError as why:
        pytest.skip(str(why))


@pytest.fixture(scope="session")
def installed() -> Callable[..., tuple[File, ...]]:
    """``daemon.installed``, where there is something to install."""
    try:
        daemon.installed()
    except HostError as why:
        pytest.skip(str(why))
    return daemon.installed
