"""`okoomer check`: is this policy right, what does it say, and what would it do now."""

from __future__ import annotations

import json

import click

from okoomer.cli import place
from okoomer.cli.decide import Decider, as_json, in_words
from okoomer.cli.errors import NO
from okoomer.cli.sensed import inert, sensed
from okoomer.events.text import harmless
from okoomer.kernel.machine import LIVE
from okoomer.policy.examine import firing
from okoomer.policy.language import load
from okoomer.policy.metrics_cgroup import METRICS
from okoomer.policy.words import describe


@click.command()
@click.argument("file", metavar="[FILE|PRESET]", required=False)
@click.option("--metrics", is_flag=True, help="List the metrics that a condition can name, and end.")
@click.option("--json", "json_wanted", is_flag=True, help="Answer in JSON.")
@click.pass_context
def command(ctx: click.Context, file: str | None, metrics: bool, json_wanted: bool) -> None:
    """Validate a policy, say in words what it does and what it would do at this instant.

    Exits with 1 if a rule cannot act on this machine or would act at once.

    \b
    Example:
      okoomer check                    the policy that `okoomer run` would use
      okoomer check ./mine.toml
      okoomer check --metrics
    """
    if metrics:
        table = {name: metric.text for name, metric in METRICS.items()}
        click.echo(json.dumps(table, indent=1) if json_wanted else "\n".join(f"{n:24} {t}" for n, t in table.items()))
        return
    source, why = (file, "named on the command line") if file else place.policy_of_this_machine()
    policy = load(source)
    snapshot = sensed(policy)
    missing, at_once = inert(policy, snapshot), firing(policy, snapshot)
    decision = Decider(policy).decide(LIVE, snapshot)
    if json_wanted:
        answer = {
            "policy": source,
            "words": describe(policy),
            "cannot_act_here": missing,
            "would_act_at_once": at_once,
            "now": as_json(decision),
        }
        click.echo(json.dumps(answer, indent=1))
    else:
        click.echo(f"{source} ({why}) is a valid policy.")
        for line in describe(policy):
            click.echo(line)
        click.echo("On this machine, now:")
        for line in in_words(decision):
            click.echo(f"  {line}")
        for name, absent in missing.items():
            click.echo(f"PROBLEM: rule {harmless(name)} cannot act here: this machine has no {', '.join(absent)}")
        for name in at_once:
            click.echo(f"PROBLEM: rule {harmless(name)} would act on this machine as it stands")
    ctx.exit(NO if missing or at_once else 0)
