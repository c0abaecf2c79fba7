"""`okoomer nohang`: nohang's command line, and what answers where okoomer is called by that name."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

import okoomer
from okoomer.cli import place
from okoomer.cli.compiled import compile_all
from okoomer.cli.decide import steps
from okoomer.cli.errors import CANNOT, DONE, NO
from okoomer.cli.nohang_memload import memload
from okoomer.cli.nohang_tasks import table
from okoomer.cli.pace import fill_rate
from okoomer.cli.sensed import inert, sensed
from okoomer.cli.start import for_reload, start
from okoomer.compat import Translation
from okoomer.compat.nohang import Settings, load, translate
from okoomer.compat.nohang_keys import DEFAULTS
from okoomer.compat.nohang_show import shown
from okoomer.events.text import harmless
from okoomer.facts import Snapshot
from okoomer.guard.launch import Options
from okoomer.guard.sense import Sense, Unreadable
from okoomer.kernel.machine import LIVE
from okoomer.policy.error import PolicyError
from okoomer.policy.examine import firing
from okoomer.record import Record, replace

USAGE = """\
usage: nohang --config FILE --monitor [--dry-run]
       nohang --config FILE --check | --tasks
       nohang --memload | --help | --version
"""
HELP = f"""\
{USAGE}
nohang's command line, for those who have its configuration: okoomer guards by it.

  -c, --config FILE  nohang's configuration
  --monitor          guard this machine by it, in the foreground; SIGHUP reads the file again
  --dry-run          with --monitor: say what would be done; touch nobody
  --check            validate it, and show every setting and what okoomer makes of it
  --tasks            show the processes, best victim first
  -m, --memload      take all memory there is, for a trial of the daemon; asks before it does
  -h, --help         show this text
  -v, --version      show the version

Exit codes: 0 done, 1 the configuration or the command line is wrong (as nohang has it), 3 cannot here.
Example: nohang --check --config /etc/nohang/nohang.conf
"""
#: As a shell has it for a program that SIGINT ended.
INTERRUPTED = 130
ACTIONS = ("--monitor", "--check", "--tasks")


class Wrong(Exception):
    """What is wrong with the command line, in words."""


class Cannot(Exception):
    """Why this machine does not offer what is asked for, in words."""


class Asked(Record):
    """What a command line asks for; `action` is one of ACTIONS."""

    action: str
    config: str
    dry_run: bool = False


def main(argv: list[str]) -> int:
    """Does what a command line asks for.

    Args:
        argv: Its arguments, without the program's name.

    Returns:
        The exit code; a guard that was started does not return.
    """
    try:
        match argv:
            case ["-h" | "--help"]:
                click.echo(HELP, nl=False)
                return DONE
            case ["-v" | "--version"]:
                click.echo(f"nohang by okoomer {okoomer.__version__}")
                return DONE
            case ["-m" | "--memload"]:
                return memload()
        asked = asked_for(argv)
        snapshot = Sense(LIVE).snapshot()
        settings = load(asked.config, snapshot.memory.total)
        match asked.action:
            case "--check":
                check(settings, snapshot)
            case "--tasks":
                tasks(settings)
            case _:
                monitor(settings, snapshot, asked)
    except Wrong as error:
        click.echo(f"nohang: {error}\n{USAGE}", err=True, nl=False)
        return NO
    except PolicyError as error:
        click.echo(f"nohang: {error}", err=True)
        return NO
    except (Unreadable, Cannot) as error:
        return cannot(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return cannot(f"{error.filename or 'the system'}: {error.strerror}")
    return DONE


def asked_for(argv: list[str]) -> Asked:
    """What a command line with a configuration asks for.

    Raises:
        Wrong: It is none.
    """
    action, config, dry_run = "", "", False
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name in ("-c", "--config"):
            if config:
                raise Wrong(f"{name} for the second time")
            if not equals and not rest:
                raise Wrong(f"{name} needs a file")
            config = value if equals else rest.pop(0)
            if not config:
                raise Wrong(f"{name} needs a file")
        elif word in ACTIONS:
            if action:
                raise Wrong(f"{action} and {word}: only one of {', '.join(ACTIONS)}")
            action = word
        elif word == "--dry-run":
            dry_run = True
        else:
            raise Wrong(f"unknown argument {harmless(word)}")
    if not action:
        raise Wrong(f"nothing to do: one of {', '.join(ACTIONS)} is needed")
    if not config:
        raise Wrong(f"{action} needs --config FILE")
    if dry_run and action != "--monitor":
        raise Wrong(f"--dry-run goes with --monitor, not with {action}")
    return Asked(action, config, dry_run)


def check(settings: Settings, snapshot: Snapshot) -> None:
    """Shows every setting, and what okoomer makes of them on this machine."""
    for line in shown(settings, snapshot.memory.total, snapshot.swap.total):
        click.echo(line)
    policy, notes = translate(settings)
    click.echo("What okoomer does, most urgent first")
    for rule in policy.rules:
        click.echo(f"  {rule.name}: {', '.join(steps(rule))} when {rule.when_text}")
    for name, missing in inert(policy, sensed(policy)).items():
        click.echo(f"  {name} cannot act here: this machine has no {', '.join(missing)}")
    for name in firing(policy, sensed(policy)):
        click.echo(f"  {name} would act on this machine as it stands")
    click.echo("\nWhat is different")
    for key, sentence in notes:
        click.echo(f"  {key}: {sentence}" if key else f"  {sentence}")
    click.echo("\nconfig is OK")


def tasks(settings: Settings) -> None:
    """Shows the processes as the policy weighs them."""
    for line in table(LIVE.proc, translate(settings).policy, settings.extra_table_info):
        click.echo(line)


def monitor(settings: Settings, snapshot: Snapshot, asked: Asked) -> NoReturn:
    """Becomes the guard; or hands the policy to the one that asks for it anew.

    Raises:
        Cannot: A guard runs already.
    """
    translation = translate(settings)
    policy, directory = translation.policy, place.runtime_dir(None)
    source = f"{asked.config}: a configuration of nohang's"
    options = Options(policy, source, directory, dry_run=asked.dry_run, front=tuple(sys.orig_argv[1:]))
    if for_reload():
        start(options)
    holder = place.running(directory)
    if holder is not None:
        raise Cannot(f"okoomer is running already as pid {holder} (see {directory}/ring)")
    if settings.print_config_at_startup:
        for line in shown(settings, snapshot.memory.total, snapshot.swap.total):
            click.echo(line)
    for line in worth_saying(settings, translation):
        click.echo(f"nohang: {line}", err=True)
    for name, missing in inert(policy, sensed(policy)).items():
        click.echo(f"nohang: rule {name} cannot act here: no {', '.join(missing)}", err=True)
    compile_all()
    start(replace(options, fill_rate=fill_rate()))


def worth_saying(settings: Settings, translation: Translation) -> list[str]:
    """Of the notes those that a person has to see at a start: on what differs from nohang's own defaults, and in one
    line which keys are missing."""
    missing = [key for key, _ in translation.notes if key and not key.startswith("@") and key not in settings.given]
    lines = [
        f"{settings.file}: {key}: {sentence}"
        for key, sentence in translation.notes
        if key in settings.given
        and getattr(settings, key.removeprefix("@")) != getattr(DEFAULTS, key.removeprefix("@"))
    ]
    if missing:
        lines.append(f"{settings.file}: the default holds for what is not in it: {', '.join(dict.fromkeys(missing))}")
    return lines


def cannot(why: str) -> int:
    """Says why this cannot be done here."""
    click.echo(f"nohang: {why}", err=True)
    return CANNOT
