"""The policies that come with okoomer: whom they know, and what they do on which machine."""

from __future__ import annotations

import re
import time

import pytest

from okoomer.facts import Memory, Paging, Pressure, Process, Snapshot, Stall, Swap, Zram
from okoomer.policy import source
from okoomer.policy.engine import Engine
from okoomer.policy.language import PRESETS, load
from okoomer.policy.select import matcher

GIB = 1024**3


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_read_at_once(name: str) -> None:
    took = []
    for _ in range(5):
        source.parser.cache_clear()
        begun = time.process_time()
        policy = load(name)
        took.append(time.process_time() - begun)
    assert min(took) < 0.5
    assert policy.name == name and policy.supervisors and policy.avoid


def test_names_are_as_short_as_the_kernel_cuts_them() -> None:
    policy = load("server")
    essential = (*policy.supervisors, *policy.avoid)
    # What lies in a process's own memory may have to come from swap: no list for all rules asks for that.
    assert {selector.kind for selector in essential} == {"name", "unit", "cgroup"}
    for selector in essential:
        for name in selector.pattern.split("|") if selector.kind == "name" else ():
            assert len(re.sub(r"\\|\.\*|\?|\[.*\]\*", "", name)) <= 15, name
    match = matcher(policy.supervisors)
    for name in ("tmux: server", "sshd-session", "gnome-terminal-", "Runner.Listener", "containerd-shim"):
        assert match(Process(pid=5, parent=1, name=name, started=0.0)), name
    for name in ("postgres", "java", "firefox", "python3", "cc1plus", "node"):
        assert not match(Process(pid=5, parent=1, name=name, started=0.0)), name


def fired(name: str, snapshots: list[Snapshot]) -> set[str]:
    engine = Engine(load(name))
    verdicts = [engine.step(snapshot) for snapshot in snapshots]
    return {rule.name for rule in verdicts[-1].rules if rule.state == "fired"}


def machine(
    total: float,
    available: float,
    swap: tuple[float, float] = (0, 0),
    full: float = 0.0,
    some: float = 0.0,
    zram: Zram | None = None,
    growth: float = 0.0,
    thrash: float = 0.0,
) -> list[Snapshot]:
    """Ten seconds of a machine: sizes in GiB, in the end, growth in GiB/s, stalls and what comes back as shares."""

    def stall(share: float, at: float) -> Stall:
        return Stall(share, share, share, share * at)

    def memory(at: float) -> Memory:
        return Memory(int(total * GIB), 0, int(min(total, available + growth * (10 - at)) * GIB))

    areas = [int(size * GIB) for size in swap]
    in_zram = areas if zram else [0, 0]
    return [
        Snapshot(
            at / 4,
            memory(at / 4),
            Swap(areas[0], areas[1], in_zram[0], in_zram[1]),
            zram=zram,
            memory_pressure=Pressure(stall(max(some, full), at / 4), stall(full, at / 4)),
            paging=Paging(refault_anon=int(thrash * at * GIB), scan_kswapd=2 * at * GIB, steal=at * GIB),
        )
        for at in range(41)
    ]


FULL_ZRAM = Zram(4 * GIB, 4 * GIB, GIB)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    ("snapshots", "acts"),
    [
        (machine(16, 8), False),  # nothing at all
        (machine(16, 9, some=0.15, full=0.05), False),  # a large file is copied
        (machine(8, 4, swap=(4, 0), zram=FULL_ZRAM), False),  # idle pages fill zram
        (machine(8, 0.4, swap=(8, 6)), False),  # little memory, much swap, no pain
        (machine(256, 12), False),  # 5 %, and yet enough
        (machine(256, 200, full=0.9), False),  # a container against its own limit
        (machine(8, 0.2), False),  # full, and steadily so
        (machine(8, 0.45), False),
        (machine(1, 0.01), True),  # no swap, and next to no memory
        (machine(1, 0.025, growth=0.02), True),  # a little more, and it goes
        (machine(1, 0.05, growth=0.01), True),  # even more, and it will be gone within a minute
        (machine(1, 0.025, some=0.2), True),  # it stays, but it hurts
        (machine(256, 0.7), True),
        (machine(8, 0.2, swap=(8, 0.3), some=0.2), True),
        (machine(8, 0.2, swap=(4, 0.0), zram=FULL_ZRAM, some=0.2), True),
        (machine(8, 0.1, swap=(64, 60), full=0.35), False),  # cold memory is pushed to swap, once
        (machine(8, 0.1, swap=(64, 60), full=0.45, thrash=0.3), True),  # and here it comes back: thrashing
        (machine(64, 0.9, swap=(64, 60), some=0.8, full=0.05, thrash=0.3), True),  # the same, on many processors
    ],
)
def test_what_is_ended_on_which_machine(name: str, snapshots: list[Snapshot], acts: bool) -> None:
    rules = [rule for rule in load(name).rules if rule.steps and not rule.tentative]
    kills = {rule.name for rule in rules if rule.steps[-1].kind in ("kill", "oom")}
    assert bool(fired(name, snapshots) & kills) is acts


def growing(total: float, available: float, steps: list[float]) -> list[Snapshot]:
    """A machine without swap that has this many GiB available, and less at each tenth of a second, by so many MiB."""
    found = []
    for at, step in enumerate([0.0] * 10 + steps):
        available -= step / 1024
        found.append(Snapshot(at / 10, Memory(int(total * GIB), 0, int(available * GIB)), Swap()))
    return found


@pytest.mark.parametrize("name", ["desktop", "server"])
@pytest.mark.parametrize(
    ("total", "available", "steps", "paused"),
    [
        (1, 0.055, [10.0] * 2, True),  # gone in half a second
        (1, 0.08, [10.0] * 2, False),  # there is more
        (1, 0.055, [3.0] * 4, False),  # there is time to see whether it hurts
        (8, 0.45, [10.0, 0, 0, 0] * 5, False),  # a page is opened: it is short, and stays so
        (8, 0.45, [25.0, 20, 0, 0], False),  # a heavy one
        (8, 0.45, [40.0] * 5, True),
        (8, 1.0, [40.0] * 8, False),
        (64, 1.4, [40.0] * 5, False),  # half a minute is left
        (64, 1.4, [160.0] * 5, True),
    ],
)
def test_who_is_paused_for_a_moment_before_anybody_waits(
    name: str, total: float, available: float, steps: list[float], paused: bool
) -> None:
    assert ("hurting" in fired(name, growing(total, available, steps))) is paused


def test_a_warning_comes_before_and_ends_only_when_it_is_clearly_better() -> None:
    # That it is looked for a build which has others wait is no warning, and begins sooner.
    assert fired("desktop", machine(8, 0.8)) == {"early", "crowded"}
    later = [Snapshot(11.0, Memory(8 * GIB, 0, GIB))]
    assert fired("desktop", machine(8, 0.8) + later) == {"early", "crowded"}
    later = [Snapshot(11.0, Memory(8 * GIB, 0, 2 * GIB))]
    assert fired("desktop", machine(8, 0.8) + later) == {"crowded"}
    assert fired("desktop", machine(8, 1.8)) == {"crowded"} and fired("desktop", machine(8, 2.0)) == set()
