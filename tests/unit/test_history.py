"""The recent past of a reading: what a rate may say and what it may not."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import pytest

from okoomer.policy.history import POINTS, Series
from tests.unit.strategies import cases

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random


class Curve:
    """A total that never falls: straight between its corners, level before the first."""

    def __init__(self, random: Random, length: float) -> None:
        self.times, self.totals = [0.0], [0.0]
        while self.times[-1] < length:
            passed = random.choice((0.05, 0.3, 1.0)) * (0.5 + random.random())
            self.times.append(self.times[-1] + passed)
            self.totals.append(self.totals[-1] + passed * random.choice((0.0, 0.0, 1.0, random.random())))

    def at(self, time: float) -> float:
        after = bisect_right(self.times, time)
        if after == 0 or after == len(self.times):
            return self.totals[0 if after == 0 else -1]
        begin, end = self.times[after - 1], self.times[after]
        return self.totals[after - 1] + (self.totals[after] - self.totals[after - 1]) * (time - begin) / (end - begin)

    def fastest(self, now: float, window: float) -> float:
        """The greatest average over any time that ends now and is at least as long as the window: a straight line is
        steepest at one of its ends, so corners and the window itself are enough."""
        starts = [now - window, *(time for time in self.times if time < now - window)]
        return max((self.at(now) - self.at(start)) / (now - start) for start in starts)


def fed(samples: Iterable[tuple[float, float]], window: float, growing: bool = True) -> Series:
    series = Series(window, growing)
    for time, value in samples:
        series.add(time, value)
    return series


@cases(20_000)
def test_a_rate_never_exceeds_what_was_true_of_the_window_or_of_a_longer_time(random: Random) -> None:
    curve, window, pace = Curve(random, 6.0), random.choice((0.5, 1.0, 2.0)), random.choice((0.02, 0.2, 1.0, 3.0))
    series, time = Series(window, growing=True), 0.0
    for _ in range(12):
        time += pace * random.random() + 0.001
        series.add(time, curve.at(time))
        rate = series.rate()
        assert rate is None or 0 <= rate <= curve.fastest(time, window) + 1e-9


@cases(15_000)
def test_a_rate_is_exact_when_a_sample_lies_at_the_beginning_of_the_window(random: Random) -> None:
    curve, window = Curve(random, 6.0), random.choice((0.5, 1.0, 2.0))
    pace = window / random.randint(1, POINTS - 1)
    series = fed(((i * pace, curve.at(i * pace)) for i in range(int(6 / pace))), window)
    now = (int(6 / pace) - 1) * pace
    assert series.rate() == pytest.approx((curve.at(now) - curve.at(now - window)) / window, abs=1e-9)


@cases(5_000)
def test_a_rate_from_many_samples_is_out_by_no_more_than_two_points(random: Random) -> None:
    curve, window = Curve(random, 3.0), random.choice((0.5, 1.0))
    series, now = Series(window, growing=True), 0.0
    while now < 1.5:
        now += random.random() * window / 20
        series.add(now, curve.at(now))
    true = (curve.at(now) - curve.at(now - window)) / window
    assert series.rate() == pytest.approx(true, abs=4 / POINTS)


@cases(1_000)
def test_a_series_keeps_a_bounded_number_of_samples_however_often_it_is_fed(random: Random) -> None:
    series, time = Series(random.choice((0.5, 60.0)), random.random() < 0.5), 0.0
    for _ in range(300):
        time += random.choice((1e-6, 0.001, 0.01, 5.0))
        series.add(time, time)
        assert len(series._samples) <= 2 * POINTS + 3


def test_a_million_dense_samples_leave_no_more_than_the_bound() -> None:
    series = Series(2.0, growing=True)
    for i in range(1_000_000):
        series.add(i / 10_000, i / 20_000)
    assert POINTS <= len(series._samples) <= 2 * POINTS + 3
    assert series.rate() == pytest.approx(0.5)


def test_one_sample_has_no_rate() -> None:
    assert Series(1.0, growing=True).rate() is None
    assert fed([(1.0, 5.0)], 1.0).rate() is None


def test_growth_that_may_have_been_before_the_window_is_not_counted_in_full() -> None:
    # 3 s of stall somewhere within 10 s: nobody knows that the last second of them was stalled.
    assert fed([(0.0, 0.0), (10.0, 3.0)], 1.0).rate() == pytest.approx(0.3)


def test_growth_that_surely_lies_in_the_window_counts_in_full_after_a_long_quiet_time() -> None:
    assert fed([(0.0, 0.0), (99.5, 0.0), (100.0, 0.5)], 1.0).rate() == pytest.approx(0.5)


def test_growth_counts_for_the_whole_window_while_less_than_a_window_is_known() -> None:
    assert fed([(0.0, 0.0), (0.1, 0.1)], 2.0).rate() == pytest.approx(0.05)


def test_a_total_that_went_back_begins_anew() -> None:
    series = fed([(0.0, 100.0), (1.0, 101.0), (2.0, 3.0)], 1.0)
    assert series.rate() is None
    series.add(3.0, 3.5)
    assert series.rate() == pytest.approx(0.5)


def test_a_level_may_fall() -> None:
    assert fed([(0.0, 100.0), (3.0, 40.0), (6.0, -20.0)], 5.0, growing=False).slope() == pytest.approx(-20)


def test_a_clock_that_went_back_begins_anew() -> None:
    assert fed([(0.0, 1.0), (5.0, 2.0), (4.0, 2.5)], 1.0).rate() is None


def test_a_slope_needs_samples_over_half_the_window() -> None:
    samples = [(i / 10, -7.0 * i / 10) for i in range(50)]
    assert fed([], 5.0, growing=False).slope() is None
    assert fed(samples[:25], 5.0, growing=False).slope() is None
    assert fed(samples[:27], 5.0, growing=False).slope() == pytest.approx(-7)


def test_what_falls_in_many_steps_has_a_slope_and_one_step_is_none() -> None:
    times = [i / 10 for i in range(51)]
    stairs = fed(((time, -7.0 * int(time)) for time in times), 5.0, growing=False)
    assert stairs.slope() == pytest.approx(-7, rel=0.5)
    for step in range(51):
        once = [(time, -20.0 if i >= step else 0.0) for i, time in enumerate(times)]
        assert fed(once, 5.0, growing=False).slope() == 0


@cases(1_000)
def test_what_only_wavers_hardly_ever_has_a_slope(random: Random) -> None:
    samples = [(i / 10, random.gauss(0, 1)) for i in range(51)]
    slope = fed(samples, 5.0, growing=False).slope()
    assert slope is not None and abs(slope) < 0.5


@cases(1_000)
def test_odd_samples_do_not_move_a_slope(random: Random) -> None:
    samples = [(i / 10, -100.0 * i / 10) for i in range(60)]
    at = random.randrange(60)
    samples[at] = (samples[at][0], random.uniform(-1e9, 1e9))
    assert fed(samples, 5.0, growing=False).slope() == pytest.approx(-100)


def test_a_series_is_still_once_its_rate_can_only_stay_what_it_is() -> None:
    assert Series(1.0, growing=True).still
    assert not fed([(0.0, 1.0)], 1.0).still
    assert fed([(0.0, 1.0), (0.5, 1.0)], 1.0).still
    assert not fed([(0.0, 1.0), (0.5, 2.0), (0.9, 2.0)], 1.0).still
    assert fed([(0.0, 1.0), (0.5, 2.0), (1.6, 2.0)], 1.0).still
    assert not fed([(0.0, 1.0), (0.5, 1.0)], 1.0, growing=False).still
