"""`okoomer systemd-oomd`: in systemd-oomd's place, by its configuration, and what answers where okoomer is called by
that name."""

from __future__ import annotations

import os
import stat
import sys
from socket import AF_UNIX, SO_ACCEPTCONN, SO_DOMAIN, SO_TYPE, SOCK_STREAM, SOL_SOCKET, socket
from typing import NoReturn

import click

import okoomer
from okoomer.cli import place
from okoomer.cli.compiled import compile_all
from okoomer.cli.errors import BAD_INPUT, CANNOT, DONE
from okoomer.cli.pace import fill_rate
from okoomer.cli.start import for_reload, start
from okoomer.compat.systemd_oomd import Settings, load, translate
from okoomer.compat.systemd_oomd_policy import limits, reasons
from okoomer.courier import Place
from okoomer.events.text import harmless
from okoomer.guard.launch import Options
from okoomer.guard.sense import Sense, Unreadable
from okoomer.kernel.cgroup import hierarchy
from okoomer.kernel.machine import LIVE
from okoomer.policy.error import PolicyError
from okoomer.record import replace

USAGE = "usage: systemd-oomd [--dry-run] | --help | --version\n"
HELP = f"""\
{USAGE}
systemd-oomd's command line: okoomer guards the units that systemd says are to be watched, by systemd-oomd's
configuration. SIGHUP reads that again. systemd tells it only to who runs in systemd-oomd.service:
docs/from-systemd-oomd.md says how okoomer gets there.

      --dry-run  say what would be done; touch nobody
  -h, --help     show this text
      --version  show the version

Exit codes: 0 done, 2 the configuration or the command line is wrong, 3 cannot here.
Example: systemd-oomd --dry-run
"""
#: Descriptors that systemd hands over begin here (sd_listen_fds(3)).
FIRST = 3
INTERRUPTED = 130


class Cannot(Exception):
    """Why this machine does not offer what is asked for, in words."""


def main(argv: list[str]) -> int:
    """Does what a command line asks for.

    Args:
        argv: Its arguments, without the program's name.

    Returns:
        The exit code; a guard that was started does not return.
    """
    match argv:
        case ["-h" | "--help"]:
            click.echo(HELP, nl=False)
            return DONE
        case ["--version"]:
            click.echo(f"systemd-oomd by okoomer {okoomer.__version__}")
            return DONE
        case [] | ["--dry-run"]:
            pass
        case _:
            strange = next((word for word in argv if word != "--dry-run"), argv[0])
            click.echo(f"systemd-oomd: unknown argument {harmless(strange)}\n{USAGE}", err=True, nl=False)
            return BAD_INPUT
    try:
        guard(load(), dry_run=bool(argv))
    except PolicyError as error:
        click.echo(f"systemd-oomd: {error}", err=True)
        return BAD_INPUT
    except (Unreadable, Cannot) as error:
        return cannot(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        return cannot(f"{error.filename or 'the system'}: {error.strerror}")


def guard(settings: Settings, dry_run: bool) -> NoReturn:
    """Becomes the guard; or hands the policy to the one that asks for it anew.

    Raises:
        Cannot: A guard runs already, or there are no cgroups to be watched.
    """
    policy = translate(settings).policy
    directory = place.runtime_dir(None)
    source = ", ".join(settings.files) or "systemd-oomd's own defaults"
    taken = Place(limits(settings), reasons(settings), dry_run)
    options = Options(
        policy,
        f"systemd-oomd: {source}",
        directory,
        dry_run=dry_run,
        front=tuple(sys.orig_argv[1:]),
        place=tuple(taken),
    )
    for _, note in settings.notes:
        click.echo(f"systemd-oomd: {note}", err=True)
    if for_reload():
        start(options)
    holder = place.running(directory)
    if holder is not None:
        raise Cannot(f"okoomer is running already as pid {holder} (see {directory}/ring)")
    if hierarchy(LIVE) is None:
        raise Cannot("there is no unified hierarchy of cgroups here (cgroup2), and units are watched by that only")
    snapshot = Sense(LIVE).snapshot()
    if snapshot.memory_pressure is None:
        click.echo("systemd-oomd: this kernel tells no pressure: ManagedOOMMemoryPressure= does nothing", err=True)
    if not snapshot.swap.total:
        click.echo("systemd-oomd: there is no swap: ManagedOOMSwap= does nothing as long as there is none", err=True)
    listener = handed()
    if listener < 0:
        click.echo("systemd-oomd: no socket was handed over: what users' units have set is not heard", err=True)
    compile_all()
    start(replace(options, fill_rate=fill_rate()), taken, listener)


def handed() -> int:
    """The stream socket that systemd has handed over, where users' managers report; -1 if there is none. Nobody else
    is to inherit what was handed over, or to take it for theirs."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return -1
    found = -1
    for fd in range(FIRST, FIRST + min(int(count), 64)):
        try:
            os.set_inheritable(fd, False)
            if found < 0 and stat.S_ISSOCK(os.fstat(fd).st_mode) and listens(fd):
                found = fd
        except OSError:
            continue
    return found


def listens(fd: int) -> bool:
    """Whether a socket is a stream of this machine's that listens."""
    one = socket(fileno=fd)
    try:
        kinds = [one.getsockopt(SOL_SOCKET, option) for option in (SO_DOMAIN, SO_TYPE, SO_ACCEPTCONN)]
    finally:
        one.detach()
    return kinds == [AF_UNIX, SOCK_STREAM, 1]


def cannot(why: str) -> int:
    """Says why this cannot be done here."""
    click.echo(f"systemd-oomd: {why}", err=True)
    return CANNOT
