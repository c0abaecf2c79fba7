"""Memory that belongs to no process: whether it is what grows, who is ended for that, and who is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.policy.choose import Choice, choose, sees_sessions
from okoomer.policy.model import Policy, Rule
from okoomer.policy.ownerless import FLOOD_SHARE, TOO_MUCH, VAIN_SECONDS, WRITER_SHARE, floods
from okoomer.record import replace
from tests.unit.strategies import GIB, MIB, cases, selector
from tests.unit.test_choose import INIT, RULE, machine, pids, process, rule, shell
from tests.unit.test_choose_properties import Case, named, untouchable

if TYPE_CHECKING:
    from random import Random

    from okoomer.facts import Process

RATE = 100.0 * MIB
WRITER = process(20, 1, "writer", 1, fills=RATE)
DATABASE = process(30, 1, "postgres", 900, growth=0.0)


def chosen(*processes: Process, rule: Rule = RULE, flood: float = RATE, me: int = 0, ended: bool = False) -> Choice:
    policy = Policy("test", (rule,))
    snapshot = machine(shmem=5 * GIB)
    return choose(rule, policy, snapshot, (INIT, *processes), me, flood=flood, ended=ended)


# --- is it that what grows? -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flood", "growth", "so"),
    [(RATE, 0.0, True), (RATE, RATE, True), (RATE, 1.1 * RATE, False), (0.0, 0.0, False), (1000.0, 0.0, False)],
)
def test_it_floods_if_it_is_half_of_all_growth_and_fast_enough_to_matter(flood: float, growth: float, so: bool) -> None:
    assert FLOOD_SHARE == 0.5
    assert floods(flood, [replace(DATABASE, growth=growth), process(31, 1, "shrinks", 10, growth=-RATE)], MIB) is so


# --- the writer -------------------------------------------------------------------------------------------------


def test_the_writer_is_ended_although_it_is_tiny_and_that_is_said() -> None:
    choice = chosen(WRITER, DATABASE)
    assert pids(choice) == (20,) and choice.writes
    assert choice.victim and choice.victim == choice.ranking[0]
    assert choice.victim.why == (
        "writes 100 MiB/s into memory that belongs to no process, 100% of its growth; "
        "ending it frees only 1 MiB but stops the growth"
    )
    assert [one.pids for one in choice.ranking] == [(20,), (30,)]


def test_without_a_flood_what_is_written_does_not_matter() -> None:
    choice = chosen(WRITER, DATABASE, flood=0.0)
    assert pids(choice) == (30,) and not choice.writes
    assert choice == chosen(replace(WRITER, fills=0.0), DATABASE, flood=0.0)


def test_a_hog_that_grows_faster_than_the_flood_goes_first() -> None:
    assert pids(chosen(WRITER, process(40, 1, "hog", 3000, growth=2 * RATE))) == (40,)


@pytest.mark.parametrize(("share", "taken"), [(WRITER_SHARE, True), (WRITER_SHARE - 0.01, False)])
def test_a_writer_accounts_for_half_of_the_growth_at_least(share: float, taken: bool) -> None:
    assert chosen(replace(WRITER, fills=share * RATE)).writes is taken


def test_of_two_writers_the_greater_is_ended() -> None:
    assert pids(chosen(replace(WRITER, fills=0.4 * RATE), process(21, 1, "more", 1, fills=0.6 * RATE))) == (21,)


@pytest.mark.parametrize(("other", "clear"), [(0.5, True), (0.6, False), (3.0, False)])
def test_where_more_is_written_than_memory_grows_by_it_is_not_clear_whose_it_is(other: float, clear: bool) -> None:
    assert TOO_MUCH == 1.5
    choice = chosen(WRITER, process(21, 1, "other", 1, fills=other * RATE), DATABASE)
    assert choice.writes is clear
    if not clear:
        assert choice.victim is None and choice.refusal.endswith("who writes it is not clear")


def test_a_child_that_writes_is_ended_without_the_one_who_called_it() -> None:
    script, sibling = process(20, 1, "backup.sh", 10), process(22, 20, "worker", 500)
    assert pids(chosen(script, process(21, 20, "cp", 1, fills=RATE), sibling)) == (21,)


def test_many_like_writers_are_ended_together() -> None:
    workers = [process(pid, 20, "unpack", 1, fills=RATE / 10) for pid in range(21, 31)]
    assert pids(chosen(process(20, 1, "job", 2), *workers)) == tuple(range(20, 31))
    siblings = [process(pid, 1, "unpack", 1, fills=RATE / 10) for pid in range(21, 31)]
    assert pids(chosen(*siblings)) == tuple(range(21, 31))


def test_by_processes_one_writer_is_ended_alone() -> None:
    family = process(20, 1, "job", 2, fills=0.4 * RATE), process(21, 20, "cp", 1, fills=0.6 * RATE)
    assert pids(chosen(*family, rule=rule(unit="process"))) == (21,)


# --- who is not ended for it ------------------------------------------------------------------------------------

PROTECTED = {
    "spared by name:writer": (WRITER, rule(spare=(selector("name:writer"),)), 0),
    "oom_score_adj -1000": (replace(WRITER, adjustment=-1000), RULE, 0),
    "a kernel thread": (replace(WRITER, kernel_thread=True), RULE, 0),
    "okoomer itself": (WRITER, RULE, 20),
    "name:writer": (WRITER, rule(avoid=(selector("name:writer"),)), 0),
    "a shell with a terminal": (replace(shell(20, 1, "writer"), fills=RATE), RULE, 0),
}


@pytest.mark.parametrize("because", PROTECTED)
def test_a_protected_writer_is_not_ended_and_nobody_is_in_its_place(because: str) -> None:
    writer, where, me = PROTECTED[because]
    innocent = process(21, 1, "pipe", 1, fills=0.3 * RATE)
    choice = chosen(writer, innocent, DATABASE, rule=where, me=me)
    assert choice.victim is None
    assert choice.refusal == (
        "memory that belongs to no process (tmpfs) grows by 100 MiB/s, into all that is freed; "
        f"writer writes it and is not to be ended for that ({because})"
    )


# --- in vain ----------------------------------------------------------------------------------------------------


def test_while_it_grows_nobody_is_ended_who_would_win_but_a_moment() -> None:
    for size in (100, 2900):
        choice = chosen(process(30, 1, "postgres", size))
        assert choice.victim is None and not choice.writes
        assert "grows by 100 MiB/s" in choice.refusal
    assert VAIN_SECONDS * RATE == 3000 * MIB
    assert pids(chosen(process(30, 1, "java", 3100))) == (30,)


def test_if_it_does_not_grow_an_end_that_is_enough_is_not_in_vain() -> None:
    assert pids(chosen(DATABASE, flood=0.0)) == (30,)


def test_after_the_end_of_a_writer_nobody_is_ended_for_what_it_left() -> None:
    choice = chosen(DATABASE, flood=0.0, ended=True)
    assert choice.victim is None
    assert choice.refusal == (
        "5.0 GiB belong to no process (tmpfs, shared or kernel memory) and ending one cannot free them; "
        "whoever wrote them has been ended"
    )
    assert pids(chosen(DATABASE, replace(WRITER, pid=21), ended=True)) == (21,)


# --- any machine ------------------------------------------------------------------------------------------------


@cases(10_000)
def test_whoever_is_ended_for_writing_may_be_and_did_most_of_it(random: Random) -> None:
    case = Case(random)
    flood = random.choice((0.0, 1e8, 1e10))
    processes = [replace(one, fills=random.choice((0.0, 0.0, random.random() * flood))) for one in case.processes]
    choice = choose(case.rule, case.policy, case.snapshot, processes, case.me, case.aside, flood=flood)
    assert (choice.victim is None) == bool(choice.refusal)
    if choice.writes:
        assert choice.victim
        ended = [one for one in processes if one.pid in choice.victim.pids]
        assert untouchable(case).isdisjoint(choice.victim.pids)
        last = (*case.rule.avoid, *case.policy.supervisors)
        shells = sees_sessions(case.rule, case.policy)
        assert not any(named(last, one) or (shells and one.terminal and one.session == one.pid) for one in ended)
        assert sum(one.fills for one in ended) >= 0.5 * flood
        assert sum(one.fills for one in processes) <= 1.5 * flood


@cases(5_000)
def test_one_who_writes_all_of_a_flood_is_ended_alone_on_any_machine(random: Random) -> None:
    case = Case(random)
    free = max(case.by_pid) + 1
    writer = process(free, 1, "lone writer", 1, fills=1e12)
    rule = replace(case.rule, spare=())
    choice = choose(rule, Policy("any", (rule,)), case.snapshot, (*case.processes, writer), case.me, flood=1e12)
    assert choice.writes and pids(choice) == (free,)
