"""How many cases the properties were tried on is told, and must not dwindle unseen. Nothing stays open."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.unit.descriptors import descriptors, left_open
from tests.unit.strategies import Count

#: What all properties together are tried on at the least.
ENOUGH = 200_000
HERE = Path(__file__).parent

# How long a case takes, or to think of one, is not only the code's: a busy machine would fail what is well.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

chosen_few = too_few = False


@pytest.fixture(autouse=True, scope="module")
def no_descriptor_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A file of tests gives back what it has opened, or a run of them all would run out. One that says so in KEEPS is
    let off: a library that it loads keeps some for as long as the process lives."""
    before, failed = descriptors(), request.session.testsfailed
    yield
    if hasattr(request.module, "KEEPS"):
        return
    until = time.monotonic() + 20
    # Threads that are about to end may hold some yet.
    while (left := left_open(before)) and time.monotonic() < until:
        time.sleep(0.01)
    # What is told of a failure holds all that was at hand there.
    assert not left or request.session.testsfailed > failed


def pytest_deselected(items: list[pytest.Item]) -> None:
    global chosen_few
    chosen_few = chosen_few or bool(items)


def is_whole(session: pytest.Session) -> bool:
    """Whether this run held all unit tests, to their end."""
    run = {item.path for item in session.items}
    return not chosen_few and not session.testsfailed and not session.shouldstop and run >= set(HERE.glob("test_*.py"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    global too_few
    too_few = is_whole(session) and not session.config.option.collectonly and Count.cases < ENOUGH
    if too_few:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if Count.cases:
        terminalreporter.write_line(f"generated cases: {Count.cases}")
    if too_few:
        terminalreporter.write_line(f"a whole run has to try at least {ENOUGH} generated cases", red=True)
