"""docs/policy.md names all that the language has, and what it shows is a policy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from okoomer.policy import language
from okoomer.policy.metrics import PORTION, TREND
from okoomer.policy.metrics_cgroup import METRICS
from okoomer.policy.model import (
    CGROUP_RANKS,
    DESCENTS,
    HAPPENINGS,
    LEVELS,
    MANAGED,
    RANKS,
    SELECTORS,
    STEPS,
    TOLD,
    UNITS,
)

PAGE = (Path(__file__).parents[2] / "docs/policy.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| `")]
#: What stands in the first column of the tables.
NAMED = {word for row in ROWS for word in re.findall(r"`([\w.]+)[^`]*`", row.split(" | ")[0])}


@pytest.mark.parametrize(
    "words",
    (
        (*language._RULE, *language._FOR_ALL, *language._HOOK),
        (*UNITS, *RANKS, *CGROUP_RANKS, *DESCENTS, *MANAGED),
        (*STEPS, *SELECTORS, *HAPPENINGS),
    ),
)
def test_every_word_has_a_row(words: tuple[str, ...]) -> None:
    assert set(words) <= NAMED


def test_every_level_is_named() -> None:
    row = next(row for row in ROWS if row.startswith("| `level` | how short"))
    assert all(f"`{word}`" in row for word in LEVELS)


def test_everything_to_tell_is_named() -> None:
    row = next(row for row in ROWS if row.startswith("| `tell`"))
    assert all(f"`{word}`" in row for word in TOLD)


@pytest.mark.parametrize("name", [name for name in METRICS if ".avg" not in name])
def test_every_metric_is_told_as_the_code_has_it(name: str) -> None:
    metric = METRICS[name]
    window = ", over a window" if metric.kind in (TREND, PORTION) else ""
    assert f"| `{name}` | {metric.text}{window} |" in ROWS


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_what_is_shown_is_a_policy(block: str) -> None:
    rule = "" if "[[rule]]" in block else "\n[[rule]]\nname = 'a'\nwhen = 'mem.free < 1%'\n"
    assert language.parse(block + rule, "p.toml").rules
