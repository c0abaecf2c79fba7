"""`okoomer import oomd`: oomd's configuration as a policy, with what is different."""

from __future__ import annotations

import click

from okoomer.cli.place import json_option
from okoomer.cli.translated import give, into_option
from okoomer.compat.oomd_config import load
from okoomer.compat.oomd_policy import translate
from okoomer.guard.sense import Sense
from okoomer.kernel.machine import LIVE


@click.command()
@click.argument("file", metavar="FILE.json")
@click.option("--dropin-dir", metavar="DIR", help="Drop-ins that change rulesets, the last name first.")
@into_option
@json_option
def command(file: str, dropin_dir: str | None, output: str | None, as_json: bool) -> None:
    """Translate oomd's configuration FILE.json, and drop-ins.

    \b
    Example:
      okoomer import oomd /etc/oomd.json
      okoomer import oomd /etc/oomd.json --dropin-dir /etc/oomd.d -o mine.toml
    """
    total = Sense(LIVE).snapshot().memory.total
    beside = f" with the drop-ins of {dropin_dir}" if dropin_dir else ""
    translation = translate(load(file, dropin_dir), total)
    give(translation, f"Translated from {file}, a configuration of oomd's{beside}", output, as_json)
