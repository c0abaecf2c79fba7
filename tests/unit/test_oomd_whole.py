"""oomd's configurations as a whole: what they become can be written down and read back, and says what is different."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from okoomer.compat.oomd_config import load, parse, with_drop_in
from okoomer.compat.oomd_plugins import ACTION, DETECTOR, PLUGINS, Argument
from okoomer.compat.oomd_policy import ALWAYS, translate
from okoomer.policy.error import PolicyError
from okoomer.policy.language import parse as parse_policy
from okoomer.policy.words import describe
from okoomer.policy.write import text_of
from okoomer.units import GIB
from tests.unit.strategies import cases
from tests.unit.test_oomd_policy import KILL, LOW, SWAP, call, notes_of, plain, pressure, source_of, translated

EXAMPLES = Path(__file__).parent / "oomd"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (source_of([call("exists")], [KILL]), "exists without cgroup"),
        (source_of([call("exists", ruleset_cgroup="/")], [KILL]), "a ruleset_cgroup in a ruleset without cgroup"),
        (source_of([call("exists", ruleset_cgroup="b")], [KILL], cgroup="a/*"), "below each of several"),
        (source_of([call("memory_above", cgroup="a", duration="1")], [KILL]), "memory_above without threshold"),
        (source_of([LOW], [call("kill_by_io_cost")]), "kill_by_io_cost without cgroup"),
        (source_of([LOW], [call("kill_by_io_cost", ruleset_cgroup="a")]), "in a ruleset without cgroup"),
        (source_of([LOW], [call("kill_by_io_cost", cgroup="x", ruleset_cgroup="y")], cgroup="a*"), "beside others"),
        (source_of([LOW], [KILL], cgroup="/"), "a ruleset for the root by itself"),
        (source_of([LOW], [call("senpai", cgroup="/")]), "senpai for the root"),
        (source_of([LOW], [call("senpai", cgroup="a")], cgroup="b"), "senpai in a ruleset for cgroups one by one"),
        (source_of([LOW], [call("senpai", cgroup="a", max_probe=0)]), "nothing to take away"),
        (source_of([LOW], [call("senpai", cgroup="a", limit_min_bytes="100%")]), "a limit that nothing can be above"),
        (source_of([LOW], [call("senpai", cgroup="a", pressure_ms=0)]), "a pressure that nothing can be below"),
    ],
)
def test_what_the_language_cannot_say_is_an_error_at_its_place(source: str, problem: str) -> None:
    with pytest.raises(PolicyError) as caught:
        translated(source)
    assert problem in str(caught.value) and str(caught.value).startswith("etc/o.json:1:")


@pytest.mark.parametrize("name", ["desktop.json", "workload.json"])
def test_the_examples_become_policies_that_a_file_can_say(name: str) -> None:
    translation = translate(load(EXAMPLES / name))
    text = text_of(translation.policy, translation.notes)
    assert plain(parse_policy(text, "x.toml")) == plain(translation.policy)
    assert [rule.name for rule in translation.policy.rules if rule.name not in text] == []
    comments = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    assert all(" ".join(note.split()) in comments for _, note in translation.notes)
    assert len("\n".join(describe(translation.policy))) > 300


def test_drop_ins_are_rules_of_their_own_name_before_their_ruleset() -> None:
    base = parse(source_of([LOW], [KILL], **{"drop-in": {"detectors": True}}), "o.json")
    drop = json.dumps({"rulesets": [{"name": "r", "detectors": [["g", pressure("/")]]}]})
    translation = translate(with_drop_in(base, drop, "d/x.json"))
    assert [(rule.name, rule.when_text) for rule in translation.policy.rules] == [
        ("r (x.json)", "psi.memory.full.avg10 > 60% for 30s"),
        ("r", SWAP),
    ]


@pytest.mark.parametrize(
    ("detectors", "action", "note"),
    [
        ([pressure("a/*")], KILL, "each cgroup is judged by itself and has a time of its own"),
        ([LOW], KILL, "is never ended whole"),
        ([LOW], KILL, "in oomd anybody can mark his own"),
        ([LOW], call("kill_by_memory_size_or_growth", cgroup="a"), "in oomd it goes by looks and begins with 0"),
        ([LOW], call("kill_by_swap_usage", cgroup="a", threshold="50%"), "miscounts a percentage of swap"),
        ([LOW], call("kill_by_pressure", cgroup="a", resource="io", post_action_delay=1), "in oomd all of the ruleset"),
        ([call("memory_reclaim", cgroup="a", duration=1), LOW], KILL, "reclaim long ago counts at the first look"),
    ],
)
def test_each_difference_is_told_beside_its_rule(detectors: list[Any], action: dict[str, Any], note: str) -> None:
    translation = translated(source_of(detectors, [action]))
    assert note in notes_of(translation)
    assert all(("", sentence) in translation.notes for sentence in ALWAYS)


VALUES = {
    "cgroup": ("a", "a.slice/*", "/", "{a,b}/[cd]?,e", "x,y/*.service"),
    "resource": ("memory", "io"),
    "service": ("a.service", "b@1.service"),
    "ruleset_cgroup": ("/", "a", "*"),
}
#: Values of each kind: what its text of what is expected begins with.
KINDS = {
    "true or false": ("true", "False", "1"),
    "a percentage, a number of MiB": ("10", "5.5%", "1G", "512M 3K", "100%"),
    "a percentage": ("0", "7.5", "10%", "60", "99", "100"),
    "a number of seconds": ("0", "2.5", "30", "600s", "3600"),
    "a ratio": ("0", "0.01", "0.85", "1"),
    "a whole number": ("1", "6", "1000", "1048576"),
    "a text": ("x",),
    "a number": ("1.0", "20"),
}


def some_value(random: Random, argument: Argument) -> str:
    if argument.name in VALUES:
        return random.choice(VALUES[argument.name])
    return random.choice(next(values for kind, values in KINDS.items() if argument.kind.expected.startswith(kind)))


def some_call(random: Random, use: str) -> dict[str, Any]:
    plugin = random.choice([plugin for plugin in PLUGINS.values() if use in plugin.uses])
    likely = {"cgroup": 1.0, "threshold": 0.9, "ruleset_cgroup": 0.1}
    chosen = [one for one in plugin.arguments if one.required or random.random() < likely.get(one.name, 0.3)]
    return call(plugin.name, **{one.name: some_value(random, one) for one in chosen})


@cases(400)
def test_whatever_is_translated_is_read_back_as_the_same_policy(random: Random) -> None:
    rulesets = [
        {
            "name": random.choice(("r", "low swap", 'a "b"', "ü")),
            **({"cgroup": random.choice(("w", "w/*"))} if random.random() < 0.3 else {}),
            **({"cgroup": "w/[ab]*", "xattr_filter": "trusted.x"} if random.random() < 0.1 else {}),
            "detectors": [
                ["g", *(some_call(random, DETECTOR) for _ in range(random.randint(1, 3)))]
                for _ in range(random.randint(1, 2))
            ],
            "actions": [some_call(random, ACTION) for _ in range(random.randint(1, 3))],
        }
        for _ in range(random.randint(1, 2))
    ]
    try:
        translation = translated(json.dumps({"rulesets": rulesets}), 16 * GIB)
    except PolicyError as error:
        assert error.line == 1 and error.column > 1
        return
    if translation.policy.rules:
        text = text_of(translation.policy, translation.notes)
        assert plain(parse_policy(text, "x.toml")) == plain(translation.policy)
