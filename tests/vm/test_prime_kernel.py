"""Whom okoomer would take is first for the kernel's own killer, under the shipped unit, when memory really runs out."""

from collections.abc import Callable

import pytest

from .job import File, Job
from .machine import Machine
from .qemu import Hardware
from .result import Ending, Result

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

LIMIT_S = 240

#: Holds most of what there is until it is told to let go; whoever it starts has an order of its own.
HOG = """
import os, sys, time
held = bytearray(b"x") * (500 << 20)
child = 0
while True:
    time.sleep(0.1)
    if not child and os.path.exists("/run/fork"):
        child = os.fork()
        if child == 0:
            held = None
            try:
                with open("/proc/self/oom_score_adj", "w") as file:
                    file.write("167")
                print("the child has its own order", flush=True)
            except OSError as error:
                print("the child was refused:", error, flush=True)
            time.sleep(3600)
    if os.path.exists("/run/drop"):
        held = None
"""

#: Holds 200 MiB, and is python3.
HOLDER = """#!/bin/sh
exec python3 -c 'import time; held = bytearray(b"x") * (200 << 20); time.sleep(3600)'
"""

PRIMES = """
prime = true
spare = ["name:holder"]
[[rule]]
name = "low"
when = "mem.available < {level}"
"""


def ran(
    hardware: Hardware, files: tuple[File, ...], level: str, hog: File, voices: tuple[str, ...], script: str
) -> Result:
    """What comes of a script beside a guard that primes once less than so much is available."""
    job = Job(
        script=f"systemctl daemon-reload\nsystemctl start okoomer.service\n{script}",
        voices=voices,
        until="run",
        files=(*files, hog, File("/etc/okoomer/policy.toml", PRIMES.format(level=level))),
        settle_s=0,
    )
    result = Machine(hardware).run(job, LIMIT_S)
    print("\n".join(result.said("run")))
    assert result.ending is Ending.DONE, str(result)
    return result


def test_the_unit_may_raise_and_lower_whom_the_kernel_would_take_first(
    hardware: Hardware, installed: Callable[..., tuple[File, ...]]
) -> None:
    result = ran(
        hardware,
        installed("okoomer.service"),
        level="20%",
        hog=File("/job/hog.py", HOG),
        voices=("hog",),
        script="""
            start hog user python3 /job/hog.py
            await 120 holds hog 500
            hog=$(systemctl show --value --property=MainPID hog)
            await 60 grep -qx 987 /proc/$hog/oom_score_adj && echo "the hog is first"
            okoomer status | grep '^primed:'
            touch /run/fork
            await 60 grep -q . /proc/$hog/task/$hog/children
            read -r child _ </proc/$hog/task/$hog/children || true  # the list ends without a newline
            await 60 grep -qx 167 /proc/$child/oom_score_adj && echo "the child is itself"
            touch /run/drop
            await 60 grep -qx 0 /proc/$hog/oom_score_adj && echo "the hog is as before"
            grep -qx 167 /proc/$child/oom_score_adj && echo "the child is as it was"
            journalctl --unit okoomer --output export | grep -aE '^(OKOOMER_EVENT|MESSAGE)='
            systemctl stop okoomer.service
            systemctl show --property=Result,NRestarts okoomer.service
        """,
    )
    said = "\n".join(result.said("run"))
    for sentence in (
        "the hog is first",
        "primed: python3 (pid ",
        "the child is itself",
        "the hog is as before",
        "the child is as it was",
    ):
        assert sentence in said, str(result)
    assert "the child has its own order" in result.said("hog"), str(result)
    # Whoever looks at the state is new and grows, so somebody else may be first for a moment.
    hog = said.partition("the kernel's own killer would take python3 (pid ")[2].partition(")")[0]
    assert f"python3 (pid {hog}) has its own oom_score_adj again" in said, said
    assert "could not be primed" not in said and "is not told whom to take" not in said, said
    # The rehearsal ends a child of the guard's own.
    assert {kill.target.comm for kill in result.kills} <= {"okoomer"}, str(result)
    assert "Result=success" in said and "NRestarts=0" in said, str(result)


def test_the_kernel_takes_whom_okoomer_would_take_when_that_hangs(
    hardware: Hardware, installed: Callable[..., tuple[File, ...]]
) -> None:
    result = ran(
        hardware,
        installed("okoomer.service"),
        level="15%",
        hog=File("/job/hog", HOLDER),
        voices=("innocent", "hog", "filler"),
        script="""
            start innocent user /opt/vm/holder 350
            await 120 holds innocent 350
            start hog user /job/hog 200
            await 120 holds hog 200
            hog=$(systemctl show --value --property=MainPID hog)
            await 60 grep -qx 987 /proc/$hog/oom_score_adj && echo "the hog is first"
            systemctl kill --kill-whom=main --signal=STOP okoomer.service
            start filler user tail /dev/zero
            await 120 ended hog
            await 120 ended filler
            systemctl kill --kill-whom=main --signal=CONT okoomer.service
        """,
    )
    assert "the hog is first" in result.said("run"), str(result)
    # The innocent has most of all; the kernel alone would have begun with it.
    killed = [kill.target.comm for kill in result.kills if kill.by_kernel_oom]
    assert killed == ["python3", "tail"], str(result)
    assert "innocent" in result.alive, str(result)
