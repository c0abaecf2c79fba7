"""`okoomer sort`: the table of processes, on machines made to order and on this one."""

from __future__ import annotations

import io
import json
import os
import posix
import re
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from okoomer.cli import sort
from okoomer.kernel import clock
from okoomer.kernel.machine import recorded
from tests.unit.console import okoomer
from tests.unit.machines import MIB, App, build, write

KTHREAD = 0x00200000
#: As wide as the table gets on a terminal.
WIDTH = 80

APPS = (
    App(20, b"small", anon=10 * MIB, oom_score=900, adjustment=300, command=b"/bin/small\0-x\0", started=900.0),
    App(30, b"large", anon=500 * MIB, swap=20 * MIB, oom_score=700, user=0, command=b"/bin/large\0", threads=7),
    App(40, b"asleep", anon=1 * MIB, swap=300 * MIB, oom_score=680, adjustment=-100, command=b"asleep\0"),
    App(50, b"mapped", anon=2 * MIB, shmem=400 * MIB, file=90 * MIB, oom_score=690, command=b"a mapped one\0"),
    App(51, b"mapped", anon=2 * MIB, shmem=380 * MIB, oom_score=690, command=b"another\0"),
)

Machine = Callable[..., Path]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Makes a machine of these processes the one that the command sees, 1000 s after its boot."""

    def make(apps: Iterable[App] = APPS) -> Path:
        build(tmp_path, apps=apps)
        monkeypatch.setattr(sort, "LIVE", recorded(str(tmp_path)))
        monkeypatch.setattr(clock, "since_boot", lambda: 1000.0)
        return tmp_path / "proc"

    return make


def listed(*arguments: object) -> list[int]:
    """The PIDs in the order of the answer."""
    ended = okoomer("sort", "--json", *arguments)
    assert (ended.code, ended.err) == (0, "")
    return [one["pid"] for one in json.loads(ended.out)["processes"]]


# --- the order ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "pids"),
    [
        ((), [30, 40, 50, 20, 51]),
        (("-s", "freed"), [30, 40, 50, 20, 51]),
        (("-s", "oom_score"), [20, 30, 50, 51, 40]),
        (("-s", "oom_score_adj"), [20, 30, 50, 51, 40]),
        (("-s", "UID"), [40, 50, 20, 51, 30]),
        (("-s", "PID"), [20, 30, 40, 50, 51]),
        (("-s", "Name"), [40, 30, 50, 51, 20]),
        (("-s", "VmRSS"), [30, 50, 51, 20, 40]),
        (("-s", "VmSwap"), [40, 30, 50, 20, 51]),
        (("-s", "cmdline"), [30, 20, 50, 51, 40]),
        (("-s", "anon"), [30, 20, 50, 51, 40]),
        (("-s", "file"), [50, 30, 40, 20, 51]),
        (("-s", "shmem"), [50, 51, 30, 40, 20]),
        (("-s", "age"), [30, 40, 50, 51, 20]),
        (("-s", "threads"), [30, 40, 50, 20, 51]),
        (("--sort", "vmswap", "--num", "1"), [40]),
        (("-n", "2"), [30, 40]),
        (("-n", "0"), []),
        (("-s", "cmdline", "-n", "2", "-l", "0"), [30, 20]),
    ],
)
def test_the_key_decides_the_order_and_among_equals_what_comes_back(
    machine: Machine, arguments: tuple[str, ...], pids: list[int]
) -> None:
    machine()
    assert listed(*arguments) == pids


def test_shared_memory_comes_back_as_far_as_nobody_else_maps_it(machine: Machine) -> None:
    machine()
    freed = {one["pid"]: one["freed"] for one in json.loads(okoomer("sort", "--json").out)["processes"]}
    assert freed == {20: 10 * MIB, 30: 520 * MIB, 40: 301 * MIB, 50: 22 * MIB, 51: 2 * MIB}


@pytest.mark.parametrize("others", [(), (App(60, anon=5 * MIB),)])
def test_what_two_hold_alike_comes_back_from_neither(machine: Machine, others: tuple[App, ...]) -> None:
    machine((App(50, shmem=100 * MIB), App(51, shmem=100 * MIB), *others))
    freed = {one["pid"]: one["freed"] for one in json.loads(okoomer("sort", "--json").out)["processes"]}
    assert (freed[50], freed[51]) == (0, 0)


# --- who is listed --------------------------------------------------------------------------------------------------


def rewrite(proc: Path, pid: int, old: bytes, new: bytes) -> None:
    path = proc / str(pid) / "stat"
    path.write_bytes(path.read_bytes().replace(old, new))


def test_who_has_no_memory_to_give_is_left_out(machine: Machine) -> None:
    proc = machine((*APPS, App(60, b"kthreadd", flags=KTHREAD), App(61, b"defunct"), App(62, b"ending"), App(63)))
    rewrite(proc, 61, b") S ", b") Z ")
    rewrite(proc, 62, b") S ", b") X ")
    (proc / "63/status").unlink()
    write(proc / "64/stat", b"nonsense")
    answer = json.loads(okoomer("sort", "--json", "-s", "PID").out)
    assert [one["pid"] for one in answer["processes"]] == [20, 30, 40, 50, 51]
    assert (answer["seen"], answer["sort"]) == (5, "PID")


def test_a_process_whose_first_thread_has_ended_is_seen_by_another(machine: Machine) -> None:
    proc = machine((App(60, b"odd", anon=70 * MIB, threads=3),))
    rewrite(proc, 60, b") S ", b") Z ")
    whole = (proc / "60/status").read_bytes()
    write(proc / "60/status", b"".join(line for line in whole.splitlines(True) if b"kB" not in line))
    write(proc / "60/task/60/status", (proc / "60/status").read_bytes())
    write(proc / "60/task/61/status", whole)
    (only,) = json.loads(okoomer("sort", "--json").out)["processes"]
    assert (only["pid"], only["freed"], only["rss"]) == (60, 70 * MIB, 74 * MIB)


def test_who_vanishes_before_its_command_line_is_read_is_listed_without(machine: Machine) -> None:
    proc = machine()
    (proc / "30/cmdline").unlink()
    ended = okoomer("sort", "-n", "1")
    assert ended.out.splitlines()[1].split()[-2:] == ["520", "M"]


def test_no_proc_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort, "LIVE", recorded(str(tmp_path)))
    ended = okoomer("sort")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == f"okoomer: {tmp_path}/proc: No such file or directory\n"


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_columns_are_the_peers_in_their_order_and_freed(machine: Machine) -> None:
    machine()
    assert okoomer("sort").out.splitlines() == [
        "oom_score oom_score_adj  UID PID Name   VmRSS VmSwap freed cmdline",
        "      700             0    0  30 large  504 M   20 M 520 M /bin/large",
        "      680          -100 1000  40 asleep   5 M  300 M 301 M asleep",
        "      690             0 1000  50 mapped 492 M    0 M  22 M a mapped one",
        "      900           300 1000  20 small   14 M    0 M  10 M /bin/small -x",
        "      690             0 1000  51 mapped 386 M    0 M   2 M another",
    ]


def test_a_key_that_is_not_among_them_is_added_before_the_command_line(machine: Machine) -> None:
    machine()
    assert okoomer("sort", "-s", "age", "-n", "1").out.splitlines() == [
        "oom_score oom_score_adj UID PID Name  VmRSS VmSwap freed   age cmdline",
        "      700             0   0  30 large 504 M   20 M 520 M 950 s /bin/large",
    ]


@pytest.mark.parametrize(
    ("length", "end"), [("0", "520 M"), ("4", "/bin"), ("100", "/bin/large"), ("10", "/bin/large")]
)
def test_the_command_line_is_cut_or_hidden(machine: Machine, length: str, end: str) -> None:
    machine()
    header, row = okoomer("sort", "-n", "1", "-l", length).out.splitlines()
    assert row.endswith(end)
    assert header.endswith("freed" if length == "0" else "cmdline")
    (only,) = json.loads(okoomer("sort", "-n", "1", "-l", length, "--json").out)["processes"]
    assert only.get("cmdline", "520 M") == end


def test_without_processes_there_are_just_the_titles(machine: Machine) -> None:
    machine(())
    assert okoomer("sort").out == "oom_score oom_score_adj UID PID Name VmRSS VmSwap freed cmdline\n"


def test_hostile_names_forge_no_line_and_no_colour(machine: Machine) -> None:
    machine((App(60, b"a\n1 2\x1b[31m", anon=MIB, command=b"x\n9 9 9\0\x1b]0;t\x07\0\xff\\\0"),))
    ended = okoomer("sort")
    header, row = ended.out.splitlines()
    assert ended.out.isascii() and ended.out.replace("\n", "").isprintable()
    assert r"a\n1 2\x1b[31m" in row
    assert row.endswith(r"x\n9 9 9 \x1b]0;t\x07 \\xff\\")
    assert row.index("x\\n9") == header.index("cmdline")
    (only,) = json.loads(okoomer("sort", "--json").out)["processes"]
    assert only["name"] == "a\n1 2\x1b[31m"


def test_wide_letters_keep_the_columns_straight(machine: Machine) -> None:
    machine((App(60, "日本".encode(), anon=3 * MIB), App(61, b"plain", anon=2 * MIB)))
    _, wide, plain = okoomer("sort", "-l", "0").out.splitlines()
    assert wide.partition("日本")[2] == "  7 M    0 M   3 M".rjust(len(wide.partition("日本")[2]))
    assert len(wide) + 2 == len(plain)


@pytest.mark.parametrize(
    ("text", "room", "shown"),
    [
        ("plain", None, "plain"),
        ("plain", 3, "pla"),
        ("plain", 0, ""),
        ("a\nb", 4, r"a\nb"),
        ("a\nb", 3, r"a\n"),
        ("a\nb", 2, "a"),
        ("\x1b", 3, ""),
        ("日本語", 5, "日本"),
        ("日本語", None, "日本語"),
    ],
)
def test_no_escape_and_no_letter_is_cut_in_two(text: str, room: int | None, shown: str) -> None:
    assert sort.fitting(text, room) == shown


LONG = (App(60, anon=MIB, command=b"/bin/long\0" + b"x" * 6000 + b"\0--last\0"),)


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("arguments", "longest"), [((), WIDTH), (("-l", "500"), 500)])
def test_on_a_terminal_lines_end_at_its_edge_unless_a_length_is_given(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], longest: int
) -> None:
    machine(LONG)
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    out = Terminal()
    with redirect_stdout(out):
        sort.command.main(list(arguments), standalone_mode=False)
    header, row = out.getvalue().splitlines()
    assert len(row) == longest + (header.index("cmdline") if arguments else 0)


def test_in_a_pipe_the_longest_command_line_is_whole(machine: Machine) -> None:
    machine(LONG)
    assert okoomer("sort").out.endswith("x --last\n")
    assert okoomer("sort", "-l", "5000").out.endswith("x\n")


# --- the price ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "files"), [(("-l", "0"), 4), ((), 5), (("-s", "cmdline"), 5)])
def test_few_files_are_read_of_each(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], files: int
) -> None:
    proc, opened, open_file = machine(), list[str](), os.open

    def count(path: str, *rest: int) -> int:
        opened.append(path)
        return open_file(path, *rest)

    monkeypatch.setattr(posix, "open", count)
    okoomer("sort", *arguments)
    for app in APPS:
        assert sum(path.startswith(f"{proc}/{app.pid}/") for path in opened) == files


def test_only_the_command_lines_that_are_shown_are_read(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine()
    read: list[int] = []
    with_command = sort.with_command
    monkeypatch.setattr(sort, "with_command", lambda proc, row: (read.append(row.pid), with_command(proc, row))[1])
    okoomer("sort", "-n", "2")
    assert read == [30, 40]


# --- this machine, and slips of the pen -----------------------------------------------------------------------------


def test_on_this_machine_we_are_listed_and_init_is_not() -> None:
    answer = json.loads(okoomer("sort", "--json").out)
    mine = next(one for one in answer["processes"] if one["pid"] == os.getpid())
    assert mine["rss"] > mine["freed"] > MIB and mine["uid"] == os.geteuid()
    assert "pytest" in mine["cmdline"]
    assert 1 not in {one["pid"] for one in answer["processes"]}
    assert all(re.match(r" *\d+ +-?\d+ +\d+ +\d+ ", row) for row in okoomer("sort").out.splitlines()[1:])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("-s", "size"), "'size' is not one of"),
        (("-n", "-1"), "-1"),
        (("-n", "many"), "many"),
        (("-l", "1.5"), "1.5"),
        (("stray",), "stray"),
    ],
)
def test_a_slip_of_the_pen_is_bad_input_told_in_one_line(arguments: tuple[str, ...], named: str) -> None:
    ended = okoomer("sort", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("okoomer: ") and named in ended.err
