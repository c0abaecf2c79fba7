"""earlyoom's settings as a policy: the same conditions, the same measure, the same signals."""

from __future__ import annotations

from random import Random

import pytest

from okoomer.compat.earlyoom import parse, translate
from okoomer.compat.earlyoom_policy import levels
from okoomer.facts import Memory, Process, Snapshot, Swap
from okoomer.policy.choose import choose
from okoomer.policy.engine import Engine
from okoomer.policy.language import parse as compiled
from okoomer.policy.model import Hook, Policy, Rule
from okoomer.units import GIB, KIB, MIB
from tests.unit.strategies import cases

TOTAL, SWAP = 24 * GIB, 2 * GIB


def policy(*arguments: str, swap: int = SWAP) -> Policy:
    return translate(parse(arguments, TOTAL, swap), TOTAL, swap).policy


def rule(name: str, *arguments: str) -> Rule:
    return next(rule for rule in policy(*arguments).rules if rule.name == name)


@pytest.mark.parametrize(
    ("arguments", "kill", "term"),
    [
        ([], "mem.available.user <= 5% and swap.free <= 5%", "mem.available.user <= 10% and swap.free <= 10%"),
        (
            ["-m", "7", "-s", "3,1"],
            "mem.available.user <= 3.5% and swap.free <= 1%",
            "mem.available.user <= 7% and swap.free <= 3%",
        ),
        (["-s", "100"], "mem.available.user <= 5% and swap.free <= 50%", "mem.available.user <= 10%"),
        (["-s", "100,100"], "mem.available.user <= 5%", "mem.available.user <= 10%"),
        (
            ["-M", "409600"],
            "mem.available.user <= 200MiB and swap.free <= 5%",
            "mem.available.user <= 400MiB and swap.free <= 10%",
        ),
        (
            ["-m", "4", "-M", "409600,1001", "-s", "100,100"],
            "mem.available.user <= 2% and mem.available.user <= 1001KiB",
            "mem.available.user <= 4% and mem.available.user <= 400MiB",
        ),
        (
            ["-S", "1000.5", "-s", "20"],
            "mem.available.user <= 5% and swap.free <= 10% and swap.free <= 512256B",
            "mem.available.user <= 10% and swap.free <= 20% and swap.free <= 1024512B",
        ),
        (
            ["-m", "5,0"],
            "mem.available.user <= 0% and swap.free <= 5%",
            "mem.available.user <= 5% and swap.free <= 10%",
        ),
    ],
)
def test_limits_are_conditions(arguments: list[str], kill: str, term: str) -> None:
    found = policy(*arguments)
    assert [(rule.name, rule.when_text) for rule in found.rules] == [("kill", kill), ("term", term)]


@cases(400)
def test_the_text_of_a_condition_compiles_to_the_condition(random: Random) -> None:
    arguments = []
    if random.random() < 0.7:
        arguments += ["-m", f"{random.uniform(0.001, 99):.{random.randint(0, 12)}f}1"[:14]]
        if float(arguments[-1]) > 99:
            arguments[-1] = "98.5"
    if random.random() < 0.7:
        arguments += ["-s", f"{random.uniform(0.01, 99.9):.{random.randint(2, 12)}f}"]
    if random.random() < 0.5:
        arguments += ["-M", f"{random.uniform(1, 2e7):.{random.randint(0, 3)}f}"]
    if random.random() < 0.5:
        arguments += ["-S", f"{random.uniform(1, 2e6):.{random.randint(0, 3)}f}"]
    for found in policy(*arguments).rules:
        text = f'[[rule]]\nname = "x"\nwhen = "{found.when_text}"\n'
        assert compiled(text, "p.toml").rules[0].when == found.when, found.when_text


@pytest.mark.parametrize(
    ("arguments", "kill", "term"),
    [
        ([], ["kill"], ["term 10", "kill"]),
        (["-P", "/bin/true"], ["run 0.2 /bin/true", "kill"], ["run 0.2 /bin/true", "term 10", "kill"]),
        (["-P", "true"], ["kill"], ["term 10", "kill"]),
        (["--kernel-oom"], ["oom"], ["oom"]),
    ],
)
def test_steps(arguments: list[str], kill: list[str], term: list[str]) -> None:
    found = [
        [" ".join([step.kind, *[f"{step.seconds:g}"] * bool(step.seconds), *step.command]) for step in rule.steps]
        for rule in policy(*arguments).rules
    ]
    assert found == [kill, term]


def test_nobody_is_protected_but_whom_the_options_name() -> None:
    found = policy("--ignore", "^sshd$", "--ignore-root-user")
    assert [selector.written for selector in found.spare] == [r"name~^sshd\Z", "user:0"]
    assert (found.avoid, found.supervisors, found.prefer) == ((), (), ())
    assert policy().spare == ()


def test_prefer_and_avoid_are_points_and_with_rss_bytes() -> None:
    names = ("--prefer", "^a", "--avoid", "b")
    assert [(p.value, p.selector.written) for p in policy(*names).points] == [(300, "name~^a"), (-300, "name~b")]
    assert [p.value for p in policy(*names, "--sort-by-rss").points] == [3 * GIB, -3 * GIB]


@pytest.mark.parametrize(
    ("arguments", "unit", "rank"),
    [
        ([], "process", "badness"),
        (["-g"], "group", "badness"),
        (["--sort-by-rss"], "process", "rss"),
        (["-g", "--sort-by-rss"], "group", "rss"),
    ],
)
def test_who_is_taken(arguments: list[str], unit: str, rank: str) -> None:
    assert {(rule.unit, rule.rank) for rule in policy(*arguments).rules} == {(unit, rank)}


def test_hooks_reports_and_announcements() -> None:
    found = policy("-N", "/bin/true", "-n", "-r", "3600")
    assert found.hooks == (Hook("signalled", ("/bin/true",)),)
    assert {"signalled", "refused"} <= set(found.notify)
    assert found.report == 3600
    assert (policy().hooks, policy().notify, policy().report, policy().runs) == ((), (), 1.0, False)


def test_each_note_belongs_to_a_rule_or_a_key_or_all() -> None:
    everything = [
        "-m",
        "5",
        "-M",
        "99999",
        "-S",
        "5",
        "-n",
        "-N",
        "/bin/true",
        "-P",
        "/bin/true",
        "-g",
        "--prefer",
        "a",
    ]
    everything += ["--avoid", "b", "--ignore", "c", "--ignore-root-user", "--sort-by-rss"]
    for arguments in ([], everything, ["--kernel-oom"]):
        for swap in (0, SWAP):
            translation = translate(parse(arguments, TOTAL, swap), TOTAL, swap)
            where = {"", "kill", "term", "points", "hook", "notify"}
            assert {of for of, _ in translation.notes} <= where
            assert all(text and "\n" not in text for _, text in translation.notes)
    assert any("SIGKILL" in text for of, text in translate(parse([]), TOTAL, 0).notes if of == "term")


# --- on machines ----------------------------------------------------------------------------------------------------


def machine(available: float, swap_free: int = 0, swap: int = 0) -> Snapshot:
    """So much available of what programs can have, which is all but 4 GiB."""
    user = 20 * GIB
    left = int(available * user)
    return Snapshot(1.0, Memory(TOTAL, left, left, user - left), Swap(swap, swap_free))


@pytest.mark.parametrize(
    ("arguments", "snapshot", "acts"),
    [
        ([], machine(0.11), None),
        ([], machine(0.0999), "term"),
        ([], machine(0.05), "kill"),
        ([], machine(0.01, SWAP, SWAP), None),
        ([], machine(0.01, SWAP // 11, SWAP), "term"),
        ([], machine(0.01, 0, SWAP), "kill"),
        (["-s", "100"], machine(0.09, SWAP, SWAP), "term"),
        (["-s", "100"], machine(0.01, SWAP, SWAP), "term"),
        (["-s", "100,100"], machine(0.01, SWAP, SWAP), "kill"),
        (["-m", "5,0"], machine(0.0001), "term"),
        (["-m", "50,50"], machine(0.5), "kill"),
        (["-M", str(GIB // KIB)], machine(0.051), None),
        (["-M", str(GIB // KIB)], machine(0.049), "term"),
        (["-M", str(GIB // KIB), "-m", "1"], machine(0.049), None),
        (["-S", str(MIB // KIB)], machine(0.05, 2 * MIB, SWAP), None),
        (["-S", str(MIB // KIB)], machine(0.05, MIB, SWAP), "term"),
    ],
)
def test_the_policy_acts_as_earlyoom_does(arguments: list[str], snapshot: Snapshot, acts: str | None) -> None:
    found = policy(*arguments, swap=snapshot.swap.total)
    verdict = Engine(found).step(snapshot)
    assert (found.rules[verdict.act].name if verdict.act is not None else None) == acts


def process(pid: int, name: str, score: int, mib: int, adjustment: int = 0, user: int = 1000) -> Process:
    return Process(pid, 1, name, 1.0, user=user, anon=mib * MIB, oom_score=score, adjustment=adjustment)


CROWD = [
    process(10, "browser", 900, 300, adjustment=300),
    process(11, "compiler", 720, 2000),
    process(12, "shield", 990, 2500, adjustment=-1000),
    process(13, "rooted", 800, 900, user=0),
]


@pytest.mark.parametrize(
    ("arguments", "victim"),
    [
        ([], 10),
        (["--sort-by-rss"], 11),
        (["--avoid", "^brow"], 13),
        (["--ignore", "browser|rooted"], 11),
        (["--ignore", "browser", "--ignore-root-user"], 11),
        (["--prefer", "comp"], 11),
        (["--sort-by-rss", "--avoid", "compiler"], 13),
        (["--sort-by-rss", "--prefer", "browser"], 10),
        (["--avoid", "browser|rooted"], 11),
    ],
)
def test_the_victim_is_whom_the_options_point_at(arguments: list[str], victim: int) -> None:
    found = policy(*arguments)
    choice = choose(found.rules[0], found, machine(0.05), CROWD)
    assert choice.victim and choice.victim.pids == (victim,)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (10, 5, 10, 5)),
        (["-m", "7", "-s", "100"], (7, 3.5, 100, 50)),
        (["-M", str(2 * GIB // KIB)], (10, 5, 10, 5)),
        (["-M", str(GIB // KIB), "-m", "20"], (5, 2.5, 10, 5)),
        (["-S", str(GIB // KIB)], (10, 5, 50, 25)),
    ],
)
def test_the_levels_that_are_told(arguments: list[str], expected: tuple[float, ...]) -> None:
    assert levels(parse(arguments, TOTAL, SWAP), 20 * GIB, SWAP) == pytest.approx(expected)


def test_without_swap_a_size_of_it_always_holds() -> None:
    assert levels(parse(["-S", "5"], TOTAL, 0), 20 * GIB, 0)[2:] == (100, 100)
