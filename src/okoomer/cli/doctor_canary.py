"""What `okoomer doctor` finds of the canary of a guard that runs."""

from __future__ import annotations

from collections.abc import Iterator

from okoomer.cli import place
from okoomer.cli.finding import Finding
from okoomer.guard.launch import kept, needs_canary
from okoomer.kernel import process
from okoomer.policy.choose import CANARY


def canary(directory: str) -> Iterator[Finding]:
    """Whether a guard whose policy goes by a canary has one.

    Args:
        directory: The guard's.
    """
    pid, policy = place.running(directory), kept(directory)
    if pid is None or policy is None or not needs_canary(policy):
        return
    if not any(_name(child) == CANARY for child in process.children("/proc", pid)):
        cost = "its rules act as if programs were late, by the rest of what they ask for"
        yield Finding(False, "the guard has no canary", cost, "systemctl restart okoomer")


def _name(pid: int) -> str:
    try:
        return process.stat("/proc", pid).name
    except (OSError, ValueError):
        return ""
