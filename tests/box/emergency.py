"""Emergencies in a box with all that tells of them: a guard, its own courier, another at its door as another user, a
real bus and programs that are run. What happens to those who tell is in tests/box/disturbance.py.

An emergency is a fall of pretended memory below the limit, with a real hog; how long it takes is measured from outside,
from the fall to the hog's death.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from jeepney.bus_messages import message_bus  # type: ignore[import-untyped]
from jeepney.io.blocking import open_dbus_connection  # type: ignore[import-untyped]

from okoomer.courier.feed import position
from tests.box.box import Box
from tests.box.guards import OKOOMER
from tests.box.process import Proc
from tests.box.procfiles import MIB
from tests.unit.buses import Daemon

NAME = "org.okoomer.Okoomer1"
RUN, COURIER_RUN = "/run/okoomer", "/run/okoomer-courier"
#: Whose courier comes to the door, and the group of such.
NOBODY = 65534
HOG = 64 * MIB
#: An emergency that lasts longer is not resolved.
PATIENCE = 20.0
START = 60.0
#: Shares of memory in percent: nobody has to go yet, but the guard looks often, 0.25 s later at the latest; too little.
NEAR, SHORT = 10.5, 3.0
SEEN = 0.3

#: Warnings, levels, announcements and commands, so that those who tell have something to do.
POLICY = """
notify = ["warned", "signalled", "died"]

[[rule]]
name  = "low"
when  = "mem.available <= 10%"
unit  = "process"
least = "48MiB"
steps = ["kill"]
rest  = "100ms"

[[rule]]
name  = "early"
when  = "mem.available <= 9%"
steps = ["warn"]
rest  = "100ms"

[[rule]]
name  = "tight"
when  = "mem.available <= 15%"
level = "low"

[[rule]]
name  = "short"
when  = "mem.available <= 8%"
level = "medium"

[[hook]]
on  = "chosen"
run = "OUT/note chosen"

[[hook]]
on  = "died"
run = "OUT/note died"

[[hook]]
on   = "died"
run  = "OUT/note own"
user = "daemon"
"""
MANY = """
[[rule]]
name  = "more{number}"
when  = "mem.available <= 60%"
steps = ["warn"]
rest  = "100ms"
"""
NOTE = '#!/bin/sh\necho "$1" >>OUT/noted\n'
#: Everybody may speak with the courier, which runs as nobody.
ALLOWED = """
<busconfig>
  <policy user="nobody">
    <allow own="org.okoomer.Okoomer1"/>
    <allow own="org.freedesktop.LowMemoryMonitor"/>
  </policy>
  <policy context="default">
    <allow send_destination="org.okoomer.Okoomer1"/>
    <allow send_destination="org.freedesktop.LowMemoryMonitor"/>
  </policy>
</busconfig>
"""


class Scene:
    """A guard at work, and all who tell of it.

    Args:
        stack: Ends it all.
        more: So many rules more that only warn, all at once.
        small: The directories of the guard and of the courier are on file systems of 1 MiB each.
    """

    def __init__(self, stack: ExitStack, more: int = 0, small: bool = False) -> None:
        # Where other users come to; not where pytest keeps its own.
        self.out = Path(tempfile.mkdtemp(prefix="emergency-", dir="/tmp"))
        stack.callback(shutil.rmtree, self.out)
        self.out.chmod(0o755)
        self._write(more)
        self.bus = Daemon(self.out, self.out / "allowed.conf")
        stack.callback(self.bus.stop)
        self.bus.start()
        self.box = stack.enter_context(Box())
        self.small = small
        for path in (RUN, COURIER_RUN) if small else ():
            self.shell(f"mkdir {path} && mount -t tmpfs -o size=1m,mode=755 tmpfs {path}")
        self.box.memory(available=self.bytes(NEAR))
        self.start()

    def _write(self, more: int) -> None:
        rules = "".join(MANY.format(number=number) for number in range(more))
        (self.out / "policy.toml").write_text(POLICY.replace("OUT", str(self.out)) + rules)
        (self.out / "courier.toml").write_text('system_notifications = "always"\n')
        (self.out / "allowed.conf").write_text(ALLOWED.strip())
        note, noted = self.out / "note", self.out / "noted"
        note.write_text(NOTE.replace("OUT", str(self.out)))
        note.chmod(0o755)
        noted.touch()
        noted.chmod(0o666)

    # --- who is there -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the guard and the couriers; on return all is as it will be."""
        self.start_guard()
        self.start_courier()
        self.child = Proc(self.box, self._child())

    def start_guard(self) -> None:
        """Starts the guard, which starts a courier as its child."""
        argv = [OKOOMER, "run", "--service", "--json", "--courier-user", "nobody", "--runtime-dir", RUN]
        self.guard = self.box.daemon([*argv, "--policy", str(self.out / "policy.toml")])
        self.guard.wait_line('"event": "started"', START)

    def start_courier(self) -> None:
        """Starts the courier that comes to the door."""
        config = str(self.out / "courier.toml")
        if not self.small:
            self.shell(f"mkdir -p {COURIER_RUN}")
        self.shell(f"chown {NOBODY} {COURIER_RUN}")
        argv = [OKOOMER, "courier", "--config", config, "--socket", f"{RUN}/guard.sock", "--runtime-dir", COURIER_RUN]
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.bus.address}
        self.courier = self.box.daemon(argv, uid=NOBODY, env=environment)
        self.until(self.settled, "the courier to be let in and to have its name")

    def stop(self) -> None:
        """Ends the guard and the couriers."""
        for proc in (self.courier, self.guard):
            proc.stop()

    def settled(self) -> bool:
        """Whether the courier is let in and has its name on the bus."""
        return self.let_in() and owned(self.bus.address, NAME)

    def let_in(self) -> bool:
        """Whether the courier has the ring, which only the guard gives."""
        with contextlib.suppress(OSError):
            return any(str(fd.readlink()).endswith("/ring") for fd in (self.courier.proc / "fd").iterdir())
        return False

    def _child(self) -> int:
        """The pid in the box of the courier that the guard has as its child."""
        children = [
            pid
            for task in (self.guard.proc / "task").iterdir()
            for pid in (task / "children").read_text(encoding="ascii").split()
        ]
        [found] = [pid for pid in children if (self.box.proc / pid / "comm").read_text() == "okoomer-courier\n"]
        return int(found)

    # --- what happens -------------------------------------------------------------------------------------------

    def emergency(self, meanwhile: Callable[[], None] | None = None) -> float:
        """Seconds from the fall of memory to the hog's death; infinite if it outlives our patience.

        Args:
            meanwhile: Done as soon as memory has fallen.
        """
        # All is as before when it is dead: near the limit the guard looks every 20 ms or so.
        hog = self.box.spawn(rss_bytes=HOG, name="hog", gives_back=self.bytes(NEAR - SHORT))
        time.sleep(random.uniform(0.1, 0.2))
        began = time.monotonic()
        self.box.memory(available=self.bytes(SHORT))
        if meanwhile:
            meanwhile()
        with contextlib.suppress(TimeoutError):
            hog.wait(PATIENCE)
        death = hog.death
        hog.stop()
        self.box.memory(available=self.bytes(NEAR))
        return death.at - began if death and death.signal == signal.SIGKILL else math.inf

    def told(self) -> int:
        """How many events the guard has told, and those before it."""
        return position(f"/proc/{self.box.init_pid}/root{RUN}/ring")

    def noted(self) -> dict[str, int]:
        """How often each command was run."""
        lines = (self.out / "noted").read_text().split()
        return {word: lines.count(word) for word in ("chosen", "died", "own")}

    def bytes(self, percent: float) -> int:
        return int(self.box.total * percent / 100)

    def shell(self, command: str) -> None:
        """Runs a command as root in the box."""
        proc = self.box.spawn(["sh", "-c", command])
        end = proc.wait(START)
        assert end.code == 0, (command, proc.lines)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START
        while not condition():
            if time.monotonic() > deadline or not self.guard.alive:
                raise TimeoutError(f"waited for {what}: {[line.text for line in self.courier.lines]}")
            time.sleep(0.01)


def owned(address: str, name: str) -> bool:
    """Whether somebody has a name on a bus."""
    with contextlib.suppress(OSError), open_dbus_connection(address, auth_timeout=60) as connection:
        return bool(connection.send_and_get_reply(message_bus.NameHasOwner(name), timeout=5).body[0])
    return False
