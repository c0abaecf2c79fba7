"""systemd-oomd's settings as a policy, and what systemd says of units as rules of it; the page that says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from okoomer.compat.systemd_oomd_keys import KEYS, UNIT_KEYS, Key, Ruleset, Settings
from okoomer.compat.systemd_oomd_policy import limits, reasons, translate
from okoomer.policy.instances import Setting, instances
from okoomer.policy.language import essential, parse
from okoomer.policy.model import Amount, Policy, Rule, Step
from okoomer.policy.write import condition_text, text_of
from okoomer.record import replace

PAGE = Path(__file__).parents[2] / "docs/from-systemd-oomd.md"
NOTHING = Settings()


def rules(settings: Settings) -> dict[str, Rule]:
    return {rule.name: rule for rule in translate(settings).policy.rules}


def when(settings: Settings, name: str) -> str:
    return condition_text(rules(settings)[name].when)


def notes(settings: Settings) -> str:
    return "\n".join(f"{of}: {note}" for of, note in translate(settings).notes)


def test_by_default_there_is_a_pattern_for_swap_and_one_for_pressure() -> None:
    swap, pressure = translate(NOTHING).policy.rules
    assert condition_text(swap.when) == swap.when_text == "mem.available < 10% and swap.free < 10%"
    assert condition_text(pressure.when) == pressure.when_text
    assert pressure.when_text == "cgroup.psi.memory.full.avg10 > 60% for 30s and cgroup.scan > 0B/s over 30s"
    for rule, managed, rank in ((swap, "ManagedOOMSwap", "swap"), (pressure, "ManagedOOMMemoryPressure", "pgscan")):
        assert (rule.managed, rule.unit, rule.rank, rule.descend) == (managed, "cgroup", rank, "leaves")
        assert (rule.steps, rule.scope, rule.among) == ((Step("kill"),), None, None)
    assert (swap.least_swap, swap.rest) == (Amount(0.05, True), 0.0)
    assert (pressure.least_swap, pressure.rest) == (None, 15.0)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (9000, "mem.available < 10% and swap.free < 10%"), (0, "mem.available < 100% and swap.free < 100%"),
        (9550, "mem.available < 4.5% and swap.free < 4.5%"), (9999, "mem.available < 0.01% and swap.free < 0.01%"),
    ],
)  # fmt: skip
def test_the_limit_of_swap_is_what_may_be_left_of_both(share: int, expected: str) -> None:
    assert when(replace(NOTHING, swap=share), "swap") == expected


def test_beyond_all_swap_nothing_can_be() -> None:
    settings = replace(NOTHING, swap=10000)
    assert list(rules(settings)) == ["pressure"]
    assert "SwapUsedLimit: more than 100 % is never in use" in notes(settings)
    assert "SwapUsedLimit" not in notes(NOTHING)


@pytest.mark.parametrize(
    ("share", "seconds", "expected"),
    [
        (6000, 30.0, "> 60% for 30s"), (0, 1.0, "> 0% for 1s"), (8000, 1.5, "> 80% for 1500ms"),
        (5050, 90.0, "> 50.5% for 90s"),
    ],
)  # fmt: skip
def test_the_default_limit_of_pressure(share: int, seconds: float, expected: str) -> None:
    settings = replace(NOTHING, pressure=share, seconds=seconds)
    assert f"cgroup.psi.memory.full.avg10 {expected} and" in when(settings, "pressure")


def test_pressure_above_all_there_is_cannot_be_said_and_is_noted() -> None:
    settings = replace(NOTHING, pressure=10000)
    assert "> 99.99% for 30s" in when(settings, "pressure")
    assert "DefaultMemoryPressureLimit: pressure is never above 100 %" in notes(settings)


def test_hooks_before_a_kill_are_a_step_of_each_rule() -> None:
    settings = replace(NOTHING, prekill=0.2, rulesets=(Ruleset("a", "kill-all", 5000),))
    for rule in rules(settings).values():
        assert rule.steps == (Step("prekill", 0.2), Step("kill"))
    assert translate(settings).policy.runs


@pytest.mark.parametrize(
    ("ruleset", "expected"),
    [
        (Ruleset("r", "kill-by-pgscan", 5000), "cgroup.psi.memory.full.avg10 > 50%"),
        (Ruleset("r", "kill-by-pgscan", 5000, None, 20.0), "cgroup.psi.memory.full.avg10 > 50% for 20s"),
        (Ruleset("r", "kill-by-pgscan", None, 8000, 5.0), "swap.free < 20% for 5s"),
        (
            Ruleset("r", "kill-by-pgscan", 5000, 8000, 5.0),
            "(cgroup.psi.memory.full.avg10 > 50% and swap.free < 20%) for 5s",
        ),
    ],
)
def test_the_conditions_of_a_ruleset_have_to_hold_together(ruleset: Ruleset, expected: str) -> None:
    settings = replace(NOTHING, rulesets=(ruleset,))
    assert when(settings, "oomrule r") == expected
    assert rules(settings)["oomrule r"].managed == "OOMRules:r"


@pytest.mark.parametrize(
    ("action", "descend", "rank", "least"),
    [
        ("kill-all", "no", "freed", None),
        ("kill-by-pgscan", "leaves", "pgscan", None),
        ("kill-by-swap", "leaves", "swap", Amount(0.05, True)),
    ],
)
def test_the_actions_of_rulesets(action: str, descend: str, rank: str, least: Amount | None) -> None:
    rule = rules(replace(NOTHING, rulesets=(Ruleset("r", action, 5000),)))["oomrule r"]
    assert (rule.unit, rule.descend, rule.rank, rule.least_swap) == ("cgroup", descend, rank, least)


@pytest.mark.parametrize(
    ("ruleset", "why"),
    [
        (Ruleset("r", "kill-all"), "r.oomrule: has no condition and is left out"),
        (Ruleset("a b", "kill-all", 5000), "a b.oomrule: no unit can name it"),
        (Ruleset("a\n", "kill-all", 5000), "no unit can name it"),
        (Ruleset("r", "kill-all", 5000, 10000), "r.oomrule: more than 100 % of swap is never in use"),
    ],
)
def test_a_ruleset_that_acts_always_or_never_is_left_out_and_named(ruleset: Ruleset, why: str) -> None:
    settings = replace(NOTHING, rulesets=(ruleset,))
    assert list(rules(settings)) == ["swap", "pressure"]
    assert why in notes(settings)


def test_preferences_come_beside_what_is_essential() -> None:
    policy = translate(NOTHING).policy
    *ours, avoid = policy.avoid
    assert tuple(ours) == essential()["avoid"] and policy.supervisors == essential()["supervisors"]
    assert avoid.written == r"tag:user\.oomd_avoid"
    assert policy.spare[-1].written == r"tag:user\.oomd_omit"


MANY = replace(
    NOTHING,
    swap=9512,
    prekill=1.5,
    rulesets=tuple(
        Ruleset(f"{action}-{pressure}-{swap}", action, pressure, swap, seconds)
        for action in ("kill-all", "kill-by-pgscan", "kill-by-swap")
        for pressure, swap, seconds in ((1, None, 0.0), (None, 9999, 0.001), (10000, 0, 86400.0))
    ),
)


@pytest.mark.parametrize("settings", [NOTHING, MANY])
def test_the_policy_is_one_that_can_be_written_and_read(settings: Settings) -> None:
    policy, noted = translate(settings)
    text = text_of(policy, noted)
    assert plain(parse(text, "systemd-oomd.toml")) == plain(policy)


def plain(policy: Policy) -> Policy:
    return replace(policy, rules=tuple(replace(rule, line=0, when_text="") for rule in policy.rules))


def test_what_systemd_says_of_a_unit_becomes_a_rule_for_it() -> None:
    policy = translate(replace(NOTHING, rulesets=(Ruleset("stall", "kill-all", 5000),))).policy
    told = (
        Setting("ManagedOOMMemoryPressure", "/a.slice", 0.2, 2.0),
        Setting("ManagedOOMMemoryPressure", "/b.slice"),
        Setting("ManagedOOMSwap", "/"),
        Setting("OOMRules:stall", "/c.slice"),
        Setting("OOMRules:other", "/d.slice"),
    )
    made = {rule.name: rule for rule in instances(policy, told).rules if not rule.managed}
    assert {name: condition_text(rule.when) for name, rule in made.items()} == {
        "swap:/": "mem.available < 10% and swap.free < 10%",
        "pressure:/a.slice": "cgroup.psi.memory.full.avg10 > 20% for 2s and cgroup.scan > 0B/s over 30s",
        "pressure:/b.slice": "cgroup.psi.memory.full.avg10 > 60% for 30s and cgroup.scan > 0B/s over 30s",
        "oomrule stall:/c.slice": "cgroup.psi.memory.full.avg10 > 50%",
    }
    seeks = {name: rule.scope or rule.among for name, rule in made.items()}
    assert all(scope and scope.text == name.partition(":")[2] for name, scope in seeks.items())


def test_what_others_are_told() -> None:
    settings = replace(NOTHING, swap=9505, rulesets=(Ruleset("stall", "kill-all", 5000),))
    assert limits(settings) == ("95.05%", "60.00%", "30s")
    assert dict(reasons(settings)) == {
        "swap": "memory-used", "pressure": "memory-pressure", "oomrule stall": "rule stall",
    }  # fmt: skip


# --- the page ---------------------------------------------------------------------------------------------------


def table(heading: str) -> list[str]:
    """The rows of the table under a heading of the page."""
    _, found, rest = PAGE.read_text().partition(f"## {heading}\n")
    assert found
    return [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| `")]


def key_rows(section: str) -> Iterator[str]:
    keys: list[Key] = [key for key in KEYS if key.section == section]
    for key in keys:
        yield f"| `{key.name}` | {key.since} | {key.default} | {key.takes} | {key.here} |"


@pytest.mark.parametrize(("heading", "section"), [("oomd.conf", "OOM"), ("Rulesets", "Rule")])
def test_the_page_has_every_key_as_the_code_has_it(heading: str, section: str) -> None:
    assert table(heading) == list(key_rows(section))


def test_the_page_has_every_setting_of_units_as_the_code_has_it() -> None:
    expected = [f"| `{key.name}` | {key.since} | {key.default} | {key.takes} | {key.here} |" for key in UNIT_KEYS]
    assert table("Settings of units") == expected
