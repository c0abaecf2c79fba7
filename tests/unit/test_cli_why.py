"""`okoomer why`: decisions on recorded machines, and acts of the past."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from okoomer.events import model
from okoomer.events.ring import LONGEST, Ring
from okoomer.events.text import line
from okoomer.record import replace
from tests.unit.console import okoomer
from tests.unit.machines import GIB, MIB, App, areas, build, stalls

LOW = """
[[rule]]
name = "low"
when = "mem.available < 10% for 2s"
steps = ["term 5s", "kill"]
"""
STALLED = """
[[rule]]
name = "stalled"
when = "psi.memory.full > 20% over 2s and mem.available < 30%"
steps = ["kill"]
[[rule]]
name = "early"
when = "mem.available < 50%"
steps = ["warn"]
rest = "1min"
"""
HOG = App(42, b"hog", anon=3 * GIB, started=100.0, cgroup=b"/user.slice/hog.scope")
NEIGHBOUR = App(43, b"neighbour", anon=GIB, started=100.0, cgroup=b"/user.slice/n.scope")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "p.toml"
    path.write_text(LOW)
    return path


def instant(root: Path, clock: float, available: int = 4 * GIB, **others: Any) -> Path:
    return build(root / f"at-{clock}", clock=clock, available=available, apps=[HOG, NEIGHBOUR], **others)


def decided(policy: Path, *machines: Path) -> list[dict[str, Any]]:
    ended = okoomer("why", "--machine", *machines, "--policy", policy, "--json")
    assert (ended.code, ended.err) == (0, "")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found: list[dict[str, Any]] = json.loads(ended.out, parse_constant=refuse)
    return found


def states(found: list[dict[str, Any]]) -> list[list[str]]:
    return [[rule["state"] for rule in one["rules"]] for one in found]


# --- recorded machines ----------------------------------------------------------------------------------------------


def test_a_rule_holds_before_it_fires(tmp_path: Path, policy: Path) -> None:
    low = GIB // 2
    machines = [instant(tmp_path, 10.0)] + [instant(tmp_path, clock, low) for clock in (11.0, 12.5, 13.0)]
    found = decided(policy, *machines)
    assert states(found) == [["quiet"], ["holding"], ["holding"], ["fired"]]
    assert [one["clock"] for one in found] == [10.0, 11.0, 12.5, 13.0]
    assert [one["act"] is None for one in found] == [True, True, True, False]
    assert found[3]["rules"] == [{"name": "low", "state": "fired", "values": {"mem.available": low}}]


def test_a_break_begins_the_hold_anew(tmp_path: Path, policy: Path) -> None:
    low = GIB // 2
    amounts = {10.0: low, 11.5: 2 * GIB, 12.0: low, 13.0: low, 14.0: low}
    found = decided(policy, *(instant(tmp_path, clock, amount) for clock, amount in amounts.items()))
    assert states(found) == [["holding"], ["quiet"], ["holding"], ["holding"], ["fired"]]


def test_an_act_names_rule_reason_unit_steps_and_ranking(tmp_path: Path, policy: Path) -> None:
    machines = [instant(tmp_path, clock, GIB // 2) for clock in (10.0, 12.0)]
    act = decided(policy, *machines)[-1]["act"]
    assert act["rule"] == "low"
    assert act["reason"] == "low-memory"
    assert act["steps"] == ["term 5s", "kill"]
    assert act["unit"] == {"kind": "process", "cgroup": "/user.slice/hog.scope", "pids": [42]}
    assert [one["pids"] for one in act["ranking"]] == [[42], [43]]
    for one in act["ranking"]:
        assert {"kind", "cgroup", "pids", "score", "why"} <= set(one)
        assert isinstance(one["score"], float) and one["why"]
    assert act["ranking"][0]["score"] == 3 * GIB


def test_machines_are_taken_in_order_of_their_clocks(tmp_path: Path, policy: Path) -> None:
    machines = [instant(tmp_path, clock, GIB // 2) for clock in (12.0, 9.0, 10.5)]
    found = decided(policy, *machines)
    assert [one["clock"] for one in found] == [9.0, 10.5, 12.0]
    assert states(found) == [["holding"], ["holding"], ["fired"]]


def test_a_stall_is_a_difference_over_its_window(tmp_path: Path, policy: Path) -> None:
    policy.write_text(STALLED)
    totals = {100.0: 50.0, 101.0: 50.1, 102.0: 50.5}
    machines = [
        instant(tmp_path, clock, 2 * GIB, pressure={"memory": stalls(total, total)}) for clock, total in totals.items()
    ]
    found = decided(policy, *machines)
    assert [one["rules"][0]["state"] for one in found] == ["quiet", "quiet", "fired"]
    assert found[0]["rules"][0]["values"]["psi.memory.full"] is None
    assert found[2]["rules"][0]["values"]["psi.memory.full"] == pytest.approx(0.25)
    assert found[2]["act"]["reason"] == "low-memory-and-stall"
    assert found[0]["act"]["rule"] == "early" and found[0]["act"]["steps"] == ["warn"]


def test_who_grew_between_the_instants_is_the_culprit(tmp_path: Path, policy: Path) -> None:
    policy.write_text(LOW.replace(" for 2s", ""))
    steady = App(50, b"steady", anon=3 * GIB, started=1.0)
    before = build(
        tmp_path / "a", clock=100.0, available=2 * GIB, apps=[steady, App(60, b"new", anon=GIB, started=50.0)]
    )
    after = build(
        tmp_path / "b", clock=104.0, available=GIB // 2, apps=[steady, App(60, b"new", anon=2 * GIB, started=50.0)]
    )
    act = decided(policy, before, after)[-1]["act"]
    assert act["unit"]["pids"] == [60]
    assert "the culprit" in act["ranking"][0]["why"]
    assert decided(policy, after)[-1]["act"]["unit"]["pids"] == [50]


def flooded(root: Path, clock: float, **written: tuple[int, int] | None) -> Path:
    """A machine whose memory a tmpfs fills, 100 MiB a second, with what processes of some names have written in a
    second to anything, and how much of that to a disk."""
    seconds = round(clock - 100)
    database = App(50, b"database", anon=GIB, started=1.0)
    apps = [
        App(60 + number, name.encode(), anon=MIB, file=0, written=counts and counts[0] * seconds,
            to_disk=counts[1] * seconds if counts else 0)
        for number, (name, counts) in enumerate(written.items())
    ]  # fmt: skip
    grown = seconds * 100 * MIB
    return build(root / f"at-{clock}", clock, available=GIB - grown, apps=[database, *apps], Shmem=5 * GIB + grown)


def test_who_fills_a_tmpfs_between_the_instants_is_taken_and_not_who_writes_to_a_disk(
    tmp_path: Path, policy: Path
) -> None:
    policy.write_text(LOW.replace(" for 2s", ""))
    written = {"backup": (300 * MIB, 300 * MIB), "writer": (95 * MIB, 0), "shy": None}
    machines = [flooded(tmp_path, clock, **written) for clock in (100.0, 103.0)]
    act = decided(policy, *machines)[-1]["act"]
    assert (act["unit"]["pids"], act["reason"], act["refusal"]) == ([61], "ownerless-memory", "")
    assert act["ranking"][0]["why"].startswith("writes 95 MiB/s into memory that belongs to no process, 95% of its")
    assert decided(policy, machines[1])[-1]["act"]["unit"]["pids"] == [50]
    out = okoomer("why", "--machine", *machines, "--policy", policy).out
    assert "rule low acts (ownerless-memory)" in out and "it takes writer: writes 95 MiB/s" in out


@pytest.mark.parametrize(
    "written",
    [{"writer": None}, {"backup": (300 * MIB, 300 * MIB)}, {"one": (100 * MIB, 0), "other": (100 * MIB, 0)}],
)
def test_where_it_is_not_clear_who_fills_a_tmpfs_nobody_is_taken(
    tmp_path: Path, policy: Path, written: dict[str, tuple[int, int] | None]
) -> None:
    policy.write_text(LOW.replace(" for 2s", ""))
    act = decided(policy, *(flooded(tmp_path, clock, **written) for clock in (100.0, 103.0)))[-1]["act"]
    assert act["unit"] is None
    assert "grows by 100 MiB/s" in act["refusal"] and act["refusal"].endswith("who writes it is not clear")


def test_a_rule_may_fire_with_nobody_to_take(tmp_path: Path, policy: Path) -> None:
    spared = App(42, b"hog", anon=3 * GIB, adjustment=-1000)
    policy.write_text(LOW.replace(" for 2s", ""))
    act = decided(policy, build(tmp_path / "m", available=GIB // 2, apps=[spared]))[0]["act"]
    assert act["rule"] == "low" and act["unit"] is None
    assert act["refusal"]


def test_a_forecast_of_never_is_null(tmp_path: Path, policy: Path) -> None:
    policy.write_text('[[rule]]\nname = "soon"\nwhen = "forecast.exhausted < 5s"\n')
    machines = [instant(tmp_path, 100.0 + n) for n in range(8)]
    found = decided(policy, *machines)
    assert found[-1]["rules"] == [{"name": "soon", "state": "quiet", "values": {"forecast.exhausted": None}}]


def test_without_a_canary_a_recorded_machine_has_nobody_who_denies_that_it_hurts(tmp_path: Path, policy: Path) -> None:
    policy.write_text('[[rule]]\nname = "late"\nwhen = "canary.late > 100ms"\n')
    machines = [instant(tmp_path, clock) for clock in (10.0, 11.0, 12.0)]
    for machine, late in zip(machines[1:], ("0.05\n", "0.2"), strict=True):
        (machine / "canary").write_text(late)
    found = decided(policy, *machines)
    assert states(found) == [["fired"], ["quiet"], ["fired"]]
    assert [one["rules"][0]["values"]["canary.late"] for one in found] == [None, 0.05, 0.2]


def test_a_machine_without_pressure_swap_or_cgroups_is_judged_by_what_it_has(tmp_path: Path, policy: Path) -> None:
    policy.write_text(STALLED + LOW.replace(" for 2s", "").replace('"low"', '"short"'))
    machine = instant(tmp_path, 10.0, GIB // 2, pressure={}, cgroups={})
    for name in ("proc/vmstat", "proc/swaps", "xattrs.json"):
        (machine / name).unlink()
    found = decided(policy, machine)
    assert found[0]["rules"][0] == {
        "name": "stalled",
        "state": "quiet",
        "values": {"psi.memory.full": None, "mem.available": GIB // 2},
    }
    assert found[0]["act"]["rule"] == "short"


def test_the_presets_judge_a_machine_with_swap_on_zram(tmp_path: Path) -> None:
    full = {"swap": (2 * GIB, 0), "zram": [(2 * GIB, 2 * GIB, GIB)]}
    machine = instant(tmp_path, 10.0, 40 * MIB, **full)
    (machine / "proc/swaps").write_bytes(areas((2 * GIB, 2 * GIB)))
    for preset in ("desktop", "server"):
        ended = okoomer("why", "--machine", machine, "--policy", preset, "--json")
        act = json.loads(ended.out)[0]["act"]
        assert (act["rule"], act["unit"]["pids"]) == ("exhausted", [42])


@pytest.mark.parametrize("name", [b"a'b\n<7>fake", b"\x1b[31mred", b"(x) S 1", b"\xff\xfe"])
def test_hostile_names_stay_on_their_line(tmp_path: Path, policy: Path, name: bytes) -> None:
    policy.write_text(LOW.replace(" for 2s", ""))
    machine = build(tmp_path / "m", available=GIB // 2, apps=[App(42, name, anon=3 * GIB)])
    assert decided(policy, machine)[0]["act"]["unit"]["pids"] == [42]
    ended = okoomer("why", "--machine", machine, "--policy", policy)
    assert ended.code == 0
    assert all(text.isprintable() for text in ended.out.splitlines())
    assert not any(text.startswith("<7>") for text in ended.out.splitlines())


def test_in_words_each_instant_has_its_time(tmp_path: Path, policy: Path) -> None:
    machines = [instant(tmp_path, clock, GIB // 2) for clock in (10.0, 12.0)]
    out = okoomer("why", "--machine", *machines, "--policy", policy).out
    assert "at 10 s:" in out and "at 12 s:" in out
    assert "no rule acts" in out
    assert "rule low acts (low-memory): term 5s, kill" in out
    assert "it takes hog: 3.0 GiB would come back" in out


def test_deciding_changes_nothing(tmp_path: Path, policy: Path) -> None:
    machine = instant(tmp_path, 10.0, GIB // 2)
    before = {path: path.read_bytes() for path in machine.rglob("*") if path.is_file()}
    decided(policy, machine)
    assert {path: path.read_bytes() for path in machine.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("spoil", "code", "named"),
    [
        (lambda machine: (machine / "clock").unlink(), 3, "clock"),
        (lambda machine: (machine / "clock").write_text("nan"), 3, "clock"),
        (lambda machine: (machine / "canary").write_text("late"), 3, "canary"),
        (lambda machine: (machine / "proc/meminfo").write_text(""), 3, "meminfo"),
        (lambda machine: (machine / "proc").rename(machine / "other"), 2, "not a recorded machine"),
    ],
)
def test_what_is_no_recording_is_named_in_one_line(
    tmp_path: Path, policy: Path, spoil: Any, code: int, named: str
) -> None:
    machine = instant(tmp_path, 10.0)
    spoil(machine)
    ended = okoomer("why", "--machine", machine, "--policy", policy, "--json")
    assert (ended.code, ended.out) == (code, "")
    assert named in ended.err and ended.err.count("\n") == 1


def test_without_a_machine_nothing_can_be_decided(policy: Path) -> None:
    ended = okoomer("why", "--machine", "--policy", policy)
    assert (ended.code, ended.err.count("\n")) == (2, 1)


# --- acts of the past -----------------------------------------------------------------------------------------------

RANKED = tuple(
    model.Ranked("process", name, (pid,), float(freed), freed, f"{freed} bytes would come back")
    for name, pid, freed in (("hog", 42, 3000), ("next\n", 43, 1000))
)
CHOSEN = model.Chosen(
    "low", "mem.available < 10%", "low-memory", (("mem.available", 5.0),), "process", "hog\x1b", (42,), "hog --all",
    3000, 2000, "3000 bytes would come back", ("term", "kill"), RANKED, 120, 0.002, 0.004, False,
)  # fmt: skip


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A directory in which a guard has been at work."""
    ring = Ring(f"{tmp_path}/ring")
    for number, event in enumerate(
        (
            model.RuleChanged("low", "fired", ()),
            CHOSEN,
            model.Signalled("low", "SIGTERM", "hog", (42,), ()),
            model.Died("low", "hog", (42,), 0.25, 3000),
            model.Refused("low", "there is no process that may be touched", ()),
        ),
        1,
    ):
        ring.write(line(event, 1700000000.0 + number, number))
    return tmp_path


def test_the_last_act_is_explained_and_any_by_its_number(runtime: Path) -> None:
    last = json.loads(okoomer("why", "--runtime-dir", runtime, "--json").out)
    assert last["act"]["event"] == "refused" and last["then"] == []
    act = json.loads(okoomer("why", "2", "--runtime-dir", runtime, "--json").out)
    assert act["act"]["sequence"] == 2
    assert [one["event"] for one in act["then"]] == ["signalled", "died"]


def test_an_act_in_words_has_cause_ranking_and_outcome(runtime: Path) -> None:
    ended = okoomer("why", "2", "--runtime-dir", runtime)
    assert ended.code == 0
    for part in (
        "mem.available < 10%",
        "took hog\\x1b (pid 42)",
        "hog --all",
        "1. hog (pid 42)",
        "2. next\\n (pid 43)",
    ):
        assert part in ended.out
    assert "next\\n would have been first with 2 KiB more" in ended.out
    assert "SIGTERM to pid 42" in ended.out and "gone 0.250 s after the signal" in ended.out
    assert all(text.isprintable() for text in ended.out.splitlines())


def test_whom_somebody_would_have_beaten_is_not_told_of_one_who_only_writes(tmp_path: Path) -> None:
    writes = replace(CHOSEN, reason="ownerless-memory", why="writes 95 MiB/s")
    Ring(f"{tmp_path}/ring").write(line(writes, 1700000000.0, 1))
    out = okoomer("why", "--runtime-dir", tmp_path).out
    assert "writes 95 MiB/s" in out and "would have been first" not in out


def test_an_unknown_number_is_bad_input_that_names_the_known(runtime: Path) -> None:
    ended = okoomer("why", "99", "--runtime-dir", runtime)
    assert ended.code == 2
    assert ended.err == "okoomer: no act has the number 99; there are: 2, 5\n"


def test_before_the_first_act_there_is_nothing_to_explain(tmp_path: Path) -> None:
    Ring(f"{tmp_path}/ring").write(line(model.Stopped("SIGTERM"), 1.0, 1))
    assert okoomer("why", "--runtime-dir", tmp_path).code == 1
    assert okoomer("why", "--runtime-dir", tmp_path, "--json").out == "null\n"


def test_an_event_that_was_too_long_to_keep_is_passed_over(runtime: Path) -> None:
    ring = Ring(f"{runtime}/ring")
    ring.write(line(model.Trouble("x" * LONGEST), 1700000009.0, ring.sequence))
    assert okoomer("why", "--runtime-dir", runtime).code == 0


@pytest.mark.parametrize("text", [None, b"", b"junk" * 100])
def test_where_no_guard_has_run_nothing_can_be_explained(tmp_path: Path, text: bytes | None) -> None:
    if text is not None:
        (tmp_path / "ring").write_bytes(text)
    ended = okoomer("why", "--runtime-dir", tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)


def test_a_damaged_ring_is_named(runtime: Path) -> None:
    spoiled = bytearray((runtime / "ring").read_bytes())
    spoiled[64 + 20 : 64 + 30] = b"\xff" * 10
    (runtime / "ring").write_bytes(spoiled)
    ended = okoomer("why", "--runtime-dir", runtime)
    assert ended.code == 3 and "damaged" in ended.err
