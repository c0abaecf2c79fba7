"""Questions and pauses under any sequence of verdicts, answers and deaths."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from okoomer.events import model
from okoomer.events.model import Closed, Eased, Paused, Question, Slowed
from okoomer.guard.act import Act
from okoomer.guard.asking import asks
from okoomer.guard.ladder import LONG_PATIENCE, PATIENCE, SETTLE, Ladder
from okoomer.guard.question import OK
from okoomer.policy.engine import FIRED, HOLDING, QUIET, RuleVerdict, Verdict
from okoomer.policy.model import Comparison, Policy, Rule, Step
from okoomer.record import replace
from tests.unit.bodies import NEVER, Body, World
from tests.unit.stands import Ceilings, Slowing, Stands
from tests.unit.strategies import cases

if TYPE_CHECKING:
    from okoomer.record import Record

LOW = Comparison("mem.available", "<", 0.1, share=True)
ENDS = ((Step("term", 1.0), Step("kill")), (Step("kill"),))
WORDS = (model.RESUME, model.PAUSE, model.END, model.LIMIT, "kill")
USERS = (0, 1000, 1001)


def some_steps(random: Random) -> tuple[Step, ...]:
    soft = [Step("warn"), Step("pause", 0.5), Step("ask", 2.0), Step("ask", 0.3), Step("run", 0.2, ("/bin/x",))]
    soft.append(Step("slow", random.choice((0.2, 1.0))))
    return (*random.sample(soft, random.randrange(4)), *random.choice(ENDS))


def some_body(random: Random, pid: int) -> Body:
    return Body(
        pid,
        on_term=random.choice((0.0, 0.5, NEVER)),
        on_kill=random.choice((0.0, 0.2, NEVER)),
        refuses=random.random() < 0.1,
        vanished=random.random() < 0.05,
        leaves=random.uniform(0, 6) if random.random() < 0.3 else NEVER,
    )


class Night:
    """A ladder that is told anything, with what must be true checked at each event and after each step."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.seen: set[str] = set()
        self.world = World(*(some_body(random, pid) for pid in range(10, 14)))
        rules = tuple(Rule(f"rule {number}", LOW, "", steps=some_steps(random)) for number in range(3))
        self.ladder = Ladder(self.world, self.tell, Policy("p", rules))
        self.ladder.runs = random.random() < 0.3
        self.holds = Stands(self.world, self.tell, random.random() < 0.9)
        self.limits = Ceilings(random.random() < 0.8)
        if random.random() < 0.9:
            self.ladder.asking.holds, self.ladder.asking.limit = self.holds, self.limits
        self.slows = Slowing(self.tell, random.choice(("", "", "", "it cannot be")))
        self.ladder.asking.slows = self.slows
        self.slowed = self.eased = 0
        self.rules = rules
        self.open: Question | None = None
        self.closed: set[int] = set()
        self.paused = 0
        self.available = 500

    def tell(self, event: Record) -> None:
        self.seen.add(event.how if isinstance(event, Closed) else type(event).__name__)
        if isinstance(event, Question):
            assert event.question not in self.closed
            assert self.open is None or (self.open.question == event.question and self.open.paused != event.paused)
            assert event.then in ("slow", "pause", "ask", "term", "kill")
            self.open = event
        elif isinstance(event, Closed):
            assert self.open and event.question == self.open.question
            self.closed.add(event.question)
            self.open = None
        elif isinstance(event, Paused):
            self.paused += 1
        self.slowed += isinstance(event, Slowed)
        self.eased += isinstance(event, Eased)

    def begin(self) -> None:
        pids = self.random.sample(sorted(self.world.bodies), self.random.randint(1, 3))
        users = self.random.choice(((1000,) * 3, (1000, 1001, 0)))
        unit = [replace(one, user=user) for one, user in zip(self.world.processes(pids), users, strict=False)]
        index = self.random.randrange(3)
        act = Act(index, self.rules[index], "unit", unit, 1000, self.available, need=200, renew=lambda: unit)
        self.ladder.begin(act, self.world.now)

    def advance(self) -> None:
        self.available = self.random.choice((500, 650, 800))
        states = [self.random.choice((QUIET, HOLDING, FIRED, FIRED)) for _ in self.rules]
        states[0] = QUIET if self.random.random() < 0.8 else states[0]
        judged = tuple(RuleVerdict(rule.name, state, ()) for rule, state in zip(self.rules, states, strict=True))
        act = self.ladder._act
        before = act.index if act else 0
        self.ladder.advance(self.world.now, self.available, Verdict(self.world.now, judged, None, (), 0.0))
        urgent = [rule for rule, state in zip(self.rules[:before], states, strict=False) if state == FIRED]
        if act and urgent and not asks(urgent[0]) and self.at_once(urgent[0]):
            assert self.open is None
            assert not self.ladder.busy(self.world.now) or self.ladder.ending or act.gone_after is not None

    def at_once(self, rule: Rule) -> bool:
        """Whether the first step by which a rule takes an act over is one that ends."""
        return next(step.kind for step in rule.steps if step.kind in ("slow", "pause", "term", "kill")) not in (
            "slow",
            "pause",
        )

    def answer(self) -> None:
        number = self.random.choice((self.open.question if self.open else 0, 1, 2, 3))
        word, user = self.random.choice(WORDS), self.random.choice(USERS)
        asked = self.open
        status = self.ladder.answer(number, word, self.random.choice((0, 0, 1 << 30, -1)), user, self.world.now)
        if status == OK:
            assert asked and number == asked.question and word in asked.choices
            assert user in (0, asked.user)
            assert (self.open is None) == (word != model.PAUSE) or (word == model.END and self.open != asked)
        else:
            assert self.open == asked

    def check(self) -> None:
        assert bool(self.open) == bool(self.ladder.questions())
        assert self.paused == len(self.holds.ends) + len(self.holds.still)
        assert self.slowed == self.eased + bool(self.slows.slowed)
        act = self.ladder._act
        assert not self.slows.slowed or (act and act.slow and not act.slow.over and not act.asked_to_end)
        if not self.ladder.busy(self.world.now):
            assert self.open is None and not self.holds.still
            assert not any(body.held for body in self.world.bodies.values())
        for hold in self.holds.still:
            assert not any(self.world.bodies[pid].signals for pid in hold.pids if not self.world.bodies[pid].refuses)

    def run(self) -> None:
        longest = sum(step.seconds for rule in self.rules for step in rule.steps) + LONG_PATIENCE + PATIENCE + SETTLE
        began = 0.0
        for _ in range(60):
            self.world.now += self.random.choice((0.01, 0.1, 0.4))
            if not self.ladder.busy(self.world.now) and self.random.random() < 0.5:
                for body in self.world.bodies.values():
                    body.signals.clear()
                began = self.world.now
                self.begin()
            elif self.random.random() < 0.3:
                self.answer()
            elif self.slows.slowed and self.random.random() < 0.05:
                self.slows.all[-1].refused = "memory.high: Invalid argument"
                self.advance()
            elif self.holds.still and self.random.random() < 0.1:
                self.holds.resume(self.holds.still[0], "another hand", self.world.now)
                self.advance()
            else:
                self.advance()
            self.check()
            assert not self.ladder.busy(self.world.now) or self.world.now - began < longest + 2
        self.ladder.close()
        self.check()
        assert self.paused == len(self.holds.ends)
        assert sorted(self.closed) == list(range(1, len(self.closed) + 1))
        assert not self.world.left_to_kernel


@cases(4_000)
def test_each_question_is_closed_once_and_whoever_stood_still_goes_on_or_ends(random: Random) -> None:
    Night(random).run()


def test_the_nights_have_all_that_they_are_about() -> None:
    seen: set[str] = set()
    for seed in range(200):
        night = Night(Random(seed))
        night.run()
        seen.update(night.seen)
    ends = {model.ANSWERED, model.LATE, model.OVER, model.URGENT, model.GONE, model.STOPPED}
    assert seen >= {*ends, "Paused", "Question", "Limited", "Resumed", "Slowed", "Eased", "Died", "Stuck", "Recovered"}
