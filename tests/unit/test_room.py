"""What stands still while somebody is asked makes room: as much as is missing, and as swap can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from okoomer.facts import Memory, Snapshot, Swap, Zram
from okoomer.guard.act import Act
from okoomer.guard.missed import LITTLE
from okoomer.guard.room import AFTERWARDS, AMPLE, MOMENT, Room
from okoomer.policy.model import Rule, Step
from okoomer.record import replace
from tests.unit.stands import LOW, Stand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from okoomer.guard.paging import Paging

MIB = 1024**2
KEYS = ((7, 70), (8, 80))


class Pages:
    """Writes all that it is told to, at once."""

    def __init__(self) -> None:
        self.written = 1000
        self.halted = 0
        self.out: list[int] = []
        self.swept: list[int] = []
        self.back: list[tuple[tuple[int, int], ...]] = []
        self.watched: list[float] = []

    def put_out(self, members: Iterable[tuple[int, int]], wanted: int, cgroup: Callable[[object], str]) -> None:
        assert tuple(members) == KEYS and cgroup(KEYS[0]) == ""
        self.out.append(wanted)
        self.written += wanted

    def sweep(self, target: int) -> None:
        self.swept.append(target)

    def halt(self) -> None:
        self.halted += 1

    def fetch(self, members: Iterable[tuple[int, int]]) -> None:
        self.back.append(tuple(members))

    def watch(self, seconds: float) -> None:
        self.watched.append(seconds)


def scene(swap: Swap, zram: Zram | None = None, need: int = 300) -> tuple[Room, Pages, Act]:
    room = Room("/proc", lambda: Snapshot(0.0, Memory(1024 * MIB, 0, 0), swap, zram=zram))
    pages = Pages()
    room._paging = cast("Paging", pages)
    act = Act(0, Rule("low", LOW, ""), "hog", [], 0, 100 * MIB, need=need * MIB)
    act.hold = Stand("hog", KEYS, "", 5.0)
    return room, pages, act


DISK = Swap(1000 * MIB, 900 * MIB)


def test_twice_what_is_wanted_is_put_out_and_does_not_count_as_won() -> None:
    room, pages, act = scene(DISK)
    room.make(act, 5.0, 5.0 + MOMENT)
    assert act.wanted == 400 * MIB and pages.out == [(AMPLE * 400 - 100) * MIB]
    act.room = AMPLE * act.wanted
    room.make(act, 5.0, 7.0)
    assert act.put_out == 700 * MIB and len(pages.out) == 1
    assert act.needed() and act.lacks() == 300 * MIB


def test_others_make_room_and_then_it_is_fetched_in_one_go() -> None:
    room, pages, act = scene(DISK)
    room.make(act, 5.0, 6.0)
    act.room += 1000 * MIB
    room.make(act, 5.0, 7.0)
    assert not act.needed()
    room.give_back(act)
    assert pages.back == [KEYS]


def test_nothing_is_fetched_while_there_is_no_room_for_it() -> None:
    room, pages, act = scene(DISK)
    room.make(act, 5.0, 6.0)
    room.make(act, 5.0, 7.0)
    room.give_back(act)
    assert pages.back == [] and pages.halted == 1


def test_meanwhile_and_for_a_while_afterwards_whoever_misses_what_he_has_in_swap_gets_it_back() -> None:
    room, pages, act = scene(DISK)
    room.sweep(act)
    room.make(act, 5.0, 4.9 + MOMENT)
    assert pages.watched == []
    room.make(act, 5.0, 6.0)
    act.room += 1000 * MIB
    room.make(act, 5.0, 7.0)
    assert pages.watched == [AFTERWARDS] * 2
    room.leave_off()
    act.hold = None
    room.give_back(act)
    assert pages.watched[2:] == [0.0, AFTERWARDS] and pages.back == [], "not while somebody ends, but afterwards"


def test_for_a_moment_nothing_is_written_but_of_who_has_had_his_moment() -> None:
    room, pages, act = scene(DISK)
    room.make(act, 5.0, 4.99 + MOMENT)
    assert pages.out == []
    act.rule, act.pulse = replace(act.rule, steps=(Step("pause", 1.5, times=3),)), True
    room.make(act, 5.0, 5.0)
    assert pages.out == [300 * MIB]


@pytest.mark.parametrize(
    ("swap", "zram", "most"),
    [
        (DISK, None, 700),
        (Swap(1000 * MIB, 200 * MIB), None, 50),  # nobody is to end for want of the last of it
        (Swap(1000 * MIB, 100 * MIB), None, 0),
        (Swap(0, 0), None, 0),
        # Of 900 MiB that are free on it two thirds can be won, and some stay free.
        (Swap(1000 * MIB, 900 * MIB, 1000 * MIB, 900 * MIB), Zram(1000 * MIB, 3000 * MIB, 1000 * MIB), 448),
        # What does not compress is not worth it.
        (Swap(1000 * MIB, 900 * MIB, 1000 * MIB, 900 * MIB), Zram(1000 * MIB, 9000 * MIB, 9000 * MIB), 0),
    ],
)
def test_no_more_than_swap_can_hold(swap: Swap, zram: Zram | None, most: int) -> None:
    room, pages, act = scene(swap, zram)
    room.make(act, 5.0, 7.0)
    assert [wanted // MIB for wanted in pages.out] == ([most] if most else [])


@pytest.mark.parametrize(
    ("swap", "swept"),
    [(DISK, [400 * MIB]), (Swap(1000 * MIB, 200 * MIB), [150 * MIB]), (Swap(0, 0), []), (Swap(1000 * MIB, MIB), [])],
)
def test_a_moment_is_used_to_put_out_what_nobody_uses(swap: Swap, swept: list[int]) -> None:
    room, pages, act = scene(swap)
    room.sweep(act)
    assert pages.swept == swept and pages.out == []
    room.sweep(act)
    assert pages.swept == swept  # once
    room.give_back(act)
    assert pages.watched == []


def test_where_there_is_as_good_as_enough_nothing_is_put_out() -> None:
    room, pages, act = scene(DISK)
    act.room += 298 * MIB
    room.sweep(act)
    assert pages.swept == []


def test_another_act_begins_anew() -> None:
    room, pages, act = scene(DISK)
    room.make(act, 5.0, 7.0)
    another = Act(0, Rule("low", LOW, ""), "hog", [], 0, 100 * MIB, need=LITTLE)
    another.hold = act.hold
    room.make(another, 5.0, 7.0)
    assert another.put_out == 0 and pages.out == [700 * MIB, AMPLE * another.wanted - another.room]
