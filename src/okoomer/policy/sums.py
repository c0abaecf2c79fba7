"""Sums: those who fill memory together although each is small, and are no family: processes of one name under many
parents, or of one slice, or of one user. Pure.

One who is enough by itself is always better. Where nobody is, a sum is taken that is to blame: it makes up most of all
growth. Where nobody at all is worth its end, those of one name are; as long as of nobody is known whether it grows,
they are as well, if they are enough.
"""

from __future__ import annotations

from okoomer.policy.family import Unit
from okoomer.policy.model import POINTED
from okoomer.policy.scale import CULPRIT_SECONDS, CULPRIT_SHARE, LAST, ORDINARY
from okoomer.policy.whole import WHOLE
from okoomer.record import replace
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from okoomer.facts import Process
    from okoomer.policy.model import Rule
    from okoomer.policy.scale import Candidate, Scale

#: The kind of a unit that is a sum.
SUM = "sum"
#: Who grows slower than this share of what is usual among those of a sum is not what makes it grow.
SLOW = 0.1
#: Slices that everything of a kind lies in: what is in there has nothing else in common.
COMMON = (
    "system.slice", "user.slice", "machine.slice", "app.slice", "session.slice", "background.slice", "kubepods.slice",
    "kubepods-burstable.slice", "kubepods-besteffort.slice",
)  # fmt: skip


class Sum:
    """Some who have something in common, and in words what."""

    __slots__ = ("common", "freed", "growth", "parts", "slow")

    def __init__(self, common: str, parts: list[Unit], static: bool = False) -> None:
        self.common = common
        growing = [part for part in parts if _growth(part) > 0]
        usual = sorted(map(_growth, growing))[len(growing) // 2] if growing else 0.0
        self.parts = parts if static else [part for part in growing if _growth(part) >= SLOW * usual]
        self.freed = sum(map(_freed, self.parts))
        self.growth = sum(map(_growth, self.parts))

    def cheapest(self, need: int) -> list[Unit]:
        """Those of them that are enough: who grows fastest first, then the youngest, and at last whoever asked to be
        taken later. What the others would fill again in a while is to be freed as well."""
        ordered = sorted(self.parts, key=_order)
        taken: list[Unit] = []
        freed, rest = 0, self.growth
        for part in ordered:
            taken.append(part)
            freed += _freed(part)
            rest -= _growth(part)
            if freed >= need + CULPRIT_SECONDS * max(0.0, rest):
                break
        # The last one may have made others needless.
        rest = max(0.0, rest)
        for part in reversed(taken[:-1]):
            spared = rest + _growth(part)
            if freed - _freed(part) >= need + CULPRIT_SECONDS * spared:
                taken.remove(part)
                freed, rest = freed - _freed(part), spared
        return taken


def worst_sum(
    rule: Rule,
    units: Sequence[Unit],
    last: Callable[[Process], object],
    worth: Sequence[Candidate],
    need: int,
    least: int,
    weigh: Scale,
) -> Candidate | None:
    """A sum that goes before everybody who is worth its end by itself, or None.

    Args:
        units: All units, without those that are parts of others.
        last: Whether a process comes last, so that it is in no sum.
        worth: Those who are worth their end, best first.
    """
    if rule.unit not in ("family", "auto") or rule.rank in POINTED:
        return None
    if any(one.freed >= need and one.tier != LAST for one in worth):
        return None
    first = [one for one in worth if one.tier != LAST]
    best = max((one.freed for one in first), default=0)
    pieces = [piece for unit in units for piece in _pieces(unit, last)]
    named = _by(pieces, lambda piece: f"named {_face(piece)}")
    for sums in (named, _by(pieces, _slice), _by(pieces, _user)):
        if found := _to_blame(sums, weigh.growth, need, max(best, least)):
            return _candidate(found, need, weigh)
    known = any(process.growth is not None for unit in units for process in unit.members())
    if first and known:
        return None
    everybody = [Sum(one, parts, static=True) for one, parts in named.items() if len(parts) > 1]
    found = max(everybody, key=lambda one: (one.freed, one.common), default=None)
    return _candidate(found, need, weigh) if found and found.freed >= (need if first else least) else None


def _to_blame(groups: dict[str, list[Unit]], growth: float, need: int, more: int) -> Sum | None:
    """The sum that fills memory, if it frees enough, or at least more than anybody else."""
    sums = [Sum(common, parts) for common, parts in groups.items() if len(parts) > 1]
    found = max(sums, key=lambda one: (one.growth, one.freed, one.common), default=None)
    if found is None or len(found.parts) < 2 or found.growth < CULPRIT_SHARE * growth:
        return None
    if 8 * CULPRIT_SECONDS * found.growth < need or found.freed <= more:
        return None
    return found


def _candidate(found: Sum, need: int, weigh: Scale) -> Candidate:
    taken = found.cheapest(need)
    candidate = weigh.candidate(Unit(SUM, taken[0].root, (), taken), ORDINARY, "")
    why = f"{len(taken)} of {len(found.parts)} {found.common}"
    if found.growth > 0:
        why += f", which grow by {size(found.growth)}/s together"
    return replace(candidate, why=f"{why}; {candidate.why}")


def _pieces(unit: Unit, last: Callable[[Process], object]) -> Iterable[Unit]:
    """What a sum can be made of: a whole application, service or container, else each process by itself."""
    if unit.kind == WHOLE:
        yield unit
        return
    for process in unit.members():
        if not last(process) and process.anon + process.swap:
            yield Unit("process", process, (process,), [])


def _by(pieces: Iterable[Unit], common: Callable[[Unit], str]) -> dict[str, list[Unit]]:
    found: dict[str, list[Unit]] = {}
    for piece in pieces:
        if key := common(piece):
            found.setdefault(key, []).append(piece)
    return found


def _face(piece: Unit) -> str:
    """The name of whoever has most of it."""
    return max(piece.members(), key=lambda process: (process.anon + process.swap, -process.pid)).name


def _slice(piece: Unit) -> str:
    parts = piece.root.cgroup.split("/")
    for count in range(len(parts), 1, -1):
        name = parts[count - 1]
        if name.endswith(".slice"):
            return "" if name in COMMON or name.startswith("user-") else f"in {'/'.join(parts[:count])}"
    return ""


def _user(piece: Unit) -> str:
    return f"of user {piece.root.user}" if piece.root.user else ""


def _freed(piece: Unit) -> int:
    return sum(process.anon + process.swap for process in piece.members())


def _growth(piece: Unit) -> float:
    return sum(process.growth or 0.0 for process in piece.members())


def _order(piece: Unit) -> tuple[object, ...]:
    return piece.root.adjustment < 0, -_growth(piece), -piece.root.started, -piece.root.pid
