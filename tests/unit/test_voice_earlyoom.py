"""earlyoom's words: which line on which stream, in which order, and never more than one line at a time."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okoomer.events import model
from okoomer.events.earlyoom import CMDLINE, Limits, Voice, beginning, state
from okoomer.record import Record, replace
from okoomer.units import GIB, MIB
from tests.unit.test_events import HOSTILE, TEXT, events
from tests.unit.test_price import PRICES, SRC

LIMITS = Limits(24105 * MIB, 23678 * MIB, 0, 10.0, 5.0, 10.0, 5.0)
#: Of 20000 MiB that programs can have, 10 % are available.
SHORT = (("mem.available.user", 2000.0 * MIB), ("swap.free", 0.0))
SHORTER = (("mem.available.user", 500.0 * MIB), ("swap.free", 0.0))
WELL = model.Report(24105 * MIB, 18000 * MIB, 2000 * MIB, 0, 0)
CHOSEN = model.Chosen(
    rule="term",
    when="",
    reason="",
    values=SHORT,
    kind="process",
    name="hog",
    pids=(45,),
    command="python3 -c while True: pass",
    freed=0,
    need=0,
    why="",
    steps=("term", "kill"),
    ranking=(),
    processes=0,
    scan_cpu_seconds=0.0,
    seconds=0.0,
    dry_run=False,
    root="python3",
    user=1000,
    rss=313 * MIB,
    oom_score=675,
    adjustment=-5,
)
FIRED = model.RuleChanged("term", "fired", SHORT)
FIRED_KILL = model.RuleChanged("kill", "fired", SHORTER)
QUIET = model.RuleChanged("term", "quiet", ())
TERM = model.Signalled("term", "SIGTERM", "hog", (45,), ())
KILL = model.Signalled("kill", "SIGKILL", "hog", (45,), ())

REPORT_LINE = "mem avail: 18000 of 20000 MiB (90.00%), swap free:    0 of    0 MiB ( 0.00%)"
STATE_LINE = "mem avail:  2000 of 20000 MiB (10.00%), swap free:    0 of    0 MiB ( 0.00%)"
SENDING = (
    'process 45 uid 1000 "python3": oom_score 675, oom_score_adj -5, VmRSS 313 MiB, '
    'cmdline "python3 -c while True: pass"'
)
LOW = "low memory! at or below SIGTERM limits: mem 10.00%, swap 10.00%"
LOWER = "low memory! at or below SIGKILL limits: mem  5.00%, swap  5.00%"


class Clock:
    """Seconds that pass only when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def said(*happened: Record | float, limits: Limits = LIMITS) -> list[tuple[int, str, str]]:
    """What a voice makes of events; a number lets so many seconds pass."""
    clock = Clock()
    voice = Voice(limits, clock)
    lines = []
    for event in happened:
        if isinstance(event, Record):
            lines += voice(event)
        else:
            clock.now += event
    return lines


def warned(*happened: Record | float) -> list[str]:
    """The same where all of it are warnings on standard error, once memory is short."""
    lines = said(WELL, *happened)[1:]
    assert {(fd, style) for fd, style, _ in lines} <= {(2, "warn")}
    return [text for _, _, text in lines]


# --- how things stand -----------------------------------------------------------------------------------------------


@pytest.fixture
def started() -> model.Started:
    return model.Started("0.1", 7, "earlyoom", "", ("kill", "term"), 24105 * MIB, 0, False, True, False, ())


def test_the_first_lines_tell_sizes_and_limits_on_standard_error(started: model.Started) -> None:
    assert said(started) == [
        (2, "", "mem total: 24105 MiB, user mem total: 23678 MiB, swap total:    0 MiB"),
        (2, "", "sending SIGTERM when mem avail <= 10.00% and swap free <= 10.00%,"),
        (2, "", "        SIGKILL when mem avail <=  5.00% and swap free <=  5.00%"),
    ]


def test_the_limits_are_those_that_were_asked_for(started: model.Started) -> None:
    limits = Limits(512 * MIB, 500 * MIB, 2048 * MIB, 99.0, 0.126, 100.0, 0.0)
    assert [text for _, _, text in said(started, limits=limits)] == [
        "mem total:  512 MiB, user mem total:  500 MiB, swap total: 2048 MiB",
        "sending SIGTERM when mem avail <= 99.00% and swap free <= 100.00%,",
        "        SIGKILL when mem avail <=  0.13% and swap free <=  0.00%",
    ]


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (
            model.Report(24105 * MIB, 23632 * MIB, 46 * MIB, 0, 0),
            "mem avail: 23632 of 23678 MiB (99.81%), swap free:    0 of    0 MiB ( 0.00%)",
        ),
        (
            model.Report(24105 * MIB, 23632 * MIB + MIB - 1, 46 * MIB, 0, 0),
            "mem avail: 23632 of 23678 MiB (99.81%), swap free:    0 of    0 MiB ( 0.00%)",
        ),
        (
            model.Report(GIB, 5 * MIB, 995 * MIB, 2048 * MIB, 2047 * MIB),
            "mem avail:     5 of  1000 MiB ( 0.50%), swap free: 2047 of 2048 MiB (99.95%)",
        ),
        (
            model.Report(0, 1048576 * MIB, 0, 65536 * MIB, 65536 * MIB),
            "mem avail: 1048576 of 1048576 MiB (100.00%), swap free: 65536 of 65536 MiB (100.00%)",
        ),
        (
            model.Report(0, 0, 0, 0, 0),
            "mem avail:     0 of     0 MiB ( 0.00%), swap free:    0 of    0 MiB ( 0.00%)",
        ),
    ],
)
def test_a_report_is_one_line_on_standard_output(report: model.Report, line: str) -> None:
    assert state(report) == line
    assert said(report) == [(1, "info", line)]


def test_reports_go_on_and_on() -> None:
    assert said(WELL, WELL) == [(1, "info", REPORT_LINE)] * 2


def test_while_memory_is_short_the_state_goes_to_standard_error() -> None:
    short = replace(WELL, available=2000 * MIB, anon=18000 * MIB)
    assert said(WELL, FIRED, short, QUIET, WELL) == [
        (1, "info", REPORT_LINE),
        (2, "warn", STATE_LINE),
        (1, "info", REPORT_LINE),
    ]


def test_nothing_is_reported_while_a_victim_is_waited_for() -> None:
    short = replace(WELL, available=1000 * MIB)
    during = said(WELL, FIRED, CHOSEN, TERM, short, short, model.Died("term", "hog", (45,), 0.1, 0), short)
    assert [text for _, _, text in during].count(state(short)) == 1


def test_memory_stays_short_as_long_as_one_rule_says_so() -> None:
    lines = said(FIRED, FIRED_KILL, model.RuleChanged("kill", "quiet", ()), WELL, QUIET, WELL)
    assert [fd for fd, _, _ in lines] == [2, 1]


# --- acts -----------------------------------------------------------------------------------------------------------


def test_a_kill_in_its_order() -> None:
    assert warned(FIRED, CHOSEN, TERM, 0.1, model.Died("term", "hog", (45,), 0.1, 300 * MIB)) == [
        STATE_LINE,
        LOW,
        f"sending SIGTERM to {SENDING}",
        "process 45 exited after 0.100 seconds",
    ]


def test_a_rule_that_kills_at_once_names_its_own_limits() -> None:
    chosen = replace(CHOSEN, rule="kill", values=SHORTER, steps=("kill",))
    assert warned(FIRED, FIRED_KILL, chosen, KILL) == [
        "mem avail:   500 of 20000 MiB ( 2.50%), swap free:    0 of    0 MiB ( 0.00%)",
        LOWER,
        f"sending SIGKILL to {SENDING}",
    ]


def test_an_escalation_tells_the_time_since_the_first_signal() -> None:
    lines = warned(FIRED, CHOSEN, TERM, 1.32, FIRED_KILL, KILL, 0.5, model.Died("kill", "hog", (45,), 0.04, 0))
    assert lines[2:] == [
        f"sending SIGTERM to {SENDING}",
        "escalating to SIGKILL after 1.320 seconds",
        "process 45 exited after 1.360 seconds",
    ]


def test_the_same_state_is_told_anew_for_each_victim_but_not_twice_for_one() -> None:
    died = model.Died("term", "hog", (45,), 0.1, 0)
    short = replace(WELL, available=2000 * MIB, anon=18000 * MIB)
    lines = warned(FIRED, short, CHOSEN, TERM, died, CHOSEN, TERM, died)
    assert lines == [STATE_LINE, LOW, f"sending SIGTERM to {SENDING}", "process 45 exited after 0.100 seconds"] * 2


def test_what_a_rule_did_not_read_is_taken_from_the_last_report() -> None:
    report = replace(WELL, swap_total=4 * GIB, swap_free=GIB)
    chosen = replace(CHOSEN, values=(("mem.available.user", None),))
    lines = [text for _, _, text in said(report, FIRED, chosen)]
    assert lines[1] == "mem avail: 18000 of 20000 MiB (90.00%), swap free: 1024 of 4096 MiB (25.00%)"


def test_without_a_report_the_state_comes_from_the_beginning() -> None:
    lines = [text for _, _, text in said(FIRED, replace(CHOSEN, values=()))]
    assert lines[0] == "mem avail: 23678 of 23678 MiB (100.00%), swap free:    0 of    0 MiB ( 0.00%)"


@pytest.mark.parametrize(
    ("chosen", "signal"),
    [(CHOSEN, "SIGTERM"), (replace(CHOSEN, rule="kill", steps=("kill",)), "SIGKILL")],
)
def test_a_dry_run_says_whom_it_would_have_taken(chosen: model.Chosen, signal: str) -> None:
    lines = warned(FIRED, replace(chosen, dry_run=True), WELL)
    assert lines[2:4] == [f"sending {signal} to {SENDING}", "dryrun, not actually sending any signal"]
    assert lines[4:] == [REPORT_LINE]


def test_a_dry_run_of_the_kernels_own_killer_names_nobody() -> None:
    lines = warned(FIRED, replace(CHOSEN, dry_run=True, steps=("oom",)))
    assert lines[2:] == ["dryrun, not actually sending any signal"]


def test_a_whole_group_is_named_after_the_process() -> None:
    chosen = replace(CHOSEN, kind="group", pids=(45, 46, 47))
    lines = warned(FIRED, chosen, replace(TERM, pids=(45, 46, 47)), model.Died("term", "hog", (45, 46, 47), 0.1, 0))
    assert lines[2:] == [
        f"sending SIGTERM to {SENDING}",
        "killing whole process group 45 (-g flag is active)",
        "process 45 exited after 0.100 seconds",
    ]


def test_who_does_not_die_has_not_exited() -> None:
    stuck = model.Stuck("kill", "hog", (45,), 10.0, "it does not die")
    assert warned(FIRED, CHOSEN, TERM, 10.0, stuck)[3:] == ["process 45 did not exit", "kill failed: Timer expired"]


def test_who_may_not_be_signalled_has_a_reason() -> None:
    lines = warned(
        FIRED, CHOSEN, replace(TERM, pids=(), lost=(45,)), model.Stuck("term", "hog", (45,), 0.0, "Not permitted")
    )
    assert lines[2:] == [f"sending SIGTERM to {SENDING}", "kill failed: Not permitted"]


def test_nobody_to_be_found_is_said_after_the_state() -> None:
    assert warned(FIRED, model.Refused("term", "nobody is large enough", ())) == [
        STATE_LINE,
        LOW,
        "Could not find a process to kill. Sleeping 1 second.",
    ]


def test_memory_that_came_back_during_the_search_is_said_after_the_state() -> None:
    assert warned(FIRED, QUIET, model.Recovered("term", asked=False)) == [
        STATE_LINE,
        LOW,
        "memory situation has recovered while selecting victim",
    ]


def test_memory_that_came_back_before_the_signal_spares_the_victim() -> None:
    lines = warned(FIRED, CHOSEN, model.Recovered("term", asked=False))
    assert lines == [STATE_LINE, LOW, "memory situation has recovered while selecting victim"]


def test_memory_that_came_back_after_a_sigterm_leaves_the_victim_alone() -> None:
    lines = warned(FIRED, CHOSEN, TERM, QUIET, model.Recovered("term", asked=True))
    assert lines[3:] == ["memory situation has recovered while waiting for process 45"]


def test_what_is_left_to_the_kernel_is_said_on_standard_output_and_is_over_then() -> None:
    lines = said(WELL, FIRED, replace(CHOSEN, steps=("oom",)), model.Signalled("term", "SysRq f", "hog", (), ()), WELL)
    assert lines[1:] == [
        (2, "warn", STATE_LINE),
        (2, "warn", LOW),
        (1, "info", "trigger_kernel_oom: successfully triggered kernel OOM killer"),
        (2, "warn", REPORT_LINE),
    ]


def test_a_signal_of_an_act_that_nobody_told_of_is_told_in_our_words() -> None:
    assert warned(TERM) == ["SIGTERM to hog (pid 45)"]


# --- what earlyoom does not know ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (model.Trouble("memory is not locked"), "memory is not locked"),
        (model.Late(3.0, 45, "hog"), "the loop hung for 3.0 s; the watchdog killed hog (pid 45)"),
        (model.Warned("term", "hog is the next to go"), "rule term warns: hog is the next to go"),
    ],
)
def test_what_went_wrong_is_a_warning_in_our_words(event: Record, line: str) -> None:
    assert said(event) == [(2, "warn", line)]


def test_a_program_that_could_not_be_started_is_a_warning() -> None:
    run = model.Run(1, "term", ("/opt/hook",), 0.2, 45, "hog", 0, "/", "hog")
    assert said(run, model.Ran(1, model.NOT_STARTED, 0.0)) == [(2, "warn", "/opt/hook could not be started")]


SILENT = [
    FIRED,
    QUIET,
    model.Stopped("SIGTERM"),
    model.Changed("swap is now 2.0 GiB"),
    model.Run(1, "term", ("/opt/hook",), 0.2, 45, "hog", 0, "/", "hog"),
    model.Ran(1, 0, 0.1),
    model.Ran(1, 1, 0.1),
]


@pytest.mark.parametrize("event", SILENT)
def test_the_rest_is_for_debugging(event: Record) -> None:
    assert said(event) == []
    [(fd, style, text)] = said(event, limits=replace(LIMITS, debug=True))
    assert (fd, style) == (1, "debug") and text


# --- hostile names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_can_forge_no_line(name: str) -> None:
    lines = warned(FIRED, replace(CHOSEN, root=name, command=name), TERM)
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("python3 -c x", "python3 -c x"),
        ("x" * 300, "x" * CMDLINE),
        ("x" * 254 + "é", "x" * 254),
        ("日" * 100, "日" * 85),
        ("\ud800", "\\ud800"),
    ],
)
def test_of_a_command_line_255_bytes_are_told(command: str, told: str) -> None:
    assert beginning(command) == told
    assert len(beginning(command).encode()) <= CMDLINE


@given(TEXT)
def test_a_command_line_is_never_longer(command: str) -> None:
    assert len(beginning(command * 20).encode()) <= CMDLINE


def any_events() -> st.SearchStrategy[list[Record]]:
    kinds: list[Any] = [events(kind) for kind in model.EVENTS.values()]
    usual = st.sampled_from([WELL, FIRED, FIRED_KILL, QUIET, CHOSEN, TERM, KILL])
    return st.lists(st.one_of(usual, *kinds), max_size=8)


@given(any_events(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_whatever_happens_gives_whole_lines_and_no_error(happened: list[Record], debug: bool) -> None:
    # Values in a condition of ours are numbers that were read from a file.
    happened = [replace(event, values=SHORT) if "values" in event._fields else event for event in happened]
    for fd, style, text in said(*happened, limits=replace(LIMITS, debug=debug)):
        assert fd in (1, 2) and style in ("", "info", "warn", "debug")
        assert text.isprintable()


# --- its price ------------------------------------------------------------------------------------------------------


def test_it_brings_along_nothing_that_the_guard_does_not_have() -> None:
    program = """if True:
        import sys
        bare = set(sys.modules)
        sys.path.insert(0, sys.argv[1])
        import okoomer.events.earlyoom
        print(*sorted(set(sys.modules) - bare))
    """
    command = [sys.executable, "-I", "-S", "-c", program, str(SRC)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()
    assert {name for name in found if name.split(".")[0] != "okoomer"} <= set(PRICES)
    assert {name.split(".")[1] for name in found if "." in name} <= {"events", "record", "units"}
