"""nohang's settings as a policy: which level fires when, on whom, with what."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from random import Random

import pytest

from okoomer.compat.nohang import Settings, parse, translate
from okoomer.compat.nohang_keys import DEFAULTS, KEYS
from okoomer.compat.nohang_policy import ALWAYS
from okoomer.facts import Memory, Pressure, Snapshot, Stall, Swap, Zram
from okoomer.policy.engine import FIRED, Engine
from okoomer.policy.examine import inert
from okoomer.policy.language import parse as parse_policy
from okoomer.policy.model import Amount, Hook, Policy, Step
from okoomer.policy.write import text_of
from okoomer.record import replace
from okoomer.units import GIB, MIB
from tests.unit.strategies import cases

TOTAL = 24 * GIB
DESKTOP = "psi_checking_enabled = True\nlow_memory_warnings_enabled = True\npost_action_gui_notifications = True\n"
ZRAM = "zram_checking_enabled = True\n"
KILL, ASK = (Step("kill"),), (Step("term", 10.0), Step("kill"))


def settings_of(text: str) -> Settings:
    return parse(text, "etc/n.conf", TOTAL)


def policy_of(text: str) -> Policy:
    return translate(settings_of(text)).policy


def machine(
    available: float,
    swap: float | None = None,
    zram: float | None = None,
    stall: float | None = None,
    time: float = 0.0,
    swap_total: int = 8 * GIB,
) -> Snapshot:
    """Shares: of memory available, of swap free (None: no swap), of memory in zram, of time stalled."""
    pressure = Pressure(Stall(stall, stall, stall, 0.0), Stall(stall, stall, stall, 0.0)) if stall is not None else None
    return Snapshot(
        time,
        Memory(TOTAL, int(available * TOTAL), int(available * TOTAL)),
        Swap(swap_total, int(swap * swap_total)) if swap is not None else Swap(),
        Zram(TOTAL, ceil(zram * TOTAL) * 3, ceil(zram * TOTAL)) if zram is not None else None,
        memory_pressure=pressure,
    )


def fired(policy: Policy, *snapshots: Snapshot) -> list[str]:
    """The rules that have fired at the last of these instants."""
    engine = Engine(policy)
    verdicts = [engine.step(snapshot) for snapshot in snapshots]
    return [rule.name for rule in verdicts[-1].rules if rule.state == FIRED]


# --- the rules --------------------------------------------------------------------------------------------------


def test_the_defaults_are_two_rules_most_urgent_first() -> None:
    policy = policy_of("")
    assert [(rule.name, rule.when_text, rule.steps) for rule in policy.rules] == [
        ("hard", "mem.available <= 2% and swap.free <= 4%", KILL),
        ("soft", "mem.available <= 5% and swap.free <= 10%", ASK),
    ]
    assert all(rule.unit == "process" and rule.rank == "badness" and rule.raised for rule in policy.rules)
    assert all(rule.least_score == 1 and rule.rest == 0.1 and rule.least is None for rule in policy.rules)
    assert (policy.avoid, policy.supervisors, policy.spare, policy.points) == ((), (), (), ())
    assert (policy.name, policy.runs, policy.report, policy.pressure) == ("n", False, 0.0, "")


def test_the_desktop_settings_are_five() -> None:
    policy = policy_of(DESKTOP)
    assert [(rule.name, rule.when_text, rule.steps, rule.rest) for rule in policy.rules] == [
        ("hard", "mem.available <= 2% and swap.free <= 4%", KILL, 0.1),
        (
            "hard-psi",
            "(mem.available <= 2% and psi.memory.full.avg10 >= 90%) for 30s and swap.total > 0B",
            KILL,
            15.0,
        ),
        ("soft", "mem.available <= 5% and swap.free <= 10%", ASK, 0.1),
        ("soft-psi", "(mem.available <= 5% and psi.memory.full.avg10 >= 40%) for 30s and swap.total > 0B", ASK, 15.0),
        (
            "warning",
            "mem.available <= 20% and (swap.free <= 25% or (psi.memory.full.avg10 >= 10% and swap.total > 0B))",
            (Step("warn"),),
            60.0,
        ),
    ]
    assert policy.notify == ("warned", "signalled") and policy.hooks == ()


@pytest.mark.parametrize(
    ("text", "rule", "when"),
    [
        (ZRAM, "hard", "mem.available <= 2% and (swap.free <= 4% or zram.used >= 60%)"),
        (ZRAM, "soft", "mem.available <= 5% and (swap.free <= 10% or zram.used >= 55%)"),
        (
            ZRAM + DESKTOP,
            "warning",
            "mem.available <= 20% and (swap.free <= 25% or zram.used >= 45%"
            " or (psi.memory.full.avg10 >= 10% and swap.total > 0B))",
        ),
        (
            ZRAM + "hard_threshold_max_zram = 15000 M",
            "hard",
            "mem.available <= 2% and (swap.free <= 4% or zram.used >= 15000MiB)",
        ),
        ("soft_threshold_min_mem = 900 M", "soft", "mem.available <= 900MiB and swap.free <= 10%"),
        ("soft_threshold_min_swap = 500 M", "soft", "mem.available <= 5% and swap.free <= 500MiB"),
        ("soft_threshold_min_swap = 0.5 M", "soft", "mem.available <= 5% and swap.free <= 0.5MiB"),
        ("soft_threshold_min_mem = 12.5 %", "soft", "mem.available <= 12.5% and swap.free <= 10%"),
        ("hard_threshold_min_mem = 0 %", "hard", "mem.available <= 0% and swap.free <= 4%"),
        ("soft_threshold_min_swap = 100 %", "soft", "mem.available <= 5%"),
        ("soft_threshold_min_swap = 100 %\n" + ZRAM, "soft", "mem.available <= 5%"),
        (
            DESKTOP + "warning_threshold_min_mem = 100 %\nwarning_threshold_min_swap = 100 %",
            "warning",
            "mem.total > 0B",
        ),
        (
            DESKTOP + "warning_threshold_min_mem = 100 %",
            "warning",
            "swap.free <= 25% or (psi.memory.full.avg10 >= 10% and swap.total > 0B)",
        ),
        (
            ZRAM + "low_memory_warnings_enabled = True\nwarning_threshold_max_zram = 0 %",
            "warning",
            "mem.available <= 20%",
        ),
        (
            DESKTOP + "psi_metrics = some_avg60\npsi_excess_duration = 2.5",
            "soft-psi",
            "(mem.available <= 5% and psi.memory.some.avg60 >= 40%) for 2.5s and swap.total > 0B",
        ),
        (
            DESKTOP + "psi_excess_duration = 0",
            "hard-psi",
            "mem.available <= 2% and psi.memory.full.avg10 >= 90% and swap.total > 0B",
        ),
    ],
)  # fmt: skip
def test_each_setting_is_in_its_condition(text: str, rule: str, when: str) -> None:
    assert {one.name: one.when_text for one in policy_of(text).rules}[rule] == when


@pytest.mark.parametrize(
    ("text", "snapshot", "expected"),
    [
        ("", machine(0.06, 0.05), []),
        ("", machine(0.05, 0.10), ["soft"]),
        ("", machine(0.05, 0.11), []),
        ("", machine(0.02, 0.04), ["hard", "soft"]),
        ("", machine(0.02, 0.05), ["soft"]),
        ("", machine(0.01, 0.90), []),
        ("", machine(0.04), ["soft"]),  # no swap: as if it were full
        ("", machine(0.02), ["hard", "soft"]),
        ("soft_threshold_min_swap = 500 M\nhard_threshold_min_swap = 0 M", machine(0.04, 0.05), ["soft"]),
        ("soft_threshold_min_swap = 500 M\nhard_threshold_min_swap = 0 M", machine(0.04, 0.07), []),
        (ZRAM, machine(0.05, 0.9, zram=0.54), []),
        (ZRAM, machine(0.05, 0.9, zram=0.55), ["soft"]),
        (ZRAM, machine(0.02, 0.9, zram=0.60), ["hard", "soft"]),
        (ZRAM, machine(0.06, 0.9, zram=0.60), []),
        (ZRAM, machine(0.05, 0.10), ["soft"]),  # there is no zram
        (ZRAM, machine(0.05, 0.9), []),
        ("", machine(0.02, 0.9, zram=0.60), []),  # zram is not looked at
        (DESKTOP, machine(0.20, 0.25), ["warning"]),
        (DESKTOP, machine(0.20, 0.9, stall=0.1), ["warning"]),
        (DESKTOP, machine(0.20, 0.9, stall=0.05), []),
        (DESKTOP, machine(0.21, 0.0, stall=0.9), []),
        (DESKTOP, machine(0.9, 0.9, stall=1.0), []),
        (DESKTOP, machine(0.04), ["soft", "warning"]),  # without pressure the rest goes on
    ],
)
def test_which_levels_fire(text: str, snapshot: Snapshot, expected: list[str]) -> None:
    assert fired(policy_of(text), snapshot) == expected


def stalled(seconds: float, available: float = 0.04, swap: float | None = 0.9, stall: float = 0.5) -> list[Snapshot]:
    return [machine(available, swap, stall=stall, time=t / 2) for t in range(int(seconds * 2) + 1)]


@pytest.mark.parametrize(
    ("snapshots", "expected"),
    [
        (stalled(29), ["warning"]),
        (stalled(30), ["soft-psi", "warning"]),
        (stalled(30, available=0.06), ["warning"]),
        (stalled(30, stall=0.39), ["warning"]),
        (stalled(30, available=0.02, stall=0.9), ["hard-psi", "soft-psi", "warning"]),
        (stalled(30, available=0.02, stall=0.89), ["soft-psi", "warning"]),
        (stalled(30, swap=None), ["soft", "warning"]),
    ],
)
def test_pressure_acts_when_it_has_lasted_on_a_machine_with_swap(
    snapshots: list[Snapshot], expected: list[str]
) -> None:
    assert fired(policy_of(DESKTOP), *snapshots) == expected


def test_time_in_which_memory_was_not_short_does_not_count() -> None:
    short = stalled(4)
    well = [machine(0.5, 0.9, stall=0.5, time=4.5 + t) for t in range(35)]
    again = [replace(one, time=40.0 + one.time) for one in stalled(4)]
    assert fired(policy_of(DESKTOP), *short, *well, *again) == ["warning"]


def test_a_machine_without_zram_or_pressure_is_guarded_all_the_same() -> None:
    assert list(inert(policy_of(DESKTOP + ZRAM), machine(0.5, 0.5))) == ["hard-psi", "soft-psi"]


# --- victims, commands, announcements ---------------------------------------------------------------------------


def test_points_scores_and_adjustments_are_taken_over() -> None:
    policy = policy_of(
        "@BADNESS_ADJ_RE_NAME 200 /// ^Web\n@BADNESS_ADJ_RE_UID -50 /// ^0$\n"
        "min_badness = 20\nignore_positive_oom_score_adj = True\n" + DESKTOP
    )
    assert [(one.value, one.selector.written) for one in policy.points] == [(200.0, "name~^Web"), (-50.0, "user~^0$")]
    acting = [rule for rule in policy.rules if not rule.only_warns]
    assert len(acting) == 4 and all(rule.least_score == 20 and not rule.raised for rule in acting)


def test_times_are_taken_over() -> None:
    policy = policy_of(
        DESKTOP
        + "max_soft_exit_time = 3\npost_zombie_delay = 2\npsi_post_action_delay = 20\nmin_post_warning_delay = 9"
    )
    assert {rule.name: rule.rest for rule in policy.rules} == {
        "hard": 2.0, "hard-psi": 20.0, "soft": 2.0, "soft-psi": 20.0, "warning": 9.0,
    }  # fmt: skip
    assert {rule.steps[0].seconds for rule in policy.rules if rule.steps[0].kind == "term"} == {3.0}


def test_soft_actions_are_commands_in_place_of_sigterm() -> None:
    policy = policy_of(
        "@SOFT_ACTION_RE_NAME ^a$ /// cat $PID '$NAME x'\n@SOFT_ACTION_RE_CGROUP_V2 b /// /bin/no-such b"
    )
    assert [(one.selector.written, one.command[1:]) for one in policy.instead] == [
        ("name~^a$", ("$PID", "$NAME x")), ("cgroup~b", ("b",)),
    ]  # fmt: skip
    assert Path(policy.instead[0].command[0]).is_absolute() and policy.instead[1].command[0] == "/bin/no-such"
    assert policy.runs


@pytest.mark.parametrize(
    ("text", "hooks", "notify"),
    [
        ("", [], ()),
        ("warning_exe = /bin/true", [], ()),  # warnings are off
        ("low_memory_warnings_enabled = True", [], ("warned",)),
        (
            "low_memory_warnings_enabled = True\nwarning_exe = /bin/true 'a b'",
            [Hook("warned", ("/bin/true", "a b"), 20.0)],
            (),
        ),
        (
            "post_kill_exe = /bin/true $PID\nexe_timeout = 5\npost_action_gui_notifications = True",
            [Hook("signalled", ("/bin/true", "$PID"), 5.0)],
            ("signalled",),
        ),
    ],
)
def test_what_is_run_and_announced(text: str, hooks: list[Hook], notify: tuple[str, ...]) -> None:
    policy = policy_of(text)
    found = [replace(hook, command=(f"/bin/{Path(hook.command[0]).name}", *hook.command[1:])) for hook in policy.hooks]
    assert (found, policy.notify) == (hooks, notify)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0.0),
        ("min_mem_report_interval = 5", 0.0),
        ("print_mem_check_results = True", 60.0),
        ("print_mem_check_results = True\nmin_mem_report_interval = 5", 5.0),
        ("print_mem_check_results = True\nmin_mem_report_interval = 0", 3.0),
    ],
)
def test_memory_is_reported_if_asked_for(text: str, seconds: float) -> None:
    assert policy_of(text).report == seconds


def test_the_command_line_of_a_victim_is_read_if_asked_for() -> None:
    assert policy_of("print_victim_cmdline = True").tell == ("cmdline",)
    assert policy_of("").tell == ()


def test_pressure_may_be_that_of_a_cgroup() -> None:
    path = "psi_path = /sys/fs/cgroup/user.slice/memory.pressure\n"
    assert policy_of(path + DESKTOP).pressure == "/sys/fs/cgroup/user.slice/memory.pressure"
    assert policy_of(path).pressure == ""


# --- notes ------------------------------------------------------------------------------------------------------


def notes_of(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, sentence in translate(settings_of(text)).notes:
        found.setdefault(key, []).append(sentence)
    return found


def test_what_is_missing_is_named_each_key_once() -> None:
    notes = notes_of("min_badness = 1\nmax_sleep = 3\n")
    missing = {key for key, texts in notes.items() if "is not in the file: the default holds" in texts}
    assert missing == set(KEYS) - {"min_badness", "max_sleep"}


def test_what_has_no_meaning_here_is_named_with_the_reason() -> None:
    text = "\n".join(f"{name} = {value}" for name, value in IDLE.items())
    notes = notes_of(f"{text}\n@check_kmsg\n@debug_kmsg")
    assert {key.name for key in KEYS.values() if key.idle} == set(IDLE)
    for name in IDLE:
        [sentence] = notes[name]
        assert sentence == f"changes nothing here: {KEYS[name].here}"
    assert notes["@check_kmsg"] and notes["@debug_kmsg"]


IDLE = {
    "fill_rate_mem": "100",
    "fill_rate_swap": "100",
    "fill_rate_zram": "100",
    "max_sleep": "9",
    "min_sleep": "1",
    "hide_corrective_action_type": "True",
    "env_cache_time": "1",
    "post_soft_action_delay": "1",
    "victim_cache_time": "1",
    "print_proc_table": "True",
    "print_victim_status": "False",
    "max_victim_ancestry_depth": "9",
    "print_statistics": "False",
    "separate_log": "True",
    "debug_psi": "True",
    "debug_gui_notifications": "True",
    "debug_sleep": "True",
    "debug_threading": "True",
}


def test_idle_keys_change_nothing() -> None:
    idle = policy_of("\n".join(f"{name} = {value}" for name, value in IDLE.items()) + "\n@debug_kmsg")
    assert idle == policy_of("")


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("soft_threshold_min_swap = 500 M\nhard_threshold_min_swap = 0 M", "soft_threshold_min_swap", "500 KiB"),
        (DESKTOP + "warning_threshold_min_swap = 900 M", "warning_threshold_min_swap", "900 MiB"),
        (DESKTOP + "warning_threshold_min_mem = 1 %", "warning_threshold_min_mem", "before the warning"),
        (DESKTOP, "psi_excess_duration", "not counted"),
        (DESKTOP, "psi_post_action_delay", "not from the start"),
        ("ignore_positive_oom_score_adj = True", "ignore_positive_oom_score_adj", "two thirds"),
        ("post_kill_exe = /bin/true", "post_kill_exe", "SIGTERM as well"),
        ("@SOFT_ACTION_RE_NAME a /// /bin/true", "exe_timeout", "max_soft_exit_time"),
        ("post_kill_exe = no-such-program", "", "there is no program no-such-program here"),
    ],
)
def test_differences_are_told_where_they_matter(text: str, key: str, words: str) -> None:
    assert any(words in sentence for sentence in notes_of(text)[key])


def test_there_is_no_word_of_differences_that_do_not_matter() -> None:
    text = "\n".join(f"{name} = {written(name)}" for name, key in KEYS.items() if not key.idle)
    assert {sentence for _, sentence in translate(settings_of(text)).notes} == {
        *(sentence for _, sentence in ALWAYS),
        "is not in the file: the default holds",
    }


def written(key: str) -> str:
    """A key's default as a file has it."""
    value = getattr(DEFAULTS, key)
    return f"{value.value * 100:g} %" if isinstance(value, Amount) else "" if value == () else f"{value}"


@cases(600)
def test_any_settings_make_a_policy_that_can_be_written_and_read_again(random: Random) -> None:
    policy = policy_of(any_settings(random))
    again = parse_policy(text_of(policy), f"{policy.name}.toml")
    assert plain(again) == plain(policy)


def plain(policy: Policy) -> Policy:
    """Without where and how exactly it was written."""
    return replace(policy, rules=tuple(replace(rule, line=0, when_text="") for rule in policy.rules))


def any_settings(random: Random) -> str:
    """Settings in which each of the keys that matter may stand."""
    flag = ("True", "False")
    mem, swap = random.uniform(0, 40), random.uniform(0, 90)
    zram, psi = random.uniform(10, 80), random.uniform(1, 90)
    values = {
        "zram_checking_enabled": random.choice(flag),
        "psi_checking_enabled": random.choice(flag),
        "low_memory_warnings_enabled": random.choice(flag),
        "ignore_positive_oom_score_adj": random.choice(flag),
        "post_action_gui_notifications": random.choice(flag),
        "print_mem_check_results": random.choice(flag),
        "psi_metrics": f"{random.choice(('some', 'full'))}_avg{random.choice((10, 60, 300))}",
        "psi_excess_duration": f"{random.choice((0, 1, 30, random.uniform(0, 99))):.3f}",
        "hard_threshold_min_mem": f"{mem:.2f} %",
        "soft_threshold_min_mem": f"{random.choice((mem, 50, random.uniform(mem, 50))):.2f} %",
        "hard_threshold_min_swap": random.choice((f"{swap:.2f} %", "100 %", "0 %")),
        "soft_threshold_min_swap": "100 %",
        "warning_threshold_min_mem": random.choice(("100 %", "0 %", f"{random.uniform(0, 24576):.1f} M")),
        "warning_threshold_min_swap": random.choice(("100 %", "0 %", f"{random.uniform(0, 24576):.1f} M")),
        "warning_threshold_max_zram": random.choice(("0 %", "100 %", "0 M", f"{random.uniform(0, 24576):.1f} M")),
        "soft_threshold_max_zram": f"{zram:.3f} %",
        "hard_threshold_max_zram": f"{random.uniform(zram, 90):.3f} %",
        "soft_threshold_max_psi": f"{psi:.1f}",
        "hard_threshold_max_psi": f"{random.choice((100, random.uniform(psi, 100))):.1f}",
        "min_badness": str(random.randrange(1, 900)),
        "max_soft_exit_time": f"{random.uniform(0.1, 90):.2f}",
        "post_zombie_delay": f"{random.choice((0, random.uniform(0, 9))):.2f}",
        "warning_exe": random.choice(("", "/bin/true", "/bin/true 'a b' \"$\"")),
        "post_kill_exe": random.choice(("", "/bin/true $PID '$NAME'")),
        "exe_timeout": f"{random.uniform(0.1, 99):.2f}",
    }  # fmt: skip
    lines = [f"{key} = {value}" for key, value in values.items() if random.random() < 0.9 or "threshold" in key]
    lines += random.sample(
        [
            "@BADNESS_ADJ_RE_NAME -200 /// ^a|b$",
            r"@BADNESS_ADJ_RE_CMDLINE 9 /// --type=\w+ \"x\" 'y'",
            "@BADNESS_ADJ_RE_UID 5 /// ^0$",
            "@SOFT_ACTION_RE_NAME => /// /bin/true 'a => b'",
            '@SOFT_ACTION_RE_CGROUP_V1 x /// /bin/true $SERVICE "it\'s"',
        ],
        random.randrange(6),
    )
    return "\n".join(lines)


def test_the_limits_of_what_is_freed_are_the_engines() -> None:
    assert all(rule.least is None for rule in policy_of(DESKTOP).rules)
    assert "4 MiB at least, 64 MiB at most" in ALWAYS[0][1] and MIB == 1 << 20
