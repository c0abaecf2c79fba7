"""The shipped unit: it starts, it is restricted as it says, and it kills for real inside its own sandbox."""

from collections.abc import Callable

import pytest

from .job import File, Job
from .machine import Machine
from .qemu import Hardware
from .result import Ending

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

LIMIT_S = 240


def test_the_unit_kills_under_its_own_restrictions(
    hardware: Hardware, installed: Callable[..., tuple[File, ...]]
) -> None:
    job = Job(
        script="""
            start innocent user /opt/vm/holder 100
            await 120 holds innocent 100
            systemctl daemon-reload
            systemctl start okoomer.service  # returns when it says that it is ready
            systemctl show --property=ActiveState,WatchdogUSec okoomer.service
            grep -E '^(CapBnd|Seccomp|NoNewPrivs|VmLck):' /proc/$(systemctl show --value -p MainPID okoomer)/status
            mkdir /etc/okoomer
            cp /opt/okoomer/lib/okoomer/policy/presets/server.toml /etc/okoomer/policy.toml
            systemctl reload okoomer.service
            await 60 sh -c "journalctl --unit okoomer --output cat | grep -q 'was loaded again'"
            start hog user tail /dev/zero
            await 120 ended hog
            await 20 test -n "$(journalctl --unit okoomer OKOOMER_EVENT=died --output cat)"
            journalctl --unit okoomer --output export | grep -aE '^(OKOOMER_EVENT|PRIORITY|MESSAGE)='
            systemctl stop okoomer.service
            systemctl show --property=Result,NRestarts okoomer.service
        """,
        voices=("innocent", "hog"),
        until="run",
        files=installed("okoomer.service"),
        settle_s=0,
    )
    result = Machine(hardware).run(job, LIMIT_S)
    said = "\n".join(result.said("run"))
    print(said)

    assert result.ending is Ending.DONE, str(result)
    assert "ActiveState=active" in said and "WatchdogUSec=30s" in said, str(result)
    # DAC_OVERRIDE 1, DAC_READ_SEARCH 2, KILL 5, SETGID 6, SETUID 7, IPC_LOCK 14, SYS_PTRACE 19, SYS_NICE 23,
    # SYS_RESOURCE 24, no others.
    assert f"CapBnd:\t{sum(1 << bit for bit in (1, 2, 5, 6, 7, 14, 19, 23, 24)):016x}" in said, str(result)
    assert "Seccomp:\t2" in said and "NoNewPrivs:\t1" in said, str(result)
    kills = [kill for kill in result.kills if kill.target.comm == "tail"]
    assert kills and {kill.sender.unit for kill in kills} == {"okoomer.service"}, str(result)
    assert not any(kill.by_kernel_oom for kill in result.kills), str(result)
    assert "innocent" in result.alive, str(result)
    for event in ("started", "chosen", "signalled", "died"):
        assert f"OKOOMER_EVENT={event}" in said, str(result)
    assert "the policy was loaded again from /etc/okoomer/policy.toml" in said, str(result)
    assert "forbidden" not in said and "cannot be" not in said, "the sandbox is in the way:\n" + said
    assert "Result=success" in said and "NRestarts=0" in said, str(result)
