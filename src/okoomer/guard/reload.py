"""Loading a policy again while the guard goes on.

Parsers never become a part of the guard: it has the command run again that made it, which compiles the policy as at the
start and hands it over instead of executing a guard. What that command complains about goes where the guard's own words
go, and then the old policy holds.
"""

from __future__ import annotations

import posix as os
import sys

from okoomer.events import model
from okoomer.guard.launch import ASKED, keep, needs_canary, options_of
from okoomer.guard.sense import Sense, Unreadable, wants_of
from okoomer.kernel import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.guard.loop import Guard
    from okoomer.guard.tell import Tell
    from okoomer.kernel.machine import Machine


class Reloads:
    """Asks for options and takes them.

    Args:
        front: The command line that makes them.
        emit: Takes the events.
    """

    def __init__(self, machine: Machine, guard: Guard, front: tuple[str, ...], emit: Tell) -> None:
        self._machine = machine
        self._guard = guard
        self._front = front
        self._emit = emit
        self._pidfd = -1
        self._text = -1
        self._answered = False

    @property
    def due(self) -> bool:
        """Whether there is an answer, and no act in flight that a new policy would confuse."""
        return self._answered and not self._guard.ladder.busy(clock.monotonic())

    def ask(self) -> None:
        """Has the front run again, unless it runs already. Nothing that goes wrong here reaches the caller."""
        if self._pidfd >= 0 or self._answered:
            return
        try:
            self._text = os.memfd_create("okoomer-options")
            os.set_inheritable(self._text, True)
            command = [sys.executable, *self._front]
            pid = os.posix_spawn(sys.executable, command, {**os.environ, ASKED.encode(): b"%d" % self._text})
            self._pidfd = os.pidfd_open(pid)
        except OSError as error:
            self._done()
            self._emit(model.Trouble(f"the policy was not loaded again: {error.strerror}"))
            return
        self._guard.wake.on(self._pidfd, self._ended)

    def take(self) -> bool:
        """Adopts the new policy, if that is what the answer is."""
        self._answered = False
        text = os.pread(self._text, os.fstat(self._text).st_size, 0)
        self._done()
        try:
            options = options_of(text)
            policy = options.policy
            sense = Sense(self._machine, wants_of(policy), memory_pressure=policy.pressure)
            snapshot = sense.snapshot()
        except (Unreadable, EOFError, ValueError, TypeError, KeyError):
            self._emit(model.Trouble("the policy was not loaded again; the old one holds"))
            return False
        guard, fill_rate = self._guard, self._guard.engine.fill_rate
        guard.adopt(policy, sense)
        guard.ladder.asking.adopt(policy)
        keep(policy, options.runtime_dir)
        guard.engine.fill_rate = fill_rate
        guard.wake.arm(policy.pressure)
        if guard.watchdog:
            guard.watchdog.short = guard.emergency(snapshot)
        try:
            self._emit.into_kmsg("kmsg" in policy.tell, self._machine.proc)
        except OSError as error:
            self._emit(model.Trouble(f"kills are not told in the kernel's log: {error.strerror}"))
        if guard.door:
            guard.door.configure(policy, options.place)
        if guard.link and guard.link.alive:
            guard.link.configure(policy, options.place)
        elif guard.door and policy.needs_rights:
            lack = "there is no courier of the guard's own user, for commands of an act and as others: start it anew"
            self._emit(model.Trouble(lack))
        elif policy.runs and not guard.door:
            self._emit(model.Trouble("there is no courier: no command is run and nothing is announced"))
        if policy.prime and not guard.outlook.primes and not options.dry_run:
            lack = "the kernel's own killer is not told whom to take, since nobody could undo it: start the guard anew"
            self._emit(model.Trouble(lack))
        if needs_canary(policy) and not guard.canary:
            self._emit(model.Trouble("there is no canary, whose lateness is unknown until okoomer is started anew"))
        self._emit(model.Changed(f"the policy was loaded again from {options.source}"))
        return True

    def _ended(self) -> None:
        self._guard.wake.off(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._answered = True

    def _done(self) -> None:
        if self._text >= 0:
            os.close(self._text)
            self._text = -1
