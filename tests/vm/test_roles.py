"""The units that take the places of other daemons: with their own files, and inside their own sandboxes."""

from collections.abc import Callable

import pytest

from .job import File, Job
from .machine import Machine
from .qemu import Hardware
from .result import Ending

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

LIMIT_S = 240

NOTE = """\
#!/bin/sh
echo "the hook was told of $EARLYOOM_NAME"
"""


def test_the_unit_in_earlyooms_place_kills_by_the_options_in_earlyooms_file(
    hardware: Hardware, installed: Callable[..., tuple[File, ...]]
) -> None:
    job = Job(
        script="""
            start innocent user /opt/vm/holder 100
            await 120 holds innocent 100
            systemctl daemon-reload
            systemctl start earlyoom.service  # returns when it says that it is ready
            start hog user tail /dev/zero
            await 120 ended hog
            await 20 sh -c "journalctl --unit earlyoom --output cat | grep -q 'the hook was told of tail'"
            journalctl --unit earlyoom --output cat
            systemctl stop earlyoom.service
            systemctl show --property=Result,NRestarts earlyoom.service
        """,
        voices=("innocent", "hog"),
        until="run",
        files=(
            *installed("earlyoom.service"),
            File("/etc/default/earlyoom", 'EARLYOOM_ARGS="-r 3600 -m 12 --avoid ^init$ -N /opt/note"\n'),
            File("/opt/note", NOTE),
        ),
        settle_s=0,
    )
    result = Machine(hardware).run(job, LIMIT_S)
    said = "\n".join(result.said("run"))
    print(said)

    assert result.ending is Ending.DONE, str(result)
    assert "sending SIGTERM when mem avail <= 12.00%" in said and "mem avail: " in said, str(result)
    assert " to process " in said and '"tail"' in said, str(result)
    kills = [kill for kill in result.kills if kill.target.comm == "tail"]
    assert kills and {kill.sender.unit for kill in kills} == {"earlyoom.service"}, str(result)
    assert not any(kill.by_kernel_oom for kill in result.kills), str(result)
    assert "innocent" in result.alive, str(result)
    assert "forbidden" not in said and "cannot be" not in said, "the sandbox is in the way:\n" + said
    assert "Result=success" in said and "NRestarts=0" in said, str(result)
