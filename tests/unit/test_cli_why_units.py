"""`okoomer why --machine` on recorded trees, by what systemd-oomd is told of units: who, when and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from okoomer.policy.engine import FIRED, HOLDING, QUIET
from okoomer.units import GIB, KIB
from tests.unit.console import okoomer
from tests.unit.machines import write
from tests.unit.test_cli_why_cgroups import decided, ranked, states
from tests.unit.trees import Group, Slice, tree


def units(root: Path, conf: str, **slices: str) -> Path:
    """The policy for the units of a machine whose files set something."""
    write(root / "etc/systemd/oomd.conf", f"[OOM]\n{conf}".encode())
    for name, text in slices.items():
        write(root / f"etc/systemd/system/{name}.slice", f"[Slice]\n{text}".encode())
    ended = okoomer("import", "systemd-oomd", "--root", root, "--units", "-o", root / "policy.toml")
    assert (ended.code, ended.err) == (0, "")
    return root / "policy.toml"


def under(slice_: str, **made: Group) -> dict[str, Group]:
    return {f"/{slice_}.slice/{name}.service": group for name, group in made.items()}


STALLED = "ManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit=40%\nManagedOOMMemoryPressureDurationSec=3s\n"


def instants(root: Path, *more: tuple[float, float, int, int], **others: Any) -> list[Path]:
    """Successive ones of a.slice, by clock, avg10 and what of b and c was scanned; a has most memory."""
    return [
        tree(
            root / f"{clock}",
            clock,
            under("a", a=Group(900, scan=10**6), b=Group(200, scan=b), c=Group(100, scan=c)),
            {"/a.slice": Slice((avg10, 0.0, 0.0))},
            **others,
        )
        for clock, avg10, b, c in more
    ]


CALM_THEN_NOT = ((100.0, 40.0, 5, 5), (101.0, 41.0, 6, 6), (103.0, 45.0, 20, 80), (104.0, 45.0, 40, 180))


def test_pressure_has_to_last_as_long_as_the_unit_says_and_who_was_scanned_most_goes(tmp_path: Path) -> None:
    out = units(tmp_path, "", a=STALLED)
    found = decided(out, *instants(tmp_path, *CALM_THEN_NOT))
    # Above 40 % from 101 on; since 103 c was scanned for 100 pages, b for 20, a for none.
    assert states(found) == [QUIET, HOLDING, HOLDING, FIRED]
    act = found[-1]["act"]
    assert (act["rule"], act["reason"]) == ("pressure:a.slice", "stall")
    assert act["unit"] == {"kind": "cgroup", "cgroup": "/a.slice/c.service", "pids": [103]}
    assert ranked(found)[:2] == ["c.service", "b.service"]


def test_the_limit_and_the_time_of_oomd_conf_hold_where_the_unit_says_none(tmp_path: Path) -> None:
    conf = "DefaultMemoryPressureLimit=44%\nDefaultMemoryPressureDurationSec=1s\n"
    out = units(tmp_path, conf, a="ManagedOOMMemoryPressure=kill\n")
    assert states(decided(out, *instants(tmp_path, *CALM_THEN_NOT))) == [QUIET, QUIET, HOLDING, FIRED]


def test_without_reclaim_pressure_alone_is_not_enough(tmp_path: Path) -> None:
    out = units(tmp_path, "", a=STALLED)
    calm = [(clock, 50.0, 7, 7) for clock in (100.0, 101.0, 103.0, 110.0)]
    assert FIRED not in states(decided(out, *instants(tmp_path, *calm)))


@pytest.mark.parametrize(
    ("marks", "owners", "order"),
    [
        ({"/a.slice/c.service": {"user.oomd_avoid": ""}}, {}, ["b.service", "c.service"]),
        ({"/a.slice/c.service": {"user.oomd_omit": ""}}, {}, ["b.service"]),
        ({"/a.slice/c.service": {"user.oomd_omit": "", "user.oomd_avoid": ""}}, {}, ["b.service"]),
        # A user's own mark counts only under what is his.
        ({"/a.slice/c.service": {"user.oomd_omit": ""}}, {"/a.slice/c.service": 7}, ["c.service", "b.service"]),
        (
            {"/a.slice/c.service": {"user.oomd_omit": ""}},
            {"/a.slice/c.service": 7, "/a.slice": 7},
            ["b.service"],
        ),
        ({"/a.slice": {"user.oomd_omit": ""}}, {}, ["c.service", "b.service"]),
    ],
)
def test_preferences_of_units_are_kept(
    tmp_path: Path, marks: dict[str, dict[str, str]], owners: dict[str, int], order: list[str]
) -> None:
    out = units(tmp_path, "", a=STALLED)
    found = decided(out, *instants(tmp_path, *CALM_THEN_NOT, marks=marks, owners=owners))
    assert [name for name in ranked(found) if name != "a.service"] == order


@pytest.mark.parametrize(
    ("available", "free", "acts"),
    [
        # A tenth of 8 GiB is 838860.8 kB, and of 4 GiB 419430.4.
        (838861 * KIB, 419430 * KIB, False),
        (838860 * KIB, 419431 * KIB, False),
        (838860 * KIB, 419430 * KIB, True),
    ],
)
def test_with_memory_and_swap_used_up_who_has_most_swap_goes_whichever_unit_it_is_in(
    tmp_path: Path, available: int, free: int, acts: bool
) -> None:
    out = units(tmp_path, "SwapUsedLimit=90%\n", a="ManagedOOMSwap=kill\n", b="ManagedOOMSwap=kill\n", c="")
    # 5 % of 4 GiB are 204.8 MiB: 204 are too few. Nobody watches c.
    made = {
        **under("a", a=Group(900, swap=204), b=Group(9, swap=250)),
        **under("b", c=Group(9, swap=300)),
        **under("c", d=Group(9, swap=999)),
    }
    found = decided(out, tree(tmp_path / "m", 100.0, made, available=available, swap=(4 * GIB, free)))
    assert (found[0]["act"] is not None) is acts
    if acts:
        assert (found[0]["act"]["rule"], found[0]["act"]["reason"]) == ("swap:a.slice,b.slice", "low-memory-and-swap")
        assert ranked(found) == ["c.service", "b.service"]
        assert found[0]["act"]["unit"] == {"kind": "cgroup", "cgroup": "/b.slice/c.service", "pids": [103]}
