"""`okoomer import systemd-oomd`: systemd-oomd's configuration as a policy."""

from __future__ import annotations

from pathlib import Path

import click

from okoomer.cli.errors import BadInput, CannotHere
from okoomer.cli.place import json_option
from okoomer.cli.translated import give, into_option
from okoomer.compat import Translation, systemd_oomd
from okoomer.compat.systemd_oomd_units import for_units, notes_of, units_of


@click.command()
@click.option("--root", metavar="DIR", default="/", help="Where the files of the machine are. Default: /")
@click.option("--units", is_flag=True, help="Rules for the units whose files set something, instead of patterns.")
@into_option
@json_option
def command(root: str, units: bool, output: str | None, as_json: bool) -> None:
    """Translate systemd-oomd's configuration: oomd.conf, its drop-ins, and the rulesets *.oomrule.

    Which units are watched is told by systemd while okoomer runs in systemd-oomd's place: the rules are patterns for
    them. With --units there is a rule for each unit whose files have it watched, and systemd is not asked: for
    `okoomer run` anywhere, and for recorded machines. What unit files set is named in comments, and so are the tags of
    cgroups where DIR is a recorded machine.

    \b
    Example:
      okoomer import systemd-oomd
      okoomer import systemd-oomd --units -o mine.toml
      okoomer import systemd-oomd --root /mnt/other -o mine.toml
    """
    if not Path(root).is_dir():
        raise BadInput(f"{root} is not a directory; expected one that holds etc/systemd, as / does")
    settings = systemd_oomd.load(root)
    policy, notes = systemd_oomd.translate(settings)
    if units:
        policy = for_units(policy, units_of(root))
        if not policy.rules:
            raise CannotHere(
                f"no file of a unit below {root} has anything watched; expected ManagedOOMSwap=kill or such"
            )
        notes = tuple(note for note in notes if "`managed`" not in note[1])
    files = ", ".join(settings.files) or "its own defaults: there is no oomd.conf"
    source = f"Translated from systemd-oomd's configuration: {files}"
    give(Translation(policy, (*notes, *notes_of(root))), source, output, as_json)
