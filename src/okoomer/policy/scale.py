"""Weighing: what ending a unit would give back, and its score by a rule's rank. Pure."""

from __future__ import annotations

from okoomer.policy.model import POINTED
from okoomer.policy.select import counter
from okoomer.record import Record
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from okoomer.facts import Process
    from okoomer.policy.family import Unit
    from okoomer.policy.model import Policy, Rule

#: Tiers, taken in this order whatever the size.
PREFERRED, ORDINARY, LAST = 0, 1, 2
#: A unit is the culprit if it grew by this share of all growth, and in this many seconds by an eighth of the need.
CULPRIT_SHARE = 0.5
CULPRIT_SECONDS = 10.0


class Candidate(Record):
    """A unit that may end: `freed` bytes would come back of `rss` resident ones, it grows by `growth` bytes per second
    (None: unknown). A whole cgroup has its path in `cgroup` and is known by its `inode`; its processes are not read for
    the choice."""

    kind: str
    name: str
    pids: tuple[int, ...]
    freed: int
    growth: float | None
    tier: int
    culprit: bool
    score: float
    rss: int
    why: str
    cgroup: str = ""
    inode: int = 0


class Scale:
    """Weighs units by the rule's rank; `growth` is by how many bytes per second all together grow, without those that
    shrink."""

    def __init__(self, rule: Rule, policy: Policy, processes: Iterable[Process], need: int) -> None:
        self._rule = rule
        self._points = counter(rule.points, policy.points)
        self._need = need
        everyone = list(processes)
        self.growth = sum(max(0.0, process.growth or 0.0) for process in everyone)
        self._shared = sorted((p for p in everyone if p.shmem), key=lambda p: -p.shmem)

    def candidate(self, unit: Unit, tier: int, because: str) -> Candidate:
        members = unit.members()
        freed = self.held(members)
        known = [p.growth for p in members if p.growth is not None]
        growth = sum(known) if known else None
        share = (growth or 0) / self.growth if self.growth else 0.0
        culprit = (
            self._rule.rank == "freed"
            and freed >= self._need
            and share >= CULPRIT_SHARE
            and 8 * CULPRIT_SECONDS * (growth or 0) >= self._need
        )
        why = [f"{size(freed)} would come back"]
        if growth and share >= 0.05:
            why.append(f"grows by {size(growth)}/s, {share:.0%} of all growth")
        if culprit:
            why.append("the culprit")
        score = self._score(unit, members, freed, growth)
        if self._rule.rank in POINTED:
            why.append(f"{self._rule.rank} {score:g}")
        if because:
            why.append(("comes last: " if tier == LAST else "preferred by ") + because)
        count = f" and {len(members) - 1} more" if len(members) > 1 else ""
        return Candidate(
            kind=unit.kind,
            name=unit.root.name + count,
            pids=tuple(p.pid for p in members),
            freed=freed,
            growth=growth,
            tier=tier,
            culprit=culprit,
            score=score,
            rss=sum(map(_rss, members)),
            why="; ".join(why),
        )

    def held(self, members: list[Process]) -> int:
        """Bytes that are these processes' own: anonymous ones, swap, and shared memory that nobody else holds."""
        return sum(p.anon + p.swap for p in members) + self._private_shmem(members)

    def _score(self, unit: Unit, members: list[Process], freed: int, growth: float | None) -> float:
        rank = self._rule.rank
        if rank in POINTED:
            return max(map(self._badness, members))
        if rank == "rss":
            held: float = sum(map(_rss, members))
        elif rank == "growth":
            held = growth or 0.0
        else:
            # Whoever lowered its oom_score_adj asked to be taken later, in that proportion.
            lowered = min(0, max(p.adjustment for p in members)) / 1000
            held = (sum(p.swap for p in members) if rank == "swap" else freed) * (1 + lowered)
        return held + self._points(unit.root)

    def _badness(self, process: Process) -> float:
        score: float = process.oom_score
        if not self._rule.raised:
            # Since Linux 5.9 a thousandth of the adjustment is two thirds of a point (fs/proc/base.c).
            score -= max(0, process.adjustment) * 2 // 3
        if self._rule.rank == "badness":
            score += self._points(process)
        return max(0.0, score)

    def _private_shmem(self, members: list[Process]) -> int:
        """Shared memory that goes with the unit: what its greatest holder maps beyond the greatest holder outside.
        A worker of a database that maps the same pool as its siblings frees none of it."""
        inside = max((p.shmem for p in members), default=0)
        if not inside:
            return 0
        pids = {p.pid for p in members}
        outside = next((p.shmem for p in self._shared if p.pid not in pids), 0)
        return max(0, inside - outside)


def _rss(process: Process) -> int:
    return process.anon + process.file + process.shmem
