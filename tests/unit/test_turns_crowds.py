"""Load control from beginning to end, on a machine that is reckoned: all get done, and nobody waits for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.crowd import MIB, Body, Crowd, jobs
from tests.unit.strategies import cases

if TYPE_CHECKING:
    from random import Random


@pytest.mark.parametrize("swap", [0, 1024 * MIB])
def test_a_job_too_big_for_memory_is_done_in_turns_and_nobody_is_killed(swap: int) -> None:
    alone = Crowd(jobs(16), swap=swap, control=False)
    alone.run(300)
    crowd = Crowd(jobs(16), swap=swap)
    crowd.run()
    assert len(crowd.done) == 16 and not crowd.killed
    assert crowd.now < 50 and (alone.killed or alone.now > 2 * crowd.now)
    assert max(body.paused for body in crowd.done) <= 3


def test_two_builds_of_two_users_wait_alike() -> None:
    crowd = Crowd([*jobs(12), *jobs(12, forker=2, user=1001)])
    crowd.run()
    waits = [sum(body.total for body in crowd.done if body.forker == forker) for forker in (1, 2)]
    assert len(crowd.done) == 24 and max(waits) < 2 * min(waits)


@pytest.mark.parametrize("each", [2, 5])
def test_two_builds_that_together_fit_three_times_over_are_done_without_changing_places(
    monkeypatch: pytest.MonkeyPatch, each: int
) -> None:
    """As on a disk of 1500 operations a second: it pays to let those who run come to their end."""
    monkeypatch.setattr("tests.unit.crowd.EACH", each)
    disk = {"used": 256 * MIB, "fill": 165 * MIB, "out": 35 * MIB, "back": 20 * MIB}
    crowd = Crowd([*jobs(10), *jobs(10, forker=2, user=1001)], **disk)
    crowd.run()
    assert len(crowd.done) == 20 and not crowd.killed
    ends = [max(body.ended or 0.0 for body in crowd.done if body.forker == forker) for forker in (1, 2)]
    waits = [sum(body.total for body in crowd.done if body.forker == forker) for forker in (1, 2)]
    assert max(waits) < 2 * min(waits) and max(ends) < 1.25 * min(ends)
    # Seven fit at a time, so that 26 s would be the best.
    assert max(ends) < 45
    assert sum(body.paused for body in crowd.done) <= 25


@pytest.mark.parametrize(("each", "fill"), [(2, 90), (10, 90), (2, 165), (10, 165), (2, 250), (5, 250)])
def test_where_memory_falls_fast_and_there_is_no_swap_enough_is_left_for_those_who_run(
    monkeypatch: pytest.MonkeyPatch, each: int, fill: int
) -> None:
    """Also where it is looked at rarely: what is paused early has taken little."""
    monkeypatch.setattr("tests.unit.crowd.EACH", each)
    crowd = Crowd(jobs(32, peak=60 * MIB), used=256 * MIB, swap=0, fill=fill * MIB)
    crowd.run()
    assert len(crowd.done) == 32 and not crowd.killed
    # Nobody is ended above 6 % of 970 MiB.
    assert crowd.least > 60 * MIB


def test_whoever_waits_long_behind_those_who_come_to_no_end_takes_their_place() -> None:
    crowd = Crowd([*jobs(6, work=400.0), *jobs(6, work=400.0, forker=2, user=1001, born=5.0)])
    crowd.run()
    assert len(crowd.done) == 12
    assert max(body.longest for body in crowd.done) < 200


@cases(100, batch=5)
def test_all_are_done_nobody_waits_for_ever_and_somebody_always_runs(random: Random) -> None:
    families = random.randint(1, 3)
    bodies: list[Body] = []
    for forker in range(1, families + 1):
        count, peak = random.randint(2, 24), random.randint(10, 160) * MIB
        born = random.choice((0.0, random.uniform(0, 20)))
        for body in jobs(count, peak, random.uniform(2, 12), forker, 1000 + random.randint(0, 1), born):
            body.peak = int(body.peak * random.uniform(0.6, 1.0))
            bodies.append(body)
    work = sum(body.work for body in bodies)
    crowd = Crowd(
        bodies,
        swap=random.choice((0, 512, 2048)) * MIB,
        out=random.uniform(10, 300) * MIB,
        back=random.uniform(10, 300) * MIB,
        cores=random.choice((2, 4, 64)),
        at_once=random.choice((4, 8, 1000)),
    )
    crowd.run(4000.0)
    assert len(crowd.done) + len(crowd.killed) == len(bodies), crowd.now
    # Without swap those who were paused half way may not leave enough for a single one.
    assert not crowd.killed or crowd.swap == 0
    assert crowd.longest_none <= 0.5
    assert max(body.longest for body in bodies) <= 60 + 2 * work
    assert sum(body.paused for body in bodies) <= 3 * len(bodies)
