"""Rules by user and by application: whoever holds more than his share is taken, the others are left alone."""

from __future__ import annotations

import pytest

from okoomer.facts import Memory, Process, Snapshot
from okoomer.policy.choose import Choice, choose, needs_of
from okoomer.policy.model import Amount, Comparison, Policy, Rule
from okoomer.policy.share import LONGEST, MACHINES, strangers, user_of
from okoomer.record import replace
from tests.unit.strategies import GIB, MIB, selector

TOTAL = 8 * GIB
LOW = Comparison("mem.available", "<", 0.2, share=True)
SHARE = Amount(0.25, share=True)
RULE = Rule("share", LOW, "mem.available < 20%", by="user", share=SHARE)
INIT = Process(1, 0, "systemd", 0.0, anon=10 * MIB)
ALICE, BOB, CAROL = 1001, 1002, 1003
FIREFOX = "/user.slice/user-1001.slice/user@1001.service/app.slice/app-gnome-firefox-4711.scope"
SESSION = "/user.slice/user-1001.slice/session-3.scope"
CONTAINER = f"/system.slice/docker-{'ab' * 32}.scope"


def process(pid: int, user: int, name: str = "job", anon: int = 0, parent: int = 1, **more: object) -> Process:
    return replace(Process(pid, parent, name, float(pid), user=user, anon=anon * MIB), **more)


def chosen(*processes: Process, available: int = 200 * MIB, **more: object) -> Choice:
    rule = replace(RULE, **more)
    snapshot = Snapshot(0.0, Memory(TOTAL, 0, available))
    return choose(rule, Policy("test", (rule,)), snapshot, (INIT, *processes), 0)


def pids(choice: Choice) -> tuple[int, ...] | None:
    return choice.victim and tuple(sorted(choice.victim.pids))


# --- by user ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        # Carol has the largest process, but Alice's many hold more together.
        ([process(10 + n, ALICE, anon=900) for n in range(4)] + [process(20, CAROL, anon=2000)], ALICE),
        # Both hold too much: who is furthest over.
        ([process(10, ALICE, anon=3000), process(20, BOB, anon=2100)], ALICE),
        # What is in swap counts, too.
        ([process(10, ALICE, anon=1900), process(20, BOB, anon=100, swap=2200 * MIB)], BOB),
        # Services are the machine's, whatever they hold.
        ([process(10, ALICE, anon=2100), process(20, 110, "postgres", 5000), process(30, 0, "x", 4000)], ALICE),
        ([process(10, ALICE, anon=2000), process(20, BOB, anon=2000), process(30, 0, "x", 4000)], None),
        ([process(20, 110, "postgres", 5000), process(30, 65534, "x", 4000)], None),
        ([], None),
    ],
)
def test_only_whoever_holds_more_than_his_share_can_be_taken(processes: list[Process], expected: int | None) -> None:
    choice = chosen(*processes)
    by_pid = {one.pid: one for one in processes}
    assert {by_pid[pid].user for pid in pids(choice) or ()} == ({expected} if expected else set())
    assert bool(choice.within) == (expected is None) == bool(choice.refusal)


def test_how_soon_it_is_looked_again_goes_by_how_near_somebody_is() -> None:
    found = [chosen(process(10, ALICE, anon=held)).within for held in (0, 900, 1640, 1844, 2040)]
    assert found == pytest.approx([LONGEST, 2.8, 1.0, 0.5, 0.25], abs=0.05)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(Amount(3 * GIB), None), (Amount(2 * GIB), (10,)), (Amount(0.37, share=True), None), (None, (10,))],
)
def test_a_share_is_of_memory_or_a_size_or_whoever_holds_most(
    share: Amount | None, expected: tuple[int, ...] | None
) -> None:
    choice = chosen(process(10, ALICE, anon=3000), process(20, BOB, anon=400), share=share)
    assert pids(choice) == expected


def test_among_his_processes_the_rank_of_the_rule_decides() -> None:
    mine = process(10, ALICE, anon=2000), process(11, ALICE, anon=300, swap=500 * MIB)
    assert pids(chosen(*mine)) == (10,)
    assert pids(chosen(*mine, rank="swap")) == (11,)


def test_it_is_said_who_holds_how_much() -> None:
    choice = chosen(process(10, ALICE, anon=3174), process(20, BOB, anon=100))
    assert choice.victim and choice.victim.why.startswith("user 1001 holds 3.1 GiB, 1.1 GiB over his share; ")
    assert [one.why.split(";")[0] for one in choice.ranking] == ["user 1001 holds 3.1 GiB, 1.1 GiB over his share"]
    most = chosen(process(10, ALICE, anon=1024), process(20, BOB, anon=100), share=None)
    assert most.victim and most.victim.why.startswith("user 1001 holds 1.0 GiB, the most of all users; ")
    nobody = chosen(process(10, ALICE, anon=1024), process(20, BOB, anon=100))
    assert nobody.refusal == "no user holds more than the share, 2.0 GiB; user 1001 holds most, 1.0 GiB"
    assert chosen(process(20, 110, "postgres", 5000)).refusal == "no user holds more than the share, 2.0 GiB"


def test_whoever_is_a_little_over_does_not_lose_more_than_that() -> None:
    # 1.5 GiB are wanted back, but he has 0.1 GiB too much: one of his jobs is enough, and there is one that is.
    jobs = [process(11, ALICE, "big", 1500, parent=10), process(12, ALICE, "small", 600, parent=10)]
    processes = (process(10, ALICE, "make", 48), *jobs)
    choice = chosen(*processes)
    assert choice.need == 100 * MIB and pids(choice) == (11,)
    assert pids(chosen(*processes, by="", share=None, target=Amount(0.4, share=True))) == (10, 11, 12)


def test_where_nobody_of_the_first_can_be_taken_it_is_the_next() -> None:
    processes = process(10, ALICE, "db", 3000), process(20, BOB, anon=2100), process(30, CAROL, anon=1000)
    assert pids(chosen(*processes, spare=(selector("name:db"),))) == (20,)
    nobody = chosen(*processes, spare=(selector("name:db|job"),))
    assert nobody.victim is None and not nobody.within
    assert nobody.refusal.startswith("user 1001 holds 2.9 GiB, 952 MiB over his share; there is no process")


def test_a_family_of_several_users_is_cut_at_whoever_is_within() -> None:
    cron = process(5, 0, "cron", 1)
    mine = process(10, ALICE, "sh", 5, parent=5), process(11, ALICE, anon=2500, parent=10)
    others = process(20, BOB, anon=1500, parent=5), process(12, BOB, anon=500, parent=11)
    choice = chosen(cron, *mine, *others)
    assert pids(choice) is not None and {10, 11} >= {*(pids(choice) or ())} >= {11}


@pytest.mark.parametrize(
    ("user", "cgroup", "expected"),
    [
        (1001, "", 1001),
        (1001, "/system.slice/cron.service", 1001),
        (0, SESSION, 1001),
        (100999, FIREFOX.replace("app-gnome", "libpod"), 1001),
        (1002, SESSION, 1001),
        (1002, "/user.slice/user-0.slice/session-1.scope", 1002),
        (42, "/user.slice/user-42.slice/session-c1.scope", MACHINES),
        (1002, "/user.slice/user-x.slice", 1002),
        (1002, "/user.slice/user-\u00b2.slice", 1002),
        (1002, "/lxc/a/user.slice/user-1001.slice", 1002),
        (0, "", MACHINES),
        (999, "", MACHINES),
        (61184, "/system.slice/x.service", MACHINES),
        (65534, "", MACHINES),
        (1234500001, "", 1234500001),
    ],
)
def test_whose_a_process_is(user: int, cgroup: str, expected: int) -> None:
    assert user_of(process(10, user, cgroup=cgroup)) == expected


# --- by application ---------------------------------------------------------------------------------------------


def test_an_application_is_one_whatever_is_in_it() -> None:
    tabs = [process(10 + n, ALICE, "Web Content", 500, cgroup=FIREFOX) for n in range(5)]
    job = process(30, ALICE, "job", 1900, cgroup=SESSION)
    choice = chosen(*tabs, job, by="app", unit="auto")
    assert pids(choice) == (10, 11, 12, 13, 14)
    assert choice.victim and choice.victim.why.startswith("firefox holds 2.4 GiB, 452 MiB over its share; ")
    assert pids(chosen(*tabs, job, by="app", unit="process", rank="freed")) == (10,)


def test_a_container_is_one_and_its_init_holds_nothing_but_this_container() -> None:
    inside = process(10, 0, "systemd", 5, cgroup=CONTAINER), process(11, 100, "java", 2600, 10, cgroup=CONTAINER)
    job = process(30, ALICE, "job", 1900)
    choice = chosen(*inside, job, by="app", unit="auto")
    assert pids(choice) == (10, 11)
    assert choice.victim and choice.victim.why.startswith("abababababab holds 2.5 GiB")


def test_in_a_session_each_family_is_one() -> None:
    shell = process(5, ALICE, "bash", 5, cgroup=SESSION, session=5, terminal=True)
    one = process(10, ALICE, "make", 5, 5, cgroup=SESSION), process(11, ALICE, "cc1", 1500, 10, cgroup=SESSION)
    two = process(20, ALICE, "sim", 2500, 5, cgroup=SESSION)
    assert pids(chosen(shell, *one, two, by="app")) == (20,)
    assert chosen(shell, *one, by="app").refusal.startswith("no application holds more than the share, 2.0 GiB; make")


# --- with the rest ----------------------------------------------------------------------------------------------


def test_who_is_born_into_a_unit_is_of_the_same_holder_or_stays() -> None:
    by_user = strangers(RULE, process(10, ALICE))
    assert not by_user(process(11, ALICE)) and by_user(process(12, BOB)) and by_user(process(13, 0))
    assert not by_user(process(14, 0, cgroup=SESSION))
    by_app = strangers(replace(RULE, by="app"), process(10, ALICE, cgroup=FIREFOX))
    assert not by_app(process(11, ALICE, cgroup=f"{FIREFOX}/x")) and by_app(process(12, ALICE, cgroup=SESSION))


def test_users_and_cgroups_are_read_only_where_a_rule_goes_by_them() -> None:
    plain = replace(RULE, unit="process", by="", share=None)
    for rule, expected in ((plain, set()), (replace(plain, by="app"), {"cgroup"}), (RULE, {"cgroup", "user"})):
        assert needs_of(Policy("test", (rule,))) == expected
