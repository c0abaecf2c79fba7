"""The loop with a rule that pauses for a moment on weak evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.events import model
from okoomer.guard.scan import Scan
from okoomer.policy.model import Comparison, Rule, Step
from okoomer.record import replace
from tests.unit.stands import Stands
from tests.unit.strategies import MIB
from tests.unit.test_loop import KILLS, Stage

if TYPE_CHECKING:
    from okoomer.facts import Snapshot
    from okoomer.policy.choose import Choice

LOW = Comparison("mem.available", "<", 0.1, share=True)
MOMENT = Rule("moment", LOW, "", unit="process", rank="growth", steps=(Step("pause", 1.5, times=3),), rest=0.1)


class Growing(Stage):
    """A machine on which both bodies grow, the smaller one faster."""

    growth = {10: 30 * MIB, 11: 60 * MIB}  # noqa: RUF012

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *rules: Rule) -> None:
        super().__init__(monkeypatch, *rules)
        self.holds = Stands(self.world, self.tell)
        self.guard.ladder.asking.holds = self.holds

    def scan(self, *_: object) -> Scan:
        found = super().scan()
        grown = (replace(process, growth=self.growth.get(process.pid)) for process in found.processes)
        return replace(found, processes=tuple(grown))


def paused(stage: Stage) -> list[tuple[int, ...]]:
    return [event.pids for event in stage.events if isinstance(event, model.Paused)]


def test_who_grows_is_paused_also_if_the_evidence_is_gone_by_the_time_it_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Growing(monkeypatch, MOMENT)
    stage.recovers = True
    stage.cycle(0.05)
    assert paused(stage) == [(11, 10)] and not stage.told(model.Recovered)
    stage.run(2)
    assert stage.holds.ends == ["resumed"] and not stage.world.signals(9)


def test_nobody_who_grows_is_no_news_and_other_rules_may_act(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Growing(monkeypatch, MOMENT, replace(KILLS, name="later", when=LOW))
    stage.growth = {}
    stage.cycle(0.05)
    stage.run(0.2)
    assert not stage.told(model.Refused) and not stage.holds.still
    assert [event.rule for event in stage.events if isinstance(event, model.Chosen)] == ["later"]


def test_what_a_moment_leaves_to_a_rule_that_is_more_urgent_it_takes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    urgent = replace(KILLS, name="urgent", when=Comparison("mem.available", "<", 0.02, share=True), rest=5.0)
    stage = Growing(monkeypatch, urgent, MOMENT)
    stage.cycle(0.05)
    stage.cycle(0.01)
    assert stage.world.signals(9) == [11] and stage.holds.ends == ["released"]
    [over] = [event for event in stage.events if isinstance(event, model.TakenOver)]
    [killed] = [event for event in stage.events if isinstance(event, model.Signalled)]
    assert (over.rule, over.before, over.reason, over.pids) == ("urgent", "moment", "low-memory", (11,))
    assert dict(over.values)["mem.available"] is not None and killed.reason == "low-memory"


class Waiting:
    """Load control that notes how often it looks."""

    def __init__(self, knows: bool) -> None:
        self.knows = knows
        self.looks = 0

    def tend(self, *_: object) -> None:
        self.looks += 1

    def instead(self, rule: Rule, choice: Choice, snapshot: Snapshot) -> Choice:
        return choice


@pytest.mark.parametrize(
    ("rule", "knows", "looks"),
    [
        pytest.param(KILLS, True, 0, id="somebody has to go now"),
        pytest.param(KILLS, False, 1, id="it is not known yet who waits"),
        pytest.param(MOMENT, True, 1, id="it is not certain"),
    ],
)
def test_who_has_to_go_goes_before_it_is_looked_who_could_wait(
    monkeypatch: pytest.MonkeyPatch, rule: Rule, knows: bool, looks: int
) -> None:
    stage = Growing(monkeypatch, rule)
    waiting = Waiting(knows)
    stage.guard.turns = waiting  # type: ignore[assignment]
    stage.cycle(0.05)
    assert waiting.looks == looks and (stage.world.signals(9) or paused(stage))
    stage.cycle(0.05)
    assert waiting.looks == looks + 1, "while that is under way there is time"
