"""When load control looks at processes: rarely as long as nothing falls, and in good time where something does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from okoomer.facts import Memory, Snapshot
from okoomer.guard.scan import Scan
from okoomer.guard.turns import RARELY, TakingTurns
from okoomer.policy.engine import FIRED, QUIET, RuleVerdict, Verdict
from okoomer.policy.language import parse

if TYPE_CHECKING:
    from pathlib import Path

    from okoomer.policy.model import Rule

MIB = 1024**2
TOTAL = 1000 * MIB
POLICY = parse('[[rule]]\nname = "crowded"\nwhen = "mem.available < 24%"\nsteps = ["turns"]\n', "x")


class Holds:
    never: frozenset[int] = frozenset()

    def prune(self, now: float) -> None:
        raise AssertionError("nobody waits")


class Idle:
    """A ladder without an act."""

    holds: Any = Holds()

    def busy(self, now: float) -> bool:
        return False


class Turning:
    """Load control on a machine without families, and how often that was looked at."""

    def __init__(self, proc: Path) -> None:
        self.looks = 0
        self.now = 100.0
        self.turns = TakingTurns(str(proc), self._look, None, lambda event: None, 3, None)  # type: ignore[arg-type]
        self.turns._now = lambda: self.now

    def _look(self, rule: Rule, snapshot: Snapshot, patient: bool = True) -> Scan:
        self.looks += 1
        return Scan(self.now, (), 0)

    def at(self, mib: float, after: float = 0.1) -> int:
        """How often it was looked at once so much is available, so many seconds later."""
        self.now += after
        state = FIRED if mib < 240 else QUIET
        verdict = Verdict(self.now, (RuleVerdict("crowded", state, ()),), None, (), 1.0)
        snapshot = Snapshot(self.now, Memory(TOTAL, 0, int(mib * MIB)))
        before = self.looks
        self.turns.tend(POLICY, snapshot, verdict, Idle())
        return self.looks - before


@pytest.fixture
def turning(tmp_path: Path) -> Turning:
    return Turning(tmp_path)


def test_where_nothing_falls_it_is_looked_at_rarely_and_the_guard_may_doze(turning: Turning) -> None:
    assert turning.at(200) == 1
    looks = sum(turning.at(200 + number % 3, 1.0) for number in range(int(RARELY) - 1))
    assert looks == 0 and turning.turns.idle and turning.turns.wait() == float("inf")
    assert turning.at(200, 2.0) == 1


def test_where_memory_falls_it_is_looked_at_again_and_soon_once_more(turning: Turning) -> None:
    turning.at(200)
    assert turning.at(180, 5.0) == 1
    assert not turning.turns.idle and turning.turns.wait() <= 0.1


def test_where_it_falls_fast_it_is_looked_at_before_the_rule_has_fired(turning: Turning) -> None:
    assert [turning.at(mib) for mib in (900, 880, 860, 840)] == [0, 0, 0, 0]
    assert sum(turning.at(mib, 0.5) for mib in (700, 600, 500)) == 0
    assert turning.at(400, 0.5) == 1


def test_where_it_falls_slowly_above_the_level_nobody_is_looked_at(turning: Turning) -> None:
    assert sum(turning.at(460 - number, 0.5) for number in range(200)) == 0


def test_where_it_is_short_already_it_is_looked_at_though_nothing_falls(turning: Turning) -> None:
    turning.at(50)
    assert not turning.turns.idle and turning.turns.wait() <= 1.0
