"""`okoomer why --machine` on recorded trees, by configurations of oomd's: who, when and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from okoomer.policy.engine import FIRED, HOLDING, QUIET
from tests.unit.console import okoomer
from tests.unit.machines import GIB, MIB, App
from tests.unit.test_oomd_policy import call, pressure, source_of
from tests.unit.trees import Group, Slice, tree

#: Fires whenever some swap is in use, as it is on every machine here that says so.
USED = call("swap_free", threshold_pct="100")
SWAP = (4 * GIB, 3 * GIB)
SIZE = call("kill_by_memory_size_or_growth", cgroup="w/*")


def policy(folder: Path, detectors: list[Any], action: dict[str, Any], **keys: object) -> Path:
    """The policy that oomd's configuration becomes."""
    config, out = folder / "oomd.json", folder / "policy.toml"
    config.write_text(source_of(detectors, [action], **keys))
    ended = okoomer("import", "oomd", config, "-o", out)
    assert (ended.code, ended.err) == (0, "")
    return out


def decided(policy: Path, *machines: Path) -> list[dict[str, Any]]:
    ended = okoomer("why", "--machine", *machines, "--policy", policy, "--json")
    assert (ended.code, ended.err) == (0, "")
    found: list[dict[str, Any]] = json.loads(ended.out)
    return found


def states(found: list[dict[str, Any]], rule: int = 0) -> list[str]:
    return [one["rules"][rule]["state"] for one in found]


def ranked(found: list[dict[str, Any]]) -> list[str]:
    """The last component of each cgroup in the last ranking, best first; nothing if no rule acts."""
    act = found[-1]["act"]
    return [one["cgroup"].rpartition("/")[2] for one in act["ranking"]] if act and act["unit"] else []


def groups(**sizes: int) -> dict[str, Group]:
    return {f"/w/{name}": Group(size) for name, size in sizes.items()}


# --- when -----------------------------------------------------------------------------------------------------------


def test_pressure_has_to_last_and_memory_to_be_reclaimed(tmp_path: Path) -> None:
    # 65 % > 60 % from 102 on, for 10 s at 112; pgscan grows from 108 to 112, so within the last 5 s.
    out = policy(tmp_path, [pressure("w", duration=10), call("memory_reclaim", cgroup="w", duration="5")], SIZE)
    found = decided(
        out,
        *(
            tree(
                tmp_path / f"{clock}",
                clock,
                {"/w/a": Group(300, scan=scan), "/w/b": Group(200)},
                {"/w": Slice((avg10, 0.0, 0.0))},
            )
            for clock, avg10, scan in (
                (100.0, 60.0, 10),
                (102.0, 65.0, 10),
                (108.0, 65.0, 10),
                (112.0, 65.0, 11),
                (113.0, 59.0, 12),
            )
        ),
    )
    assert states(found) == [QUIET, HOLDING, HOLDING, FIRED, QUIET]
    assert [one["act"] is None for one in found] == [True, True, True, False, True]
    act = found[3]["act"]
    assert (act["rule"], act["reason"], act["steps"]) == ("r", "stall", ["kill"])
    # 300 of 500 MiB are more than half.
    assert act["unit"] == {"kind": "cgroup", "cgroup": "/w/a", "pids": [101]}
    assert [(one["kind"], one["cgroup"], one["pids"], one["score"]) for one in act["ranking"]] == [
        ("cgroup", "/w/a", [101], 300.0 * MIB),
        ("cgroup", "/w/b", [102], 200.0 * MIB),
    ]
    assert "60% of what all use" in act["ranking"][0]["why"]
    assert found[3]["rules"][0]["values"]["cgroup.psi.memory.full.avg10"] == pytest.approx(0.65)


def test_each_cgroup_has_a_time_of_its_own(tmp_path: Path) -> None:
    # a above until 104, b from 104: neither for 5 s before 109. oomd would have passed on the time of a.
    out = policy(tmp_path, [pressure("w/*", duration=5)], SIZE)
    found = decided(
        out,
        *(
            tree(
                tmp_path / f"{clock}",
                clock,
                {"/w/a": Group(9, stalled=(a, 0.0, 0.0)), "/w/b": Group(9, stalled=(b, 0.0, 0.0))},
            )
            for clock, a, b in ((100.0, 70.0, 0.0), (104.0, 0.0, 70.0), (106.0, 0.0, 70.0), (109.0, 0.0, 70.0))
        ),
    )
    assert states(found) == [HOLDING, HOLDING, HOLDING, FIRED]


@pytest.mark.parametrize(
    ("detector", "so"),
    [
        (call("memory_above", cgroup="w/*", threshold="250M", duration="0"), True),
        (call("memory_above", cgroup="w/*", threshold="300M", duration="0"), False),
        (call("memory_above", cgroup="w/*", threshold="300", duration="0"), False),
        (call("memory_above", cgroup="w", threshold="300", duration="0"), True),
        # 3 % of 8 GiB are 245.76 MiB.
        (call("memory_above", cgroup="w/*", threshold="3%", duration="0"), True),
        (call("memory_above", cgroup="w/*", threshold="4%", duration="0"), False),
        (call("memory_above", cgroup="w/*", threshold_anon="100M", duration="0"), False),
        (call("memory_above", cgroup="w/*", threshold_anon="99M", duration="0"), True),
        (call("memory_above", cgroup="w/*", threshold="250M", duration="1"), False),
        (USED, True),
        (call("swap_free", threshold_pct="75"), False),
        (call("swap_free", threshold_pct="76"), True),
        (call("exists", cgroup="w/a"), True),
        (call("exists", cgroup="w/[b-z]"), True),
        (call("exists", cgroup="w/{c,d},x"), False),
        (call("exists", cgroup="w/c", negate=True), True),
        (call("exists", cgroup="w/*", negate=True), False),
        (call("nr_dying_descendants", cgroup="w/*", count="6"), False),
        (call("nr_dying_descendants", cgroup="w/*", count="7"), True),
        (call("nr_dying_descendants", cgroup="w/*", count="7", lte=False), True),
        (call("nr_dying_descendants", cgroup="w/*", count="8", lte=False), False),
        (call("pressure_above", cgroup="w/*", resource="io", threshold="19", duration="0"), True),
        (call("pressure_above", cgroup="w/*", resource="io", threshold="20", duration="0"), False),
        (call("pressure_above", cgroup="w/*", resource="memory", threshold="0", duration="0"), False),
        (call("pressure_above", cgroup="w/no", resource="memory", threshold="0", duration="0"), False),
    ],
)
def test_a_detector_fires_where_oomds_does(tmp_path: Path, detector: dict[str, Any], so: bool) -> None:
    # a has 300 MiB, 100 of them anonymous, b 50; 3 of 4 GiB of swap are free.
    made = {
        "/w/a": Group(300, anon=100, dying=7, io_stalled=(20.0, 0.0, 0.0)),
        "/w/b": Group(50, dying=8),
    }
    found = decided(policy(tmp_path, [detector], SIZE), tree(tmp_path / "m", 100.0, made, swap=SWAP))
    assert (states(found)[0] == FIRED, found[0]["act"] is not None) == (so, so)


def test_without_any_swap_swap_is_not_short(tmp_path: Path) -> None:
    out = policy(tmp_path, [USED], SIZE)
    assert states(decided(out, tree(tmp_path / "m", 100.0, groups(a=300), swap=(0, 0)))) == [QUIET]


# --- who ------------------------------------------------------------------------------------------------------------

#: Of 4 GiB of swap and 8 of memory: what is protected counts half in swap.
PROTECTED = {"/w": Slice(low=500)}
KILLS = {
    # 600 of 900 is more than half: a for its size, then the larger one.
    "size": (SIZE, groups(a=600, c=200, b=100), None, ["a", "c", "b"]),
    # None has half of 900, none grows: the larger first.
    "plain size": (SIZE, groups(a=400, c=300, b=200), None, ["a", "c", "b"]),
    # 500 of a are protected, so 100 count; but it has more than half of all, and that comes first.
    "protected size": (
        SIZE, {**groups(c=200, b=101), "/w/a": Group(600, low=500)}, PROTECTED, ["a", "c", "b"],
    ),
    # a: 400 - 300 = 100; none has half of 900.
    "protected, and not half": (
        SIZE, {**groups(c=300, b=200), "/w/a": Group(400, low=300)}, PROTECTED, ["c", "b", "a"],
    ),
    # What is above it keeps 200 only, so a keeps 200 of its 300: 400 - 200 = 200 is less than 201.
    "protection that is shared out": (
        SIZE, {**groups(c=300, b=201), "/w/a": Group(400, low=300)}, {"/w": Slice(low=200)}, ["c", "b", "a"],
    ),
    # Half of all is wanted: 400 of 900 is at least 40 %, and so is no other.
    "size by another share": (
        call("kill_by_memory_size_or_growth", cgroup="w/*", size_threshold="40"),
        {**groups(c=300, b=200), "/w/a": Group(400, low=300)}, PROTECTED, ["a", "c", "b"],
    ),
    # More than 50 MiB only; 300 > 100.
    "swap": (
        call("kill_by_swap_usage", cgroup="w/*", threshold="50"),
        {"/w/a": Group(900, swap=50), "/w/b": Group(9, swap=300), "/w/c": Group(9, swap=100)}, None, ["b", "c"],
    ),
    # 2 % of 4 GiB are 81.92 MiB.
    "a share of swap": (
        call("kill_by_swap_usage", cgroup="w/*", threshold="2%"),
        {"/w/a": Group(900, swap=81), "/w/b": Group(9, swap=82)}, None, ["b"],
    ),
    # b: 300 - 500 * 4 / 8 = 50, less than 100.
    "biased swap": (
        call("kill_by_swap_usage", cgroup="w/*", biased_swap_kill=True),
        {"/w/a": Group(9), "/w/b": Group(600, swap=300, low=500), "/w/c": Group(9, swap=100)}, PROTECTED, ["c", "b"],
    ),
    # int(10/2 + 60/2) = 35, int(40/2 + 20/2) = 30, int(33.5/2 + 26.4/2) = int(29.95) = 29.
    "pressure": (
        call("kill_by_pressure", cgroup="w/*", resource="memory"),
        {
            "/w/a": Group(900, stalled=(40.0, 20.0, 0.0)),
            "/w/b": Group(9, stalled=(10.0, 60.0, 0.0)),
            "/w/c": Group(9, stalled=(33.5, 26.4, 99.0)),
        },
        None, ["b", "a", "c"],
    ),
    # int(99/2 + 0) = 49 = int(98/2 + 0): the same, so the larger first.
    "io pressure, to whole percents": (
        call("kill_by_pressure", cgroup="w/*", resource="io"),
        {"/w/a": Group(9, io_stalled=(99.0, 0.0, 0.0)), "/w/b": Group(10, io_stalled=(98.0, 0.0, 0.0))},
        None, ["b", "a"],
    ),
    # Without a process, or with nothing that is its own, it is none.
    "nobody there": (SIZE, {**groups(c=300, b=200), "/w/a": Group(900, empty=True)}, None, ["c", "b"]),
    "nothing of its own": (SIZE, {**groups(c=300, b=200), "/w/a": Group(900, anon=0)}, None, ["c", "b"]),
}  # fmt: skip


@pytest.mark.parametrize("case", KILLS)
def test_a_kill_plugin_ranks_as_oomds_does(tmp_path: Path, case: str) -> None:
    action, made, slices, order = KILLS[case]
    found = decided(policy(tmp_path, [USED], action), tree(tmp_path / "m", 100.0, made, slices, swap=SWAP))
    assert ranked(found) == order
    assert found[0]["act"]["unit"]["cgroup"] == f"/w/{order[0]}"


#: For who is ranked by what happens from one look to the next, a second later.
LATER: dict[str, tuple[dict[str, Any], Mapping[str, Group], Mapping[str, Group], list[str]]] = {
    # b doubles: 300 / (3/4 * 150 + 1/4 * 300) = 1.6. Of three, ceil(3 * 40 %) = 2 are among the largest: b is.
    "growth among the largest": (
        call("kill_by_memory_size_or_growth", cgroup="w/*", growing_size_percentile="60"),
        groups(a=400, b=150, c=200), groups(a=400, b=300, c=200), ["b", "a", "c"],
    ),
    # ceil(3 * 20 %) = 1: only a is.
    "growth of who is not": (SIZE, groups(a=400, b=150, c=200), groups(a=400, b=300, c=200), ["a", "b", "c"]),
    # 300 / (3/4 * 250 + 1/4 * 300) = 1.14 < 1.25.
    "growth that is too little": (
        call("kill_by_memory_size_or_growth", cgroup="w/*", growing_size_percentile="60"),
        groups(a=400, b=250, c=200), groups(a=400, b=300, c=200), ["a", "b", "c"],
    ),
    "a smaller growth is enough": (
        call("kill_by_memory_size_or_growth", cgroup="w/*", growing_size_percentile="60", min_growth_ratio="1.1"),
        groups(a=400, b=250, c=200), groups(a=400, b=300, c=200), ["b", "a", "c"],
    ),
    # +5000 and +1000 pages; what a had before does not count, and c was not scanned.
    "pgscan": (
        call("kill_by_pg_scan", cgroup="w/*"),
        {"/w/a": Group(9, scan=90000), "/w/b": Group(9), "/w/c": Group(900, scan=7)},
        {"/w/a": Group(9, scan=91000), "/w/b": Group(9, scan=5000), "/w/c": Group(900, scan=7)},
        ["b", "a"],
    ),
    # SSD: b 1e7 bytes written 2.61, a 100 reads 1.21, c none.
    "io cost": (
        call("kill_by_io_cost", cgroup="w/*"),
        {f"/w/{name}": Group(9, io="8:0 rbytes=0 wbytes=0 rios=5 wios=0 dbytes=0 dios=0\n") for name in "abc"},
        {
            "/w/a": Group(9, io="8:0 rbytes=0 wbytes=0 rios=105 wios=0 dbytes=0 dios=0\n"),
            "/w/b": Group(9, io="8:0 rbytes=0 wbytes=10000000 rios=5 wios=0 dbytes=0 dios=0\n"),
            "/w/c": Group(9, io="8:0 rbytes=0 wbytes=0 rios=5 wios=0 dbytes=0 dios=0\n"),
        },
        ["b", "a", "c"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LATER)
def test_what_has_come_since_the_last_instant_decides(tmp_path: Path, case: str) -> None:
    action, before, after, order = LATER[case]
    out = policy(tmp_path, [call("swap_free", threshold_pct="90")], action)
    machines = [tree(tmp_path / "1", 100.0, before), tree(tmp_path / "2", 101.0, after, swap=SWAP)]
    found = decided(out, *machines)
    assert states(found) == [QUIET, FIRED]
    assert ranked(found) == order
    assert [score for score in _scores(found) if score < 0] == []


def _scores(found: list[dict[str, Any]]) -> list[float]:
    return [one["score"] for one in found[-1]["act"]["ranking"]]


def test_nothing_can_be_said_of_scans_at_the_first_look(tmp_path: Path) -> None:
    out = policy(tmp_path, [USED], call("kill_by_pg_scan", cgroup="w/*"))
    act = decided(out, tree(tmp_path / "m", 100.0, {"/w/a": Group(9, scan=5)}, swap=SWAP))[0]["act"]
    assert act["unit"] is None and "1 seen for the first time" in act["refusal"]


# --- how deep -------------------------------------------------------------------------------------------------------

DEEP = {"/w/x/x1": Group(300), "/w/x/x2": Group(200), "/w/y/y1": Group(450), "/w/y/y2": Group(40)}


@pytest.mark.parametrize(
    ("recursive", "slices", "order", "pids"),
    [
        (False, {}, ["x", "y"], [101, 102]),
        # Of 990 x has 500, more than half; of its children x1.
        (True, {}, ["x1", "x2", "y1", "y2"], [101]),
        (True, {"/w/x": Slice(whole=True)}, ["x", "y1", "y2"], [101, 102]),
    ],
)
def test_a_search_goes_down_as_oomds_does(
    tmp_path: Path, recursive: bool, slices: dict[str, Slice], order: list[str], pids: list[int]
) -> None:
    action = call("kill_by_memory_size_or_growth", cgroup="w/*", recursive=recursive)
    found = decided(policy(tmp_path, [USED], action), tree(tmp_path / "m", 100.0, DEEP, slices, swap=SWAP))
    assert ranked(found) == order
    assert found[0]["act"]["unit"] == {
        "kind": "cgroup",
        "cgroup": f"/w/x{'/x1' if pids == [101] else ''}",
        "pids": pids,
    }


@pytest.mark.parametrize(
    ("marks", "owners", "order"),
    [
        ({"/w/b": {"user.oomd_prefer": ""}}, {}, ["b", "a", "c"]),
        ({"/w/b": {"trusted.oomd_prefer": "1"}}, {"/w/b": 1000}, ["b", "a", "c"]),
        ({"/w/a": {"user.oomd_avoid": ""}}, {}, ["c", "b", "a"]),
        ({"/w/a": {"trusted.oomd_avoid": ""}}, {"/w/a": 1000}, ["c", "b", "a"]),
        # Here not everybody can put himself last.
        ({"/w/a": {"user.oomd_avoid": ""}}, {"/w/a": 1000}, ["a", "c", "b"]),
        ({"/w/a": {"user.oomd_avoid": "", "user.oomd_prefer": ""}}, {}, ["a", "c", "b"]),
        ({"/w": {"user.oomd_avoid": ""}}, {}, ["a", "c", "b"]),
        ({"/w/a": {"user.oomd_avoider": ""}}, {}, ["a", "c", "b"]),
    ],
)
def test_marks_go_before_size(
    tmp_path: Path, marks: dict[str, dict[str, str]], owners: dict[str, int], order: list[str]
) -> None:
    machine = tree(tmp_path / "m", 100.0, groups(a=600, c=200, b=100), swap=SWAP, marks=marks, owners=owners)
    found = decided(policy(tmp_path, [USED], SIZE), machine)
    assert ranked(found) == order
    assert found[0]["act"]["unit"]["kind"] == "cgroup"


def test_who_is_avoided_goes_last_but_goes_whole(tmp_path: Path) -> None:
    pair = (App(201, b"one", anon=90 * MIB), App(202, b"two", anon=60 * MIB))
    machine = tree(
        tmp_path / "m", 100.0, {"/w/a": Group(150, apps=pair)}, swap=SWAP, marks={"/w/a": {"trusted.oomd_avoid": ""}}
    )
    act = decided(policy(tmp_path, [USED], SIZE), machine)[0]["act"]
    assert act["unit"] == {"kind": "cgroup", "cgroup": "/w/a", "pids": [201, 202]}


def test_a_ruleset_for_each_cgroup_takes_within_the_one_that_suffers(tmp_path: Path) -> None:
    action = call("kill_by_memory_size_or_growth", ruleset_cgroup="*")
    suffers = call("pressure_above", ruleset_cgroup="/", resource="memory", threshold="50", duration="0")
    out = policy(tmp_path, [suffers], action, cgroup="w/*")
    found = decided(out, tree(tmp_path / "m", 100.0, DEEP, {"/w/y": Slice((70.0, 0.0, 0.0))}))
    assert ranked(found) == ["y1", "y2"]
    assert found[0]["rules"][0]["target"] == "/w/y"


def test_a_session_is_not_ended_whole_but_what_is_too_big_in_it(tmp_path: Path) -> None:
    jobs = (
        App(200, b"sshd", anon=9 * MIB, started=5.0),
        App(201, b"bash", 200, anon=9 * MIB, session=201, terminal=34817, started=6.0),
        App(202, b"hog", 201, anon=700 * MIB, session=201, terminal=34817, started=7.0),
        App(203, b"editor", 201, anon=80 * MIB, session=201, terminal=34817, started=7.0),
    )
    made = {"/w/session-1.scope": Group(800, apps=jobs), **groups(a=100)}
    machine = tree(tmp_path / "m", 100.0, made, swap=SWAP, available=100 * MIB)
    act = decided(policy(tmp_path, [USED], SIZE), machine)[0]["act"]
    assert act["unit"] == {"kind": "process", "cgroup": "/w/session-1.scope", "pids": [202]}
    assert "is many things" in act["ranking"][0]["why"]
    assert act["ranking"][1]["kind"] == "cgroup" and act["ranking"][1]["pids"] == [200, 201, 202, 203]
