"""A policy in plain words."""

from __future__ import annotations

import pytest

from okoomer.policy import words
from okoomer.policy.language import PRESETS, load, parse
from okoomer.policy.model import CGROUP_RANKS, DESCENTS, MANAGED, RANKS, STEPS, TOLD, UNITS


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("mem.available", 0, "0 B"),
        ("mem.available", 1023, "1023 B"),
        ("mem.available", 1536, "1.5 KiB"),
        ("mem.available", 1024**2 - 1, "1 MiB"),
        ("mem.available", 400 * 1024**2, "400 MiB"),
        ("mem.available", 1.25 * 1024**3, "1.2 GiB"),
        ("mem.available", 3 * 1024**4, "3 TiB"),
        ("mem.available", 5000 * 1024**4, "5000 TiB"),
        ("psi.memory.full", 0.2, "20 %"),
        ("psi.memory.full.avg10", 0.1234, "12.3 %"),
        ("vm.swapin", 10 * 1024**2, "10 MiB/s"),
        ("vm.major_faults", 100.0, "100/s"),
        ("zram.ratio", 2.75, "2.8"),
        ("forecast.exhausted", 0.5, "500 ms"),
        ("forecast.exhausted", 2.5, "2.5 s"),
        ("forecast.exhausted", 90.0, "1.5 min"),
        ("forecast.exhausted", 100.0, "100 s"),
        ("forecast.exhausted", 5400.0, "1.5 h"),
        ("forecast.exhausted", float("inf"), "never"),
    ],
)
def test_quantities(metric: str, value: float, expected: str) -> None:
    assert words.quantity(metric, value) == expected


POLICY = """
avoid = []
supervisors = ["name:make"]
[[rule]]
name = "low"
when = "(mem.available < 6% or swap.free <= 10%) for 2s and not psi.memory.full > 20% over 500ms for 1min"
until = "mem.available > 1GiB and zram.stored < 5%"
prefer = ["cmdline:--type=renderer"]
avoid = ["name:a", "name:b"]
spare = ["user:0"]
steps = ["warn 10s", "term 5s", "kill"]
target = "10%"
least = "64MiB"
rest = "2s"
[[rule]]
name = "early"
when = "mem.available < 12%"
steps = ["warn"]
"""


def test_a_policy_in_words() -> None:
    assert words.describe(parse(POLICY, "p.toml")) == [
        'Rule 1, "low", acts when (mem.available is below 6 % of memory or swap.free is at most 10 % of swap)'
        " for 2 s and not (psi.memory.full over 500 ms is above 20 % for 1 min).",
        "  Once begun, it goes on until mem.available is above 1 GiB and zram.stored is below 5 % of its whole.",
        "  It warns and waits up to 10 s, then asks the chosen to end (SIGTERM) and waits up to 5 s, "
        "then kills the chosen (SIGKILL).",
        "  Its choice is a process with all that it started, whose end gives most memory back.",
        "  It wants 10 % of memory to be available afterwards.",
        "  It ends nothing that gives back less than 64 MiB.",
        "  These go first: cmdline:--type=renderer.",
        "  These come last: name:a, name:b.",
        "  These are never touched: user:0.",
        "  Then it rests for 2 s.",
        'Rule 2, "early", acts when mem.available is below 12 % of memory.',
        "  It warns.",
        "For all rules:",
        "  What runs below these is chosen rather than they, who come last: name:make.",
        "Where:",
        "  mem.available is memory to be had without swapping (MemAvailable, and what ZFS gives back).",
        "  swap.free is free swap (SwapFree); without swap 0 bytes and 0 %.",
        "  psi.memory.full is share of time in which all tasks at once waited for memory, from the totals of "
        "/proc/pressure/memory.",
        "  zram.stored is bytes stored in zram devices, before compression.",
    ]


def test_whom_the_kernels_killer_is_told_to_take() -> None:
    lines = words.describe(parse(f"prime = true\n{POLICY}", "p.toml"))
    assert "  While memory is short, whom it would take first is first for the kernel's own killer, too." in lines


SCORES = r"""
supervisors = []
avoid = []
points = ["+300 name~^a$", "-12.5 user:0"]
instead = ["unit:b => /bin/c 'd e' $SERVICE"]
report = "1h"
notify = ["signalled", "refused"]
pressure = "/sys/fs/cgroup/user.slice/memory.pressure"
[[rule]]
name = "term"
when = "mem.available.user <= 10%"
unit = "group"
rank = "badness"
least_score = "10"
raised = "ignored"
points = ["-1 name:f"]
steps = ["run 200ms: /bin/g \"h\ti\"", "term 10s", "kill"]
[[rule]]
name = "oom"
when = "mem.available < 1%"
steps = ["oom"]
[[hook]]
on = "killed"
run = "/bin/j $PID"
limit = "5s"
"""


def test_scores_commands_and_what_is_beside_in_words() -> None:
    assert words.describe(parse(SCORES, "p.toml"))[:-3] == [
        'Rule 1, "term", acts when mem.available.user is at most 10 % of what programs can have.',
        "  It runs /bin/g 'h?i' and waits up to 200 ms, then asks the chosen to end (SIGTERM) and waits up to 10 s, "
        "then kills the chosen (SIGKILL).",
        "  Its choice is a process with its whole process group, whose oom_score with points is highest.",
        "  It takes nobody whose score is below 10.",
        "  What a raised oom_score_adj adds to a score does not count.",
        "  These count more or less than they are: -1 for name:f.",
        'Rule 2, "oom", acts when mem.available is below 1 % of memory.',
        "  It has the kernel choose and kill somebody.",
        "For all rules:",
        "  These count more or less than they are: +300 for name~^a$, -12.5 for user:0.",
        "  These are asked to end by a command instead of SIGTERM: unit:b by /bin/c 'd e' $SERVICE.",
        "  What runs below these is chosen rather than they, who come last: none.",
        "  When somebody gets a SIGKILL, it runs /bin/j $PID, for at most 5 s.",
        "  It announces on the system bus when somebody gets a signal or nobody can be chosen.",
        "  It tells the state of memory every 1 h.",
        "  Pressure of memory is that of /sys/fs/cgroup/user.slice/memory.pressure.",
    ]


CGROUPS = """
tell = ["kmsg"]
[[rule]]
name = "stalled"
when = "cgroup.psi.memory.full > 40% over 2s and mem.available < 10%"
scope = "system.slice/*"
unit = "cgroup"
among = "./*"
descend = "best"
rank = "size_or_growth"
growth_ratio = "1.5"
least_swap = "5%"
avoid = ["tag:user.oomd_avoid"]
steps = ["shrink 1%", "prekill 5s", "kill"]
[[rule]]
name = "swap"
managed = "ManagedOOMSwap"
when = "not any in 'a,b' (cgroup.memory > 5% or cgroup.swap > 1MiB)"
unit = "auto"
[[rule]]
name = "own"
managed = "OOMRules:mine"
when = "cgroup.memory > 5%"
unit = "cgroup"
steps = ["warn", "shrink 50MiB 2s"]
"""


def test_rules_about_cgroups_in_words() -> None:
    lines = words.describe(parse(CGROUPS, "p.toml"))
    lines = lines[: lines.index("For all rules:")] + [line for line in lines if "kernel's log" in line]
    assert lines == [
        'Rule 1, "stalled", acts on each cgroup of system.slice/* by itself when cgroup.psi.memory.full over 2 s'
        " is above 40 % and mem.available is below 10 % of memory.",
        "  It takes 1 % of what it has away from the cgroup, without ending anybody, then has those prepare who asked"
        " to hear of a kill and waits up to 5 s, then kills the chosen (SIGKILL).",
        "  Its choice is one cgroup as a whole, the best of its siblings from the top down among ./*, that has a great"
        " part of what all have, or else grows fastest among the largest.",
        "  It ends nothing that has 5 % of swap in swap or less.",
        "  A great part is 50 %; the largest are those above 80 % of all, and to grow is to have 1.5 times the average"
        " of late.",
        "  These come last: tag:user.oomd_avoid.",
        'Rule 2, "swap", acts on each unit that has ManagedOOMSwap=kill when not (in one of a,b (cgroup.memory is above'
        " 5 % of memory or cgroup.swap is above 1 MiB)).",
        "  It kills the chosen (SIGKILL).",
        "  Its choice is an application, service or container as a whole, or a process with all that it started in"
        " that cgroup, whose end gives most memory back.",
        'Rule 3, "own", acts on each unit that has OOMRules=mine when cgroup.memory is above 5 % of memory.',
        "  It warns, then takes 50 MiB away from the cgroup, without ending anybody and waits up to 2 s.",
        "  It also tells the kernel's log of each kill.",
    ]


def test_every_word_of_the_language_has_a_text() -> None:
    units = {unit for unit in UNITS if unit != "cgroup"}
    assert units == set(words._UNITS) and {*RANKS, *CGROUP_RANKS} == set(words._RANKS)
    assert set(DESCENTS) == set(words._DESCENTS) and set(TOLD) == set(words._TOLD)
    assert set(STEPS) == {*words._STEPS, "run", "shrink"} and set(MANAGED) == {*words._MANAGED, "OOMRules"}


def test_points_that_are_bytes_in_words() -> None:
    text = POLICY.replace("until =", 'points = ["+3GiB name:a"]\nuntil =')
    assert "  These count more or less than they are: +3 GiB for name:a." in words.describe(parse(text, "p.toml"))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_in_words(name: str) -> None:
    lines = words.describe(load(name))
    assert all(line.isprintable() for line in lines)
    for rule in load(name).rules:
        assert any(f'"{rule.name}"' in line for line in lines)
