"""The presets on recorded machines: what the lab's guest showed ten times a second while nobody was ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from okoomer.facts import Memory, Paging, Pressure, Snapshot, Stall, Swap
from okoomer.policy.engine import Engine
from okoomer.policy.language import PRESETS, load
from okoomer.record import replace

if TYPE_CHECKING:
    from okoomer.policy.model import Policy

TRACES = Path(__file__).parent / "traces"
KIB, PAGE = 1024, 4096
TOTAL, SWAP = 996344 * KIB, 1048572 * KIB


def recorded(name: str) -> list[Snapshot]:
    rows = [line.split() for line in (TRACES / f"{name}.txt").read_text().splitlines() if line[0] != "#"]
    found = []
    for row in rows:
        time, some, full = float(row[0]), float(row[5]), float(row[6])
        available, swap_free, cached, writeback = (int(text) * KIB for text in row[1:5])
        anon, file, scanned, stolen, swapped, activated = (int(text) * PAGE for text in row[7:])
        found.append(
            Snapshot(
                time,
                Memory(TOTAL, 0, available, writeback=writeback),
                Swap(SWAP, swap_free, cached=cached),
                memory_pressure=Pressure(Stall(0.0, 0.0, 0.0, some), Stall(0.0, 0.0, 0.0, full)),
                paging=Paging(
                    swapout=swapped,
                    refault_anon=anon,
                    refault_file=file,
                    scan_kswapd=scanned,
                    steal=stolen,
                    activated=activated,
                ),
            )
        )
    return found


def ended(policy: Policy, snapshots: list[Snapshot]) -> tuple[str, float] | None:
    """Which rule first ends somebody, and after how many seconds in which all stood still; None if none does."""
    engine = Engine(policy)
    for snapshot in snapshots:
        verdict = engine.step(snapshot)
        if verdict.act is not None and not policy.rules[verdict.act].tentative:
            assert snapshot.memory_pressure and snapshot.memory_pressure.full
            return policy.rules[verdict.act].name, snapshot.memory_pressure.full.total
    return None


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("trace", ["s13-disk-a", "s13-disk-b", "s13-disk-c", "s13-disk-d"])
def test_a_program_that_pushes_cold_memory_to_swap_once_is_left_alone(name: str, trace: str) -> None:
    snapshots = recorded(trace)
    assert ended(load(name), snapshots) is None


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("trace", ["s2-churn-disk", "s2-churn-zram", "s10", "s5-containers"])
def test_a_machine_that_thrashes_is_helped_before_it_has_stood_still_for_a_second(name: str, trace: str) -> None:
    found = ended(load(name), recorded(trace))
    assert found and found[0] in ("frozen", "stalled") and found[1] < 1.0


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("trace", ["s2-churn-disk", "s2-churn-zram", "s10"])
def test_who_thrashes_at_a_limit_of_its_own_in_a_machine_with_room_has_nothing_done_to_anybody(
    name: str, trace: str
) -> None:
    # As badly as a whole machine did there; but it is one container's own limit, and half of memory is available.
    roomy = [
        replace(one, memory=replace(one.memory, available=TOTAL // 2), swap=replace(one.swap, free=SWAP // 2))
        for one in recorded(trace)
    ]
    engine, policy = Engine(load(name)), load(name)
    for snapshot in roomy:
        verdict = engine.step(snapshot)
        assert verdict.act is None and not verdict.warnings, policy.rules[verdict.act or 0].name


@pytest.mark.parametrize("name", PRESETS)
def test_on_a_kernel_that_does_not_count_what_is_in_use_other_evidence_is_enough_on_zram(name: str) -> None:
    def blind(snapshot: Snapshot) -> Snapshot:
        assert snapshot.paging
        return replace(snapshot, paging=replace(snapshot.paging, activated=0))

    found = ended(load(name), [blind(snapshot) for snapshot in recorded("s2-churn-zram")])
    assert found and found[1] < 1.5


def paused(policy: Policy, snapshots: list[Snapshot]) -> list[tuple[float, float]]:
    """When somebody is paused for a moment, and after how many seconds in which somebody had to wait. What comes of it
    is not in the recording: at worst it changes nothing."""
    engine, until, found = Engine(policy), 0.0, []
    for snapshot in snapshots:
        verdict = engine.step(snapshot, acting=snapshot.time < until)
        if verdict.act is not None and policy.rules[verdict.act].tentative:
            assert snapshot.memory_pressure
            until = snapshot.time + policy.rules[verdict.act].steps[0].seconds
            found.append((snapshot.time, snapshot.memory_pressure.some.total))
    return found


MOMENTS = ("desktop", "server")


@pytest.mark.parametrize("name", MOMENTS)
@pytest.mark.parametrize("trace", ["s2-churn-disk", "s2-churn-zram", "s10", "s5-containers"])
def test_a_hog_is_paused_before_anybody_has_waited_for_a_fifth_of_a_second(name: str, trace: str) -> None:
    [(_, waited), *_] = paused(load(name), recorded(trace))
    assert waited < 0.2


@pytest.mark.parametrize("name", MOMENTS)
@pytest.mark.parametrize("trace", ["s13-disk-a", "s13-disk-b", "s13-disk-c", "s13-disk-d"])
def test_whoever_pushes_cold_memory_to_swap_once_is_never_asked_about(name: str, trace: str) -> None:
    policy = load(name)
    [times] = {step.times for rule in policy.rules for step in rule.steps if step.times}
    assert len(paused(policy, recorded(trace))) <= times
