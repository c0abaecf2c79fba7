"""What `okoomer import` gives, whatever it came from: a policy as text, with the notes beside it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from okoomer.cli.errors import NO, BadInput, Complaint
from okoomer.compat import Translation
from okoomer.events.text import harmless
from okoomer.policy.error import PolicyError
from okoomer.policy.language import parse
from okoomer.policy.write import text_of

into_option = click.option("-o", "--output", metavar="FILE", help="Write the policy to a file that is not there yet.")


class NotAPolicy(Complaint):
    """What came out cannot be run as it is."""

    exit_code = NO


def give(translation: Translation, source: str, output: str | None, as_json: bool) -> None:
    """Prints or writes a policy with its notes.

    Raises:
        BadInput: There is a file already, or the configuration has what no text can say.
        NotAPolicy: What came out is no policy that could be run here.
    """
    try:
        text = text_of(translation.policy, (("", source), *translation.notes))
    except ValueError as error:
        raise BadInput(f"this cannot be written as a policy: {error}") from None
    if output:
        try:
            with Path(output).open("x") as file:
                file.write(text)
        except FileExistsError:
            raise BadInput(f"{output} is there already, and stays as it is; expected the name of a new file") from None
    if as_json:
        notes = [{"of": of, "note": note} for of, note in translation.notes]
        click.echo(json.dumps({"policy": text, "notes": notes}, indent=1))
    else:
        click.echo(
            f"{output} is written; okoomer check {output} says what it does" if output else text, nl=bool(output)
        )
    try:
        parse(text, output or "policy.toml")
    except PolicyError as error:
        raise NotAPolicy(
            f"this policy has to be mended before it can be run: {harmless(str(error).splitlines()[0])}"
        ) from None
