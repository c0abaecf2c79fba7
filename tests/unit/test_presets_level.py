"""How short memory is by the presets: on recorded machines, on machines made to order, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.events.model import LOW, MEDIUM, NORMAL, SEVERE
from okoomer.facts import Memory, Paging, Pressure, Snapshot, Stall, Swap
from okoomer.guard.level import Levels
from okoomer.policy.engine import Engine
from okoomer.policy.language import load
from okoomer.policy.metrics import available
from okoomer.record import replace
from tests.unit.strategies import cases
from tests.unit.test_presets import FULL_ZRAM, GIB, machine
from tests.unit.test_traces import recorded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from okoomer.policy.model import Policy

POLICIES = {name: load(name) for name in ("desktop", "server")}


def story(policy: Policy, snapshots: Sequence[Snapshot]) -> tuple[list[tuple[float, int]], float | None]:
    """When which level was told on a machine on which nobody is ended, and when somebody would have been first."""
    engine, levels = Engine(policy), Levels(policy, lambda event: None)
    found: list[tuple[float, int]] = []
    act = None
    for snapshot in snapshots:
        verdict = engine.step(snapshot)
        before = levels.level
        levels.tell(verdict, "", available(snapshot), lambda: None)
        if levels.level != before:
            found.append((snapshot.time, levels.level))
        if act is None and verdict.act is not None and not policy.rules[verdict.act].tentative:
            act = snapshot.time
    return found, act


def worst(policy: Policy, snapshots: Sequence[Snapshot]) -> int:
    return max((level for _, level in story(policy, snapshots)[0]), default=NORMAL)


# --- recorded machines ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize(
    ("trace", "low", "medium", "severe"),
    [
        ("s2-churn-disk", 3.2, 2.1, 1.2),  # 100 MB/s
        ("s2-churn-zram", 3.3, 2.2, 1.1),
        ("s10", 1.4, 1.0, 0.3),  # 270 MB/s, a quarter of all memory each second
        ("s5-containers", 1.8, 1.5, 0.2),  # as fast, and for a second of it the recorder stood still, too
    ],
)
def test_applications_hear_of_it_before_somebody_is_ended(
    policy: Policy, trace: str, low: float, medium: float, severe: float
) -> None:
    told, act = story(policy, recorded(trace))
    first = {level: next(at for at, one in told if one >= level) for level in (LOW, MEDIUM, SEVERE)}
    assert act is not None
    assert act - first[LOW] >= low and act - first[MEDIUM] >= medium and act - first[SEVERE] >= severe
    rising = [level for at, level in told if at <= act]
    assert rising == sorted(rising), "up and up until somebody is ended"


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize(
    ("trace", "highest"),
    [("s13-disk-a", SEVERE), ("s13-disk-b", SEVERE), ("s13-disk-c", SEVERE), ("s13-disk-d", MEDIUM)],
)
def test_where_cold_memory_goes_to_swap_applications_are_asked_and_nobody_is_ended(
    policy: Policy, trace: str, highest: int
) -> None:
    told, act = story(policy, recorded(trace))
    assert act is None
    assert max(level for _, level in told) == highest
    assert told[-1][1] == NORMAL, "it is over when it is written"


# --- machines made to order -------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("total", [1, 4, 16, 256])
def test_one_cgroup_that_stalls_at_its_own_limit_in_a_plentiful_machine_is_no_shortage(
    policy: Policy, total: float
) -> None:
    for some, full in ((0.6, 0.4), (1.0, 1.0)):
        stalls = machine(total, 0.95 * total, swap=(8, 8), some=some, full=full, thrash=0.9)
        assert worst(policy, stalls) == NORMAL
        assert worst(policy, machine(total, 0.95 * total, some=some, full=full)) == NORMAL


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize(
    ("snapshots", "level"),
    [
        (machine(16, 8), NORMAL),
        (machine(16, 9, some=0.15, full=0.05), NORMAL),  # a large file is copied
        (machine(8, 4, swap=(4, 0), zram=FULL_ZRAM), NORMAL),  # idle pages fill zram
        (machine(8, 0.45), NORMAL),  # full, and steadily so
        (machine(8, 0.1), NORMAL),
        (machine(256, 12), NORMAL),
        (machine(8, 1.4, some=0.15), LOW),  # there is less than there was, and it hurts
        (machine(8, 1.4, growth=0.02), LOW),  # it does not hurt, but is gone in a minute
        (machine(8, 1.4, swap=(64, 60), growth=0.02), NORMAL),  # there is much swap
        (machine(8, 0.7, some=0.25), MEDIUM),
        (machine(8, 0.7, growth=0.02), MEDIUM),
        (machine(1, 0.09, some=0.25), MEDIUM),
        (machine(1, 0.06, growth=0.005), SEVERE),
        (machine(1, 0.15, some=0.15), LOW),
        (machine(8, 0.5, growth=0.02), SEVERE),
        (machine(8, 0.5, swap=(8, 0.4), some=0.15), SEVERE),
        (machine(8, 0.2, swap=(64, 60), some=0.6, full=0.3), SEVERE),  # it stands still, whatever swap there is
        (machine(256, 5, some=0.15), LOW),
        (machine(256, 2.5, some=0.25), MEDIUM),
        (machine(256, 1.5, some=0.25), SEVERE),
        (machine(64, 4, growth=0.1), LOW),
    ],
)
def test_which_level_on_which_machine(policy: Policy, snapshots: list[Snapshot], level: int) -> None:
    assert worst(policy, snapshots) == level


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_who_is_filled_too_fast_for_a_forecast_hears_of_it_all_the_same(policy: Policy) -> None:
    calm = [Snapshot(at / 4, Memory(16 * GIB, 0, 4 * GIB)) for at in range(20)]
    falling = [Snapshot(5 + at / 20, Memory(16 * GIB, 0, int((4 - at / 20) * GIB))) for at in range(40)]
    told, act = story(policy, calm + falling)
    assert told[0][1] == LOW and told[0][0] <= 6.2
    assert act is None or act > told[0][0] + 1.0


def steady(
    total: int, free: float, swap: tuple[float, float], some: float, full: float, cache: float, shares: float
) -> list[Snapshot]:
    """Eight seconds of a machine that neither falls nor recovers; what is available, swap and stalls as shares, of what
    is available a `cache`; reclaim has taken `shares` of all memory each second."""
    found = []
    for at in range(33):
        stalls = Pressure(Stall(0, 0, 0, some * at / 4), Stall(0, 0, 0, min(some, full) * at / 4))
        stolen = int(shares * total * at / 4)
        found.append(
            Snapshot(
                at / 4,
                Memory(total, int(free * total * (1 - cache)), int(free * total), file=int(free * total * cache)),
                Swap(int(swap[0] * total), int(swap[0] * swap[1] * total)),
                memory_pressure=stalls,
                paging=Paging(scan_kswapd=stolen, steal=stolen, refault_file=stolen // 2, activated=stolen),
            )
        )
    return found


def size(random: Random) -> int:
    return int(random.choice((0.5, 1, 2, 4, 8, 16, 64, 256)) * GIB)


@cases(200, batch=10)
def test_pressure_alone_is_no_shortage_however_hard_it_is(random: Random) -> None:
    some, full, cache, taken = (random.random() for _ in range(4))
    swap = random.random() * 2, random.random()
    snapshots = steady(size(random), random.uniform(0.2, 1.0), swap, some, full, cache, taken)
    for policy in POLICIES.values():
        assert worst(policy, snapshots) == NORMAL


@cases(200, batch=10)
def test_scarcity_alone_is_no_shortage_nor_is_a_small_page_cache(random: Random) -> None:
    free, cache = random.choice((random.random(), 0.01, 0.05)), random.choice((0.0, random.random()))
    swap = random.random() * 2, random.random()
    snapshots = steady(size(random), free, swap, random.random() / 11, 0.0, cache, random.random())
    for policy in POLICIES.values():
        assert worst(policy, snapshots) == NORMAL


@cases(300, batch=10)
def test_less_memory_and_more_pressure_never_make_it_lower(random: Random) -> None:
    total = size(random)
    free, swap, left = random.random() ** 3, random.choice((0.0, random.random())), random.random() ** 2
    some, full = random.random(), random.random()
    better = steady(total, free, (swap, left), some, full, 0.5, 0.1)
    worse = steady(
        total,
        free * random.uniform(0, 1),
        (swap, left * random.uniform(0, 1)),
        some + (1 - some) * random.random(),
        full + (1 - full) * random.random(),
        0.5,
        0.1,
    )
    for policy in POLICIES.values():
        assert worst(policy, worse) >= worst(policy, better)


# --- what it costs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("total", [1, 2, 4, 8, 16, 32, 64, 128, 256])
@pytest.mark.parametrize("share", [0.05, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 0.9])
def test_nobody_wakes_a_moment_sooner_for_the_sake_of_levels(policy: Policy, total: float, share: float) -> None:
    def pause(policy: Policy) -> float:
        engine = Engine(policy, triggers=True)
        return min(10.0, [engine.step(snapshot) for snapshot in machine(total, share * total)][-1].soonest)

    acting = replace(policy, rules=tuple(rule for rule in policy.rules if rule.steps))
    assert len(acting.rules) == len(policy.rules) - 3
    assert pause(policy) >= pause(acting) - 1e-9
