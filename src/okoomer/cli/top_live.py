"""The screen of `okoomer top`: views drawn in place, and keys."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from okoomer.cli.top_view import View, lines, rows

#: What keys send, and what they are here.
_KEYS = {b"\x1b[A": "up", b"\x1bOA": "up", b"k": "up", b"\x1b[B": "down", b"\x1bOB": "down", b"j": "down"}
#: Seconds that an answer stays on the screen.
NOTED = 5.0

Do = Callable[[str, View, tuple[str, int, int] | None], str]


def live(look: Callable[[], View], do: Do, interval: float, count: int | None, console: Console | None = None) -> None:
    """Draws views until q, Ctrl-C or SIGTERM.

    Args:
        look: Gives the next view.
        do: Does what a key (p, r, e) is for with whoever is chosen, and says what came of it.
        interval: Seconds from view to view.
        count: So many views at most.
    """
    console = console or Console()
    try:
        with (
            _ended_by_sigterm(),
            _keys(sys.stdin.fileno()) as fd,
            Live(console=console, screen=True, auto_refresh=False) as shown,
        ):
            _draw(look, do, interval, count, console, shown, fd)
    except KeyboardInterrupt:
        pass  # that is how it is left


def _draw(
    look: Callable[[], View], do: Do, interval: float, count: int | None, console: Console, shown: Live, fd: int
) -> None:
    chosen, at = None, -1
    note, until, seen = "", 0.0, 0
    view = look()
    due = time.monotonic() + interval
    while True:
        there = rows(view)
        # Whoever is paused may stand in the ranking as well: the place counts as long as he is there.
        if not 0 <= at < len(there) or there[at] != chosen:
            at = there.index(chosen) if chosen in there else -1
        note = note if time.monotonic() < until else ""
        drawn = lines(view, console.width, console.height, at, note)
        shown.update(Text("\n", no_wrap=True, overflow="crop").join(drawn), refresh=True)
        key = _key(fd, max(0.0, due - time.monotonic()))
        if key == "q":
            return
        if key in ("up", "down") and there:
            step = 1 if key == "down" else -1
            at = (at + step) % len(there) if at >= 0 else 0 if step > 0 else len(there) - 1
            chosen = there[at]
        elif key in ("p", "r", "e"):
            note, until = do(key, view, there[at] if at >= 0 else None), time.monotonic() + NOTED
            due = 0.0
        if time.monotonic() >= due:
            seen += 1
            if seen == count:
                return
            view = look()
            due = time.monotonic() + interval


def _key(fd: int, seconds: float) -> str:
    """The key that is pressed within so many seconds, or ''."""
    if fd < 0:
        time.sleep(seconds)
        return ""
    if not select.select([fd], [], [], seconds)[0]:
        return ""
    pressed = os.read(fd, 16)
    return _KEYS.get(pressed, pressed[:1].decode("ascii", "replace") if pressed else "q")


@contextmanager
def _keys(fd: int) -> Iterator[int]:
    """Has a terminal give each key at once; gives it, or -1 where it is none."""
    if not os.isatty(fd):
        yield -1
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd, termios.TCSANOW)  # what was typed meanwhile counts
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does, so that the screen is given back."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
