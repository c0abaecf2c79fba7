"""`okoomer pause`: a process stands still until it is resumed."""

from __future__ import annotations

import click

from okoomer.cli import place
from okoomer.cli.reach import No, finish, guard
from okoomer.events.text import harmless
from okoomer.kernel.process import stat, ticks


@click.command()
@click.argument("pid", metavar="PID", type=click.IntRange(1, 2**22))
@place.json_option
@place.runtime_option
def command(pid: int, as_json: bool, runtime_dir: str | None) -> None:
    """Have a process and its descendants stand still.

    They keep their memory but want no more. okoomer lets them go on when `okoomer resume` says so, and when it ends
    itself, however that comes. You can pause what is yours, and as root anybody's; but nothing that holds a session or
    the machine together, nor what the policy spares.

    \b
    Example:
      okoomer pause 4711
      okoomer resume 4711
    """
    name, start = identity(pid)
    to = guard(runtime_dir)
    try:
        status, text = to.pause(pid, start)
    finally:
        to.close()
    finish(f"{name} (pid {pid}) is paused", status, text, as_json, f"there is no process {pid} any more")


def identity(pid: int) -> tuple[str, int]:
    """A process's name, and its start in clock ticks after boot: with it a number cannot come to mean another process.

    Raises:
        No: There is no such process.
    """
    try:
        name = stat("/proc", pid).name
    except (OSError, ValueError):
        name = ""
    start = ticks("/proc", pid)
    if not start:
        raise No(f"there is no process {pid}")
    return harmless(name), start
