"""oomd's detectors as conditions.

A detector over several cgroups chooses one of them and judges that one; here each is judged by itself. What always
fires or never does is a truth value, and falls out of what it is part of.
"""

from __future__ import annotations

from okoomer.compat.oomd_config import Call, Group, Hear, where
from okoomer.compat.oomd_values import Globs, items
from okoomer.policy.condition import LONGEST_WINDOW
from okoomer.policy.model import Amount, And, Comparison, Held, Not, Or, Scope, Somewhere
from okoomer.policy.scope import scope_of
from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    from okoomer.policy.model import Condition

    #: A condition, or what it always is.
    Truth: TypeAlias = Condition | bool

#: Seconds between two looks of oomd's, if nothing else is said.
TICK = 5.0


class Place(Record):
    """Where a detector stands: the cgroups of its ruleset, if it is run for some one by one, and the bytes of memory
    of the machine for which this is meant, 0 if they are not known."""

    scope: Globs | None = None
    memory_total: int = 0


def condition_of(groups: Iterable[Group], place: Place, hear: Hear) -> Truth:
    """When a ruleset fires: one of its groups does.

    Raises:
        PolicyError: A detector asks for what the language cannot say.
    """
    return any_of(all_of(_of(call, place, hear) for call in group.detectors) for group in groups)


def all_of(parts: Iterable[Truth]) -> Truth:
    """True when all are."""
    left: list[Condition] = []
    for part in parts:
        if part is False:
            return False
        if not isinstance(part, bool):
            left += [one for one in (part.parts if isinstance(part, And) else (part,)) if one not in left]
    return (left[0] if len(left) == 1 else And(tuple(left))) if left else True


def any_of(parts: Iterable[Truth]) -> Truth:
    """True when one is."""
    left: list[Condition] = []
    for part in parts:
        if part is True:
            return True
        if not isinstance(part, bool):
            left += [one for one in (part.parts if isinstance(part, Or) else (part,)) if one not in left]
    return (left[0] if len(left) == 1 else Or(tuple(left))) if left else False


def negated(truth: Truth) -> Truth:
    """True when it is not, with each `not` at the innermost place, as the language puts it."""
    if isinstance(truth, bool):
        return not truth
    if isinstance(truth, Or):
        return all_of(map(negated, truth.parts))
    return any_of(map(negated, truth.parts)) if isinstance(truth, And) else Not(truth)


def held(truth: Truth, seconds: float) -> Truth:
    """That it has been true for some time."""
    return truth if isinstance(truth, bool) or not seconds else Held(truth, seconds)


def _of(call: Call, place: Place, hear: Hear) -> Truth:
    return _DETECTORS[call.name](call, place, hear)


def _pressure(call: Call, place: Place, hear: Hear) -> Truth:
    def judged(metric: str) -> Truth:
        return held(_above(f"{metric}.full.avg10", call.value("threshold")), call.value("duration"))

    kind = call.value("resource")
    _unmasked(call, hear)
    return _never(call, hear, _over(call, place, judged(f"cgroup.psi.{kind}"), judged(f"psi.{kind}")))


def _rising(call: Call, place: Place, hear: Hear) -> Truth:
    kind, threshold, ratio = call.value("resource"), call.value("threshold"), call.value("fast_fall_ratio")

    def judged(metric: str) -> Truth:
        still = Comparison(f"{metric}.full", ">", _share(threshold * ratio), over=TICK)
        lasting = held(_above(f"{metric}.full.avg60", threshold), call.value("duration"))
        return all_of((lasting, _above(f"{metric}.full.avg10", threshold), still if ratio and threshold else True))

    _unmasked(call, hear)
    if ratio:
        hear(
            f"fast_fall_ratio: oomd compares avg10 with what it was at its last look; here the last {TICK:g} s"
            f" themselves have to be above {ratio:g} of the threshold"
        )
    return _never(call, hear, _over(call, place, judged(f"cgroup.psi.{kind}"), judged(f"psi.{kind}")))


def _memory(call: Call, place: Place, hear: Hear) -> Truth:
    level: Amount | None = call.value("threshold_anon")
    anon = level is not None
    if level is None:
        level = call.value("threshold")
    elif call.text_of("threshold"):
        hear("threshold changes nothing beside threshold_anon, in oomd as here")
    if level is None:
        raise call.text.error("memory_above without threshold", '"threshold" or "threshold_anon"')
    seconds = call.value("duration")
    if level.share and level.value >= 1:
        return _never(call, hear, False)
    _unmasked(call, hear)
    metric = "cgroup.anon" if anon else "cgroup.memory"
    each = held(Comparison(metric, ">", level.value, level.share), seconds)
    return _over(call, place, each, lambda: held(_machine_above(call, level, anon, place, hear), seconds))


def _machine_above(call: Call, level: Amount, anon: bool, place: Place, hear: Hear) -> Truth:
    """That the root uses more than that: of anonymous memory, or of what is not free."""
    if anon:
        return Comparison("mem.anon", ">", level.value, level.share)
    if level.share:
        return Comparison("mem.free", "<", round(1 - level.value, 9), share=True)
    if not place.memory_total:
        raise (call.text_of("threshold") or call.text).error(
            "a size for the root, whose memory is not known here", "a percentage"
        )
    free = place.memory_total - level.value
    if free <= 0:
        return _never(call, hear, False)
    hear(f"the root uses MemTotal less MemFree: the level is for {place.memory_total} bytes of memory, as here")
    return Comparison("mem.free", "<", free)


def _reclaim(call: Call, place: Place, hear: Hear) -> Truth:
    window = max(1.0, call.value("duration"))
    if window > LONGEST_WINDOW:
        hear(f"duration is {LONGEST_WINDOW:g} s at most")
        window = LONGEST_WINDOW
    hear(
        "memory_reclaim: counts what was reclaimed within the duration, from the second look on; in oomd reclaim long"
        " ago counts at the first look, and that of a new cgroup when it appears"
    )
    scanned = Comparison("cgroup.scan", ">", 0.0, over=window)
    return _over(call, place, scanned, Comparison("vm.scan", ">", 0.0, over=window))


def _swap(call: Call, _place: Place, hear: Hear) -> Truth:
    share, rate = call.value("threshold_pct"), call.value("swapout_bps_threshold")
    if not share:
        return _never(call, hear, False)
    written = Comparison("vm.swapout", ">=", rate, over=TICK) if rate else True
    return all_of(
        (Comparison("swap.free", "<", _share(share), share=True), Comparison("swap.total", ">", 0.0), written)
    )


def _exists(call: Call, place: Place, _hear: Hear) -> Truth:
    # Of each cgroup that is there this is true, so of the one that a ruleset is run for it goes without saying.
    found = _over(call, place, Comparison("cgroup.age", ">=", 0.0), True, own=True)
    return negated(found) if call.value("negate") else found


def _dying(call: Call, place: Place, _hear: Hear) -> Truth:
    count = Comparison("cgroup.dying", "<=" if call.value("lte") else ">", float(call.value("count")))
    return _over(call, place, count, Somewhere(scope_of("/"), count))


def _overview(_call: Call, _place: Place, hear: Hear) -> Truth:
    hear("dump_cgroup_overview: there is no such line in the log; okoomer pressure and okoomer why tell it")
    return True


_DETECTORS: dict[str, Callable[[Call, Place, Hear], Truth]] = {
    "pressure_above": _pressure,
    "pressure_rising_beyond": _rising,
    "memory_above": _memory,
    "memory_reclaim": _reclaim,
    "swap_free": _swap,
    "exists": _exists,
    "nr_dying_descendants": _dying,
    "dump_cgroup_overview": _overview,
    "continue": lambda _call, _place, _hear: True,
    "stop": lambda _call, _place, _hear: False,
}


def _over(
    call: Call, place: Place, each: Truth, machine: Truth | Callable[[], Truth], own: Truth | None = None
) -> Truth:
    """That it is true of one of a detector's cgroups, of the root by what the machine says, and of the one that its
    ruleset is run for by `own`, where that is another thing."""
    parts: list[Truth] = []
    for globs in targets(call, place):
        if globs is None:
            parts.append(each if own is None else own)
            continue
        if globs.scope:
            parts.append(each if isinstance(each, bool) else Somewhere(globs.scope, each))
        if globs.root:
            parts.append(machine() if callable(machine) else machine)
    return any_of(parts)


def targets(call: Call, place: Place) -> tuple[Globs | None, ...]:
    """The cgroups that a plugin is about; None among them is the one that its ruleset is run for.

    Raises:
        PolicyError: It names none, or such as lie below each of several.
    """
    cgroup, own = call.value("cgroup"), call.value("ruleset_cgroup")
    found: list[Globs | None] = [cgroup] if cgroup else []
    if own:
        text = own.text
        if place.scope is None:
            raise text.error("a ruleset_cgroup in a ruleset without cgroup", '"cgroup" here, or in the ruleset')
        if own.root:
            found.append(None)
        if own.scope:
            if place.scope.several:
                raise text.error(
                    "cgroups below each of several, which a condition cannot name", "the ruleset's own cgroup, /"
                )
            found.append(Globs(text, joined(place.scope, own.scope), False))
    if not found:
        raise call.text.error(f"{call.name} without cgroup", '"cgroup" or "ruleset_cgroup"')
    return tuple(found)


def joined(above: Globs, below: Scope) -> Scope:
    """What lies below one cgroup."""
    base = above.scope.text if above.scope else ""
    return scope_of(",".join(f"{base}/{item}".lstrip("/") for item in items(below.text)))


def _unmasked(call: Call, hear: Hear) -> None:
    """Says how several cgroups are judged here, where it makes a difference."""
    several = [globs for globs in (call.value("cgroup"), call.value("ruleset_cgroup")) if globs]
    if len(several) > 1 or any(globs.several for globs in several):
        hear(
            f"{call.name}: each cgroup is judged by itself and has a time of its own; oomd judges the one with most"
            " and hides the others behind it, and lets its time go on from one to the other"
        )


def _never(call: Call, hear: Hear, truth: Truth) -> Truth:
    if truth is False:
        hear(f"{call.name} ({where(call.text)}) can never fire with this threshold")
    return truth


def _above(metric: str, percent: float) -> Truth:
    return Comparison(metric, ">", _share(percent)) if percent < 100 else False


def _share(percent: float) -> float:
    return round(percent / 100, 9)
