"""The part of the rehearsal that is about whole cgroups; only guards that may end one ever load it."""

from __future__ import annotations

import posix as os
from errno import EROFS

from okoomer.events import model
from okoomer.guard.act import Act
from okoomer.guard.ladder import Ladder
from okoomer.guard.rehearsal import climb, policy_of, sleeper
from okoomer.guard.victim import Hands
from okoomer.kernel import clock, control
from okoomer.kernel.cgroup import mount
from okoomer.kernel.process import cgroup as cgroup_of
from okoomer.policy.model import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGKILL

    from okoomer.kernel.machine import Machine
    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Policy
    from okoomer.record import Record
else:
    from _signal import SIGKILL


def end_whole(machine: Machine, policy: Policy, fired: Verdict, events: list[Record]) -> list[str]:
    """A whole cgroup is ended: one of our own below our own, where we may make one. Returns in sentences what would not
    work here."""
    mounted, own = mount(machine.proc), cgroup_of(machine.proc, "self")
    if mounted is None or not own:
        return []
    path = f"{own.rstrip('/')}/okoomer-rehearsal-{os.getpid()}"
    try:
        os.mkdir(mounted + path)
    except OSError as error:
        if error.errno == EROFS:
            return ["cgroups cannot be written (ProtectControlGroups=): they are ended process by process"]
        return []
    child = sleeper()
    try:
        directory = control.enter(mounted, path)
        try:
            control.put(directory, "cgroup.procs", b"%d" % child)
        finally:
            os.close(directory)
        steps = (Step("term", 0.02), Step("oom"))
        harsh = policy_of(policy, steps)
        ladder = Ladder(Hands(machine.proc, None), events.append, harsh)
        now = clock.monotonic()
        ladder.begin(Act(0, harsh.rules[0], path, [], 0, 0, cgroup=path), now)
        climb(ladder, fired, 0, now)
        ladder.close()
    except OSError:
        pass  # we may not move it there
    finally:
        os.kill(child, SIGKILL)
        os.waitpid(child, 0)
        try:
            os.rmdir(mounted + path)
        except OSError:
            pass  # an empty cgroup harms nobody
    died = [event for event in events if isinstance(event, model.Died) and event.cgroup]
    return [] if died else ["a cgroup of our own could not be ended: a sandbox may forbid it"]
