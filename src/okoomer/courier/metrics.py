"""Metrics for Prometheus, at an address of this machine: what has happened is counted as it is heard, and for the rest
the guard is asked when somebody asks us."""

from __future__ import annotations

from okoomer.courier.gate import place_of
from okoomer.courier.page import Page
from okoomer.courier.tally import Tally
from okoomer.say import Once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Seconds that the guard has for an answer; and for which one that it gave is new enough.
PATIENCE, FRESH = 1.0, 0.2


class Metrics:
    """See the module. What cannot be served is said, and nothing else depends on it.

    Args:
        address: Where; see gate.place_of.
        ask: Asks the guard something and calls back with a status and a text, by and by; see line.Line.

    Raises:
        ValueError: It is no address of this machine only.
    """

    def __init__(self, address: str, ask: Callable[[str, Callable[[str, str], None]], None]) -> None:
        self._ask = ask
        self._once = Once()
        self._page: Page | None = None
        self._tally: Tally | None = None
        #: Whether an answer is on its way; since when one is waited for; whether one came; when the last one did.
        self._asking = False
        self._since: float | None = None
        self._answered = False
        self._fresh = float("-inf")
        place = place_of(address)
        try:
            self._tally = Tally()
            self._page = Page(place, "/metrics", "text/plain; version=0.0.4; charset=utf-8")
        except ImportError as error:
            self._once("start", f"there are no metrics: {error}")
        except OSError as error:
            self._once("start", f"metrics cannot be had at {address}: {error.strerror or error}")

    def hear(self, event: dict[str, Any], at: float, now: float) -> None:
        """Takes an event."""
        if self._tally:
            self._tally.hear(event)

    def lost(self, now: float) -> None:
        """The guard is gone."""
        self._fresh = float("-inf")
        if self._tally:
            self._tally.lost()

    def wants(self) -> list[tuple[int, int]]:
        """What to wait for: descriptors and events."""
        return self._page.wants() if self._page else []

    def wait(self, now: float) -> float:
        """Seconds until there is something to do even if nothing comes."""
        if self._page is None:
            return float("inf")
        if self._answered:
            return 0.0
        answer = float("inf") if self._since is None else max(0.0, self._since + PATIENCE - now)
        return min(answer, self._page.wait(now))

    def turn(self, ready: dict[int, int], now: float) -> None:
        """Does what can be done now."""
        if self._page is None or self._tally is None:
            return
        self._page.turn(ready, now)
        if self._page.asked and self._since is None and now - self._fresh >= FRESH:
            self._since = now
            if not self._asking:
                self._asking, self._answered = True, False
                self._ask("state {ref}", self._told)
        if self._answered:
            self._answered, self._since, self._fresh = False, None, now
        elif self._since is not None and now >= self._since + PATIENCE:
            self._tally.told("silent", "")
            self._since = None
        elif self._since is not None:
            return
        if self._page.asked:
            self._page.show(self._tally.text())

    def close(self) -> None:
        """Ends all lines."""
        if self._page:
            self._page.close()
            self._page = None

    def _told(self, status: str, text: str) -> None:
        self._asking, self._answered = False, True
        if self._tally:
            self._tally.told(status, text)
