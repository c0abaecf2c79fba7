"""Which rules are known to be right by a pause, and who bears none: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.policy.language import load
from okoomer.policy.model import And, Comparison, Held, Not, Or
from okoomer.policy.tentative import goes_by_stalls, has_watchdog
from tests.unit.stands import LOW

if TYPE_CHECKING:
    from okoomer.policy.model import Condition


@pytest.mark.parametrize(
    ("condition", "so"),
    [
        (Comparison("psi.memory.full", ">", 0.3, over=1.0), True),
        (Comparison("psi.memory.full.avg10", ">", 0.3), True),
        (Comparison("psi.memory.full", "<", 0.3, over=1.0), False),
        (LOW, False),
        (And((LOW, Held(Comparison("psi.memory.some", ">=", 0.3, over=1.0), 2.0))), True),
        (Or((LOW, Comparison("psi.memory.some", ">", 0.3, over=1.0))), False),
        (Or((Comparison("psi.io.some", ">", 0.3, over=1.0), Comparison("psi.memory.some", ">", 0.3, over=1.0))), True),
        (Not(Comparison("psi.memory.some", ">", 0.3, over=1.0)), False),
    ],
)
def test_which_conditions_need_a_stall(condition: Condition, so: bool) -> None:
    assert goes_by_stalls(condition) is so


@pytest.mark.parametrize(("name", "rules"), [("desktop", {"frozen", "stalled"}), ("server", {"stalled"})])
def test_which_rules_of_the_presets_wait(name: str, rules: set[str]) -> None:
    found = load(name).rules
    assert {rule.name for rule in found if rule.steps and not rule.tentative and goes_by_stalls(rule.when)} == rules


# --- who is left alone ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "watched"),
    [
        ("HOME=/ WATCHDOG_USEC=30000000 WATCHDOG_PID=42", True),
        ("WATCHDOG_USEC=30000000", True),
        ("WATCHDOG_USEC=30000000 WATCHDOG_PID=41", False),  # of whoever has started it
        ("NOTIFY_SOCKET=/run/systemd/notify", False),
        ("MY_WATCHDOG_USEC=1", False),
        ("", False),
    ],
)
def test_who_has_a_watchdog_is_known_by_its_environment(environment: str, watched: bool) -> None:
    assert has_watchdog(42, environment) is watched
