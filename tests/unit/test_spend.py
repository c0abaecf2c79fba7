"""Of a family that takes turns the youngest are ended, and no more of them than it takes."""

from __future__ import annotations

import pytest

from okoomer.guard.paging import own
from okoomer.policy.choose import Choice
from okoomer.policy.jobs import Family, Job
from okoomer.policy.scale import ORDINARY, Candidate
from okoomer.policy.spend import spend
from okoomer.record import replace

MIB = 1024**2


def job(number: int, size: int = 50, resident: int = 50, waiting: bool = True) -> Job:
    return Job((number, 1), f"job-{number}", float(number), size * MIB, resident * MIB, not waiting, waiting)


def choice(need: int = 40, pids: tuple[int, ...] = (10, 1, 2, 3, 4), cgroup: str = "") -> Choice:
    victim = Candidate("family", "make and 4 more", pids, 200 * MIB, None, ORDINARY, False, 1.0, 0, "all", cgroup)
    return Choice(victim, (victim,), need * MIB, 8 * MIB)


def taken(found: Choice) -> tuple[int, ...]:
    assert found.victim
    return found.victim.pids


JOBS = (job(1, waiting=False), job(2), job(3), job(4))
MEMBERS = {(number, 1): (number, 100 + number) for number in range(1, 5)}


@pytest.mark.parametrize(
    ("need", "jobs", "full", "expected"),
    [
        (40, JOBS, False, (4, 104)),
        (60, JOBS, False, (4, 104, 3, 103)),
        # The oldest is never taken by this: then it is for the ladder as it always was.
        (160, JOBS, False, (10, 1, 2, 3, 4)),
        # Who is in swap frees no memory, but does free swap.
        (40, (JOBS[0], job(2, resident=45), job(3, resident=0), job(4, resident=0)), False, (2, 102)),
        (40, (JOBS[0], job(2), job(3, resident=0), job(4, resident=0)), True, (4, 104)),
        # Whoever runs comes after those who wait, and the youngest first.
        (60, (JOBS[0], job(2, waiting=False), job(3, waiting=False), job(4)), False, (4, 104, 3, 103)),
        # Nobody waits: there are no turns.
        (40, tuple(job(number, waiting=False) for number in range(1, 5)), False, (10, 1, 2, 3, 4)),
    ],
)
def test_who_is_taken_of_a_family(need: int, jobs: tuple[Job, ...], full: bool, expected: tuple[int, ...]) -> None:
    assert taken(spend(choice(need), [Family((10, 1), "make", 1000, jobs)], MEMBERS, full)) == expected


def test_it_says_why_and_the_choice_that_was_stands_below() -> None:
    found = spend(choice(60), [Family((10, 1), "make", 1000, JOBS)], MEMBERS, False)
    assert found.victim and found.victim.name == "job-4 and 1 more"
    assert found.victim.freed == 100 * MIB and "jobs take turns" in found.victim.why
    assert found.ranking == (found.victim, choice().victim)


def test_for_a_moment_nobody_of_a_family_that_takes_turns_is_paused() -> None:
    waiting, running = Family((10, 1), "make", 1000, JOBS), Family((10, 1), "make", 1000, (job(1, waiting=False),))
    found = spend(choice(), [waiting], MEMBERS, False, tentative=True)
    assert found.victim is None and found.refusal == "make has its jobs take turns already"
    assert taken(spend(choice(), [running], MEMBERS, False, tentative=True)) == (10, 1, 2, 3, 4)
    assert taken(spend(choice(pids=(77,)), [waiting], MEMBERS, False, tentative=True)) == (77,)


def test_whoever_is_chosen_of_others_or_as_a_whole_cgroup_stays_chosen() -> None:
    family = [Family((10, 1), "make", 1000, JOBS)]
    for other in (choice(pids=(77,)), choice(cgroup="/a"), replace(choice(), victim=None)):
        assert spend(other, family, MEMBERS, False) is other


def test_what_is_put_into_swap_is_what_a_process_has_of_its_own() -> None:
    maps = b"""\
55d0a000-55d0b000 r--p 00000000 fd:00 123 /usr/bin/cc1
55d0b000-55d0d000 rw-p 00001000 fd:00 123 /usr/bin/cc1
7f000000-7f100000 rw-p 00000000 00:00 0
7f200000-7f300000 rw-s 00000000 00:01 9 /dev/shm/x
7f400000-7f401000 r-xp 00000000 00:00 0 [vdso]
nonsense
"""
    assert [*own(maps)] == [(0x55D0B000, 0x55D0D000), (0x7F000000, 0x7F100000)]
