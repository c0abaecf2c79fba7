"""Shares on generated machines: nobody who holds no more than his share is ever in a unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from okoomer.policy.choose import Choice, apartness, choose, least_of, need_of, protection
from okoomer.policy.model import Amount, Comparison
from okoomer.policy.scale import LAST, Scale
from okoomer.policy.share import MACHINES, user_of
from okoomer.policy.whole import applications
from okoomer.record import replace
from tests.unit import strategies as some
from tests.unit.strategies import GIB, MIB, cases
from tests.unit.test_choose_properties import above, named

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from okoomer.facts import Process

LOW = Comparison("mem.available", "<", 0.2, share=True)
APP = "/user.slice/user-1001.slice/user@1001.service/app.slice/app-web-1.scope"
PLACES = ("", "/user.slice/user-1002.slice/session-1.scope", APP, "/system.slice/db.service")


class Case:
    """A rule by user or by application on a machine of several users, and whom it chose."""

    def __init__(self, random: Random, by: str) -> None:
        found, self.me = some.tree(random, random.randint(1, 14))
        self.processes = [
            replace(one, user=random.choice((0, 33, 1001, 1002, 1003)), cgroup=random.choice(PLACES)) for one in found
        ]
        self.by_pid = {process.pid: process for process in self.processes}
        self.aside = frozenset(random.sample(sorted(self.by_pid), random.choice((0, 0, 1, 2))))
        share = random.choice((None, Amount(random.random() / 2, share=True), Amount(random.randrange(2 * GIB))))
        rule = replace(some.rule(random, LOW), by=by, share=share)
        self.rule = replace(rule, unit=random.choice(("process", "group", "family", "auto")))
        self.policy = some.policy(random, (self.rule,))
        self.snapshot = some.snapshot(random)
        self.choice = self.choose(self.processes)

    def choose(self, processes: Iterable[Process]) -> Choice:
        return choose(self.rule, self.policy, self.snapshot, processes, self.me, self.aside)

    @property
    def allowed(self) -> float:
        share = self.rule.share
        return share.value * (self.snapshot.memory.total if share.share else 1) if share else 0

    def held(self) -> dict[int, int]:
        """What each user holds."""
        weigh = Scale(self.rule, self.policy, self.processes, 0)
        users = {user_of(one) for one in self.processes} - {MACHINES}
        alive = [one for one in self.processes if not one.kernel_thread]
        return {user: weigh.held([one for one in alive if user_of(one) == user]) for user in users}


@cases(6_000)
def test_only_one_user_is_taken_and_he_holds_more_than_his_share(random: Random) -> None:
    case = Case(random, "user")
    held = case.held()
    for unit in (case.choice.victim, *case.choice.ranking):
        users = {user_of(case.by_pid[pid]) for pid in unit.pids} if unit else set()
        assert len(users) <= 1 and MACHINES not in users
        assert all(held[user] > int(case.allowed) for user in users)


@cases(4_000)
def test_there_is_nobody_to_be_taken_exactly_where_all_are_within(random: Random) -> None:
    case = Case(random, "user")
    over = [user for user, held in case.held().items() if held > int(case.allowed)]
    assert bool(case.choice.within) == (not over)
    assert (case.choice.victim is None) == bool(case.choice.refusal)


@cases(4_000)
def test_whoever_is_further_over_goes_first_unless_none_of_his_can_be_taken(random: Random) -> None:
    case = Case(random, "user")
    if case.choice.victim is None:
        return
    held = case.held()
    user = user_of(case.by_pid[case.choice.victim.pids[0]])
    for other in held:
        if held[other] > held[user]:
            others = tuple(one.pid for one in case.processes if user_of(one) != other)
            alone = choose(case.rule, case.policy, case.snapshot, case.processes, case.me, case.aside.union(others))
            assert alone.victim is None


@cases(4_000)
def test_who_is_spared_stays_and_who_comes_last_comes_last(random: Random) -> None:
    for by in ("user", "app"):
        case = Case(random, by)
        spared = (*case.rule.spare, *case.policy.spare)
        stays = {1, *case.aside, *above(case.me, case.by_pid)}
        stays |= {one.pid for one in case.processes if one.adjustment == -1000 or named(spared, one)}
        for unit in (case.choice.victim, *case.choice.ranking):
            assert unit is None or stays.isdisjoint(unit.pids)
        tiers = [one.tier for one in case.choice.ranking]
        assert tiers == sorted(tiers) or LAST not in tiers


@cases(4_000)
def test_only_one_application_is_taken_and_it_holds_more_than_its_share(random: Random) -> None:
    case = Case(random, "app")
    rule, by_pid = replace(case.rule, unit="auto"), case.by_pid
    protects = protection(rule, case.policy, by_pid, case.me, case.aside)
    apart = apartness(rule, case.policy, by_pid)
    outermost = applications(by_pid, lambda one: bool(protects(one)), lambda one: bool(apart(one)))
    applied = [{one.pid for one in unit.members()} for unit in outermost]
    weigh = Scale(case.rule, case.policy, case.processes, 0)
    held = [weigh.held([by_pid[pid] for pid in pids]) for pids in applied]
    assert bool(case.choice.within) == all(bytes_held <= int(case.allowed) for bytes_held in held)
    for unit in (case.choice.victim, *case.choice.ranking):
        whose = [number for number, pids in enumerate(applied) if unit and not pids.isdisjoint(unit.pids)]
        assert len(whose) == (1 if unit else 0)
        assert all(held[number] > int(case.allowed) for number in whose)


@cases(3_000)
def test_the_same_machine_gives_the_same_choice_in_any_order(random: Random) -> None:
    case = Case(random, random.choice(("user", "app")))
    again, shuffled = case.choose(case.processes), case.choose(random.sample(case.processes, len(case.processes)))
    assert again == case.choice
    assert (shuffled.within, shuffled.victim is None) == (case.choice.within, case.choice.victim is None)


@cases(3_000)
def test_no_more_is_wanted_back_than_the_rule_needs_or_than_is_too_much(random: Random) -> None:
    case = Case(random, "user")
    total = case.snapshot.memory.total
    assert case.choice.need <= need_of(case.rule, case.snapshot)
    assert case.choice.least == least_of(case.rule, total)
    if case.choice.victim and case.rule.share:
        held = case.held()[user_of(case.by_pid[case.choice.victim.pids[0]])]
        assert case.choice.need <= max(held - int(case.allowed), total // 100) + MIB
