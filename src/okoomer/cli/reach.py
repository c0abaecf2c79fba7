"""How a person's commands reach the guard: at its door, if it lets us in, else by the bus."""

from __future__ import annotations

from typing import Any, NoReturn, Protocol

import click

from okoomer.cli import place
from okoomer.cli.door import Door, is_ours
from okoomer.cli.errors import BAD_INPUT, DONE, NO, Complaint
from okoomer.events.text import harmless, to_json


class Guard(Protocol):
    """What can be asked of a guard; see Door and Bus. A status is ok, none, denied, refused, busy or bad."""

    def questions(self) -> list[dict[str, Any]]: ...
    def paused(self) -> list[tuple[int, int, str]]: ...
    def answer(self, question: int, word: str, ceiling: int) -> tuple[str, str]: ...
    def pause(self, pid: int, start: int) -> tuple[str, str]: ...
    def resume(self, pid: int, start: int) -> tuple[str, str]: ...
    def close(self) -> None: ...
    def state(self) -> dict[str, Any]: ...


def guard(runtime_dir: str | None) -> Guard:
    """The guard of a directory, or of this machine.

    Raises:
        CannotHere: It cannot be reached.
    """
    directory = place.runtime_dir(runtime_dir)
    if runtime_dir or is_ours(directory):
        return Door(directory)
    from okoomer.cli.bus import Bus

    return Bus()


#: What a status means for what was to be done.
_MEANING = {
    "none": "there is no such thing any more",
    "denied": "the processes are not all yours; ask as root",
    "refused": "it must not be touched",
    "busy": "the guard is busy with an emergency; try again",
    "bad": "that does not go",
}


class No(Complaint):
    """It was not done, and nothing was wrong with the command."""

    exit_code = NO


def finish(what: str, status: str, text: str, as_json: bool, none: str = "", bad: str = "") -> None:
    """Says how it ended, and ends the command if it was not well.

    Args:
        what: What was done, as a sentence that is true if the status is ok.
        text: What the guard says about it.
        none, bad: What these statuses mean here.

    Raises:
        Exit: With NO or BAD_INPUT.
    """
    why = {"none": none, "bad": bad}.get(status) or meaning(status, text)
    code = DONE if status == "ok" else BAD_INPUT if status == "bad" else NO
    if as_json:
        click.echo(to_json({"status": status, "text": what if status == "ok" else why}))
    elif code == DONE:
        click.echo(what)
    else:
        click.echo(f"okoomer: {why}", err=True)
    if code:
        _exit(code)


def meaning(status: str, text: str) -> str:
    """Why something was not done, by the status and what the guard says about it."""
    return harmless(text) or _MEANING.get(status) or f"the guard says {status}"


def _exit(code: int) -> NoReturn:
    raise click.exceptions.Exit(code)
