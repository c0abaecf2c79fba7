"""Mail on what was done: one for an episode, handed to the machine's own mail server, or to sendmail(8)."""

from __future__ import annotations

import os
from _socket import gethostname
from select import poll
from time import localtime, monotonic, strftime

from okoomer.courier.smtp import Delivery
from okoomer.courier.words import rebuilt
from okoomer.events.text import harmless, sentence
from okoomer.say import Once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from okoomer.courier.runs import Runs

#: Where this machine's mail server listens, and the program that takes mail where there is none.
SERVER, SENDMAIL = ("127.0.0.1", 25), "/usr/sbin/sendmail"
#: Seconds without an event that end an episode; between two mails at the least; and for a mail to be handed over, and
#: for that at the courier's end.
QUIET, GAP, PATIENCE, FAREWELL = 60.0, 600.0, 30.0, 1.0
#: Lines of a mail, and characters of each.
LINES, LONGEST = 200, 900
#: What is written of: acts, what came of them, and what went wrong.
TOLD = (
    "chosen", "takenover", "question", "closed", "paused", "resumed", "limited", "slowed", "eased", "signalled", "died",
    "stuck", "refused", "recovered", "kernelkilled", "late",
)  # fmt: skip


def recipient(text: str) -> str:
    """To whom mail is sent, as a configuration says it.

    Raises:
        ValueError: It is no address; the text says what was wrong.
    """
    allowed = text.isascii() and text.isprintable() and not set(text) & set(" <>()[],;:\\\"'`|/")
    name, at, host = text.partition("@")
    if not allowed or not name or text.startswith("-") or len(text) > 254 or (at and (not host or "@" in host)):
        raise ValueError(f"{text!r} is no address for mail; expected one like root or admin@example.org")
    return text


class Post:
    """Collects events, and sends a mail when nothing has happened for a while.

    Args:
        to: The recipient.
        runs: Runs sendmail.

    Raises:
        ValueError: The recipient is no address.
    """

    def __init__(self, to: str, runs: Runs) -> None:
        self._to = recipient(to)
        self._runs = runs
        self._once = Once()
        self._lines: list[str] = []
        self._more = 0
        self._ended: list[str] = []
        self._first = self._last = self._sent = float("-inf")
        self._delivery: Delivery | None = None
        self._text = b""

    def hear(self, event: dict[str, Any], at: float, now: float) -> None:
        """Takes an event.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: It is not what its name says.
        """
        name = event["event"]
        if name not in TOLD and not (name == "warned" and event.get("act")):
            return
        if name == "recovered" and not self._lines:
            return  # nothing was done
        line = f"{strftime('%Y-%m-%d %H:%M:%S', localtime(at))} {sentence(rebuilt(event))[1]}"[:LONGEST]
        if not self._lines:
            self._first = now
        if len(self._lines) < LINES:
            self._lines.append(line)
        else:
            self._more += 1
        if name == "died" and len(self._ended) < LINES:
            self._ended.append(harmless(str(event["name"])))
        self._last = now

    def wants(self) -> list[tuple[int, int]]:
        """What to wait for: descriptors and events."""
        return self._delivery.wants() if self._delivery else []

    def wait(self, now: float) -> float:
        """Seconds until there is something to do even if nothing comes."""
        if self._delivery:
            return self._delivery.wait(now)
        return max(0.0, self._due() - now) if self._lines else float("inf")

    def turn(self, ready: dict[int, int], now: float) -> None:
        """Does what can be done now."""
        if self._delivery:
            self._delivery.turn(ready, now)
            self._see(now)
        elif self._lines and now >= self._due():
            self._send(now, PATIENCE)

    def close(self) -> None:
        """Sends what is left, and waits a little until it is taken."""
        now = monotonic()
        end = now + FAREWELL
        while (self._delivery or self._lines) and now < end:
            if self._delivery is None:
                self._send(now, FAREWELL)
                continue
            poller = poll()
            for fd, events in self._delivery.wants():
                poller.register(fd, events)
            self.turn(dict(poller.poll(max(0.0, end - now) * 1000)), monotonic())
            now = monotonic()
        if self._delivery:
            self._delivery.close()
            self._delivery = None
            self._once("mail", f"mail to {self._to} was not taken in time")

    def _due(self) -> float:
        # Of an episode that does not end something is heard all the same.
        return max(min(self._last + QUIET, self._first + GAP), self._sent + GAP)

    def _send(self, now: float, seconds: float) -> None:
        self._text = letter(self._to, self._lines, self._more, self._ended)
        self._lines, self._more, self._ended = [], 0, []
        self._sent = now
        self._delivery = Delivery(SERVER, address(), self._to, self._text, now + seconds)
        self._see(now)

    def _see(self, now: float) -> None:
        """What has become of the mail that is on its way."""
        delivery = self._delivery
        if delivery is None or not delivery.over:
            return
        self._delivery = None
        if not delivery.why:
            self._once.over("mail")
        elif delivery.talked:
            self._once("mail", f"mail to {self._to} was not taken: {harmless(delivery.why)}")
        elif os.access(SENDMAIL, os.X_OK):
            environment = {b"PATH": b"/usr/sbin:/usr/bin:/sbin:/bin"}
            command = [os.fsencode(SENDMAIL), b"-i", b"--", self._to.encode()]
            self._runs.begin(command, environment, self._text, PATIENCE, now)
        else:
            where = f"{SERVER[0]} port {SERVER[1]}"
            self._once("mail", f"mail cannot be sent: {where}: {harmless(delivery.why)}, and there is no {SENDMAIL}")


def address() -> str:
    """Who writes."""
    host = "".join(c for c in gethostname() if c.isascii() and (c.isalnum() or c in "-."))
    return f"okoomer@{host or 'localhost'}"


def letter(to: str, lines: list[str], more: int, ended: list[str]) -> bytes:
    """A mail, head and body, with bare newlines and nothing but ASCII."""
    host = address().partition("@")[2]
    who = ", ".join([*ended[:3], *([f"{len(ended) - 3} more"] if len(ended) > 3 else [])])
    subject = f"okoomer on {host}: memory ran out, {f'ended {who}' if ended else 'nobody was ended'}"
    head = [
        f"From: okoomer <{address()}>",
        f"To: {to}",
        f"Subject: {subject[:LONGEST]}",
        f"Date: {strftime('%a, %d %b %Y %H:%M:%S %z')}",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
    ]
    rest = [f"and {more} more"] if more else []
    body = [*lines, *rest, "", "Why: okoomer why, on that machine."]
    return "\n".join([*head, "", *body, ""]).encode("ascii", "backslashreplace")
