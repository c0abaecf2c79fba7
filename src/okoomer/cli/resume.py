"""`okoomer resume`: what okoomer has paused runs again."""

from __future__ import annotations

import click

from okoomer.cli import place
from okoomer.cli.errors import NO, BadInput
from okoomer.cli.pause import identity
from okoomer.cli.reach import Guard, finish, guard
from okoomer.events.text import harmless, to_json
from okoomer.guard.undo import recover

#: A guard tells of so many at a time as one packet holds; so often it is asked for more.
ROUNDS = 100


@click.command()
@click.argument("pid", metavar="[PID]", type=click.IntRange(1, 2**22), required=False)
@click.option("--all", "everybody", is_flag=True, help="All who stand still and may be resumed by you.")
@click.option("--left", is_flag=True, help="Undo what a guard that was killed has left paused or changed (root).")
@place.json_option
@place.runtime_option
def command(pid: int | None, everybody: bool, left: bool, as_json: bool, runtime_dir: str | None) -> None:
    """Let a process run again that okoomer has paused.

    What somebody else has stopped stays stopped. Exits with 1 if there is nothing to be resumed.

    \b
    Example:
      okoomer resume 4711
      okoomer resume --all
    """
    if (pid is not None) + everybody + left != 1:
        raise BadInput("say what is to be resumed: a PID, or --all, or --left, and only one of them")
    if left:
        take_back(place.runtime_dir(runtime_dir), as_json)
        return
    if pid is not None:
        name, start = identity(pid)
    to = guard(runtime_dir)
    try:
        if pid is None:
            resume_all(to, as_json)
            return
        status, text = to.resume(pid, start)
    finally:
        to.close()
    finish(f"{name} (pid {pid}) runs again", status, text, as_json, f"okoomer has not paused process {pid}")


def resume_all(to: Guard, as_json: bool) -> None:
    """Resumes all that can be, and says of each how it went."""
    done, failed = dict[int, str](), dict[int, str]()
    for _ in range(ROUNDS):
        standing = [one for one in to.paused() if one[0] not in done and one[0] not in failed]
        if not standing:
            break
        for pid, start, name in standing:
            status, _text = to.resume(pid, start)
            # One of several that were paused together takes the others with it.
            (done if status in ("ok", "none") else failed)[pid] = name if status != "none" else ""
    names = {pid: harmless(name) for pid, name in done.items() if name}
    if as_json:
        click.echo(to_json({"resumed": list(names), "not": list(failed)}))
    else:
        for pid, name in names.items():
            click.echo(f"{name} (pid {pid}) runs again")
        for pid, name in failed.items():
            click.echo(f"okoomer: {harmless(name)} (pid {pid}) may not be resumed by you", err=True)
        if not names and not failed:
            click.echo("okoomer: nobody stands still", err=True)
    if failed or not names:
        raise click.exceptions.Exit(NO)


def take_back(directory: str, as_json: bool) -> None:
    """Undoes what a dead guard has left; that nothing was left is well, too."""
    found = recover(f"{directory}/paused")
    if as_json:
        click.echo(to_json({"resumed": found}))
    elif found:
        click.echo(f"{found} that a guard has left paused or changed are as they were")
