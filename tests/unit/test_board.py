"""The scoreboard's arithmetic and its text, on runs that were made up."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from lab import figures
from lab.behind import behind, trailing
from lab.board import FLOOR_S, OURS, Board, Cell, board, margin_of, parts, ranks
from lab.columns import FATE, FELT, marks, number
from lab.daemons import DAEMONS
from lab.front import sweep
from lab.matrix import RIVALS
from lab.run import By, Cost, Ending, Role, Seen
from lab.scenarios import SCENARIOS
from lab.table import WIDTH, markdown, plain
from lab.upkeep import upkeep
from tests.unit.runs import CULPRIT, INNOCENT, everything, points_of, rivals_of, run, seen
from tests.unit.runs import scenes as scenes


def cell_of(*stalls: float) -> Cell:
    runs = [run("X1", OURS, seen(stall), repeat=n) for n, stall in enumerate(stalls, 1)]
    return board(runs).lines[0].cells[OURS]


# --- a cell -----------------------------------------------------------------------------------------------------


def test_a_cell_tells_the_median_and_the_worst_of_its_repeats_in_any_order() -> None:
    cell = cell_of(7.0, 1.0, 3.0)
    assert (cell.median.lost_s, cell.worst_s, cell.median.blackout_s) == (3.0, 7.0, 3.0)
    assert cell.middle.repeat == 3
    assert cell.median.lost_s == sum(cell.parts.values()), "a chart's bar is as long as the number beside it says"


def test_of_two_repeats_the_worse_is_the_median() -> None:
    cell = cell_of(1.0, 5.0)
    assert (cell.median.lost_s, sum(cell.parts.values())) == (5.0, 5.0)


def test_a_cell_that_was_run_once_is_marked_and_has_no_worst() -> None:
    assert "¹" in marks(cell_of(2.0))
    assert "¹" not in marks(cell_of(2.0, 2.0))
    assert FELT[0].text(cell_of(2.0)) == "2"
    assert FELT[0].text(cell_of(2.0, 4.5, 2.0)) == "2 (4.5)"


def test_a_later_run_of_a_repeat_replaces_the_former() -> None:
    runs = [run("X1", OURS, seen(8.0)), run("X1", OURS, seen(2.0))]
    cell = board(runs).lines[0].cells[OURS]
    assert (len(cell.runs), cell.worst_s) == (1, 2.0)


def test_what_happened_in_any_repeat_is_marked() -> None:
    runs = [run("X1", OURS, seen(0.5), repeat=n) for n in (1, 2)] + [
        run("X1", OURS, seen(0.5, (("hog", Role.CULPRIT, By.KERNEL),), hung=True, noise_s=1.6), repeat=3)
    ]
    cell = board(runs).lines[0].cells[OURS]
    assert set(marks(cell)) == {"H", "K", "~"}


def test_what_lost_seconds_consist_of_is_all_of_them() -> None:
    for one in everything(3):
        of = figures.of(one)
        assert sum(parts(of).values()) == pytest.approx(of.lost_s, abs=0.02), one


# --- ranks ------------------------------------------------------------------------------------------------------


def test_who_is_within_the_margin_of_the_best_shares_its_rank() -> None:
    assert ranks({"a": 1.0, "b": 2.0, "c": 2.1, "d": 9.0}, 1.0) == {"a": 1, "b": 1, "c": 3, "d": 4}


def test_ties_do_not_chain() -> None:
    assert ranks({"a": 0.0, "b": 0.9, "c": 1.8}, 1.0)["c"] == 3


def test_the_margin_is_how_far_repeats_differ_and_at_least_a_second() -> None:
    assert margin_of([]) == FLOOR_S
    assert margin_of([cell_of(3.0, 3.2, 3.1)]) == FLOOR_S
    assert margin_of([cell_of(1.0, 4.0), cell_of(1.0, 4.0), cell_of(0.3, 9.0)]) == 3.0
    assert margin_of([cell_of(1.0)]) == FLOOR_S, "a single run says nothing of the spread"


# --- all scenarios ----------------------------------------------------------------------------------------------


def totals(of: Board) -> dict[str, float | None]:
    return {total.daemon: total.lost_s for total in of.totals}


def test_a_line_counts_if_all_main_rivals_have_a_result_there() -> None:
    runs = [*rivals_of("X1", okoomer=0.6), *rivals_of("X3")[:-1]]
    of = board(runs)
    assert [line.name for line in of.counted] == ["X1 none"]
    assert totals(of)[OURS] == 0.6
    assert totals(of)["none"] == 9.0, "what a rival lost where another has no result is no part of its sum"


def test_a_rival_that_failed_has_no_result() -> None:
    runs = [*rivals_of("X1"), *rivals_of("X3")]
    runs[-1] = run("X3", OURS, Seen(ending=Ending.FAILED, notes=["no swap"]))
    of = board(runs)
    assert [line.name for line in of.counted] == ["X1 none"]
    line = next(line for line in of.lines if line.name == "X3 none")
    assert OURS in line.failed and OURS not in line.cells and OURS not in line.ranks


def test_who_lacks_a_line_has_no_sum_and_comes_last() -> None:
    runs = [*rivals_of("X1"), *rivals_of("X3"), run("X1", "oomd", seen(0.1))]
    last = board(runs).totals[-1]
    assert (last.daemon, last.lost_s, last.rank, last.lines) == ("oomd", None, None, 1)


def test_totals_are_in_order_and_count_wins() -> None:
    runs = [*rivals_of("X1", okoomer=0.5), *rivals_of("X2", okoomer=0.7, earlyoom=0.6), *rivals_of("X3", earlyoom=2.0)]
    of = board(runs)
    assert of.daemons[:2] == [OURS, "earlyoom"] or of.daemons[:2] == ["earlyoom", OURS]
    won = {total.daemon: (total.won, total.shared) for total in of.totals}
    assert won[OURS] == (1, 1)
    assert won["earlyoom"] == (1, 1)
    assert won["none"] == (0, 0)


def test_what_happened_is_told_for_one_pass_through_the_scenarios() -> None:
    runs = rivals_of("X1")[:-1]
    runs += [run("X1", OURS, seen(1.0, (CULPRIT, INNOCENT)), repeat=1)]
    runs += [run("X1", OURS, seen(1.0, (CULPRIT,), hung=n == 2), repeat=n) for n in (2, 3)]
    ours = next(total for total in board(runs).totals if total.daemon == OURS)
    assert [ours.innocents, ours.hangs] == pytest.approx([1 / 3, 1 / 3])


def test_a_run_of_what_is_no_more_is_left_out_and_counted() -> None:
    stray = run("X1", OURS, seen())
    runs = [msgspec.structs.replace(stray, scenario="X99"), msgspec.structs.replace(stray, daemon="gone"), stray]
    of = board(runs)
    assert (of.strangers, len(of.runs)) == (2, 1)


# --- where it is not first --------------------------------------------------------------------------------------


def test_who_is_better_is_told_with_by_how_much_and_in_what() -> None:
    runs = [*rivals_of("X1", earlyoom=0.6)[:-1], run("X1", OURS, seen(4.6, (CULPRIT, INNOCENT)))]
    (one,) = behind(board(runs))
    assert (one.first, one.best_s, one.lost_s, one.by_s) == (["earlyoom"], 0.6, 34.6, 34.0)
    assert one.why == "+30 s innocent programs killed, +4 s longest blackout"


def test_a_tie_is_no_defeat() -> None:
    assert not behind(board(rivals_of("X1", okoomer=1.5, earlyoom=0.6)))


def test_no_result_where_others_have_one_is_a_defeat() -> None:
    (one,) = behind(board(rivals_of("X1")[:-1]))
    assert (one.lost_s, one.rank, one.by_s) == (None, None, None)


def test_every_line_is_first_or_told() -> None:
    of = board(everything())
    told = {one.line.name for one in behind(of)}
    for line in of.lines:
        best = min(cell.median.lost_s for cell in line.cells.values())
        is_first = OURS in line.cells and line.cells[OURS].median.lost_s <= best + of.margin_s
        assert is_first != (line.name in told), line.name


def test_a_figure_in_which_another_project_is_better_is_told() -> None:
    cheap, dear = Cost(1.7, 2, 0.1, 0.1, 10, 0, 0), Cost(11.0, 12, 4.0, 0.1, 10, 0, 0)
    runs = [run("X1", name, seen(1.0, (CULPRIT,), cost=dear if name == OURS else cheap)) for name in RIVALS]
    told = {one.measure: (one.value, one.ours) for one in trailing(board(runs))}
    assert told == {"daemon: RSS, MiB": ("1.7", "11"), "daemon: anonymous memory, MiB": ("0.10", "4")}


# --- what the daemons take --------------------------------------------------------------------------------------


def test_a_daemon_that_is_gone_at_the_end_is_counted_and_the_others_are_measured() -> None:
    runs = [run("X1", OURS, seen(0.6, cost=Cost(10 + n, 20, 4, 0.2, 40, 3, 0.1 * n)), repeat=n) for n in (1, 2)]
    runs.append(run("X1", OURS, seen(0.6), repeat=3))
    took = upkeep(board(runs))[OURS]
    assert (took.rss, took.untold, took.cpu_ms, took.switches, took.worst_waited_s) == (12, 1, 10, 2, 0.2)


def test_the_kernel_alone_takes_nothing() -> None:
    assert "none" not in upkeep(board(rivals_of("X1")))


# --- the sweep --------------------------------------------------------------------------------------------------


def test_the_points_of_a_sweep_are_in_the_order_of_the_settings() -> None:
    first, second, third = (setting.label for setting in DAEMONS[OURS].sweep[:3])
    of = sweep(points_of(OURS, (third, 1.0, 3), (first, 5.0, 0), (second, 2.0, 1)))
    assert [(p.label, p.stall_s, p.unneeded) for p in of.curves[OURS]] == [
        (first, 5.0, 0), (second, 2.0, 1), (third, 1.0, 3),
    ]  # fmt: skip


def test_a_point_without_all_scenarios_is_not_drawn_but_told() -> None:
    runs = points_of(OURS, ("a", 1.0, 0), ("b", 1.0, 0))[:-1]
    of = sweep(runs)
    assert [point.label for point in of.curves[OURS]] == ["a"]
    assert of.missing == {OURS: ("b",)}


def test_on_the_front_nothing_is_better_in_one_and_as_good_in_the_other() -> None:
    runs = points_of(OURS, ("a", 1.0, 2), ("b", 3.0, 0), ("c", 3.0, 1)) + points_of(
        "oomd", ("d", 2.0, 2), ("e", 0.6, 5)
    )
    of = sweep(runs)
    assert {point.label for curve in of.curves.values() for point in curve if point.best} == {"a", "b", "e"}
    assert of.front == {OURS: ["a", "b"], "oomd": ["e"]}


def test_points_are_no_part_of_the_board() -> None:
    assert not board(points_of(OURS, ("a", 1.0, 0))).lines


# --- how it is written ------------------------------------------------------------------------------------------


def test_numbers_have_three_digits_and_small_ones_no_more_than_are_known() -> None:
    written = {0.0: "0", 0.004: "0", 0.31: "0.31", 2.0: "2", 3.26: "3.3", 99.96: "100", 345.4: "345"}
    assert {value: number(value) for value in written} == written
    assert (number(None), number(1234.5), number(-1)) == ("–", "1\u202f234", "\u22121")  # noqa: RUF001


def test_the_text_names_every_scenario_and_daemon_of_a_full_run() -> None:
    text = markdown(everything(lacking=0))
    for daemon in DAEMONS.values():
        assert plain(daemon.title) in text
        assert plain(daemon.settings) in text
    for scenario in SCENARIOS.values():
        told = f"### {scenario.name}: {plain(scenario.title)}" in text
        assert told is not bool(scenario.daemons), "a scene that only some play ranks nobody"


def test_tables_of_the_text_are_whole_and_not_too_wide() -> None:
    rows = [line for line in markdown(everything()).splitlines() if line.startswith("|")]
    unescaped = [row.replace("\\|", "").count("|") - 1 for row in rows]
    for before, after in itertools.pairwise(range(len(rows))):
        if rows[after].startswith("| :--"):
            assert unescaped[before] == unescaped[after]
    assert max(unescaped) <= max(WIDTH + 1, len(FATE) + 1)


def test_the_best_of_a_line_is_bold() -> None:
    text = markdown(rivals_of("X1", okoomer=0.6, earlyoom=4.0))
    row = next(line for line in text.splitlines() if line.startswith("| X1 a hog"))
    assert row.count("**") == 2 and "**0.60**" in row


def test_the_text_of_nothing_and_of_a_single_run() -> None:
    assert "no results yet" in markdown([])
    text = markdown([run("X1", "oomd", seen(2.0))])
    assert "| X1 a hog, no swap | **2** ¹ |" in text
    assert "| X1 a hog, no swap | oomd | 2 | – | – | – | no result |" in text  # noqa: RUF001


def test_a_run_that_failed_is_told_with_its_last_words() -> None:
    text = markdown([*rivals_of("X1")[:-1], run("X1", OURS, Seen(ending=Ending.FAILED, notes=["a", "no <space>"]))])
    row = next(line for line in text.splitlines() if line.startswith("| X1 a hog"))
    assert "failed" in row
    assert "repeat 1: no &lt;space&gt;" in text


def test_a_noisy_run_is_told() -> None:
    assert "X1 none, okoomer, desktop, repeat 1: 1.7 s" in markdown([run("X1", OURS, seen(1.0, noise_s=1.7))])


def test_a_hostile_name_means_nothing_to_markdown() -> None:
    name = "|a|\n# b `c` *d* <img src=x> [e](f)"
    text = markdown([run("X1", OURS, seen(1.0, ((name, Role.CULPRIT, By.DAEMON),)))])
    assert plain(name) in text
    assert "<img" not in text and "\n# b" not in text and "[e](f)" not in text
