"""What the doctor finds out about those who tell others: the courier, its names on the bus, and a session's agent."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from okoomer.cli import place
from okoomer.cli.bus import NAME as OKOOMER
from okoomer.cli.desktop import session_bus
from okoomer.cli.errors import Complaint
from okoomer.cli.finding import Finding
from okoomer.cli.owners import Owners
from okoomer.cli.services import services
from okoomer.courier import Services
from okoomer.courier.low_memory import NAME as LOW_MEMORY
from okoomer.desktop.agent import NAME as AGENT
from okoomer.desktop.screen import NAME as NOTIFICATIONS
from okoomer.kernel import process

UNIT = "okoomer-courier.service"
#: Where units are, as systemd.unit(5) has it.
UNITS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
#: The courier's processes are called so.
COURIER = "okoomer-courier"
_UNTOLD = "applications are not warned, nobody is told or asked, and hooks without a user are not run"
_LOG = f"journalctl -u {UNIT} says why"


def courier() -> Iterator[Finding]:
    """The courier that is a service, where it is installed: its user, its process, its configuration, its names."""
    if not any(Path(directory, UNIT).exists() for directory in UNITS):
        return
    offered = None
    try:
        offered = services(place.COURIER)
    except Complaint as error:
        yield Finding(True, f"{place.COURIER} cannot be used", str(error), f"correct it; systemctl restart {UNIT}")
    try:
        user = pwd.getpwnam(place.COURIER_USER).pw_uid
    except KeyError:
        mend = f"systemd-sysusers okoomer.conf && systemctl restart okoomer {UNIT}"
        yield Finding(True, f"there is no user {place.COURIER_USER}, as whom {UNIT} runs", _UNTOLD, mend)
        return
    runs = any(process.users("/proc", int(pid)) == {user} for pid in process.pids("/proc") if _name(pid) == COURIER)
    if not runs:
        mend = f"systemctl enable --now {UNIT}; {_LOG} if it ends"
        yield Finding(True, f"{UNIT} is installed and does not run", _UNTOLD, mend)
    if offered and (offered.low_memory_monitor or offered.okoomer1):
        yield from names(offered, runs)


def names(offered: Services, runs: bool) -> Iterator[Finding]:
    """The system bus, and who owns the names there that the courier should.

    Args:
        runs: Whether there is a courier.
    """
    try:
        bus = Owners("SYSTEM")
    except OSError as error:
        cost = "applications are not warned, and no desktop is told or asked; pressure sockets, terminals and mail work"
        yield Finding(False, f"there is no system bus ({error})", cost, "apt-get install dbus")
        return
    try:
        pid = bus.pid(LOW_MEMORY) if offered.low_memory_monitor else 0
        owner = _name(pid) if pid else COURIER
        if owner != COURIER:
            # A process's name has 15 bytes.
            known = "low-memory-monitor".startswith(owner) and len(owner) == 15
            mend = "systemctl disable --now low-memory-monitor.service" if known else f"end it (pid {pid})"
            cost = "applications hear its warnings and not okoomer's, which go by pressure and scarcity together"
            what = f"{owner or 'somebody else'} (pid {pid}) owns {LOW_MEMORY}"
            yield Finding(True, what, cost, f"{mend}, or low_memory_monitor = false in {place.COURIER}")
        wanted = [(LOW_MEMORY, offered.low_memory_monitor), (OKOOMER, offered.okoomer1)]
        missing = [name for name, is_wanted in wanted if runs and is_wanted and not bus.owned(name)]
        if missing:
            cost = "whoever listens there hears nothing"
            mend = f"cp dbus/*.conf /etc/dbus-1/system.d/ && systemctl reload dbus; {_LOG} if that is not it"
            yield Finding(True, f"the courier runs and does not own {' and '.join(missing)}", cost, mend)
    except OSError as error:
        yield Finding(True, f"the system bus does not answer ({error})", "nobody hears anything there", "restart it")
    finally:
        bus.close()


def agent() -> Iterator[Finding]:
    """In a graphical session: the agent, and what shows notifications."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    unseen = "warnings, questions and results are not seen in this session; there is okoomer answer in a terminal"
    try:
        bus = Owners(session_bus())
    except (OSError, Complaint) as error:
        why = error.format_message() if isinstance(error, Complaint) else str(error)
        mend = "run this without sudo, in a terminal of the session"
        yield Finding(False, f"this session cannot be looked at ({why})", "whether it has an agent is not known", mend)
        return
    try:
        if not bus.owned(AGENT):
            mend = "systemctl --user enable --now okoomer-desktop, or okoomer desktop where systemd starts no desktop"
            yield Finding(False, "no agent of okoomer's runs in this session", unseen, mend)
        if not bus.owned(NOTIFICATIONS) and not bus.startable(NOTIFICATIONS):
            mend = "start a notification server, such as dunst (apt-get install dunst)"
            yield Finding(False, "nothing shows notifications in this session", unseen, mend)
    except OSError as error:
        yield Finding(False, f"the session's bus does not answer ({error})", unseen, "log in anew")
    finally:
        bus.close()


def _name(pid: int | str) -> str:
    try:
        return process.stat("/proc", pid).name
    except (OSError, ValueError):
        return ""
