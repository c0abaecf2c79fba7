"""The step `turns`: how it is written, what it means for other rules, and where it begins in the presets."""

from __future__ import annotations

import pytest

from okoomer.guard.launch import pauses
from okoomer.policy.choose import level_of
from okoomer.policy.engine import FIRED, Engine
from okoomer.policy.language import load, parse
from okoomer.policy.source import PolicyError
from okoomer.policy.write import text_of
from tests.unit.test_presets import machine

GIB = 1024**3


def rules(steps: str) -> str:
    return f'[[rule]]\nname = "crowded"\nwhen = "mem.available < 24%"\nsteps = {steps}\n'


def test_a_rule_of_turns_ends_nobody_and_stands_in_nobodys_way() -> None:
    (rule,) = parse(rules('["warn", "turns"]'), "x").rules
    assert rule.takes_turns and rule.only_warns and not rule.chooses
    assert pauses(parse(rules('["turns"]'), "x")) and not pauses(parse(rules('["warn"]'), "x"))


@pytest.mark.parametrize("steps", ['["turns", "kill"]', '["turns", "pause 2s", "kill"]', '["turns", "run: /bin/true"]'])
def test_turns_stand_in_a_rule_of_their_own(steps: str) -> None:
    with pytest.raises(PolicyError) as error:
        parse(rules(steps), "x")
    assert "turns in a rule that ends somebody" in str(error.value) or "run" in steps


def test_turns_take_no_time() -> None:
    with pytest.raises(PolicyError):
        parse(rules('["turns 5s"]'), "x")


def test_what_is_written_is_read_again() -> None:
    policy = parse(rules('["turns"]'), "x")
    assert parse(text_of(policy), "x").rules[0].steps == policy.rules[0].steps


@pytest.mark.parametrize("name", ["desktop", "server"])
def test_in_the_presets_they_begin_long_before_anybody_stalls_and_before_any_rule_that_kills(name: str) -> None:
    policy = load(name)
    (rule,) = [rule for rule in policy.rules if rule.takes_turns]
    for total in (GIB, 8 * GIB, 32 * GIB):
        level = level_of(rule.when, total)
        assert level == min(0.24 * total, 8 * GIB)
        # A third of it is where somebody has to wait: above what the others that ask for scarcity have.
        for other in policy.rules:
            if other.steps and other.steps[-1].kind == "kill":
                assert (level_of(other.when, total) or 0) < level / 3
    engine = Engine(policy)
    verdicts = [engine.step(snapshot) for snapshot in machine(8, 1.5)]
    assert {rule.name for rule in verdicts[-1].rules if rule.state == FIRED} == {"crowded"}
    assert verdicts[-1].act is None and verdicts[-1].soonest >= 0.1


def test_the_preset_of_containers_has_none_since_what_runs_there_has_limits_of_its_own() -> None:
    assert not any(rule.takes_turns for rule in load("containers").rules)
