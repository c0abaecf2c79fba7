"""`okoomer why`: explains an act of the past, the choice of this instant, or those on recorded machines."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from okoomer.cli import place
from okoomer.cli.decide import Decider, Decision, as_json, in_words, ranking
from okoomer.cli.errors import NO, BadInput, CannotHere
from okoomer.events import ring
from okoomer.events.text import harmless, readings, some_pids
from okoomer.guard.sense import Sense, recorded_clock
from okoomer.kernel.machine import LIVE, recorded
from okoomer.policy.language import load
from okoomer.policy.model import Policy
from okoomer.policy.reason import OWNERLESS
from okoomer.units import size


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
    acts = [event for event in events if event["event"] in ("chosen", "refused")]
    if numbers:
        acts = [event for event in acts if str(event["sequence"]) in numbers]
        if not acts:
            known = ", ".join(str(event["sequence"]) for event in events if event["event"] in ("chosen", "refused"))
            raise BadInput(f"no act has the number {' '.join(numbers)}; there are: {known or 'none'}")
    if not acts:
        click.echo("nothing has been done since the guard started" if not json_wanted else "null")
        return NO
    act = acts[-1]
    after = [event for event in events if event["sequence"] > act["sequence"]]
    following = next((i for i, event in enumerate(after) if event["event"] == "chosen"), len(after))
    came = [event for event in after[:following] if event["event"] in ("signalled", "died", "stuck", "recovered")]
    if json_wanted:
        click.echo(json.dumps({"act": act, "then": came}, indent=1))
    else:
        for line in told(act, came):
            click.echo(line)
    return 0


def told(act: dict[str, Any], came: list[dict[str, Any]]) -> list[str]:
    """An act and what came of it, in words."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(act["at"]))
    lines = [f"{at} (event {act['sequence']}): rule {harmless(act['rule'])}"]
    if act["event"] == "refused":
        lines.append(f"  took nobody: {harmless(act['why'])}")
    else:
        verb = "would have taken" if act["dry_run"] else "took"
        lines += [
            f"  fired because {harmless(' '.join(act['when'].split()))}",
            f"  readings: {readings(tuple(act['values'].items()))} ({act['reason']})",
            f"  {verb} {harmless(act['name'])} ({some_pids(tuple(act['pids']))}), a {act['kind']}:",
            f"  {harmless(act['why'])}",
            f"  command: {harmless(act['command'])}" if act["command"] else "",
            f"  needed {size(act['need'])}; chosen among {act['processes']} processes in {act['seconds']:.3f} s",
        ]
    lines += [f"  {line}" for line in ranking((one["name"], one["pids"], one["why"]) for one in act["ranking"])]
    if len(act["ranking"]) > 1 and act["event"] == "chosen" and act["reason"] != OWNERLESS:
        first, second = act["ranking"][:2]
        lines.append(
            f"  {harmless(second['name'])} would have been first with "
            f"{size(first['score'] - second['score'])} more, all else equal"
        )
    for event in came:
        after = event["at"] - act["at"]
        if event["event"] == "signalled":
            lines.append(f"  after {after:.3f} s: {event['signal']} to {some_pids(tuple(event['pids']))}")
        elif event["event"] == "died":
            lines.append(
                f"  after {after:.3f} s: gone {event['seconds']:.3f} s after the signal, "
                f"{size(event['came_back'])} came back"
            )
        elif event["event"] == "stuck":
            lines.append(f"  after {after:.3f} s: set aside: {harmless(event['why'])}")
        else:
            lines.append(f"  after {after:.3f} s: memory had come back by itself")
    return [line for line in lines if line]
