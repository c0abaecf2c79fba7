"""`okoomer import`: another daemon's configuration as a policy, with what is different."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from okoomer.cli import import_oomd, import_systemd_oomd
from okoomer.cli.errors import BadInput
from okoomer.cli.place import json_option
from okoomer.cli.translated import give, into_option
from okoomer.compat import Translation, earlyoom, nohang
from okoomer.events.text import harmless
from okoomer.guard.sense import Sense
from okoomer.kernel.machine import LIVE
from okoomer.policy.error import PolicyError
from okoomer.policy.source import Text

#: Where the options of earlyoom as a service stand.
DEFAULT = Path("/etc/default/earlyoom")
_ARGUMENTS = re.compile(r"^[ \t]*(?:export[ \t]+)?EARLYOOM_ARGS[ \t]*=[ \t]*((?:\\\n|[^\n])*)", re.MULTILINE)

#: Settings of earlyoom's that are no part of a policy: how they are called, and where they went.
_LEFT = {
    "dry_run": ("--dryrun", "is no part of a policy: okoomer run --dry-run"),
    "syslog": ("--syslog", "is no part of a policy: as a service okoomer writes to the journal"),
    "debug": ("-d", "is no part of a policy: okoomer status and okoomer why tell more"),
    "priority": ("-p", "is no part of a policy: okoomer always sees to its own priority"),
}


class Split(click.Command):
    """A command that gives all that follows `--` to its function as one list, or None where there is no `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        cut = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:cut])
        ctx.params["arguments"] = args[cut + 1 :] if cut < len(args) else None
        return rest


@click.group()
def command() -> None:
    """Translate another daemon's configuration into a policy.

    What is done otherwise here stands beside it in comments.

    \b
    Example:
      okoomer import earlyoom                      /etc/default/earlyoom
      okoomer import earlyoom -- -m 5 --avoid '^sshd$'
      okoomer import nohang /etc/nohang/nohang.conf -o mine.toml
      okoomer import oomd /etc/oomd.json --dropin-dir /etc/oomd.d
      okoomer import systemd-oomd
    """


command.add_command(import_oomd.command, "oomd")
command.add_command(import_systemd_oomd.command, "systemd-oomd")


@command.command("earlyoom", cls=Split)
@click.argument("file", metavar="[FILE]", required=False)
@into_option
@json_option
def from_earlyoom(file: str | None, arguments: list[str] | None, output: str | None, as_json: bool) -> None:
    """Translate earlyoom's options: those after --, or those in FILE, which has a line EARLYOOM_ARGS=...

    \b
    Example:
      okoomer import earlyoom                      /etc/default/earlyoom
      okoomer import earlyoom -- -m 5,2 -s 100 --prefer '^chrome$'
    """
    if arguments is not None and file:
        raise BadInput(f"both a file ({file}) and options after --; expected one of them")
    source = "the options given"
    if arguments is None:
        source = file or str(DEFAULT)
        if not file and not DEFAULT.exists():
            raise BadInput(f"there is no {DEFAULT} here; expected a file, or options after --")
        arguments = arguments_of(source)
    said = f"earlyoom {shlex.join(arguments)}".rstrip()
    give(_of_earlyoom(arguments), f"Translated from {source}: {said}", output, as_json)


@command.command("nohang")
@click.argument("file")
@into_option
@json_option
def from_nohang(file: str, output: str | None, as_json: bool) -> None:
    """Translate nohang's configuration FILE.

    \b
    Example:
      okoomer import nohang /etc/nohang/nohang-desktop.conf
    """
    give(nohang.translate(nohang.load(file)), f"Translated from {file}, a configuration of nohang's", output, as_json)


def _of_earlyoom(arguments: list[str]) -> Translation:
    """The policy of earlyoom's arguments on this machine, with what earlyoom itself would warn of.

    Raises:
        BadInput: It would not start with them.
    """
    snapshot = Sense(LIVE).snapshot()
    memory, swap = snapshot.memory.total, snapshot.swap.total
    warnings: list[tuple[str, str]] = []

    def hear(style: str, line: str) -> None:
        if style == earlyoom.WARN:
            warnings.append(("", line.removeprefix("warning: ")))

    try:
        settings = earlyoom.parse(arguments, memory, swap, hear)
    except earlyoom.Refused as error:
        raise BadInput(harmless(str(error).removeprefix("fatal: "))) from None
    if settings.asked:
        raise BadInput(f"with these options earlyoom shows its {settings.asked} and ends; expected some to guard by")
    policy, notes = earlyoom.translate(settings, memory, swap)
    left = [(option, why) for field, (option, why) in _LEFT.items() if getattr(settings, field)]
    return Translation(policy, (*warnings, *left, *notes))


def arguments_of(path: str) -> list[str]:
    """earlyoom's arguments in a file of a service's variables. The last line counts; of the value the quotes are taken
    away as systemd does, and then it is split into words.

    Raises:
        PolicyError: It cannot be read, there is no such line, or a quotation does not end.
    """
    expected = 'a line such as EARLYOOM_ARGS="-r 3600"'
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, ValueError) as error:
        problem = (isinstance(error, OSError) and error.strerror) or str(error)
        raise PolicyError(path, problem, path, "a readable text file") from None
    found = list(_ARGUMENTS.finditer(text))
    if not found:
        raise PolicyError(path, "no arguments of earlyoom's", "EARLYOOM_ARGS", expected)
    value = Text(path, text, text, range(len(text) + 1)).part(*found[-1].span(1))
    words = value.value.replace("\\\n", "").strip()
    try:
        return shlex.split("".join(shlex.split(words)) if words.startswith(("'", '"')) else words)
    except ValueError as error:
        raise value.error(f"not words, {str(error).lower()}", expected) from None
