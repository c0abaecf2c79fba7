"""How memory falls: when jobs are looked at again, and when it is seen that it will be short."""

from __future__ import annotations

import pytest

from okoomer.guard.fall import AHEAD, FALL, LASTING, RISE, Fall

MIB = 1024**2
TOTAL = 1024 * MIB
LEVEL = 80 * MIB


def falling(*left: float, every: float = 0.1) -> Fall:
    """After these figures in MiB, one each so many seconds."""
    fall = Fall()
    for number, mib in enumerate(left):
        fall.take(number * every, int(mib * MIB), TOTAL)
    return fall


def test_it_is_short_before_it_is_if_it_falls_fast_enough() -> None:
    # 100 MiB a second, which are 450 in the time for which it is looked ahead.
    assert falling(550, 540, 530, 520).short(0.3, LEVEL)
    assert not falling(570, 560, 550, 540).short(0.3, LEVEL)
    assert AHEAD == 4.5


def test_neither_one_step_nor_a_rise_is_a_pace() -> None:
    assert not falling(500, 300).short(0.1, LEVEL)
    assert not falling(300, 400, 500).short(0.2, LEVEL)


def test_what_was_in_sight_stays_so_for_a_while_and_then_is_over() -> None:
    fall = falling(550, 540, 530, 520)
    assert fall.short(0.3, LEVEL)
    fall.take(1.8, 520 * MIB, TOTAL)
    assert fall.short(1.8, LEVEL)
    fall.take(2.1 + LASTING, 520 * MIB, TOTAL)
    assert not fall.short(2.1 + LASTING, LEVEL)


def test_where_it_is_looked_at_rarely_the_pace_is_that_since_the_last_look() -> None:
    assert falling(500, 400, 300, every=2.0).short(4.0, LEVEL)


def test_a_pace_of_long_ago_is_none() -> None:
    fall = falling(550, 540, 530, 520)
    fall.take(60.0, 400 * MIB, TOTAL)
    assert fall.rate == 0.0


@pytest.mark.parametrize(("less", "fallen"), [(TOTAL * FALL / 2, False), (TOTAL * FALL * 2, True)])
def test_it_has_fallen_if_clearly_less_is_there_than_at_the_last_look_however_slowly_that_came(
    less: float, fallen: bool
) -> None:
    fall = Fall()
    fall.take(0.0, 200 * MIB, TOTAL)
    fall.looked()
    for step in range(1, 11):
        fall.take(step * 20.0, int(200 * MIB - less * step / 10), TOTAL)
    assert fall.fallen is fallen
    fall.looked()
    assert not fall.fallen


def test_what_comes_and_goes_is_no_fall_and_one_from_high_above_is() -> None:
    fall = falling(200)
    fall.looked()
    for number, mib in enumerate((207, 200, 206, 199, 208)):
        fall.take(1.0 + number, mib * MIB, TOTAL)
        assert not fall.fallen
    fall.take(9.0, 400 * MIB, TOTAL)
    assert not fall.fallen
    fall.take(9.5, int(400 * MIB - TOTAL * (RISE + 2 * FALL)), TOTAL)
    assert fall.fallen
