"""Runs of the lab that were made up: single ones with what matters in them, and a whole matrix."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from lab.daemons import DAEMONS
from lab.matrix import RIVALS
from lab.run import Beat, By, Cost, Ending, Kill, Late, Memory, Role, Run, Seen, Served, Swap, Work
from lab.scenario import Part, Scenario
from lab.scenarios import SCENARIOS

MIB = 780.0
HOG = Scenario(
    name="X1",
    title="a hog",
    story="One program takes it all.",
    swaps=(Swap.NONE, Swap.DISK),
    cast=(Part("hog", Role.CULPRIT), Part("shell", Role.SESSION, 20)),
    act="",
)
BUILD = Scenario(
    name="X2",
    title="a build",
    story="Too many at once.",
    swaps=(Swap.ZRAM,),
    cast=(Part("cc.*", Role.WORKER, 60),),
    act="",
    enough=1,
)
COPY = Scenario(name="X3", title="a copy", story="Nothing is wrong.", swaps=(Swap.NONE,), cast=(), act="", benign=True)


@pytest.fixture(autouse=True)
def scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenarios that nobody else changes, beside the real ones."""
    for scenario in (HOG, BUILD, COPY):
        monkeypatch.setitem(SCENARIOS, scenario.name, scenario)


def seen(
    stall_s: float = 0.0,
    kills: tuple[tuple[str, Role, By], ...] = (),
    hung: bool = False,
    noise_s: float = 0.01,
    work: tuple[Work, ...] = (),
    end: float = 20.0,
    cost: Cost | None = None,
) -> Seen:
    """A run in which memory falls for ten seconds, the screen stands still for some, then those die; or that hangs."""
    at = 10.0
    late = [Late(at - stall_s, stall_s)] if stall_s else []
    quiet = [t for t in range(int(end) + 1) if not at - stall_s < t < at and not (hung and t > at)]
    return Seen(
        ending=Ending.LIMIT if hung else Ending.DONE,
        end=end,
        over=None if hung else end - 4,
        kills=[Kill(at + n / 100, 9, by, comm, 100 + n, role, 30) for n, (comm, role, by) in enumerate(kills)],
        screen=[Beat(float(t), 60, 0.0004) for t in quiet],
        screen_late=late,
        login=[Late(float(t), 0.03) for t in quiet],
        service=[Served(float(t), 50 if t in quiet else 3) for t in range(int(end))],
        memory=[
            Memory(t / 2, round(MIB * max(0.02, 1 - t / 20), 1), 0, *[_stalled(t / 2, at, stall_s)] * 2)
            for t in range(int(end) * 2)
        ],
        work=list(work),
        cost=cost,
        noise_s=noise_s,
        versions={"kernel": "Linux 6.1", "daemon": "1.0"},
    )  # fmt: skip


def _stalled(t: float, at: float, stall_s: float) -> float:
    return round(min(max(0.0, t - (at - stall_s)), stall_s), 2)


def run(
    scenario: str, daemon: str, of: Seen, swap: Swap | None = None, repeat: int = 1, point: str = ""
) -> Run:  # fmt: skip
    return Run(
        scenario=scenario,
        swap=swap or SCENARIOS[scenario].swaps[0],
        daemon=daemon,
        repeat=repeat,
        point=point,
        key="k",
        began="2026-11-20T10:00:00+00:00",
        took_s=40,
        seen=of,
    )


def everything(seed: int = 1, lacking: float = 0.03) -> list[Run]:
    """A full matrix: every scenario with every daemon, what decides three times, and a sweep; some cells lack."""
    rng = random.Random(seed)
    runs = list(_sweeps(rng))
    for scenario in SCENARIOS.values():
        for swap in scenario.swaps:
            for daemon in DAEMONS:
                if rng.random() < lacking and daemon not in RIVALS:
                    continue
                for repeat in range(1, 4 if daemon in RIVALS else 2):
                    runs.append(run(scenario.name, daemon, made_up(rng, scenario, swap, daemon), swap, repeat))
    return runs


def _sweeps(rng: random.Random) -> Iterator[Run]:
    benign = [s for s in SCENARIOS.values() if s.benign][:2]
    others = [s for s in SCENARIOS.values() if not s.benign][:3]
    for name, daemon in DAEMONS.items():
        for eager, setting in enumerate(daemon.sweep):
            for scenario in (*others, *benign):
                stall = rng.uniform(0.6, 1.4) * _slowness(name, scenario.swaps[0]) * 3 / (1 + eager)
                kills = max(0, eager - 2 + (name in ("thrash-protect", "nohang"))) if scenario.benign else 1
                died = tuple(("hog", Role.CULPRIT, By.DAEMON) for _ in range(kills))
                yield run(
                    scenario.name, name, seen(min(stall, 9), () if scenario.benign and not kills else died),
                    point=setting.label,
                )  # fmt: skip


def _slowness(daemon: str, swap: Swap) -> float:
    base = {"none": 5, "earlyoom": 0.05, "nohang": 0.2, "oomd": 4, "systemd-oomd": 3.5, "thrash-protect": 6}
    slow = next((base[start] for start in base if daemon.startswith(start)), 0.1)
    return slow if swap is Swap.NONE else slow + (0.4 if daemon.startswith("okoomer") else 4)


def made_up(rng: random.Random, scenario: Scenario, swap: Swap, daemon: str) -> Seen:
    """What such a daemon might do."""
    stall = 0.1 if scenario.benign else min(9, rng.lognormvariate(0, 0.5) * _slowness(daemon, swap))
    slow = _slowness(daemon, swap) > 3
    hung = slow and not scenario.benign and rng.random() < 0.2
    by = By.KERNEL if daemon.startswith("none") or (slow and rng.random() < 0.4) else By.DAEMON
    died: list[tuple[str, Role, By]] = []
    if not scenario.benign and not hung:
        died = [("hog", Role.CULPRIT, by)] * rng.choice((1, 1, 1, 4))
        died += [("postgres", Role.INNOCENT, by)] * (rng.random() < (0.05 if daemon.startswith("okoomer") else 0.3))
        died += [("sway", Role.SESSION, by)] * (rng.random() < (0.01 if daemon.startswith("okoomer") else 0.06))
    elif scenario.benign and not daemon.startswith("none") and rng.random() < 0.15:
        died = [("cp", Role.INNOCENT, by)]
    rss = {"earlyoom": 1.7, "nohang": 17.6, "okoomer": 11.2, "oomd": 6.2}
    cost = Cost(
        rss=next((mib for name, mib in rss.items() if daemon.startswith(name)), 7.0),
        peak_rss=19,
        anon=4,
        cpu_s=round(rng.uniform(0.02, 0.5), 2),
        switches=rng.randrange(60, 600),
        major_faults=rng.randrange(0, 40),
        waited_s=round(rng.uniform(0, 1.2), 3),
    )
    work = (Work(15, "job", rng.uniform(5, 10), 10),) if scenario.enough is not None else ()
    return seen(
        round(stall, 3), tuple(died), hung, rng.choice((0.02, 0.05, 0.7)) if rng.random() < 0.1 else 0.03,
        work, 45 if hung else 20, None if daemon.startswith("none") else cost,
    )  # fmt: skip


CULPRIT = ("hog", Role.CULPRIT, By.DAEMON)
INNOCENT = ("postgres", Role.INNOCENT, By.DAEMON)


def rivals_of(scenario: str, **stalls: float) -> list[Run]:
    """Each main rival in a scenario, at 9 s unless said otherwise."""
    return [run(scenario, name, seen(stalls.get(name.replace("-", "_"), 9.0), (CULPRIT,))) for name in RIVALS]


def points_of(daemon: str, *at: tuple[str, float, int]) -> list[Run]:
    runs = [run("X1", daemon, seen(stall, (CULPRIT,)), point=label) for label, stall, _ in at]
    return runs + [
        run("X3", daemon, seen(0, (("cp", Role.INNOCENT, By.DAEMON),) * kills), point=label) for label, _, kills in at
    ]
