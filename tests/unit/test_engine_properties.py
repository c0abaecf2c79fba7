"""The engine against references that are written differently, on generated policies and traces."""

from __future__ import annotations

from marshal import dumps, loads
from typing import TYPE_CHECKING

from okoomer import facts
from okoomer.policy.engine import FILL_RATE, FIRED, SWAP_FILL_RATE, Engine
from okoomer.policy.model import And, Comparison, Held, Not, Or, Policy, Rule, Step
from okoomer.record import Record, from_plain, replace, to_plain
from okoomer.units import MIB
from tests.unit import strategies as some
from tests.unit.strategies import cases

if TYPE_CHECKING:
    from random import Random

    from okoomer.facts import Snapshot
    from okoomer.policy.model import Condition

#: Truth as a number: unknown lies between false and true, `and` is the least, `or` the greatest.
FALSE, UNKNOWN, TRUE = 0.0, 0.5, 1.0
CLASSES = {kind.__name__: kind for kind in vars(facts).values() if isinstance(kind, type) and issubclass(kind, Record)}


# --- the reference ------------------------------------------------------------------------------------------


def reading(snapshot: Snapshot, metric: str) -> float | None:
    """What an instant says, read off once more by hand."""
    memory, swap, zram, arc = snapshot.memory, snapshot.swap, snapshot.zram, snapshot.arc
    family, field, *more = metric.split(".")
    if family == "psi":
        pressure = getattr(snapshot, f"{field}_pressure")
        line = getattr(pressure, more[0]) if pressure is not None else None
        return None if line is None else getattr(line, more[1])
    if family == "zram":
        if zram is None:
            return None
        return zram.stored / zram.used if field == "ratio" and zram.used else getattr(zram, field, None)
    if metric in ("mem.available", "mem.available.user"):
        return memory.available + (0 if arc is None or arc.size < arc.minimum else arc.size - arc.minimum)
    if metric == "mem.pending":
        return min(memory.writeback, swap.cached)
    if metric == "swap.used":
        return swap.total - swap.free
    if metric == "swap.effective":
        stored, used = (zram.stored + 32 * MIB, zram.used + 16 * MIB) if zram else (2, 1)
        spared = max(0.0, 1 - used / stored)
        return swap.free - swap.zram_free + int(swap.zram_free * spared)
    return getattr(memory if family == "mem" else swap, {"slab": "slab_unreclaimable"}.get(field, field))


def truth(condition: Condition, snapshot: Snapshot) -> float:
    """The truth of a condition without windows and holds."""
    if isinstance(condition, And):
        return min(truth(part, snapshot) for part in condition.parts)
    if isinstance(condition, Or):
        return max(truth(part, snapshot) for part in condition.parts)
    if isinstance(condition, Not):
        return 1 - truth(condition.part, snapshot)
    value, threshold = reading(snapshot, condition.metric), condition.threshold
    if value is None:
        return UNKNOWN
    if condition.share:
        whole = {"swap": snapshot.swap.total, "mem": snapshot.memory.total}.get(condition.metric.split(".")[0])
        if condition.metric.startswith("zram"):
            assert snapshot.zram
            whole = snapshot.zram.size if condition.metric == "zram.stored" else snapshot.memory.total
        if condition.metric == "mem.available.user":
            whole = snapshot.memory.anon + int(reading(snapshot, condition.metric) or 0)
        assert whole is not None
        threshold *= whole
    beyond = value < threshold if condition.operator[0] == "<" else value > threshold
    return float(beyond or (value == threshold and condition.operator.endswith("=")))


def truths(condition: Condition, trace: list[Snapshot]) -> list[float]:
    """The truth at each instant: held is what has been true at all instants since long enough ago."""
    if isinstance(condition, Held):
        inner, held = truths(condition.condition, trace), []
        for now, snapshot in enumerate(trace):
            since = now
            while since and inner[since - 1] == TRUE and trace[since - 1].asleep == snapshot.asleep:
                since -= 1
            long_enough = snapshot.time - trace[since].time >= condition.seconds - 1e-9
            held.append(inner[now] if inner[now] != TRUE else float(long_enough))
        return held
    if isinstance(condition, (And, Or)):
        together = min if isinstance(condition, And) else max
        return [together(at_once) for at_once in zip(*(truths(p, trace) for p in condition.parts), strict=True)]
    if isinstance(condition, Not):
        return [1 - one for one in truths(condition.part, trace)]
    return [truth(condition, snapshot) for snapshot in trace]


def one_rule(when: Condition, until: Condition | None = None) -> Policy:
    return Policy("one", (Rule("a", when, "", until=until),))


# --- truth --------------------------------------------------------------------------------------------------


@cases(70_000)
def test_a_rule_fires_when_the_reference_says_so(random: Random) -> None:
    when, snapshot = some.condition(random, depth=3), some.snapshot(random)
    state = Engine(one_rule(when)).step(snapshot).rules[0].state
    assert (state == FIRED) == (truth(when, snapshot) == TRUE), (when, snapshot)


@cases(8_000)
def test_holds_and_until_do_what_the_reference_says_all_along(random: Random) -> None:
    trace = some.trace(random, 20)
    when = some.condition(random, 2, ("mem.available", "mem.anon", "swap.free", "psi.memory.full.avg10"), held=True)
    until = some.condition(random, 1, ("mem.available", "psi.io.some.avg10"), held=True)
    until = until if random.random() < 0.5 else None
    engine, fired = Engine(one_rule(when, until)), False
    goes_on = truths(until, trace) if until else [TRUE] * len(trace)
    for snapshot, begins, ends in zip(trace, truths(when, trace), goes_on, strict=True):
        fired = ends != TRUE if fired and until else begins == TRUE
        assert (engine.step(snapshot).rules[0].state == FIRED) == fired, (when, until, snapshot)


def some_policy(random: Random) -> Policy:
    metrics = random.choice((some.LEVELS, some.INSTANT, (*some.LEVELS, *some.WINDOWED, "forecast.exhausted")))
    rules = []
    for number in range(random.randint(1, 4)):
        until = some.condition(random, 1, metrics) if random.random() < 0.3 else None
        when = some.condition(random, 2, metrics, held=True)
        rules.append(replace(some.rule(random, when, number), until=until))
    return some.policy(random, rules)


# --- determinism --------------------------------------------------------------------------------------------


@cases(2_000)
def test_the_same_snapshots_give_the_same_verdicts_live_and_from_a_recording(random: Random) -> None:
    policy, trace = some_policy(random), some.trace(random, 15)
    recording = dumps([to_plain(snapshot) for snapshot in trace])
    live, again, replayed = Engine(policy), Engine(policy), Engine(policy)
    said = [live.step(snapshot) for snapshot in trace]
    assert said == [again.step(snapshot) for snapshot in trace]
    assert said == [replayed.step(from_plain(one, CLASSES)) for one in loads(recording)]


# --- who acts -----------------------------------------------------------------------------------------------


@cases(3_000)
def test_acts_are_of_fired_rules_that_have_rested_and_none_is_missed(random: Random) -> None:
    policy = some_policy(random)
    engine = Engine(policy)
    rests = [float("-inf")] * len(policy.rules)
    for snapshot in some.trace(random, 20):
        acting = random.random() < 0.3
        verdict = engine.step(snapshot, acting=acting)
        ready = []
        for index, (rule, found) in enumerate(zip(policy.rules, verdict.rules, strict=True)):
            acts = any(step.kind != "warn" for step in rule.steps)
            if acts and found.state == FIRED and acting:
                rests[index] = snapshot.time + rule.rest
            elif acts and found.state == FIRED and snapshot.time >= rests[index]:
                ready.append(index)
            assert (index, None) not in verdict.warnings or (not acts and found.state == FIRED)
        assert verdict.act == (ready[0] if ready else None)
        if verdict.act is not None:
            rests[verdict.act] = snapshot.time + policy.rules[verdict.act].rest


@cases(2_000)
def test_rules_that_only_warn_change_nothing_for_the_others(random: Random) -> None:
    acting = Policy("acts", tuple(replace(rule, steps=(Step("kill"),)) for rule in some_policy(random).rules))
    warning = tuple(replace(rule, steps=(Step("warn"),), name=f"w{rule.name}") for rule in some_policy(random).rules)
    place = random.randint(0, len(acting.rules))
    both = Policy("both", acting.rules[:place] + warning + acting.rules[place:])
    alone, beside = Engine(acting), Engine(both)
    for snapshot in some.trace(random, 15):
        act, found = alone.step(snapshot).act, beside.step(snapshot).act
        assert (act is None) == (found is None)
        assert act is None or found is None or acting.rules[act] == both.rules[found]


# --- soonest ------------------------------------------------------------------------------------------------


def moved(snapshot: Snapshot, time: float, ways: tuple[int, ...], stalled: float) -> Snapshot:
    """The machine at a later time, each level moved as far as it can go one way (-1, 0 or 1)."""
    memory, swap, passed = snapshot.memory, snapshot.swap, time - snapshot.time
    far, far_swap = int(FILL_RATE * passed), int(SWAP_FILL_RATE * passed)

    def within(value: int, way: int, limit: int) -> int:
        return max(0, min(limit, value + way))

    levels = zip(("free", "available", "anon", "file", "shmem", "slab_unreclaimable"), ways, strict=False)
    changes = {name: within(getattr(memory, name), way * far, memory.total) for name, way in levels}
    free = within(swap.free, ways[-1] * far_swap, swap.total)
    pressure = snapshot.memory_pressure
    if pressure and pressure.full:
        pressure = replace(pressure, full=replace(pressure.full, total=pressure.full.total + stalled))
    return replace(
        snapshot,
        time=time,
        memory=replace(memory, **changes),
        swap=replace(swap, free=free, zram_free=min(swap.zram_total, free)),
        memory_pressure=pressure,
    )


def fires_within_soonest(random: Random, when: Condition) -> bool:
    """Runs a machine that gets worse as fast as it can, until just before `soonest`; whether a rule fired."""
    engine, now = Engine(one_rule(when)), some.snapshot(random, time=random.choice((0.0, 1e5)))
    for _ in range(3):
        verdict = engine.step(now)
        before = now
        ways = tuple(random.choice((-1, -1, 0, 1)) for _ in range(7))
        now = moved(now, now.time + random.choice((0.01, 0.2)), ways, stalled=0.005)
    if not 0 < verdict.soonest < 60:
        return False
    now, until = before, before.time + verdict.soonest * (1 - 1e-6)
    ways = tuple(random.choice((-1, 1)) for _ in range(7)) if random.random() < 0.5 else (-1, -1, 1, 1, 1, 1, -1)
    for _ in range(random.randint(0, 3)):
        time = random.uniform(now.time, until)
        now = moved(now, time, ways, stalled=time - now.time)
        if engine.step(now).rules[0].state == FIRED:
            return True
    return engine.step(moved(now, until, ways, stalled=until - now.time)).rules[0].state == FIRED


@cases(20_000)
def test_no_rule_about_levels_fires_before_soonest_however_fast_memory_fills(random: Random) -> None:
    when = some.condition(random, random.randrange(4), some.LEVELS, held=True)
    assert not fires_within_soonest(random, when), when


@cases(10_000)
def test_no_rule_about_stalls_fires_before_soonest_even_if_all_stalls_at_once(random: Random) -> None:
    stalls = Comparison("psi.memory.full", random.choice((">", ">=")), random.random(), over=random.choice((1.0, 3.0)))
    level = some.condition(random, 1, some.LEVELS, held=True, no=False)
    when = random.choice((stalls, And((stalls, level)), Or((stalls, level)), Held(stalls, 0.5)))
    assert not fires_within_soonest(random, when), when


def test_soonest_is_tried_on_enough_that_can_fire() -> None:
    # The properties above say nothing unless running on, past `soonest`, does make rules fire.
    low = Comparison("mem.available", "<", 0.1, share=True)
    engine = Engine(one_rule(low))
    well = facts.Snapshot(0.0, facts.Memory(8 * some.GIB, 4 * some.GIB, 4 * some.GIB))
    soonest = engine.step(well).soonest
    assert engine.step(moved(well, soonest * 0.999, (-1,) * 7, 0.0)).rules[0].state != FIRED
    assert engine.step(moved(well, soonest * 1.001, (-1,) * 7, 0.0)).rules[0].state == FIRED
