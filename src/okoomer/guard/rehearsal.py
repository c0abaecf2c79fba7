"""The rehearsal: every path that an emergency takes is walked once at the start, on a child of our own.

Afterwards all code and data that the guard needs has been in memory, so locking it keeps it there; and what a sandbox
or a missing permission forbids shows now and not when memory has run out.
"""

from __future__ import annotations

import posix as os
from errno import ENOSYS, EPERM
from time import sleep

from okoomer.events import model
from okoomer.events.text import line, sentence
from okoomer.guard.act import Act
from okoomer.guard.ladder import Ladder
from okoomer.guard.launch import pauses
from okoomer.guard.reaper import hasten
from okoomer.guard.scan import descendants, look, scan
from okoomer.guard.victim import Hands
from okoomer.guard.writers import joined, reading
from okoomer.kernel import clock
from okoomer.kernel.syscalls import process_mrelease
from okoomer.policy.choose import choose, needs_of, protection
from okoomer.policy.engine import FIRED, Engine, RuleVerdict, Verdict
from okoomer.policy.metrics import available
from okoomer.policy.model import Step
from okoomer.policy.reason import reason_of
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_IGN, SIGKILL, SIGTERM, pause, signal

    from okoomer.facts import Process
    from okoomer.guard.sense import Sense
    from okoomer.kernel.machine import Machine
    from okoomer.policy.model import Policy
    from okoomer.record import Record
else:
    from _signal import SIG_IGN, SIGKILL, SIGTERM, pause, signal

#: Seconds after which a rehearsal that does not end is given up.
LIMIT = 3.0


def rehearse(machine: Machine, policy: Policy, sense: Sense, me: int) -> list[str]:
    """Walks through an emergency. Returns in sentences what would not work here."""
    lacks = []
    if os.geteuid() != 0:
        lacks.append("not root: only processes of this user can be ended, and none can be hastened")
    snapshot = sense.snapshot()
    engine = Engine(policy)
    verdict = engine.step(snapshot)
    events: list[Record] = []
    wants = needs_of(policy)
    try:
        found = scan(machine.proc, clock.since_boot(), 0, wants, floor=0)
    except OSError as error:
        return [*lacks, f"processes cannot be listed: {error.strerror}"]
    if found.seen and not any(process.pid == 1 for process in found.processes) and os.geteuid() != 0:
        lacks.append("/proc hides the processes of others (hidepid)")
    rule = policy.rules[0]
    choice = choose(rule, policy, snapshot, found.processes, me)
    reason_of(rule, engine)
    if rule.by:
        # Where nobody has more than his share there was nobody to weigh.
        rule = replace(rule, by="", share=None)
        choose(rule, policy, snapshot, found.processes, me)

    child = sleeper()
    try:
        process = look(machine.proc, child, wants)
        if process is None:
            return [*lacks, "a process just started cannot be seen in /proc"]
        descendants(machine.proc, [child], {child}, wants)
        protection(rule, policy, {child: process}, me)(process)
        # As if every file that was ever written were in memory, and had been since a second ago.
        first = reading(machine, snapshot, None)
        others = [other.pid for other in found.processes if other.user] if os.geteuid() == 0 else []
        if not first.written or (others and not any(pid in first.written for pid in others)):
            lacks.append(
                "what others write cannot be read (/proc/PID/io, CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE): "
                "who fills memory that belongs to no process is not known"
            )
        first = replace(first, time=snapshot.time - 1.0, shmem=snapshot.memory.shmem - 1, written={})
        flooded = joined(machine.proc, found, first, reading(machine, snapshot, first), wants)
        choose(rule, policy, snapshot, flooded.processes, me, flood=flooded.flood)
        choose(rule, policy, snapshot, (replace(process, fills=1e15),), me, flood=1e15)
        if policy.prime:
            lacks += _prime(machine.proc, process, events)
        asks = pauses(policy)
        soft = (Step("pause", 0.02), Step("ask", 0.02)) if asks else ()
        harsh = policy_of(policy, (Step("warn"), *soft, Step("term", 0.02), Step("kill")))
        ladder = Ladder(Hands(machine.proc, None), events.append, harsh)
        if asks:
            from okoomer.guard.hold import Holds  # most guards never need it

            ladder.holds = Holds(machine.proc, "", events.append)
        fired = Verdict(0.0, (RuleVerdict(rule.name, FIRED, verdict.rules[0].values),), 0, (), 0.0)
        now = clock.monotonic()
        ladder.begin(Act(0, harsh.rules[0], process.name, [process], 0, available(snapshot)), now)
        climb(ladder, fired, available(snapshot), now)
        if not any(isinstance(event, model.Died) for event in events):
            lacks.append("a child of our own could not be killed: a sandbox may forbid it")
        if asks and not any(isinstance(event, model.Paused) for event in events):
            lacks.append("a child of our own could not be paused: a sandbox may forbid it")
    finally:
        os.kill(child, SIGKILL)
        lacks += _reap(child)
        os.waitpid(child, 0)
    if policy.of_cgroups:
        from okoomer.guard.rehearsal_cgroup import end_whole  # most guards never need it

        lacks += end_whole(machine, policy, fired, events)
    for event in (*events, model.Refused(rule.name, choice.refusal, ())):
        sentence(event)
        line(event, 0.0, 0)
    return lacks


def _prime(proc: str, process: Process, events: list[Record]) -> list[str]:
    """Whether a child can be made the first for the kernel's own killer, and as before again."""
    from okoomer.guard.note import Note  # most guards never need it
    from okoomer.guard.prime import Primes
    from okoomer.kernel import adjustment

    directory = adjustment.enter(proc, process.pid)
    try:
        # It has inherited that of the guard, which may be last to go.
        adjustment.put(directory, 0)
        primes = Primes(proc, Note(""), events.append)
        primes.first((replace(process, adjustment=0),), clock.monotonic())
        raised = adjustment.get(directory)
        primes.release()
        if raised and not adjustment.get(directory):
            return []
    except OSError:
        pass
    finally:
        os.close(directory)
    return ["a child of our own could not be primed for the kernel's killer: a sandbox may forbid it"]


def sleeper() -> int:
    """A child that waits to be killed."""
    child = os.fork()
    if child == 0:
        try:
            signal(SIGTERM, SIG_IGN)
            while True:
                pause()
        finally:
            os._exit(0)
    return child


def climb(ladder: Ladder, fired: Verdict, left: int, began: float) -> None:
    now = began
    while ladder.busy(now) and now - began < LIMIT:
        sleep(0.002)
        now = clock.monotonic()
        ladder.advance(now, left, fired)


def policy_of(policy: Policy, steps: tuple[Step, ...]) -> Policy:
    """A policy with nothing but its first rule, which takes these steps."""
    return replace(policy, rules=(replace(policy.rules[0], steps=steps),))


def _reap(child: int) -> list[str]:
    """Whether priorities may be raised and memory reaped: tried on a child that is dead already, where the answer of
    a kernel that can is that there is nothing left to do."""
    lacks = []
    try:
        os.setpriority(os.PRIO_PROCESS, child, -20)
    except PermissionError:
        lacks.append("priorities cannot be raised (CAP_SYS_NICE): a hog that gets no CPU dies slowly")
    except OSError:
        pass
    hasten([child])
    pidfd = os.pidfd_open(child)
    try:
        process_mrelease(pidfd)
    except OSError as error:
        if error.errno == ENOSYS:
            lacks.append("this kernel has no process_mrelease (Linux 5.15)")
        elif error.errno == EPERM:
            lacks.append("process_mrelease is forbidden: a sandbox may be in the way")
    finally:
        os.close(pidfd)
    return lacks
