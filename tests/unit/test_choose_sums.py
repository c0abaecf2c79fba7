"""Those who fill memory together although each is small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.policy.choose import choose
from okoomer.policy.model import Policy
from okoomer.policy.sums import SUM
from okoomer.policy.whole import WHOLE
from okoomer.record import replace
from tests.unit.strategies import MIB, cases, selector
from tests.unit.test_choose import INIT, chosen, machine, pids, process, rule

if TYPE_CHECKING:
    from random import Random

    from okoomer.facts import Process
    from okoomer.policy.choose import Choice

#: What is missing on the machine of these tests, which has 200 MiB left of 8 GiB.
NEED = int(0.06 * 8192 * MIB) - 200 * MIB


def growers(count: int, cgroups: int, anon: int = 20, growth: float = MIB, **more: object) -> list[Process]:
    """Many of one name, each started by somebody else in one of some cgroups."""
    found = []
    for number in range(count):
        place = 1000 + number % cgroups
        one = process(2000 + number, place, "grower", anon, growth=growth, cgroup=f"/batch/{place}", **more)
        found.append(replace(one, started=float(number)))
    parents = [process(1000 + n, 1, f"runner{n}", 1, growth=0.0, cgroup=f"/batch/{1000 + n}") for n in range(cgroups)]
    return [*parents, *found]


OTHERS = [
    process(10, 1, "postgres", 280, growth=0.0),
    process(11, 1, "python3", 250, growth=0.0),
    process(12, 1, "editor", 200, growth=1000.0),
]


def members(choice: Choice, *processes: Process) -> list[Process]:
    by_pid = {one.pid: one for one in processes}
    return [by_pid[pid] for pid in choice.victim.pids] if choice.victim else []


# --- one decision -----------------------------------------------------------------------------------------------


def test_200_growers_in_50_cgroups_end_in_one_decision_that_is_enough_and_takes_nobody_of_another_name() -> None:
    everyone = [*OTHERS, *growers(200, 50)]
    choice = chosen(*everyone)
    assert choice.victim and choice.victim.kind == SUM and choice.victim == choice.ranking[0]
    assert choice.victim.freed >= choice.need == NEED
    taken = members(choice, *everyone)
    assert {one.name for one in taken} == {"grower"}
    assert choice.victim.name == f"grower and {len(taken) - 1} more"
    assert choice.victim.why.startswith(f"{len(taken)} of 200 named grower, which grow by 200 MiB/s together; ")


def test_those_who_stay_do_not_fill_at_once_what_was_freed() -> None:
    slow, fast = growers(200, 50, growth=0.1 * MIB), growers(200, 50, growth=20.0 * MIB)
    few, all_of_them = members(chosen(*OTHERS, *slow), *slow), members(chosen(*OTHERS, *fast), *fast)
    rest = 0.1 * (200 - len(few)) * 10
    assert sum(one.anon for one in few) >= NEED + rest * MIB > sum(one.anon for one in few[1:])
    assert len(few) < 30 and len(all_of_them) > 180


def test_who_grows_fastest_goes_first_and_then_the_youngest() -> None:
    same = growers(100, 10, growth=0.05 * MIB)
    assert {one.started for one in members(chosen(*OTHERS, *same), *same)} == {float(n) for n in range(83, 100)}
    mixed = [replace(one, growth=MIB if one.pid % 2 else 0.3 * MIB) if one.pid >= 2000 else one for one in same]
    assert all(one.pid % 2 for one in members(chosen(*OTHERS, *mixed), *mixed)[:20])


def test_who_asked_to_be_taken_later_is() -> None:
    mixed = [
        replace(one, adjustment=-500, growth=2 * MIB) if one.pid in (2000, 2001) else one
        for one in growers(100, 10, growth=0.1 * MIB)
    ]
    assert not {2000, 2001} & set(pids(chosen(*OTHERS, *mixed)) or ())


def test_no_more_go_than_have_to() -> None:
    sizes = {2000: 10, 2001: 285, 2002: 30, 2003: 35}
    some = [replace(one, anon=sizes[one.pid] * MIB) for one in growers(4, 4)[4:]]
    # By age three would go: the last of them makes another needless.
    assert pids(chosen(*some)) == (2001, 2003)


def test_one_of_the_same_name_who_does_not_grow_is_not_to_blame() -> None:
    idle = [process(3000 + number, 1, "grower", 30, growth=0.0) for number in range(2)]
    lazy = process(3002, 1000, "grower", 60, growth=0.01 * MIB)
    choice = chosen(*OTHERS, *growers(100, 10), *idle, lazy)
    assert choice.victim and not {3000, 3001, 3002} & set(choice.victim.pids)


# --- one who is enough is better ---------------------------------------------------------------------------------


def test_where_one_is_enough_nothing_changes() -> None:
    hog = process(50, 1, "hog", 400, growth=0.0)
    choice = chosen(*OTHERS, *growers(200, 50), hog)
    assert pids(choice) == (50,)


def test_who_comes_last_comes_after_all_of_them() -> None:
    last = rule(avoid=(selector("name:hog"),))
    choice = chosen(*growers(200, 50), process(50, 1, "hog", 4000, growth=0.0), rule=last)
    assert choice.victim and choice.victim.kind == SUM


def test_they_stay_where_memory_belongs_to_no_process() -> None:
    choice = chosen(*growers(12, 12), snapshot=machine(shmem=7 * 1024 * MIB))
    assert choice.victim is None and "belong to no process" in choice.refusal


def test_many_who_are_not_to_blame_stay_if_one_alone_is_worth_its_end() -> None:
    still = growers(200, 50, growth=0.0)
    assert pids(chosen(*OTHERS, *still)) == (10,)
    assert pids(chosen(*OTHERS, *still, process(60, 1, "slow", 100, growth=MIB))) == (10,)


@pytest.mark.parametrize("unit", ["process", "group"])
def test_where_each_process_is_judged_alone_nothing_is_summed(unit: str) -> None:
    choice = chosen(*growers(200, 100), rule=rule(unit=unit))
    assert choice.victim is None


def test_scores_are_not_summed() -> None:
    choice = chosen(*growers(200, 100), rule=rule(rank="badness"))
    assert choice.victim is None


def test_where_nobody_is_worth_its_end_those_of_one_name_are() -> None:
    unknown = growers(200, 100, growth=0.0)
    choice = chosen(*unknown, *(process(4000 + number, 1, f"x{number}", 30) for number in range(9)))
    taken = members(choice, *unknown)
    assert {one.name for one in taken} == {"grower"} and len(taken) == 15
    assert choice.victim and choice.victim.why.startswith("15 of 200 named grower; ")
    few = chosen(*growers(3, 3, growth=0.0))
    assert few.victim is None and "in vain" in few.refusal


@pytest.mark.parametrize("unit", ["family", "auto"])
def test_as_long_as_of_nobody_is_known_whether_it_grows_the_fewest_of_one_name_go_that_are_enough(unit: str) -> None:
    database = process(60, 1, "postgres", 120, cgroup="/system.slice/postgresql.service")
    many = [
        replace(one, growth=None, cgroup=f"/docker/{one.cgroup.rpartition('/')[2]:0>64}") for one in growers(200, 50)
    ]
    low = machine(int(0.06 * 8192 * MIB) - 455 * MIB)
    choice = chosen(database, *many, rule=rule(unit=unit), snapshot=low)
    taken = members(choice, *many)
    assert choice.victim and choice.victim.kind == SUM and "which grow" not in choice.victim.why
    assert choice.victim.freed >= choice.need > choice.victim.freed - (20 if unit == "family" else 81) * MIB
    assert {one.name for one in taken if one.anon > MIB} == {"grower"}
    # One who is enough, or a growth that is known, or too few of them: as ever.
    enough = replace(database, anon=500 * MIB)
    for everyone in ((enough, *many), (database, *many, process(61, 1, "x", 1, growth=0.0)), (database, *many[:60])):
        assert pids(chosen(*everyone, rule=rule(unit=unit), snapshot=low)) == (60,)


def test_a_sum_that_is_not_enough_goes_where_it_is_the_best_there_is() -> None:
    assert len(pids(chosen(*growers(12, 12))) or ()) == 12  # 240 MiB of the 292 that are missing
    assert len(pids(chosen(process(50, 1, "still", 200, growth=0.0), *growers(12, 12))) or ()) == 12
    assert pids(chosen(process(50, 1, "still", 280, growth=0.0), *growers(12, 12))) == (50,)


# --- what they have in common -----------------------------------------------------------------------------------


def scattered(count: int, **more: object) -> list[Process]:
    """Growers of as many names."""
    return [process(2000 + n, 1, f"step{n}", 20, growth=MIB, **more) for n in range(count)]


def test_those_of_one_slice_are_summed_where_names_differ() -> None:
    build = [replace(one, cgroup=f"/ci.slice/{one.pid}") for one in scattered(50)]
    choice = chosen(*OTHERS, *build)
    assert choice.victim and "in /ci.slice" in choice.victim.why and min(choice.victim.pids) >= 2000
    common = [replace(one, cgroup="/system.slice/x") for one in scattered(50)]
    assert pids(chosen(*OTHERS, *common)) == (10,)


def test_those_of_one_user_are_summed_where_nothing_else_is_common() -> None:
    choice = chosen(*OTHERS, *scattered(50, user=1001), process(60, 1, "idle", 90, user=1001, growth=0.0))
    assert choice.victim and "of user 1001" in choice.victim.why
    assert 60 not in choice.victim.pids and min(choice.victim.pids) >= 2000
    assert pids(chosen(*OTHERS, *scattered(50))) == (10,)  # root's are nobody's


def test_with_unit_auto_whole_containers_are_summed_by_who_has_most_of_each() -> None:
    everyone = list(OTHERS)
    for number in range(50):
        path = f"/docker/{number:064x}"
        everyone.append(process(1000 + number, 1, f"sh{number}", 1, growth=0.0, cgroup=path))
        everyone += [
            process(2000 + 4 * number + n, 1000 + number, "grower", 5, growth=MIB / 4, cgroup=path) for n in range(4)
        ]
    choice = chosen(*everyone, rule=rule(unit="auto"))
    assert choice.victim and choice.victim.kind == SUM and choice.victim.freed >= choice.need
    paths = {one.cgroup for one in members(choice, *everyone)}
    assert set(choice.victim.pids) == {one.pid for one in everyone if one.cgroup in paths}
    assert [one.kind for one in chosen(*everyone[3:8], rule=rule(unit="auto")).ranking] == [WHOLE]


# --- never -------------------------------------------------------------------------------------------------------


@cases(4_000)
def test_a_sum_never_holds_who_is_spared_or_holds_others_and_is_enough_or_the_best(random: Random) -> None:
    names = random.choice((("a", "b", "kept", "tmux", "sshd"), (*"aaaaaaaaa", "kept", "tmux", "sshd")))
    everyone = [INIT, process(2, 1, "okoomer", 9)]
    apart = [process(3 + n, 1, f"runner{n}", 1) for n in range(random.choice((0, 30)))]
    everyone += apart
    growths = random.choice(((None,), (None, 0.0, -1e6, MIB / 2, random.random() * 5 * MIB)))
    for pid in range(100, 100 + random.randint(2, 60)):
        parent = random.choice(apart).pid if apart else random.choice((1, 1, random.choice(everyone).pid))
        one = process(pid, parent, random.choice(names), random.choice((3, 20, 40, random.randrange(1, 200))))
        everyone.append(
            replace(
                one,
                growth=random.choice(growths),
                user=random.choice((0, 1000, 1001)),
                adjustment=random.choice((0, 0, 0, -1000, -500, 300)),
                session=pid if random.random() < 0.1 else 1,
                terminal=random.random() < 0.3,
                cgroup=random.choice(("", "/ci.slice/x", "/system.slice/a.service", "/u/session-1.scope")),
            )
        )
    unit = random.choice(("family", "auto"))
    written = rule(unit=unit, spare=(selector("name:kept"),), avoid=(selector("name:sshd"),))
    policy = Policy("test", (written,), supervisors=(selector("name:tmux"),))
    shuffled = random.sample(everyone, len(everyone))
    choice = choose(written, policy, machine(), everyone, me=2)
    again = choose(written, policy, machine(), shuffled, me=2)
    victim = choice.victim
    if victim is None or victim.kind != SUM:
        return
    assert again.victim and set(again.victim.pids) == set(victim.pids)
    by_pid = {one.pid: one for one in everyone}
    taken = [by_pid[pid] for pid in victim.pids]
    assert len(set(victim.pids)) == len(victim.pids) >= 1 and 2 not in victim.pids and 1 not in victim.pids
    for one in taken:
        assert one.name not in ("kept", "tmux", "sshd") and one.adjustment > -1000
        assert not (one.terminal and one.session == one.pid)
    others = [one for one in choice.ranking[1:] if one.tier != 2]
    assert all(one.freed < choice.need for one in others)
    assert victim.freed >= choice.need or victim.freed >= max((one.freed for one in others), default=0)
    assert victim.freed >= choice.least
