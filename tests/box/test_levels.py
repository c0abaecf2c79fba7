"""How short memory is, and who grows, as a guard with a preset tells it in a box with scripted memory and pressure."""

from __future__ import annotations

import signal
import time

import pytest

from tests.box.box import Box
from tests.box.guards import OKOOMER, events
from tests.box.process import Proc
from tests.box.procfiles import GIB, MIB

GROWER = "import time\nheld = []\nwhile True:\n    held.append(bytearray(b'x') * 1048576); time.sleep(0.02)\n"


def guard(box: Box, policy: str) -> Proc:
    found = box.daemon([OKOOMER, "run", "--json", "--runtime-dir", "/run/okoomer", "--policy", policy])
    found.wait_line('"event": "started"', 60)
    return found


def stall(box: Box, seconds: float, some: float, full: float) -> None:
    """Pressure of these shares for so long, a twentieth of a second at a time."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        box.pressure(some_total=int(passed * some * 1e6), full_total=int(passed * full * 1e6))
        time.sleep(0.05)


@pytest.mark.parametrize("policy", ["desktop", "server"])
def test_a_cgroup_that_stalls_at_its_own_limit_in_a_plentiful_machine_is_nobodys_business(
    box: Box, policy: str
) -> None:
    box.memory(available=int(0.95 * box.total))
    one = guard(box, policy)
    stall(box, 6.0, 0.6, 0.4)
    assert not events(one, "level") and not events(one, "warned") and one.alive


def test_it_rises_step_by_step_and_whoever_grows_is_named_before_anybody_is_ended(box: Box) -> None:
    box.memory(available=8 * GIB)
    one = guard(box, "desktop")
    idle = box.spawn(rss_bytes=400 * MIB)
    grower = box.spawn(GROWER, name="leak")
    box.fall(1.2 * GIB, floor=int(2.5 * GIB))
    one.wait_line('"event": "warned"', 60)
    [warned] = events(one, "warned")
    assert (warned["rule"], warned["name"], warned["pid"], warned["act"]) == ("early", "leak", grower.pid, False)
    # So far that it is enough also for a guard that a busy machine has kept from looking while it fell.
    box.fall(0.6 * GIB, start=int(2.5 * GIB), floor=200 * MIB)
    assert grower.wait(60).signal in (signal.SIGTERM, signal.SIGKILL)
    box.memory(available=12 * GIB)
    box.until(lambda: events(one, "level")[-1]["level"] == 0, 60, "the end of it")
    told = events(one, "level")
    before = [event for event in told if event["sequence"] < events(one, "signalled")[0]["sequence"]]
    rising = [event["level"] for event in before if event["level"]]
    assert set(rising) == {50, 100, 255}, told
    assert rising.index(50) < rising.index(100) < rising.index(255)
    assert before[0]["rules"] == ["tight"] and before[0]["available"] < 5 * GIB
    assert idle.alive
