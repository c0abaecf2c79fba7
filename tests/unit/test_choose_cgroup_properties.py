"""Choices in generated hierarchies: whoever must stay stays, and the order is oomd's, worked out a second time here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.policy.cgroups import choose_cgroup
from okoomer.policy.model import Policy, Ratios
from okoomer.policy.past import Past
from okoomer.policy.scope import scope_of
from okoomer.policy.tree import is_inside, protections
from okoomer.record import replace
from tests.unit.hierarchies import RULE, hierarchy, machine, tag
from tests.unit.strategies import MIB, cases

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from okoomer.facts import Cgroup
    from okoomer.policy.choose import Choice

RANKS = (
    "freed", "rss", "growth", "swap", "size_or_growth", "swap_unprotected", "pressure", "io_pressure", "pgscan",
    "io_cost",
)  # fmt: skip
SCOPES = (None, None, scope_of("/"), scope_of("*,*/*"), scope_of("*.slice"))


def later(random: Random, cgroup: Cgroup) -> Cgroup:
    """The same a second later."""
    return replace(
        cgroup,
        memory=(cgroup.memory or 0) + random.choice((0, random.randrange(200 * MIB))),
        scan=(cgroup.scan or 0) + random.choice((0, random.randrange(50 * MIB))),
        io_cost=(cgroup.io_cost or 0) + random.choice((0.0, random.random())),
    )


class Case:
    """A rule in a hierarchy, and whom it chose."""

    def __init__(self, random: Random, **rule: object) -> None:
        self.before = hierarchy(random, random.randint(1, 25))
        now = [later(random, one) for one in self.before]
        kept = protections(now)
        self.area = [replace(one, protection=kept[one.path]) for one in now]
        self.by_path = {one.path: one for one in self.area}
        self.aside = frozenset(one.inode for one in self.area if random.random() < 0.05)
        self.mine = frozenset(one.path for one in self.area if random.random() < 0.03)
        self.held = {one.path: "sshd" for one in self.area if random.random() < 0.03}
        self.target = random.choice((None, random.choice(self.area)))
        written = {
            "rank": random.choice(RANKS),
            "descend": random.choice(("no", "best", "leaves")),
            "among": random.choice(SCOPES),
            "prefer": (tag("user.oomd_prefer"),),
            "avoid": (tag("user.oomd_avoid"), tag("trusted.oomd_avoid")),
            "spare": (tag("user.oomd_omit"),),
            "ratios": Ratios(random.choice((0.3, 0.5)), random.choice((0.0, 0.5, 0.8)), random.choice((1.0, 1.25))),
        }
        self.rule = replace(RULE, **(written | rule))
        self.past = Past()
        self.past.note(0.0, self.before)
        self.past.note(1.0, self.area)
        self.choice = self.choose(self.area)

    def choose(self, area: Sequence[Cgroup]) -> Choice:
        policy = Policy("generated", (self.rule,))
        return choose_cgroup(
            self.rule, policy, machine(), area, self.past, self.target, self.aside, self.mine, self.held
        )

    def children(self, path: str) -> list[Cgroup]:
        return [one for one in self.area if one.path.rpartition("/")[0] == path]


@cases(4_000)
def test_nobody_who_must_stay_is_in_the_ranking_or_holds_one_who_must(random: Random) -> None:
    case = Case(random)
    trusted = {0, case.target.owner if case.target else 0}
    spared = {one.path for one in case.area if "user.oomd_omit" in one.tags and one.owner in trusted}
    for found in case.choice.ranking:
        assert found.cgroup != "/" and not found.cgroup.endswith("/init.scope")
        assert found.inode not in case.aside and found.inode == case.by_path[found.cgroup].inode
        for path in (*case.mine, *case.held, *spared):
            assert not is_inside(path, found.cgroup)


@cases(4_000)
def test_there_is_a_victim_who_is_the_best_or_a_refusal(random: Random) -> None:
    case = Case(random)
    assert (case.choice.victim is None) == bool(case.choice.refusal)
    if case.choice.victim:
        assert case.choice.victim == case.choice.ranking[0]
        assert case.choice.victim.freed >= case.choice.least
        found = case.by_path[case.choice.victim.cgroup]
        assert found.populated and (found.anon or found.swap)
        if case.rule.descend != "no":
            assert found.whole or found.leaf
            assert not any(one.whole and one.path != found.path and is_inside(found.path, one.path)
                           for one in case.area if case.target is None and case.rule.among is None)  # fmt: skip


@cases(4_000)
def test_who_comes_first_or_last_does_whatever_the_rank_where_all_are_compared(random: Random) -> None:
    case = Case(random, descend=random.choice(("no", "leaves")))
    tiers = [one.tier for one in case.choice.ranking]
    assert tiers == sorted(tiers)


@cases(4_000)
def test_the_order_in_which_cgroups_are_read_does_not_matter(random: Random) -> None:
    case = Case(random)
    shuffled = case.choose(random.sample(case.area, len(case.area)))
    assert [one.cgroup for one in shuffled.ranking] == [one.cgroup for one in case.choice.ranking]


def oomds_key(case: Case, one: Cgroup, siblings: Sequence[Cgroup]) -> tuple[float, ...]:
    """kill_by_memory_size_or_growth, from its description."""
    ratios, memory = case.rule.ratios, one.memory or 0
    average = 0.75 * (next(b.memory for b in case.before if b.path == one.path) or 0) + 0.25 * memory
    unprotected = sorted(((s.memory or 0) - (s.protection or 0) for s in siblings), reverse=True)
    count = {0.5: (len(siblings) + 1) // 2, 0.8: (len(siblings) + 4) // 5}.get(ratios.percentile)
    enough = unprotected[count - 1] if count else 0
    held = memory - (one.protection or 0)
    growth = memory / average if average else 1.0
    big = memory >= ratios.dominant * sum(s.memory or 0 for s in siblings)
    grows = growth >= ratios.growth and held >= enough
    return (held if big else 0, growth if grows else 0, held)


def oomds_order(case: Case, siblings: Sequence[Cgroup]) -> list[str]:
    """Depth first: of siblings the best, in it the best, and the next best where that does not work."""
    trusted = {0, case.target.owner if case.target else 0}

    def preference(one: Cgroup) -> int:
        if "user.oomd_prefer" in one.tags:
            return 0
        avoided = "trusted.oomd_avoid" in one.tags or ("user.oomd_avoid" in one.tags and one.owner in trusted)
        return 2 if avoided else 1

    def key(one: Cgroup) -> tuple[object, ...]:
        return preference(one), [-value for value in oomds_key(case, one, siblings)], -(one.memory or 0), one.path

    found: list[str] = []
    for one in sorted(siblings, key=key):
        if not one.populated or not (one.anon or one.swap):
            continue
        below = case.children(one.path)
        found += oomds_order(case, below) if below and not one.whole else [one.path]
    return found


@cases(4_000)
def test_the_best_descent_by_size_or_growth_goes_where_oomd_goes(random: Random) -> None:
    case = Case(random, rank="size_or_growth", descend="best", among=None)
    first = [case.by_path[case.target.path]] if case.target else case.children("")
    stay = {found.cgroup for found in case.choice.ranking}
    assert [path for path in oomds_order(case, first) if path in stay] == [one.cgroup for one in case.choice.ranking]
    if len(stay) < 10:
        for path in set(oomds_order(case, first)) - stay:
            assert (
                case.by_path[path].inode in case.aside
                or path.endswith("/init.scope")
                or any(
                    is_inside(other, path)
                    for other in (*case.mine, *case.held, *(o.path for o in case.area if "user.oomd_omit" in o.tags))
                )
            )


@cases(2_000)
def test_what_is_new_decides_where_reclaim_is_looked_at(random: Random) -> None:
    case = Case(random, rank="pgscan", descend="leaves", prefer=(), avoid=(), among=None)
    scanned = [case.past.scanned(case.by_path[one.cgroup]) for one in case.choice.ranking]
    assert scanned == sorted(scanned, key=lambda value: -(value or 0))
    assert all(scanned)
    assert [one.score for one in case.choice.ranking] == pytest.approx(scanned)
