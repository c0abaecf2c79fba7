"""Scenes that only some play: who died, and how long it took until the culprit was gone. They rank nobody: who plays
has been asked for just this, by the same settings.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import median_high

from lab import figures
from lab.columns import NOTHING, number
from lab.daemons import EVERYBODY
from lab.matrix import latest
from lab.run import By, Ending, Role, Run
from lab.scenarios import SCENARIOS

HEAD = (
    ("scene", "daemon", "ended by it", "others lost", "first kill, s", "until all is over, s", "stall, s", "waited, s"),
    ("---",) * 8,
)


def table(runs: Iterable[Run]) -> str:
    """Markdown: a line for each scene and daemon that has a result, medians (worst) of the repeats."""
    order = [(name, daemon) for name, scene in SCENARIOS.items() for daemon in scene.daemons]
    last = [one for one in latest(runs) if one.seen.ending is not Ending.FAILED]
    known = [one for one in last if (one.scenario, one.daemon) in order]
    known.sort(key=lambda one: (order.index((one.scenario, one.daemon)), one.swap, one.repeat))
    lines = [_line(list(group)) for _, group in groupby(known, key=lambda one: (one.scenario, one.daemon, one.swap))]
    return "".join(f"| {' | '.join(line)} |\n" for line in (*HEAD, *lines))


def _line(runs: Sequence[Run]) -> tuple[str, ...]:
    first, of = runs[0], [figures.of(one) for one in runs]
    return (
        f"{first.scenario}, {first.swap}",
        EVERYBODY[first.daemon].title,
        _each(map(_victims, runs)),
        _each(map(_lost, runs)),
        _median([one.first_kill_s for one in of]),
        _median([one.seen.over for one in runs]),
        _median([one.full_s for one in of]),
        _each(map(_waits, runs)),
    )


def _each(texts: Iterable[str]) -> str:
    """What each repeat says, once if they agree."""
    return "; ".join(dict.fromkeys(texts))


def _victims(run: Run) -> str:
    """Whom the daemon has ended: by name, those of a kind together."""
    kills = [kill for kill in run.seen.kills if kill.by is By.DAEMON]
    if any(kill.role is Role.SESSION for kill in kills):
        return "the session"  # many of it end by themselves when tmux does
    names = dict.fromkeys(kill.comm for kill in kills)
    return ", ".join(names) or "nobody"


def _lost(run: Run) -> str:
    """What the scene says of who else is gone, in whatever way."""
    found = [note.partition(": lost ")[2] for note in run.seen.notes if ": lost " in note]
    return ", ".join(found) or NOTHING


def _waits(run: Run) -> str:
    """What each of several users waited, and when he was done."""
    if len(found := figures.waits(run.seen)) < 2:
        return NOTHING
    return ", ".join(
        f"{one.who} {number(one.waited_s)}, {'done at ' + number(one.done_s) if one.done_s else 'not done'}"
        for one in found
    )


def _median(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "never"
    worst = f" ({number(max(known))})" if len(known) > 1 else ""
    return f"{number(median_high(known))}{worst}"
