"""What is told as new from one look to the next, and what of it is kept when the rules change."""

from __future__ import annotations

import pytest

from okoomer.events import model
from okoomer.facts import Cgroup, Memory, Snapshot
from okoomer.guard.changes import Changes
from okoomer.policy.engine import FIRED, HOLDING, QUIET, RuleVerdict, Verdict
from okoomer.policy.model import Amount, Comparison, Policy, Rule, Step
from okoomer.record import Record, replace
from okoomer.units import GIB

LOW = Comparison("mem.available", "<", 0.05, share=True)
KILLS = Rule("kills", LOW, "mem.available < 5%")
WARNS = replace(KILLS, name="warns", steps=(Step("warn"),))
SHRINKS = replace(KILLS, name="shrinks", steps=(Step("shrink", amount=Amount(0.01, True)),))
PATTERN = replace(KILLS, name="pattern", managed="ManagedOOMSwap")


class Told:
    """What was told under a policy of these rules."""

    def __init__(self, *rules: Rule) -> None:
        self.events: list[Record] = []
        self.changes = Changes(Policy("test", rules), self.events.append)

    def under(self, *rules: Rule) -> None:
        self.changes = Changes(Policy("test", rules), self.events.append, self.changes)

    def tell(self, *verdicts: RuleVerdict, warnings: tuple[tuple[int, Cgroup | None], ...] = ()) -> tuple[bool, bool]:
        self.events.clear()
        snapshot = Snapshot(1.0, Memory(8 * GIB, 0, GIB))
        return self.changes.tell(snapshot, Verdict(1.0, verdicts, None, warnings, 0.0), ())


def said(rule: Rule, state: str, target: str = "") -> RuleVerdict:
    return RuleVerdict(rule.name, state, (), target)


def test_a_rule_that_changes_says_for_which_cgroup() -> None:
    told = Told(KILLS)
    assert told.tell(said(KILLS, HOLDING, "/w/a")) == (False, True)
    assert told.events == [model.RuleChanged("kills", HOLDING, (), "/w/a")]
    assert told.tell(said(KILLS, HOLDING, "/w/b")) == (False, False)
    assert told.events == []


@pytest.mark.parametrize(("target", "begins"), [(None, "1.0 GiB available"), (Cgroup("/w/a"), "/w/a: 1.0 GiB avail")])
def test_a_warning_says_whom_it_is_about(target: Cgroup | None, begins: str) -> None:
    told = Told(WARNS)
    told.tell(said(WARNS, FIRED), warnings=((0, target),))
    (warning,) = [event for event in told.events if isinstance(event, model.Warned)]
    assert warning.rule == "warns" and warning.text.startswith(begins)


def test_a_rule_that_takes_memory_away_warns_nobody() -> None:
    told = Told(SHRINKS)
    told.tell(said(SHRINKS, FIRED), warnings=((0, Cgroup("/w/a")),))
    assert not [event for event in told.events if isinstance(event, model.Warned)]
    assert not told.changes.acute() and not told.changes.quiet()


def test_a_rule_that_is_kept_is_told_of_only_when_it_changes() -> None:
    told = Told(KILLS)
    told.tell(said(KILLS, FIRED))
    told.under(WARNS, KILLS)
    assert told.tell(said(WARNS, QUIET), said(KILLS, FIRED)) == (False, False)
    assert told.changes.acute()
    told.tell(said(WARNS, QUIET), said(KILLS, QUIET))
    assert told.events == [model.RuleChanged("kills", QUIET, ())] and told.changes.quiet()


def test_a_rule_that_has_gone_while_it_fired_disturbs_nobody_any_more() -> None:
    told = Told(KILLS, WARNS)
    told.tell(said(KILLS, FIRED), said(WARNS, QUIET))
    told.under(WARNS)
    told.tell(said(WARNS, QUIET))
    assert told.changes.quiet() and not told.changes.acute()
    told.under(KILLS)
    told.tell(said(KILLS, FIRED))
    assert told.events == [model.RuleChanged("kills", FIRED, ())]


def test_patterns_are_not_in_the_line_for_people() -> None:
    told = Told(PATTERN, KILLS)
    told.tell(said(PATTERN, QUIET), said(KILLS, HOLDING))
    assert told.changes.line() == "1.0 GiB of 8.0 GiB available (12%), no swap | kills holding"
