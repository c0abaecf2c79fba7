"""okoomer installed whole, as `make install` does it, and a guest in which somebody can log in."""

import functools
from pathlib import Path

from . import cache
from .daemon import CHECKOUT, LAUNCHER, library
from .host import run
from .job import GUEST, File

#: What a login with a bus of its own needs, and an application that hears of low memory by GLib.
PACKAGES = ("dbus-user-session", "gir1.2-glib-2.0", "libpam-systemd", "python3-gi")

#: Voices: the notification server, an application that hears by GLib, one without a bus, and a terminal.
SCREEN, LISTENER, PRESSURE, TERMINAL = "screen", "listener", "pressure", "terminal"

PROGRAMS = ("session.sh", "screen.py", "listener.py", "pressure.py", "terminal.py")

#: What stands for a desktop: graphical-session.target cannot be started by itself.
DESKTOP = """\
[Unit]
BindsTo=graphical-session.target
Before=graphical-session.target
"""

#: The first lines of each job: what `make install` does after the files are there.
INSTALL = """
. /job/session.sh
systemd-sysusers okoomer.conf
systemctl daemon-reload
systemctl reload dbus.service
systemctl --quiet --global enable okoomer-desktop.service
"""


def installed() -> tuple[File, ...]:
    """All of okoomer, and the programs of a session."""
    tree = _tree()
    return (
        File("/opt/okoomer/lib", library()),
        File("/usr/bin/okoomer", LAUNCHER),
        *(File(f"/{top.name}", top) for top in sorted(tree.iterdir())),
        File("/etc/systemd/user/test-session.target", DESKTOP),
        *(File(f"/job/{name}", GUEST / name) for name in PROGRAMS),
    )


@functools.cache
def _tree() -> Path:
    """What `make install-files` puts onto a machine."""
    sources = [CHECKOUT / name for name in ("Makefile", "systemd", "dbus")]
    return cache.built("files", sources, lambda target: _install(target))


def _install(target: Path) -> None:
    run("make", "--silent", "--directory", CHECKOUT, "install-files", f"DESTDIR={target}")
