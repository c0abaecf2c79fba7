"""Rules that say how short memory is, and hooks with a user: in the language, in words, and written again."""

from __future__ import annotations

import pytest

from okoomer.policy import words
from okoomer.policy.examine import firing, inert
from okoomer.policy.language import PRESETS, load, parse
from okoomer.policy.model import LEVELS, Hook, Policy, Step
from okoomer.policy.write import text_of
from tests.unit.test_presets import machine

TIGHT = '[[rule]]\nname = "tight"\nwhen = "mem.available < 20%"\nlevel = "low"\n'
KILLS = '[[rule]]\nname = "a"\nwhen = "mem.available < 5%"\n'


def parsed(text: str) -> Policy:
    return parse(text, "p.toml")


@pytest.mark.parametrize(("word", "level"), [("low", 50), ("medium", 100), ("critical", 255)])
def test_a_level_is_a_word(word: str, level: int) -> None:
    assert parsed(TIGHT.replace("low", word)).rules[0].level == LEVELS[word] == level


def test_a_rule_with_a_level_needs_no_steps_and_ends_nobody() -> None:
    (rule,) = parsed(TIGHT).rules
    assert rule.steps == () and rule.only_warns and not rule.chooses


def test_a_rule_with_a_level_may_have_steps_and_all_that_goes_with_them() -> None:
    (rule,) = parsed(TIGHT + 'steps = ["warn", "kill"]\nrank = "rss"\nrest = "5s"\ntarget = "9%"').rules
    assert (rule.level, rule.steps, rule.rank, rule.rest) == (50, (Step("warn"), Step("kill")), "rss", 5.0)


def test_a_rule_about_cgroups_may_have_a_level() -> None:
    (rule,) = parsed(TIGHT.replace("mem.available", "cgroup.memory") + 'scope = "/user.slice/*"').rules
    assert rule.scope and rule.level == 50 and rule.steps == ()


def test_a_rule_without_level_and_steps_kills() -> None:
    (rule,) = parsed(KILLS).rules
    assert rule.level == 0 and rule.steps == (Step("kill"),)


def test_a_hook_may_have_a_user() -> None:
    hooks = parsed(
        KILLS + '[[hook]]\non = "died"\nrun = "/bin/a"\nuser = "root"\n[[hook]]\non = "level"\nrun = "/bin/b"'
    )
    assert hooks.hooks == (Hook("died", ("/bin/a",), user="root"), Hook("level", ("/bin/b",)))
    assert hooks.plain_hooks == (("died", ("/bin/a",), 20.0, "root"), ("level", ("/bin/b",), 20.0, ""))


def test_levels_and_users_are_written_as_they_are_read() -> None:
    text = TIGHT + 'until = "mem.available > 30%"\n' + KILLS + 'level = "critical"\nsteps = ["term 5s", "kill"]\n'
    text += '[[hook]]\non = "died"\nrun = "/bin/a"\nuser = "daemon"\n'
    given = parsed(text)
    written = text_of(given)
    assert [rule.steps for rule in parsed(written).rules] == [rule.steps for rule in given.rules]
    assert [rule.level for rule in parsed(written).rules] == [50, 255]
    assert parsed(written).hooks == given.hooks
    assert written.count("steps") == 1 and 'level = "low"' in written and 'user = "daemon"' in written


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_written_as_they_are_read(name: str) -> None:
    given = load(name)
    again = parsed(text_of(given))
    assert [(one.name, one.level, one.steps, one.when) for one in again.rules] == [
        (one.name, one.level, one.steps, one.when) for one in given.rules
    ]


def test_a_level_in_words() -> None:
    said = words.describe(parsed(TIGHT + '[[hook]]\non = "died"\nrun = "/bin/a"\nuser = "daemon"\n'))
    assert said[:3] == [
        'Rule 1, "tight", acts when mem.available is below 20 % of memory.',
        "  While it has fired, applications are told that memory is short: low (50 of 255).",
        "For all rules:",
    ]
    assert "  When the chosen has ended, it runs /bin/a as daemon, for at most 20 s." in said


def test_that_memory_is_short_already_is_no_reason_to_refuse_a_policy() -> None:
    scarce = machine(8, 1)[-1]
    assert firing(parsed(TIGHT), scarce) == []
    assert firing(parsed(KILLS.replace("5%", "20%")), scarce) == ["a"]
    assert firing(parsed(TIGHT + 'steps = ["kill"]'), scarce) == ["tight"]


def test_a_level_that_can_never_be_is_told_of() -> None:
    policy = parsed(TIGHT.replace("mem.available < 20%", "psi.cpu.full > 5% over 1s"))
    assert inert(policy, machine(8, 1)[-1]) == {"tight": ["psi.cpu.full"]}
