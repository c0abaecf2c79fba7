"""The ladder over whole cgroups: killed at once, through their limit, by whoever is born into them, or not at all."""

from __future__ import annotations

from _signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING

import pytest

from okoomer.events.model import BY_LIMIT, Died, Recovered, Run, Signalled, Stuck
from okoomer.facts import Cgroup
from okoomer.guard.act import Act
from okoomer.guard.ladder import ASIDE, GLIMPSE, PATIENCE, SETTLE, Ladder
from okoomer.policy.engine import FIRED, QUIET, RuleVerdict, Verdict
from okoomer.policy.glob import literal
from okoomer.policy.model import Amount, Comparison, Instead, Policy, Rule, Step
from tests.unit import strategies as some
from tests.unit.bodies import NEVER, Body, Enclosure, World
from tests.unit.strategies import cases

if TYPE_CHECKING:
    from random import Random

    from okoomer.record import Record

PATH, INODE = "/system.slice/hog.service", 77
KILL = (Step("kill"),)
GENTLE = (Step("term", 3.0), Step("kill"))
LIMIT = (Step("oom"),)
ABOUT = Cgroup("/system.slice", inode=5, memory=1 << 30)
LOW = Comparison("mem.available", "<", 0.1, share=True)


class Asked:
    """Takes note of whom memory is taken from."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Amount]] = []
        self.begins = True

    def begin(self, rule: str, cgroup: Cgroup, amount: Amount) -> bool:
        self.asked.append((rule, cgroup.path, amount))
        return self.begins


class Scene:
    """An act on a whole cgroup; time passes in hundredths of a second."""

    def __init__(
        self,
        *bodies: Body,
        steps: tuple[Step, ...] = KILL,
        on_limit: float | None = None,
        there: bool = True,
        barred: bool = False,
        known: tuple[int, ...] | None = None,
        target: Cgroup | None = ABOUT,
        instead: tuple[Instead, ...] = (),
        runs: bool = False,
        shrinks: Asked | None = None,
    ) -> None:
        self.world = World(*bodies)
        self.group = Enclosure(self.world, *bodies, inode=INODE, on_limit=on_limit)
        self.world.groups = None if barred else {PATH: self.group} if there else {}
        self.events: list[Record] = []
        self.shrinks = shrinks or Asked()
        rules = (Rule("urgent", LOW, "", scope=literal("/any")), Rule("low", LOW, "", steps=steps))
        self.ladder = Ladder(self.world, self.events.append, Policy("p", rules, instead=instead))
        self.ladder.shrinks = self.shrinks  # type: ignore[assignment]
        self.ladder.runs = runs
        self.state = FIRED
        #: The cgroups for which each rule has fired.
        self.fired: tuple[str, ...] = (ABOUT.path,)
        self.urgent: tuple[str, ...] = ()
        act = Act(1, self.ladder.policy.rules[1], PATH, self.world.processes(known), 1000, 500, PATH, INODE, target)
        self.ladder.begin(act, 0.0)

    def until(self, time: float) -> Scene:
        while self.world.now < time - 1e-9:
            self.world.now = round(self.world.now + 0.01, 9)
            rules = (
                RuleVerdict("urgent", FIRED if self.urgent else QUIET, (), fired=self.urgent),
                RuleVerdict("low", self.state, (), fired=self.fired if self.state == FIRED else ()),
            )
            self.ladder.advance(self.world.now, 500, Verdict(self.world.now, rules, None, (), 0.0))
        return self

    @property
    def last(self) -> Record:
        return self.events[-1]

    @property
    def done(self) -> bool:
        return not self.ladder.busy(self.world.now)

    @property
    def grabbed(self) -> bool:
        """Whether anybody has laid hands on it."""
        return self.world.groups is not None and bool(self.signals())

    def signals(self) -> list[tuple[str, tuple[int, ...]]]:
        return [(event.signal, event.pids) for event in self.events if isinstance(event, Signalled)]


# --- its end --------------------------------------------------------------------------------------------------------


def test_a_whole_cgroup_dies_and_every_event_names_it() -> None:
    scene = Scene(Body(1), Body(2)).until(SETTLE + 0.02)
    assert scene.events == [
        Signalled("low", "SIGKILL", PATH, (1, 2), (), PATH, "other"),
        Died("low", PATH, (1, 2), 0.01, 0, PATH),
    ]
    assert scene.done and scene.group.held == 0


def test_it_is_dead_only_when_nobody_is_left_who_was_not_known_either() -> None:
    scene = Scene(Body(1), Body(2), known=(1,))
    scene.group.bear(Body(9, leaves=1.0))
    assert not scene.until(0.9).done and not any(isinstance(event, Died) for event in scene.events)
    assert scene.until(1.0 + SETTLE + 0.02).done
    assert isinstance(scene.last, Died)


def test_a_cgroup_whose_processes_nobody_has_read_is_ended_all_the_same() -> None:
    scene = Scene(Body(1), Body(2), known=()).until(SETTLE + 0.02)
    assert scene.signals() == [("SIGKILL", (1, 2))]
    assert isinstance(scene.last, Died)


def test_a_cgroup_that_does_not_die_is_set_aside_by_its_inode_and_its_processes_are_not() -> None:
    scene = Scene(Body(1, on_kill=NEVER), Body(2)).until(PATIENCE + 0.01)
    assert scene.last == Stuck("low", PATH, (1,), PATIENCE, "it does not die", PATH)
    now = scene.world.now
    assert scene.ladder.aside.groups(now) == {INODE}
    assert scene.ladder.aside.pids(now) == frozenset()
    assert scene.ladder.aside.groups(now + ASIDE) == frozenset()
    assert scene.group.held == 0


def test_a_cgroup_that_is_gone_frees_the_way_for_the_next_choice() -> None:
    scene = Scene(there=False).until(SETTLE + 0.02)
    assert scene.done
    assert scene.signals() == [("SIGKILL", ())]
    assert isinstance(scene.last, Died)
    assert scene.ladder.aside.groups(scene.world.now) == frozenset()


@pytest.mark.parametrize("steps", [KILL, GENTLE, LIMIT])
def test_a_cgroup_that_cannot_be_opened_is_given_up_at_once_and_set_aside(steps: tuple[Step, ...]) -> None:
    scene = Scene(Body(1), Body(2), steps=steps, barred=True)
    assert scene.done
    assert scene.last == Stuck("low", PATH, (), 0.0, "not permitted", PATH)
    assert scene.signals() == []
    assert scene.ladder.aside.groups(0.0) == {INODE}


def test_a_cgroup_that_may_not_be_signalled_is_given_up_at_once() -> None:
    scene = Scene(Body(1, refuses=True), Body(2, refuses=True))
    assert scene.done
    assert isinstance(scene.last, Stuck)
    assert scene.last.why == "Operation not permitted"


def test_more_processes_than_an_event_can_hold_are_not_all_told() -> None:
    many = [Body(pid) for pid in range(10, 3000)]
    scene = Scene(*many, known=tuple(body.pid for body in many)).until(SETTLE + 0.02)
    [(_, told)] = scene.signals()
    assert len(told) == 1024
    assert len(scene.world.signals(SIGKILL)) == len(many)
    assert isinstance(scene.last, Died) and len(scene.last.pids) == 1024


# --- its steps ------------------------------------------------------------------------------------------------------


def test_all_are_asked_before_all_are_killed() -> None:
    scene = Scene(Body(1, on_term=NEVER), Body(2), steps=GENTLE).until(3.5)
    assert scene.signals() == [("SIGTERM", (1, 2)), ("SIGKILL", (1,))]
    assert scene.world.signals(SIGTERM) == [1, 2]


def test_the_kernel_ends_it_through_its_limit_and_nothing_else_is_sent() -> None:
    scene = Scene(Body(1), Body(2), steps=LIMIT, on_limit=0.3).until(0.3 + SETTLE + 0.02)
    assert scene.group.exhausted
    assert scene.signals() == [(BY_LIMIT, (1, 2))]
    assert scene.world.signals(SIGKILL) == []
    assert isinstance(scene.last, Died)
    assert scene.last.cgroup == PATH


def test_whom_the_limit_does_not_end_gets_a_sigkill() -> None:
    scene = Scene(Body(1), Body(2), steps=LIMIT, on_limit=NEVER).until(PATIENCE + SETTLE + 0.1)
    assert scene.signals() == [(BY_LIMIT, (1, 2)), ("SIGKILL", (1, 2))]
    assert isinstance(scene.last, Died)


def test_who_dies_of_neither_is_set_aside_after_both() -> None:
    scene = Scene(Body(1, on_kill=NEVER), steps=LIMIT, on_limit=NEVER, known=(1,)).until(PATIENCE + 0.5)
    assert not scene.done
    assert isinstance(scene.until(2 * PATIENCE + 0.1).last, Stuck)


def test_where_there_is_no_limit_it_is_killed_at_once() -> None:
    scene = Scene(Body(1), Body(2), steps=LIMIT)
    assert scene.signals() == [("SIGKILL", (1, 2))]


@pytest.mark.parametrize("kind", ["prekill", "run"])
def test_what_is_run_is_told_the_cgroup(kind: str) -> None:
    step = Step(kind, 5.0, ("/bin/x",) if kind == "run" else ())
    scene = Scene(Body(1), Body(2), steps=(step, *KILL), runs=True).until(1.0)
    [run] = [event for event in scene.events if isinstance(event, Run)]
    assert run.command == (("/bin/x",) if kind == "run" else ("prekill",))
    assert (run.cgroup, run.pid, run.seconds) == (PATH, 1, 5.0)
    assert scene.signals() == []
    scene.ladder.ran(run.request, 0, scene.world.now)
    assert scene.until(1.01).signals() == [("SIGKILL", (1, 2))]


def test_hooks_that_do_not_answer_are_not_waited_for_any_longer() -> None:
    scene = Scene(Body(1), steps=(Step("prekill", 5.0), *KILL), runs=True, known=()).until(4.9)
    assert scene.signals() == []
    assert scene.until(5.0).signals() == [("SIGKILL", (1,))]


def test_nobody_is_asked_before_a_kill_where_there_is_no_courier() -> None:
    assert Scene(Body(1), steps=(Step("prekill", 5.0), *KILL)).signals() == [("SIGKILL", (1,))]


def test_a_command_in_place_of_sigterm_is_for_who_stands_for_all() -> None:
    instead = (Instead(some.selector("name:.*"), ("/bin/stop",)),)
    scene = Scene(Body(1), steps=GENTLE, instead=instead, runs=True, known=(1,))
    assert [event.command for event in scene.events if isinstance(event, Run)] == [("/bin/stop",)]
    assert Scene(Body(1), steps=GENTLE, instead=instead, runs=True, known=()).signals() == [("SIGTERM", (1,))]


def test_memory_is_taken_from_the_cgroup_that_the_rule_is_about_before_anybody_is_ended() -> None:
    steps = (Step("shrink", amount=Amount(0.1, share=True)), *KILL)
    scene = Scene(Body(1), steps=steps)
    assert scene.shrinks.asked == [("low", ABOUT.path, Amount(0.1, share=True))]
    assert scene.signals() == [("SIGKILL", (1,))]
    assert Scene(Body(1), steps=steps, target=None).shrinks.asked == []


def test_a_rule_that_only_shrinks_is_carried_out_beside_an_act() -> None:
    scene = Scene(Body(1, on_term=NEVER), steps=GENTLE)
    rule = Rule("gentle", LOW, "", steps=(Step("warn"), Step("shrink", amount=Amount(4096.0))))
    scene.ladder.relieve(rule, ABOUT)
    scene.ladder.relieve(rule, None)
    assert scene.shrinks.asked == [("gentle", ABOUT.path, Amount(4096.0))]


def test_nobody_is_killed_if_the_rule_does_not_hold_any_more() -> None:
    scene = Scene(Body(1, on_term=NEVER), steps=GENTLE).until(1.0)
    scene.state = QUIET
    assert scene.until(3.1).last == Recovered("low", asked=True)
    assert scene.world.signals(SIGKILL) == []
    assert scene.group.held == 0


def test_it_is_for_the_cgroup_that_the_rule_acts_about_that_it_has_to_hold() -> None:
    scene = Scene(Body(1, on_term=NEVER), steps=GENTLE).until(1.0)
    scene.fired = ("/user.slice",)
    assert scene.until(3.1).last == Recovered("low", asked=True)


@pytest.mark.parametrize("fired", ["/", "/system.slice", PATH])
def test_a_more_urgent_rule_takes_over_whoever_is_in_its_cgroup(fired: str) -> None:
    scene = Scene(Body(1, on_term=NEVER), steps=GENTLE).until(1.0)
    scene.urgent = ("/elsewhere", fired)
    assert scene.until(1.02).signals() == [("SIGTERM", (1,)), ("SIGKILL", (1,))]
    assert [event.rule for event in scene.events if isinstance(event, Signalled)] == ["low", "urgent"]


@pytest.mark.parametrize("fired", ["/user.slice", "/system.slice/hog", PATH + "/below", "/system"])
def test_a_more_urgent_rule_takes_nobody_over_who_is_elsewhere(fired: str) -> None:
    scene = Scene(Body(1, on_term=NEVER), steps=GENTLE).until(1.0)
    scene.urgent = (fired,)
    assert scene.until(2.9).signals() == [("SIGTERM", (1,))]


@pytest.mark.parametrize(("begins", "killed"), [(True, 2.0), (False, 0.0)])
def test_memory_that_is_taken_away_is_waited_for_if_it_is(begins: bool, killed: float) -> None:
    shrinks = Asked()
    shrinks.begins = begins
    scene = Scene(Body(1), steps=(Step("shrink", 2.0, amount=Amount(4096.0)), *KILL), shrinks=shrinks).until(2.5)
    assert scene.world.bodies[1].signals == [(killed, SIGKILL)]


# --- waiting --------------------------------------------------------------------------------------------------------


def test_a_cgroup_that_is_killed_is_looked_at_often_and_one_that_was_asked_when_somebody_ends() -> None:
    killed = Scene(Body(1, on_kill=1.0))
    assert killed.ladder.wait(0.0) == GLIMPSE
    asked = Scene(Body(1, on_term=NEVER), steps=GENTLE)
    assert (asked.ladder.wait(1.0), asked.ladder.pidfds()) == (2.0, [1])


def test_whoever_leaves_puts_back_what_was_changed() -> None:
    scene = Scene(Body(1), steps=LIMIT, on_limit=NEVER)
    scene.ladder.close()
    assert scene.group.held == 0 and scene.done
    scene.ladder.close()


# --- any steps, any bodies, any births ------------------------------------------------------------------------------

STEPS = (
    KILL,
    GENTLE,
    LIMIT,
    (Step("term", 1.0), *LIMIT),
    (Step("shrink", 0.5, amount=Amount(1.0)), *KILL),
    (Step("prekill", 0.5), Step("run", 0.2, ("/bin/x",)), *GENTLE),
    (Step("warn", 0.3), Step("term", 1.0)),
)


@cases(2_000)
def test_each_act_ends_in_time_and_lets_go_and_nobody_is_killed_when_nothing_holds(random: Random) -> None:
    def body(pid: int) -> Body:
        return Body(
            pid,
            on_term=random.choice((0.0, 0.4, NEVER)),
            on_kill=random.choice((0.0, 0.1, 1.0, NEVER)),
            refuses=random.random() < 0.1,
            leaves=random.uniform(0, 5) if random.random() < 0.2 else NEVER,
        )

    bodies = [body(pid) for pid in range(10, 10 + random.randint(1, 4))]
    steps = random.choice(STEPS)
    on_limit = random.choice((None, 0.1, NEVER))
    scene = Scene(*bodies, steps=steps, on_limit=on_limit, runs=random.random() < 0.5, barred=random.random() < 0.05)
    longest = sum(step.seconds for step in steps) + 2 * PATIENCE + SETTLE + 1.0
    births = [random.uniform(0, 1.0) for _ in range(random.randint(0, 2))]
    held_until = random.choice((0.5, NEVER))
    while not scene.done:
        now = scene.world.now
        assert now <= longest
        scene.state = FIRED if now < held_until else QUIET
        told = len(scene.signals())
        scene.until(now + 0.01)  # no further: whoever is born or leaves once it is done is in no event
        began = [name for name, _ in scene.signals()][told:]
        assert scene.state == FIRED or not began or any(name == BY_LIMIT for name, _ in scene.signals())
        for birth in [birth for birth in births if birth <= now]:
            births.remove(birth)
            if scene.group.left() and not scene.done:  # nobody is born of nobody
                scene.group.bear(body(100 + len(births)))
    assert scene.group.held == (0 if scene.grabbed else 1)
    left = scene.group.left()
    if isinstance(scene.last, Died):
        assert not left
    if isinstance(scene.last, Stuck):
        assert scene.ladder.aside.groups(scene.world.now) == {INODE}
        assert set(scene.last.pids) == set(left) or scene.world.groups is None
