"""The second stage: the lean process that stays.

`okoomer run` reads and checks the policy with parsers that are far too heavy to keep, compiles it to plain tuples
and executes this in its place (see `launch`).
"""

from __future__ import annotations

import gc
import posix as os
import sys
from errno import ENOSPC

from okoomer import __version__
from okoomer.events import model
from okoomer.events.ring import Held, Ring
from okoomer.guard.ladder import Ladder
from okoomer.guard.launch import Options, changes, keep, needs_canary, options_of
from okoomer.guard.loop import Guard
from okoomer.guard.reaper import Reaper, hasten
from okoomer.guard.rehearsal import rehearse
from okoomer.guard.sense import Sense, Unreadable, wants_of
from okoomer.guard.tell import Notify, Tell
from okoomer.guard.victim import Hands
from okoomer.guard.watchdog import Watchdog
from okoomer.kernel import clock
from okoomer.kernel.machine import LIVE
from okoomer.kernel.paths import exists
from okoomer.kernel.statm import KEPT
from okoomer.kernel.syscalls import give_back, lock_memory, set_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_IGN, SIGCHLD, SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal
    from typing import NoReturn

    from okoomer.events.earlyoom import Voice
    from okoomer.guard.reload import Reloads
else:
    from _signal import SIG_IGN, SIGCHLD, SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal

DONE, CANNOT = 0, 3
#: What it means that there is no canary.
UNHEARD = "how late programs are is not known, and counts as if they were late"


def main(fd: int) -> NoReturn:
    """Runs the guard that a descriptor describes, until it is told to stop."""
    # The listings of the directories where imports have looked: what follows takes their room.
    sys.path_importer_cache.clear()
    gc.collect()
    with open(fd, "rb") as file:
        options = options_of(file.read())
    # Standard input is never read: one descriptor less.
    os.close(0)
    os._exit(run(options))


def run(options: Options) -> int:
    """Guards this machine; the exit code."""
    set_name("okoomer")
    held = hold(options.runtime_dir)
    if isinstance(held, str):
        return complain(held)
    lacks = []
    ring = held if isinstance(held, Ring) else None
    if isinstance(held, OSError):
        lacks.append(f"events are not kept: {options.runtime_dir}/ring: {held.strerror}")
    if options.watcher >= 0:
        os.set_inheritable(options.watcher, False)
    link, sign = None, None
    if ring and (options.answers >= 0 or options.open):
        from okoomer.events.sign import Sign

        sign = Sign(options.wake)
    if options.answers >= 0 and ring:
        from okoomer.guard.link import Link

        link = Link(options.answers)
    elif options.answers >= 0:
        os.close(options.answers)  # without events a courier has nothing to do, and ends
    tell = Tell(ring, options.as_json, live=os.isatty(2), voice=voice_of(options), syslog=options.syslog, told=sign)

    if link and options.policy.managed:
        from okoomer.guard.managed import Managed

        link.managed = Managed(tell)
    policy, machine, me = options.policy, LIVE, os.getpid()
    keep(policy, options.runtime_dir)
    try:
        tell.into_kmsg("kmsg" in policy.tell, machine.proc)
    except OSError as error:
        lacks.append(f"kills are not told in the kernel's log: {error.strerror} (/dev/kmsg)")
    sense = Sense(machine, wants_of(policy), memory_pressure=policy.pressure)
    try:
        snapshot = sense.snapshot()
    except Unreadable as error:
        return complain(f"{error}; without it nothing can be guarded")

    lacks += rehearse(machine, policy, sense, me)
    stand_first()
    # Not before the rehearsal: its child would share the handlers and the pipe.
    caught: list[str] = []
    bell = doorbell()
    set_wakeup_fd(bell, warn_on_full_buffer=False)
    names = {int(SIGTERM): "SIGTERM", int(SIGINT): "SIGINT", int(SIGHUP): "SIGHUP"}
    for number in names:
        signal(number, lambda number, _frame: caught.append(names[number]))
    signal(SIGCHLD, SIG_IGN)  # the courier is a child: nobody waits for its end

    reaper = Reaper()
    note = f"{options.runtime_dir}/limit"
    if exists(note):
        from okoomer.guard.limit import recover

        recover(note)
    hands = Hands(machine.proc, reaper, note)
    ladder = Ladder(hands, tell, policy)
    guard = Guard(machine, policy, sense, ladder, tell, me, options.dry_run, keep=0 if options.voice else KEPT)
    guard.engine.fill_rate = options.fill_rate
    if link:
        guard.link, ladder.runs = link, True
        guard.wake.on(link.fd, lambda: link.listen(ladder, guard.wake, tell))
    elif policy.runs and not options.open:
        lacks.append("there is no courier: no command is run and nothing is announced")
    if options.open or changes(policy):
        from okoomer.guard.reception import receive

        lacks += receive(guard, options, machine.proc, tell, ring, sign)
    if options.canary >= 0:
        from okoomer.guard.canary import Canary

        guard.canary = Canary(options.canary, options.page)
        guard.canary.watch(guard.wake, lambda: tell(model.Trouble(f"the canary has ended: {UNHEARD}")))
    elif needs_canary(policy):
        lacks.append(f"there is no canary: {UNHEARD}")
    guard.watchdog = Watchdog(machine, hands, tell)
    guard.watchdog.short = guard.emergency(snapshot)
    guard.notify = Notify()
    guard.thorough = bool(options.voice)
    guard.show = tell.state if os.isatty(2) and not options.as_json and not options.voice else None
    triggers = guard.wake.arm(policy.pressure)
    guard.prepare(snapshot)

    # From here on the process holds what it needs: nothing is imported, and no page has to come from a disk again.
    gc.collect()
    gc.freeze()
    give_back()
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
    guard.wake.on(bell, lambda: os.read(bell, 64))
    reloads: Reloads | None = None

    def interrupted() -> bool:
        return bool(caught) or bool(reloads and reloads.due)

    try:
        while True:
            guard.run(interrupted)
            while "SIGHUP" in caught:
                caught.remove("SIGHUP")
                if reloads is None:
                    from okoomer.guard.reload import Reloads  # most guards never need it

                    reloads = Reloads(machine, guard, options.front, tell)
                reloads.ask()
            if caught:
                break
            if reloads and reloads.due and reloads.take():
                gc.collect()
    finally:
        ladder.close()  # no limit of a cgroup stays as it was set for its end
        if guard.outlook.primes:
            guard.outlook.primes.release()
        if ladder.asking.slows:
            ladder.asking.slows.close()
        if ladder.holds:
            ladder.holds.close("the guard ends", clock.monotonic())
    guard.notify("STOPPING=1")
    tell(model.Stopped(caught[0]))
    if guard.door:
        guard.door.close()
    return DONE


def voice_of(options: Options) -> Voice | None:
    """Another daemon's words for the same events; only who speaks them pays for them."""
    if options.voice != "earlyoom":
        return None
    from okoomer.events.earlyoom import Limits, Voice

    return Voice(Limits(*options.limits))


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


def doorbell() -> int:
    """A pipe with both ends in one descriptor: what is written to it wakes whoever polls it."""
    out, into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    both = os.open(f"/proc/self/fd/{out}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    os.close(out)
    os.close(into)
    return both


def hold(runtime_dir: str) -> Ring | OSError | str:
    """The ring that only one guard can write, and holds as long as it lives; why it cannot be made; or, in words, why
    there must not be another guard."""
    try:
        if not exists(runtime_dir):
            os.mkdir(runtime_dir, 0o750)
        if os.stat(runtime_dir).st_uid != os.geteuid():
            return f"{runtime_dir}: belongs to somebody else; choose another place with --runtime-dir"
    except OSError as error:
        return f"{runtime_dir}: {error.strerror}; choose another place with --runtime-dir"
    path = f"{runtime_dir}/ring"
    try:
        return Ring(path)
    except Held as error:
        return f"okoomer is running already as pid {error.pid or 'unknown'} (see {path})"
    except OSError as error:
        if error.errno == ENOSPC:
            return error
        return f"{path}: {error.strerror}; choose another place with --runtime-dir"


def complain(text: str) -> int:
    """Says why the guard cannot run here."""
    os.write(2, f"okoomer: {text}\n".encode("utf-8", "backslashreplace"))
    return CANNOT
