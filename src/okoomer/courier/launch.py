"""Starting the courier, from the process that will become the guard."""

from __future__ import annotations

import os
import sys
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socketpair
from marshal import dumps

from okoomer.courier.feed import position
from okoomer.record import Record, to_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    #: On which event, which command, and the seconds after which it is ended.
    Hook: TypeAlias = tuple[str, tuple[str, ...], float]


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
    """

    ring: str
    hooks: tuple[Hook, ...] = ()
    notify: tuple[str, ...] = ()
    voice: str = ""
    hierarchy: str = ""
    managers: tuple[str, ...] = MANAGERS
    prekill: str = PREKILL
    place: Place | None = None


#: What makes an `Options` of plain tuples.
CLASSES: dict[str, type[Record]] = {"Options": Options, "Place": Place}


#: Without the site module and its directories, as the guard is started (guard/main.py).
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[5]); from okoomer.courier.main import main; main(*map(int, sys.argv[1:5]))"
)


def start(options: Options, listener: int = -1) -> tuple[int, int]:
    """Starts the courier; the guard's ends of the line to it: the eventfd, and the socket with the answers. Both
    outlast an exec, and when the second is closed, the courier ends.

    Args:
        listener: The socket at which users' managers report, or -1. It does not outlast an exec.

    Raises:
        OSError: It cannot be started.
    """
    # What stands in the ring already is of an earlier guard.
    plain = (to_plain(options), position(options.ring), third_party())
    wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    opened = [wake]
    try:
        order = os.memfd_create("okoomer-courier")
        opened.append(order)
        os.write(order, dumps(plain))
        os.lseek(order, 0, os.SEEK_SET)
        ours, theirs = (end.detach() for end in socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC))
        opened += [theirs, ours]
        _spawn(order, wake, theirs, listener)
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    os.close(order)
    os.close(theirs)
    if listener >= 0:
        os.set_inheritable(listener, False)
    # Not before: a courier that held the guard's end would never see it close.
    os.set_inheritable(ours, True)
    os.set_inheritable(wake, True)
    return wake, ours


def _spawn(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            os.set_inheritable(fd, True)
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, *map(str, fds), package],
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
