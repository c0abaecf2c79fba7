"""This checkout's okoomer, under the unit that it ships."""

from pathlib import Path

from tests.vm import daemon
from tests.vm.job import File

from .model import Daemon, Setting, guest_files, heard, setup, start

UNIT = "okoomer.service"
LIBRARY = "/opt/okoomer/lib"
POLICY = "/etc/okoomer/lab.toml"

RECORD = r'"event": "chosen", .*?"reason": "(?P<why>[^"]+)", .*?"name": "(?P<victim>[^"]+)"'


def _files(directory: Path, preset: str) -> tuple[File, ...]:
    made = daemon.okoomer()
    command = f"ExecStart=/usr/bin/okoomer run --json --policy {preset}"
    return guest_files(
        *(file for file in made.files if file.path == LIBRARY),
        File("/usr/bin/okoomer", daemon.LAUNCHER),
        File(f"/etc/systemd/system/{UNIT}", daemon.CHECKOUT / "systemd" / UNIT),
        heard(UNIT, "ExecStart=", command),
    )


def _okoomer(name: str, preset: str, share: int, shares: tuple[int, ...]) -> Daemon:
    """With one of its presets, in which the most sensitive rule for stalls acts at this share of time."""
    condition = "psi.memory.full > {}% over 2s"
    lines = f"""\
if [ -n "$setting" ]; then
    mkdir -p {POLICY.rpartition("/")[0]}
    cp {LIBRARY}/okoomer/policy/presets/{preset}.toml {POLICY}
    change {POLICY} '{condition.format(share)}' "{condition.format("$setting")}"
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
        files=lambda directory: _files(directory, preset),
        setup=setup(lines, UNIT),
        # It tells systemd when it is ready.
        start=start(UNIT, f"systemctl --quiet is-active {UNIT}"),
        version="okoomer --version",
        reason=RECORD,
        sweep=tuple(Setting(f"full stall {share} %", str(share)) for share in shares),
    )


OKOOMER = _okoomer("okoomer", "desktop", 15, (5, 10, 15, 30, 60))
OKOOMER_SERVER = _okoomer("okoomer-server", "server", 20, (5, 10, 20, 40, 60))
