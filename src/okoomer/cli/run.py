"""`okoomer run`: the guard in the foreground."""

from __future__ import annotations

import compileall
import hashlib
import sys
from pathlib import Path

import click

import okoomer
from okoomer.cli import place
from okoomer.cli.errors import BadInput, CannotHere
from okoomer.cli.pace import fill_rate
from okoomer.cli.sensed import inert, sensed
from okoomer.cli.start import for_reload, start
from okoomer.guard.launch import Options
from okoomer.policy.engine import FILL_RATE
from okoomer.policy.examine import firing
from okoomer.policy.language import PRESETS, load


@click.command()
@place.policy_option
@click.option("--dry-run", is_flag=True, help="Say what would be done; touch nobody.")
@click.option("--force", is_flag=True, help="Start even if the policy would act on the machine as it stands.")
@place.json_option
@place.runtime_option
def command(policy: str | None, dry_run: bool, force: bool, as_json: bool, runtime_dir: str | None) -> None:
    """Guard this machine, in the foreground, until it is told to stop.

    Without root it guards what it can: the processes of its own user.

    \b
    Example:
      okoomer run                      with this machine's policy
      okoomer run --policy desktop --dry-run
      okoomer run --policy ./mine.toml --json
    """
    directory = place.runtime_dir(runtime_dir)
    holder = place.running(directory)
    if holder is not None and not for_reload():
        raise CannotHere(f"okoomer is running already as pid {holder} (see {directory}/ring)")
    source, why = (policy, "named on the command line") if policy else place.policy_of_this_machine()
    loaded = load(source)
    snapshot = sensed(loaded)
    for name, missing in inert(loaded, snapshot).items():
        click.echo(f"okoomer: rule {name} cannot act here: no {', '.join(missing)} (see okoomer doctor)", err=True)
    if source not in PRESETS and not (force or dry_run):
        refuse_at_once(source, firing(loaded, snapshot), Path(directory, "accepted"))
    # A guard that has to compile itself keeps 1 MiB of the compiler's leavings for life. Whether the front has left
    # compiled files behind by importing them depends on its environment.
    compileall.compile_dir(Path(okoomer.__file__).parent, quiet=2)
    rate = FILL_RATE if for_reload() else fill_rate()
    start(Options(loaded, f"{source}: {why}", directory, as_json, dry_run, rate, front=tuple(sys.orig_argv[1:])))


def refuse_at_once(source: str, rules: list[str], accepted: Path) -> None:
    """Refuses a policy that would act on the machine as it stands, which is nearly always a slip of the pen.

    A policy that has been started here since boot, when it did not, is let through: then it is the machine that is
    ill, and a guard that is started again in the middle of an emergency has to work.

    Raises:
        BadInput: It would act, and has not been accepted before.
    """
    digest = hashlib.sha256(Path(source).read_bytes()).hexdigest()
    if not rules:
        accepted.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        accepted.write_text(digest)
        return
    if accepted.exists() and accepted.read_text() == digest:
        return
    raise BadInput(
        f"{source}: rule {', '.join(rules)} would act on this machine as it stands; "
        "mend its condition (okoomer check shows the values), or start with --force"
    )
