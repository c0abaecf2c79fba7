"""For tests with real programs on a private bus: they need root, for the box, and what tests/needs.py installs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bus.scene import Scene, absent, has_gi, scene


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    if not here:
        return
    missing = absent("unshare", "dbus-daemon", "gdbus", "busctl")
    if not has_gi():
        missing.append("python3-gi")
    if os.geteuid() != 0:
        missing.append("root")
    for item in here:
        if missing:
            item.add_marker(pytest.mark.skip(reason=f"missing here: {', '.join(missing)}"))


@pytest.fixture(name="scene")
def a_scene() -> Iterator[Scene]:
    with scene() as made:
        yield made
