"""Doing without a capability: it is gone while something is done, and there again afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from okoomer.kernel import capabilities
from okoomer.kernel.capabilities import without


def effective() -> int:
    """The capabilities of this thread."""
    text = Path("/proc/thread-self/status").read_text()
    return next(int(line.split()[1], 16) for line in text.splitlines() if line.startswith("CapEff:"))


@pytest.mark.parametrize("capability", range(32))
def test_while_something_is_done_only_this_one_is_missing(capability: int) -> None:
    before = effective()
    seen: list[int] = []
    without(capability, lambda: seen.append(effective()))
    assert seen == [before & ~(1 << capability)] and effective() == before


def test_it_is_there_again_also_after_an_error() -> None:
    before = effective()

    def fails() -> None:
        raise OSError(5, "no")

    with pytest.raises(OSError, match="no"):
        without(0, fails)
    assert effective() == before


def test_where_the_library_has_no_such_call_it_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise OSError(f"undefined symbol: {name}")

    monkeypatch.setattr(capabilities, "function", missing)
    before = effective()
    seen: list[int] = []
    without(0, lambda: seen.append(effective()))
    assert seen == [before]
