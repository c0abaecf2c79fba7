"""The second stage: the lean process that stays.

`okoomer run` reads and checks the policy with parsers that are far too heavy to keep, compiles it to plain tuples
and executes this in its place. See `launch`, which runs in the front, and `main`, which does not return.
"""

from __future__ import annotations

import gc
import os
import sys
from fcntl import LOCK_EX, LOCK_NB, flock
from marshal import dumps, loads
from time import sleep

from okoomer import __version__
from okoomer.events import model
from okoomer.events.ring import Ring
from okoomer.guard.ladder import Ladder
from okoomer.guard.loop import Guard
from okoomer.guard.rehearsal import rehearse
from okoomer.guard.sense import Sense, Unreadable, wants_of
from okoomer.guard.tell import Notify, Tell
from okoomer.guard.victim import Hands, Reaper, hasten
from okoomer.guard.watchdog import Watchdog
from okoomer.kernel.machine import LIVE
from okoomer.kernel.syscalls import disable_huge_pages, lock_memory, set_name
from okoomer.policy.choose import level_of
from okoomer.policy.engine import FILL_RATE
from okoomer.policy.model import CLASSES, Policy
from okoomer.record import Record, from_plain, to_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal
    from typing import NoReturn
else:
    from _signal import SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal

DONE, CANNOT = 0, 3


class Options(Record):
    """What the front hands to the guard. `source` is where the policy came from; memory of this machine can fall by
    `fill_rate` bytes per second."""

    policy: Policy
    source: str
    runtime_dir: str
    as_json: bool = False
    dry_run: bool = False
    fill_rate: float = FILL_RATE


#: What is read from the inherited descriptor is run without the site module and its directories, so that what the
#: interpreter loads is this package and the standard library. `-m` would load runpy, 0.6 MiB, for good.
_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[2]); from okoomer.guard.main import main; main(int(sys.argv[1]))"


def launch(options: Options) -> NoReturn:
    """Replaces the present process by the guard.

    Raises:
        OSError: It cannot be executed.
    """
    disable_huge_pages()
    fd = os.memfd_create("okoomer-policy")
    os.write(fd, dumps(to_plain(options)))
    os.lseek(fd, 0, os.SEEK_SET)
    os.set_inheritable(fd, True)
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(fd), package])


def main(fd: int) -> NoReturn:
    """Runs the guard that a descriptor describes, until it is told to stop."""
    with open(fd, "rb") as file:
        options: Options = from_plain(loads(file.read()), {**CLASSES, "Options": Options})
    os._exit(run(options))


def run(options: Options) -> int:
    """Guards this machine; the exit code."""
    set_name("okoomer")
    lock = hold(options.runtime_dir)
    if isinstance(lock, str):
        return complain(lock)
    lacks = []
    try:
        ring = Ring(f"{options.runtime_dir}/ring")
    except OSError as error:
        ring, lacks = None, [f"events are not kept: {options.runtime_dir}/ring: {error.strerror}"]
    tell = Tell(ring, options.as_json, live=os.isatty(2))

    policy, machine, me = options.policy, LIVE, os.getpid()
    sense = Sense(machine, wants_of(policy))
    try:
        snapshot = sense.snapshot()
    except Unreadable as error:
        return complain(f"{error}; without it nothing can be guarded")

    lacks += rehearse(machine, policy, sense, me)
    stand_first()
    # Not before the rehearsal: its child would share the handlers and the pipe.
    stop: list[str] = []
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    set_wakeup_fd(waker, warn_on_full_buffer=False)
    names = {int(SIGTERM): "SIGTERM", int(SIGINT): "SIGINT", int(SIGHUP): "SIGHUP"}
    for number in names:
        signal(number, lambda number, _frame: stop.append(names[number]))

    reaper = Reaper()
    hands = Hands(machine.proc, reaper)
    ladder = Ladder(hands, tell, policy.rules)
    guard = Guard(machine, policy, sense, ladder, tell, me, options.dry_run)
    # In a dry run memory is never short enough for it to kill.
    short = 0.0 if options.dry_run else emergency(policy, snapshot.memory.total)
    guard.engine.fill_rate = options.fill_rate
    guard.watchdog = Watchdog(machine, hands, short, tell)
    guard.notify = Notify()
    guard.show = tell.state if os.isatty(2) and not options.as_json else None
    triggers = guard.arm()
    guard.prepare(snapshot)

    # From here on the process holds what it needs: nothing is imported, and no page has to come from a disk again.
    gc.collect()
    gc.freeze()
    locked = True
    try:
        lock_memory()
    except OSError as error:
        locked = False
        lacks.append(f"memory is not locked ({error.strerror}), so a slow disk can slow the guard down")
    tell(
        model.Started(
            version=__version__,
            pid=me,
            policy=policy.name,
            source=options.source,
            rules=tuple(rule.name for rule in policy.rules),
            memory=snapshot.memory.total,
            swap=snapshot.swap.total,
            triggers=triggers,
            locked=locked,
            dry_run=options.dry_run,
            lacks=tuple(lacks),
        )
    )
    for lack in lacks:
        tell(model.Trouble(lack))
    guard.notify(f"READY=1\nSTATUS=guards by policy {policy.name}")
    guard.watchdog.start()
    guard.run(wake, lambda: bool(stop))
    guard.notify("STOPPING=1")
    tell(model.Stopped(stop[0]))
    return DONE


def stand_first() -> None:
    """First to run and last to go, as the unit has it: also in the foreground, as far as that is permitted."""
    hasten([0])
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"-1000")
        finally:
            os.close(fd)
    except OSError:
        pass  # then the kernel may end it like anybody else


def hold(runtime_dir: str) -> int | str:
    """Takes the lock that only one guard can hold, for as long as the process lives: its descriptor, or why not."""
    path = f"{runtime_dir}/guard.lock"
    try:
        os.makedirs(runtime_dir, 0o750, exist_ok=True)
        if os.stat(runtime_dir).st_uid != os.geteuid():
            return f"{runtime_dir}: belongs to somebody else; choose another place with --runtime-dir"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    except OSError as error:
        return f"{path}: {error.strerror}; choose another place with --runtime-dir"
    if not taken(fd):
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        return f"okoomer is running already as pid {holder or 'unknown'} (see {path})"
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def taken(fd: int) -> bool:
    """Takes a lock. Whoever only looks whether it is held has it for an instant, so it is tried for a moment."""
    for _ in range(10):
        try:
            flock(fd, LOCK_EX | LOCK_NB)
            return True
        except OSError:
            sleep(0.01)
    return False


def emergency(policy: Policy, total: int) -> float:
    """Bytes available below which a guard that hangs kills: the lowest level at which a rule acts; a fiftieth of
    memory where no rule names one."""
    levels = [level for rule in policy.rules if (level := level_of(rule.when, total)) is not None]
    return min(levels, default=total / 50)


def complain(text: str) -> int:
    """Says why the guard cannot run here."""
    os.write(2, f"okoomer: {text}\n".encode("utf-8", "backslashreplace"))
    return CANNOT
