"""okoomer's decision on a box, made by the code that the guard runs, from outside."""

from __future__ import annotations

from okoomer.cli.decide import Decider
from okoomer.guard.sense import Sense
from okoomer.kernel import clock
from okoomer.kernel.machine import Machine
from okoomer.policy.model import Policy
from okoomer.policy.select import command_for
from tests.box.box import Box
from tests.peers.explain import Outcome

SIGNALS = {"term": "SIGTERM", "kill": "SIGKILL"}


def decided(box: Box, policy: Policy) -> Outcome:
    """What a policy makes of a box at this instant."""
    machine = Machine(str(box.proc), "/nowhere", live=False)
    sense = Sense(machine, (), clock.since_boot)
    decision = Decider(policy).decide(machine, sense.snapshot())
    sense.close()
    if decision.rule is None or decision.rule.only_warns:
        return Outcome("rests")
    assert decision.choice
    signal = next(SIGNALS[step.kind] for step in decision.rule.steps if step.kind in SIGNALS)
    victim = decision.choice.victim
    if victim is None:
        return Outcome("acts")
    assert decision.scan
    process = next(one for one in decision.scan.processes if one.pid == victim.pids[0])
    if signal == "SIGTERM" and command_for(process, decision.rule.instead, policy.instead):
        signal = "a command"
    return Outcome("acts", signal, process.pid)
