"""Whom a rule pauses for a moment on weak evidence: who grows, and nobody whom it could harm."""

from __future__ import annotations

import pytest

from okoomer.facts import Process
from okoomer.guard.scan import Scan
from okoomer.guard.seek import Seeker
from okoomer.policy.choose import choose
from okoomer.policy.model import Policy, Step
from okoomer.record import replace
from tests.unit.test_choose import INIT, MIB, chosen, machine, pids, process, rule, shell

MOMENT = rule(rank="growth", steps=(Step("pause", 1.5, times=4), Step("kill")))
KILLS = rule(rank="growth")


def grower(pid: int, rate: float, anon: int = 500, parent: int = 1, **more: object) -> Process:
    return process(pid, parent, f"p{pid}", anon, growth=rate * MIB, **more)


def test_the_grower_is_paused_and_not_the_biggest() -> None:
    assert pids(chosen(grower(5, 90), grower(6, 0, 4000), grower(7, 10), rule=MOMENT)) == (5,)


@pytest.mark.parametrize(
    "others",
    [
        [grower(6, 0, 4000)],
        [process(6, 1, "unknown", 4000)],
        [grower(6, -50, 4000)],
        [grower(pid, 10) for pid in range(6, 16)],  # each a tenth of all growth: no pause would be felt
        [grower(6, 90, adjustment=-100)],  # others wait for it
        [grower(6, 90, anon=1)],
        [shell(6, 1), grower(7, 90, parent=6, adjustment=-17)],
    ],
)
def test_nobody_is_paused_who_does_not_grow_or_whom_others_need(others: list[Process]) -> None:
    found = chosen(*others, rule=MOMENT)
    assert found.victim is None and found.refusal == "nobody grows"


def test_who_holds_others_work_is_not_paused_but_what_grows_below_it_is() -> None:
    terminal = shell(6, 1, anon=800)
    growing = replace(terminal, growth=90 * MIB)
    assert pids(chosen(growing, rule=MOMENT)) is None
    assert pids(chosen(growing, grower(7, 80, parent=6), rule=MOMENT)) == (7,)
    assert pids(chosen(grower(6, 90), rule=MOMENT, supervisors=("name:p6",))) is None
    assert pids(chosen(grower(6, 90), rule=replace(MOMENT, avoid=()))) == (6,)


def test_others_who_grow_like_it_are_paused_with_it() -> None:
    found = chosen(grower(5, 90), grower(6, 80), grower(7, 20, 4000), rule=MOMENT)
    assert pids(found) == (5,) and found.beside == (6,)
    assert not chosen(grower(5, 90), grower(6, 80), rule=KILLS).beside


def test_many_small_ones_are_not_paused_together() -> None:
    many = [process(pid, 2, "small", 6, growth=5.0 * MIB) for pid in range(10, 60)]
    assert pids(chosen(process(2, 1, "parent", 1), *many, rule=replace(MOMENT, unit="process"))) is None


def test_a_family_grows_as_one() -> None:
    family = [process(2, 1, "parent", 20), *(process(pid, 2, "child", 60, growth=3.0 * MIB) for pid in range(10, 30))]
    assert pids(chosen(*family, grower(40, 1), rule=MOMENT)) == (2, *range(10, 30))


@pytest.mark.parametrize(
    ("cgroup", "environment", "taken"),
    [
        ("/system.slice/a.service", b"WATCHDOG_USEC=1000000\0WATCHDOG_PID=%d\0", False),
        ("/system.slice/a.service", b"HOME=/\0", True),
        ("/user.slice/user-1000.slice/session-1.scope", b"WATCHDOG_USEC=1000000\0WATCHDOG_PID=%d\0", True),
    ],
)
def test_a_service_with_a_watchdog_would_be_ended_for_it(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, cgroup: str, environment: bytes, taken: bool
) -> None:
    hog = grower(42, 90, cgroup=cgroup)
    said = (environment % 42 if b"%" in environment else environment).replace(b"\0", b" ").decode()
    monkeypatch.setattr("okoomer.kernel.process.environment", lambda proc, pid: said)
    policy, found = Policy("p", (MOMENT,)), Scan(0.0, (INIT, hog), 2)
    seeker = Seeker(policy, str(tmp_path), None, 0, None)
    victim = choose(MOMENT, policy, machine(), found.processes).victim
    assert victim
    assert bool(seeker.members(MOMENT, victim, None, found, frozenset())) is taken
    assert seeker.members(KILLS, victim, None, found, frozenset())
