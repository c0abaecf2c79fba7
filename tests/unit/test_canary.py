"""The guard's side of the canary: how late it is, by a clock and a page that are the test's own."""

from __future__ import annotations

import os
import struct
from mmap import mmap
from typing import TYPE_CHECKING

import pytest

from okoomer.cli import start
from okoomer.facts import Memory, Snapshot
from okoomer.guard import canary_start
from okoomer.guard.canary import ANSWERED, ASKED, AT, KEPT, PAGE, Canary
from okoomer.guard.launch import Options, needs_canary
from okoomer.guard.wake import Wake
from okoomer.kernel.machine import LIVE
from okoomer.policy.engine import FIRED, HEED, QUIET, Engine
from okoomer.policy.language import parse
from okoomer.policy.metrics import CANARY, METRICS
from okoomer.record import replace
from tests.unit.strategies import GIB
from tests.unit.test_loop import KILLS, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from okoomer.policy.model import Policy, Rule


class Bird:
    """A canary whose other end is the test: nobody answers but by `answer`."""

    def __init__(self) -> None:
        self.now = 100.0
        self.heard, line = os.pipe2(os.O_NONBLOCK)
        page = os.memfd_create("page")
        os.ftruncate(page, PAGE)
        self.page = mmap(page, PAGE)
        self.canary = Canary(line, page, lambda: self.now)

    def questions(self) -> int:
        """How many bytes were put into the pipe since the last time."""
        try:
            return len(os.read(self.heard, PAGE))
        except BlockingIOError:
            return 0

    def answer(self, number: int | None = None, at: float | None = None) -> None:
        struct.pack_into("=d", self.page, AT, self.now if at is None else at)
        said = struct.unpack_from("=Q", self.page, ASKED)[0] if number is None else number
        struct.pack_into("=Q", self.page, ANSWERED, said)

    def wait(self, seconds: float) -> float:
        self.now += seconds
        return self.canary.late()


@pytest.fixture
def bird() -> Iterator[Bird]:
    made = Bird()
    yield made
    made.canary.close()
    made.page.close()
    if made.heard >= 0:
        os.close(made.heard)


# --- how late -------------------------------------------------------------------------------------------------------


def test_nobody_is_late_who_was_not_asked(bird: Bird) -> None:
    assert [bird.wait(1000.0) for _ in range(3)] == [0.0] * 3 and bird.questions() == 0


def test_what_is_owed_counts_by_the_time_since_it_was_asked(bird: Bird) -> None:
    bird.canary.ask()
    assert [bird.wait(0.5) for _ in range(4)] == pytest.approx([0.5, 1.0, 1.5, 2.0])


def test_it_is_as_late_as_it_was_by_its_own_clock_however_late_the_guard_looks(bird: Bird) -> None:
    bird.canary.ask()
    bird.answer(at=100.02)
    assert bird.wait(1.5) == pytest.approx(0.02)


def test_the_worst_of_two_seconds_counts(bird: Bird) -> None:
    found = []
    for late in (0.1, 0.3, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0):
        bird.canary.ask()
        bird.now += late
        bird.answer()
        found.append(bird.wait(0.5 - late))
    assert found == pytest.approx([0.1, 0.3, 0.3, 0.3, 0.3, 0.2, 0.0, 0.0])


def test_an_answer_that_came_long_ago_is_forgotten(bird: Bird) -> None:
    bird.canary.ask()
    bird.now += 0.7
    bird.answer()
    assert bird.wait(0.0) == pytest.approx(0.7)
    assert bird.wait(KEPT - 0.01) == pytest.approx(0.7)
    assert bird.wait(0.02) == 0.0


def test_one_question_is_open_at_a_time(bird: Bird) -> None:
    for _ in range(1000):
        bird.canary.ask()
        bird.now += 0.01
    assert bird.questions() == 1
    assert bird.canary.late() == pytest.approx(10.0)
    bird.answer()
    bird.canary.ask()
    assert bird.questions() == 1


def test_where_it_does_not_read_and_its_pipe_is_full_it_is_late_and_nobody_waits(bird: Bird) -> None:
    writer = os.open(f"/proc/self/fd/{bird.heard}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            os.write(writer, bytes(PAGE))
    except BlockingIOError:
        pass
    finally:
        os.close(writer)
    bird.canary.ask()
    assert bird.wait(3.0) == pytest.approx(3.0) and bird.canary.alive


@pytest.mark.parametrize("at", [float("nan"), float("inf"), float("-inf"), -1.0, 0.0, 99.9, 1e300])
def test_an_answer_from_another_time_is_as_if_it_had_come_when_it_was_seen(bird: Bird, at: float) -> None:
    bird.canary.ask()
    bird.now += 0.25
    bird.answer(at=at)
    assert bird.canary.late() == pytest.approx(0.25)


@pytest.mark.parametrize("number", [0, 2, 7, 2**64 - 1])
def test_an_answer_to_what_was_not_asked_is_none(bird: Bird, number: int) -> None:
    bird.canary.ask()
    bird.answer(number=number)
    assert bird.wait(0.25) == pytest.approx(0.25)


def test_whatever_stands_on_the_page_nothing_changes_but_the_figure(bird: Bird) -> None:
    for seed in range(200):
        bird.page[:] = bytes((seed * 37 + at * 11) % 256 for at in range(PAGE))
        bird.canary.ask()
        assert 0.0 <= bird.wait(0.01) <= 0.01 * (seed + 1) + 1e-9


def test_who_answers_once_in_a_while_leaves_nothing_behind(bird: Bird) -> None:
    for step in range(5000):
        bird.canary.ask()
        bird.now += 0.05 - step * 1e-5
        bird.answer()
        bird.canary.late()
    assert len(bird.canary._late) <= KEPT / 0.0001 and bird.canary._late[0][0] >= bird.now


# --- its end --------------------------------------------------------------------------------------------------------


def test_when_it_ends_that_is_told_once_and_nobody_denies_anything_any_more(bird: Bird) -> None:
    told: list[str] = []
    wake = Wake(LIVE, parse('[[rule]]\nname = "a"\nwhen = "mem.available < 1%"\n', "p"), lambda: 0.0)
    bird.canary.watch(wake, lambda: told.append("ended"))
    wake.wait(0.0, (), None, 1.0, lambda _: None)
    assert not told and bird.canary.alive
    os.close(bird.heard)
    bird.heard = -1
    bird.canary.ask()
    for _ in range(3):
        wake.wait(0.0, (), None, 1.0, lambda _: None)
        bird.canary.ask()
    assert told == ["ended"] and not bird.canary.alive and bird.canary.late() == float("inf")


# --- the rule about it ----------------------------------------------------------------------------------------------


def policy(when: str) -> Policy:
    return parse(f'[[rule]]\nname = "late"\nwhen = "{when}"\nsteps = ["warn"]\n', "p")


def seen(share: float, canary: float | None = None, time: float = 0.0) -> Snapshot:
    return Snapshot(time, Memory(8 * GIB, 0, int(8 * GIB * share)), canary=canary)


@pytest.mark.parametrize(("canary", "state"), [(None, FIRED), (0.0, QUIET), (0.1, QUIET), (0.11, FIRED)])
def test_it_is_never_unknown_and_without_one_nobody_denies_that_it_hurts(canary: float | None, state: str) -> None:
    one = policy("mem.available < 10% and canary.late > 100ms")
    assert Engine(one).step(seen(0.05, canary)).rules[0].state == state
    assert METRICS[CANARY].read(seen(0.05, canary)) is not None


def test_it_cannot_be_late_sooner_than_time_passes_and_somebody_has_to_ask() -> None:
    engine = Engine(policy("canary.late > 300ms"), triggers=True)
    assert engine.step(seen(0.5, 0.0)).soonest == pytest.approx(0.3)
    assert engine.step(seen(0.5, 0.25, 1.0)).soonest == pytest.approx(0.05)
    far = Engine(policy("canary.late > 1h"), triggers=True)
    assert 0 < far.step(seen(0.5, 0.0)).soonest <= 0.5
    back = Engine(policy("canary.late < 1s"), triggers=True)
    assert back.step(seen(0.5, 1.01)).soonest > 0.01, "the worst may be forgotten at once"


def test_what_else_a_rule_asks_for_lets_the_guard_sleep() -> None:
    engine = Engine(policy("mem.available < 5% and canary.late > 100ms"))
    engine.fill_rate = 0.1 * GIB
    assert engine.step(seen(0.9, 0.0)).soonest > 60


@pytest.mark.parametrize(
    ("when", "share", "asks"),
    [
        ("canary.late > 100ms", 0.9, True),
        ("mem.available < 10% and canary.late > 100ms", 0.9, False),
        ("mem.available < 10% and canary.late > 100ms", 0.11, True),
        ("mem.available < 10% and canary.late > 100ms", 0.05, True),
        ("mem.available < 10%", 0.05, False),
    ],
)
def test_it_is_asked_when_what_it_says_may_matter_within_as_long_as_that_counts(
    when: str, share: float, asks: bool
) -> None:
    engine = Engine(policy(when))
    engine.fill_rate = 0.5 * GIB  # of 8 GiB, so that HEED are an eighth
    assert HEED == KEPT
    assert engine.step(seen(share, 0.0)).asks == asks
    assert needs_canary(policy(when)) == ("canary" in when)


def test_where_somebody_tells_of_a_stall_it_is_left_alone_until_then() -> None:
    stalls = policy("psi.memory.full > 20% over 2s and mem.available < 10% and canary.late > 100ms")
    assert not Engine(stalls, triggers=True).step(seen(0.05, 0.0)).asks


def test_where_it_cannot_be_started_the_guard_starts_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(canary_start, "start", fails)
    options = Options(policy("canary.late > 1s"), "", "/nowhere")
    assert start._with_canary(options) == options and options.canary == options.page == -1
    assert capsys.readouterr().err == "okoomer: there is no canary: Too many open files\n"


# --- the loop -------------------------------------------------------------------------------------------------------


class Looked:
    """A canary that counts who asks."""

    def __init__(self, late: float) -> None:
        self.asked, self.by = 0, late

    def ask(self) -> None:
        self.asked += 1

    def late(self) -> float:
        return self.by


def confirmed(rule: Rule = KILLS) -> Rule:
    [one] = parse('[[rule]]\nname = "low"\nwhen = "mem.available < 5% and canary.late > 100ms"\n', "p").rules
    return replace(rule, when=one.when)


@pytest.mark.parametrize(("late", "ends"), [(0.0, False), (0.09, False), (0.2, True), (float("inf"), True)])
def test_nobody_is_ended_as_long_as_an_ordinary_program_is_not_late(
    monkeypatch: pytest.MonkeyPatch, late: float, ends: bool
) -> None:
    stage = Stage(monkeypatch, confirmed())
    stage.guard.canary = canary = Looked(late)  # type: ignore[assignment]
    stage.cycle(0.04)
    assert bool(stage.world.signals(9)) == ends and canary.asked == 1


def test_without_a_canary_the_rest_of_the_rule_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, confirmed())
    stage.cycle(0.04)
    assert stage.world.signals(9) == [10]


def test_a_guard_that_has_time_does_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, confirmed())
    stage.guard.canary = canary = Looked(0.0)  # type: ignore[assignment]
    stage.guard.engine.fill_rate = 0.1 * GIB
    stage.share = 0.9
    stage.run(60)
    assert canary.asked == 0


def test_another_policy_has_the_same_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, confirmed())
    stage.guard.canary = canary = Looked(0.2)  # type: ignore[assignment]
    stage.guard.adopt(replace(stage.guard.policy, rules=(confirmed(), KILLS)), stage)  # type: ignore[arg-type]
    stage.cycle(0.04)
    assert canary.asked == 1 and stage.world.signals(9) == [10]
