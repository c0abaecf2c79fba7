"""oomd's rulesets as a policy: when a rule fires, whom it takes, and what is told to be different."""

from __future__ import annotations

import json
from typing import Any

import pytest

from okoomer.compat import Translation
from okoomer.compat.oomd_config import parse
from okoomer.compat.oomd_policy import translate
from okoomer.facts import Cgroup, Memory, Pressure, Snapshot, Stall, Swap
from okoomer.policy.engine import FIRED, HOLDING, Engine
from okoomer.policy.error import PolicyError
from okoomer.policy.language import essential
from okoomer.policy.model import Amount, Policy, Ratios, Rule, Step
from okoomer.policy.wants import wants_of
from okoomer.record import replace
from okoomer.units import GIB

KILL = {"name": "kill_by_pressure", "args": {"cgroup": "a/*", "resource": "memory"}}
LOW = {"name": "swap_free", "args": {"threshold_pct": "10"}}
SWAP = "swap.free < 10% and swap.total > 0B"


def call(plugin: str, **arguments: object) -> dict[str, Any]:
    return {"name": plugin, "args": arguments}


def source_of(detectors: list[Any], actions: list[Any], hooks: bool = False, **keys: object) -> str:
    """A configuration of one ruleset with one group of detectors."""
    ruleset = {"name": "r", "detectors": [["g", *detectors]], "actions": actions, **keys}
    return json.dumps({"rulesets": [ruleset], **({"prekill_hooks": [call("dummy_prekill_hook")]} if hooks else {})})


def translated(source: str, memory_total: int = 0) -> Translation:
    return translate(parse(source, "etc/o.json"), memory_total)


def when(*detectors: Any, memory_total: int = 0, **keys: object) -> str:
    translation = translated(source_of(list(detectors), [KILL], **keys), memory_total)
    return translation.policy.rules[0].when_text


def rule_of(action: Any, hooks: bool = False, **keys: object) -> Rule:
    (rule,) = translated(source_of([LOW], [action], hooks, **keys)).policy.rules
    return rule


def notes_of(translation: Translation, of: str = "r") -> str:
    return " ".join(note for name, note in translation.notes if name == of)


def plain(policy: Policy) -> Policy:
    """What a file can say of a policy."""
    rules = tuple(replace(rule, line=0, when_text="") for rule in policy.rules)
    return replace(policy, name="", rules=rules)


# --- detectors --------------------------------------------------------------------------------------------------


def pressure(cgroup: str, resource: str = "memory", threshold: int = 60, duration: int = 30) -> dict[str, Any]:
    return call("pressure_above", cgroup=cgroup, resource=resource, threshold=threshold, duration=duration)


@pytest.mark.parametrize(
    ("detectors", "text"),
    [
        ([LOW], SWAP),
        ([pressure("a.slice")], "any in 'a.slice' (cgroup.psi.memory.full.avg10 > 60% for 30s)"),
        ([pressure("a/*", "io", 0, 0)], "any in 'a/*' (cgroup.psi.io.full.avg10 > 0%)"),
        ([pressure("/")], "psi.memory.full.avg10 > 60% for 30s"),
        (
            [pressure("/,a")],
            "any in 'a' (cgroup.psi.memory.full.avg10 > 60% for 30s) or psi.memory.full.avg10 > 60% for 30s",
        ),
        (
            [call("pressure_rising_beyond", cgroup="/", resource="memory", threshold="50", duration="60")],
            "psi.memory.full.avg60 > 50% for 1min and psi.memory.full.avg10 > 50% and psi.memory.full > 42.5% over 5s",
        ),
        (
            [call("pressure_rising_beyond", cgroup="/", resource="io", threshold=8, duration=0, fast_fall_ratio=0)],
            "psi.io.full.avg60 > 8% and psi.io.full.avg10 > 8%",
        ),
        (
            [call("memory_above", cgroup="a", threshold="1.5G", duration="5")],
            "any in 'a' (cgroup.memory > 1.5GiB for 5s)",
        ),
        ([call("memory_above", cgroup="a", threshold="10%", duration="0")], "any in 'a' (cgroup.memory > 10%)"),
        (
            [call("memory_above", cgroup="a", threshold="10%", threshold_anon="512", duration="0")],
            "any in 'a' (cgroup.anon > 512MiB)",
        ),
        ([call("memory_above", cgroup="/", threshold="90%", duration="5")], "mem.free < 10% for 5s"),
        ([call("memory_above", cgroup="/", threshold_anon="50%", duration="0")], "mem.anon > 50%"),
        ([call("memory_reclaim", cgroup="a,b", duration="10")], "any in 'a,b' (cgroup.scan > 0B/s over 10s)"),
        ([call("memory_reclaim", cgroup="/", duration="0")], "vm.scan > 0B/s over 1s"),
        ([call("memory_reclaim", cgroup="/", duration="3600")], "vm.scan > 0B/s over 10min"),
        (
            [call("swap_free", threshold_pct=20, swapout_bps_threshold=1048576)],
            "swap.free < 20% and swap.total > 0B and vm.swapout >= 1MiB/s over 5s",
        ),
        ([call("exists", cgroup="a/b*")], "any in 'a/b*' (cgroup.age >= 0s)"),
        ([call("exists", cgroup="a", negate=True), LOW], f"not any in 'a' (cgroup.age >= 0s) and {SWAP}"),
        ([call("nr_dying_descendants", cgroup="a", count=9)], "any in 'a' (cgroup.dying <= 9)"),
        ([call("nr_dying_descendants", cgroup="/", count=9, lte=False)], "any in '/' (cgroup.dying > 9)"),
        ([call("dump_cgroup_overview", cgroup="a"), call("continue"), LOW], SWAP),
        ([call("exists", cgroup="/"), LOW], SWAP),
        ([call("exists", cgroup="a,/"), LOW], SWAP),
        ([LOW, LOW], SWAP),
    ],
)
def test_detectors_become_a_condition(detectors: list[Any], text: str) -> None:
    assert when(*detectors) == text


@pytest.mark.parametrize(
    "never",
    [
        call("stop"),
        pressure("a", threshold=100),
        call("memory_above", cgroup="a", threshold="100%", duration="1"),
        call("swap_free", threshold_pct="0"),
        call("exists", cgroup="/", negate=True),
    ],
)
def test_what_never_fires_is_left_out_and_told(never: dict[str, Any]) -> None:
    translation = translated(source_of([LOW, never], [KILL]))
    assert translation.policy.rules == ()
    assert "ruleset r: its detectors never fire" in notes_of(translation, "")


def test_groups_are_one_or_the_other_and_those_that_never_fire_fall_out() -> None:
    groups = [["a", LOW], ["b", call("stop"), LOW], ["c", pressure("/"), LOW]]
    source = json.dumps({"rulesets": [{"name": "r", "detectors": groups, "actions": [KILL]}]})
    assert (
        translated(source).policy.rules[0].when_text == f"({SWAP}) or (psi.memory.full.avg10 > 60% for 30s and {SWAP})"
    )


def test_what_always_fires_is_told() -> None:
    translation = translated(source_of([call("continue")], [KILL]))
    assert translation.policy.rules[0].when_text == "mem.total > 0B"
    assert "its detectors always fire" in notes_of(translation)


def test_a_size_for_the_root_is_for_the_memory_of_this_machine() -> None:
    detector = call("memory_above", cgroup="/", threshold="12G", duration="5")
    assert when(detector, memory_total=16 * GIB) == "mem.free < 4GiB for 5s"
    with pytest.raises(PolicyError, match="whose memory is not known here"):
        when(detector)


@pytest.mark.parametrize(
    ("scope", "own", "text"),
    [
        ("w/*", "/", "cgroup.psi.memory.full.avg10 > 60% for 30s"),
        ("w/*", "", "cgroup.psi.memory.full.avg10 > 60% for 30s"),
        ("w/a", "b/*", "any in 'w/a/b/*' (cgroup.psi.memory.full.avg10 > 60% for 30s)"),
    ],
)
def test_a_ruleset_for_cgroups_has_a_scope(scope: str, own: str, text: str) -> None:
    detector = call("pressure_above", ruleset_cgroup=own, resource="memory", threshold=60, duration=30)
    (rule,) = translated(source_of([detector], [KILL], cgroup=scope)).policy.rules
    assert rule.scope is not None
    assert (rule.scope.text, rule.when_text) == (scope, text)


def test_that_the_cgroup_of_a_ruleset_is_there_goes_without_saying() -> None:
    there, gone = call("exists", ruleset_cgroup="/"), call("exists", ruleset_cgroup="/", negate=True)
    assert when(LOW, there, cgroup="w/*") == SWAP
    translation = translated(source_of([LOW, gone], [KILL], cgroup="w/*"))
    assert translation.policy.rules == ()
    assert "ruleset r: its detectors never fire" in notes_of(translation, "")


def test_a_ruleset_can_be_for_cgroups_with_an_attribute_only() -> None:
    rule = rule_of(call("kill_by_io_cost", ruleset_cgroup="/"), cgroup="w/*,v", xattr_filter="user.restart")
    assert rule.scope is not None
    assert (rule.scope.text, rule.scope.tag) == ("w/*,v with user.restart", "user.restart")
    (want,) = wants_of(Policy("o", (rule,)))
    assert want.scope == rule.scope and "tags" in want.fields


def waiting(time: float, *shares: tuple[float, float, float]) -> Snapshot:
    """A machine with cgroups below s whose tasks wait for memory that much: avg10, avg60 and avg300."""
    cgroups = tuple(
        Cgroup(f"/s/{number}", number, memory_pressure=Pressure(Stall(*averages, 0.0), Stall(*averages, 0.0)))
        for number, averages in enumerate(shares, 1)
    )
    return Snapshot(time, Memory(GIB, GIB, GIB), Swap(), scoped=(("s/*", cgroups),))


@pytest.mark.parametrize(
    ("first", "last", "state"),
    [
        # The one that waits at present is not hidden by one that has waited for longer.
        (((0.5, 0.0, 0.0), (0.3, 0.5, 0.6)), ((0.5, 0.0, 0.0), (0.3, 0.5, 0.6)), FIRED),
        # That one has waited is no reason to be impatient with another.
        (((0.5, 0.0, 0.0), (0.0, 0.0, 0.0)), ((0.0, 0.0, 0.0), (0.5, 0.0, 0.0)), HOLDING),
    ],
)
def test_each_cgroup_has_its_own_time_and_none_hides_another(
    first: tuple[tuple[float, float, float], ...], last: tuple[tuple[float, float, float], ...], state: str
) -> None:
    engine = Engine(translated(source_of([pressure("s/*", threshold=40, duration=2)], [KILL])).policy)
    engine.step(waiting(0.0, *first))
    assert engine.step(waiting(2.0, *last)).rules[0].state == state


# --- actions ----------------------------------------------------------------------------------------------------

PLAIN = {"unit": "cgroup", "descend": "no", "steps": (Step("kill"),), "rest": 15.0, "least_swap": None}


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        (call("kill_by_pressure", cgroup="a/*", resource="memory"), {"rank": "pressure"}),
        (call("kill_by_pressure", cgroup="a/*", resource="io"), {"rank": "io_pressure"}),
        (call("kill_by_io_cost", cgroup="a/*"), {"rank": "io_cost"}),
        (call("kill_by_pg_scan", cgroup="a/*", recursive="true"), {"rank": "pgscan", "descend": "best"}),
        (call("kill_by_memory_size_or_growth", cgroup="a/*"), {"rank": "size_or_growth", "ratios": Ratios()}),
        (
            call(
                "kill_by_memory_size_or_growth",
                cgroup="a/*", size_threshold=60, growing_size_percentile="90", min_growth_ratio="1.5",
            ),
            {"rank": "size_or_growth", "ratios": Ratios(0.6, 0.9, 1.5)},
        ),
        (call("kill_by_swap_usage", cgroup="a/*"), {"rank": "swap", "least_swap": Amount(1.0)}),
        (call("kill_by_swap_usage", cgroup="a/*", threshold="1"), {"rank": "swap", "least_swap": Amount(1024.0**2)}),
        (call("kill_by_swap_usage", cgroup="a/*", threshold="5%"), {"rank": "swap", "least_swap": Amount(0.05, True)}),
        (
            call("kill_by_swap_usage", cgroup="a/*", biased_swap_kill=True, threshold="0"),
            {"rank": "swap_unprotected", "least_swap": None},
        ),
        (call("kill_by_io_cost", cgroup="a/*", post_action_delay="7"), {"rank": "io_cost", "rest": 7.0}),
        (call("kill_by_io_cost", cgroup="a/*", always_continue=True), {"rank": "io_cost", "rest": 0.0}),
    ],
)  # fmt: skip
def test_an_action_that_kills_is_a_rule_for_cgroups(action: dict[str, Any], fields: dict[str, Any]) -> None:
    rule = rule_of(action)
    assert rule.among is not None
    assert (rule.name, rule.when_text, rule.among.text, rule.scope) == ("r", SWAP, "a/*", None)
    for field, value in (PLAIN | fields).items():
        assert getattr(rule, field) == value, field
    assert [one.written for one in rule.prefer] == [r"tag:trusted\.oomd_prefer", r"tag:user\.oomd_prefer"]
    assert [one.written for one in rule.avoid] == [r"tag:trusted\.oomd_avoid", r"tag:user\.oomd_avoid"]


def test_a_policy_of_oomds_keeps_the_lists_by_which_a_session_is_known_and_writes_oomds_line() -> None:
    policy = translated(source_of([LOW], [KILL])).policy
    assert (policy.name, policy.tell) == ("o", ("kmsg",))
    assert (policy.avoid, policy.supervisors) == (essential()["avoid"], essential()["supervisors"])


@pytest.mark.parametrize(
    ("arguments", "among"),
    [
        ({"ruleset_cgroup": "/"}, None),
        ({"ruleset_cgroup": "*"}, "./*"),
        ({"ruleset_cgroup": "/,a/*"}, ".,./a/*"),
        ({"cgroup": "x,y/*"}, "x,y/*"),
        ({"cgroup": "x", "ruleset_cgroup": "b*"}, "x,w/a/b*"),
        ({"cgroup": "x", "ruleset_cgroup": "/"}, "x,w/a"),
    ],
)
def test_whom_a_ruleset_for_cgroups_kills(arguments: dict[str, str], among: str | None) -> None:
    rule = rule_of(call("kill_by_io_cost", **arguments), cgroup="w/a")
    assert (rule.among.text if rule.among else None) == among


def test_the_root_is_gone_down_from_and_never_ended() -> None:
    rule = rule_of(call("kill_by_io_cost", cgroup="/", recursive=True))
    assert rule.among is not None and rule.among.paths == ((),)
    with pytest.raises(PolicyError, match="the root as one of those to end whole"):
        rule_of(call("kill_by_io_cost", cgroup="/"))


def test_hooks_are_waited_for_as_long_as_the_ruleset_says() -> None:
    assert rule_of(KILL, hooks=True).steps == (Step("prekill", 5.0), Step("kill"))
    assert rule_of(KILL, hooks=True, prekill_hook_timeout="3").steps[0] == Step("prekill", 3.0)
    assert rule_of(KILL, hooks=True, prekill_hook_timeout="0").steps == (Step("kill"),)


def test_each_action_of_a_chain_is_a_rule_up_to_the_one_that_ends_it() -> None:
    chain = [call("kill_by_io_cost", cgroup="a"), call("continue"), KILL, KILL, call("stop"), KILL]
    translation = translated(source_of([LOW], chain, post_action_delay=3))
    assert [(rule.name, rule.rest) for rule in translation.policy.rules] == [
        ("r: kill_by_io_cost", 3.0),
        ("r: kill_by_pressure", 3.0),
        ("r: kill_by_pressure 2", 3.0),
    ]
    assert "what stands behind stop is never tried: kill_by_pressure" in notes_of(translation, "r: kill_by_io_cost")


def test_a_dry_action_only_warns_and_ends_its_chain() -> None:
    dry = call("kill_by_io_cost", cgroup="a", dry=True)
    translation = translated(source_of([LOW], [dry, KILL]))
    (rule,) = translation.policy.rules
    assert (rule.steps, rule.rest, rule.only_warns, rule.among) == ((Step("warn"),), 15.0, True, None)
    assert "what stands behind a dry action is left out: kill_by_pressure" in notes_of(translation)
    dry["args"]["always_continue"] = True
    rules = translated(source_of([LOW], [dry, KILL])).policy.rules
    assert [rule.only_warns for rule in rules] == [True, False]


def test_a_service_is_restarted_wherever_it_is() -> None:
    rule = rule_of(call("systemd_restart", service="side.service"))
    (step,) = rule.steps
    assert (
        step.kind == "run"
        and step.command[0].endswith("/systemctl")
        and step.command[1:] == ("restart", "side.service")
    )
    assert rule.among is not None and rule.among.text == "*.slice/side.service,*.slice/*.slice/side.service"
    assert (rule.least, rule.rest) == (Amount(0.0), 15.0)
    assert rule_of(call("systemd_restart", service="side.service", dry=True)).only_warns


def test_what_would_crash_the_machine_only_warns() -> None:
    translation = translated(source_of([LOW], [call("kernel_panic")]))
    assert translation.policy.rules[0].only_warns and "is in no build of oomd" in notes_of(translation)


@pytest.mark.parametrize(
    ("arguments", "text", "rest"),
    [
        ({}, "cgroup.memory > 100MiB and cgroup.psi.memory.some < 0.1667% over 6s", 6.0),
        (
            {"interval": 2, "pressure_ms": 75, "limit_min_bytes": "1G"},
            "cgroup.memory > 1GiB and cgroup.psi.memory.some < 3.75% over 2s",
            2.0,
        ),
        (
            {"immediate_backoff": True, "pressure_pct": "0.2", "swap_validation": True},
            "cgroup.memory > 100MiB and cgroup.psi.memory.some.avg10 < 0.2% and cgroup.psi.memory.some.avg60 < 0.2%"
            " and cgroup.psi.io.some.avg10 < 0.1% and cgroup.psi.io.some.avg60 < 0.1%"
            " and (swap.free > 20% or swap.total <= 0B) and vm.swapout < 1MiB/s over 5s",
            6.0,
        ),
        (
            {"swap_validation": True, "swap_threshold": 0, "swapout_bps_threshold": 0},
            "cgroup.memory > 100MiB and cgroup.psi.memory.some < 0.1667% over 6s and swap.total <= 0B",
            6.0,
        ),
    ],
)
def test_senpai_takes_memory_while_it_is_not_felt(arguments: dict[str, Any], text: str, rest: float) -> None:
    action = call("senpai", cgroup="a/*", **arguments)
    (rule,) = translated(source_of([call("continue")], [action])).policy.rules
    assert rule.scope is not None and rule.scope.text == "a/*"
    assert (rule.when_text, rule.rest, rule.steps) == (text, rest, (Step("shrink", amount=Amount(0.01, True)),))
    assert rule.only_warns
