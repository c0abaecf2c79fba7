"""`okoomer why`: explains an act of the past, the choice of this instant, or those on recorded machines."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from okoomer.cli import place
from okoomer.cli.decide import Decider, Decision, as_json, in_words
from okoomer.cli.errors import NO, BadInput, CannotHere
from okoomer.events import ring
from okoomer.events.account import ACTS, came_of, told
from okoomer.guard.sense import Sense, recorded_canary, recorded_clock
from okoomer.kernel.machine import LIVE, recorded
from okoomer.policy.language import load
from okoomer.policy.model import Policy
from okoomer.record import replace


@click.command()
@click.argument("events", metavar="[EVENT]", nargs=-1)
@click.option("--now", is_flag=True, help="The choice that would be made at this instant.")
@click.option("--machine", is_flag=True, help="The arguments are recorded machines, in order of time.")
@place.policy_option
@place.json_option
@place.runtime_option
@click.pass_context
def command(
    ctx: click.Context,
    events: tuple[str, ...],
    now: bool,
    machine: bool,
    policy: str | None,
    as_json: bool,
    runtime_dir: str | None,
) -> None:
    """Explain the last act, or the one of an EVENT's number.

    \b
    Example:
      okoomer why                      the last act and what came of it
      okoomer why --now                whom it would take at this instant
      okoomer why --machine DIR1 DIR2 --policy server --json
    """
    if machine:
        on_recordings(events, load(policy or place.policy_of_this_machine()[0]), as_json)
    elif now:
        on_this_machine(place.policy_in_force(policy, place.runtime_dir(runtime_dir))[0], as_json)
    else:
        ctx.exit(of_the_past(events, place.runtime_dir(runtime_dir), as_json))


def on_recordings(directories: tuple[str, ...], policy: Policy, json_wanted: bool) -> None:
    """Decides on recorded machines, in order of time, touching nothing.

    Raises:
        BadInput: There is none, or one is no recording.
        Unreadable: One cannot be read.
    """
    if not directories:
        raise BadInput("why --machine needs at least one directory made by okoomer snapshot")
    for directory in directories:
        if not Path(directory, "proc").is_dir():
            raise BadInput(f"{directory}: not a recorded machine, it has no folder proc (okoomer snapshot makes one)")
    decider = Decider(policy)
    decisions = []
    for clock, directory in sorted((recorded_clock(directory), directory) for directory in directories):
        where = recorded(directory)
        snapshot = Sense(where, now=lambda clock=clock: clock).snapshot()  # type: ignore[misc]
        snapshot = replace(snapshot, canary=recorded_canary(directory))
        decisions.append(decider.decide(where, snapshot))
    show(decisions, json_wanted)


def on_this_machine(policy: Policy, json_wanted: bool) -> None:
    """Decides on this instant: two looks a second apart, since stalls and growth take time to be seen."""
    decider, sense = Decider(policy), Sense(LIVE)
    decider.decide(LIVE, sense.snapshot())
    time.sleep(1.0)
    show([decider.decide(LIVE, sense.snapshot(), always=True)], json_wanted)


def show(decisions: list[Decision], json_wanted: bool) -> None:
    """Prints decisions."""
    if json_wanted:
        click.echo(json.dumps([as_json(decision) for decision in decisions], indent=1))
        return
    for decision in decisions:
        if len(decisions) > 1:
            click.echo(f"at {decision.clock:g} s:")
        for line in in_words(decision):
            click.echo(line)


def of_the_past(numbers: tuple[str, ...], directory: str, json_wanted: bool) -> int:
    """Explains an act that the guard's ring still holds, and tells what came of it; the exit code.

    Raises:
        BadInput: There is no act with that number.
        CannotHere: No guard has run here.
    """
    path = f"{directory}/ring"
    try:
        events = [json.loads(text) for _, text in ring.read(path)]
    except OSError as error:
        raise CannotHere(f"{path}: {error.strerror}: no guard has run here, or it is not yours to read") from error
    except ring.NotARing as error:
        raise CannotHere(str(error)) from error
    except ValueError as error:
        raise CannotHere(f"{path}: damaged, an event in it is no JSON") from error
    acts = [event for event in events if event["event"] in ACTS]
    if numbers:
        acts = [event for event in acts if str(event["sequence"]) in numbers]
        if not acts:
            known = ", ".join(str(event["sequence"]) for event in events if event["event"] in ACTS)
            raise BadInput(f"no act has the number {' '.join(numbers)}; there are: {known or 'none'}")
    if not acts:
        click.echo("nothing has been done since the guard started" if not json_wanted else "null")
        return NO
    act = acts[-1]
    came = came_of(act, events)
    if json_wanted:
        click.echo(json.dumps({"act": act, "then": came}, indent=1))
    else:
        for line in told(act, came):
            click.echo(line)
    return 0
