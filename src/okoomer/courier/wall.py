"""For machines without a screen: a word on all terminals, and mail."""

from __future__ import annotations

from _socket import gethostname
from time import localtime, strftime

from okoomer.courier.mail import Post
from okoomer.courier.terminals import terminals, write
from okoomer.events.text import harmless, some_pids
from okoomer.events.unanswered import unanswered
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from okoomer.courier.runs import Runs

#: So many messages at once, then one in so many seconds: whoever works at a terminal has to be left to it.
BURST, GAP = 3, 10.0
#: Messages that wait meanwhile; the oldest are given up.
WAITING = 8
#: Characters of a name or a text.
LONGEST = 200


class Wall:
    """See the module.

    Args:
        wall: Whether to write to terminals.
        mail: To whom mail is sent, or "".
        runs: Runs sendmail.
    """

    def __init__(self, wall: bool, mail: str, runs: Runs) -> None:
        self._wall = wall
        self._post = Post(mail, runs) if mail else None
        self._waiting: list[tuple[int, str]] = []
        self._spare, self._at = float(BURST), float("-inf")

    def hear(self, event: dict[str, Any], at: float, now: float) -> None:
        """Takes an event."""
        if self._post:
            self._post.hear(event, at, now)
        if not self._wall:
            return
        if event["event"] == "closed":
            # Whoever reads of a question should be able to answer it.
            self._waiting = [(number, text) for number, text in self._waiting if number != event["question"]]
        text = message(event)
        if text:
            number = int(event["question"]) if event["event"] == "question" else 0
            self._waiting = [*self._waiting[1 - WAITING :], (number, f"{strftime('%H:%M:%S', localtime(at))} {text}")]
            self._speak(now)

    def lost(self, now: float) -> None:
        """The guard is gone, and its questions with it."""
        self._waiting = [(number, text) for number, text in self._waiting if not number]

    def wants(self) -> list[tuple[int, int]]:
        """What to wait for: descriptors and events."""
        return self._post.wants() if self._post else []

    def wait(self, now: float) -> float:
        """Seconds until there is something to do even if nothing comes."""
        wait = max(0.0, self._at + (1 - self._spare) * GAP - now) if self._waiting else float("inf")
        return min(wait, self._post.wait(now) if self._post else float("inf"))

    def turn(self, ready: dict[int, int], now: float) -> None:
        """Does what can be done now."""
        self._speak(now)
        if self._post:
            self._post.turn(ready, now)

    def close(self) -> None:
        """Says what is still to be said."""
        if self._waiting:
            self._spare = 1.0
            self._speak(self._at)
        if self._post:
            self._post.close()
            self._post = None

    def _speak(self, now: float) -> None:
        if not self._waiting:
            return
        self._spare = min(float(BURST), self._spare + max(0.0, now - self._at) / GAP)
        self._at = now
        # A hair of a second is lost in the sums.
        if self._spare < 1 - 1e-6:
            return
        self._spare -= 1.0
        texts = [text for _, text in self._waiting]
        self._waiting = []
        # Also to a terminal that is in raw mode, where a line's end does not bring the cursor back.
        lines = "\r\n".join(["", f"Message from okoomer on {harmless(gethostname())}:\a", *texts, ""])
        for path in terminals():
            write(path, lines.encode("ascii", "backslashreplace"))


def message(event: dict[str, Any]) -> str:
    """What is written to terminals of an event: of an act's warning, a question and an end. "": nothing.

    Raises:
        KeyError, TypeError, ValueError: The event is not what its name says.
    """
    name = event["event"]
    if name == "warned" and event.get("act"):
        who = _who(event["name"], [event["pid"]]) if event.get("pid") else ""
        return f"memory is running out{f'; {who} will have to end' if who else ''}: {_short(event['text'])}"
    if name == "question":
        what = _question(event)
        return f"memory is running out; {what}"
    if name == "died":
        who = _who(event["name"], event["pids"])
        return f"{who} was ended because memory ran out; {size(event['came_back'])} came back"
    return ""


def _question(event: dict[str, Any]) -> str:
    number, choices = int(event["question"]), [str(choice) for choice in event["choices"]]
    state = "is paused" if event["paused"] else "is to end"
    # Those that need to say no more; a ceiling is for whoever knows what he does.
    words = "|".join(harmless(choice) for choice in choices if choice in ("end", "resume", "pause"))
    asked, then = f"okoomer answer {number} {words}", unanswered(event["then"])
    return f"{_who(event['name'], event['pids'])} {state}: {asked} (unanswered, it {then} in {event['seconds']:.0f} s)"


def _who(name: Any, pids: list[int]) -> str:
    return f"{_short(name)} ({some_pids(tuple(int(pid) for pid in pids))})"


def _short(text: Any) -> str:
    return harmless(str(text))[:LONGEST]
