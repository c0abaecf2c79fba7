"""What the doctor says of cgroups: on machines of version 1, hybrid ones, old kernels and sound ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from okoomer.cli.doctor_cgroups import cgroups
from tests.unit.live_cgroups import build
from tests.unit.machines import stalls, write

SOUND = {
    "/": {"cgroup_controllers": "cpu memory"},
    "/a.slice": {
        "cgroup_kill": "", "memory_current": 1, "memory_reclaim": "", "memory_pressure": "", "cgroup_pressure": 1,
    },
}  # fmt: skip


def machine(folder: Path, without: tuple[str, ...] = (), **more: object) -> Path:
    made = build(folder, SOUND)
    write(made.mount / "cgroup.subtree_control", b"cpu memory\n")
    for name in without:
        for file in made.mount.rglob(name):
            file.unlink()
    made.put("/a.slice", **more)
    write(folder / "proc/pressure/memory", stalls(0, 0))
    return folder / "proc"


def told(proc: Path) -> tuple[str, str, str]:
    """The only finding: what, what it costs, how to mend it; it is never wrong enough to fail."""
    (found,) = cgroups(proc)
    assert not found.wrong
    return found.what, found.cost, found.mend


def test_a_sound_hierarchy_is_passed_over(tmp_path: Path) -> None:
    assert list(cgroups(machine(tmp_path))) == []


def test_version_1_is_told_with_all_that_it_costs(tmp_path: Path) -> None:
    write(tmp_path / "self/mounts", b"cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n")
    what, cost, mend = told(tmp_path)
    assert what == "there are cgroups of version 1 only"
    for lost in ("scope", 'unit = "cgroup"', "cgroup.*", "shrunk", 'unit = "auto"'):
        assert lost in cost
    assert "systemd.unified_cgroup_hierarchy=1" in mend and "update-grub" in mend


@pytest.mark.parametrize("mounts", [b"tmpfs / tmpfs rw 0 0\n", b"", b"odd\n", None])
def test_without_any_cgroups_the_hierarchy_can_be_mounted(tmp_path: Path, mounts: bytes | None) -> None:
    if mounts is not None:
        write(tmp_path / "self/mounts", mounts)
    what, _cost, mend = told(tmp_path)
    assert (what, mend) == ("there is no unified cgroup hierarchy", "mount -t cgroup2 none /sys/fs/cgroup")


def test_on_a_hybrid_machine_memory_is_in_the_other_one(tmp_path: Path) -> None:
    proc = machine(tmp_path, ("cgroup.controllers", "memory.current"))
    mounts = (proc / "self/mounts").read_bytes()
    write(proc / "self/mounts", mounts + b"cgroup /sys/fs/cgroup/memory cgroup rw,nosuid,memory 0 0\n")
    what, cost, mend = told(proc)
    assert what == f"memory is accounted for by cgroups of version 1, not in the hierarchy at {tmp_path}/cg roup"
    assert "only stalls are known" in cost
    assert "systemd.unified_cgroup_hierarchy=1" in mend


def test_a_memory_controller_that_is_off_is_told(tmp_path: Path) -> None:
    what, _cost, mend = told(machine(tmp_path, ("cgroup.controllers", "memory.current")))
    assert what.endswith("has no memory controller") and "cgroup_disable=memory" in mend


def test_a_memory_controller_that_nobody_has_is_told(tmp_path: Path) -> None:
    what, _cost, mend = told(machine(tmp_path, ("cgroup.subtree_control",)))
    assert what == "the memory controller is not on for any cgroup"
    assert mend == f"echo +memory > {tmp_path}/cg roup/cgroup.subtree_control"


@pytest.mark.parametrize(
    ("absent", "lost", "mend"),
    [
        ("cgroup.kill", "process by process", "Linux 5.14"),
        ("memory.reclaim", "shrink", "Linux 5.19"),
        ("memory.pressure", "cgroup.psi.*", "cgroup_disable=pressure"),
    ],
)
def test_what_an_old_kernel_lacks_is_told(tmp_path: Path, absent: str, lost: str, mend: str) -> None:
    found = told(machine(tmp_path, (absent,)))
    assert lost in found[1] and mend in found[2]


def test_a_cgroup_that_keeps_no_account_of_stalls_is_named(tmp_path: Path) -> None:
    proc = machine(tmp_path, cgroup_pressure=0)
    what, _cost, mend = told(proc)
    assert what == "/a.slice keeps no account of stalls (cgroup.pressure is 0)"
    assert mend == f"echo 1 > '{tmp_path}/cg roup/a.slice/cgroup.pressure'"


def test_without_pressure_at_all_it_is_not_told_twice(tmp_path: Path) -> None:
    proc = machine(tmp_path, ("memory.pressure",))
    (proc / "pressure/memory").unlink()
    assert list(cgroups(proc)) == []
