"""The watchdog: a second thread that acts once when the loop hangs while memory is short.

Whatever the loop waits for (a read that does not return, a disk that does not answer), this thread waits for nothing
but time: it knows beforehand whom to kill, and the reading that tells whether memory is short comes from a descriptor
of its own.
"""

from __future__ import annotations

from _thread import start_new_thread
from time import sleep

from okoomer.events.model import Late
from okoomer.guard.doze import CALM
from okoomer.guard.each import seize_each
from okoomer.kernel import meminfo
from okoomer.kernel.clock import monotonic
from okoomer.kernel.files import Source
from okoomer.kernel.syscalls import set_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import SIGKILL

    from okoomer.facts import Process
    from okoomer.guard.victim import Hands
    from okoomer.kernel.machine import Machine
    from okoomer.record import Record
else:
    from _signal import SIGKILL

#: Seconds by which the loop may be late before it counts as hanging.
PATIENCE = 5.0


class Watchdog:
    """Args:
    machine: Whose meminfo is read.
    hands: Seizes and kills.
    emit: Takes the event.
    """

    def __init__(
        self, machine: Machine, hands: Hands, emit: Callable[[Record], None], patience: float = PATIENCE
    ) -> None:
        self._memory = Source(f"{machine.proc}/meminfo", meminfo.parse)
        self._hands = hands
        #: Bytes available below which a hanging loop is an emergency.
        self.short = 0.0
        self._emit = emit
        self._patience = patience
        self._expected = self._deadline = float("inf")
        #: Whom it would kill: the best-known unit's processes, greatest first, and the unit's name.
        self.best: tuple[str, tuple[Process, ...]] = ("", ())

    def start(self) -> None:
        """Begins to watch; before this, and until the first `expect`, nothing happens."""
        start_new_thread(self._run, ())

    def expect(self, within: float) -> None:
        """The loop will be back within so many seconds. While it plans to doze, memory is far from short, and this
        thread need not wake up as often as the loop."""
        self._expected = monotonic() + within
        self._deadline = self._expected + self._patience * (2 if within >= CALM else 1)

    def _run(self) -> None:
        set_name("okoomer-watch")
        while True:
            left = self._deadline - monotonic()
            if left > 0:
                sleep(min(left, 60.0))
            else:
                self._deadline += self._patience
                self.rescue(monotonic() - self._expected)

    def rescue(self, late: float) -> None:
        """What is done when the loop is `late` by so many seconds: kills if memory is short, and says so."""
        found = self._memory.read()
        name, processes = self.best
        killed = 0
        if found and found[0].available < self.short:
            seized = seize_each(self._hands.seize, processes)
            reached, _ = seized.signal(SIGKILL)
            seized.close()
            killed = reached[0] if reached else 0
        self._emit(Late(late, killed, name if killed else ""))
