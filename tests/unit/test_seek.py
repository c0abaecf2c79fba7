"""Whom a rule takes on a recorded machine, where applications, services and containers end as one."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from okoomer.facts import Cgroup, Memory, Snapshot
from okoomer.guard.cgroups import Cgroups
from okoomer.guard.scan import look, scan, with_all
from okoomer.guard.seek import TOLD_PIDS, Seeker, ranked, targets_of
from okoomer.guard.sense import Sense
from okoomer.kernel.machine import Machine, recorded
from okoomer.policy.choose import Choice, needs_of
from okoomer.policy.model import Amount, Comparison, Policy, Rule
from okoomer.policy.scope import scope_of
from okoomer.policy.sums import SUM
from okoomer.policy.whole import WHOLE
from okoomer.record import replace
from okoomer.units import KIB
from tests.unit.machines import GIB, MIB, App, build, write
from tests.unit.strategies import selector
from tests.unit.trees import Group, place, tree

RULE = Rule("low", Comparison("mem.available", "<", 0.05, share=True), "mem.available < 5%", unit="auto")
SERVICE = "/system.slice/db.service"
APP = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-web-1.scope"
CONTAINER = f"/system.slice/docker-{'0a' * 32}.scope"
SESSION = "/user.slice/user-1000.slice/session-2.scope"
#: Two that matter and one that is too small for a scan.
PARTS = (
    App(10, b"main", anon=300 * MIB, started=10.0),
    App(11, b"worker", 10, anon=200 * MIB, started=11.0),
    App(12, b"log", anon=100 * KIB, file=0, started=12.0),
)


class Seen:
    """A recorded machine, short of memory, and a seeker on it."""

    def __init__(self, folder: Path, rule: Rule = RULE, **policy: Any) -> None:
        self.machine: Machine = recorded(str(folder))
        self.rule = rule
        self.policy = Policy("test", (rule,), **policy)
        self.cgroups = Cgroups(self.machine)
        self.seeker = Seeker(self.policy, self.machine.proc, self.cgroups, 0, None)
        self.snapshot = Sense(self.machine, now=lambda: 100.0).snapshot()
        wants = needs_of(self.policy, rule)
        self.found = scan(self.machine.proc, 100.0, 0, wants, tags=self.cgroups.tags)

    def choice(self, **named: Any) -> Choice:
        return self.seeker.choice(self.rule, None, self.snapshot, self.found, **named)

    def members(self, choice: Choice) -> list[int]:
        assert choice.victim
        found = self.seeker.members(self.rule, choice.victim, None, self.found, frozenset())
        return [process.pid for process in found]


def seen(folder: Path, path: str, *apps: App, rule: Rule = RULE, others: tuple[App, ...] = (), **more: Any) -> Seen:
    marks = more.pop("marks", None)
    tree(folder, 100.0, {path: Group(600, apps=apps)}, available=100 * MIB, apps=others, marks=marks)
    return Seen(folder, rule, **more)


# --- all that is in a cgroup ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [SERVICE, APP, CONTAINER])
def test_where_all_processes_of_one_are_taken_its_cgroup_ends(tmp_path: Path, path: str) -> None:
    at = seen(tmp_path, path, *PARTS)
    assert {process.pid for process in at.found.processes}.isdisjoint({12}), "too small to matter"
    choice = at.choice()
    victim = choice.victim
    assert victim and (victim.kind, victim.cgroup, set(victim.pids)) == ("cgroup", path, {10, 11, 12})
    assert at.cgroups.exists(path, victim.inode)
    assert at.members(choice) == [10, 11, 12]


def test_what_lies_deeper_belongs_to_it(tmp_path: Path) -> None:
    below = {f"{CONTAINER}/init": Group(9, apps=PARTS[2:]), f"{CONTAINER}/x/y": Group(500, apps=PARTS[:2])}
    tree(tmp_path, 100.0, below, available=100 * MIB)
    victim = Seen(tmp_path).choice().victim
    assert victim and (victim.cgroup, set(victim.pids)) == (CONTAINER, {10, 11, 12})


def test_one_that_would_not_die_is_passed_over_whole(tmp_path: Path) -> None:
    at = seen(tmp_path, SERVICE, *PARTS, others=(App(20, b"next", anon=90 * MIB),))
    victim = at.choice().victim
    assert victim and victim.inode
    then = at.choice(aside_groups=frozenset({victim.inode})).victim
    assert then and (then.kind, then.pids) == ("process", (20,))
    assert at.choice(aside_groups=frozenset({victim.inode + 1})).victim == victim


# --- what is not all of it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keeper", "policy"),
    [
        (App(12, b"zsh", 9, anon=100 * KIB, file=0, session=12, terminal=34817), {}),
        (App(12, b"kept", anon=100 * KIB, file=0), {"spare": (selector("name:kept"),)}),
        (App(12, b"kept", anon=100 * KIB, file=0), {"avoid": (selector("name:kept"),)}),
        (App(12, b"never", anon=100 * KIB, file=0, adjustment=-1000), {}),
    ],
)
def test_with_a_small_one_that_must_stay_in_it_families_are_taken(
    tmp_path: Path, keeper: App, policy: dict[str, Any]
) -> None:
    victim = seen(tmp_path, SERVICE, *PARTS[:2], keeper, **policy).choice().victim
    assert victim and (victim.cgroup, 12 in victim.pids) == ("", False)
    assert victim.pids in ((10, 11), (10,))


def test_a_small_one_is_known_by_the_tag_on_its_cgroup(tmp_path: Path) -> None:
    small, tagged = place(PARTS[2], f"{SERVICE}/b"), {f"{SERVICE}/b": {"user.keep": ""}}
    tree(
        tmp_path,
        100.0,
        {f"{SERVICE}/a": Group(500, apps=PARTS[:2]), f"{SERVICE}/b": Group(1, apps=(small,))},
        available=100 * MIB,
        marks=tagged,
    )
    victim = Seen(tmp_path, spare=(selector("tag:user.keep"),)).choice().victim
    assert victim and (victim.cgroup, 12 in victim.pids) == ("", False)


def test_a_part_that_is_enough_stays_a_part(tmp_path: Path) -> None:
    browser = (
        App(10, b"chrome", anon=900 * MIB, started=10.0),
        App(11, b"tab", 10, anon=500 * MIB, adjustment=300, started=11.0),
        App(12, b"gpu", 10, anon=100 * KIB, file=0, started=12.0),
    )
    at = seen(tmp_path, APP, *browser)
    choice = at.choice()
    assert choice.victim and (choice.victim.kind, choice.victim.pids) == ("process", (11,))
    assert choice.victim.cgroup == "" and at.members(choice) == [11]


def test_nothing_in_a_session_ends_as_its_cgroup(tmp_path: Path) -> None:
    victim = seen(tmp_path, SESSION, *PARTS[:2]).choice().victim
    assert victim and victim.cgroup == "" and set(victim.pids) <= {10, 11}


def test_without_a_unified_hierarchy_its_processes_end_one_by_one(tmp_path: Path) -> None:
    build(tmp_path, 100.0, available=100 * MIB, apps=[place(app, SERVICE) for app in PARTS])
    rmtree(tmp_path / "sys/fs/cgroup")
    at = Seen(tmp_path)
    choice = at.choice()
    assert choice.victim and (choice.victim.kind, choice.victim.cgroup) == (WHOLE, "")
    assert set(choice.victim.pids) == {10, 11, 12}
    assert at.members(choice) == [10, 11, 12]


def test_a_rule_by_families_never_ends_a_cgroup(tmp_path: Path) -> None:
    victim = seen(tmp_path, SERVICE, *PARTS, rule=replace(RULE, unit="family")).choice().victim
    assert victim and victim.cgroup == "" and 12 not in victim.pids


def test_it_seeks_where_the_rule_says_only(tmp_path: Path) -> None:
    made = {SERVICE: Group(500, apps=PARTS), "/w/x.service": Group(90, apps=(App(20, b"x", anon=90 * MIB),))}
    tree(tmp_path, 100.0, made, available=100 * MIB)
    rule = replace(RULE, among=scope_of("w"), least=Amount(MIB))
    victim = Seen(tmp_path, rule).choice().victim
    assert victim and (victim.kind, victim.cgroup, victim.pids) == ("cgroup", "/w/x.service", (20,))


# --- members --------------------------------------------------------------------------------------------------------


def test_a_family_has_also_those_who_were_too_small_and_those_of_a_sum_nobody_besides(tmp_path: Path) -> None:
    child = App(13, b"small", 10, anon=100 * KIB, file=0, started=13.0)
    at = seen(tmp_path, SESSION, *PARTS[:2], child, rule=replace(RULE, unit="family"))
    choice = at.choice()
    victim = choice.victim
    assert victim and 13 not in victim.pids
    family = replace(victim, kind="family", pids=(10, 11))
    assert at.members(replace(choice, victim=family)) == [10, 11]
    write(tmp_path / "proc/10/task/10/children", b"11 13 ")
    assert at.members(replace(choice, victim=family)) == [10, 11, 13]
    assert at.members(replace(choice, victim=replace(family, kind=SUM))) == [10, 11]


def test_who_has_ended_meanwhile_is_no_member(tmp_path: Path) -> None:
    at = seen(tmp_path, SERVICE, *PARTS)
    choice = at.choice()
    assert choice.victim
    at.found = replace(at.found, processes=())
    (tmp_path / "proc/10/stat").unlink()
    assert at.members(choice) == [11, 12]
    for pid in (11, 12):
        (tmp_path / f"proc/{pid}/stat").unlink()
    assert at.members(choice) == []


# --- small things ---------------------------------------------------------------------------------------------------


def test_those_who_are_added_to_a_scan_come_with_their_ancestors(tmp_path: Path) -> None:
    chain = (App(20, b"a", anon=MIB), App(21, b"b", 20, anon=MIB), App(22, b"c", 21, anon=MIB))
    build(tmp_path, apps=chain)
    found = with_all(f"{tmp_path}/proc", [22, 99], frozenset(), ())
    assert {process.pid: process.anon for process in found} == {22: MIB, 21: 0, 20: 0, 1: 0}
    known = look(f"{tmp_path}/proc", 22, frozenset())
    assert known
    kept = replace(known, growth=7.0)
    assert with_all(f"{tmp_path}/proc", [22], frozenset(), (kept,)) == (kept,)


def test_a_rule_is_about_the_cgroups_of_its_scope_or_the_machine() -> None:
    found = (Cgroup("/a/b"), Cgroup("/a/c"))
    snapshot = Snapshot(0.0, Memory(GIB, 0, 0), scoped=(("a/*", found), ("b/*", found[:1])))
    assert targets_of(RULE, snapshot) == (None,)
    assert targets_of(replace(RULE, scope=scope_of("a/*")), snapshot) == found
    assert targets_of(replace(RULE, scope=scope_of("c/*")), snapshot) == ()


def test_a_ranking_is_told_with_few_pids(tmp_path: Path) -> None:
    many = tuple(App(100 + n, b"w", anon=10 * MIB) for n in range(3 * TOLD_PIDS))
    choice = seen(tmp_path, SERVICE, *many).choice()
    assert choice.victim and len(choice.victim.pids) == len(many)
    assert max(len(one.pids) for one in ranked(choice)) <= TOLD_PIDS
