"""okoomer's own commands: finds the one that is wanted, and turns what can go wrong into one line and an exit code
(see `errors`)."""

from __future__ import annotations

import importlib
import keyword
import os
import sys
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from okoomer import __version__
from okoomer.cli.errors import BAD_INPUT, CANNOT, DONE
from okoomer.guard.sense import Unreadable
from okoomer.policy.error import PolicyError

#: Each is a module of this package with a click command named `command`; the order is that of the help.
COMMANDS = (
    "run", "courier", "desktop", "demo", "status", "top", "answer", "pause", "resume", "check", "why", "snapshot",
    "doctor", "sort", "pressure", "import",
)  # fmt: skip


class Commands(click.Group):
    """Imports a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command = importlib.import_module(f"okoomer.cli.{module}").command
        assert isinstance(command, click.Command)
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="okoomer %(version)s")
def okoomer() -> None:
    """Keep this machine usable when memory runs out, and know why what happened happened.

    \b
    Example:
      okoomer doctor                   what is missing or in the way here
      okoomer run --dry-run            watch what it would do; nobody is touched
      okoomer earlyoom -r 3600         in earlyoom's place, with its options (also when called by that name)
      okoomer nohang --config FILE --monitor
      okoomer systemd-oomd             in systemd-oomd's place, from its unit
    """


def run() -> NoReturn:
    """Runs the command line of this process; does not return."""
    try:
        sys.exit(okoomer.main(prog_name="okoomer", standalone_mode=False) or DONE)
    except NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        click.echo(f"okoomer: {error.format_message().rstrip('.')}{where}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except PolicyError as error:
        click.echo(f"okoomer: {error}", err=True)
        sys.exit(BAD_INPUT)
    except Unreadable as error:
        click.echo(f"okoomer: {error}", err=True)
        sys.exit(CANNOT)
    except BrokenPipeError:
        # Whoever read along has read enough; Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)
    except OSError as error:
        click.echo(f"okoomer: {error.filename or 'the system'}: {error.strerror}", err=True)
        sys.exit(CANNOT)
