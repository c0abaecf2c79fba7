"""Whom a rule ends, on machines drawn by hand."""

from __future__ import annotations

from time import process_time

import pytest

from okoomer.facts import Arc, Memory, Process, Snapshot
from okoomer.policy.choose import PARTS, Choice, choose, least_of, need_of
from okoomer.policy.model import Amount, And, Comparison, Held, Not, Or, Points, Policy, Rule
from okoomer.policy.scale import LAST
from okoomer.record import replace
from tests.unit.strategies import GIB, MIB, selector

TOTAL = 8 * GIB
LOW = Comparison("mem.available", "<", 0.05, share=True)
RULE = Rule("low", LOW, "mem.available < 5%")
INIT = Process(1, 0, "init", 0.0, anon=10 * MIB)


def machine(available: int = 200 * MIB, **more: int) -> Snapshot:
    return Snapshot(0.0, Memory(TOTAL, 0, available, **more))


def process(pid: int, parent: int, name: str, anon: int = 0, **more: object) -> Process:
    return replace(Process(pid, parent, name, float(pid), anon=anon * MIB), **more)


def shell(pid: int, parent: int, name: str = "bash", anon: int = 5) -> Process:
    """What a person types into: it leads a session that has a terminal."""
    return process(pid, parent, name, anon, session=pid, terminal=True)


def chosen(
    *processes: Process,
    rule: Rule = RULE,
    supervisors: tuple[str, ...] = (),
    snapshot: Snapshot | None = None,
    me: int = 0,
) -> Choice:
    policy = Policy("test", (rule,), supervisors=tuple(map(selector, supervisors)))
    return choose(rule, policy, snapshot or machine(), (INIT, *processes), me)


def pids(choice: Choice) -> tuple[int, ...] | None:
    return choice.victim and tuple(sorted(choice.victim.pids))


def rule(**more: object) -> Rule:
    return replace(RULE, **more)


# --- how much ---------------------------------------------------------------------------------------------------


def low(share: float) -> Comparison:
    return replace(LOW, threshold=share)


@pytest.mark.parametrize(
    ("when", "level"),
    [
        (low(0.05), 0.05),
        (Held(low(0.05), 1.0), 0.05),
        (And((low(0.05), low(0.10))), 0.05),
        (Or((low(0.05), low(0.10))), 0.10),
        (And((low(0.05), Comparison("psi.memory.full", ">", 0.2, over=2.0))), 0.05),
        (Comparison("mem.available", "<=", 0.05 * TOTAL), 0.05),
    ],
)
def test_the_need_reaches_up_to_the_level_and_a_hundredth_of_memory_more(when: And, level: float) -> None:
    assert need_of(rule(when=when), machine(0)) == pytest.approx((level + 0.01) * TOTAL, abs=2)


@pytest.mark.parametrize(
    "when", [Comparison("swap.free", "<", 1.0), Comparison("mem.available", ">", 0.5, share=True), Not(LOW)]
)
def test_the_need_without_a_level_reaches_up_to_a_tenth_of_memory(when: Comparison) -> None:
    assert need_of(rule(when=when), machine(0)) == pytest.approx(TOTAL / 10, abs=1)


def test_the_need_is_what_is_missing_and_a_hundredth_of_memory_at_the_least() -> None:
    assert need_of(RULE, machine(200 * MIB)) == pytest.approx(0.06 * TOTAL - 200 * MIB, abs=1)
    assert need_of(RULE, machine(4 * GIB)) == TOTAL // 100
    assert need_of(RULE, replace(machine(0), arc=Arc(4 * GIB, GIB))) == TOTAL // 100


def test_a_target_says_how_far_the_need_reaches() -> None:
    assert need_of(rule(target=Amount(0.5, share=True)), machine(0)) == TOTAL // 2
    assert need_of(rule(target=Amount(GIB)), machine(MIB)) == GIB - MIB


def test_the_least_is_a_hundredth_of_memory_within_bounds_unless_it_is_written() -> None:
    assert [least_of(RULE, total) // MIB for total in (100 * MIB, 2000 * MIB, 64 * GIB)] == [4, 20, 64]
    assert least_of(rule(least=Amount(0.5, share=True)), GIB) == GIB // 2
    assert least_of(rule(least=Amount(1.0)), GIB) == 1


# --- the tool, not the one who called it ------------------------------------------------------------------------


def test_a_child_that_has_most_of_a_family_is_taken_alone() -> None:
    tool = chosen(process(10, 1, "build", 100), process(11, 10, "cc1plus", 3000), process(12, 10, "cc1plus", 50))
    assert pids(tool) == (11,)


def test_the_whole_family_is_taken_where_no_child_is_enough() -> None:
    family = [process(10, 1, "build", 100), *(process(pid, 10, f"cc{pid}", 250) for pid in range(11, 15))]
    assert pids(chosen(*family)) == (10, 11, 12, 13, 14)


def test_a_great_child_that_does_not_grow_is_not_to_blame_for_one_that_does() -> None:
    still, grower = process(11, 10, "cache", 2000, growth=0.0), process(12, 10, "leak", 1500, growth=1e9)
    assert pids(chosen(process(10, 1, "app", 10), still, grower)) == (10, 11, 12)


def test_twenty_small_growers_of_one_parent_are_one_family_and_to_blame_beside_a_static_database() -> None:
    workers = [process(pid, 10, "worker", 100, growth=20e6) for pid in range(20, 40)]
    database = process(50, 1, "mysqld", 4000, growth=0.0)
    choice = chosen(process(10, 1, "job", 10, growth=0.0), *workers, database)
    assert pids(choice) == (10, *range(20, 40))
    assert choice.victim and choice.victim.culprit


def test_growers_below_a_supervisor_are_a_group_without_it() -> None:
    runner = process(10, 1, "gitlab-runner", 50)
    workers = [process(pid, 10, "test", 100, growth=20e6) for pid in range(20, 40)]
    choice = chosen(runner, *workers, process(50, 1, "mysqld", 4000), supervisors=("name:gitlab-runner",))
    assert pids(choice) == tuple(range(20, 40))


def test_two_children_of_a_supervisor_that_share_a_name_are_two() -> None:
    twins = [process(pid, 10, "test", 500) for pid in (20, 21)]
    assert len(pids(chosen(process(10, 1, "runner"), *twins, supervisors=("name:runner",))) or ()) == 1


def test_a_child_that_has_nearly_all_of_a_family_is_taken_alone_if_it_is_worth_it() -> None:
    assert pids(chosen(process(10, 1, "caller", 8), process(11, 10, "tool", 90))) == (11,)
    assert pids(chosen(process(10, 1, "caller", 6), process(11, 10, "tool", 62))) == (10, 11)


def test_a_part_that_is_enough_but_not_worth_its_end_is_not_taken_alone() -> None:
    little = replace(machine(), memory=Memory(256 * MIB, 0, 100 * MIB))  # needs 2.56 MiB; less than 4 is in vain
    choice = chosen(process(10, 1, "caller", 2), process(11, 10, "tool", 3), snapshot=little, me=1)
    assert pids(choice) == (10, 11)


# --- who is never one unit --------------------------------------------------------------------------------------


def test_a_shell_with_a_terminal_is_not_ended_with_its_job() -> None:
    choice = chosen(shell(10, 1), process(11, 10, "make", 10), process(12, 11, "ld", 200), process(13, 11, "ld", 200))
    assert pids(choice) == (11, 12, 13)


def test_a_multiplexer_is_not_ended_with_what_runs_in_it() -> None:
    tmux = process(10, 1, "tmux: server", 300)
    choice = chosen(tmux, shell(11, 10), shell(12, 10), process(13, 11, "hog", 900), supervisors=("name:tmux.*",))
    assert pids(choice) == (13,)


def test_many_shells_of_one_terminal_are_not_a_group() -> None:
    shells = [shell(pid, 10, anon=90) for pid in range(20, 30)]
    choice = chosen(process(10, 1, "xterm", 50), *shells, process(50, 1, "hog", 600), supervisors=("name:xterm",))
    assert pids(choice) == (50,)
    assert all(len(one.pids) == 1 for one in choice.ranking)


def test_many_of_those_that_come_last_do_not_come_earlier_as_a_group() -> None:
    last = rule(avoid=(selector("name:postgres"),))
    postgres = [process(10, 1, "postgres", 100), *(process(pid, 10, "postgres", 400) for pid in range(11, 16))]
    choice = chosen(*postgres, process(50, 1, "java", 500), rule=last)
    assert pids(choice) == (50,)
    assert {one.tier for one in choice.ranking if 50 not in one.pids} == {LAST}


def test_those_that_come_last_are_taken_when_nobody_else_is_worth_it() -> None:
    only = rule(avoid=(selector("name:postgres"),))
    assert pids(chosen(process(10, 1, "postgres", 900), process(50, 1, "java", 3), rule=only)) == (10,)


def test_neither_we_nor_anybody_above_us_is_taken() -> None:
    script = process(10, 1, "run.sh", 900)
    assert pids(chosen(script, process(11, 10, "okoomer", 20), me=11)) is None
    assert pids(chosen(script, process(11, 10, "okoomer", 20), me=99)) == (10, 11)
    assert pids(chosen(process(11, 1, "okoomer", 900), me=11)) is None


# --- browsers ---------------------------------------------------------------------------------------------------


def browser(parent: int = 1) -> list[Process]:
    tabs = [(301, 300, 100), (302, 300, 200), (303, 200, 310), (304, 200, 300), (305, 100, 400)]
    return [
        process(300, parent, "chrome", 200),
        *(process(pid, 300, "tab", size, adjustment=adjustment) for pid, adjustment, size in tabs),
    ]


def test_the_most_expendable_tabs_go_first_and_only_until_they_are_enough() -> None:
    assert pids(chosen(*browser())) == (301, 302)  # 300 MiB are needed, and are had
    assert pids(chosen(*browser(), snapshot=machine(0))) == (301, 302, 303)  # 500 MiB


def test_a_tab_that_is_enough_by_itself_goes_alone() -> None:
    assert pids(chosen(process(300, 1, "chrome", 2000), process(301, 300, "tab", 400, adjustment=300))) == (301,)


def test_a_whole_browser_goes_where_its_tabs_are_not_enough() -> None:
    tabs = [process(301, 300, "tab", 100, adjustment=300), process(302, 300, "gpu", 500)]
    assert pids(chosen(process(300, 1, "chrome", 800), *tabs, snapshot=machine(0))) == (300, 301, 302)


# --- what comes back --------------------------------------------------------------------------------------------


def test_memory_that_processes_share_counts_once_and_only_for_those_who_hold_it_alone() -> None:
    pool = {"shmem": 2 * GIB}
    server = process(10, 1, "postmaster", 20, **pool)
    workers = [process(pid, 10, f"backend{pid}", 30, **pool) for pid in range(11, 21)]
    choice = chosen(server, *workers)
    assert choice.victim and choice.victim.freed == (20 + 10 * 30 + 2048) * MIB
    each = chosen(server, *workers, rule=rule(unit="process"))
    assert pids(each) is None
    assert max(one.freed for one in each.ranking) == 30 * MIB


def test_the_kernels_score_does_not_make_a_crumb_beat_a_hog() -> None:
    crumb = process(10, 1, "helper", 5, adjustment=1000, oom_score=1999)
    for unit in ("process", "family"):
        assert pids(chosen(crumb, process(11, 1, "hog", 5120), rule=rule(unit=unit))) == (11,)


def test_whoever_lowered_its_own_score_comes_later_in_that_proportion() -> None:
    careful, hog = process(10, 1, "db", 1000, adjustment=-500), process(11, 1, "hog", 600)
    assert pids(chosen(careful, hog)) == (11,)
    assert pids(chosen(careful, process(11, 1, "hog", 450))) == (10,)


def test_what_is_preferred_goes_first_if_it_is_enough_by_itself() -> None:
    preferring = rule(prefer=(selector("name:tab"),))
    hog = process(11, 1, "hog", 5000)
    assert pids(chosen(process(10, 1, "tab", 100), hog, rule=preferring)) == (11,)
    assert pids(chosen(process(10, 1, "tab", 600), hog, rule=preferring)) == (10,)


def test_each_of_many_preferred_siblings_may_go_first() -> None:
    preferring = rule(prefer=(selector("name:tab"),))
    tabs = [process(20, 10, "tab", 600), process(21, 10, "tab", 10), process(22, 10, "tab", 10)]
    runner = process(10, 1, "runner", 10)
    assert pids(chosen(runner, *tabs, rule=preferring, supervisors=("name:runner",))) == (20,)


# --- nobody -----------------------------------------------------------------------------------------------------


def test_memory_that_no_process_holds_is_no_reason_to_kill() -> None:
    choice = chosen(process(10, 1, "shell", 100), snapshot=machine(shmem=6 * GIB))
    assert choice.victim is None
    assert "belong to no process" in choice.refusal


def test_shared_memory_that_a_process_maps_is_a_reason() -> None:
    holder = process(10, 1, "holder", 100, shmem=6 * GIB)
    assert pids(chosen(holder, snapshot=machine(shmem=6 * GIB))) == (10,)


def test_nobody_is_ended_in_vain() -> None:
    choice = chosen(process(10, 1, "small", 63))
    assert choice.victim is None
    assert "63 MiB" in choice.refusal
    assert pids(chosen(process(10, 1, "small", 82))) == (10,)


def test_a_machine_without_processes_has_nobody() -> None:
    choice = choose(RULE, Policy("test", (RULE,)), machine(), ())
    assert (choice.victim, choice.ranking) == (None, ())
    assert choice.refusal


# --- hostile ----------------------------------------------------------------------------------------------------


def test_processes_that_are_their_own_ancestors_stop_nothing() -> None:
    circle = [
        process(10, 12, "a", 900),
        process(11, 10, "b", 900),
        process(12, 11, "c", 900),
        process(13, 13, "d", 900),
    ]
    assert pids(chosen(*circle, process(50, 1, "hog", 800), me=11)) == (50,)


@pytest.mark.parametrize("size", [0, 3])
def test_a_chain_of_3000_parents_does_not_hide_the_hog_below(size: int) -> None:
    chain = [process(pid, pid - 1, f"link{pid}", size) for pid in range(2, 3002)]
    began = process_time()
    assert pids(chosen(*chain, process(3002, 3001, "hog", 5000))) == (3002,)
    assert process_time() - began < 10


def test_ten_thousand_processes_are_no_trouble() -> None:
    many = [process(pid, max(1, pid // 10), f"p{pid % 50}", 3) for pid in range(2, 10_002)]
    began = process_time()
    choice = chosen(*many, process(20_000, 9_000, "hog", 5000))
    assert pids(choice) == (20_000,)
    assert process_time() - began < 5


def test_the_second_process_of_a_container_is_like_any_other() -> None:
    assert pids(chosen(process(2, 1, "hog", 900))) == (2,)
    assert pids(chosen(process(2, 0, "kthreadd", 900, kernel_thread=True))) is None


# --- scores, and process groups ---------------------------------------------------------------------------------


def scored(pid: int, oom_score: int, anon: int = 300, **more: object) -> Process:
    return process(pid, 1, f"p{pid}", anon, oom_score=oom_score, **more)


def points(value: float, written: str) -> tuple[Points, ...]:
    return (Points(value, selector(written)),)


def test_badness_is_the_kernels_score_and_what_a_policy_adds() -> None:
    great, small = scored(10, 700), scored(11, 680)
    assert pids(chosen(great, small, rule=rule(unit="process", rank="badness"))) == (10,)
    raised = rule(unit="process", rank="badness", points=points(300, "name:p11"))
    assert pids(chosen(great, small, rule=raised)) == (11,)
    assert pids(chosen(great, small, rule=replace(raised, rank="oom_score"))) == (10,)
    lowered = rule(unit="process", rank="badness", points=points(-300, "name:p10"))
    assert pids(chosen(great, small, rule=lowered)) == (11,)


def test_points_of_the_policy_and_of_the_rule_add_up() -> None:
    by_rule = rule(unit="process", rank="badness", points=points(10, "name:p11"))
    policy = Policy("test", (by_rule,), points=points(15, "name:p11"))
    choice = choose(by_rule, policy, machine(), (INIT, scored(10, 700), scored(11, 680)))
    assert choice.victim and (choice.victim.pids, choice.victim.score) == ((11,), 705)


def test_who_has_lowered_its_score_gets_no_points_against_it() -> None:
    modest = scored(11, 600, adjustment=-100)
    against = rule(unit="process", rank="badness", points=points(300, "name:p11"))
    assert pids(chosen(scored(10, 700), modest, rule=against)) == (10,)


def test_equal_scores_are_told_apart_by_what_is_resident() -> None:
    for first, second in ((400, 300), (300, 400)):
        choice = chosen(scored(10, 700, first), scored(11, 700, second), rule=rule(unit="process", rank="oom_score"))
        assert pids(choice) == ((10,) if first > second else (11,))


def test_a_raised_adjustment_can_be_taken_off_the_score() -> None:
    tab, hog = scored(10, 866, adjustment=300), scored(11, 700)
    assert pids(chosen(tab, hog, rule=rule(unit="process", rank="badness"))) == (10,)
    assert pids(chosen(tab, hog, rule=rule(unit="process", rank="badness", raised=False))) == (11,)


def test_nobody_with_less_than_the_least_score_is_taken() -> None:
    choice = chosen(scored(10, 700), rule=rule(unit="process", rank="badness", least_score=701))
    assert choice.victim is None and "a score of 700, less than 701" in choice.refusal


def test_points_in_bytes_add_to_what_is_resident() -> None:
    great, small = process(10, 1, "great", 900), process(11, 1, "small", 300)
    avoided = rule(unit="process", rank="rss", points=points(-3 * GIB, "name:great"))
    assert pids(chosen(great, small, rule=avoided)) == (11,)


def test_the_whole_process_group_of_the_chosen_goes_but_never_ours_or_who_is_spared() -> None:
    grouped = rule(unit="group", rank="oom_score", spare=(selector("name:spared"),))
    members = [
        scored(10, 700, group=10),
        scored(11, 600, group=10),
        process(12, 1, "spared", 50, group=10),
        scored(13, 600, group=13),
    ]
    assert pids(chosen(*members, rule=grouped)) == (10, 11)
    us = process(20, 1, "okoomer", 9, group=10)
    assert pids(chosen(*members, us, rule=grouped, me=20)) == (10,)
    outside = [replace(member, group=0) for member in members]
    assert pids(chosen(*outside, rule=grouped)) == (10,)


@pytest.mark.parametrize("name", PARTS)
def test_who_works_for_us_is_a_part_of_us_and_whatever_else_is_our_child_is_not(name: str) -> None:
    us, part, child = process(20, 1, "okoomer", 9), process(21, 20, name, 900), process(22, 20, "sleep", 300)
    assert pids(chosen(us, part, child, rule=rule(unit="process", rank="rss"), me=20)) == (22,)
    assert pids(chosen(us, replace(part, parent=1), child, rule=rule(unit="process", rank="rss"), me=20)) == (21,)
