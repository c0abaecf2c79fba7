"""Which cgroup a rule takes on a recorded machine, whole or in part, and what is remembered from look to look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from okoomer.facts import Cgroup, Snapshot
from okoomer.guard.among import BETWEEN, PASTS, STALE, Among
from okoomer.guard.cgroups import Cgroups
from okoomer.guard.scan import scan
from okoomer.guard.sense import Sense
from okoomer.kernel.machine import recorded
from okoomer.policy.choose import Choice, needs_of
from okoomer.policy.model import Comparison, Policy, Rule
from okoomer.policy.scope import scope_of
from okoomer.record import replace
from okoomer.units import KIB, MIB
from tests.unit.machines import App
from tests.unit.strategies import selector
from tests.unit.trees import Group, tree

LOW = Comparison("mem.available", "<", 0.05, share=True)
RULE = Rule("low", LOW, "mem.available < 5%", unit="cgroup", rank="rss", among=scope_of("w/*"))
SCANNED = replace(RULE, rank="pgscan")
SESSION = "/w/session-1.scope"
#: A multiplexer, which holds the work of ten together, one of them a hog.
MANY = (
    App(200, b"tmux: server", anon=4 * MIB, started=5.0),
    App(201, b"hog", 200, anon=700 * MIB, started=6.0),
    *(App(210 + n, b"job", 200, anon=30 * MIB, started=7.0) for n in range(9)),
)
ME = 55


class Seen:
    """A recorded machine, short of memory, and who chooses on it.

    Args:
        me: Our own pid there; with one it is as on a live machine.
    """

    def __init__(self, folder: Path, groups: dict[str, Group], me: int = 0, **more: Any) -> None:
        self.folder, self.me = folder, me
        self.policy = Policy("test", (RULE,), supervisors=(selector("name:tmux: server"),))
        self.write(100.0, groups, **more)
        self.cgroups = Cgroups(self.machine)
        self.among = Among(self.machine.proc, self.cgroups, me, None)

    def write(self, clock: float, groups: dict[str, Group], **more: Any) -> None:
        """The machine at another instant."""
        self.clock = clock
        us = [App(self.me, b"okoomer", anon=9 * MIB)] if self.me else []
        tree(self.folder, clock, groups, available=100 * MIB, apps=us, **more)
        self.machine = recorded(str(self.folder))
        if hasattr(self, "cgroups"):
            self.cgroups.turn(self.machine)

    @property
    def snapshot(self) -> Snapshot:
        return Sense(self.machine, now=lambda: self.clock).snapshot()

    def choice(
        self, rule: Rule = RULE, target: Cgroup | None = None, aside: frozenset[int] = frozenset(), **policy: Any
    ) -> Choice:
        policy_of = replace(self.policy, rules=(rule,), **policy)
        found = scan(self.machine.proc, self.clock, 0, needs_of(policy_of, rule), tags=self.cgroups.tags)
        return self.among.choice(rule, policy_of, target, self.snapshot, found, frozenset(), aside)

    def note(self, rule: Rule = SCANNED, target: Cgroup | None = None) -> bool:
        return self.among.note(rule, self.policy, target, self.snapshot)


def taken(choice: Choice) -> tuple[str, str, tuple[int, ...]] | str:
    victim = choice.victim
    return (victim.kind, victim.cgroup, victim.pids) if victim else choice.refusal


def pair(number: int, size: int, **more: Any) -> tuple[App, ...]:
    """Two processes, of which a scan would not look at the second."""
    return (
        App(number, b"big", anon=size * MIB, started=10.0),
        App(number + 1, b"little", anon=100 * KIB, file=0, started=11.0, **more),
    )


# --- whole or in part -----------------------------------------------------------------------------------------------


def test_a_cgroup_ends_with_all_its_processes(tmp_path: Path) -> None:
    at = Seen(tmp_path, {"/w/a": Group(500, apps=pair(10, 500)), "/w/b": Group(90)})
    assert taken(at.choice()) == ("cgroup", "/w/a", (10, 11))


@pytest.mark.parametrize("path", [SESSION, "/w/terminal.scope"])
def test_of_what_is_many_things_the_hog_goes(tmp_path: Path, path: str) -> None:
    at = Seen(tmp_path, {path: Group(974, apps=MANY), "/w/b": Group(90)})
    choice = at.choice()
    assert taken(choice) == ("process", "", (201,))
    assert choice.victim and "would come back" in choice.victim.why
    assert f"{path} comes first (uses 974 MiB" in choice.victim.why
    assert [one.cgroup for one in choice.ranking] == ["", path, "/w/b"]


def test_a_service_in_which_nobody_holds_others_together_is_one_thing(tmp_path: Path) -> None:
    at = Seen(tmp_path, {"/w/x.service": Group(970, apps=MANY[1:]), "/w/b": Group(90)})
    kind, path, pids = taken(at.choice())
    assert (kind, path, len(pids)) == ("cgroup", "/w/x.service", 10)


def test_a_small_one_that_must_stay_keeps_the_whole_from_ending(tmp_path: Path) -> None:
    at = Seen(tmp_path, {"/w/a": Group(500, apps=pair(10, 500, adjustment=-1000)), "/w/b": Group(90)})
    assert taken(at.choice()) == ("process", "", (10,))


def test_where_nobody_in_it_can_be_ended_the_next_goes(tmp_path: Path) -> None:
    stay = (App(10, b"big", anon=500 * MIB, adjustment=-1000, started=10.0),)
    at = Seen(tmp_path, {"/w/a": Group(500, apps=stay), "/w/b": Group(90), "/w/c": Group(70)})
    assert taken(at.choice()) == ("cgroup", "/w/b", (102,))
    refusal = at.choice(replace(RULE, among=scope_of("w/a"))).refusal
    assert refusal == "/w/a: there is no process that may be touched"


@pytest.mark.parametrize("spare", [("name:little",), ("name:nobody",)])
def test_what_ends_as_a_whole_or_not_at_all_is_passed_over_for_one_that_is_spared(
    tmp_path: Path, spare: tuple[str, ...]
) -> None:
    at = Seen(tmp_path, {"/w/a": Group(500, apps=pair(10, 500), whole=True), "/w/b": Group(90)})
    took = taken(at.choice(spare=tuple(map(selector, spare))))
    assert took == (("cgroup", "/w/b", (102,)) if "little" in spare[0] else ("cgroup", "/w/a", (10, 11)))


def test_a_session_that_ends_as_a_whole_does(tmp_path: Path) -> None:
    at = Seen(tmp_path, {SESSION: Group(974, apps=MANY, whole=True)})
    kind, path, pids = taken(at.choice())
    assert (kind, path, len(pids)) == ("cgroup", SESSION, len(MANY))


def test_a_small_one_is_known_by_the_tag_on_its_cgroup(tmp_path: Path) -> None:
    big, little = pair(10, 500)
    made = {"/w/a/x": Group(500, apps=(big,)), "/w/a/y": Group(1, apps=(little,)), "/w/b": Group(90)}
    at = Seen(tmp_path, made, marks={"/w/a/y": {"user.keep": ""}})
    flat = replace(RULE, descend="no")
    assert taken(at.choice(flat)) == ("cgroup", "/w/a", (10, 11))
    assert taken(at.choice(flat, spare=(selector("tag:user.keep"),))) == ("process", "", (10,))


def test_a_place_below_the_rules_own_cgroup_is_sought_from_there(tmp_path: Path) -> None:
    at = Seen(tmp_path, {"/w/a/x/1": Group(500, apps=pair(10, 500)), "/w/b/x/2": Group(900), "/w/a/y/3": Group(900)})
    below = replace(RULE, among=scope_of("./x/*", relative=True))
    assert taken(at.choice(below, Cgroup("/w/a", 1))) == ("cgroup", "/w/a/x/1", (10, 11))


def test_without_a_place_it_is_sought_in_the_rules_own_cgroup(tmp_path: Path) -> None:
    at = Seen(tmp_path, {"/w/a": Group(90), "/w/b": Group(900), "/v/c": Group(990)})
    anywhere = replace(RULE, among=None)
    assert taken(at.choice(anywhere, Cgroup("/w", 1))) == ("cgroup", "/w/b", (102,))
    assert taken(at.choice(anywhere)) == ("cgroup", "/v/c", (103,))


def test_one_that_would_not_die_is_passed_over(tmp_path: Path) -> None:
    at = Seen(tmp_path, {"/w/a": Group(500), "/w/b": Group(90)})
    first = at.choice().victim
    assert first and taken(at.choice(aside=frozenset({first.inode}))) == ("cgroup", "/w/b", (102,))


def test_where_we_are_ourselves_is_left_alone(tmp_path: Path) -> None:
    us = (App(10, b"okoomer", anon=500 * MIB),)
    at = Seen(tmp_path, {"/w/a/us": Group(500, apps=us), "/w/b": Group(90)})
    at.among = Among(at.machine.proc, at.cgroups, 10, None)
    assert taken(at.choice()) == ("cgroup", "/w/b", (102,))
    assert taken(at.choice(replace(RULE, descend="no"))) == ("cgroup", "/w/b", (102,))


def test_one_that_has_ended_since_it_was_listed_is_passed_over(tmp_path: Path) -> None:
    at = Seen(tmp_path, {"/w/a": Group(500), "/w/b": Group(90)}, me=ME)
    (tmp_path / "sys/fs/cgroup/w/a/cgroup.procs").write_text("")
    assert taken(at.choice()) == ("cgroup", "/w/b", (102,))
    (tmp_path / "sys/fs/cgroup/w/b/cgroup.procs").write_text("")
    assert taken(at.choice()) == "/w/b has just ended"


def test_a_recording_need_not_have_processes(tmp_path: Path) -> None:
    at = Seen(tmp_path, {"/w/a": Group(500), "/w/b": Group(90)})
    (tmp_path / "sys/fs/cgroup/w/a/cgroup.procs").write_text("")
    assert taken(at.choice()) == ("cgroup", "/w/a", ())


def test_where_there_are_none_that_is_said(tmp_path: Path) -> None:
    at = Seen(tmp_path, {"/v/a": Group(500)})
    assert taken(at.choice()) == "there is no cgroup to choose from"


def test_candidates_are_told_with_their_processes(tmp_path: Path) -> None:
    at = Seen(tmp_path, {"/w/a": Group(500), "/w/b": Group(90, apps=pair(10, 90))})
    choice = at.choice()
    assert [one.pids for one in choice.ranking] == [(), ()]
    assert [at.among.filled(one).pids for one in choice.ranking] == [(101,), (10, 11)]
    part = replace(choice.ranking[0], cgroup="", pids=(7,))
    assert at.among.filled(part) is part


# --- from look to look ----------------------------------------------------------------------------------------------


def scanned(a: int, b: int) -> dict[str, Group]:
    return {"/w/a": Group(500, scan=a), "/w/b": Group(90, scan=b)}


def test_rates_need_two_looks_a_while_apart(tmp_path: Path) -> None:
    at = Seen(tmp_path, scanned(9000, 5), me=ME)
    assert not at.note()
    at.write(100.0 + BETWEEN / 2, scanned(9000, 10))
    assert not at.note()
    at.write(100.0 + BETWEEN, scanned(9000, 20))
    assert at.note()
    assert taken(at.choice(SCANNED)) == ("cgroup", "/w/b", (102,))


def test_each_rule_and_each_of_its_cgroups_has_looks_of_its_own(tmp_path: Path) -> None:
    at = Seen(tmp_path, scanned(1, 2), me=ME)
    one, other = Cgroup("/w", 1), Cgroup("/w/a", 2)
    for _ in range(2):
        at.write(at.clock + 1.0, scanned(1, 2))
        found = at.note(SCANNED, one)
    assert found and not at.note(SCANNED, other) and not at.note(replace(SCANNED, name="another"), one)


def test_what_came_long_before_the_need_does_not_count(tmp_path: Path) -> None:
    at = Seen(tmp_path, scanned(0, 0), me=ME)
    assert not at.note()
    at.write(101.0, scanned(0, 0))
    assert at.note()
    at.write(102.0 + STALE, scanned(10**6, 0))
    assert not at.note()
    at.write(102.0 + STALE + BETWEEN, scanned(10**6, 7))
    assert at.note()
    assert [one.cgroup for one in at.choice(SCANNED).ranking] == ["/w/b"]


def test_recordings_may_be_far_apart(tmp_path: Path) -> None:
    at = Seen(tmp_path, scanned(0, 0))
    at.note()
    at.write(200.0 + STALE, scanned(10, 7))
    assert at.note()
    assert [one.cgroup for one in at.choice(SCANNED).ranking] == ["/w/a", "/w/b"]


def test_one_made_anew_has_no_past(tmp_path: Path) -> None:
    at = Seen(tmp_path, scanned(50, 5))
    at.note()
    at.write(101.0, scanned(3, 9))
    assert at.note()
    assert [one.cgroup for one in at.choice(SCANNED).ranking] == ["/w/b"], "it was scanned less than before"


def test_no_more_is_remembered_than_there_is_room_for(tmp_path: Path) -> None:
    at = Seen(tmp_path, scanned(1, 1), me=ME)
    for number in range(3 * PASTS):
        at.note(SCANNED, Cgroup("/w", number + 1))
    assert len(at.among._pasts) == len(at.among._looks) == PASTS
    at.write(101.0, scanned(1, 2))
    assert at.note(SCANNED, Cgroup("/w", 3 * PASTS))
    assert not at.note(SCANNED, Cgroup("/w", 1))
