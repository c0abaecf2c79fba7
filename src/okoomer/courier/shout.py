"""net.nuetzlich.SystemNotifications on the system bus, for those who run systembus-notify: what the policy wants
announced, or where it names nothing, what a person needs to know. In plain words, far enough apart, and with markup
escaped."""

from __future__ import annotations

from time import monotonic

from okoomer.courier.services import AUTO, NEVER
from okoomer.courier.words import Spaced
from okoomer.events.markup import escape
from okoomer.events.model import BY_RULE, BY_TURNS, IN_SIGHT
from okoomer.events.text import harmless, some_pids
from okoomer.events.unanswered import unanswered
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from okoomer.bus.service import Service

PATH, INTERFACE, MEMBER = "/", "net.nuetzlich.SystemNotifications", "Notify"
#: So many wait at the most until there is room to tell them, more than two notifications hold; and so many seconds for
#: a bus that is not there.
WAITING, PATIENCE = 32, 30.0
#: Warnings of which nothing comes are told so many seconds apart.
WARNINGS = 30.0


class SystemNotifications:
    """See the module.

    Args:
        bus: The system bus.
        when: NEVER, AUTO (only while no agent attends) or ALWAYS.
        attended: Whether an agent attends, which shows all this better.
    """

    def __init__(self, bus: Service, when: str = AUTO, attended: Callable[[], bool] = bool) -> None:
        self._bus = bus
        self._when = when
        self._attended = attended
        #: The names of events that the policy wants announced: then those are, by `add`, and nothing else.
        self.notify: tuple[str, ...] = ()
        self._spaced = Spaced()
        self._waiting, self._since = 0, 0.0
        self._warned = float("-inf")

    # --- what the policy wants announced (desk.Takes) ------------------------------------------------------------

    def add(self, summary: str, body: str) -> None:
        """Takes an announcement, and returns at once."""
        if self._wanted() and self._waiting < WAITING:
            if not self._waiting:
                self._since = monotonic()
            self._waiting += 1
            self._spaced.add(summary, body)

    @property
    def busy(self) -> bool:
        """Whether something is still to be announced, and there is a bus for it."""
        return self._spaced.wait(0.0) is not None and self._bus.connection.reached

    # --- as a part of the courier --------------------------------------------------------------------------------

    def hear(self, event: dict[str, Any], at: float, now: float) -> None:
        """Announces an event if a person needs to know of it."""
        if self.notify:
            return
        if event["event"] == "warned" and not event.get("act"):
            if now < self._warned + WARNINGS:
                return
            self._warned = now
        text = words(event)
        if text:
            self.add("okoomer", escape(text))

    def lost(self, now: float) -> None:
        pass

    def wants(self) -> list[tuple[int, int]]:
        return []

    def wait(self, now: float) -> float:
        wait = self._spaced.wait(now)
        return float("inf") if wait is None or not self._bus.connection.up else wait

    def turn(self, ready: dict[int, int], now: float) -> None:
        """Announces what has waited long enough."""
        if self._spaced.wait(now) == 0.0 and self._bus.connection.up:
            summary, body = self._spaced.take(now)
            self._waiting = 0
            # Looked at once more: an agent may have come meanwhile.
            if self._wanted() and now < self._since + PATIENCE:
                self._bus.emit(PATH, INTERFACE, MEMBER, "ss", (summary, body))

    def close(self) -> None:
        """Says what still waits."""
        if self.busy:
            self.turn({}, monotonic() + 1.0)

    def _wanted(self) -> bool:
        return self._when != NEVER and not (self._when == AUTO and self._attended())


def words(event: dict[str, Any]) -> str:
    """What a person is told of an event, "" if nothing: one message for a warning, a question, and each end.

    Raises:
        KeyError, TypeError, ValueError: The event is not what its name says.
    """
    what = event["event"]
    name = harmless(str(event.get("name", "")))
    pids = tuple(event.get("pids") or ())
    who = f"{name} ({some_pids(pids)})"
    if what == "warned":
        left = event.get("left")
        seen = left is not None and left < IN_SIGHT
        full = f"at this rate memory is full in {left:.0f} s" if seen else "memory is nearly full"
        if event.get("act"):
            return f"{name} is the next to go unless memory comes back" if name else "Memory is nearly full"
        return f"{name} is growing; {full}" if name else full[0].upper() + full[1:]
    if what == "question":
        choices = "|".join(event["choices"])
        stands = "is paused" if event.get("paused") else "may have to go"
        then = unanswered(event["then"])
        return (
            f"{who} {stands}, for want of memory. Without an answer it {then} in {event['seconds']:.0f} s. "
            f"Answer with: okoomer answer {event['question']} {choices}"
        )
    if what == "died":
        back = f", {size(event['came_back'])} came back" if event["came_back"] > 0 else ""
        return f"{who} was ended, for want of memory{back}"
    if what == "stuck":
        return f"{who} could not be ended: {harmless(event['why'])}"
    if what == "paused" and str(event["by"]).startswith(BY_RULE):
        return f"{who} is paused, for want of memory"
    if what == "resumed" and not str(event.get("by", "")).startswith(BY_TURNS):
        return f"{who} goes on after {event['seconds']:.0f} s"
    if what == "limited":
        return f"{who} can have {size(event['bytes'])} of memory from now on"
    if what == "slowed":
        return f"{who} is slowed down, for want of memory"
    if what == "eased":
        return f"{who} is slowed down no more"
    if what == "refused":
        return f"Memory is short, but nobody's end would help: {harmless(event['why'])}"
    if what == "kernelkilled":
        count = event["count"]
        return f"The kernel itself has ended {'a process' if count == 1 else f'{count} processes'}, for want of memory"
    return ""
