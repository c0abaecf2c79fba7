"""This checkout's okoomer, under the unit that it ships."""

import shlex

from tests.vm import daemon
from tests.vm.job import File

from .model import Daemon, Setting, guest_files, heard, setup, start

UNIT = "okoomer.service"
LIBRARY = "/opt/okoomer/lib"
PLACE = "/etc/okoomer"
POLICY = f"{PLACE}/lab.toml"

RECORD = r'"event": "signalled", .*?"name": "(?P<victim>[^"]+)", .*?"reason": "(?P<why>[^"]+)"'


def _files(preset: str) -> tuple[File, ...]:
    command = f"ExecStart=/usr/bin/okoomer run --service --json --policy {preset}"
    return guest_files(*daemon.installed(UNIT), heard(UNIT, "ExecStart=", command))


# The share of time that a stall must take, in all rules of a policy, times the second argument; 95 % at most, since
# no stall takes all of it.
SCALE = r"""
import re, sys
stall = re.compile(r"(psi[.]memory[.]\w+ > )(\d+)%")
policy = open(sys.argv[1]).read()
if not stall.search(policy):
    sys.exit("no rule acts on stalls")
scaled = lambda found: f"{found[1]}{min(95, round(int(found[2]) * float(sys.argv[2])))}%"
print(stall.sub(scaled, policy), end="")
"""


def _okoomer(name: str, preset: str) -> Daemon:
    lines = f"""\
if [ -n "$setting" ]; then
    mkdir -p {PLACE}
    python3 -c {shlex.quote(SCALE)} {LIBRARY}/okoomer/policy/presets/{preset}.toml "$setting" >{POLICY}
    change /etc/systemd/system/{UNIT}.d/lab.conf '--policy {preset}' '--policy {POLICY}'
    systemctl daemon-reload
fi
"""
    return Daemon(
        name=name,
        title=f"okoomer, {preset}",
        settings=f"This checkout, under its own unit, with the preset {preset}.",
        unit=UNIT,
        packages=("python3",),
        files=lambda: _files(preset),
        setup=setup(lines, UNIT),
        # It tells systemd when it is ready.
        start=start(UNIT, f"systemctl --quiet is-active {UNIT}"),
        version="okoomer --version",
        reason=RECORD,
        sweep=tuple(Setting(f"stalls x {times}", times) for times in ("0.25", "0.5", "1", "1.5", "2")),
    )


OKOOMER = _okoomer("okoomer", "desktop")
OKOOMER_SERVER = _okoomer("okoomer-server", "server")
OKOOMER_CONTAINERS = _okoomer("okoomer-containers", "containers")
