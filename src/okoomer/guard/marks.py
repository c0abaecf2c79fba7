"""Marks on a cgroup that was ended whole, as extended attributes: systemd makes the unit's result and the desktop's
notification of them, and other tools count by them. That they cannot be set is no trouble."""

from __future__ import annotations

import posix as os

NAMESPACES = ("user", "trusted")


def foretell(directory: int) -> None:
    """Its end is near: `oomd_ooms` counts one more. This has to be there before its processes are gone, since systemd
    looks when they are."""
    for namespace in NAMESPACES:
        _add(directory, f"{namespace}.oomd_ooms", 1)


def count(directory: int, killed: int) -> None:
    """So many of its processes have been killed: `oomd_kill` grows by that, and the kill has a name of its own."""
    name = os.urandom(16).hex().encode()
    for namespace in NAMESPACES:
        _add(directory, f"{namespace}.oomd_kill", killed)
        _set(directory, f"{namespace}.oomd_kill_uuid", name)


def _add(directory: int, attribute: str, more: int) -> None:
    try:
        before = int(os.getxattr(directory, attribute))
    except (OSError, ValueError):
        before = 0
    _set(directory, attribute, b"%d" % (before + more))


def _set(directory: int, attribute: str, value: bytes) -> None:
    try:
        os.setxattr(directory, attribute, value)
    except OSError:
        pass
