"""The own lines of processes beside the guard, on a standard error that they share with others."""

from __future__ import annotations

import os
from select import POLLOUT, poll

#: A pipe that polls writable takes this much without waiting (pipe(7), PIPE_BUF).
AT_ONCE = 4096


def say(text: str) -> None:
    """Writes one line, if somebody takes it now: a reader that has stopped must not stop the commands."""
    prefix = "<4>" if "JOURNAL_STREAM" in os.environ else ""
    line = f"{prefix}okoomer: {text}".encode("utf-8", "backslashreplace")[: AT_ONCE - 1]
    try:
        poller = poll()
        poller.register(2, POLLOUT)
        ready = poller.poll(0)
        if ready and ready[0][1] & POLLOUT:
            os.write(2, line + b"\n")
    except OSError:
        pass  # nobody reads along


class Once:
    """Says a thing once, until it is over."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, about: str, text: str) -> None:
        if about not in self._said:
            self._said.add(about)
            say(text)

    def over(self, about: str) -> None:
        """It is well again: the next time is another time."""
        self._said.discard(about)
