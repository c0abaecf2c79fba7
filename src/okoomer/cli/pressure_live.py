"""The table of `okoomer pressure`, drawn again and again."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text


def draw(
    lines: Callable[[], list[str]],
    wait: Callable[[float], bool],
    interval: float,
    count: int | None,
    console: Console | None = None,
) -> None:
    """Shows lines until it is told to stop: on a terminal in place and as many as fit, else one picture below the other
    with an empty line between.

    Args:
        lines: What is to be shown now.
        wait: Waits so many seconds, or less: true once it is told to stop.
        interval: Seconds from picture to picture.
        count: So many pictures at most.
    """
    console = console or Console()
    if not console.is_terminal:
        drawn = 0
        while True:
            console.file.write("\n".join([*([""] if drawn else []), *lines(), ""]))
            console.file.flush()
            drawn += 1
            if drawn == count or wait(interval):
                return
    with Live(console=console, screen=True, auto_refresh=False) as shown:
        drawn = 0
        while True:
            fitting = lines()[: console.height]
            shown.update(Text("\n".join(fitting), no_wrap=True, overflow="crop"), refresh=True)
            drawn += 1
            if drawn == count or wait(interval):
                return
