"""`okoomer status`: what the guard sees now and whom it would choose."""

from __future__ import annotations

import json
import time

import click

from okoomer.cli import decide, place
from okoomer.cli.decide import Decider, in_words
from okoomer.cli.errors import NO
from okoomer.events.text import harmless, to_json
from okoomer.guard.sense import Sense
from okoomer.kernel.machine import LIVE
from okoomer.policy.metrics import available, effective_swap
from okoomer.units import size


@click.command()
@place.policy_option
@place.json_option
@place.runtime_option
@click.pass_context
def command(ctx: click.Context, policy: str | None, as_json: bool, runtime_dir: str | None) -> None:
    """Show whether a guard runs, the machine's memory, its rules and whom it would take.

    Exits with 1 if no guard runs.

    \b
    Example:
      okoomer status
      okoomer status --json
    """
    directory = place.runtime_dir(runtime_dir)
    pid = place.running(directory)
    in_force, source = place.policy_in_force(policy, directory)
    decider, sense = Decider(in_force), Sense(LIVE)
    decider.decide(LIVE, sense.snapshot())
    time.sleep(1.0)
    snapshot = sense.snapshot()
    decision = decider.decide(LIVE, snapshot, always=True)
    if as_json:
        seen = json.loads(to_json(snapshot))
        answer = {"guard": pid, "policy": source, "snapshot": seen, "now": decide.as_json(decision)}
        click.echo(json.dumps(answer, indent=1))
    else:
        memory, swap = snapshot.memory, snapshot.swap
        if pid:
            click.echo(f"the guard runs as pid {pid}, by policy {harmless(source)}")
        else:
            click.echo(f"no guard runs here ({directory}); this is what it would see by policy {harmless(source)}")
        click.echo(f"memory: {size(available(snapshot))} of {size(memory.total)} available")
        if swap.total:
            won = size(effective_swap(snapshot))
            click.echo(f"swap:   {size(swap.free)} of {size(swap.total)} free, which can still win {won}")
        else:
            click.echo("swap:   none")
        for line in in_words(decision):
            click.echo(line)
    ctx.exit(0 if pid else NO)
