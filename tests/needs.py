"""Installs what the tests need beyond Python packages: Debian's, as root. Anybody else is told which are missing, and
the tests that need them skip and say so. Run with any Python 3.11; imports the standard library only."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.vm.host import PACKAGES, HostError, missing, provide_tools

#: A screen with notifications on it.
SCREEN = ("xvfb", "dunst", "notification-daemon", "xdotool", "imagemagick")
#: Programs that speak with okoomer on a bus.
CLIENTS = ("python3-gi", "gir1.2-glib-2.0", "libglib2.0-bin", "systemd", "xdg-desktop-portal")
#: What people work with, to be paused.
PROGRAMS = ("nano", "sudo", "tmux", "gir1.2-gtk-3.0")
#: Guests, and a bus of our own.
NEEDED = (*PACKAGES, "dbus-daemon", "dbus-bin", *SCREEN, *CLIENTS, *PROGRAMS)


def main() -> int:
    if shutil.which("dpkg-query") is None:
        print("no Debian here: the tests that run peers or a virtual machine will skip", file=sys.stderr)
        return 0
    absent = missing(NEEDED)
    if absent and os.geteuid() != 0:
        print(f"some tests will skip; as root: apt-get install {' '.join(absent)}", file=sys.stderr)
        return 0
    try:
        provide_tools(NEEDED)
    except (HostError, RuntimeError) as error:
        print(f"some tests will skip: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
