"""`okoomer status`: what the guard sees now, whom it would choose, who is paused and what is asked."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from okoomer.cli import decide, place
from okoomer.cli.answer import cells
from okoomer.cli.bus import NAME, Bus
from okoomer.cli.decide import Decider, in_words
from okoomer.cli.door import Door, is_ours
from okoomer.cli.errors import NO, CannotHere
from okoomer.cli.owners import Owners
from okoomer.cli.reach import Guard
from okoomer.events.text import harmless, to_json
from okoomer.guard.reception import SOCKET
from okoomer.guard.sense import Sense
from okoomer.kernel.machine import LIVE
from okoomer.policy.metrics import available, effective_swap
from okoomer.record import replace
from okoomer.units import size


@click.command()
@place.policy_option
@place.json_option
@place.runtime_option
@click.pass_context
def command(ctx: click.Context, policy: str | None, as_json: bool, runtime_dir: str | None) -> None:
    """Show whether a guard runs, the machine's memory, its rules, whom it would take, who is paused and what is asked.

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
    late = lateness(runtime_dir, directory)
    snapshot = replace(sense.snapshot(), canary=late)
    decision = decider.decide(LIVE, snapshot, always=True)
    paused, slowed, waits, primed, questions, unknown = standing(runtime_dir, directory)
    if as_json:
        seen = json.loads(to_json(snapshot))
        answer = {"guard": pid, "policy": source, "snapshot": seen, "now": decide.as_json(decision)}
        told = {
            "paused": [{"pid": one, "name": name} for one, _, name in paused],
            "slowed": [{"pid": one, "name": name} for one, name in slowed],
            "primed": {"pid": primed[0], "name": primed[1]} if primed else None,
            "questions": questions,
        }
        click.echo(json.dumps(answer | (dict.fromkeys(told) if unknown else told), indent=1))
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
        if late is not None:
            click.echo(f"canary: {late * 1000:.0f} ms late at the worst of the last 2 s")
        for one, _, name in paused:
            click.echo(f"paused: {harmless(name)} (pid {one}){waits.get(one, '')}")
        for one, name in slowed:
            click.echo(f"slowed: {harmless(name)} (pid {one})")
        if primed:
            click.echo(f"primed: {harmless(primed[1])} (pid {primed[0]}), first for the kernel's own killer, too")
        for asked in questions:
            click.echo(f"asked:  question {asked['question']}: {'; '.join(cells(asked))}")
        if unknown:
            click.echo(f"who is paused and what is asked is not known: {harmless(unknown)}")
        for line in in_words(decision):
            click.echo(line)
    ctx.exit(0 if pid else NO)


def standing(
    runtime_dir: str | None, directory: str
) -> tuple[
    list[tuple[int, int, str]],
    list[tuple[int, str]],
    dict[int, str],
    tuple[int, str] | None,
    list[dict[str, Any]],
    str,
]:
    """Who is paused, who is slowed down, why those wait who wait for their turn, in words by pid, who is primed, and
    what is asked, as reach.Guard has it; and why that is not known, "" if it is.

    Args:
        runtime_dir: The directory that was named.
        directory: The one that is meant.
    """
    to = None
    try:
        to = reached(runtime_dir, directory)
        if to is None:
            return [], [], {}, None, [], ""
        waits = {
            pid: f", waits for its turn for {seconds:.0f} s: {harmless(why)}"
            for pid, (seconds, why) in to.turns().items()
        }
        return to.paused(), to.slowed(), waits, to.primed(), to.questions(), ""
    except CannotHere as error:
        return [], [], {}, None, [], error.format_message()
    finally:
        if to:
            to.close()


def lateness(runtime_dir: str | None, directory: str) -> float | None:
    """By how many seconds the guard's canary is late; None where there is none, or that is not known.

    Args:
        runtime_dir: The directory that was named.
        directory: The one that is meant.
    """
    to = None
    try:
        to = reached(runtime_dir, directory)
        late = to.state().get("canary") if to else None
        return None if late is None else float(late)
    except CannotHere:
        return None
    finally:
        if to:
            to.close()


def reached(runtime_dir: str | None, directory: str) -> Guard | None:
    """Whoever can be asked; None where there is no door and no okoomer on the bus. Nobody is started for it."""
    if runtime_dir or is_ours(directory):
        return Door(directory) if place.running(directory) is not None and Path(directory, SOCKET).exists() else None
    try:
        bus = Owners("SYSTEM")
    except OSError:
        return None
    try:
        return Bus() if bus.owned(NAME) else None
    except OSError:
        return None
    finally:
        bus.close()
