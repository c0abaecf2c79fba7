"""This machine as a policy sees it, for those who examine a policy before it runs."""

from __future__ import annotations

from okoomer.facts import Snapshot
from okoomer.guard.cgroups import Cgroups
from okoomer.guard.sense import Sense, wants_of
from okoomer.kernel import cgroup
from okoomer.kernel.machine import LIVE
from okoomer.policy import examine
from okoomer.policy.model import Policy
from okoomer.policy.wants import wants_of as cgroups_of
from okoomer.record import replace


def sensed(policy: Policy) -> Snapshot:
    """All that the policy's conditions name, as it is now, with a canary that is in time: a guard would start one.

    Raises:
        Unreadable: Not even memory can be read.
    """
    snapshot = Sense(LIVE, wants_of(policy), memory_pressure=policy.pressure).snapshot()
    cgroups = Cgroups(LIVE)
    try:
        return replace(snapshot, scoped=cgroups.scoped(cgroups_of(policy), snapshot.time), canary=0.0)
    finally:
        cgroups.close()


def inert(policy: Policy, snapshot: Snapshot) -> dict[str, list[str]]:
    """The rules that cannot act on this machine, whatever happens, and what of it is absent."""
    return examine.inert(policy, snapshot, unified=cgroup.hierarchy(LIVE) is not None)
