"""A ladder that pauses and asks, over real processes of the test's own, by themselves and in a cgroup."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from okoomer.events import model
from okoomer.guard.act import Act
from okoomer.guard.hold import Holds
from okoomer.guard.ladder import Ladder
from okoomer.guard.question import OK
from okoomer.guard.scan import look
from okoomer.guard.victim import Hands
from okoomer.policy.engine import FIRED, RuleVerdict, Verdict
from okoomer.policy.model import Comparison, Policy, Rule, Step
from tests.unit.cgroups import alive, real, running
from tests.unit.descriptors import descriptors, left_open
from tests.unit.standing import stands, state, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from okoomer.record import Record

STEPS = (Step("pause", 0.02), Step("ask", 60.0), Step("term", 60.0), Step("kill"))
HOLDS = Verdict(0.0, (RuleVerdict("low", FIRED, ()),), 0, (), 0.0)
#: It waits for ever, but not when it is asked to end.
WILLING = "import signal; print(1, flush=True); signal.pause()"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = descriptors()
    yield
    assert not left_open(before)


class Asked:
    """An act on processes, up to its question."""

    def __init__(self, pids: list[int], cgroup: str = "") -> None:
        self.events: list[Record] = []
        rule = Rule("low", Comparison("mem.available", "<", 0.1, share=True), "", steps=STEPS)
        self.ladder = Ladder(Hands("/proc", None), self.events.append, Policy("p", (rule,)))
        self.ladder.holds = Holds("/proc", "", self.events.append)
        processes = [process for pid in pids if (process := look("/proc", pid, frozenset()))]
        self.ladder.begin(Act(0, rule, "unit", processes, 0, 0, cgroup=cgroup, need=1), monotonic())
        assert within(lambda: bool(self.go().questions()))

    def go(self) -> Ladder:
        self.ladder.advance(monotonic(), 0, HOLDS)
        return self.ladder

    def answer(self, word: str) -> str:
        return self.ladder.answer(1, word, 0, os.getuid(), monotonic())

    def over(self) -> bool:
        return not self.go().busy(monotonic())


def test_processes_stand_still_and_run_again_when_somebody_says_so() -> None:
    with running(WILLING, 2) as pids:
        act = Asked(pids)
        assert stands(*pids)
        assert act.answer(model.RESUME) == OK and act.over()
        assert within(lambda: all(state(pid) == "S" for pid in pids))


def test_processes_that_stand_still_can_end_when_they_are_asked_to() -> None:
    with running(WILLING, 2) as pids:
        act = Asked(pids)
        assert act.answer(model.END) == OK
        assert within(act.over) and not any(map(alive, pids))
        assert [event.signal for event in act.events if isinstance(event, model.Signalled)] == ["SIGTERM"]


def test_processes_get_a_ceiling_and_run_again() -> None:
    with running(WILLING) as pids:
        act = Asked(pids)
        assert act.answer(model.LIMIT) == OK and act.over()
        [limited] = [event for event in act.events if isinstance(event, model.Limited)]
        assert limited.bytes >= 64 << 20
        soft = Path(f"/proc/{pids[0]}/limits").read_text().split("Max data size")[1].split()[0]
        assert limited.means == "RLIMIT_DATA" and soft.isdigit()
        assert within(lambda: state(pids[0]) == "S")


@pytest.mark.parametrize(("word", "lives"), [(model.RESUME, True), (model.END, False)])
def test_a_whole_cgroup_is_frozen_and_thawed_for_whatever_becomes_of_it(word: str, lives: bool) -> None:
    with real("asked") as there, running(WILLING, 2) as pids:
        if there is None:
            pytest.skip("no cgroup can be made here")
        for pid in pids:
            (there / "cgroup.procs").write_text(str(pid))
        try:
            act = Asked(pids, f"/{there.name}")
            assert (there / "cgroup.freeze").read_text() == "1\n"
            [paused] = [event for event in act.events if isinstance(event, model.Paused)]
            assert paused.frozen and set(paused.pids) == set(pids)
            assert act.answer(word) == OK
            assert within(act.over)
            assert (there / "cgroup.freeze").read_text() == "0\n"
            assert all(map(alive, pids)) is lives
        finally:
            (there / "cgroup.freeze").write_text("0")
            for pid in filter(alive, pids):
                (there.parent / "cgroup.procs").write_text(str(pid))
