"""What was done and why, for people, from events as JSON has them."""

from __future__ import annotations

from time import localtime, strftime

from okoomer.events.text import ended, harmless, readings, some_pids
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

#: Events that begin an act, and those that tell what came of it.
ACTS = ("chosen", "refused")
CAME = (
    "signalled", "died", "stuck", "recovered", "paused", "resumed", "limited", "slowed", "eased",
    "question", "closed", "takenover",
)  # fmt: skip
#: A reason for which nobody's size was compared (policy.reason.OWNERLESS).
_OWNERLESS = "ownerless-memory"


def ranking(ranked: Iterable[tuple[str, Sequence[int], str]]) -> Iterable[str]:
    """A ranking for people, of (name, pids, why): a heading, and a line each."""
    yield "ranking, best first:"
    for place, (name, pids, why) in enumerate(ranked, 1):
        pid = f" (pid {pids[0]})" if pids else ""
        yield f"  {place:2}. {harmless(name)}{pid}: {harmless(why)}"


def came_of(act: dict[str, Any], events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of events, oldest first, those that tell what came of an act: none that is told after another act began."""
    found = []
    for event in events:
        if event["sequence"] <= act["sequence"]:
            continue
        if event["event"] == "chosen":
            break
        if event["event"] in CAME:
            found.append(event)
    return found


def told(act: dict[str, Any], came: Iterable[dict[str, Any]]) -> list[str]:
    """An act and what came of it, in words.

    Raises:
        KeyError, TypeError, ValueError: An event is not what its name says.
    """
    at = strftime("%Y-%m-%d %H:%M:%S", localtime(act["at"]))
    lines = [f"{at} (event {act['sequence']}): rule {harmless(act['rule'])}"]
    ranked = act.get("ranking", [])
    if act["event"] == "refused":
        lines.append(f"  took nobody: {harmless(act['why'])}")
    else:
        verb = "would have taken" if act["dry_run"] else "took"
        lines += [
            f"  fired because {harmless(' '.join(act['when'].split()))}",
            f"  readings: {readings(tuple(act['values'].items()))} ({act['reason']})",
            f"  {verb} {harmless(act['name'])} ({some_pids(tuple(act['pids']))}), a {act['kind']}:",
            f"  {harmless(act['why'])}",
            f"  command: {harmless(act['command'])}" if act.get("command") else "",
            f"  needed {size(act['need'])}; chosen among {act['processes']} processes in {act['seconds']:.3f} s",
        ]
    if ranked or "ranking" in act:
        lines += [f"  {line}" for line in ranking((one["name"], one["pids"], one["why"]) for one in ranked)]
    if len(ranked) > 1 and act["event"] == "chosen" and act["reason"] != _OWNERLESS:
        first, second = ranked[:2]
        lines.append(
            f"  {harmless(second['name'])} would have been first with "
            f"{size(first['score'] - second['score'])} more, all else equal"
        )
    lines += [f"  after {event['at'] - act['at']:.3f} s: {_step(event)}" for event in came]
    return [line for line in lines if line]


def _step(event: dict[str, Any]) -> str:
    what = event["event"]
    if what == "signalled":
        return f"{event['signal']} to {some_pids(tuple(event['pids']))}"
    if what == "takenover":
        return f"rule {harmless(event['rule'])} goes on: {readings(tuple(event['values'].items()))} ({event['reason']})"
    if what == "died":
        return f"gone {event['seconds']:.3f} s after the signal, {size(event['came_back'])} came back"
    if what == "stuck":
        return f"set aside: {harmless(event['why'])}"
    if what == "paused":
        return f"{some_pids(tuple(event['pids']))} paused"
    if what == "resumed":
        return f"resumed after {event['seconds']:.1f} s: {harmless(event['why'])}"
    if what == "limited":
        return f"limited to {size(event['bytes'])}"
    if what == "slowed":
        return f"slowed down at {size(event['bytes'])}"
    if what == "eased":
        return f"slowed down no more after {event['seconds']:.1f} s: {harmless(event['why'])}"
    if what == "question":
        return f"asked for {event['seconds']:.0f} s (question {event['question']})"
    if what == "closed":
        return f"the question is over: {ended(event['how'], event['answer'], event['user'])}"
    return "memory had come back by itself"
