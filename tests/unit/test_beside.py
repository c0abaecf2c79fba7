"""The table of scenes that only some play."""

from __future__ import annotations

import msgspec

from lab import matrix
from lab.beside import HEAD, table
from lab.board import board
from lab.columns import NOTHING
from lab.daemons import DAEMONS, EVERYBODY
from lab.run import By, Ending, Role, Run, Work
from lab.scenarios import SCENARIOS
from tests.unit.runs import run, seen

GUILTY = (("guilty", Role.CULPRIT, By.DAEMON),)
SESSION = (("tmux: server", Role.SESSION, By.DAEMON), ("hog", Role.CULPRIT, By.DAEMON))
SCENES = [scene for scene in SCENARIOS.values() if scene.name.startswith("S17")]


def played(scenario: str, daemon: str, *kills: tuple[str, Role, By], lost: int = 0, repeat: int = 1) -> Run:
    notes = [f"run: lost {lost} of 9 jobs"]
    return run(scenario, daemon, msgspec.structs.replace(seen(0.5, kills), notes=notes), repeat=repeat)


def rows(*runs: Run) -> list[list[str]]:
    lines = table(runs).splitlines()
    assert lines[0].count("|") == len(HEAD[0]) + 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_a_line_tells_who_died_what_else_was_lost_and_when_it_was_over() -> None:
    (row,) = rows(played("S17-slice", "systemd-oomd", *GUILTY))
    assert row == ["S17-slice, disk", "systemd-oomd", "guilty", "0 of 9 jobs", "10", "16", "0.50", NOTHING]


def test_a_session_is_told_as_one_and_repeats_that_differ_are_told_apart() -> None:
    (row,) = rows(
        played("S17-session", "oomd-slices", *SESSION, lost=9),
        played("S17-session", "oomd-slices", *SESSION, lost=9, repeat=2),
        played("S17-session", "oomd-slices", repeat=3),
    )
    assert row[2:4] == ["the session; nobody", "9 of 9 jobs; 0 of 9 jobs"]
    assert row[4] == "10 (10)"


def test_who_never_acts_is_never_first_and_a_run_that_failed_is_no_line() -> None:
    (row,) = rows(played("S17-slice", "oomd-slices"))
    assert (row[2], row[4]) == ("nobody", "never")
    failed = run("S17-slice", "systemd-oomd", msgspec.structs.replace(seen(), ending=Ending.FAILED))
    assert not rows(failed)


def test_where_several_have_work_done_it_is_told_what_each_has_waited() -> None:
    work = [Work(40, "job-1", 8, 8, "first"), Work(20, "job-1", 8, 8, "second"), Work(30, "job-2", 5, 8, "second")]
    (row,) = rows(run("S18-two", "okoomer", msgspec.structs.replace(seen(), work=work)))
    assert row[-1] == "first 32, done at 40, second 37, not done"


def test_lines_stand_in_the_order_of_the_scenes_and_of_who_plays() -> None:
    cells = [(scene.name, daemon) for scene in SCENES for daemon in scene.daemons]
    runs = [played(scene, daemon, *GUILTY) for scene, daemon in reversed(cells)]
    assert [row[1] for row in rows(*runs)] == [EVERYBODY[daemon].title for _, daemon in cells]


def test_scenes_that_only_some_play_are_run_three_times_and_are_no_part_of_the_scoreboard() -> None:
    for scene in SCENES:
        assert set(scene.daemons) <= EVERYBODY.keys() and scene.daemons[0] in DAEMONS
        repeats = [cell.repeat for cell in matrix.full() if (cell.scenario, cell.daemon) == (scene.name, "oomd-slices")]
        assert repeats == [1, 2, 3]
        assert not [cell for cell in matrix.full() if cell.scenario == scene.name and cell.daemon == "earlyoom"]
        assert not board([played(scene.name, "systemd-oomd", *GUILTY)]).lines
        assert not board([played(scene.name, "okoomer-oomd", *GUILTY)]).strangers


def test_names_in_the_cast_are_those_that_the_kernel_tells() -> None:
    for scene in SCENES:
        assert scene.role("tmux: server")[0] is Role.SESSION and scene.role("job-3")[0] is Role.INNOCENT
        assert scene.role("hog" if "session" in scene.name else "guilty")[0] is Role.CULPRIT
