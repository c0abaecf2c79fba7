"""oomd's configuration: every plugin, drop-ins, and every mistake with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from okoomer.compat.oomd_config import Config, default, load, parse, with_drop_in
from okoomer.compat.oomd_plugins import ACTION, DETECTOR, KEYS, PLUGINS
from okoomer.compat.oomd_values import Globs
from okoomer.policy.error import PolicyError
from okoomer.policy.model import Amount

EXAMPLES = Path(__file__).parent / "oomd"
SWAP = '["low", {"name": "swap_free", "args": {"threshold_pct": "10"}}]'
KILL = '{"name": "kill_by_pressure", "args": {"cgroup": "a/*", "resource": "memory"}}'


def config_of(keys: str = "", detector: str = "", action: str = "", root: str = "") -> str:
    """A configuration of one ruleset, whose first line is `{"rulesets": [`."""
    group = f'["g", {detector}]' if detector else SWAP
    return (
        f'{{"rulesets": [\n{{"name": "r"{keys and ", "}{keys},\n"detectors": [{group}],\n'
        f'"actions": [{action or KILL}]}}]{root}}}'
    )


def with_argument(plugin: str, argument: str, value: str) -> str:
    """A configuration in which an argument of a plugin has a value, as JSON writes it, at line 3 or 4."""
    beside = {one.name: EXAMPLE[one.kind.expected] for one in PLUGINS[plugin].arguments if one.required}
    if argument != "ruleset_cgroup" and any(one.name == "cgroup" for one in PLUGINS[plugin].arguments):
        beside.setdefault("cgroup", "system.slice")
    beside.pop(argument, None)
    rest = "".join(f", {json.dumps(name)}: {json.dumps(text)}" for name, text in beside.items())
    call = f'{{"name": "{plugin}", "args": {{"{argument}": {value}{rest}}}}}'
    return config_of(detector=call) if DETECTOR in PLUGINS[plugin].uses else config_of(action=call)


#: A value of each kind that can be required.
EXAMPLE = {
    "paths with wildcards, commas between them": "system.slice/*",
    "memory or io": "memory",
    "a percentage from 0 to 100": "10",
    "a number of seconds, at least 0": "30",
    "a whole number, at least 0": "5",
    "the name of a systemd unit": "backup.service",
}


def mistake(source: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse(source, "o.json")
    return caught.value


def value_of(source: str, argument: str) -> object:
    ruleset = parse(source, "o.json").rulesets[0]
    calls = (*(call for group in ruleset.groups for call in group.detectors), *ruleset.actions)
    return next(call.value(argument) for call in calls if call.text_of(argument))


def notes_of(source: str) -> str:
    return " ".join(parse(source, "o.json").rulesets[0].notes)


# --- structure --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["desktop.json", "workload.json"])
def test_the_examples_are_configurations(name: str) -> None:
    assert len(load(EXAMPLES / name).rulesets) >= 3


@pytest.mark.parametrize(
    ("source", "line", "wrong", "problem"),
    [
        ("[]", 1, "[]", "not a configuration"),
        ("{}", 1, "{", "a configuration without rulesets"),
        ('{"rulesets": []}', 1, "[]", "no ruleset"),
        ('{"rulesets": {}}', 1, "{}", "not a list"),
        ('{"ruleset": []}', 1, "ruleset", "did you mean rulesets?"),
        ('{"rulesets": [\n{"detectors": []}]}', 2, "{", "a ruleset without a name"),
        ('{"rulesets": [\n{"name": "r", "actions": [' + KILL + "]}]}", 2, "r", "a ruleset without detectors"),
        ('{"rulesets": [\n{"name": "r", "detectors": [' + SWAP + "]}]}", 2, "r", "a ruleset without actions"),
        ('{"rulesets": [\n{"name": " "}]}', 2, " ", "not a name"),
        ('{"rulesets": [\n{"name": ["r"]}]}', 2, '["r"]', "a list in the place of one value"),
        ('{"rulesets": [\n{"name": null}]}', 2, "null", "null in the place of one value"),
        (config_of('"post_action_delya": "15"'), 2, "post_action_delya", "did you mean post_action_delay?"),
        (config_of('"post_action_delay": "-1"'), 2, "-1", "out of range"),
        (config_of('"prekill_hook_timeout": "5m"'), 2, "5m", "oomd reads 5"),
        (config_of('"silence-logs": "engine, plugin"'), 2, " plugin", "unknown kind of log"),
        (config_of('"drop-in": {"detector": true}'), 2, "detector", "did you mean detectors?"),
        (config_of('"drop-in": {"detectors": "yes"}'), 2, "yes", "neither true nor false"),
        (config_of('"cgroup": "a//b"'), 2, "", "nothing between two slashes"),
        (
            config_of('"cgroup": "a/*", "xattr_filter": "restart"'),
            2,
            "restart",
            "not the name of an extended attribute",
        ),
        (config_of('"xattr_filter": "user.x"'), 2, "user.x", "xattr_filter in a ruleset without cgroup"),
        (config_of('"cgroup": "a/* with user.x"'), 2, "a/* with user.x", "blanks within a path"),
        (config_of(detector='"x"'), 3, "x", "not a detector"),
        (config_of(detector='{"args": {}}'), 3, "{", "a detector without a name"),
        (config_of(detector='{"name": "swap_fre"}'), 3, "swap_fre", "did you mean swap_free?"),
        (config_of(detector='{"name": "senpai"}'), 3, "senpai", "not a detector"),
        (config_of(detector='{"name": "correlate"}'), 3, "correlate", "unknown detector"),
        (config_of(action='{"name": "swap_free"}'), 4, "swap_free", "not an action"),
        (config_of(action='{"name": "kill_by_swap"}'), 4, "kill_by_swap", "did you mean kill_by_swap_usage?"),
        (config_of(detector='{"name": "swap_free"}'), 3, "swap_free", "swap_free without threshold_pct"),
        (config_of(detector='{"name": "continue", "args": {"x": 1}}'), 3, "x", "unknown argument of continue"),
        (config_of(action='{"name": "stop", "arg": {}}'), 4, "arg", "unknown key of an action"),
        (config_of(root=', "prekill_hooks": [{"args": {}}]'), 4, "{", "a hook without a name"),
        (config_of().replace(f"[{SWAP}]", '[["g"]]'), 3, '["g"]', "a group without detectors"),
        (config_of().replace(SWAP, "[]"), 3, "[]", "a group without a name"),
        (config_of().replace(SWAP, "{}"), 3, "{}", "not a group of detectors"),
    ],
)
def test_a_mistake_is_an_error_at_its_place(source: str, line: int, wrong: str, problem: str) -> None:
    error = mistake(source)
    assert problem in str(error).partition("\n")[0]
    assert (error.line, error.text) == (line, wrong)
    assert source.split("\n")[line - 1][error.column - 1 :].startswith(wrong)


# --- arguments --------------------------------------------------------------------------------------------------


def test_every_default_is_a_value_of_its_kind() -> None:
    for plugin in PLUGINS.values():
        for argument in plugin.arguments:
            assert (default(plugin.name, argument.name) is None) == (not argument.default)
            assert not (argument.required and argument.default)
            assert argument.here and argument.kind.expected
    assert {use for plugin in PLUGINS.values() for use in plugin.uses} == {DETECTOR, ACTION}
    assert len(PLUGINS) == 18 and len({key.name for key in KEYS}) == len(KEYS)


@pytest.mark.parametrize(
    ("plugin", "argument"),
    [(plugin.name, argument.name) for plugin in PLUGINS.values() for argument in plugin.arguments if argument.required],
)
def test_what_is_required_is_missed(plugin: str, argument: str) -> None:
    source = (
        with_argument(plugin, argument, '"30"').replace(f'"{argument}": "30", ', "").replace(f'"{argument}": "30"', "")
    )
    assert f"{plugin} without {argument}" in str(mistake(source))


@pytest.mark.parametrize(
    ("plugin", "argument", "written", "value"),
    [
        ("pressure_above", "duration", '"30"', 30.0),
        ("pressure_above", "duration", "30", 30.0),
        ("pressure_above", "duration", '"30s"', 30.0),
        ("pressure_above", "threshold", '"60%"', 60.0),
        ("pressure_above", "resource", '"io"', "io"),
        ("pressure_rising_beyond", "fast_fall_ratio", '"0.5"', 0.5),
        ("memory_above", "threshold", '"1.5G"', Amount(1.5 * 1024**3)),
        ("memory_above", "threshold", '"1.5M 32K 512"', Amount(1606144.0)),
        ("memory_above", "threshold", '"1536"', Amount(1536.0 * 1024**2)),
        ("memory_above", "threshold", "10", Amount(10.0 * 1024**2)),
        ("memory_above", "threshold", '"10%"', Amount(0.1, True)),
        ("exists", "negate", '"True"', True),
        ("exists", "negate", "true", True),
        ("exists", "negate", '"0"', False),
        ("swap_free", "swapout_bps_threshold", "1048576", 1048576.0),
        ("systemd_restart", "service", r'"a\\x2db@1.service"', "a\\x2db@1.service"),
    ],
)
def test_a_value_is_what_it_says(plugin: str, argument: str, written: str, value: object) -> None:
    assert value_of(with_argument(plugin, argument, written), argument) == value


@pytest.mark.parametrize(
    ("plugin", "argument", "written", "value", "note"),
    [
        ("kill_by_memory_size_or_growth", "min_growth_ratio", '"1.25"', 1.25, "oomd reads 1; here it is 1.25"),
        ("kill_by_memory_size_or_growth", "min_growth_ratio", "0.5", 0.5, "oomd reads 0; here it is 0.5"),
        ("memory_above", "threshold", '"5.5%"', Amount(0.055, True), "oomd reads 5; here it is 5.5"),
        ("swap_free", "threshold_pct", '"7.5"', 7.5, "oomd reads 7; here it is 7.5"),
        ("pressure_above", "duration", '"2.5"', 2.5, "oomd reads 2; here it is 2.5"),
        (
            "kill_by_pressure",
            "reap_memory",
            "false",
            False,
            "changes nothing here: memory of what was killed is always",
        ),
    ],
)
def test_what_oomd_misreads_and_is_clear_holds_and_is_told(
    plugin: str, argument: str, written: str, value: object, note: str
) -> None:
    source = with_argument(plugin, argument, written)
    assert value_of(source, argument) == value
    assert note in notes_of(source) and f"{plugin}, {argument}" in notes_of(source) and "o.json:" in notes_of(source)


@pytest.mark.parametrize(
    ("plugin", "argument", "written", "problem"),
    [
        ("pressure_above", "duration", '"1m"', "not a number (oomd reads 1)"),
        ("pressure_above", "threshold", '"5x"', "not a number (oomd reads 5)"),
        ("pressure_above", "threshold", '"0x10"', "not a number (oomd reads 0)"),
        ("pressure_above", "threshold", '"101"', "out of range"),
        ("pressure_above", "threshold", '"-1"', "out of range"),
        ("pressure_above", "threshold", '"nan"', "not a number"),
        ("pressure_above", "threshold", '""', "not a number"),
        ("pressure_above", "threshold", "[]", "a list in the place of one value"),
        ("pressure_above", "resource", '"memry"', "did you mean memory?"),
        ("memory_above", "threshold", '"-5M"', "not a size"),
        ("memory_above", "threshold", '"0x10"', "not a size"),
        ("memory_above", "threshold", '"5x"', "not a size"),
        ("memory_above", "threshold", '"101%"', "out of range"),
        ("memory_above", "threshold", '"1.5.2G"', "not a size"),
        ("memory_above", "threshold", '"99999999T"', "out of range"),
        ("nr_dying_descendants", "count", '"1.5"', "not a whole number (oomd reads 1)"),
        ("senpai", "interval", '"0"', "out of range"),
        ("exists", "negate", '"yes"', "neither true nor false"),
        ("exists", "negate", "1.0", "neither true nor false"),
        ("systemd_restart", "service", '"backup"', "not a unit"),
        ("systemd_restart", "service", '"a b.service"', "not a unit"),
        ("kill_by_memory_size_or_growth", "growing_size_percentile", '"100"', "out of range"),
        ("exists", "cgroup", '"a/../b"', "a path that goes elsewhere"),
        ("exists", "cgroup", '"a[b"', "a bracket that is not closed"),
        ("exists", "cgroup", '"a,,b"', "no path between commas"),
        ("exists", "cgroup", r'"workload-.\\*.slice/.\\*service"', "a regular expression where oomd takes wildcards"),
        ("exists", "cgroup", '"workload-.*/x"', "a regular expression"),
        ("exists", "cgroup", '"^user.slice$"', "a regular expression"),
        ("exists", "cgroup", '"(a|b).slice"', "a regular expression"),
        ("exists", "cgroup", '"a.+/b"', "a regular expression"),
        ("exists", "cgroup", '".*"', "a regular expression"),
        ("exists", "cgroup", r'"system.slice/a\\x2db.service"', "a backslash, which oomd takes for an escape"),
    ],
)
def test_what_is_unclear_is_an_error(plugin: str, argument: str, written: str, problem: str) -> None:
    error = mistake(with_argument(plugin, argument, written))
    assert problem in str(error).partition("\n")[0]
    assert error.line in (3, 4) and error.column > 20


@pytest.mark.parametrize(
    ("written", "scope", "root", "note"),
    [
        ("system.slice", "system.slice", False, ""),
        ("/system.slice/*/", "system.slice/*", False, ""),
        ("/", None, True, ""),
        ("", None, True, ""),
        ("a, b/* ,c", "a,b/*,c", False, "blanks beside commas are left out"),
        ("/,a", "a", True, ""),
        ("a.slice/foo.*", "a.slice/foo.*", False, "a dot and a star are a dot and whatever follows"),
        ("a/**/b", "a/**/b", False, "** is *"),
        ("{a,b}/c,d", "{a,b}/c,d", False, ""),
        ("[^a]*,[!b]?", "[^a]*,[!b]?", False, ""),
    ],
)
def test_cgroups_are_listed_as_oomd_lists_them(written: str, scope: str | None, root: bool, note: str) -> None:
    source = with_argument("exists", "cgroup", json.dumps(written))
    found = value_of(source, "cgroup")
    assert isinstance(found, Globs)
    assert (found.scope.text if found.scope else None, found.root) == (scope, root)
    assert note in notes_of(source) and bool(note) == bool(notes_of(source))


# --- drop-ins ---------------------------------------------------------------------------------------------------

BASE = config_of('"drop-in": {"actions": true, "disable-on-drop-in": true}')
CHANGE = '{"rulesets": [{"name": "r", "actions": [{"name": "stop"}]}]}'


def order(config: Config) -> list[tuple[str, bool, str]]:
    return [(one.tag, one.off, one.actions[0].name) for one in config.rulesets]


def test_a_drop_in_comes_first_and_takes_the_place_of_its_ruleset() -> None:
    config = with_drop_in(parse(BASE, "o.json"), CHANGE, "d/one.json")
    assert order(config) == [("one.json", False, "stop"), ("", True, "kill_by_pressure")]
    config = with_drop_in(config, CHANGE, "d/two.json")
    assert order(config)[0] == ("two.json", False, "stop")
    assert [one.tag for one in config.running] == ["two.json", "one.json"]
    assert config.rulesets[0].groups == config.rulesets[2].groups


def test_a_ruleset_that_is_not_switched_off_goes_on_beside_its_drop_in() -> None:
    config = with_drop_in(parse(config_of('"drop-in": {"actions": true}'), "o.json"), CHANGE, "one.json")
    assert [one.tag for one in config.running] == ["one.json", ""]


def test_hooks_of_drop_ins_come_first() -> None:
    base = config_of(root=', "prekill_hooks": [{"name": "old"}]')
    drop = '{"prekill_hooks": [{"name": "new", "args": {"cgroup": "a", "xattr": "user.x", "own": "1"}}]}'
    config = with_drop_in(parse(base, "o.json"), drop, "d.json")
    assert [hook.name.value for hook in config.hooks] == ["new", "old"]
    assert config.hooks[0].attribute == "user.x" and config.hooks[0].cgroup is not None


@pytest.mark.parametrize(
    ("drop", "problem"),
    [
        ('{"rulesets": [{"name": "q"}]}', "a drop-in for no ruleset"),
        (f'{{"rulesets": [{{"name": "r", "detectors": [{SWAP}]}}]}}', "which its ruleset does not allow"),
        ('{"ruleset": []}', "unknown key of a drop-in"),
    ],
)
def test_a_wrong_drop_in_is_an_error_in_its_file(drop: str, problem: str) -> None:
    with pytest.raises(PolicyError) as caught:
        with_drop_in(parse(BASE, "o.json"), drop, "d.json")
    assert problem in str(caught.value) and str(caught.value).startswith("d.json:1:")


def test_a_directory_of_drop_ins_is_read_by_name_without_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "o.json").write_text(BASE)
    drops = tmp_path / "drops"
    drops.mkdir()
    for name in ("a.json", "b.json"):
        (drops / name).write_text(CHANGE)
    (drops / ".c.json").write_text("no JSON at all")
    (drops / "d").mkdir()
    assert [one.tag for one in load(tmp_path / "o.json", drops).running] == ["b.json", "a.json"]
    with pytest.raises(PolicyError, match="expected a directory"):
        load(tmp_path / "o.json", tmp_path / "none")


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="a readable text file"):
        load(tmp_path / "none.json")
    (tmp_path / "o.json").write_bytes(b'{"rulesets": "\xff"}')
    with pytest.raises(PolicyError, match=r"o\.json:1:15: not UTF-8"):
        load(tmp_path / "o.json")
