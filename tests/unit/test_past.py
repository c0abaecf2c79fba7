"""What is remembered of cgroups from one look to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.policy.past import Past
from okoomer.record import replace
from tests.unit.hierarchies import cgroup
from tests.unit.strategies import MIB, cases

if TYPE_CHECKING:
    from random import Random

A = cgroup("/a", 100, scan=5 * MIB, io_cost=1.0)


def noted(*looks: tuple[float, int]) -> Past:
    """A past of one cgroup: when, and how many MiB."""
    past = Past()
    for time, memory in looks:
        past.note(time, [replace(A, memory=memory * MIB)])
    return past


# --- the moving average -----------------------------------------------------------------------------------------


def test_who_was_there_at_the_first_look_begins_with_its_size() -> None:
    assert noted((0, 100)).ratio(A) == 1.0


def test_who_came_later_began_with_nothing() -> None:
    past = Past()
    past.note(0.0, [])
    past.note(1.0, [A])
    assert past.ratio(A) == pytest.approx(4.0)
    past.note(2.0, [A])
    assert past.ratio(A) == pytest.approx(1 / (0.75 * 0.25 + 0.25))


def test_each_look_a_second_later_counts_a_quarter() -> None:
    past = noted((0, 100), (1, 200), (2, 400))
    average = 0.75 * (0.75 * 100 + 0.25 * 200) + 0.25 * 400
    assert past.ratio(replace(A, memory=400 * MIB)) == pytest.approx(400 / average)


def test_looks_that_are_closer_count_less_and_those_that_are_farther_apart_no_more() -> None:
    quick = noted(*((0.1 * count, 100 if count == 0 else 200) for count in range(11)))
    assert quick.ratio(replace(A, memory=200 * MIB)) == pytest.approx(200 / (0.75 * 100 + 0.25 * 200))
    assert noted((0, 100), (60, 200)).ratio(A) == pytest.approx(noted((0, 100), (1, 200)).ratio(A))


def test_a_second_look_at_the_same_instant_changes_nothing() -> None:
    past = noted((0, 100), (1, 200))
    before = past.ratio(A)
    past.note(1.0, [replace(A, memory=900 * MIB)])
    assert past.ratio(A) == before


def test_who_was_never_looked_at_has_no_past() -> None:
    past = noted((0, 100), (1, 100))
    other = cgroup("/b", 5, scan=1, io_cost=0.0)
    assert (past.ratio(other), past.scanned(other), past.spent(other), past.growth(other)) == (1.0, None, None, None)


def test_one_that_was_made_anew_has_no_past() -> None:
    past = noted((0, 100), (1, 100))
    anew = replace(A, inode=A.inode + 1)
    past.note(2.0, [anew])
    assert past.scanned(anew) is None and past.ratio(anew) == pytest.approx(4.0)
    assert past.scanned(A) is None  # and who is gone is forgotten


# --- what is new ------------------------------------------------------------------------------------------------


def test_nothing_is_new_before_a_second_look() -> None:
    assert noted((0, 100)).scanned(A) is None and noted((0, 100)).spent(A) is None and noted((0, 100)).growth(A) is None


def flows(*times: float, rate: int = MIB) -> Past:
    past = Past()
    for time in times:
        past.note(time, [replace(A, scan=int(rate * time), io_cost=0.5 * time, memory=int(rate * time), swap=0)])
    return past


@pytest.mark.parametrize(
    ("times", "seconds"),
    [((0, 1), 1), ((0, 1, 2, 3), 1), ((0, 0.5), 0.5), ((0, 1, 1.5), 1.5), ((0, 0.5, 1.0), 1.0), ((0, 5), 5)],
)
def test_what_is_new_is_new_since_a_look_about_a_second_ago(times: tuple[float, ...], seconds: float) -> None:
    past = flows(*times)
    assert past.scanned(A) == pytest.approx(seconds * MIB, abs=1)
    assert past.spent(A) == pytest.approx(0.5 * seconds)
    assert past.growth(A) == pytest.approx(MIB, rel=0.01)


@cases(1_000)
def test_close_looks_never_make_the_time_shorter_than_what_has_passed_or_a_second(random: Random) -> None:
    times = [0.0]
    for _ in range(random.randint(1, 30)):
        times.append(times[-1] + random.choice((0.02, 0.1, 0.3, 1.0, random.random())))
    new = flows(*times).scanned(A)
    assert new is not None and new + 1 >= min(0.9, times[-1]) * MIB
    assert new <= (0.9 + 2 * 1.0 + 0.1) * MIB


def test_a_flow_that_is_not_told_is_not_known() -> None:
    past = Past()
    for time in (0.0, 1.0):
        past.note(time, [replace(A, scan=None, io_cost=None, memory=None)])
    mute = replace(A, memory=None)
    assert past.scanned(mute) is None and past.spent(mute) is None and past.growth(mute) is None


def test_a_total_that_fell_is_nothing_new() -> None:
    past = Past()
    past.note(0.0, [A])
    past.note(1.0, [replace(A, scan=0, io_cost=0.0)])
    assert past.scanned(A) == 0 and past.spent(A) == 0.0
