"""Who is a family of jobs, and who never is part of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from okoomer.facts import Process
from okoomer.policy.jobs import families, least_of
from okoomer.record import replace
from tests.unit.strategies import GIB, MIB, cases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from okoomer.policy.jobs import Family, Key

INIT = Process(1, 0, "systemd", 0.0)
SHELL = Process(10, 1, "bash", 1.0, session=10, terminal=True)
MAKE = Process(20, 10, "make", 2.0)


def key(process: Process) -> Key:
    return process.pid, round(process.started * 100)


def worker(pid: int, parent: int = 20, mib: float = 60, name: str = "cc1", user: int = 1000) -> Process:
    return Process(pid, parent, name, 10.0 + pid / 100, user=user, anon=int(mib * MIB))


def found(
    processes: Iterable[Process],
    stays: Callable[[Process], object] = lambda process: process.pid in (1, 10),
    waiting: Iterable[int] = (),
    total: int = GIB,
) -> list[Family]:
    known = [*processes]
    return families(known, stays, total, key, {key(one) for one in known if one.pid in waiting})


def pids(family: Family) -> list[int]:
    return [job.key[0] for job in family.jobs]


def test_what_make_has_started_are_its_jobs_with_the_shells_between() -> None:
    between = [Process(30 + n, 20, "sh", 3.0 + n) for n in range(3)]
    compilers = [worker(40 + n, 30 + n) for n in range(3)]
    (family,) = found([INIT, SHELL, MAKE, *between, *compilers])
    assert (family.forker, family.name, family.user) == (key(MAKE), "make", 1000)
    assert pids(family) == [30, 31, 32]
    assert [(job.size, job.resident) for job in family.jobs] == [(60 * MIB, 60 * MIB)] * 3


def test_what_is_in_swap_counts_and_is_told_apart() -> None:
    swapped = replace(worker(41), swap=30 * MIB)
    (family,) = found([INIT, SHELL, MAKE, worker(40), swapped])
    assert [(job.size, job.resident) for job in family.jobs][1] == (90 * MIB, 60 * MIB)


def test_only_what_is_alike_takes_turns_and_of_several_kinds_the_one_that_holds_most() -> None:
    def started(*names: str, waiting: tuple[int, ...] = ()) -> list[list[int]]:
        workers = [worker(40 + n, name=name, mib=200 - n) for n, name in enumerate(names)]
        return [pids(family) for family in found([INIT, SHELL, MAKE, *workers], waiting=waiting)]

    assert started("mysqld", "nginx", "chrome") == []
    assert started("job-1", "job-2", "job-13") == [[40, 41, 42]]
    assert started("cc1", "ld", "cc1", "ld", "cc1") == [[40, 42, 44]]
    # Who waits already goes on taking turns.
    assert started("cc1", "ld", "cc1", "ld", "cc1", waiting=(41,)) == [[41, 43]]


def test_of_forkers_below_each_other_the_lowest_count() -> None:
    inner = [Process(21 + n, 20, "make", 3.0 + n) for n in range(2)]
    workers = [worker(40 + n, 21 + n % 2) for n in range(6)]
    assert [pids(family) for family in found([INIT, SHELL, MAKE, *inner, *workers])] == [[41, 43, 45], [40, 42, 44]]


def test_small_ones_and_families_that_do_not_matter_are_left_alone() -> None:
    assert found([INIT, SHELL, MAKE, worker(40), worker(41, mib=3)]) == []
    assert found([INIT, SHELL, MAKE, worker(40), worker(41)], total=16 * GIB) == []
    assert found([INIT, SHELL, MAKE, worker(40)]) == []
    assert [least_of(size * GIB) // MIB for size in (1, 4, 16, 256)] == [4, 16, 64, 64]


def test_who_waits_already_counts_whatever_its_size_and_alone() -> None:
    (family,) = found([INIT, SHELL, MAKE, worker(40, mib=1)], waiting=[40])
    assert pids(family) == [40] and family.jobs[0].waiting


def test_init_and_who_holds_a_session_together_are_no_forkers_and_in_no_job() -> None:
    assert found([INIT, worker(40, 1), worker(41, 1)]) == []
    assert found([INIT, SHELL, worker(40, 10), worker(41, 10)]) == []
    # A terminal that a program has started, with a shell in it: neither is a job.
    terminal = worker(50, 20, name="xterm")
    inside = Process(51, 50, "bash", 5.0)
    assert found([INIT, SHELL, MAKE, terminal, inside, worker(40)], lambda p: p.pid in (1, 10, 51)) == []


def test_an_order_that_the_owner_has_given_stands() -> None:
    tabs = [replace(worker(40 + n), adjustment=300) for n in range(3)]
    assert found([INIT, SHELL, MAKE, *tabs]) == []
    assert len(found([INIT, SHELL, replace(MAKE, adjustment=300), *tabs])) == 1


def test_copies_of_their_forker_are_no_jobs_but_scripts_of_a_script_are() -> None:
    def started(forker: str, name: str) -> list[Family]:
        return found([INIT, SHELL, replace(MAKE, name=forker), *(worker(40 + n, name=name) for n in range(3))])

    assert started("postgres", "postgres") == []
    assert [len(family.jobs) for family in (*started("sh", "sh"), *started("ninja", "c++"))] == [3, 3]


def test_jobs_of_several_users_are_families_of_their_own_and_a_mixed_job_is_none() -> None:
    mixed = [worker(50, user=1000), worker(51, 50, user=1001)]
    mine, theirs = [worker(40 + n, mib=70) for n in range(2)], [worker(42 + n, mib=70, user=1001) for n in range(2)]
    seen = found([INIT, SHELL, MAKE, *mine, *theirs, *mixed])
    assert {family.user: pids(family) for family in seen} == {1000: [40, 41], 1001: [42, 43]}


@cases(2000, batch=50)
def test_whatever_a_machine_is_like_no_job_holds_who_stays_and_none_is_in_two_families(random: Random) -> None:
    processes = {
        pid: Process(
            pid,
            random.randrange(0, 40),
            random.choice("abc"),
            float(pid),
            user=random.choice((0, 1000)),
            anon=random.choice((0, 0, 5, 300)) * MIB,
            adjustment=random.choice((0, 0, 0, 200)),
        )
        for pid in random.sample(range(1, 40), random.randrange(1, 39))
    }
    stays = {pid for pid in processes if random.random() < 0.2}
    seen = found(processes.values(), lambda process: process.pid in stays, [pid for pid in processes if pid % 7 == 0])
    jobs = [job.key[0] for family in seen for job in family.jobs]
    assert len(jobs) == len({*jobs})

    def inside(pid: int) -> set[int]:
        below = {pid}
        while more := {p.pid for p in processes.values() if p.parent in below} - below:
            below |= more
        return below

    for pid in jobs:
        assert not inside(pid) & (stays | {1})
        assert not inside(pid) & {other for other in jobs if other != pid}
    assert not {family.forker[0] for family in seen} & stays
