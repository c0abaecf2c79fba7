"""`okoomer run`: the guard in the foreground."""

from __future__ import annotations

import hashlib
import os
import pwd
import sys
from pathlib import Path

import click

from okoomer.cli import place
from okoomer.cli.compiled import compile_all
from okoomer.cli.errors import BadInput, CannotHere
from okoomer.cli.pace import fill_rate
from okoomer.cli.sensed import inert, sensed
from okoomer.cli.start import for_reload, make, start
from okoomer.courier import Services
from okoomer.guard.launch import Options
from okoomer.policy.engine import FILL_RATE
from okoomer.policy.examine import firing
from okoomer.policy.language import PRESETS, load
from okoomer.record import replace

SYSTEM_BUS = Path("/run/dbus/system_bus_socket")


@click.command()
@place.policy_option
@click.option("--dry-run", is_flag=True, help="Say what would be done; touch nobody.")
@click.option("--force", is_flag=True, help="Start even if the policy would act on the machine as it stands.")
@place.json_option
@place.runtime_option
@click.option(
    "--service", is_flag=True, help="Leave to `okoomer courier`, which runs beside it, whatever it can do without root."
)
@click.option(
    "--courier-user",
    metavar="NAME",
    default=place.COURIER_USER,
    show_default=True,
    help="Whose couriers are let in, besides root's.",
)
def command(
    policy: str | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
    runtime_dir: str | None,
    service: bool,
    courier_user: str,
) -> None:
    """Guard this machine, in the foreground, until it is told to stop.

    Without root it guards what it can: the processes of its own user. Where there is a system bus, or a courier.toml,
    it has a courier beside it that passes on what it has to say; with --service it leaves that to `okoomer courier`.

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
    compile_all()
    rate = FILL_RATE if for_reload() else fill_rate()
    options = Options(loaded, f"{source}: {why}", directory, as_json, dry_run, rate, front=tuple(sys.orig_argv[1:]))
    uid, gid = ids(courier_user)
    options = replace(options, open=True, courier_uid=uid, courier_gid=gid)
    # In a dry run nothing is offered: applications would give back memory, which is not touching nobody.
    start(options, services=None if service or dry_run or for_reload() else offered(), apart=service)


def offered() -> Services | None:
    """What the courier beside the guard offers; None if there is nobody to offer it to."""
    if place.COURIER.exists() or "DBUS_SYSTEM_BUS_ADDRESS" in os.environ or SYSTEM_BUS.exists():
        from okoomer.cli.services import services

        return services(place.COURIER)
    return None


def ids(name: str) -> tuple[int, int]:
    """The numbers of a user and his group, -1 if there is no such user: then only root's couriers are let in.

    Raises:
        BadInput: It is not the usual one, and there is none of that name.
    """
    try:
        found = pwd.getpwnam(name)
        return found.pw_uid, found.pw_gid
    except (KeyError, ValueError):
        if name == place.COURIER_USER:
            return -1, -1
        raise BadInput(f"--courier-user {name}: there is no such user on this machine") from None


def refuse_at_once(source: str, rules: list[str], accepted: Path) -> None:
    """Refuses a policy that would act on the machine as it stands, which is nearly always a slip of the pen.

    A policy that has been started here since boot, when it did not, is let through: then it is the machine that is
    ill, and a guard that is started again in the middle of an emergency has to work.

    Raises:
        BadInput: It would act, and has not been accepted before.
    """
    digest = hashlib.sha256(Path(source).read_bytes()).hexdigest()
    if not rules:
        make(str(accepted.parent), open_to_others=True)
        try:
            accepted.write_text(digest)
        except OSError:
            pass  # a disk that is full is no reason to be without a guard; without the note it is asked again next time
        return
    if accepted.exists() and accepted.read_text() == digest:
        return
    raise BadInput(
        f"{source}: rule {', '.join(rules)} would act on this machine as it stands; "
        "mend its condition (okoomer check shows the values), or start with --force"
    )
