"""The loop with a rule that asks: whom it passes over, what the ladder is told, and what is read of real processes."""

from __future__ import annotations

import os
import subprocess
from signal import SIGKILL
from typing import TYPE_CHECKING

import pytest

from okoomer.events import model
from okoomer.guard import loop
from okoomer.guard.act import Act
from okoomer.guard.asking import KEPT, weighed
from okoomer.guard.question import OK
from okoomer.guard.rehearsal import rehearse
from okoomer.guard.scan import Scan, look
from okoomer.guard.seek import Seeker
from okoomer.guard.sense import Sense
from okoomer.guard.weight import weight
from okoomer.kernel.machine import LIVE
from okoomer.policy.model import Comparison, Policy, Rule, Step
from okoomer.policy.scale import Candidate
from okoomer.record import replace
from tests.unit.cgroups import real
from tests.unit.stands import Slowing, Stands
from tests.unit.strategies import MIB
from tests.unit.test_loop import KILLS, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from okoomer.facts import Process, Snapshot

ASKS = replace(KILLS, steps=(Step("ask", 10.0), Step("kill")), unit="process")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch, ASKS)


def asked(stage: Stage) -> model.Question:
    [(question, _)] = stage.guard.ladder.questions()
    return question


def test_a_question_is_told_with_what_the_choice_was_made_by(stage: Stage) -> None:
    stage.cycle(0.04)
    question = asked(stage)
    assert (question.pids, question.freed, question.why) == ((10,), 900 * MIB, stage.told(model.Chosen)[0].why)


def test_whom_somebody_wants_to_keep_is_passed_over_and_the_next_is_asked_about(stage: Stage) -> None:
    stage.cycle(0.04)
    assert stage.guard.ladder.answer(1, model.RESUME, 0, 0, stage.world.now) == OK
    stage.run(1)
    assert asked(stage).pids == (11,)
    assert stage.guard.ladder.answer(2, model.RESUME, 0, 0, stage.world.now) == OK
    stage.run(1)
    # He knows that he wanted it so: that nobody else would help is no news.
    assert stage.guard.ladder.questions() == [] and not stage.told(model.Refused)
    stage.run(KEPT)
    assert asked(stage).pids == (10,)


def test_who_is_kept_is_taken_by_a_rule_that_does_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    critical = replace(KILLS, name="critical", when=Comparison("mem.available", "<", 0.02, share=True), unit="process")
    stage = Stage(monkeypatch, critical, ASKS)
    stage.cycle(0.04)
    assert stage.guard.ladder.answer(1, model.RESUME, 0, 0, stage.world.now) == OK
    stage.cycle(0.01)
    assert stage.told(model.Signalled)[-1].pids == (10,)  # type: ignore[attr-defined]


def test_who_is_asked_about_is_not_ended_while_there_is_enough_and_is_closed_at_once(stage: Stage) -> None:
    stage.cycle(0.04)
    stage.run(1)
    stage.cycle(0.5)
    assert stage.guard.ladder.questions() == []
    assert [type(event) for event in stage.events[-2:]] == [model.Closed, model.Recovered]


# --- real processes ---------------------------------------------------------------------------------------------


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A shell that starts another child for each line that it is given."""
    program = 'while read line; do sleep 1000 & born="$born $!"; echo $!; done; kill $born'
    with subprocess.Popen(["sh", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        yield shell


def bear(shell: subprocess.Popen[str]) -> int:
    assert shell.stdin and shell.stdout
    shell.stdin.write("\n")
    shell.stdin.flush()
    return int(shell.stdout.readline())


def seen(pid: int) -> Process:
    process = look("/proc", pid, frozenset())
    assert process
    return process


@pytest.mark.parametrize("steps", [ASKS.steps, (Step("pause", 10.0), Step("kill"))])
def test_the_time_that_a_machine_sleeps_is_none_to_answer_in_nor_to_stand_still(
    steps: tuple[Step, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(monkeypatch, replace(ASKS, steps=steps))
    stands = Stands(stage.world, stage.tell)
    stage.guard.ladder.asking.holds = stands
    stage.cycle(0.04)
    stage.run(4)
    stage.asleep = 8 * 3600.0
    monkeypatch.setattr(loop.clock, "since_boot", lambda: stage.world.now + stage.asleep)
    stage.run(4)
    assert stage.told(model.Changed) == [model.Changed("the machine slept for 28800 s")]
    assert [left for _, left in stage.guard.ladder.questions()] == (
        [pytest.approx(2, abs=0.2)] if not stands.still else []
    )
    assert not stage.world.signals(SIGKILL)
    stage.run(3)
    assert stage.world.signals(SIGKILL) == [10]


@pytest.mark.parametrize(("kind", "unit", "grows"), [("family", "family", True), ("process", "process", False)])
def test_who_is_born_into_a_family_while_it_is_asked_about_belongs_to_it(
    family: subprocess.Popen[str], kind: str, unit: str, grows: bool
) -> None:
    first = bear(family)
    members = [seen(family.pid), seen(first)]
    second = bear(family)
    rule = Rule("low", Comparison("mem.available", "<", 0.1, share=True), "", unit=unit)
    victim = Candidate(kind, "sh", (family.pid,), 1, growth=None, tier=1, culprit=False, score=1.0, rss=1, why="")
    seeker = Seeker(Policy("p", (rule,)), "/proc", None, 0, None)
    gone = replace(members[1], pid=2**22 - 1)
    found = seeker.grown(rule, victim, [*members, gone], None, Scan(0.0, (*members,), 2), frozenset())
    assert [process.pid for process in found] == [family.pid, first, *([second] if grows else [])]


def test_what_a_unit_holds_is_read_anew() -> None:
    me = replace(seen(os.getpid()), anon=1, swap=0, shmem=0)
    gone = replace(me, pid=2**22 - 1)
    rule = Rule("low", Comparison("mem.available", "<", 0.1, share=True), "")
    act = Act(0, rule, "unit", [me, gone], 0, 0)
    assert weighed(act) == 2 and weight("/proc", act) > MIB
    assert weight("/nowhere", act) == 0


def test_what_a_cgroup_holds_is_what_the_kernel_charges_to_it_where_it_does() -> None:
    rule = Rule("low", Comparison("mem.available", "<", 0.1, share=True), "", unit="cgroup")
    me = replace(seen(os.getpid()), anon=7)
    assert weight("/nowhere", Act(0, rule, "/x", [me], 0, 0, cgroup="/x")) == weighed(Act(0, rule, "/x", [me], 0, 0))
    with real("weight") as there:
        if there is None:
            pytest.skip("no cgroup can be made here")
        path = f"/{there.name}"
        assert weight("/proc", Act(0, rule, path, [me], 0, 0, cgroup=path)) >= 0
    assert weight("/proc", Act(0, rule, path, [me], 0, 0, cgroup=path)) == weighed(Act(0, rule, path, [me], 0, 0))


def test_pausing_and_asking_is_rehearsed_where_a_policy_does_so() -> None:
    policy = Policy("p", (replace(ASKS, steps=(Step("pause", 5.0), Step("ask", 5.0), Step("kill"))),))
    assert [lack for lack in rehearse(LIVE, policy, Sense(LIVE), os.getpid()) if "paused" in lack] == []


class Excusing(Slowing):
    def excused(self, snapshot: Snapshot) -> Snapshot:
        return replace(snapshot, excused=(snapshot.time, 0.5))


def test_what_is_excused_of_a_stall_is_so_at_each_look_and_known_to_the_rules(stage: Stage) -> None:
    stage.guard.ladder.asking.slows = Excusing(stage.events.append)
    stage.run(1)
    seen = stage.guard._changes.last
    assert seen and seen.excused == (seen.time, 0.5) and seen.time > 0.5


def test_who_cannot_be_slowed_down_is_not_tried_at_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, replace(KILLS, steps=(Step("slow", 10.0),), unit="process"))
    stage.guard.ladder.asking.slows = Slowing(stage.events.append, "it is not all of a cgroup")
    stage.share = 0.04
    stage.run(20)
    tried = [event.pids for event in stage.events if isinstance(event, model.Chosen)]
    assert tried == [(10,), (11,)]
    assert len(stage.told(model.Trouble)) == 2
