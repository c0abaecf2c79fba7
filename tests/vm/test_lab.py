"""Two scenes of the scoreboard, to the end: one in which somebody has to die, one in which nobody may."""

import pytest

from lab import figures, stage
from lab.matrix import Cell
from lab.run import Ending, Run, Swap

from .host import HostError

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]


def played(scenario: str) -> Run:
    try:
        return stage.play(Cell(scenario, Swap.NONE, "okoomer"))
    except HostError as why:
        pytest.skip(str(why))


def test_the_culprit_alone_is_ended() -> None:
    run = played("S1")
    assert run.seen.ending is Ending.DONE, run.seen.notes
    assert [(kill.by, kill.comm) for kill in run.seen.kills] == [("daemon", "tail")]
    got = figures.of(run)
    assert (got.score, got.hung, got.reason) == (1, False, True)
    # All three canaries were heard, and the daemon was measured.
    assert run.seen.screen and run.seen.login and run.seen.service
    assert run.seen.cost and run.seen.cost.rss > run.seen.cost.anon > 0
    assert run.seen.versions["daemon"].startswith("okoomer ")


def test_nobody_is_ended_where_nothing_is_wrong() -> None:
    run = played("S13-locked")
    assert run.seen.ending is Ending.DONE, run.seen.notes
    assert figures.of(run).score == 1, run.seen.kills
