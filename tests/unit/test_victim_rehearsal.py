"""The rehearsal's cgroup: one of our own, with a child of our own in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from okoomer.events.model import BY_LIMIT, Died, Signalled
from okoomer.guard import rehearsal_cgroup
from okoomer.guard.rehearsal_cgroup import end_whole
from okoomer.kernel.cgroup import mount
from okoomer.kernel.machine import LIVE, Machine
from okoomer.kernel.process import cgroup as cgroup_of
from okoomer.policy.engine import FIRED, RuleVerdict, Verdict
from okoomer.policy.model import Comparison, Policy, Rule
from tests.unit.cgroups import real

if TYPE_CHECKING:
    from okoomer.record import Record

POLICY = Policy("p", (Rule("low", Comparison("mem.available", "<", 0.1, share=True), "", unit="cgroup"),))
HOLDS = Verdict(0.0, (RuleVerdict("low", FIRED, ()),), 0, (), 0.0)

pytestmark = pytest.mark.timeout(180)


def left() -> list[Path]:
    mounted = mount()
    # Not by a search of all of them: others come and go meanwhile.
    own = cgroup_of("/proc", os.getpid()).strip("/")
    return [*Path(mounted, own).glob(f"okoomer-rehearsal-{os.getpid()}*")] if mounted else []


def test_a_cgroup_of_our_own_is_ended_and_nothing_is_left_of_it() -> None:
    with real("rehearsal") as there:
        if there is None:
            pytest.skip("no cgroup can be made here")
    events: list[Record] = []
    assert end_whole(LIVE, POLICY, HOLDS, events) == []
    signals = [event.signal for event in events if isinstance(event, Signalled)]
    assert signals[0] == "SIGTERM" and {*signals[1:]} <= {BY_LIMIT, "SIGKILL"}
    assert isinstance(events[-1], Died) and events[-1].cgroup
    assert left() == []


def test_where_there_are_no_cgroups_nothing_is_said_of_them(tmp_path: Path) -> None:
    assert end_whole(Machine(str(tmp_path)), POLICY, HOLDS, []) == []


@pytest.mark.parametrize(("error", "lacks"), [(OSError(30, "Read-only file system"), 1), (PermissionError(13, ""), 0)])
def test_what_a_sandbox_forbids_is_said_and_what_we_may_not_is_not(
    monkeypatch: pytest.MonkeyPatch, error: OSError, lacks: int
) -> None:
    def refuse(_path: str) -> None:
        raise error

    monkeypatch.setattr(rehearsal_cgroup, "mount", lambda _proc: "/sys/fs/cgroup")
    monkeypatch.setattr(rehearsal_cgroup, "cgroup_of", lambda _proc, _pid: "/system.slice/okoomer.service")
    monkeypatch.setattr(rehearsal_cgroup.os, "mkdir", refuse)
    assert len(end_whole(LIVE, POLICY, HOLDS, [])) == lacks
