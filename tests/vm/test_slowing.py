"""A service that grows is slowed down: it alone, with nobody else's doing, and never for longer than it should be.

Who had which limit when, and who waited, is judged by the guest's own files, never seconds of ours.
"""

import re
from collections.abc import Callable

import pytest

from .job import File, Job
from .machine import DiskSwap, Machine
from .qemu import Hardware
from .result import Ending

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

LIMIT_S = 300
#: What is slowed stalls most of the time: the second rule would fire at once if that were taken for others' stall.
POLICY = """
[[rule]]
name  = "crowding"
when  = "mem.available < 60%"
until = "mem.available > 99%"
unit  = "auto"
least = "64MiB"
steps = ["slow 5s"]
rest  = "1h"

[[rule]]
name  = "others"
when  = "psi.memory.some > 20% over 2s"
steps = ["warn"]
"""
LONGER = POLICY.replace('"slow 5s"', '"slow 10min cpu 50%"')
#: A guard that was killed is not started anew: that would slow it down again.
ONCE = "[Service]\nRestart=no\n"


def test_a_service_that_grows_is_slowed_down_alone_and_has_its_own_limits_again_also_when_the_guard_is_killed(
    hardware: Hardware, installed: Callable[..., tuple[File, ...]]
) -> None:
    job = Job(
        script="""
            slowed() { ! grep -q max "$1/memory.high"; }
            has() {
                held=$(cat "$(group "$1")/memory.current") out=$(cat "$(group "$1")/memory.swap.current")
                [ $((held + out)) -ge $(($2 * 1000000)) ]
            }
            told() { journalctl --unit okoomer --output cat | grep -q "$1"; }
            stalls() {
                echo "$1: machine $(sed -n 's/^some.*total=//p' /proc/pressure/memory)" \\
                    "hog $(sed -n 's/^some.*total=//p' $group/memory.pressure)" \\
                    "neighbour $(sed -n 's/^some.*total=//p' $(group neighbour)/memory.pressure)"
            }
            start neighbour user /opt/vm/hog 0 100 again  # it touches what it has, over and over
            await 40 holds neighbour 100
            systemctl daemon-reload
            mkdir /etc/okoomer
            cp /job/policy.toml /etc/okoomer/policy.toml
            systemctl start okoomer.service  # returns when it says that it is ready
            start hog user /opt/vm/hog 40 480
            group=$(group hog)
            await 60 slowed $group
            stalls before
            sleep 3
            echo "slowed: high $(cat $group/memory.high) current $(cat $group/memory.current)"
            stalls after
            await 40 grep -q max $group/memory.high
            await 20 told 'is slowed down no more'
            await 40 has hog 480  # it goes on as it was
            systemctl stop hog okoomer
            journalctl --unit okoomer --output cat

            cp /job/longer.toml /etc/okoomer/policy.toml
            systemctl start okoomer.service
            start second user /opt/vm/hog 20 480
            systemctl set-property --runtime second.service CPUWeight=50  # so that there is a cpu.max
            group=$(group second)
            await 60 slowed $group
            await 20 grep -q '^50000 ' $group/cpu.max
            echo "second: high $(cat $group/memory.high) cpu $(cat $group/cpu.max)"
            stalls awake
            echo 1 >$group/cgroup.freeze
            await 20 grep -q '^frozen 1' $group/cgroup.events
            stalls frozen
            sleep 2
            stalls still
            echo 0 >$group/cgroup.freeze
            kill -9 $(systemctl show --value -p MainPID okoomer)
            await 40 grep -q max $group/memory.high
            await 40 grep -q '^max ' $group/cpu.max
            echo "killed: high $(cat $group/memory.high) cpu $(cat $group/cpu.max)"
        """,
        voices=("neighbour", "hog", "second"),
        until="run",
        files=(
            *installed("okoomer.service"),
            File("/job/policy.toml", POLICY),
            File("/job/longer.toml", LONGER),
            File("/etc/systemd/system/okoomer.service.d/once.conf", ONCE),
        ),
        settle_s=0,
    )
    result = Machine(hardware, DiskSwap(512)).run(job, LIMIT_S)
    said = "\n".join(result.said("run"))
    print(said)
    assert result.ending is Ending.DONE and "waited in vain" not in said, str(result)
    ended = {kill.target.comm for kill in result.kills if kill.sender.unit == "okoomer.service"}
    assert not ended & {"hog"}, str(result)
    assert "neighbour" in result.alive
    # It may have been a little above while the kernel took something back.
    high, current = map(int, re.findall(r"slowed: high (\d+) current (\d+)", said)[0])
    assert high > 64 << 20 and current < high * 1.1
    before, after, frozen, still = (
        [int(total) for total in re.findall(rf"{when}: machine (\d+) hog (\d+) neighbour (\d+)", said)[0]]
        for when in ("before", "after", "frozen", "still")
    )
    machine, hog, neighbour = (now - then for now, then in zip(after, before, strict=True))
    assert machine > 400_000 and hog > 400_000, "it was not slowed down at all"
    assert neighbour < hog / 10, "its neighbour has noticed"
    assert "rule others warns" not in said, "its own stall was taken for others'"
    assert still[1] - frozen[1] < 100_000, "whoever is paused stalls no more, so there is nothing to excuse"
    assert "killed: high max cpu max 100000" in said and "second: high" in said
