"""The OOM daemons that are compared, each as a distribution ships it or as its authors publish it.

    model.py          what is known about each
    guard.sh          shell functions for the guest
    kernel.py, earlyoom.py, nohang.py, oomd.py, systemd_oomd.py, thrash_protect.py, okoomer.py
    places.py         okoomer in the places of others, and others as a scenario asks for them

A job takes ``daemon.files()`` among its files, ``VOICES`` among its voices, and ``daemon.script`` before its
own lines: after that the daemon is ready, and no other one runs or can be started. One image, ``image(*PACKAGES)``,
has them all.
"""

from .earlyoom import EARLYOOM, EARLYOOM_FEDORA
from .kernel import NONE, NONE_MGLRU
from .model import APPS, REASON, VOICE, VOICES, Daemon, Setting
from .nohang import NOHANG, NOHANG_DESKTOP
from .okoomer import OKOOMER, OKOOMER_CONTAINERS, OKOOMER_SERVER
from .oomd import OOMD
from .places import OKOOMER_OOMD, OKOOMER_SLICES, OKOOMER_SYSTEMD_OOMD, OOMD_SLICES
from .systemd_oomd import SYSTEMD_OOMD, SYSTEMD_OOMD_FEDORA
from .thrash_protect import THRASH_PROTECT

__all__ = ["APPS", "DAEMONS", "EVERYBODY", "PACKAGES", "REASON", "VOICE", "VOICES", "Daemon", "Setting", "contestant"]

#: In the order of a table: these play in all scenarios.
DAEMONS: dict[str, Daemon] = {
    daemon.name: daemon
    for daemon in (
        NONE, NONE_MGLRU, EARLYOOM, EARLYOOM_FEDORA, NOHANG, NOHANG_DESKTOP, OOMD, SYSTEMD_OOMD, SYSTEMD_OOMD_FEDORA,
        THRASH_PROTECT, OKOOMER, OKOOMER_SERVER,
    )
}  # fmt: skip

#: With those that play only where a scenario names them.
EVERYBODY: dict[str, Daemon] = DAEMONS | {
    daemon.name: daemon
    for daemon in (OOMD_SLICES, OKOOMER_OOMD, OKOOMER_SYSTEMD_OOMD, OKOOMER_SLICES, OKOOMER_CONTAINERS)
}

LOADS = ("stress-ng", "tmux")  # what scenarios run

#: Of all daemons and scenarios.
PACKAGES = tuple(sorted({*LOADS, *(package for daemon in DAEMONS.values() for package in daemon.packages)}))


def contestant(name: str, point: str = "") -> Daemon:
    """A daemon by its name, and at a point of its sweep by the point's label."""
    daemon = EVERYBODY[name]
    if not point:
        return daemon
    settings = {setting.label: setting for setting in daemon.sweep}
    if point not in settings:
        raise ValueError(f"{name} has no point {point!r}; it has {', '.join(settings) or 'none'}")
    return daemon.at(settings[point])
