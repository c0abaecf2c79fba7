"""The lab's figures: what a run counts for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lab import figures, run
from lab.run import Beat, By, Ending, Kill, Late, Memory, Pause, Role, Run, Seen, Served, Swap, Work

END = 20.0


def seen(**changes: object) -> Seen:
    """Twenty seconds in which nothing hurts."""
    quiet = Seen(
        ending=Ending.DONE,
        end=END,
        over=16.0,
        screen=[Beat(float(at), 62, 0.001) for at in range(21)],
        login=[Late(float(at), 0.02) for at in range(21)],
        service=[Served(float(at), 50) for at in range(20)],
        memory=[Memory(at / 2, 400, 0, 0, 0) for at in range(41)],
    )
    return msgspec.structs.replace(quiet, **changes)


def of(scenario: str = "S1", **changes: object) -> figures.Figures:
    return figures.of(
        Run(scenario=scenario, swap=Swap.NONE, daemon="x", key="", began="", took_s=1, seen=seen(**changes))
    )


def kill(comm: str, role: Role, by: By = By.DAEMON, at: float = 5, pid: int = 7) -> Kill:
    return Kill(at=at, signal=9, by=by, comm=comm, pid=pid, role=role, mib=50)


def stalled(at: float, for_s: float) -> dict[str, object]:
    """A stall of the screen: its ticks up to then, one late one, and on it goes."""
    beats = [Beat(float(t), 62, 0.001) for t in range(21) if not at < t < at + for_s]
    return {"screen": beats, "screen_late": [Late(at, for_s)]}


def test_nothing_is_lost_when_only_the_culprit_dies() -> None:
    got = of(kills=[kill("tail", Role.CULPRIT)])
    assert (got.lost_s, got.score, got.hung, got.collateral) == (0, 1, False, 0)
    assert got.isolation_p01 == 1
    assert got.late_p50_s == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("changes", "lost", "score"),
    [
        ({"kills": [kill("database", Role.INNOCENT)]}, 30, 0),
        ({"kills": [kill("tail", Role.CULPRIT), kill("database", Role.INNOCENT, pid=8)]}, 30, 0.5),
        ({"kills": [kill("tail", Role.CULPRIT, By.KERNEL)]}, 0, 0.25),
        ({"kills": [kill("tmux: server", Role.SESSION)]}, 300, 0),
        ({"ending": Ending.GONE}, 300, -1),
        ({"kills": [kill("job-1", Role.WORKER)], "work": [Work(9, "job-1", 2.5, 8), Work(9, "job-2", 8, 8)]}, 2.5, 1),
    ],
)
def test_what_each_loss_costs(changes: dict[str, object], lost: float, score: float) -> None:
    got = of(**changes)
    assert (got.lost_s, got.score) == (lost, score)


def test_work_is_saved_if_it_was_done_and_not_thrown_away() -> None:
    work = [Work(9, "job-1", 2.5, 8), Work(9, "job-2", 8, 8)]
    assert of(work=work).work_saved == round(10.5 / 16, 3)
    assert of(work=work, kills=[kill("job-1", Role.WORKER)]).work_saved == 0.5
    assert of().work_saved is None


def test_a_blackout_counts_as_long_as_it_is_and_only_if_it_is_felt() -> None:
    assert of(**stalled(5.5, 3)).lost_s == 3
    assert of(**stalled(5.5, 0.4)).lost_s == 0
    assert of(**stalled(5.5, 0.4)).over_250ms_s == 0.4
    assert of(**stalled(5.5, 3)).over_250ms_s == 3


def test_a_login_that_takes_long_is_a_blackout_too() -> None:
    assert of(login=[Late(4, 2.0)] + [Late(float(at), 0.02) for at in range(6, 21)]).blackout_s == 2


def test_a_canary_that_fell_silent_is_late_by_now_and_a_hang_if_the_time_was_up() -> None:
    silent: dict[str, object] = {"screen": [Beat(float(at), 62, 0.001) for at in range(9)]}
    for late in ({"ending": Ending.LIMIT, "over": None}, {"notes": ["run: not over"]}):
        got = of(**silent, **late)
        assert got.hung and got.lost_s == figures.SESSION_S + 12 and got.score == -1
    # When the culprit is gone and pages come back slowly, the machine recovers.
    got = of(**silent)
    assert not got.hung and got.lost_s == 12


def test_a_canary_that_was_killed_is_collateral_and_not_a_hang() -> None:
    got = of(screen=[Beat(float(at), 62, 0.001) for at in range(9)], kills=[kill("canary-ui", Role.INNOCENT, at=8.5)])
    assert not got.hung and got.lost_s == figures.COLLATERAL_S


def test_a_machine_that_still_thrashes_when_the_time_is_up_has_hung() -> None:
    thrashing = [Memory(at / 2, 10, 0, at / 3, at / 4) for at in range(41)]
    assert of(memory=thrashing, ending=Ending.LIMIT, over=None).hung
    assert not of(ending=Ending.LIMIT, over=None).hung  # the culprit lives, and nobody minds


def test_every_kill_is_unneeded_where_nothing_is_wrong() -> None:
    got = of("S13-disk", kills=[kill("cold", Role.INNOCENT), kill("job", Role.INNOCENT, pid=8)])
    assert (got.unneeded, got.lost_s, got.score) == (2, 120, 0)
    assert of("S13-disk").score == 1


def test_one_of_two_is_enough() -> None:
    both = [kill("set-a", Role.WORKER), kill("set-b", Role.WORKER, pid=8)]
    assert of("S10", kills=both[:1]).unneeded == 0
    assert of("S10", kills=both).unneeded == 1


def test_a_reason_counts_within_a_second() -> None:
    kills = [kill("tail", Role.CULPRIT, at=5)]
    assert of(kills=kills, reasons=[5.8]).reason is True
    assert of(kills=kills, reasons=[6.2]).reason is False
    assert of(kills=[kill("tail", Role.CULPRIT, By.KERNEL)]).reason is False
    assert of().reason is None


def test_a_run_that_was_not_set_up_has_no_figures() -> None:
    with pytest.raises(ValueError, match="could not be set up"):
        of(ending=Ending.FAILED)


def test_a_run_is_a_line_and_half_a_line_is_none(tmp_path: Path) -> None:
    done = Run(
        scenario="S1",
        swap=Swap.ZRAM,
        daemon="x\n",
        key="k",
        began="",
        took_s=1,
        seen=seen(kills=[kill("a", Role.WORKER)]),
    )
    line = run.encoded(done)
    assert line.count(b"\n") == 1
    (tmp_path / "runs").write_bytes(line + line[:-20])
    assert run.read(tmp_path / "runs") == [done]
    assert run.read(tmp_path / "none") == []


def test_the_longest_pause_of_who_is_no_culprit_lasts_until_it_ran_again_or_died_or_nobody_listened() -> None:
    culprit, ended = Pause(1, "tail", Role.CULPRIT, 9.0), Pause(3, "editor", Role.INNOCENT, None)
    assert of(pauses=[culprit]).paused_s == 0
    assert of(pauses=[culprit, Pause(2, "editor", Role.INNOCENT, 1.5)]).paused_s == 1.5
    assert of(pauses=[ended], kills=[kill("editor", Role.INNOCENT, at=5)]).paused_s == 2
    got = of(pauses=[culprit, ended])
    assert (got.paused_s, got.pauses) == (END - 3, 2)
