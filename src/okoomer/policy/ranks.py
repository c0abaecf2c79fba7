"""Weighing cgroups among their siblings: the figures by which one goes before another. Pure."""

from __future__ import annotations

from okoomer.record import Record
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from okoomer.facts import Cgroup, Pressure, Snapshot
    from okoomer.policy.model import Rule
    from okoomer.policy.past import Past

    #: Of one cgroup, or in words why it is no candidate.
    Weigh = Callable[[Cgroup], "Weight | str"]

#: Fields of a Cgroup that a rank is taken from, beyond those that each candidate is looked at by.
FIELDS: dict[str, frozenset[str]] = {
    "freed": frozenset({"protection"}),
    "rss": frozenset(),
    "growth": frozenset(),
    "swap": frozenset(),
    "size_or_growth": frozenset({"protection"}),
    "swap_unprotected": frozenset({"protection"}),
    "pressure": frozenset({"memory_pressure"}),
    "io_pressure": frozenset({"io_pressure"}),
    "pgscan": frozenset({"scan"}),
    "io_cost": frozenset({"io_cost"}),
}
#: Those that are taken from successive looks.
OF_PAST = frozenset({"freed", "growth", "size_or_growth", "pgscan", "io_cost"})
UNKNOWN = "say nothing of it"


class Weight(Record):
    """What decides between siblings, the greatest first, and the same as one figure and in words."""

    key: tuple[float, ...]
    score: float
    why: str


def weigher(rule: Rule, siblings: Sequence[Cgroup], past: Past, snapshot: Snapshot) -> Weigh:
    """How each of some siblings weighs by a rule's rank."""
    if rule.rank == "size_or_growth":
        return _size_or_growth(rule, siblings, past)
    if rule.rank == "growth":
        return lambda cgroup: _growth(cgroup, past)
    if rule.rank in ("swap", "swap_unprotected"):
        return lambda cgroup: _swap(cgroup, rule.rank == "swap_unprotected", snapshot)
    if rule.rank in ("pressure", "io_pressure"):
        return _memory_pressure if rule.rank == "pressure" else _io_pressure
    if rule.rank == "pgscan":
        return lambda cgroup: _scanned(cgroup, past)
    if rule.rank == "io_cost":
        return lambda cgroup: _spent(cgroup, past)
    return _memory if rule.rank == "rss" else _freed


def freed_of(cgroup: Cgroup) -> int:
    """Bytes that come back when it ends: what is only its own, and is written nowhere else."""
    return (cgroup.anon or 0) + (cgroup.swap or 0)


def _plain(value: float, why: str) -> Weight:
    return Weight((value,), value, why)


def _freed(cgroup: Cgroup) -> Weight | str:
    if cgroup.anon is None:
        return UNKNOWN
    protected = min(cgroup.protection or 0, freed_of(cgroup))
    return _plain(freed_of(cgroup) - protected, f"{size(protected)} of it protected" if protected else "")


def _memory(cgroup: Cgroup) -> Weight | str:
    return UNKNOWN if cgroup.memory is None else _plain(cgroup.memory, f"uses {size(cgroup.memory)}")


def _growth(cgroup: Cgroup, past: Past) -> Weight | str:
    growth = past.growth(cgroup)
    return "seen for the first time" if growth is None else _plain(growth, f"grows by {size(growth)}/s")


def _swap(cgroup: Cgroup, unprotected: bool, snapshot: Snapshot) -> Weight | str:
    if not cgroup.swap:
        return "without swap"
    kept = 0.0
    if unprotected:
        kept = (cgroup.protection or 0) * snapshot.swap.total / snapshot.memory.total
    why = f"{size(cgroup.swap)} in swap"
    if kept:
        why += f", {size(min(kept, cgroup.swap))} of it protected"
    return _plain(max(0.0, cgroup.swap - kept), why)


def _memory_pressure(cgroup: Cgroup) -> Weight | str:
    return _pressure(cgroup.memory_pressure, "memory")


def _io_pressure(cgroup: Cgroup) -> Weight | str:
    return _pressure(cgroup.io_pressure, "io")


def _pressure(pressure: Pressure | None, resource: str) -> Weight | str:
    if pressure is None or pressure.full is None:
        return UNKNOWN
    # To whole percents, as the averages are told to hundredths of one.
    value = int((round(100 * pressure.full.avg10, 2) + round(100 * pressure.full.avg60, 2)) / 2)
    return _plain(value, f"waits for {resource} {value}% of the time")


def _scanned(cgroup: Cgroup, past: Past) -> Weight | str:
    new = past.scanned(cgroup)
    if new is None:
        return "seen for the first time"
    return _plain(new, f"pgscan +{size(new)}") if new > 0 else "not reclaimed from"


def _spent(cgroup: Cgroup, past: Past) -> Weight | str:
    new = past.spent(cgroup)
    return "seen for the first time" if new is None else _plain(new, f"io cost +{new:.3g}")


def _size_or_growth(rule: Rule, siblings: Sequence[Cgroup], past: Past) -> Weigh:
    """Three phases: who has most of what all have, else who grows among the largest, else the largest."""
    ratios = rule.ratios
    everything = sum(one.memory or 0 for one in siblings)
    sizes = sorted((_unprotected(one) for one in siblings), reverse=True)
    # As many as are above the percentile, and one at least. What lies between 0.8 and 1 is not quite 0.2.
    largest = max(1, _ceiling(round(len(sizes) * (1 - ratios.percentile), 9)))
    enough = sizes[largest - 1] if ratios.percentile and sizes else 0

    def weigh(cgroup: Cgroup) -> Weight | str:
        if cgroup.memory is None:
            return UNKNOWN
        held = _unprotected(cgroup)
        ratio = past.ratio(cgroup)
        dominates = cgroup.memory >= everything * ratios.dominant
        grows = ratio >= ratios.growth and held >= enough
        share = cgroup.memory / everything if everything else 0.0
        why = f"uses {size(cgroup.memory)}, {share:.0%} of what all use"
        if held < cgroup.memory:
            why += f", {size(cgroup.memory - held)} of it protected"
        if grows:
            why += f", {ratio:.2f} times its average"
        return Weight((held if dominates else 0, ratio if grows else 0, held), held, why)

    return weigh


def _unprotected(cgroup: Cgroup) -> int:
    return (cgroup.memory or 0) - (cgroup.protection or 0)


def _ceiling(value: float) -> int:
    return -int(-value // 1)
