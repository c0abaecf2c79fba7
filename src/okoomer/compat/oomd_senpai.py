"""oomd's senpai as a rule: memory is taken from a cgroup little by little, as long as it does not feel it."""

from __future__ import annotations

from okoomer.compat.oomd_config import Call, Hear, Ruleset
from okoomer.compat.oomd_detectors import TICK, all_of, any_of
from okoomer.policy.model import Amount, Comparison, Rule, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.compat.oomd_detectors import Truth

#: Seconds of an interval, as oomd's own unit has it.
INTERVAL = 1.0


def senpai(call: Call, ruleset: Ruleset, when: Truth, hear: Hear) -> Rule:
    """The rule of a senpai.

    Args:
        call: The action.
        ruleset: Where it stands.
        when: What its detectors ask for besides.
        hear: Is told what is different.

    Raises:
        PolicyError: It is for the root, or in a ruleset for cgroups one by one.
    """
    globs = call.value("cgroup")
    if globs.root:
        raise globs.text.error("senpai for the root, from which nothing can be taken", "cgroups below it")
    if ruleset.scope:
        raise call.text.error("senpai in a ruleset for cgroups one by one", "a ruleset without cgroup")
    pause = call.value("interval") * INTERVAL
    least: Amount = call.value("limit_min_bytes")
    if least.share and least.value >= 1:
        where = call.text_of("limit_min_bytes") or call.text
        raise where.error("a limit that nothing can be above", "less than 100 %, or a size")
    parts: list[Truth] = [when, Comparison("cgroup.memory", ">", least.value, least.share)]
    if call.value("immediate_backoff"):
        for resource, key in (("memory", "pressure_pct"), ("io", "io_pressure_pct")):
            limit = _below(call, key, call.value(key) / 100)
            for average in ("avg10", "avg60"):
                parts.append(Comparison(f"cgroup.psi.{resource}.some.{average}", "<", limit))
    else:
        limit = _below(call, "pressure_ms", call.value("pressure_ms") / 1000 / pause)
        parts.append(Comparison("cgroup.psi.memory.some", "<", limit, over=min(pause, 600.0)))
        hear("memory is taken by memory.reclaim, where oomd writes memory.high: no limit is ever in force")
    if call.value("swap_validation"):
        share, rate = call.value("swap_threshold"), call.value("swapout_bps_threshold")
        parts.append(any_of((_swap_above(round(1 - share, 9)), _no_swap())))
        parts.append(Comparison("vm.swapout", "<", rate, over=TICK) if rate else True)
    probe = call.value("max_probe")
    if not probe:
        raise (call.text_of("max_probe") or call.text).error("nothing to take away", "more than 0")
    hear(f"max_probe: {probe * 100:g} % are taken each time; oomd takes less the nearer the pressure is to its limit")
    hear(f"interval: {pause:g} s, at {INTERVAL:g} s a look; never in another rule's way")
    found = all_of(parts)
    assert not isinstance(found, bool)
    return Rule("", found, "", scope=globs.scope, steps=(Step("shrink", amount=Amount(probe, share=True)),), rest=pause)


def _swap_above(share: float) -> Truth:
    # No swap has more free than all of it.
    return Comparison("swap.free", ">", share, share=True) if share < 1 else False


def _no_swap() -> Comparison:
    return Comparison("swap.total", "<=", 0.0)


def _below(call: Call, key: str, share: float) -> float:
    """A share of time that can be gone below."""
    found = round(share, 6)
    if not 0 < found <= 1:
        raise (call.text_of(key) or call.text).error("a pressure that nothing can be below", "more than 0, up to 100 %")
    return found
