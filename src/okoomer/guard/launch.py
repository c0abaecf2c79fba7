"""From the front to the guard: the options, and how one process becomes the other."""

from __future__ import annotations

import posix as os
import sys
from marshal import dumps, loads

from okoomer.kernel.files import read
from okoomer.kernel.paths import variable
from okoomer.kernel.syscalls import disable_huge_pages
from okoomer.policy.engine import FILL_RATE, names_canary
from okoomer.policy.model import CLASSES, Policy
from okoomer.record import Record, from_plain, to_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

#: The environment variable that names the descriptor to which a front writes the options that a guard asks for.
ASKED = "OKOOMER_OPTIONS_TO"


class Options(Record):
    """What the front hands to the guard.

    `source` is where the policy came from; memory of this machine can fall by `fill_rate` bytes per second. `voice` is
    whose words are spoken ("" are okoomer's own), `limits` what those need to know (the items of the voice's own
    record); with `syslog` they go there. `wake` and `answers` are the descriptors that lead to the courier that is a
    child, `watcher` the one that the watcher watches (see watcher.start), `canary` and `page`
    those of the canary (see canary_start.start); -1 without. `open` is whether there is a
    door, at which couriers that run as `courier_uid` (-1: only root's) and as its group `courier_gid` are let in.
    `front` is the command that made all this, and makes it anew for a reload; `place` is what the courier is told of
    systemd-oomd's place, where that is taken (the items of its own record).
    """

    policy: Policy
    source: str
    runtime_dir: str
    as_json: bool = False
    dry_run: bool = False
    fill_rate: float = FILL_RATE
    voice: str = ""
    limits: tuple[Any, ...] = ()
    syslog: bool = False
    wake: int = -1
    answers: int = -1
    watcher: int = -1
    canary: int = -1
    page: int = -1
    open: bool = False
    courier_uid: int = -1
    courier_gid: int = -1
    front: tuple[str, ...] = ()
    place: tuple[Any, ...] = ()


#: How far the guard is optimized (-OO): docstrings are 0.15 MiB.
LEAN = 2
#: What is read from the inherited descriptor is run without the site module and its directories, so that what the
#: interpreter loads is this package and the standard library. `-m` would load runpy, 0.6 MiB, for good.
_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[2]); from okoomer.guard.main import main; main(int(sys.argv[1]))"


def launch(options: Options) -> NoReturn:
    """Replaces the present process by the guard; or, where a guard has asked for options, gives them to it and ends.

    Raises:
        OSError: It cannot be executed.
    """
    from posixpath import abspath  # only the front is ever here

    text = dumps(to_plain(options))
    asked = variable(ASKED)
    if asked:
        os.write(int(asked), text)
        os._exit(0)
    disable_huge_pages()
    fd = os.memfd_create("okoomer-policy")
    os.pwrite(fd, text, 0)
    os.set_inheritable(fd, True)
    lean = ["-OO"] if is_compiled() else []
    package = abspath(__file__).rsplit("/", 3)[0]
    os.execv(sys.executable, [sys.executable, "-I", "-S", *lean, "-c", _BOOTSTRAP, str(fd), package])


def is_compiled() -> bool:
    """Whether the guard's files are there as -OO wants them. Where nobody could write them it is better off without: a
    guard that has to compile itself keeps 1 MiB of the compiler's leavings for life."""
    source = __file__.replace("launch.py", "main.py")
    compiled = source.replace("main.py", f"__pycache__/main.{sys.implementation.cache_tag}.opt-{LEAN}.pyc")
    try:
        return os.stat(compiled).st_mtime >= os.stat(source).st_mtime
    except OSError:
        return False


def pauses(policy: Policy) -> bool:
    """Whether a policy has anybody stand still or slowed down."""
    return bool(policy.kinds & {"slow", "pause", "ask", "turns"})


def changes(policy: Policy) -> bool:
    """Whether a policy does what has to be undone if the guard dies meanwhile."""
    return policy.prime or pauses(policy)


def needs_canary(policy: Policy) -> bool:
    """Whether it matters to a policy how late the canary is."""
    return any(map(names_canary, policy.rules))


def options_of(text: bytes) -> Options:
    """What `launch` has written."""
    found: Options = from_plain(loads(text), {**CLASSES, "Options": Options})
    return found


def keep(policy: Policy, directory: str) -> None:
    """Leaves the policy that a guard goes by where `kept` finds it: it may be no file's. That this cannot be done
    hinders nobody."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(f"{directory}/policy", flags, 0o640)
        try:
            os.write(fd, dumps(to_plain(policy)))
        finally:
            os.close(fd)
    except OSError:
        pass


def kept(directory: str) -> Policy | None:
    """The policy that the guard of a directory goes by, or None if it cannot be known. What somebody else than root and
    we ourselves has put there is not even looked at."""
    try:
        if os.stat(f"{directory}/policy").st_uid not in (0, os.geteuid()):
            return None
        found = from_plain(loads(read(f"{directory}/policy", 2**24)), CLASSES)
    except (OSError, EOFError, ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, Policy) else None
