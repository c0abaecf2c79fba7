"""How fast this machine could fill its memory."""

from __future__ import annotations

import pytest

from okoomer.cli import pace
from okoomer.policy.engine import FILL_RATE


def test_it_lies_between_a_slow_machine_and_the_fastest() -> None:
    assert pace.SLOWEST <= pace.fill_rate() <= FILL_RATE


@pytest.mark.parametrize(
    ("seconds", "processors", "expected"),
    [
        (pace.SIZE / 2e8, 2, pace.MARGIN * 2 * 2e8),  # emulated
        (pace.SIZE / 1e9, 64, FILL_RATE),
        (60.0, 1, pace.SLOWEST),
    ],
)
def test_it_is_what_all_processors_could_fill_and_a_margin(
    monkeypatch: pytest.MonkeyPatch, seconds: float, processors: int, expected: float
) -> None:
    times = iter([9.0, 9.0, seconds, 9.0, 60.0])  # the fastest counts
    monkeypatch.setattr(pace, "_fill", lambda _: next(times) if seconds < 9 else seconds)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)))
    assert pace.fill_rate() == pytest.approx(expected)
