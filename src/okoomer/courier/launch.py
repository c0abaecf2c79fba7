"""Starting a courier: as a child of the process that will become the guard, or in this process's place."""

from __future__ import annotations

import os
import sys
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socketpair
from marshal import dumps

from okoomer.courier.feed import position
from okoomer.courier.services import Services
from okoomer.events.sign import Sign
from okoomer.record import Record, to_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, TypeAlias

    #: On which event, which command, the seconds after which it is ended, and whose it is to be ("": the courier's).
    Hook: TypeAlias = tuple[str, tuple[str, ...], float] | tuple[str, tuple[str, ...], float, str]


#: Where systemd's manager listens; before version 254 the name was another.
MANAGERS = ("/run/systemd/io.systemd.ManagedOOM", "/run/systemd/io.system.ManagedOOM")
#: Where systemd-oomd looks for hooks, since version 260.
PREKILL = "/run/systemd/oomd.prekill.hook"


class Place(Record):
    """systemd-oomd's place, where it is taken: org.freedesktop.oom1 is offered, and users' managers are heard.

    `limits` are what is told of the configuration: the limit of swap, that of pressure and its duration, as texts.
    `reasons` are, by the name of a rule, why it kills; copies of a rule have a colon and a path behind the name.
    """

    limits: tuple[str, str, str]
    reasons: tuple[tuple[str, str], ...] = ()
    dry_run: bool = False


#: Which part of the work a courier has: all of it; what needs the guard's own user (steps' commands, hooks as a user,
#: systemd's units), where another courier does the rest; or that rest, from the guard's door.
ALL, OWN, REST = "all", "own", "rest"


class Options(Record):
    """What the courier does.

    Args:
        ring: The path of the guard's ring.
        hooks: Commands to run when something happens.
        notify: Names of events to announce on the system bus.
        voice: Whose words and variables to use besides: "", "earlyoom" or "nohang".
        hierarchy: Where the cgroups are mounted, if systemd is asked which units are to be watched; else "".
        managers: Where systemd's manager may be listening for that.
        prekill: The directory with the sockets of those who want to know of a kill before it.
        place: systemd-oomd's, if that is taken.
        part: ALL, OWN or REST.
        door: Where the guard lets couriers in, for REST.
        services: What is offered besides, or None for nothing.
        runtime_dir: Where sockets of its own are, "" for nowhere.
    """

    ring: str
    hooks: tuple[Hook, ...] = ()
    notify: tuple[str, ...] = ()
    voice: str = ""
    hierarchy: str = ""
    managers: tuple[str, ...] = MANAGERS
    prekill: str = PREKILL
    place: Place | None = None
    part: str = ALL
    door: str = ""
    services: Services | None = None
    runtime_dir: str = ""


#: What makes an `Options` of plain tuples.
CLASSES: dict[str, type[Record]] = {"Options": Options, "Place": Place, "Services": Services}


#: Without the site module and its directories, as the guard is started (guard/main.py).
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[5]); from okoomer.courier.main import main; main(*map(int, sys.argv[1:5]))"
)


def start(options: Options, listener: int = -1) -> tuple[int, int]:
    """Starts the courier as a child; the guard's ends of the line to it: the eventfd of the sign, and the socket with
    the answers. Both outlast an exec, and when the second is closed, the courier ends.

    Args:
        listener: The socket at which users' managers report, or -1. It does not outlast an exec.

    Raises:
        OSError: It cannot be started.
    """
    # What stands in the ring already is of an earlier guard.
    order = _order(options, position(options.ring))
    sign = Sign()
    reader = sign.reader()
    opened = [order, reader, sign.fd]
    try:
        ours, theirs = (end.detach() for end in socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC))
        opened += [theirs, ours]
        _spawn(order, reader, theirs, listener)
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    for fd in (order, reader, theirs):
        os.close(fd)
    if listener >= 0:
        os.set_inheritable(listener, False)
    # Not before: a courier that held the guard's end would never see it close.
    os.set_inheritable(ours, True)
    os.set_inheritable(sign.fd, True)
    return sign.fd, ours


def become(options: Options) -> NoReturn:
    """Replaces the present process by a courier that seeks the guard itself.

    Raises:
        OSError: It cannot be executed.
    """
    order = _order(options, 0)
    os.set_inheritable(order, True)
    os.execv(sys.executable, _command(order, -1, -1, -1))


def _order(options: Options, first: int) -> int:
    """A file with what a courier has to know, to be read from its beginning."""
    order = os.memfd_create("okoomer-courier")
    os.write(order, dumps((to_plain(options), first, third_party())))
    os.lseek(order, 0, os.SEEK_SET)
    return order


def _command(*fds: int) -> list[str]:
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, *map(str, fds), package]


def _spawn(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            os.set_inheritable(fd, True)
    os.posix_spawn(
        sys.executable,
        _command(*fds),
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setsid=True,
        setsigmask=[],
    )


def third_party() -> str:
    """The directory that holds the packages of others, since the courier is started without it; "" if there is
    none."""
    from importlib.util import find_spec

    found = find_spec("jeepney")
    return os.path.dirname(os.path.dirname(found.origin)) if found and found.origin else ""
