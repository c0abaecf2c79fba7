"""Load control decides: who waits, who goes on, and that all get done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from okoomer.policy.careers import IDLE
from okoomer.policy.demand import CALM, Room
from okoomer.policy.jobs import Family, Job
from okoomer.policy.turns import AGED, HOPELESS, RUN, STALE, Turn, Turns
from okoomer.record import replace
from tests.unit.crowd import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = 240 * MIB  # somebody is paused below 80, and goes on at 120
FULL = Room(60 * MIB, LEVEL, 500 * MIB, 0.0, True)
AMPLE = Room(600 * MIB, LEVEL, 500 * MIB, 0.0, False)


def job(number: int, size: float = 50, resident: float | None = None, waiting: bool = False, born: float = 0.0) -> Job:
    held = int(size * MIB)
    there = held if resident is None else int(resident * MIB)
    return Job((number, 1), f"job-{number}", born or float(number), held, there, not waiting, waiting)


def family(*members: Job, forker: int = 1, user: int = 1000) -> Family:
    return Family((forker, 1), "make", user, members)


def look(turns: Turns, at: float, room: Room, *families: Family) -> Turn:
    return turns.decide(at, 1000.0 + at, room, families)


def paused(turn: Turn) -> list[int]:
    return [one.key[0] for _, one, _ in turn.pause]


def resumed(turn: Turn) -> list[int]:
    return [one.key[0] for _, one, _ in turn.resume]


def some(count: int, waiting: Sequence[int] = (), size: float = 50, resident: float = 50) -> Family:
    """Jobs 1 to count, the first the oldest; who waits has all in swap but little."""
    return family(*(job(n, size, 2 if n in waiting else resident, n in waiting) for n in range(1, count + 1)))


def test_the_youngest_wait_and_the_oldest_always_runs() -> None:
    growing = family(*(job(n, 10, born=999.0 + n / 10) for n in range(1, 9)))
    turn = look(Turns(), 0.0, FULL, growing)
    assert paused(turn) == [8, 7, 6, 5, 4, 3, 2]
    assert all("more than there is" in why for _, _, why in turn.pause)


def test_nobody_waits_while_there_is_enough_or_the_rule_has_not_fired() -> None:
    assert look(Turns(), 0.0, AMPLE, some(8)) == Turn()
    assert look(Turns(), 0.0, replace(FULL, crowded=False), some(8)) == Turn()
    assert look(Turns(), 0.0, replace(FULL, available=100 * MIB), some(8)) == Turn()


def test_as_many_are_paused_as_it_takes_and_not_more() -> None:
    turns = Turns()
    look(turns, 0.0, AMPLE, some(4, size=40, resident=40))
    # Each grows by 20 MiB in a second, and 200 less what two of them will have taken soon is enough.
    turn = look(turns, 1.0, replace(FULL, available=200 * MIB), some(4, size=60, resident=60))
    assert paused(turn) == [4, 3]


def test_the_largest_seen_is_what_each_will_need() -> None:
    turns = Turns()
    members = family(job(1, 300), job(2, 100), job(3, 100))
    assert turns._careers.peak(members) == 0
    look(turns, 0.0, AMPLE, members)
    assert turns._careers.peak(members) == 300 * MIB
    # It has ended, and yet it is known what it needed.
    rest = family(job(2, 100), job(3, 100, 10, waiting=True))
    look(turns, 1.0, AMPLE, rest)
    assert turns._careers.peak(rest) == 300 * MIB


def test_what_one_users_jobs_need_says_nothing_of_anothers_below_the_same_forker() -> None:
    turns = Turns()
    mine, others = family(job(1, 300), job(2, 300), user=1000), family(job(11, 20), job(12, 20), user=1001)
    look(turns, 0.0, AMPLE, mine, others)
    # One of mine has ended, none of the others.
    rest = family(job(2, 300), user=1000)
    look(turns, 1.0, AMPLE, rest, others)
    careers = turns._careers
    assert (careers.peak(rest), careers.knows(rest)) == (300 * MIB, True)
    assert (careers.peak(others), careers.knows(others)) == (20 * MIB, False)


def test_the_oldest_waiting_one_goes_on_as_soon_as_there_is_room_for_all_that_it_will_need() -> None:
    turns = Turns()
    waiting = some(4, waiting=(2, 3, 4))
    look(turns, 0.0, replace(FULL, available=100 * MIB), waiting)
    # Level 120, and 48 that it lacks.
    assert resumed(look(turns, 4.0, replace(AMPLE, available=166 * MIB), waiting)) == []
    assert resumed(look(turns, 4.2, replace(AMPLE, available=170 * MIB), waiting)) == [2]
    assert resumed(look(turns, 4.4, replace(AMPLE, available=600 * MIB), some(4, waiting=(3, 4)))) == [3, 4]


def test_nobody_goes_on_as_if_it_were_known_what_all_need_while_all_grow() -> None:
    def growing(size: float) -> Family:
        return family(job(1, size), job(2, 30, 30, True))

    def at_last(calm: bool) -> list[int]:
        turns = Turns()
        look(turns, 0.0, replace(FULL, available=170 * MIB), growing(20))
        for step in range(1, 20):
            size = 40 if calm else 20 + step
            turn = look(turns, float(step), replace(FULL, available=170 * MIB), growing(size))
        return resumed(turn)

    # 120 have to be left, and it lacks 10, but for all that is known twice 39 less 30.
    assert (at_last(calm=False), at_last(calm=True)) == ([], [2])


def test_how_fast_one_grew_before_it_waited_says_nothing_of_what_it_will_take() -> None:
    turns = Turns()
    first, second, third = (job(n, 30, born=999.9 + n / 1000) for n in (1, 2, 3))
    assert paused(look(turns, 0.0, FULL, family(first, second, third))) == [3, 2]
    left = family(replace(second, waiting=True, active=False), replace(third, waiting=True, active=False))
    assert resumed(look(turns, 1.0, replace(FULL, available=40 * MIB), left)) == [2]
    left = family(second, replace(third, waiting=True, active=False))
    assert resumed(look(turns, 1.3, replace(AMPLE, available=300 * MIB), left)) == [3]


def test_the_next_one_goes_on_at_once_if_nobody_is_left() -> None:
    turns = Turns()
    look(turns, 0.0, FULL, some(3, waiting=(2, 3)))
    alone = family(*some(3, waiting=(2, 3)).jobs[1:])
    assert resumed(look(turns, 0.2, replace(FULL, available=0), alone)) == [2]


def test_one_who_may_run_and_does_nothing_does_not_count_as_running() -> None:
    turns = Turns()
    idle = family(*(replace(one, active=False) for one in some(3, waiting=(2, 3)).jobs))
    found = []
    at = 0.0
    while at < IDLE + 2.0 and not found:
        found = resumed(look(turns, at, FULL, idle))
        at += 0.2
    assert found == [2] and at >= IDLE
    # It is not paused either for the sake of another one: that would leave nobody who runs.
    assert paused(look(Turns(), 0.0, FULL, family(replace(job(1), active=False), job(2)))) == []


def test_what_is_missing_for_the_next_one_goes_to_swap_from_those_whose_turn_comes_last() -> None:
    turns = Turns()
    held = family(job(1), job(2, 50, 50, True), job(3, 50, 50, True), job(4, 50, 50, True))
    look(turns, 0.0, replace(AMPLE, available=100 * MIB), held)
    turn = look(turns, 4.0, replace(AMPLE, available=100 * MIB), held)
    assert (turn.page_out, [key[0] for key in turn.order]) == (20 * MIB, [4, 3])
    assert look(turns, 4.2, replace(AMPLE, available=100 * MIB, swap=5 * MIB), held).page_out == 5 * MIB
    assert look(turns, 4.4, replace(AMPLE, available=100 * MIB, swap=0), held).page_out == 0


def test_who_was_resumed_is_not_paused_a_moment_later_unless_nothing_is_left() -> None:
    turns = Turns()
    look(turns, 0.0, FULL, some(2, waiting=(2,)))
    look(turns, 4.0, AMPLE, some(2, waiting=(2,)))
    now = some(2, resident=40)
    assert paused(look(turns, 4.0 + CALM / 2, replace(FULL, available=70 * MIB), now)) == []
    assert paused(look(turns, 4.0 + CALM / 2 + 0.2, replace(FULL, available=20 * MIB), now)) == [2]


def test_who_stalls_though_nobody_grows_makes_room_one_a_second_if_swap_can_hold_it() -> None:
    stalled = replace(FULL, stalled=0.5)
    for room, expected in ((stalled, [3]), (replace(stalled, swap=0), []), (replace(FULL, stalled=0.05), [])):
        turns = Turns()
        look(turns, 0.0, AMPLE, some(3))
        assert paused(look(turns, 10.0, AMPLE, some(3))) == []
        assert paused(look(turns, 14.0, room, some(3))) == expected
        assert paused(look(turns, 14.5, room, some(3))) == []


def test_whom_a_person_has_let_go_on_is_not_paused() -> None:
    kept = family(job(1), job(2), replace(job(3), kept=True))
    turns = Turns()
    look(turns, 0.0, AMPLE, kept)
    assert paused(look(turns, 14.0, replace(FULL, stalled=0.5), kept)) == [2]


def test_of_two_families_the_one_with_more_is_cut_and_the_one_with_less_goes_on() -> None:
    first = family(job(1), job(2), job(3), forker=1, user=1000)
    second = family(job(11), job(12), forker=2, user=1001)
    turns = Turns()
    look(turns, 0.0, AMPLE, first, second)
    assert paused(look(turns, 14.0, replace(FULL, stalled=0.5), first, second)) == [3]
    turns = Turns()
    first = family(job(1), job(2), job(3, 50, 0, True), forker=1, user=1000)
    second = family(job(11), job(12, 50, 0, True), forker=2, user=1001)
    room = replace(AMPLE, available=175 * MIB)
    look(turns, 0.0, replace(room, available=90 * MIB), first, second)
    assert resumed(look(turns, 4.0, room, first, second)) == [12]


def test_who_has_waited_too_long_takes_the_place_of_the_youngest_running_one() -> None:
    turns = Turns()
    room = replace(AMPLE, available=125 * MIB)
    crowd = family(job(1), job(2, 50, 5, True), job(3), job(4))
    assert paused(look(turns, 0.0, room, crowd)) == []
    at = 0.0
    while at < AGED - 1.0:
        at += 1.0
        turn = look(turns, at, room, crowd)
        assert (paused(turn), resumed(turn)) == ([], [])
    assert at > RUN
    turn = look(turns, AGED + 0.5, room, crowd)
    assert paused(turn) == [4] and "takes its place" in turn.pause[0][2]


def test_who_was_paused_for_its_growth_does_not_go_on_at_once_since_it_is_small_yet() -> None:
    turns = Turns()
    room = replace(FULL, available=130 * MIB)
    growing = [job(number, 10, born=999.0) for number in range(1, 9)]
    left = paused(look(turns, 0.0, room, family(*growing)))
    assert left
    crowd = family(*(replace(one, waiting=one.key[0] in left) for one in growing))
    assert resumed(look(turns, 0.2, room, crowd)) == []


def test_the_oldest_is_next_also_if_the_youngest_have_waited_longest() -> None:
    turns = Turns()
    room = replace(AMPLE, available=125 * MIB)
    look(turns, 0.0, room, some(4, waiting=(4,)))
    look(turns, 2.0, room, some(4, waiting=(3, 4)))
    crowd = some(4, waiting=(2, 3, 4))
    for at in range(3, 40):
        look(turns, float(at), replace(room, available=100 * MIB), crowd)
    assert resumed(look(turns, 40.0, replace(room, available=170 * MIB), crowd)) == [2]


def test_a_newcomer_makes_room_for_one_who_was_there_before() -> None:
    turns = Turns()
    room = replace(AMPLE, available=165 * MIB)
    look(turns, 0.0, replace(room, available=90 * MIB), family(job(1), job(2, 50, 45, True)))
    crowd = family(job(1), job(2, 50, 5, True), job(9, 6, born=1002.0))
    look(turns, 2.5, room, crowd)
    turn = look(turns, 4.0, room, crowd)
    assert paused(turn) == [9] and "was there before" in turn.pause[0][2]


def test_one_alone_that_does_not_fit_is_told_of_once_and_nobody_runs_into_the_wall() -> None:
    turns = Turns()
    told = []
    crowd = family(job(1, 500), job(2, 300, 10, True))
    at = 0.0
    while at < STALE + HOPELESS:
        turn = look(turns, at, replace(FULL, available=20 * MIB, swap=0), crowd)
        assert not turn.pause and not turn.resume
        told += [turn.hopeless] if turn.hopeless else []
        at += 1.0
    assert len(told) == 1 and "one job alone needs more than there is" in told[0]
