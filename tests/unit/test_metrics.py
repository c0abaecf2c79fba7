"""What metrics are worth: above all, what swap can still win."""

from __future__ import annotations

import pytest

from okoomer.facts import Arc, Cgroup, Memory, Snapshot, Swap, Zram
from okoomer.policy.metrics import available, effective_swap
from okoomer.policy.metrics_cgroup import METRICS, is_limited
from okoomer.units import GIB, MIB

PAGE = 4096


NO_SWAP = Swap()


def at(swap: Swap = NO_SWAP, zram: Zram | None = None, arc: Arc | None = None) -> Snapshot:
    return Snapshot(0.0, Memory(8 * GIB, GIB, 2 * GIB), swap, zram, arc)


def on_zram(free: int, stored: int, used: int) -> Snapshot:
    return at(Swap(GIB, free, GIB, free), Zram(GIB, stored, used))


def test_free_swap_on_a_disk_is_won_whole() -> None:
    assert effective_swap(at(Swap(GIB, GIB // 2))) == GIB // 2
    assert effective_swap(at()) == 0


def test_a_fresh_zram_device_wins_half_though_its_first_pages_do_not_compress() -> None:
    assert effective_swap(on_zram(GIB, PAGE, 3 * PAGE)) == pytest.approx(GIB / 2, rel=0.01)


@pytest.mark.parametrize(("used", "won"), [(100 * MIB, 0.75), (200 * MIB, 0.5), (300 * MIB, 0.28), (500 * MIB, 0.0)])
def test_a_zram_device_wins_what_it_has_been_seen_to_save(used: int, won: float) -> None:
    found = effective_swap(on_zram(GIB // 2, 400 * MIB, used))
    assert found / (GIB // 2) == pytest.approx(won, abs=0.03)


def test_disk_and_zram_together_are_the_sum() -> None:
    both = at(Swap(2 * GIB, GIB + 64 * MIB, GIB, 64 * MIB), Zram(GIB, 960 * MIB, 480 * MIB))
    assert effective_swap(both) == pytest.approx(GIB + 32 * MIB, rel=0.01)


def test_what_zfs_would_give_back_is_available() -> None:
    assert available(at(arc=Arc(GIB, 256 * MIB))) == 2 * GIB + 768 * MIB
    assert available(at(arc=Arc(100 * MIB, 256 * MIB))) == 2 * GIB


def test_each_metric_reads_a_bare_machine_without_a_word() -> None:
    found = {name: metric.read(at()) for name, metric in METRICS.items() if not metric.of_cgroup}
    assert found["swap.free"] == 0 and found["psi.memory.full"] is None and found["vm.swapin"] is None


def test_each_metric_reads_a_bare_cgroup_without_a_word() -> None:
    of_cgroups = [metric for metric in METRICS.values() if metric.of_cgroup]
    assert len(of_cgroups) > 40
    assert [metric.name for metric in of_cgroups if metric.read(Cgroup("/a")) is not None] == []
    assert all(field in Cgroup._fields for metric in of_cgroups for field in metric.fields)


@pytest.mark.parametrize(
    ("cgroup", "limited"),
    [
        (Cgroup("/a", memory=98 * MIB, left=MIB), True),
        (Cgroup("/a", memory=90 * MIB, left=10 * MIB), False),
        (Cgroup("/a", memory=0, left=0), False),
        (Cgroup("/a", memory=90 * MIB), False),
        (Cgroup("/a", left=0), False),
        (Cgroup("/a", frozen=True), True),
    ],
)
def test_a_cgroup_stalls_for_its_own_sake_at_a_limit_or_frozen(cgroup: Cgroup, limited: bool) -> None:
    assert is_limited(cgroup) == limited
