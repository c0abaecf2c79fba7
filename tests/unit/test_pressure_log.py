"""The log of `okoomer pressure`: lines from totals, on a pretended clock."""

from __future__ import annotations

import json
import time

import pytest

from okoomer.cli import pressure
from okoomer.cli.pressure import Gone, Reading


class World:
    """A clock that waiting moves, and stalls that grow with it: by so much each second for cpu some, io some and full,
    memory some and full."""

    def __init__(self, rates: tuple[float | None, ...] = (0.5, 0.25, 0.0, 0.1, 0.05)) -> None:
        self.time, self.rates = 100.0, rates
        self.totals = [None if rate is None else 1000.0 for rate in rates]
        self.waited: list[float] = []
        #: What each wait really took, where that is not what was asked for; after them it is told to stop.
        self.late: dict[int, float] = {}
        self.stop_after, self.gone_after = 1000, 1000

    def wait(self, seconds: float) -> bool:
        self.waited.append(round(seconds, 6))
        passed = self.late.get(len(self.waited), seconds)
        self.time += passed
        self.totals = [
            None if total is None or rate is None else total + rate * passed
            for total, rate in zip(self.totals, self.rates, strict=True)
        ]
        return len(self.waited) > self.stop_after

    def read(self) -> Reading:
        if len(self.waited) > self.gone_after:
            raise Gone("/x is gone")
        return Reading(tuple(self.totals), (self.time,) * len(self.totals))

    def lines(self, interval: float = 2.0, count: int | None = None, as_json: bool = False) -> list[str]:
        """All lines of the log; a vanished cgroup is told as the last one."""
        found: list[str] = []
        watched = pressure.watch(
            self.read, self.wait, interval, count, as_json, lambda: self.time, lambda: 1e9 + self.time
        )
        try:
            found += watched
        except Gone as gone:
            found.append(str(gone))
        return found


@pytest.fixture(autouse=True)
def in_greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "localtime", time.gmtime)


def test_a_line_each_interval_then_the_peaks_and_totals() -> None:
    world = World()
    world.stop_after = 2
    world.late[3] = 0.5
    assert world.lines() == [
        "time         seconds    cpu some     io some     io full memory some memory full",
        "01:48:22        2.00       50.00       25.00        0.00       10.00        5.00",
        "01:48:24        2.00       50.00       25.00        0.00       10.00        5.00",
        "peak                       50.00       25.00        0.00       10.00        5.00",
        "average         4.50       50.00       25.00        0.00       10.00        5.00",
        "stalled s                   2.25        1.12        0.00        0.45        0.23",
    ]


def test_json_is_one_object_a_line() -> None:
    world = World((0.5, 0.25, 0.0, 0.1, None))
    line, end = map(json.loads, world.lines(count=1, as_json=True))
    share = {"cpu": {"some": 50.0}, "io": {"some": 25.0, "full": 0.0}, "memory": {"some": 10.0, "full": None}}
    assert line == {"at": 1e9 + 102, "seconds": 2.0} | share
    stalled = {"cpu": {"some": 1.0}, "io": {"some": 0.5, "full": 0.0}, "memory": {"some": 0.2, "full": None}}
    assert end == {"lines": 1, "seconds": 2.0, "peak": share, "average": share, "stalled": stalled}


@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_count_ends_it_after_so_many_lines(count: int) -> None:
    world = World()
    lines = world.lines(interval=0.1, count=count)
    assert len(lines) == 1 + count + 3
    assert world.waited == [0.1] * count


def test_what_does_not_exist_is_a_dash() -> None:
    lines = World((0.5, None, None, 0.0, 0.0)).lines(count=1)
    assert lines[1].split()[2:] == ["50.00", "-", "-", "0.00", "0.00"]
    assert lines[-1].split()[2:] == ["1.00", "-", "-", "0.00", "0.00"]


def test_a_late_line_tells_of_the_time_that_really_passed_and_is_not_made_up_for() -> None:
    world = World()
    world.late = {2: 2.5, 4: 9.0}
    lines = [json.loads(text) for text in world.lines(count=6, as_json=True)]
    assert [line["seconds"] for line in lines[:-1]] == [2.0, 2.5, 1.5, 9.0, 2.0, 2.0]
    assert {line["cpu"]["some"] for line in lines[:-1]} == {50.0}
    assert world.waited == [2.0, 2.0, 1.5, 2.0, 2.0, 2.0]


def test_the_peak_is_the_greatest_share_of_a_whole_interval_and_the_rest_is_in_the_totals() -> None:
    world = World((0.1, 0.0, 0.0, 0.0, 0.0))
    world.stop_after = 2
    world.late[3] = 0.5
    wait = world.wait

    def wait_and_change(seconds: float) -> bool:
        stop = wait(seconds)
        world.rates = ({1: 0.6, 2: 1.0}.get(len(world.waited), 0.1), 0.0, 0.0, 0.0, 0.0)
        return stop

    world.wait = wait_and_change  # type: ignore[method-assign]
    end = json.loads(world.lines(as_json=True)[-1])
    assert end["peak"]["cpu"]["some"] == 60.0
    assert (end["seconds"], end["stalled"]["cpu"]["some"]) == (4.5, 1.9)
    assert end["average"]["cpu"]["some"] == pytest.approx(100 * 1.9 / 4.5, abs=0.001)


def test_told_to_stop_at_once_there_is_an_end_without_lines() -> None:
    world = World()
    world.stop_after, world.late = 0, {1: 0.0}
    assert [text.split()[0] for text in world.lines()] == ["time", "peak", "average", "stalled"]
    world = World()
    world.stop_after, world.late = 0, {1: 0.0}
    (end,) = map(json.loads, world.lines(as_json=True))
    assert end["lines"] == 0 and end["peak"]["cpu"] == {"some": None} and end["average"]["cpu"] == {"some": 0.0}


@pytest.mark.parametrize("as_json", [False, True])
def test_a_vanished_cgroup_is_told_once_after_the_peaks_and_totals(as_json: bool) -> None:
    world = World()
    world.gone_after = 2
    lines = world.lines(as_json=as_json)
    assert lines[-1] == "/x is gone"
    assert sum("gone" in text for text in lines) == 1
    assert len(lines) == (2 + 1 if as_json else 1 + 2 + 3) + 1


@pytest.mark.parametrize(
    ("before", "after", "seconds", "share"),
    [
        (1.0, 2.0, 2.0, 0.5),
        (1.0, 1.0, 2.0, 0.0),
        (1.0, 4.0, 2.0, 1.0),
        (2.0, 1.0, 2.0, 0.0),
        (1.0, 2.0, 0.0, 0.0),
        (None, 2.0, 2.0, None),
        (1.0, None, 2.0, None),
    ],
)
def test_a_share_of_time_is_never_more_than_all_of_it(
    before: float | None, after: float | None, seconds: float, share: float | None
) -> None:
    assert pressure.shares(Reading((before,), (10.0,)), Reading((after,), (10.0 + seconds,))) == (share,)
