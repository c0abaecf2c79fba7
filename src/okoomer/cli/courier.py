"""`okoomer courier`: what the guard has to say and to ask, for programs and persons, from a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

import click

from okoomer import courier
from okoomer.cli import place
from okoomer.cli.errors import BadInput
from okoomer.cli.services import services
from okoomer.courier.launch import REST


@click.command()
@click.option(
    "--config", metavar="FILE", default=None, help=f"What is offered. Default: {place.COURIER}, if it is there."
)
@click.option("--runtime-dir", metavar="DIR", default=None, help="Where sockets of its own are.")
@click.option("--socket", "door", metavar="PATH", default=place.DOOR, show_default=True, help="The guard's door.")
def command(config: str | None, runtime_dir: str | None, door: str) -> None:
    """Pass on what the guard has to say: warnings on the bus, questions and their answers, hooks, metrics.

    It runs as any user whom the guard lets in (root, or the user okoomer), waits for a guard as long as there is none,
    and is there again as soon as another one is.

    \b
    Example:
      okoomer courier                        as the shipped unit runs it
      okoomer courier --config ./courier.toml --socket /run/okoomer/guard.sock
    """
    found = services(Path(config or place.COURIER), needed=config is not None)
    if len(os.fsencode(door)) > 107:
        raise BadInput(f"--socket {door}: longer than 107 bytes, which no socket's path can be")
    directory = place.courier_dir(runtime_dir)
    try:
        Path(directory).mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{directory}: {error.strerror}; choose another place with --runtime-dir") from None
    courier.become(
        courier.Options(ring="", part=REST, door=place.absolute(door), services=found, runtime_dir=directory)
    )
