"""Units whose files have them watched, as rules of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from okoomer.compat.systemd_oomd import load, translate
from okoomer.compat.systemd_oomd_units import Unit, for_units, units_of
from okoomer.policy.error import PolicyError
from okoomer.policy.glob import matches
from okoomer.policy.instances import Setting
from okoomer.policy.language import parse
from okoomer.policy.model import Scope
from okoomer.policy.scope import scope_of
from okoomer.policy.write import condition_text, text_of
from tests.unit.console import okoomer
from tests.unit.test_systemd_oomd_config import put

NOWHERE = Scope("", ())
SWAP, PRESSURE = "ManagedOOMSwap", "ManagedOOMMemoryPressure"


def slice_of(**settings: str) -> str:
    return "\n".join(["[Slice]", *(f"{key}={value}" for key, value in settings.items()), ""])


def scopes(root: Path) -> list[str]:
    return [unit.scope for unit in units_of(root)]


@pytest.mark.parametrize(
    ("file", "text", "scope"),
    [
        ("system/-.slice", "[Slice]\n", "/"),
        ("system/work.slice", "[Slice]\n", "work.slice"),
        ("system/work-a-b.slice", "[Slice]\n", "work.slice/work-a.slice/work-a-b.slice"),
        ("system/web.service", "[Service]\n", "system.slice/web.service"),
        ("system/web.service", "[Service]\nSlice=work-a.slice\n", "work.slice/work-a.slice/web.service"),
        ("system/web.service", "[Service]\nSlice=-.slice\n", "web.service"),
        ("system/web@.service", "[Service]\n", "system.slice/system-web.slice/web@*.service"),
        ("system/web@a.service", "[Service]\n", "system.slice/system-web.slice/web@a.service"),
        ("system/my-web@.service", "[Service]\n", r"system.slice/system-my\\x2dweb.slice/my-web@*.service"),
        ("system/user@.service", "[Service]\n", "user.slice/user-*.slice/user@*.service"),
        ("system/user-1000.slice", "[Slice]\n", "user.slice/user-1000.slice"),
        ("system/dev-a\\x2db.mount", "[Mount]\n", r"system.slice/dev-a\\x2db.mount"),
        ("user/app.slice", "[Slice]\n", "user.slice/user-*.slice/user@*.service/app.slice"),
        ("user/web.service", "[Service]\n", "user.slice/user-*.slice/user@*.service/app.slice/web.service"),
    ],
)
def test_each_unit_has_its_place_in_the_hierarchy(tmp_path: Path, file: str, text: str, scope: str) -> None:
    put(tmp_path, f"etc/systemd/{file}", f"{text}ManagedOOMSwap=kill\n")
    assert scopes(tmp_path) == [scope]
    assert scope_of(scope)


def test_a_scope_names_what_systemd_makes_of_the_unit(tmp_path: Path) -> None:
    put(tmp_path, "etc/systemd/system/user@.service.d/a.conf", "[Service]\nManagedOOMSwap=kill\n")
    put(tmp_path, "etc/systemd/system/a\\x2db@.service", "[Service]\nManagedOOMSwap=kill\n")
    first, second = map(scope_of, scopes(tmp_path))
    assert matches(second, "/user.slice/user-1000.slice/user@1000.service")
    assert not matches(second, "/user.slice/user-1000.slice/session-1.scope")
    assert matches(first, r"/system.slice/system-a\x2db.slice/a\x2db@x.service")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({SWAP: "kill"}, [Setting(SWAP, "a.slice")]),
        ({SWAP: "auto", PRESSURE: ""}, []),
        ({PRESSURE: "kill"}, [Setting(PRESSURE, "a.slice")]),
        (
            {PRESSURE: "kill", f"{PRESSURE}Limit": "20%", f"{PRESSURE}DurationSec": "2s"},
            [Setting(PRESSURE, "a.slice", 0.2, 2.0)],
        ),
        ({PRESSURE: "kill", f"{PRESSURE}Limit": "0%", f"{PRESSURE}DurationSec": ""}, [Setting(PRESSURE, "a.slice")]),
        ({f"{PRESSURE}Limit": "20%", "ManagedOOMPreference": "avoid"}, []),
        ({"OOMRules": "one two one"}, [Setting("OOMRules:one", "a.slice"), Setting("OOMRules:two", "a.slice")]),
    ],
)
def test_what_units_set(tmp_path: Path, settings: dict[str, str], expected: list[Setting]) -> None:
    put(tmp_path, "etc/systemd/system/a.slice", slice_of(**settings))
    assert units_of(tmp_path) == ([Unit("a.slice", "a.slice", tuple(expected))] if expected else [])


def test_drop_ins_come_after_the_file_and_those_of_the_unit_before_those_of_its_family(tmp_path: Path) -> None:
    put(tmp_path, "usr/lib/systemd/system/a-b.slice", slice_of(ManagedOOMSwap="kill", OOMRules="one"))
    put(tmp_path, "etc/systemd/system/a-b.slice.d/10.conf", slice_of(ManagedOOMSwap="auto", OOMRules="two"))
    put(tmp_path, "etc/systemd/system/a-.slice.d/10.conf", slice_of(OOMRules="never"))
    put(tmp_path, "etc/systemd/system/a-.slice.d/20.conf", slice_of(OOMRules="three"))
    put(tmp_path, "run/systemd/system/slice.d/30.conf", slice_of(OOMRules="four"))
    put(tmp_path, "run/systemd/system/slice.d/20.conf", slice_of(OOMRules="never"))
    [unit] = units_of(tmp_path)
    assert [setting.kind for setting in unit.settings] == [
        f"OOMRules:{name}" for name in ("one", "two", "three", "four")
    ]
    put(tmp_path, "run/systemd/system/slice.d/40.conf", slice_of(OOMRules=""))
    assert units_of(tmp_path) == []


def test_an_instance_has_what_its_template_has(tmp_path: Path) -> None:
    put(tmp_path, "etc/systemd/system/web@.service", "[Service]\nManagedOOMSwap=kill\n")
    put(tmp_path, "etc/systemd/system/web@.service.d/a.conf", "[Service]\nOOMRules=one\n")
    put(tmp_path, "etc/systemd/system/web@x.service.d/b.conf", "[Service]\nOOMRules=two\n")
    _, instance = units_of(tmp_path)
    assert [setting.kind for setting in instance.settings] == ["OOMRules:one", "OOMRules:two", SWAP]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[Slice]\nManagedOOMSwap=yes\n", "2:16: not a value of ManagedOOMSwap: 'yes'; expected auto or kill"),
        (f"[Slice]\n{PRESSURE}=kill\n{PRESSURE}Limit=20\n", "3:31: not a share"),
        (f"[Slice]\n{PRESSURE}=kill\n{PRESSURE}DurationSec=0\n", "3:37: too short"),
        ("ManagedOOMSwap=kill\n", "1:1: a setting before any section"),
    ],
)
def test_what_systemd_would_not_take_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = put(tmp_path, "etc/systemd/system/a.slice", text)
    with pytest.raises(PolicyError) as caught:
        units_of(tmp_path)
    assert str(caught.value).startswith(f"{path}:{message}")


def test_each_unit_has_a_rule_of_its_own_and_those_watched_for_swap_one_together(tmp_path: Path) -> None:
    settings = {
        PRESSURE: "kill",
        f"{PRESSURE}Limit": "20%",
        f"{PRESSURE}DurationSec": "2s",
        SWAP: "kill",
        "OOMRules": "r",
    }
    put(tmp_path, "etc/systemd/system/a.slice", slice_of(**settings))
    put(tmp_path, "etc/systemd/system/-.slice", slice_of(ManagedOOMSwap="kill"))
    put(tmp_path, "etc/systemd/oomd/rules.d/r.oomrule", "[Rule]\nAction=kill-all\nMemoryPressureAbove=5%\n")
    policy = for_units(translate(load(tmp_path)).policy, units_of(tmp_path))
    places = [(rule.scope or rule.among or NOWHERE).text for rule in policy.rules]
    assert {r.name: (condition_text(r.when), place) for r, place in zip(policy.rules, places, strict=True)} == {
        "swap:/,a.slice": ("mem.available < 10% and swap.free < 10%", "/,a.slice"),
        "pressure:a.slice": (
            "cgroup.psi.memory.full.avg10 > 20% for 2s and cgroup.scan > 0B/s over 30s",
            "a.slice",
        ),
        "oomrule r:a.slice": ("cgroup.psi.memory.full.avg10 > 5%", "a.slice"),
    }
    assert [rule.name for rule in policy.rules if rule.scope is None] == ["swap:/,a.slice"]
    assert not policy.managed
    assert [rule.name for rule in parse(text_of(policy), "x.toml").rules] == [rule.name for rule in policy.rules]


def test_import_with_units_gives_a_policy_that_asks_nobody(tmp_path: Path) -> None:
    ended = okoomer("import", "systemd-oomd", "--root", tmp_path, "--units")
    assert ended.code == 3 and "has anything watched" in ended.err
    put(tmp_path, "etc/systemd/system/a.slice", slice_of(ManagedOOMSwap="kill"))
    ended = okoomer("import", "systemd-oomd", "--root", tmp_path, "--units")
    assert (ended.code, ended.err) == (0, "")
    policy = parse(ended.out, "x.toml")
    assert [rule.name for rule in policy.rules] == ["swap:a.slice"] and not policy.runs
