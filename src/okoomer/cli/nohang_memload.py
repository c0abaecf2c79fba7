"""A trial by fire: takes memory until hardly any is left, so that the daemon has to act.

It is refused where it would hurt anybody but who asked for it, asks twice, gives up its rights, and ends itself.
"""

from __future__ import annotations

import os
import secrets
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import click

from okoomer.cli import place
from okoomer.cli.doctor import PEERS
from okoomer.cli.errors import CANNOT, NO
from okoomer.guard.sense import Sense
from okoomer.kernel import process as kernel
from okoomer.kernel.files import read
from okoomer.kernel.machine import LIVE
from okoomer.units import MIB

#: Bytes of memory and swap that are left when it ends, and how many are taken at a time.
LEFT, BITE = 40 * MIB, 40 * 1024
#: Looking at memory costs more than a bite: it is done after so many.
BITES = 25
#: Seconds for each answer.
PATIENCE = 30.0
#: The user that it becomes where it may: nobody has files by this number.
DAEMON = 1


def memload(
    refuse: Callable[[], str | None] | None = None,
    ask: Callable[[str], str | None] | None = None,
    left: Callable[[], int] | None = None,
    take: Callable[[int], object] | None = None,
    drop: Callable[[], None] | None = None,
    end: Callable[[], None] | None = None,
) -> int:
    """Takes memory until little is left and ends this process; the exit code if it does not come to that.

    Args:
        refuse: Why it must not be done here, or None.
        ask: Shows a question and gives the answer, None if there was none in time.
        left: Bytes of memory and swap that can be had.
        take: Takes so many bytes and gives what holds them.
        drop: Gives up rights.
        end: Ends this process.
    """
    why = (refuse or refusal)()
    if why:
        click.echo(f"nohang: no memload: {why}", err=True)
        return CANNOT
    ask = ask or asked
    word = f"{secrets.randbelow(900_000) + 100_000}"
    if ask(f"This takes all memory of the machine. To go on, type {word}: ") != word:
        return _given_up()
    (drop or dropped)()
    if ask("Whoever has the highest score may lose unsaved work. Go on? Type Yes: ") != "Yes":
        return _given_up()
    held = []
    for _ in _until_little(left or available(), LEFT):
        held.append((take or bytearray_of)(BITE))
    click.echo("little is left; ending")
    (end or ended)()
    return NO


def _until_little(left: Callable[[], int], least: int) -> Iterator[None]:
    while (now := left()) > least:
        click.echo(f"\r{now / MIB:8.0f} MiB left", nl=False)
        for _ in range(BITES):
            yield
    click.echo()


def _given_up() -> int:
    click.echo("nohang: not the answer: nothing was done", err=True)
    return NO


def refusal(proc: str = LIVE.proc, sessions: str = "/run/systemd/users") -> str | None:
    """Why a machine must not be filled, or None."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "it asks, and this is no terminal"
    if Sense(LIVE).snapshot().swap.total:
        return "swap is on: the machine would stand still for long (swapoff -a)"
    sudo = os.environ.get("SUDO_UID", "")
    others = other_users(proc, sessions, {0, os.getuid(), int(sudo) if sudo.isdecimal() else 0})
    if others:
        return f"other users are logged in: {', '.join(map(str, sorted(others)))}"
    if not guarded(proc):
        return "nothing guards this machine: start okoomer first"
    return None


def other_users(proc: str, sessions: str, own: set[int]) -> set[int]:
    """The numbers of users who are logged in, or have a program on a terminal, besides one's own."""
    found = set()
    with suppress(OSError):
        found |= {int(path.name) for path in Path(sessions).iterdir() if path.name.isdecimal()}
    for pid in kernel.pids(proc):
        with suppress(OSError, ValueError, IndexError):
            if kernel.stat(proc, pid).terminal:
                found.add(kernel.parse_status(read(f"{proc}/{pid}/status")).user)
    return found - own


def guarded(proc: str) -> bool:
    """Whether okoomer or another daemon of the kind runs."""
    if place.running(place.runtime_dir(None)) is not None:
        return True
    for pid in kernel.pids(proc):
        with suppress(OSError, ValueError, IndexError):
            if kernel.stat(proc, pid).name in PEERS:
                return True
    return False


def available() -> Callable[[], int]:
    """A function that gives the bytes of memory and swap that can be had."""
    sense = Sense(LIVE, ())

    def left() -> int:
        snapshot = sense.snapshot()
        return snapshot.memory.available + snapshot.swap.free

    return left


def asked(question: str) -> str | None:
    """The answer to a question, None if there is none in time."""
    click.echo(question, nl=False)
    ready, _, _ = select.select([sys.stdin], [], [], PATIENCE)
    if not ready:
        click.echo()
        return None
    return sys.stdin.readline().strip()


def bytearray_of(size: int) -> bytearray:
    """Memory that is really used."""
    return bytearray(b"x") * size


def dropped() -> None:
    """Gives up root's rights, so that nothing but memory can be harmed."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(DAEMON)
        os.setuid(DAEMON)


def ended() -> None:
    """Ends this process by a signal that nobody else sends, so that it is plain who did it."""
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGUSR1)
