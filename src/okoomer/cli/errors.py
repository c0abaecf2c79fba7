"""How a command ends: the exit codes, and exceptions that become one line on standard error."""

from __future__ import annotations

from typing import Any

import click

DONE, NO, BAD_INPUT, CANNOT = range(4)


class Complaint(click.ClickException):
    """One line for the person, without the word «Error»."""

    def show(self, file: Any = None) -> None:
        click.echo(f"okoomer: {self.format_message()}", err=True)


class BadInput(Complaint):
    """What was given is wrong: nothing was done."""

    exit_code = BAD_INPUT


class CannotHere(Complaint):
    """This machine does not offer what the command needs."""

    exit_code = CANNOT
