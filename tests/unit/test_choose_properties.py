"""Choices on generated machines: whoever must not be touched is not, and whoever is taken is worth it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from okoomer.policy.choose import Choice, choose
from okoomer.policy.model import Comparison, Policy
from okoomer.policy.select import SUBJECTS
from okoomer.record import replace
from tests.unit import strategies as some
from tests.unit.strategies import GIB, MIB, cases

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from okoomer.facts import Process, Snapshot
    from okoomer.policy.model import Rule, Selector

LOW = Comparison("mem.available", "<", 0.1, share=True)


class Case:
    """A rule on a machine, and whom it chose."""

    def __init__(self, random: Random) -> None:
        self.processes, self.me = some.tree(random, random.randint(1, 14))
        self.by_pid = {process.pid: process for process in self.processes}
        self.aside = frozenset(random.sample(sorted(self.by_pid), random.choice((0, 0, 1, 2))))
        rule = some.rule(random, LOW)
        if rule.unit == "family":
            rule = replace(rule, unit=random.choice(("family", "auto")))
        self.rule = rule if rule.rank == "oom_score" else replace(rule, rank=random.choice(("freed", rule.rank)))
        self.policy = some.policy(random, (self.rule,))
        self.snapshot: Snapshot = some.snapshot(random)
        self.choice = self.choose(self.processes)

    def choose(self, processes: Iterable[Process], rule: Rule | None = None) -> Choice:
        return choose(rule or self.rule, self.policy, self.snapshot, processes, self.me, self.aside)

    @property
    def taken(self) -> tuple[int, ...]:
        return self.choice.victim.pids if self.choice.victim else ()


def named(selectors: Iterable[Selector], process: Process) -> bool:
    """Whether a selector names a process, by the library and not by its program."""
    return any(
        (re.search if one.kind == "cmdline" else re.fullmatch)(one.pattern, str(SUBJECTS[one.kind](process)))
        for one in selectors
    )


def above(pid: int, by_pid: dict[int, Process]) -> set[int]:
    """A pid and all that are above it."""
    found = {pid}
    for _ in by_pid:
        found |= {by_pid[one].parent for one in found if one in by_pid}
    return found


def untouchable(case: Case) -> set[int]:
    spared = (*case.rule.spare, *case.policy.spare)
    return {1, *case.aside, *above(case.me, case.by_pid)} | {
        process.pid
        for process in case.processes
        if process.kernel_thread or process.adjustment == -1000 or named(spared, process)
    }


@cases(25_000)
def test_nobody_who_must_not_be_touched_is_in_a_unit(random: Random) -> None:
    case = Case(random)
    forbidden = untouchable(case)
    for unit in (case.choice.victim, *case.choice.ranking):
        assert unit is None or forbidden.isdisjoint(unit.pids)


@cases(10_000)
def test_a_unit_is_made_of_different_processes_that_are_there(random: Random) -> None:
    case = Case(random)
    for unit in (case.choice.victim, *case.choice.ranking):
        if unit:
            assert len(set(unit.pids)) == len(unit.pids) > 0
            assert set(unit.pids) <= set(case.by_pid)
            assert case.rule.unit != "process" or (unit.kind == "process" and len(unit.pids) == 1)


@cases(10_000)
def test_a_victim_is_worth_its_end_or_there_is_a_refusal(random: Random) -> None:
    case = Case(random)
    victim = case.choice.victim
    assert (victim is None) == bool(case.choice.refusal)
    if victim:
        held = [case.by_pid[pid] for pid in victim.pids]
        private = sum(one.anon + one.swap for one in held)
        assert victim.freed >= case.choice.least
        assert private <= victim.freed <= private + max(one.shmem for one in held)


@cases(10_000)
def test_what_stands_apart_is_a_unit_of_its_own(random: Random) -> None:
    case = Case(random)
    last = (*case.rule.avoid, *case.policy.supervisors)
    for unit in (case.choice.victim, *case.choice.ranking):
        if unit and len(unit.pids) > 1:
            for one in (case.by_pid[pid] for pid in unit.pids):
                assert not named(last, one)
                assert not (one.terminal and one.session == one.pid)


@cases(10_000)
def test_the_order_in_which_processes_are_read_does_not_matter_to_who_is_worth_most(random: Random) -> None:
    case = Case(random)
    shuffled = case.choose(random.sample(case.processes, len(case.processes)))
    first, again = case.choice.victim, shuffled.victim
    assert (first is None) == (again is None)
    assert [one.tier for one in case.choice.ranking] == [one.tier for one in shuffled.ranking]
    assert [one.score for one in case.choice.ranking] == pytest.approx([one.score for one in shuffled.ranking])


@cases(8_000)
def test_nobody_who_comes_last_is_taken_before_one_who_does_not(random: Random) -> None:
    case = Case(random)
    if case.taken:
        best = case.choice.ranking[0]
        assert all(best.tier <= other.tier for other in case.choice.ranking)
        assert case.choice.victim and case.choice.victim.tier <= max(best.tier, 1)


@cases(8_000)
def test_a_crumb_never_beats_a_hog_whatever_is_said_in_its_favour(random: Random) -> None:
    case = Case(random)
    snapshot = replace(case.snapshot, memory=replace(case.snapshot.memory, total=8 * GIB, available=0, shmem=0))
    free = max(case.by_pid) + 1
    plain = {
        "kernel_thread": False,
        "session": 1,
        "terminal": False,
        "shmem": 0,
        "user": 7,
        "command": "",
        "cgroup": "",
    }
    crumb = replace(case.processes[0], pid=free, parent=1, name="crumb", anon=5 * MIB, swap=0, growth=0.0, **plain)
    crumb = replace(crumb, adjustment=random.choice((0, 300, 1000)), oom_score=2000)
    hog = replace(crumb, pid=free + 1, name="hog", anon=5 * GIB, adjustment=0, oom_score=0)
    prefer = random.choice(((), (some.selector("name:crumb"),)))
    rule = replace(case.rule, rank="freed", prefer=prefer, avoid=(), spare=())
    choice = choose(rule, Policy("crumbs", (rule,)), snapshot, (*case.processes, crumb, hog))
    assert choice.victim
    assert crumb.pid not in choice.victim.pids
    assert choice.victim.freed >= 100 * MIB
