"""Choosing among cgroups: what the kernel accounts to them in, one that ends whole and the ranked reasons out. Pure."""

from __future__ import annotations

from okoomer.policy.choose import TOLD, Choice, apartness, choose, least_of, need_of, protection
from okoomer.policy.claims import Claims, fields_for
from okoomer.policy.glob import matches
from okoomer.policy.ranks import FIELDS, OF_PAST, freed_of, weigher
from okoomer.policy.scale import CULPRIT_SECONDS, CULPRIT_SHARE, LAST, Candidate
from okoomer.policy.select import cgroup_matcher
from okoomer.policy.tree import ROOT, branches, descent, ends, is_inside, starts
from okoomer.policy.whole import holds_people, inits
from okoomer.record import Record, replace
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from okoomer.facts import Cgroup, Process, Snapshot
    from okoomer.policy.model import Policy, Rule, Selector
    from okoomer.policy.past import Past
    from okoomer.policy.ranks import Weigh, Weight

#: Fields of a Cgroup that each candidate is looked at by.
ALWAYS = frozenset({"leaf", "populated", "whole", "memory", "swap", "anon"})
#: Kinds of selectors that name a cgroup by its path or its tags.
BY_CGROUP = ("unit", "cgroup", "container", "pod", "tag")
#: Where a manager of systemd lives, the machine's or a user's.
MANAGER = "init.scope"
#: Who grows is to blame only if it would give back this share of what the largest would.
NOTABLE = 0.25
#: Ranks that also processes have. With any other, of a cgroup that is taken apart goes who frees most.
SHARED = ("freed", "rss", "growth", "swap")


def fields_of(rule: Rule, policy: Policy | None = None) -> frozenset[str]:
    """The fields of a Cgroup that a rule chooses by."""
    return ALWAYS | FIELDS.get(rule.rank, frozenset()) | fields_for(rule, policy)


def needs_past(rule: Rule) -> bool:
    """Whether a rule's rank is taken from successive looks, so that its area has to be noted before it acts."""
    return rule.of_cgroups and rule.rank in OF_PAST


def choose_cgroup(
    rule: Rule,
    policy: Policy,
    snapshot: Snapshot,
    area: Sequence[Cgroup],
    past: Past,
    target: Cgroup | None = None,
    aside: frozenset[int] = frozenset(),
    mine: frozenset[str] = frozenset(),
    held: Mapping[str, str] | None = None,
) -> Choice:
    """Which cgroup a rule ends whole.

    Args:
        area: Those that the search begins at, and with a descent all below them, with the rule's fields.
        past: Where the area was noted, now and before.
        target: The cgroup that the rule is about.
        aside: Inodes of those that were tried before and would not die.
        mine: The paths that our own processes lie in.
        held: Paths of processes or cgroups that must stay, and in words why.
    """
    search = _Search(rule, policy, snapshot, area, past, target, aside, mine, held or {})
    return search.choice()


class _Ranked(Record):
    """A candidate among so many siblings; `because` says in words who put it into its tier, `most`: none of them weighs
    more."""

    cgroup: Cgroup
    weight: Weight
    tier: int
    because: str
    culprit: bool
    siblings: int
    most: bool = False


class _Search:
    """One search in one area."""

    def __init__(
        self,
        rule: Rule,
        policy: Policy,
        snapshot: Snapshot,
        area: Sequence[Cgroup],
        past: Past,
        target: Cgroup | None,
        aside: frozenset[int],
        mine: frozenset[str],
        held: Mapping[str, str],
    ) -> None:
        self._rule = rule
        self._snapshot = snapshot
        self._past = past
        self._aside = aside
        self._area = area
        self._base = target.path if target else ROOT
        self._need, self._least = need_of(rule, snapshot), least_of_cgroup(rule, snapshot.memory.total)
        self._claims = Claims(rule, policy, target)
        self._stays = self._claims.staying(area, mine, held)
        self._growth = sum(max(0.0, past.growth(one) or 0.0) for one in area if one.leaf)
        self._largest = max((freed_of(one) for one in area if one.leaf), default=0)
        self._passed: dict[str, str] = {}
        self._found: dict[str, _Ranked] = {}

    def choice(self) -> Choice:
        first, below = starts(self._area, self._is_named), branches(self._area)
        if self._rule.descend == "no":
            order: Iterable[Cgroup] = self._ranked([one for one in first if self._is_named(one.path)])
        elif self._rule.descend == "leaves":
            order = self._ranked(ends(first, below))
        else:
            order = descent(first, below, self._ranked)
        ranking: list[Candidate] = []
        victim = None
        for cgroup in order:
            ranked = self._found[cgroup.path]
            if because := self._bar(cgroup):
                self._passed[cgroup.path] = because
                continue
            found = self._candidate(ranked)
            if found.freed < self._least:
                self._passed[cgroup.path] = f"would free less than {size(self._least)}"
                continue
            victim = victim or found
            ranking.append(found)
            if len(ranking) == TOLD:
                break
        return Choice(victim, tuple(ranking), self._need, self._least, "" if victim else self._refusal())

    def _is_named(self, path: str) -> bool:
        if self._rule.among:
            return matches(self._rule.among, path, self._base)
        return path == self._base

    def _ranked(self, siblings: Sequence[Cgroup]) -> list[Cgroup]:
        """Siblings, best first, without those that need not be looked at."""
        weigh = weigher(self._rule, siblings, self._past, self._snapshot)
        found = []
        for cgroup in siblings:
            weight = self._weight(cgroup, weigh)
            if isinstance(weight, str):
                self._passed[cgroup.path] = weight
                continue
            tier, because = self._claims.tier(cgroup)
            culprit = self._is_culprit(cgroup)
            found.append(_Ranked(cgroup, weight, tier, because, culprit, len(siblings)))
        found.sort(key=lambda one: (one.tier, not one.culprit, [-key for key in one.weight.key], *_ties(one.cgroup)))
        most = max((one.weight.key for one in found), default=())
        self._found.update((one.cgroup.path, replace(one, most=one.weight.key == most)) for one in found)
        return [one.cgroup for one in found]

    def _weight(self, cgroup: Cgroup, weigh: Weigh) -> Weight | str:
        """How much a cgroup counts, or why it does not, whoever it is and whatever lies in it."""
        if cgroup.populated is False:
            return "without a process"
        if cgroup.anon == 0 and not cgroup.swap:
            return "without memory of its own"
        least = self._rule.least_swap
        if least and (cgroup.swap or 0) <= least.value * (self._snapshot.swap.total if least.share else 1):
            return "with too little in swap"
        return weigh(cgroup)

    def _is_culprit(self, cgroup: Cgroup) -> bool:
        """Whether it grew and filled memory, as a unit of processes is judged with this rank. It has to be of some size
        beside the largest: what is read back from swap is in both for a while, and looks like growth."""
        growth = self._past.growth(cgroup) or 0.0
        return (
            self._rule.rank == "freed"
            and freed_of(cgroup) >= max(self._need, NOTABLE * self._largest)
            and growth > 0
            and growth >= CULPRIT_SHARE * self._growth
            and 8 * CULPRIT_SECONDS * growth >= self._need
        )

    def _bar(self, cgroup: Cgroup) -> str:
        """Why a cgroup must not end whole, or ''."""
        if cgroup.path == ROOT:
            return "the root"
        if cgroup.path.rpartition("/")[2] == MANAGER:
            return "a manager of the system or a session"
        if cgroup.inode in self._aside:
            return "would not die"
        return self._stays(cgroup.path)

    def _candidate(self, ranked: _Ranked) -> Candidate:
        cgroup, weight = ranked.cgroup, ranked.weight
        why: list[str] = []
        freed = freed_of(cgroup)
        if weight.why:
            among = f", most of {ranked.siblings}" if ranked.most and ranked.siblings > 1 else ""
            why.append(weight.why + among)
        why.append(f"{size(freed)} would come back")
        growth = self._past.growth(cgroup)
        if growth and self._rule.rank != "growth" and growth >= 0.05 * self._growth:
            why.append(f"grows by {size(growth)}/s")
        if ranked.culprit:
            why.append("the culprit")
        if ranked.because:
            why.append(("comes last: " if ranked.tier == LAST else "preferred by ") + ranked.because)
        return Candidate(
            kind="cgroup",
            name=cgroup.path,
            pids=(),
            freed=freed,
            growth=growth,
            tier=ranked.tier,
            culprit=ranked.culprit,
            score=weight.score,
            rss=cgroup.memory or 0,
            why="; ".join(why),
            cgroup=cgroup.path,
            inode=cgroup.inode,
        )

    def _refusal(self) -> str:
        if not self._passed:
            return "there is no cgroup to choose from"
        counted: dict[str, int] = {}
        for because in self._passed.values():
            counted[because] = counted.get(because, 0) + 1
        often = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
        return "there is no cgroup that can be taken: " + ", ".join(f"{count} {because}" for because, count in often)


def least_of_cgroup(rule: Rule, total: int) -> int:
    """The bytes that a cgroup must give back to be worth its end. Ranks by what it holds have the least that processes
    have; those by what it suffers or does take whom they find, unless the rule says more."""
    return least_of(rule, total) if rule.least or rule.rank in ("freed", "rss", "growth") else 0


def _ties(cgroup: Cgroup) -> tuple[int, str]:
    return -(cgroup.memory or 0), cgroup.path


def taken_apart(
    rule: Rule,
    policy: Policy,
    snapshot: Snapshot,
    cgroup: Cgroup,
    processes: Iterable[Process],
    me: int = 0,
    aside: frozenset[int] = frozenset(),
    user: int | None = None,
) -> Choice | None:
    """Whom a rule ends in a cgroup that it has chosen and that must not end whole; None where it can.

    Without a victim in what is returned nobody in there can be ended: then the cgroup is `held`, and another is to be
    chosen.

    Args:
        cgroup: The chosen.
        processes: Its processes, small ones as well, and their ancestors, with their cgroups.
        me, aside, user: As for a choice among processes.
    """
    everyone = {process.pid: process for process in processes}
    inside = [process for process in everyone.values() if is_inside(process.cgroup, cgroup.path)]
    # Where the rule seeks the cgroup was found: here only what lies in it counts.
    protects = protection(replace(rule, among=None), policy, everyone, me, aside, user, cgroup)
    stays = next((f"{p.name}: {because}" for p in inside if (because := protects(p))), "")
    if cgroup.whole:
        # The kernel has been told that half of it is worth nothing.
        return Choice(None, (), 0, 0, f"it ends as a whole and holds {stays}") if stays else None
    if not stays and not is_bag(rule, policy, cgroup, everyone.values()):
        return None
    families = replace(
        rule,
        unit="family",
        rank=rule.rank if rule.rank in SHARED else "freed",
        among=None,
    )
    return choose(families, policy, snapshot, everyone.values(), me, aside, user, target=cgroup)


def is_bag(rule: Rule, policy: Policy, cgroup: Cgroup, processes: Iterable[Process]) -> str:
    """Why a cgroup is not one thing but holds many that people do, or '' where it is one.

    Args:
        processes: Its processes and their ancestors, with their cgroups.
    """
    if cgroup.whole:
        return ""
    if holds_people(cgroup.path.rpartition("/")[2]):
        return "a session"
    everyone = {process.pid: process for process in processes}
    rule = replace(rule, unit="family")
    if cgroup_matcher(rule.avoid, policy.avoid)(cgroup):
        # Who says of it as such that it comes last does not say that it is many things.
        rule = replace(rule, avoid=_not_of(cgroup, rule.avoid))
        policy = replace(policy, avoid=_not_of(cgroup, policy.avoid))
    # The init of a container ends with it. In a part of the container it still holds all the others.
    own = frozenset(pid for pid, path in inits(everyone).items() if is_inside(path, cgroup.path))
    apart = apartness(rule, policy, everyone, own)
    for process in everyone.values():
        if is_inside(process.cgroup, cgroup.path) and (because := apart(process)):
            return f"{process.name}: {because}"
    return ""


def _not_of(cgroup: Cgroup, selectors: tuple[Selector, ...]) -> tuple[Selector, ...]:
    """Selectors without those that name a cgroup by its path or its tags."""
    return tuple(one for one in selectors if one.kind not in BY_CGROUP or not cgroup_matcher((one,))(cgroup))
