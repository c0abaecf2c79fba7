"""The scenarios, by name."""

import re

from lab.scenario import Scenario
from lab.scenarios import benign, cgroups, crowds, hogs


def group(name: str) -> str:
    """S13 of S13-disk: scenes that belong together have this in common."""
    return name.partition("-")[0]


def _place(scenario: Scenario) -> tuple[int, str]:
    return int(re.sub(r"\D", "", group(scenario.name))), scenario.name


_ALL = (*hogs.SCENARIOS, *crowds.SCENARIOS, *benign.SCENARIOS, *cgroups.SCENARIOS)

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in sorted(_ALL, key=_place)}
