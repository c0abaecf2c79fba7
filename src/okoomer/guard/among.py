"""Seeking among cgroups: what is read of them and remembered from look to look, so that policy can rank them. Only
guards whose policy ranks cgroups ever load it."""

from __future__ import annotations

from okoomer.guard.scan import with_all
from okoomer.kernel import process as kernel
from okoomer.policy.cgroups import choose_cgroup, fields_of, taken_apart
from okoomer.policy.choose import needs_of
from okoomer.policy.past import Past
from okoomer.policy.tree import ROOT
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.facts import Cgroup, Snapshot
    from okoomer.guard.cgroups import Cgroups
    from okoomer.guard.scan import Scan
    from okoomer.policy.choose import Choice
    from okoomer.policy.model import Policy, Rule
    from okoomer.policy.scale import Candidate

#: Of so many rules and cgroups that they are about it is remembered how their candidates were.
PASTS = 64
#: Seconds between two looks at candidates whose rates are ranked: less would be a rate of hardly anything.
BETWEEN = 0.25
#: Seconds after which an earlier look says nothing of now: what came since came before there was any need.
STALE = 15.0


class Among:
    """Chooses among cgroups.

    Args:
        proc: Where /proc is.
        me: Our own pid, which is never chosen; 0 on a recorded machine.
        user: Only this user's processes can be ended; None if there is no such limit.
    """

    def __init__(self, proc: str, cgroups: Cgroups, me: int, user: int | None) -> None:
        self.proc = proc
        self._cgroups = cgroups
        self._me = me
        self._user = user
        # Recordings may be as far apart as they like.
        self._stale = STALE if me else float("inf")
        #: Of each rule and cgroup that it is about: its candidates; and how many looks at them, and when the last.
        self._pasts: dict[tuple[str, int], Past] = {}
        self._looks: dict[tuple[str, int], tuple[int, float]] = {}

    def choice(
        self,
        rule: Rule,
        policy: Policy,
        target: Cgroup | None,
        snapshot: Snapshot,
        found: Scan,
        aside: frozenset[int],
        aside_groups: frozenset[int],
    ) -> Choice:
        """Which cgroup a rule takes, or which of the processes in one that is many things."""
        area, past = self._noted(rule, policy, target, snapshot)
        mine = frozenset({kernel.cgroup(self.proc, self._me)} if self._me else ()) - {"", ROOT}
        choice = choose_cgroup(rule, policy, snapshot, area, past, target, aside_groups, mine)
        by_path = {cgroup.path: cgroup for cgroup in area}
        refusal = choice.refusal
        wants = needs_of(policy, rule) | {"cgroup"}
        for candidate in choice.ranking:
            cgroup, members = by_path[candidate.cgroup], self._cgroups.members(candidate.cgroup)
            if not members and self._me:  # a recording need not have any processes
                refusal = f"{candidate.cgroup} has just ended"
                continue
            # A shell is small, and so may be who must stay: here each counts.
            everyone = with_all(self.proc, members, wants, found.processes, self._cgroups.tags)
            apart = taken_apart(rule, policy, snapshot, cgroup, everyone, self._me, aside, self._user)
            if apart is None:
                return replace(choice, victim=replace(candidate, pids=tuple(members)))
            if apart.victim:
                why = f"{apart.victim.why}; {candidate.cgroup} comes first ({candidate.why}), but is many things"
                victim = replace(apart.victim, why=why)
                return replace(choice, victim=victim, ranking=(victim, *choice.ranking))
            refusal = f"{candidate.cgroup}: {apart.refusal}"
        return replace(choice, victim=None, refusal=refusal)

    def filled(self, candidate: Candidate) -> Candidate:
        """A candidate with its processes: it was weighed as a whole, without a look at them."""
        if candidate.pids or not candidate.cgroup:
            return candidate
        return replace(candidate, pids=tuple(self._cgroups.members(candidate.cgroup)))

    def note(self, rule: Rule, policy: Policy, target: Cgroup | None, snapshot: Snapshot) -> bool:
        """Looks at the candidates of a rule that ranks by what happens from one look to the next. Whether there have
        been enough looks to rank by."""
        key = _key(rule, target)
        if snapshot.time - self._looks.get(key, (0, float("-inf")))[1] >= BETWEEN:
            self._noted(rule, policy, target, snapshot)
        return self._looks[key][0] > 1

    def _noted(
        self, rule: Rule, policy: Policy, target: Cgroup | None, snapshot: Snapshot
    ) -> tuple[tuple[Cgroup, ...], Past]:
        base, key = target.path if target else ROOT, _key(rule, target)
        area = self._cgroups.area(rule.among, base, rule.descend != "no", fields_of(rule, policy), snapshot.time)
        if key not in self._pasts and len(self._pasts) >= PASTS:
            oldest = next(iter(self._pasts))
            del self._pasts[oldest], self._looks[oldest]
        count, last = self._looks.get(key, (0, snapshot.time))
        if snapshot.time - last > self._stale:
            del self._pasts[key]
            count = 0
        past = self._pasts.setdefault(key, Past())
        past.note(snapshot.time, area)
        self._looks[key] = count + 1, snapshot.time
        return area, past


def _key(rule: Rule, target: Cgroup | None) -> tuple[str, int]:
    return rule.name, target.inode if target else 0
