"""Who holds the work of a person together, by what a process is: how it stands to others, and in which cgroup. Pure.

Compositors, sessions and terminals come and go by name; what they do does not change. Who lets people in starts a
leader in a scope of its own for each session, the user's manager puts what a session cannot do without into
session.slice (systemd.special(7)), and a terminal is what has started a shell.
"""

from __future__ import annotations

from okoomer.policy.select import unit_of
from okoomer.units import MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from okoomer.facts import Process

#: Package managers that run scripts of packages: what goes on below them is part of a change to the whole system.
TRANSACTIONS = (
    "dpkg", "rpm", "dnf", "dnf5", "dnf5daemon-serv", "yum", "microdnf", "zypper", "pacman", "apk", "xbps-install",
)  # fmt: skip
#: The leader of a session on a console that holds less than this only waits for the shell that it started.
SMALL = 8 * MIB


def is_shell(process: Process) -> bool:
    """Whether it leads a session that has a terminal: a shell that somebody types into, whatever its name, or a
    display server on its own console."""
    return process.terminal and process.pid == process.session


def holders(processes: Mapping[int, Process]) -> dict[int, str]:
    """Those who hold the work of others together, by pid, and as what; without the shells themselves.

    Args:
        processes: By pid. Whose cgroup was not read is known by its terminal and its parents only.
    """
    found: dict[int, str] = {}
    tree = _Tree(processes)
    for pid, because in tree.findings():
        found.setdefault(pid, because)
    return found


class _Tree:
    """Processes, the units that they lie in, and who started whom."""

    def __init__(self, processes: Mapping[int, Process]) -> None:
        self._processes = processes
        self._unit = {pid: unit_of(process.cgroup) for pid, process in processes.items()}
        self._children: dict[int, list[Process]] = {}
        for process in processes.values():
            self._children.setdefault(process.parent, []).append(process)

    def findings(self) -> Iterator[tuple[int, str]]:
        for process in self._processes.values():
            parent = self._processes.get(process.parent)
            if is_shell(process) and parent and parent.pid != 1:
                yield parent.pid, "a terminal or login, with a shell in it"
            if "/session.slice/" in process.cgroup and self._serves_session(process, parent):
                yield process.pid, "needed by the session (session.slice)"
            if self._in_session(process):
                yield from self._of_login(process, parent)
        yield from self._transactions()

    def _serves_session(self, process: Process, parent: Process | None) -> bool:
        """Whether the user's manager started it, itself or through a wrapper of its name. What such a process starts
        in its own unit may be anything: a bus and a shell of a desktop start what they are asked to."""
        if parent is None or self._unit[parent.pid] != self._unit[process.pid]:
            return True
        above = self._processes.get(parent.parent)
        wrapped = above is None or self._unit[above.pid] != self._unit[parent.pid]
        return wrapped and parent.name.startswith(process.name)

    def _of_login(self, process: Process, parent: Process | None) -> Iterator[tuple[int, str]]:
        """What a process in the scope of a login session is."""
        pid, unit = process.pid, self._unit[process.pid]
        inside = [child for child in self._children.get(pid, ()) if self._unit[child.pid] == unit]
        if self._on_console(process):
            if process.held < SMALL:
                yield from ((child.pid, "a shell on a console") for child in inside if child.session == pid)
        elif parent and parent.pid != 1 and self._unit[parent.pid] not in ("", unit):
            yield pid, "leads a login session"
            yield parent.pid, "lets people in"
            # One who runs a display server in its own unit lets people in to a desktop. A leader's child is that
            # desktop then; below sshd or cron it is any command.
            if any(is_shell(one) and self._shares(one, parent) for one in self._children[parent.pid]):
                yield from ((child.pid, "the desktop that somebody logged in to") for child in inside)
        # What a shell on a console runs keeps that console; a desktop starts programs apart from it.
        apart = any(child.session == child.pid and not child.terminal for child in inside)
        leader = self._processes.get(process.session)
        if apart and process.terminal and leader and leader is not process and self._on_console(leader, deep=True):
            yield pid, "a desktop that was started on a console"

    def _in_session(self, process: Process) -> bool:
        unit = self._unit[process.pid]
        return unit.startswith("session-") and unit.endswith(".scope")

    def _on_console(self, leader: Process, deep: bool = False) -> bool:
        """Whether init itself started this leader of a session with a terminal; `deep`: or its parent, as some logins
        start the shell in a second session."""
        if not (is_shell(leader) and self._in_session(leader)):
            return False
        above = self._processes.get(leader.parent)
        return leader.parent == 1 or bool(deep and above and above.parent == 1 and self._shares(above, leader))

    def _shares(self, one: Process, other: Process) -> bool:
        return self._unit[one.pid] == self._unit[other.pid]

    def _transactions(self) -> Iterator[tuple[int, str]]:
        pending = [process for process in self._processes.values() if process.name in TRANSACTIONS]
        inside = {process.pid for process in pending}
        for process in pending:
            yield process.pid, "a package manager and what it runs"
            below = [child for child in self._children.get(process.pid, ()) if child.pid not in inside]
            inside.update(child.pid for child in below)
            pending += below
