"""`okoomer pressure`: the table of cgroups, and the log of stalls, on pretended clocks and files."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from okoomer.cli import pressure
from okoomer.cli.errors import CannotHere
from okoomer.cli.pressure import SYSTEM_WIDE, Gone
from okoomer.facts import Pressure, Stall
from okoomer.kernel import cgroup
from okoomer.kernel.machine import recorded
from tests.unit.console import okoomer
from tests.unit.machines import stalls, write

Hierarchy = Callable[..., Path]


def averages(some: tuple[float, float, float], full: tuple[float, float, float] | None) -> bytes:
    """A pressure file with these averages, in percent."""
    lines = {"some": some, "full": full}
    return "".join(
        f"{name} avg10={values[0]:.2f} avg60={values[1]:.2f} avg300={values[2]:.2f} total=1500000\n"
        for name, values in lines.items()
        if values
    ).encode()


@pytest.fixture
def hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hierarchy:
    """Makes a machine with such cgroups the one that the command sees; each has a file for memory, unless it is
    None."""

    def make(
        paths: Mapping[str, bytes | None],
        system: bytes | None = averages((4, 5, 6), (1, 2, 3)),
        mounts: str = "tmpfs / tmpfs rw 0 0\ncgroup2 {} cgroup2 rw,nsdelegate 0 0\n",
        resource: str = "memory",
        name: str = "cgroup",
    ) -> Path:
        mount = tmp_path / name
        mount.mkdir(exist_ok=True)
        write(tmp_path / "proc/self/mounts", mounts.format(str(mount).replace(" ", "\\040")).encode())
        if system is not None:
            write(tmp_path / "proc/pressure" / resource, system)
        for path, text in paths.items():
            (mount / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
            if text is not None:
                write(mount / path.lstrip("/") / f"{resource}.pressure", text)
        monkeypatch.setattr(pressure, "LIVE", recorded(str(tmp_path)))
        return mount

    return make


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_most_stalled_come_first_below_the_machine(hierarchy: Hierarchy) -> None:
    mount = hierarchy(
        {
            "/": averages((9, 9, 9), (9, 9, 9)),
            "/calm.slice": averages((0, 0, 0), (0, 0, 0)),
            "/busy.slice": averages((60, 0, 0), (2, 0, 0)),
            "/busy.slice/stuck.scope": averages((50, 1, 0.5), (40, 30, 20.25)),
        }
    )
    ended = okoomer("pressure")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"memory pressure in percent of time; cgroups of {mount}",
        "some  avg10  avg60 avg300 | full  avg10  avg60 avg300 | path",
        "       4.00   5.00   6.00 |        1.00   2.00   3.00 | SYSTEM_WIDE",
        "      50.00   1.00   0.50 |       40.00  30.00  20.25 | /busy.slice/stuck.scope",
        "      60.00   0.00   0.00 |        2.00   0.00   0.00 | /busy.slice",
        "       0.00   0.00   0.00 |        0.00   0.00   0.00 | /calm.slice",
    ]


@pytest.mark.parametrize(
    ("resource", "paths"),
    [
        ("memory", ["/b", "/a", "/c", "/d"]),
        ("io", ["/b", "/a", "/c", "/d"]),
        ("cpu", ["/a", "/b", "/c", "/d"]),
    ],
)
def test_of_cpu_some_decides_of_the_others_full_then_the_longer_spans_then_the_name(
    hierarchy: Hierarchy, resource: str, paths: list[str]
) -> None:
    texts = {
        "/d": averages((0, 0, 0), (0, 0, 0)),
        "/c": averages((0, 0, 0), (0, 0, 0)),
        "/a": averages((50, 0, 0), (0, 1, 0)),
        "/b": averages((40, 0, 0), (30, 0, 0)),
    }
    hierarchy(texts, resource=resource)
    answer = json.loads(okoomer("pressure", "-m", resource, "--json").out)
    assert answer["resource"] == resource
    assert [one["path"] for one in answer["cgroups"]] == paths


def test_json_has_percentages_and_stalled_seconds(hierarchy: Hierarchy) -> None:
    mount = hierarchy({"/a": averages((40, 0.5, 0), None)})
    answer = json.loads(okoomer("pressure", "--json").out)
    some = {"avg10": 40.0, "avg60": 0.5, "avg300": 0.0, "total": 1.5}
    assert answer["mount"] == str(mount)
    assert answer["cgroups"] == [{"path": "/a", "some": some, "full": None}]
    assert answer["system"]["full"] == {"avg10": 1.0, "avg60": 2.0, "avg300": 3.0, "total": 1.5}


def test_what_is_absent_is_a_dash(hierarchy: Hierarchy) -> None:
    hierarchy({}, averages((1, 2, 3), None), resource="cpu")
    assert okoomer("pressure", "-m", "cpu").out.splitlines()[-1] == (
        "       1.00   2.00   3.00 |           -      -      - | SYSTEM_WIDE"
    )


def test_a_cgroup_that_tells_nothing_is_left_out_and_those_below_it_are_not(hierarchy: Hierarchy) -> None:
    hierarchy({"/a": None, "/a/b": averages((1, 1, 1), None), "/c": b"", "/d": b"some nonsense\n"})
    answer = json.loads(okoomer("pressure", "--json").out)
    assert [one["path"] for one in answer["cgroups"]] == ["/a/b"]


def test_in_a_container_the_root_is_a_cgroup_like_any_other(hierarchy: Hierarchy) -> None:
    mount = hierarchy({"/": averages((7, 0, 0), None)})
    write(mount / "cgroup.events", b"populated 1\n")
    assert [one["path"] for one in json.loads(okoomer("pressure", "--json").out)["cgroups"]] == ["/"]


def test_the_hierarchy_is_found_wherever_it_is_mounted(hierarchy: Hierarchy) -> None:
    hybrid = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\ncgroup2 {} cgroup2 ro,relatime 0 0\n"
    mount = hierarchy({"/a": averages((7, 0, 0), None)}, mounts=hybrid, name="uni fied")
    answer = json.loads(okoomer("pressure", "--json").out)
    assert (answer["mount"], len(answer["cgroups"])) == (str(mount), 1)


def test_hostile_names_forge_no_line(hierarchy: Hierarchy) -> None:
    hierarchy({"/a\n0 \x1b[31m": averages((7, 0, 0), None), "/" + os.fsdecode(b"\xff"): averages((6, 0, 0), None)})
    ended = okoomer("pressure")
    assert ended.out.isascii() and ended.out.replace("\n", "").isprintable()
    assert [row.rpartition("| ")[2] for row in ended.out.splitlines()[3:]] == [r"/a\n0 \x1b[31m", r"/\udcff"]


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--log", "-t", "/a")])
def test_cgroups_of_version_1_are_told_in_one_line(hierarchy: Hierarchy, arguments: tuple[str, ...]) -> None:
    hierarchy({}, mounts="cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n")
    ended = okoomer("pressure", *arguments)
    assert (ended.code, ended.out) == (3, "")
    assert (
        ended.err == "okoomer: no unified cgroup hierarchy is mounted, and cgroups of version 1 tell of no pressure\n"
    )


@pytest.mark.parametrize("arguments", [(), ("-m", "io"), ("--log",), ("--log", "--json")])
def test_a_kernel_without_pressure_is_told_in_one_line(hierarchy: Hierarchy, arguments: tuple[str, ...]) -> None:
    hierarchy({}, system=None)
    ended = okoomer("pressure", *arguments)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == "okoomer: the kernel gives no pressure information (see okoomer doctor)\n"


def test_a_pressure_file_that_makes_no_sense_is_named(hierarchy: Hierarchy) -> None:
    hierarchy({}, system=b"what")
    for arguments in ((), ("--log",)):
        ended = okoomer("pressure", *arguments)
        assert (ended.code, ended.err.count("\n")) == (3, 1)
        assert "proc/pressure/memory: its text makes no sense" in ended.err


def test_cgroups_are_walked_parents_first_and_links_are_not_followed(tmp_path: Path) -> None:
    for path in ("b/z", "b/a/deep", "a"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "a/loop").symlink_to(tmp_path)
    write(tmp_path / "a/file", b"")
    assert list(cgroup.below(str(tmp_path))) == ["/a", "/b", "/b/a", "/b/a/deep", "/b/z"]
    assert list(cgroup.below(str(tmp_path / "absent"))) == []


# --- what it reads --------------------------------------------------------------------------------------------------


def totals(hierarchy: Hierarchy, path: str, memory: bytes, io: bytes, cpu: bytes) -> Path:
    mount = hierarchy({path: memory})
    write(mount / path.strip("/") / "io.pressure", io)
    write(mount / path.strip("/") / "cpu.pressure", cpu)
    return mount


@pytest.mark.parametrize("target", ["/a.slice/b", "a.slice/b", "/a.slice/b/", "{}/a.slice/b"])
def test_the_totals_of_a_cgroup_are_read_however_its_path_is_written(hierarchy: Hierarchy, target: str) -> None:
    mount = totals(hierarchy, "/a.slice/b", stalls(4, 5), stalls(2, 3), stalls(1))
    reading = pressure.reader(target.format(mount))()
    assert reading.totals == (1, 2, 3, 4, 5)
    assert list(reading.times) == sorted(reading.times) or len(set(reading.times)) == 3


def test_the_totals_of_the_machine_are_read(hierarchy: Hierarchy) -> None:
    hierarchy({}, system=stalls(4, 5))
    assert pressure.reader(SYSTEM_WIDE)().totals == (None, None, None, 4, 5)


@pytest.mark.parametrize("target", ["/absent", "", "/a\x1b"])
def test_a_cgroup_that_does_not_exist_is_bad_input(hierarchy: Hierarchy, target: str) -> None:
    hierarchy({"/a": None})
    ended = okoomer("pressure", "--log", "-t", target)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "no such cgroup in " in ended.err and "/user.slice" in ended.err
    assert ended.err.replace("\n", "").isprintable()


def test_a_cgroup_that_keeps_no_account_cannot_be_watched(hierarchy: Hierarchy) -> None:
    hierarchy({"/a": None})
    ended = okoomer("pressure", "--log", "-t", "/a")
    assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
    assert "/a tells of no pressure" in ended.err


def test_a_cgroup_that_vanishes_is_said_once_and_ends_with_1(
    hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals(hierarchy, "/a", stalls(1, 1), stalls(1, 1), stalls(1))
    reads = 0

    class Vanishing:
        trouble = ""

        def __init__(self, *_: object) -> None:
            pass

        def read(self) -> Pressure | None:
            nonlocal reads
            reads += 1
            stall = Stall(0.0, 0.0, 0.0, 1.0)
            return Pressure(stall, stall) if reads <= 9 else None

    monkeypatch.setattr(pressure, "Source", Vanishing)
    ended = okoomer("pressure", "--log", "-t", "/a", "-i", "0.1")
    assert (ended.code, ended.err) == (1, "okoomer: /a is gone, or tells of no pressure any more\n")
    assert [row.split()[0] for row in ended.out.splitlines()[-3:]] == ["peak", "average", "stalled"]


def test_a_cgroup_that_vanishes_while_it_is_read_is_gone_though_a_new_one_has_its_name(
    hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals(hierarchy, "/a", stalls(1, 1), stalls(1, 1), stalls(1))
    gone: set[str] = set()

    class Source:
        trouble = ""

        def __init__(self, path: str, _parse: object) -> None:
            self.path = path

        def read(self) -> Pressure | None:
            stall = Stall(0.0, 0.0, 0.0, 1.0)
            return None if Path(self.path).name in gone else Pressure(stall, stall)

    monkeypatch.setattr(pressure, "Source", Source)
    read = pressure.reader("/a")
    gone.add("io.pressure")
    with pytest.raises(Gone, match="/a is gone"):
        read()


def test_trouble_in_the_middle_is_no_calm(hierarchy: Hierarchy) -> None:
    mount = totals(hierarchy, "/a", stalls(1, 1), stalls(1, 1), stalls(1))
    read = pressure.reader("/a")
    (mount / "a/memory.pressure").write_bytes(b"what")
    with pytest.raises(CannotHere, match="makes no sense"):
        read()


# --- as it is called ------------------------------------------------------------------------------------------------


def test_a_log_through_the_command_line(hierarchy: Hierarchy) -> None:
    totals(hierarchy, "/a", stalls(1, 1), stalls(1, 1), stalls(1))
    ended = okoomer("pressure", "--log", "-t", "/a", "-i", "0.1", "--count", "2")
    assert (ended.code, ended.err) == (0, "")
    first, *rest = ended.out.splitlines()
    assert first == "pressure of /a in percent of the time since the line before"
    assert len(rest) == 1 + 2 + 3
    assert all(float(row.split()[1]) >= 0 for row in rest[1:3])
    objects = okoomer("pressure", "--log", "-t", "/a", "-i", "0.1", "--count", "2", "--json").out.splitlines()
    assert ["at" in json.loads(text) for text in objects] == [True, True, False]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_peaks_and_totals(hierarchy: Hierarchy, number: signal.Signals) -> None:
    totals(hierarchy, "/a", stalls(1, 1), stalls(1, 1), stalls(1))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        # To this thread, where it stays pending until the command waits.
        signal.pthread_kill(threading.get_ident(), number)
        ended = okoomer("pressure", "--log", "-t", "/a", "-i", "60")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert (ended.code, ended.err) == (0, "")
    assert [row.split()[0] for row in ended.out.splitlines()] == ["pressure", "time", "peak", "average", "stalled"]


def test_a_second_signal_meanwhile_does_no_harm() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pressure.told_to_stop() as wait:
        assert not wait(0.0)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        assert wait(60.0)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("-m", "2"), "'2' is not one of 'memory', 'io', 'cpu'"),
        (("--log", "-m", "io"), "-m is for the table"),
        (("-i", "1"), "-i is for --log or --live"),
        (("-t", "/a"), "-t is for --log"),
        (("--count", "1"), "--count is for --log or --live"),
        (("--log", "--live"), "--live is for the table"),
        (("--log", "--once"), "--once is for the table"),
        (("--live", "--json"), "--live is for people"),
        (("--live", "-t", "/a"), "-t is for --log"),
        (("--log", "-i", "0"), "0 is not in the range"),
        (("--log", "-i", "0.05"), "0.05 is not in the range"),
        (("--log", "-i", "nan"), "nan is not in the range"),
        (("--log", "-i", "inf"), "inf is not in the range"),
        (("--log", "-i", "two"), "'two'"),
        (("--log", "--count", "0"), "0"),
        (("stray",), "stray"),
    ],
)
def test_a_slip_of_the_pen_is_bad_input_told_in_one_line(arguments: tuple[str, ...], named: str) -> None:
    ended = okoomer("pressure", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("okoomer: ") and named in ended.err


@pytest.mark.skipif(not Path("/proc/pressure/memory").exists(), reason="this kernel gives no pressure")
def test_on_this_machine() -> None:
    ended = okoomer("pressure", "--log", "-i", "0.1", "--count", "1", "--json")
    assert ended.code == 0
    assert 0 <= json.loads(ended.out.splitlines()[0])["cpu"]["some"] <= 100
    assert okoomer("pressure").code in (0, 3)
