"""A hog that its owner may want to keep, under the shipped unit: paused for a moment, asked about, and each answer
carried out."""

from collections.abc import Callable

import pytest

from .job import File, Job
from .machine import Machine
from .qemu import Hardware
from .result import Ending

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

LIMIT_S = 400  # on a busy host
POLICY = """
[[rule]]
name   = "hurting"
when   = "mem.available < 45%"
rank   = "growth"
target = "60%"
steps  = ["pause 300ms 1 times", "pause 200ms", "ask 5min", "term 5s", "kill"]
rest   = "200ms"
"""


def test_who_is_asked_about_runs_on_ends_or_keeps_a_ceiling_as_is_answered(
    hardware: Hardware, installed: Callable[..., tuple[File, ...]]
) -> None:
    job = Job(
        script="""
            asked() {
                start "$1" user /opt/vm/hog 40 650
                await 120 sh -c 'okoomer answer --json | grep -q "\\"question\\""'
                okoomer answer --json
                echo "state $(sed 's/.*) //; s/ .*//' "/proc/$(cat "$(group "$1")/cgroup.procs")/stat")"
            }
            start innocent user /opt/vm/holder 100
            await 120 holds innocent 100
            systemctl daemon-reload
            systemctl start okoomer.service  # returns when it says that it is ready

            asked kept
            okoomer answer resume
            await 60 holds kept 640
            systemctl stop kept

            asked ended
            okoomer answer end
            await 60 ended ended

            asked limited
            okoomer answer limit 900MiB
            echo "ceiling $(cat "$(group limited)/memory.high")"
            await 60 holds limited 640
            journalctl --unit okoomer --output cat
        """,
        voices=("innocent", "kept", "ended", "limited"),
        until="run",
        files=(*installed("okoomer.service"), File("/etc/okoomer/policy.toml", POLICY)),
        settle_s=0,
    )
    result = Machine(hardware).run(job, LIMIT_S)
    said = result.said("run")
    assert result.ending is Ending.DONE, str(result)
    assert [line for line in said if line.startswith("state")] == ["state T"] * 3, str(result)
    assert f"ceiling {900 << 20}" in said, str(result)
    assert not any("waited in vain" in line for line in said), str(result)
    log = "\n".join(said)
    # Each of them once for a moment, and once more until it was answered for.
    assert log.count("stands still by rule hurting") == 6, str(result)
    assert log.count("it was for a moment only") == 3, str(result)
    signals = [kill for kill in result.kills if kill.sender.unit == "okoomer.service" and kill.target.comm == "hog"]
    assert len(signals) == 1 and not any(kill.by_kernel_oom for kill in result.kills), str(result)
    assert "innocent" in result.alive, str(result)
