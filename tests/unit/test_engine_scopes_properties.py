"""Rules about cgroups on generated policies and traces: each cgroup is judged as if it were the only one, and what is
not read would have made no difference."""

from __future__ import annotations

from marshal import dumps, loads
from typing import TYPE_CHECKING

from okoomer import facts
from okoomer.facts import Cgroup, Memory, Paging, Pressure, Snapshot, Stall, Swap
from okoomer.policy.engine import FIRED, Engine
from okoomer.policy.metrics import AVERAGE, LEVEL
from okoomer.policy.metrics_cgroup import METRICS
from okoomer.policy.model import And, Comparison, Held, Not, Or, Policy
from okoomer.policy.wants import wants_of
from okoomer.record import Record, from_plain, replace, to_plain
from okoomer.units import GIB, MIB
from tests.unit.cgroups_at import APPS, OTHERS, rule, somewhere
from tests.unit.strategies import LADDERS, cases

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from okoomer.policy.model import Condition, Rule

CLASSES = {kind.__name__: kind for kind in vars(facts).values() if isinstance(kind, type) and issubclass(kind, Record)}
LEVELS = ("cgroup.memory", "cgroup.swap", "cgroup.left")
STALLS = ("cgroup.psi.memory.full", "cgroup.stall.full")
AVERAGES = ("cgroup.psi.memory.full.avg10",)
FLOWS = ("cgroup.scan", "cgroup.growth", "cgroup.thrash")
MACHINE = ("mem.available", "psi.memory.some")


# --- what is tried ------------------------------------------------------------------------------------------


def comparison(random: Random, metrics: Sequence[str]) -> Comparison:
    metric = METRICS[random.choice(metrics)]
    operator = random.choice((">", ">", ">=", "<"))
    if metric.kind == LEVEL:
        return Comparison(metric.name, operator, random.choice((0.1, 0.4, random.random())), share=True)
    threshold = random.choice((0.0, 0.2, random.random()))
    if metric.name in ("cgroup.scan", "cgroup.growth"):
        threshold *= 100 * MIB
    return Comparison(metric.name, operator, threshold, over=random.choice((1.0, 3.0)) if metric.windowed else 0.0)


def condition(random: Random, metrics: Sequence[str], depth: int = 2, held: bool = True) -> Condition:
    kind = random.randrange(7) if depth else 0
    if kind in (1, 2, 3):
        parts = tuple(condition(random, metrics, depth - 1, held) for _ in range(2))
        return (And if kind < 3 else Or)(parts)
    if kind == 4:
        return Not(condition(random, metrics, depth - 1, held))
    if kind == 5 and held:
        return Held(condition(random, metrics, depth - 1, held), random.choice((0.25, 1.0, 3.0)))
    return comparison(random, metrics)


def some_rule(random: Random, number: int, metrics: Sequence[str]) -> Rule:
    """A rule for each of some cgroups, or one about any of them, or both."""
    when = condition(random, metrics)
    scope = random.choice((APPS, APPS, OTHERS, None))
    if scope is None or random.random() < 0.2:
        inner = somewhere(condition(random, metrics), random.choice((APPS, OTHERS)))
        machine = condition(random, MACHINE, 1)
        when = random.choice((inner, And((inner, machine)), Held(inner, 1.0), Not(inner), And((inner, when))))
    until = condition(random, metrics, 1) if random.random() < 0.3 else None
    rest = random.choice((0.0, 2.0))
    return rule(when, f"rule {number}", scope, until=until, steps=random.choice(LADDERS), rest=rest)


def some_policy(random: Random, metrics: Sequence[str]) -> Policy:
    return Policy("generated", tuple(some_rule(random, number, metrics) for number in range(random.randint(1, 3))))


class Life:
    """A cgroup all along: it grows, shrinks, stalls and is reclaimed from; a total that moves moves the machine's."""

    def __init__(self, random: Random, path: str, inode: int, average: float | None = None) -> None:
        self.random, self.path, self.inode = random, path, inode
        self.total, self.scan, self.refault = random.random() * 10, 0, 0
        # One that was made while nothing stalls has not stalled.
        self.average = random.random() if average is None else average
        self.memory, self.left = random.randrange(GIB), random.choice((None, 0, GIB))
        self.now = self.cgroup()

    def cgroup(self) -> Cgroup:
        line = Stall(self.average, 0.0, 0.0, self.total)
        return Cgroup(
            self.path,
            self.inode,
            memory=self.memory,
            swap=self.memory // 2,
            left=self.left,
            scan=self.scan,
            steal=self.scan // 2,
            refault=self.refault,
            memory_pressure=Pressure(line, line) if self.inode % 7 else None,
        )

    def live(self, passed: float, stalls: bool, rises: bool, scans: bool) -> None:
        random = self.random
        if stalls:
            self.total += passed * random.choice((0.0, 0.3, 1.0))
        self.average = random.random() if rises else self.average * random.choice((1.0, 0.5))
        if scans:
            self.scan += random.choice((0, 0, random.randrange(GIB)))
            self.refault += random.choice((0, 0, random.randrange(GIB)))
        if random.random() < 0.3:
            self.memory = random.choice((random.randrange(8 * GIB), self.memory + 10 * MIB))
        if random.random() < 0.1:
            self.left = random.choice((None, 0, GIB))
        found = self.cgroup()
        # A reader may give the same record again, or an equal one.
        self.now = self.now if found == self.now and random.random() < 0.7 else found


def trace(random: Random, length: int, changes: bool = True) -> list[Snapshot]:
    """A machine at successive instants, with times in which nothing stalls; with `changes` cgroups come, go and are
    made anew."""
    lives = [
        Life(random, f"/{top}/{i}", n + 1)
        for n, (top, i) in enumerate((t, i) for t in ("apps", "others") for i in "ab")
    ]
    time, asleep, inode, scanned = random.random() * 100, 0.0, 10, 0
    available, stalled, calm_for = random.random(), 5.0, 0.0
    found = []
    for _ in range(length):
        passed = random.choice((0.1, 1.0, 1.0, 2.5, random.random() * 3))
        time += passed
        busy = random.random() < (0.7 if calm_for == 0 else 0.2)
        calm_for = 0.0 if busy else calm_for + passed
        scans = random.random() < 0.4
        stalled += passed * busy
        scanned += MIB * scans
        if random.random() < 0.3:
            available = random.random()
        if changes and random.random() < 0.02:
            asleep += 50.0
        for life in lives:
            life.live(passed, busy, calm_for < 2.0, scans)
        if changes and lives and random.random() < 0.1:
            gone = lives.pop(random.randrange(len(lives)))
            if random.random() < 0.6:
                inode += 1
                lives.append(Life(random, gone.path, inode, average=0.0))
        line = Stall(0.0, 0.0, 0.0, stalled)
        texts = ((scope.text, scope.text[:-1]) for scope in (APPS, OTHERS))
        scoped = tuple((text, tuple(one.now for one in lives if one.path.startswith(f"/{top}"))) for text, top in texts)
        found.append(
            Snapshot(
                time,
                Memory(8 * GIB, 0, int(8 * GIB * available)),
                Swap(GIB, GIB // 2),
                memory_pressure=Pressure(line, line),
                paging=Paging(scan_direct=scanned, steal=scanned, refault_anon=scanned),
                asleep=asleep,
                scoped=scoped,
            )
        )
    return found


def of_one(snapshot: Snapshot, cgroup: Cgroup) -> Snapshot:
    """The same instant if there were only that cgroup."""
    return replace(
        snapshot, scoped=tuple((text, tuple(one for one in there if one == cgroup)) for text, there in snapshot.scoped)
    )


ALL = (*LEVELS, *STALLS, *AVERAGES, *FLOWS, *MACHINE)


# --- each by itself -----------------------------------------------------------------------------------------


@cases(600, batch=5)
def test_each_cgroup_is_judged_as_if_it_were_the_only_one(random: Random) -> None:
    until = condition(random, ALL, 1) if random.random() < 0.3 else None
    alike = Policy("alike", (rule(condition(random, ALL), until=until),))
    together, alone = Engine(alike), dict[int, Engine]()
    machine: list[Snapshot] = []
    for snapshot in trace(random, 15):
        machine.append(snapshot)
        verdict = together.step(snapshot)
        there = dict(snapshot.scoped)[APPS.text]
        alone = {one.inode: alone[one.inode] for one in there if one.inode in alone}
        fired, soonest = set(), float("inf")
        for one in there:
            if one.inode not in alone:
                # What the machine was like before it was there counts for it too.
                alone[one.inode] = Engine(alike)
                for earlier in machine[:-1]:
                    alone[one.inode].step(replace(earlier, scoped=((APPS.text, ()),)))
            found = alone[one.inode].step(of_one(snapshot, one))
            if found.rules[0].state == FIRED:
                fired.add(one.path)
            else:
                soonest = min(soonest, found.soonest)
        assert set(verdict.rules[0].fired) == fired, (alike.rules[0].when, until)
        assert (verdict.rules[0].state == FIRED) == bool(fired)
        assert verdict.soonest <= soonest + 1e-9, (alike.rules[0].when, until)


@cases(400, batch=5)
def test_what_is_about_the_machine_only_fires_for_every_cgroup_as_it_does_without_a_scope(random: Random) -> None:
    until = condition(random, MACHINE, 1) if random.random() < 0.7 else None
    one = rule(condition(random, MACHINE), until=until)
    each, machine = Engine(Policy("each", (one,))), Engine(Policy("machine", (replace(one, scope=None),)))
    for snapshot in trace(random, 15, changes=False):
        fired = {"/apps/a", "/apps/b"} if machine.step(snapshot).rules[0].state == FIRED else set()
        assert set(each.step(snapshot).rules[0].fired) == fired, (one.when, until)


@cases(800, batch=5)
def test_any_is_true_when_it_is_true_of_one(random: Random) -> None:
    inner = condition(random, ALL)
    any_of, each = Engine(Policy("any", (rule(somewhere(inner), scope=None),))), Engine(Policy("each", (rule(inner),)))
    for snapshot in trace(random, 15):
        assert any_of.step(snapshot).rules[0].state == each.step(snapshot).rules[0].state, inner


@cases(400, batch=5)
def test_an_act_is_about_a_cgroup_that_is_there_and_for_which_the_rule_has_fired(random: Random) -> None:
    policy = some_policy(random, ALL)
    engine = Engine(policy)
    for snapshot in trace(random, 15):
        verdict = engine.step(snapshot, acting=random.random() < 0.3)
        there = dict(snapshot.scoped)
        acts = [(verdict.act, verdict.target)] if verdict.act is not None else []
        for index, target in (*acts, *verdict.warnings):
            scope = policy.rules[index].scope
            assert (target is None) == (scope is None)
            assert verdict.rules[index].state == FIRED
            if scope and target:
                assert target in there[scope.text] and target.path in verdict.rules[index].fired


# --- determinism --------------------------------------------------------------------------------------------


@cases(300, batch=5)
def test_the_same_snapshots_give_the_same_verdicts_whoever_else_asked_what_to_read(random: Random) -> None:
    policy, snapshots = some_policy(random, ALL), trace(random, 12)
    live, asked, replayed = Engine(policy), Engine(policy), Engine(policy)
    said = [live.step(snapshot) for snapshot in snapshots]
    assert said == [replayed.step(from_plain(one, CLASSES)) for one in loads(dumps(list(map(to_plain, snapshots))))]
    for snapshot, verdict in zip(snapshots, said, strict=True):
        asked.wanted(replace(snapshot, scoped=()))
        assert asked.step(snapshot) == verdict


# --- what is not read ---------------------------------------------------------------------------------------


class Skipped:
    """How often something was not read, and of how many readings."""

    of = count = 0


def gated(random: Random, policy: Policy, snapshots: list[Snapshot]) -> None:
    """Runs an engine that reads only what it wants beside one that reads everything."""
    everything, wanting = Engine(policy), Engine(policy)
    texts = {want.scope.text for want in wants_of(policy)}
    for snapshot in snapshots:
        acting = random.random() < 0.2
        wanted = wanting.wanted(replace(snapshot, scoped=()))
        assert wanted <= texts
        Skipped.of, Skipped.count = Skipped.of + len(texts), Skipped.count + len(texts - wanted)
        full = everything.step(snapshot, acting)
        less = wanting.step(replace(snapshot, scoped=tuple(one for one in snapshot.scoped if one[0] in wanted)), acting)
        assert [(one.state, one.fired) for one in full.rules] == [(one.state, one.fired) for one in less.rules], policy
        assert (full.act, full.target, full.warnings) == (less.act, less.target, less.warnings)


@cases(800, batch=5)
def test_what_is_not_wanted_of_present_readings_would_have_changed_nothing(random: Random) -> None:
    gated(random, some_policy(random, (*LEVELS, *AVERAGES, *MACHINE)), trace(random, 15))


@cases(600, batch=5)
def test_what_is_not_wanted_of_stalls_and_flows_would_have_changed_nothing(random: Random) -> None:
    # One that is made while nothing is read is first seen with the next reading, so here all are there from the start.
    metrics = random.choice((ALL, (*STALLS, *AVERAGES), (*STALLS, "cgroup.memory", "mem.available")))
    gated(random, some_policy(random, metrics), trace(random, 30, changes=False))


def test_a_good_part_is_not_read() -> None:
    # The properties above say nothing if everything is wanted all the time.
    from random import Random

    random = Random(7)
    Skipped.of = Skipped.count = 0
    for _ in range(150):
        stalls = And((comparison(random, STALLS), comparison(random, LEVELS)))
        gated(
            random,
            Policy("stalls", (rule(replace(stalls, parts=(replace(stalls.parts[0], operator=">"), stalls.parts[1]))),)),
            trace(random, 30, changes=False),
        )
    assert Skipped.count > Skipped.of / 10


# --- soonest ------------------------------------------------------------------------------------------------


@cases(1_500, batch=5)
def test_no_rule_about_stalls_of_cgroups_fires_before_soonest_even_if_all_stall_at_once(random: Random) -> None:
    when = replace(comparison(random, STALLS), operator=random.choice((">", ">=")))
    beside = condition(random, (*LEVELS, "mem.available"), 1)
    whole: Condition = random.choice((when, And((when, beside)), Held(when, 0.5), somewhere(And((when, beside)))))
    one = rule(whole, scope=None if type(whole).__name__ == "Somewhere" else APPS)
    engine, snapshots = Engine(Policy("one", (one,))), trace(random, 5, changes=False)
    verdict = [engine.step(snapshot) for snapshot in snapshots][-1]
    last, passed = snapshots[-1], verdict.soonest * (1 - 1e-6)
    if not 0 < passed < 60 or verdict.rules[0].state == FIRED:
        return
    there = []
    for cgroup in dict(last.scoped)[APPS.text]:
        pressure = cgroup.memory_pressure
        if pressure:
            line = replace(pressure.some, total=pressure.some.total + passed)
            cgroup = replace(cgroup, memory_pressure=Pressure(line, line), left=None)
        there.append(cgroup)
    later = replace(last, time=last.time + passed, scoped=((APPS.text, tuple(there)),))
    assert engine.step(later).rules[0].state != FIRED, whole


def test_kinds_that_are_tried_are_those_that_there_are() -> None:
    assert {METRICS[name].kind for name in AVERAGES} == {AVERAGE}
    assert all(METRICS[name].of_cgroup == (name not in MACHINE) for name in ALL)
