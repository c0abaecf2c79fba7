"""`okoomer import oomd`: the policy and its notes, or one line that says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from okoomer.compat.oomd_config import load
from okoomer.compat.oomd_policy import translate
from okoomer.guard.sense import Sense
from okoomer.kernel.machine import LIVE
from okoomer.policy.language import load as load_policy
from tests.unit.console import okoomer
from tests.unit.test_oomd_policy import plain

EXAMPLES = Path(__file__).parent / "oomd"


@pytest.mark.parametrize("name", ["desktop.json", "workload.json"])
def test_a_configuration_of_oomds_becomes_a_policy_that_says_the_same(tmp_path: Path, name: str) -> None:
    out = tmp_path / "policy.toml"
    ended = okoomer("import", "oomd", EXAMPLES / name, "-o", out)
    assert (ended.code, ended.err) == (0, "")
    total = Sense(LIVE).snapshot().memory.total
    assert plain(load_policy(str(out))) == plain(translate(load(EXAMPLES / name), total).policy)
    assert "a configuration of oomd's" in " ".join(out.read_text().split())


def test_drop_ins_come_along(tmp_path: Path) -> None:
    drop = {"rulesets": [{"name": "workload protection", "actions": [{"name": "kernel_panic"}]}]}
    (tmp_path / "x.json").write_text(json.dumps(drop))
    ended = okoomer("import", "oomd", EXAMPLES / "workload.json", "--dropin-dir", tmp_path, "--json")
    assert ended.code == 0
    answer = json.loads(ended.out)
    assert 'name = "workload protection (x.json)"' in answer["policy"]
    assert 'name = "workload protection: kill_by_pressure"' not in answer["policy"]
    said = " ".join(note["note"] for note in answer["notes"])
    assert "ruleset workload protection: a drop-in is in its place" in said


def test_a_mistake_is_one_line_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "oomd.json"
    path.write_text((EXAMPLES / "desktop.json").read_text().replace('"duration": "30"', '"duration": "1m"'))
    ended = okoomer("import", "oomd", path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"okoomer: {path}:16:")
    assert "'1m'; expected a number of seconds, at least 0" in ended.err.splitlines()[0]


def test_what_never_acts_is_no_policy(tmp_path: Path) -> None:
    path = tmp_path / "oomd.json"
    path.write_text(
        '{"rulesets": [{"name": "r", "detectors": [["g", {"name": "stop"}]], "actions": [{"name": "stop"}]}]}'
    )
    ended = okoomer("import", "oomd", path)
    assert ended.code == 1 and "a policy without rules" in ended.err
    assert "its detectors never fire" in ended.out
