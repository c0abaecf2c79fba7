"""Under the shipped unit, whose cgroup is protected and preferred, the canary is an ordinary process all the same."""

import re
from collections.abc import Callable

import pytest

from .job import File, Job
from .machine import Machine
from .qemu import Hardware
from .result import Ending

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

LIMIT_S = 240
POLICY = """\
[[rule]]
name = "late"
when = "canary.late > 10s"
steps = ["warn"]
"""


def test_under_the_unit_the_canary_is_of_nobody_and_in_no_protected_cgroup(
    hardware: Hardware, installed: Callable[..., tuple[File, ...]]
) -> None:
    job = Job(
        script="""
            systemctl daemon-reload
            systemctl start okoomer.service  # returns when it says that it is ready
            await 60 pgrep -x okoomer-canary
            canary=$(pgrep -x okoomer-canary)
            echo "cgroup $(cat /proc/$canary/cgroup)"
            echo "adj $(cat /proc/$canary/oom_score_adj)"
            echo "nice $(ps -o ni= -p $canary)"
            grep -E '^(Uid|CapEff|VmLck|RssAnon):' /proc/$canary/status
            echo "min $(cat /sys/fs/cgroup/okoomer.service/memory.min)"
            echo "trouble $(journalctl --unit okoomer OKOOMER_EVENT=trouble --output cat)"
            kill -STOP $canary
            await 120 sh -c "journalctl --unit okoomer OKOOMER_EVENT=warned --output cat | grep -q ."
            kill -CONT $canary
            systemctl kill --kill-whom=main --signal=KILL okoomer.service
            await 60 sh -c "! kill -0 $canary"
            await 60 pgrep -x okoomer-canary
            echo "again $(pgrep -cx okoomer-canary)"
            systemctl stop okoomer.service
            await 60 sh -c "! pgrep -x okoomer-canary"
            echo "ended"
        """,
        voices=(),
        until="run",
        files=(*installed("okoomer.service"), File("/etc/okoomer/policy.toml", POLICY)),
        settle_s=0,
    )
    result = Machine(hardware).run(job, LIMIT_S)
    said = "\n".join(result.said("run"))
    print(said)

    assert result.ending is Ending.DONE, str(result)
    assert "cgroup 0::/\n" in said and "min 16777216" in said, said
    assert "adj 0\n" in said and re.search(r"nice +0\n", said), said
    assert "Uid:\t65534\t65534\t65534\t65534" in said and "CapEff:\t0000000000000000" in said, said
    assert re.search(r"VmLck:\s+0 kB", said), said
    assert "trouble \n" in said, said
    assert "again 1\n" in said and said.endswith("ended"), said
