"""The example for machines that several people share, behind the presets that it is meant for."""

from __future__ import annotations

from pathlib import Path

import pytest

from okoomer.facts import Memory, Process, Snapshot
from okoomer.policy.choose import choose, level_of
from okoomer.policy.engine import Engine
from okoomer.policy.examine import firing
from okoomer.policy.language import PRESETS, parse
from okoomer.policy.model import Policy
from okoomer.record import replace
from tests.unit.strategies import GIB

RULE = Path(__file__).parents[2] / "deploy" / "policy" / "shared.toml"


def behind(name: str) -> Policy:
    return parse(PRESETS[name].read_text() + RULE.read_text(), name)


def machine(time: float, share: float, total: int = 64 * GIB) -> Snapshot:
    return Snapshot(time, Memory(total, 0, int(share * total)))


@pytest.mark.parametrize("name", ["desktop", "server"])
def test_it_comes_before_any_other_rule_that_ends_somebody(name: str) -> None:
    policy = behind(name)
    *others, rule = policy.rules
    assert (rule.by, rule.steps[-1].kind) == ("user", "kill")
    for total in (GIB, 8 * GIB, 32 * GIB, 1024 * GIB):
        level = level_of(rule.when, total)
        assert level == min(0.15 * total, 16 * GIB)
        for other in others:
            if other.steps and other.steps[-1].kind == "kill" and other.steps[0].kind != "pause":
                assert (level_of(other.when, total) or 0) < level


def test_it_acts_when_memory_runs_out_and_not_where_it_is_merely_full() -> None:
    policy = replace(behind("server"), rules=behind("server").rules[-1:])
    assert not firing(policy, machine(0.0, 0.12))
    engine = Engine(policy)
    falling = [engine.step(machine(0.5 * n, 0.205 - 0.01 * n)) for n in range(13)]
    assert [found.act is None for found in falling[:6]] == [True] * 6
    assert falling[6].act == 0
    engine = Engine(policy)
    assert all(engine.step(machine(float(n), 0.12)).act is None for n in range(120))


def test_the_one_over_his_share_is_taken_though_another_has_the_largest_process() -> None:
    policy = behind("server")
    processes = [Process(1, 0, "init", 0.0), Process(9, 1, "db", 1.0, user=110, anon=20 * GIB)]
    processes += [Process(10 + n, 1, "job", 2.0 + n, user=1001, anon=9 * GIB) for n in range(3)]
    processes += [Process(20, 1, "sim", 2.0, user=1002, anon=12 * GIB)]
    choice = choose(policy.rules[-1], policy, machine(0.0, 0.1), processes)
    assert choice.victim and {*choice.victim.pids} <= {10, 11, 12}
    assert choice.victim.why.startswith("user 1001 holds 27.0 GiB, 1.4 GiB over his share")
