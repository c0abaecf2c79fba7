"""What properties are tried on: conditions, rules, policies, snapshots, traces and trees of processes.

Everything is built from a `random.Random` that Hypothesis seeds: drawing a hundred fields one by one would take a
hundred times as long as what is to be tested. A failure names its seed, which gives the same case again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from okoomer.facts import Arc, Memory, Paging, Pressure, Process, Snapshot, Stall, Swap, Zram
from okoomer.policy.metrics import AVERAGE, LEVEL, RATIO
from okoomer.policy.metrics_cgroup import METRICS
from okoomer.policy.model import And, Comparison, Held, Not, Or, Policy, Rule, Selector, Step
from okoomer.policy.select import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from okoomer.policy.model import Condition

MIB, GIB = 1024**2, 1024**3
#: Of the machine, not of a cgroup.
MACHINE = {name: metric for name, metric in METRICS.items() if not metric.of_cgroup}
LEVELS = [name for name, metric in MACHINE.items() if metric.kind == LEVEL]
#: What a single snapshot tells: no windows.
INSTANT = [name for name, metric in MACHINE.items() if metric.kind in (LEVEL, AVERAGE, RATIO)]
WINDOWED = [name for name, metric in MACHINE.items() if metric.windowed]
OPERATORS = ("<", "<=", ">", ">=")


class Count:
    """How many cases the properties of this run were tried on."""

    cases = 0


def cases(count: int, batch: int = 20) -> Callable[[Callable[[Random], None]], Callable[[], None]]:
    """Makes a test of a property: it is called `count` times with a source of a case, of which each seed gives
    `batch`: a seed costs Hypothesis more than most cases take."""

    def decorate(check: Callable[[Random], None]) -> Callable[[], None]:
        def test(random: Random) -> None:
            for _ in range(batch):
                check(random)
                Count.cases += 1

        test.__name__, test.__qualname__, test.__module__ = check.__name__, check.__qualname__, check.__module__
        test.__doc__ = check.__doc__
        seeded = given(random=st.randoms(use_true_random=True))(test)
        # A smaller seed is not a smaller case.
        unshrunk = settings(max_examples=-(-count // batch), deadline=None, phases=(Phase.explicit, Phase.generate))
        return unshrunk(seeded)

    return decorate


# --- conditions, rules, policies ----------------------------------------------------------------------------


def comparison(random: Random, metrics: Sequence[str] = INSTANT) -> Comparison:
    metric = METRICS[random.choice(metrics)]
    operator = random.choice(OPERATORS)
    if metric.kind == LEVEL:
        if random.random() < 0.5:
            return Comparison(metric.name, operator, random.choice((0.0, 0.03, 0.1, 0.5, random.random())), share=True)
        return Comparison(metric.name, operator, random.choice((0, 64 * MIB, GIB, random.randrange(8 * GIB))))
    threshold = random.choice((0.0, 0.1, 0.5, random.random()))
    if metric.kind == RATIO:
        threshold *= 4
    return Comparison(metric.name, operator, threshold, over=random.choice((1.0, 2.0, 5.0)) if metric.windowed else 0.0)


def condition(
    random: Random, depth: int = 2, metrics: Sequence[str] = INSTANT, held: bool = False, no: bool = True
) -> Condition:
    """A condition; with `held` also `for`, with `no` also `not`."""
    kind = random.randrange(6) if depth else 0
    if kind in (1, 2, 3):
        parts = tuple(condition(random, depth - 1, metrics, held, no) for _ in range(random.randint(2, 3)))
        return (And if kind == 1 else Or)(parts)
    if kind == 4 and no:
        return Not(condition(random, depth - 1, metrics, held, no))
    if kind == 5 and held:
        return Held(condition(random, depth - 1, metrics, held, no), random.choice((0.25, 0.5, 1.0, 3.0)))
    return comparison(random, metrics)


def selector(written: str) -> Selector:
    kind, pattern = written.split(":", 1)
    return Selector(kind, pattern, compile_pattern(pattern))


NAMES = (
    "systemd",
    "sshd",
    "tmux: server",
    "bash",
    "make",
    "cc1plus",
    "postgres",
    "chrome",
    "Web Content",
    "java",
    ") (",
)
SUPERVISORS = tuple(map(selector, ("name:systemd|sshd", "name:tmux.*")))
SELECTORS = tuple(
    map(
        selector,
        ("name:postgres", "name:java|make", "user:1000", "cmdline:--type=renderer", "unit:ssh\\.service", "name:.*"),
    )
)
LADDERS = (
    (Step("kill"),),
    (Step("term", 1.0), Step("kill")),
    (Step("warn"), Step("term", 2.0), Step("kill")),
    (Step("warn", 1.0), Step("kill")),
    (Step("warn", 0.5), Step("term", 0.5), Step("kill")),
    (Step("term", 1.0),),
    (Step("warn"),),
)


def some(random: Random, among: Sequence[Selector], chance: float = 0.3) -> tuple[Selector, ...]:
    return tuple(one for one in among if random.random() < chance) if random.random() < 0.5 else ()


def rule(random: Random, when: Condition, number: int = 0, steps: tuple[Step, ...] | None = None) -> Rule:
    return Rule(
        name=f"rule {number}",
        when=when,
        when_text="generated",
        unit=random.choice(("process", "family")),
        rank=random.choice(("freed", "freed", "rss", "growth", "oom_score", "swap")),
        prefer=some(random, SELECTORS),
        avoid=some(random, SELECTORS[:5]),
        spare=some(random, SELECTORS[:5]),
        steps=random.choice(LADDERS) if steps is None else steps,
        rest=random.choice((0.0, 0.0, 0.5, 2.0)),
    )


def policy(random: Random, rules: Sequence[Rule]) -> Policy:
    return Policy(
        "generated", tuple(rules), spare=some(random, SELECTORS[:5], 0.2), supervisors=random.choice(((), SUPERVISORS))
    )


# --- snapshots and traces -----------------------------------------------------------------------------------


def stall(random: Random, total: float) -> Stall:
    return Stall(random.random(), random.random(), random.random(), total)


def snapshot(random: Random, time: float = 0.0) -> Snapshot:
    """A machine at one instant; each part that a machine may lack is lacking at times."""
    total = random.choice((256 * MIB, 2 * GIB, 8 * GIB))
    free = random.randrange(total)
    swap = Swap()
    zram = None
    if random.random() < 0.6:
        size = random.choice((64 * MIB, 4 * GIB))
        swap = Swap(size, random.randrange(size + 1))
        if random.random() < 0.5:
            swap = Swap(size, swap.free, size, swap.free)
            zram = Zram(size, size - swap.free, random.randrange(size - swap.free + 1))
    pressure = None
    if random.random() < 0.8:
        full = stall(random, 0.0) if random.random() < 0.8 else None
        pressure = Pressure(stall(random, 0.0), full)
    return Snapshot(
        time,
        Memory(
            total,
            free,
            random.randrange(free, total),
            anon=random.randrange(total),
            shmem=random.choice((0, random.randrange(total))),
            slab_unreclaimable=random.randrange(total // 8),
        ),
        swap,
        zram,
        Arc(random.randrange(total), random.randrange(total)) if random.random() < 0.1 else None,
        memory_pressure=pressure,
        io_pressure=pressure if random.random() < 0.5 else None,
        paging=Paging(random.randrange(GIB), random.randrange(GIB)) if random.random() < 0.7 else None,
    )


def facts_at(time: float, available: int) -> Snapshot:
    """A machine of 8 GiB of which nothing else is known."""
    return Snapshot(time, Memory(8 * GIB, 0, available))


def trace(random: Random, length: int) -> list[Snapshot]:
    """A machine at successive instants: memory falls, stays and recovers, time stalls, swap comes and goes, and now
    and then it is suspended."""
    total = 8 * GIB
    time, asleep, stalled, paged = random.random() * 1000, 0.0, 0.0, 0
    available, swap_total, swapped = random.random(), random.choice((0, 2 * GIB)), 0.0
    found = []
    for _ in range(length):
        passed = random.choice((0.02, 0.1, 0.25, 1.0, random.random() * 3))
        time += passed
        stalled += passed * random.choice((0.0, 0.0, random.random(), 1.0))
        paged += random.choice((0, random.randrange(GIB)))
        move = random.random()
        available = (
            random.random() if move < 0.1 else min(1.0, max(0.0, available + random.uniform(-0.2, 0.15) * (move < 0.6)))
        )
        if random.random() < 0.02:
            asleep += 100.0
        if random.random() < 0.02:
            swap_total = random.choice((0, 2 * GIB))
        swapped = min(1.0, max(0.0, swapped + random.uniform(-0.1, 0.1)))
        line = Stall(random.random(), 0.0, 0.0, stalled)
        found.append(
            Snapshot(
                time,
                Memory(total, 0, int(total * available), anon=int(total * (1 - available))),
                Swap(swap_total, int(swap_total * (1 - swapped))),
                memory_pressure=Pressure(line, line) if random.random() < 0.97 else None,
                paging=Paging(paged, paged, paged, paged),
                asleep=asleep,
            )
        )
    return found


# --- processes ----------------------------------------------------------------------------------------------


def tree(random: Random, count: int) -> tuple[list[Process], int]:
    """Processes and which of them is ours. Parents may be missing, may be their own or may go round in a circle."""
    pids = [1, 2, *sorted(random.sample(range(3, 50 * count), count))]
    shared = random.choice((0, 0, 64 * MIB, GIB))
    shape, host = random.random(), random.random() < 0.8  # in a container the second process is like any other
    found = []
    for index, pid in enumerate(pids):
        if index < 2:
            parent = 0
        elif shape < 0.1:
            parent = pids[index - 1]  # a chain
        elif shape < 0.3:
            parent = random.choice(pids[: max(3, index // 4)])  # many children each
        else:
            parent = random.choice(pids[:index])
        kernel_thread = host and (pid == 2 or parent == 2)
        if random.random() < 0.03:
            parent = random.choice((0, pid, 10**6, random.choice(pids)))
        terminal = random.random() < 0.2
        size = 0 if kernel_thread else random.choice((0, 100 * 1024, 5 * MIB, 200 * MIB, random.randrange(4 * GIB)))
        found.append(
            Process(
                pid=pid,
                parent=parent,
                name=random.choice(NAMES),
                started=float(index),
                user=random.choice((0, 1000)),
                session=pid if random.random() < 0.3 else 1,
                terminal=terminal,
                anon=size,
                swap=random.choice((0, size // 2)),
                shmem=random.choice((0, shared)) if size else 0,
                adjustment=random.choice((0, 0, 0, -1000, -999, -500, 100, 300, 1000)),
                oom_score=random.randrange(2000),
                growth=random.choice((None, 0.0, -1e6, random.random() * 1e9)),
                kernel_thread=kernel_thread,
                command=random.choice(("", "chrome --type=renderer")),
                cgroup=random.choice(("", "/system.slice/ssh.service", "/user.slice/session-1.scope")),
            )
        )
    return found, random.choice((0, random.choice(pids)))
