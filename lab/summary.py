"""One run for a person: what happened, and the figures."""

from dataclasses import asdict
from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table

from lab import figures
from lab.run import Ending, Run
from lab.scenarios import SCENARIOS


def of_run(run: Run) -> RenderableType:
    """A headline, who died, and all figures; for a run that could not be set up what its guest said."""
    scenario = SCENARIOS[run.scenario]
    head = f"[bold]{run.scenario}[/] {scenario.title}, swap {run.swap}, {run.daemon} {run.point}: {run.seen.ending}"
    if run.seen.ending is Ending.FAILED:
        return Group(head, *run.seen.notes)
    deaths = []
    for (by, comm, signal), (first, *rest) in groupby(run.seen.kills, lambda kill: (kill.by, kill.comm, kill.signal)):
        like = f", and {len(rest)} more of them" if rest else ""
        deaths.append(f"{first.at:7.2f} s  {by} ends {comm} with signal {signal}: {first.role}{like}")
    table = Table(show_header=False, box=None)
    for name, value in asdict(figures.of(run)).items():
        table.add_row(name, f"{value:.3g}" if isinstance(value, float) else str(value))
    waits = [f"{one.who} has waited {one.waited_s} s, done at {one.done_s} s" for one in figures.waits(run.seen)]
    return Group(
        head,
        *deaths,
        *waits,
        *run.seen.said,
        *sorted(set(run.seen.notes)),
        table,
        str(run.seen.cost),
        f"noise {run.seen.noise_s} s",
    )
