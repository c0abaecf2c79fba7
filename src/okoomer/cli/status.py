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
from okoomer.record import Record, replace
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
    guard = standing(runtime_dir, directory)
    snapshot = replace(sense.snapshot(), canary=guard.late)
    decision = decider.decide(LIVE, snapshot, always=True)
    if as_json:
        seen = json.loads(to_json(snapshot))
        answer = {"guard": pid, "policy": source, "snapshot": seen, "now": decide.as_json(decision)}
        told = {
            "paused": [{"pid": one, "name": name} for one, name, _ in guard.paused],
            "slowed": [{"pid": one, "name": name} for one, name in guard.slowed],
            "primed": {"pid": guard.primed[0], "name": guard.primed[1]} if guard.primed else None,
            "questions": guard.questions,
        }
        click.echo(json.dumps(answer | (dict.fromkeys(told) if guard.unknown else told), indent=1))
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
        if guard.late is not None:
            click.echo(f"canary: {guard.late * 1000:.0f} ms late at the worst of the last 2 s")
        for one, name, waits in guard.paused:
            click.echo(f"paused: {harmless(name)} (pid {one}){waits}")
        for one, name in guard.slowed:
            click.echo(f"slowed: {harmless(name)} (pid {one})")
        if guard.primed:
            first, name = guard.primed
            click.echo(f"primed: {harmless(name)} (pid {first}), first for the kernel's own killer, too")
        for asked in guard.questions:
            click.echo(f"asked:  question {asked['question']}: {'; '.join(cells(asked))}")
        if guard.unknown:
            click.echo(f"who is paused and what is asked is not known: {harmless(guard.unknown)}")
        for line in in_words(decision):
            click.echo(line)
    ctx.exit(0 if pid else NO)


class Standing(Record):
    """What a guard says of itself: by how many seconds its canary is `late`, None where that is not known; who is
    `paused`, each with pid, name and, if it waits for its turn, since when and why, in words; who is `slowed` down
    and who is `primed`, with pid and name; the open `questions`; and in `unknown` why this is not known, '' if it is.
    """

    late: float | None = None
    paused: tuple[tuple[int, str, str], ...] = ()
    slowed: tuple[tuple[int, str], ...] = ()
    primed: tuple[int, str] | None = None
    questions: tuple[dict[str, Any], ...] = ()
    unknown: str = ""


def standing(runtime_dir: str | None, directory: str) -> Standing:
    """What the guard says of itself; nothing where there is none.

    Args:
        runtime_dir: The directory that was named.
        directory: The one that is meant.
    """
    to = None
    try:
        to = reached(runtime_dir, directory)
        return standing_of(to.state()) if to else Standing()
    except CannotHere as error:
        return Standing(unknown=error.format_message())
    finally:
        if to:
            to.close()


def standing_of(state: dict[str, Any]) -> Standing:
    """A guard's state (see guard.state) as it is shown."""
    late, primed = state.get("canary"), state.get("primed")
    turns = dict(state.get("turns", ()))
    return Standing(
        late=None if late is None else float(late),
        paused=tuple(
            (pid, str(name), _waits(seconds, turns[pid]) if pid in turns else "")
            for pid, _, name, _, seconds in state["paused"]
        ),
        slowed=tuple((pid, str(name)) for pid, name, *_ in state.get("slowed", ())),
        primed=(int(primed[0]), str(primed[1])) if primed else None,
        questions=tuple(state["questions"]),
    )


def _waits(seconds: float, why: str) -> str:
    return f", waits for its turn for {seconds:.0f} s: {harmless(why)}"


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
