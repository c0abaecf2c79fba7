"""The terminals at which people are logged in, and writing to them."""

from __future__ import annotations

import os
from _stat import S_ISCHR, S_IWGRP
from _struct import unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: Who is logged in: the list that login(1) and sshd keep, and the files of systemd-logind, where there is no such list
#: any more.
UTMP, SESSIONS, DEVICES = "/run/utmp", "/run/systemd/sessions", "/dev"
#: utmp(5): the type of an entry of somebody who is logged in; the sizes that entries have, by machine; at most so many
#: bytes of the list, and so many terminals.
USER_PROCESS, ENTRIES, MOST, TERMINALS = 7, (384, 400), 1 << 20, 256
_KNOWN = range(10)


def terminals(utmp: str = UTMP, sessions: str = SESSIONS, devices: str = DEVICES) -> list[str]:
    """The paths of the terminals at which somebody is logged in. A terminal that a program made for another program is
    none of them: what is written there would be taken for the other's own words."""
    lines = sorted({line for line in [*_of_utmp(utmp), *_of_sessions(sessions)] if _is_line(line)})
    return [f"{devices}/{line}" for line in lines[:TERMINALS]]


def write(path: str, text: bytes) -> bool:
    """Writes to a terminal, if its user lets others (mesg(1)); what it does not take at once is lost.

    Returns:
        Whether anything was written.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        mode = os.fstat(fd).st_mode
        return bool(S_ISCHR(mode) and mode & S_IWGRP and os.isatty(fd) and os.write(fd, text))
    except OSError:
        return False  # held up by its user, or hung up
    finally:
        os.close(fd)


def _of_utmp(path: str) -> Iterable[str]:
    data = _read(path)
    # Two machines' lists are as long only by chance, and then the other's types make no sense.
    for size in ENTRIES:
        starts = range(0, len(data), size)
        if len(data) % size == 0 and all(unpack_from("h", data, start)[0] in _KNOWN for start in starts):
            return [
                data[start + 8 : start + 40].partition(b"\0")[0].decode("ascii", "replace")
                for start in starts
                if unpack_from("h", data, start)[0] == USER_PROCESS
            ]
    return []


def _of_sessions(directory: str) -> list[str]:
    try:
        names = os.listdir(directory)[: 4 * TERMINALS]
    except OSError:
        return []
    found = []
    for name in names:
        # Beside each session's file may stand a pipe, NAME.ref.
        for line in _read(f"{directory}/{name}").decode("ascii", "replace").splitlines() if "." not in name else ():
            key, _, value = line.partition("=")
            if key == "TTY":
                found.append(value.removeprefix("/dev/"))
    return found


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(fd, MOST)
        finally:
            os.close(fd)
    except OSError:
        return b""


def _is_line(line: str) -> bool:
    """Whether it is what a terminal can be called below /dev: `pts/3`, `tty1`, `ttyS0`, `hvc0`."""
    directory, slash, name = line.rpartition("/")
    if slash:
        return directory == "pts" and name.isascii() and name.isdigit()
    return name.startswith(("tty", "hvc", "xvc")) and name.isascii() and name.isalnum()
