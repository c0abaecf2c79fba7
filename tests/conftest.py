"""For all tests: how long each part took."""

from __future__ import annotations

from collections import defaultdict
from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Adds up the time of set-up, call and teardown by the folder below tests/."""
    seconds: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration") and hasattr(report, "nodeid"):
                seconds[report.nodeid.split("/")[1]] += report.duration
    if seconds:
        parts = ", ".join(f"{part} {spent:.0f} s" for part, spent in sorted(seconds.items()))
        terminalreporter.write_line(f"time by part: {parts}")
