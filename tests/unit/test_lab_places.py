"""okoomer in the places of others, as the lab has it: what a guest would find out after a minute."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.daemons import EVERYBODY, PACKAGES, places
from lab.scenarios import SCENARIOS
from okoomer.compat.oomd_config import load
from okoomer.compat.oomd_policy import translate
from okoomer.policy.language import parse

MEMORY = 1 << 30


def test_oomds_file_says_what_the_scenes_set_for_systemd_oomd(tmp_path: Path) -> None:
    file = tmp_path / "oomd.json"
    file.write_text(places.SLICES)
    (rule,) = translate(load(str(file), None), MEMORY).policy.rules
    assert "cgroup.psi.memory.full.avg10 > 10% for 20s" in rule.when_text
    assert rule.of_cgroups and rule.among
    for name in ("S17-slice", "S17-session"):
        assert "ManagedOOMMemoryPressureLimit=10%" in SCENARIOS[name].before


def test_okoomers_own_rule_is_one_for_each_slice_by_itself() -> None:
    (rule,) = parse(places.OWN, "lab").rules
    assert rule.scope and rule.of_cgroups
    assert rule.when_text.startswith("cgroup.psi.memory.full > 10%")


@pytest.mark.parametrize("name", EVERYBODY)
def test_the_image_has_what_each_daemon_needs_and_all_of_them_are_told_apart(name: str) -> None:
    one = EVERYBODY[name]
    assert set(one.packages) <= set(PACKAGES)
    assert [other.name for other in EVERYBODY.values() if other.title == one.title] == [name]


def test_what_is_installed_in_systemd_oomds_place_is_what_ships() -> None:
    drop_in = places.daemon.CHECKOUT / "systemd" / places.DROP_IN
    assert "ExecStart=/usr/bin/okoomer systemd-oomd" in drop_in.read_text()
    assert isinstance(places.BUS_FILE.content, Path) and places.BUS_FILE.content.is_file()
