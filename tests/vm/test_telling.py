"""okoomer installed whole, under systemd: all who listen are told of a hog's end, through the sandboxes."""

from __future__ import annotations

import pytest

from . import services
from .job import File, Job
from .machine import DiskSwap, Machine
from .qemu import Hardware
from .test_services import hardware as hardware  # the fixture
from .test_services import installed as installed  # the fixture
from .test_services import played

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]  # the first one builds the guest

COURIER = """\
metrics = "127.0.0.1:9779"
wall = true
"""

HOOKS = """
[[hook]]
on = "died"
run = "/opt/hook plain $NAME"

[[hook]]
on = "died"
run = "/opt/hook named $NAME"
user = "user"
"""

HOOK = """\
#!/bin/sh
echo "hook $1 of $2 as $(id -un):$(id -Gn | tr ' ' ,), home $HOME, $OKOOMER_EVENT"
"""

TOLD = f"""
{services.INSTALL}
mkdir -p /usr/share/wayland-sessions
touch /usr/share/wayland-sessions/test.desktop
cat /opt/okoomer/lib/okoomer/policy/presets/desktop.toml /job/hooks.toml >/etc/okoomer/policy.toml
login user
graphical user
systemctl start okoomer okoomer-courier
await 60 inside user systemctl --user --quiet is-active okoomer-desktop
start listener user python3 -B /job/listener.py
start pressure user env MEMORY_PRESSURE_WATCH=/run/okoomer-courier/pressure python3 -B /job/pressure.py
start terminal root python3 -B /job/terminal.py
start innocent user /opt/vm/holder 100
await 120 holds innocent 100
sleep 3
start hog user /opt/vm/hog 40 4096
await 200 ended hog
await 30 shows '"summary": "hog was ended"'
await 30 sh -c "journalctl --unit okoomer --output cat | grep -q 'hook named of hog'"
await 30 sh -c "journalctl --unit okoomer-courier --output cat | grep -q 'hook plain of hog'"
python3 -c '
from urllib.request import urlopen
print(urlopen("http://127.0.0.1:9779/metrics", timeout=10).read().decode())' | grep '^okoomer_'
for unit in okoomer okoomer-courier; do
    grep -E '^(Uid|Groups|CapBnd|Seccomp|NoNewPrivs|RssAnon):' \\
        /proc/$(systemctl show --value -p MainPID $unit)/status | sed "s/^/$unit: /"
done
journalctl --unit okoomer --unit okoomer-courier --output cat
systemctl stop okoomer-courier okoomer
systemctl show --property=Id,Result,NRestarts okoomer okoomer-courier
"""


def test_a_hog_ends_and_all_who_listen_are_told_through_the_sandbox(
    hardware: Hardware, installed: tuple[File, ...]
) -> None:
    job = Job(
        script=TOLD,
        voices=(
            services.SCREEN,
            services.LISTENER,
            services.PRESSURE,
            services.TERMINAL,
            "innocent",
            "hog",
        ),  # fmt: skip,
        until="run",
        files=(
            *installed,
            File("/etc/okoomer/courier.toml", COURIER),
            File("/job/hooks.toml", HOOKS),
            File("/opt/hook", HOOK),
        ),
        settle_s=1,
    )
    result, said = played(Machine(hardware, DiskSwap(512)), job)
    kills = [kill for kill in result.kills if kill.target.comm == "hog"]
    assert kills and {kill.sender.unit for kill in kills} == {"okoomer.service"}, str(result)
    assert "innocent" in result.alive
    listened = result.said(services.LISTENER)
    assert "listens by GMemoryMonitorDBus" in listened
    levels = [line for line in listened if line.startswith("level ")]
    assert {"level 50", "level 100", "level 255"} <= set(levels) and levels[0] == "level 50", levels
    assert "pressed" in result.said(services.PRESSURE)
    assert any("hog" in line for line in result.said(services.TERMINAL))
    # Once, by the agent, and never by the bus for those who have none.
    assert sum('"summary": "hog was ended"' in line for line in result.said(services.SCREEN)) == 1
    assert "hook plain of hog as okoomer:okoomer,tty, home" in said
    assert "hook named of hog as user:user, home /home/user, died" in said
    assert "okoomer_actions_total{" in said
    assert "okoomer-courier: CapBnd:\t0000000000000000" in said
    assert "okoomer-courier: NoNewPrivs:\t1" in said and "okoomer-courier: Seccomp:\t2" in said
    assert said.count("Result=success") == 2 and said.count("NRestarts=0") == 2
