"""What `okoomer top` shows, and how that is drawn: a view in, lines out."""

from __future__ import annotations

from collections.abc import Iterable
from time import localtime, strftime

from rich.text import Text

from okoomer.cli.top_events import Happened
from okoomer.events.model import LOW, MEDIUM, NORMAL, SEVERE
from okoomer.events.text import harmless, some_pids
from okoomer.events.unanswered import unanswered
from okoomer.record import Record
from okoomer.units import size

#: What a level is called, and its colour.
_LEVELS = {
    NORMAL: ("normal", "green"),
    LOW: ("low", "yellow"),
    MEDIUM: ("medium", "yellow"),
    SEVERE: ("critical", "red"),
}
#: Shares from which a bar is yellow, and red.
_WORTH_A_LOOK, _SERIOUS = 0.8, 0.94
#: The same of stalls.
_STALLED, _STANDS = 0.05, 0.2
#: Columns that a bar has at most, those that stand before it, and those that are kept for what stands behind it.
_BAR, _HEAD, _TAIL = 40, 7, 32
#: Lines of the ranking, and of events, that are shown if there is room for more.
_RANKED, _EVENTS = 8, 12
KEYS = "q quits, up and down choose, p pauses, r resumes, e ends what is asked about"


class Someone(Record):
    """Who is `paused`, `waits` for his turn, or is `slowed`, `limited` or `primed`: the first of its processes with its
    start (clock ticks), since how many seconds if that is known, and why."""

    state: str
    pid: int
    start: int
    name: str
    seconds: float | None
    why: str


class Asked(Record):
    """An open question, with the seconds that are left, and what happens without an answer."""

    question: int
    name: str
    pids: tuple[int, ...]
    paused: bool
    choices: tuple[str, ...]
    then: str
    left: float | None


class First(Record):
    """One line of the ranking: a unit, its first process with its start (clock ticks, 0 if it has none here), and what
    its end would give back, in bytes."""

    name: str
    pid: int
    start: int
    freed: int
    why: str


class View(Record):
    """What there is to see at one instant: sizes in bytes, stalls as shares 0..1 of the time since the view before (of
    the first one the kernel's average over 10 s), None where that is not known. `left` are seconds until nothing is
    left at the present rate, None if that is not in sight; `late` are those by which the guard's canary is late,
    None if it has none; `rules` are those that are not quiet, with their states.

    `rule` is the one that acts, or would first, `acts` which of these it is; `takes` is whom it takes, or '' and in
    `refusal` why nobody. `guard` is the pid of the guard, 0 if that is not known, None if there is none; `unknown` is
    why something of it is not known.
    """

    at: float
    guard: int | None
    policy: str
    total: int
    available: int
    swap_total: int
    swap_free: int
    effective: float
    some: float | None
    full: float | None
    level: int
    left: float | None
    late: float | None
    rules: tuple[tuple[str, str], ...]
    standing: tuple[Someone, ...]
    questions: tuple[Asked, ...]
    rule: str
    acts: bool
    takes: str
    why: str
    need: int
    refusal: str
    ranking: tuple[First, ...]
    events: tuple[Happened, ...]
    unknown: str = ""


def rows(view: View) -> list[tuple[str, int, int]]:
    """Those who can be chosen on the screen, from the top down: name, pid and start."""
    found = [(one.name, one.pid, one.start) for one in view.standing]
    return found + [(one.name, one.pid, one.start) for one in view.ranking[:_RANKED] if one.pid]


def lines(view: View, width: int, height: int = 0, at: int = -1, note: str = "") -> list[Text]:
    """A view as lines that are no longer than `width` columns, and no more than `height` if that is given; a line
    that does not fit ends in an ellipsis.

    Args:
        at: Which of `rows` is chosen; -1 for none.
        note: What is said in the last line instead of the keys, "" for those.
    """
    marked = iter(range(len(rows(view))))

    def mark(text: Text) -> Text:
        if next(marked) == at:
            text.stylize("reverse")
        return text

    drawn = [*_head(view), *_machine(view, width), *_rules(view), Text()]
    standing = [mark(_someone(one)) for one in view.standing]
    asked = [_asked(one) for one in view.questions]
    drawn += [*asked, *standing, *([Text()] if asked or standing else ()), *_choice(view)]
    places = enumerate(view.ranking[:_RANKED], 1)
    drawn += [mark(_first(place, one)) if one.pid else _first(place, one) for place, one in places]
    last = [Text(note or KEYS, "bold" if note else "dim")] if height else []
    room = height - len(drawn) - len(last) - 1 if height else _EVENTS
    if view.events and room > 1:
        drawn += [Text(), *(_event(one) for one in view.events[-min(room, _EVENTS) :])]
    drawn = drawn[: height - len(last)] if height else drawn
    drawn += last
    for text in drawn:
        text.truncate(width, overflow="ellipsis")
    return drawn


def _head(view: View) -> Iterable[Text]:
    clock = strftime("%H:%M:%S", localtime(view.at))
    if view.guard is None:
        who = f"no guard runs here; what one would see by policy {harmless(view.policy)}"
    else:
        pid = f" (pid {view.guard})" if view.guard else ""
        who = f"a guard runs{pid} by policy {harmless(view.policy)}"
    yield Text.assemble((f"{clock} ", "bold"), who)
    if view.unknown:
        yield Text(harmless(view.unknown), "yellow")


def _machine(view: View, width: int) -> Iterable[Text]:
    used = 1 - view.available / view.total if view.total else 0.0
    yield _bar("memory", used, f"{size(view.available)} of {size(view.total)} available", width)
    if view.swap_total:
        swapped = 1 - view.swap_free / view.swap_total
        yield _bar("swap", swapped, f"{size(view.swap_free)} of {size(view.swap_total)} free", width)
    else:
        yield Text("swap   none")
    if view.some is None:
        yield Text("stall  unknown")
    else:
        full = "" if view.full is None else f", all {view.full:.1%}"
        yield _bar("stall", view.some, f"some {view.some:.1%}{full}", width, _STALLED, _STANDS)


def _bar(
    name: str, share: float, text: str, width: int, look: float = _WORTH_A_LOOK, serious: float = _SERIOUS
) -> Text:
    share = min(1.0, max(0.0, share))
    columns = min(_BAR, width - _HEAD - _TAIL - 8)
    colour = "red" if share >= serious else "yellow" if share >= look else "green"
    drawn = Text(f"{name:<{_HEAD}}")
    if columns > 4:
        full = round(share * columns)
        drawn.append("[").append("|" * full, colour).append(" " * (columns - full)).append("] ")
    drawn.append(f"{share:4.0%}", colour)
    return drawn.append(f"  {text}")


def _rules(view: View) -> Iterable[Text]:
    name, colour = _LEVELS.get(view.level, (str(view.level), "yellow"))
    left = "" if view.left is None else f", at this rate nothing is left in {view.left:.0f} s"
    late = "" if view.late is None else f"; the canary is late by {view.late:.2f} s"
    states = ", ".join(f"{harmless(rule)} {state}" for rule, state in view.rules) or "all quiet"
    yield Text.assemble(f"{'level':<{_HEAD}}", (name, colour), left, late)
    yield Text(f"{'rules':<{_HEAD}}{states}")


def _someone(one: Someone) -> Text:
    since = "" if one.seconds is None else f" for {_since(one.seconds)}"
    why = f": {harmless(one.why)}" if one.why else ""
    return Text(f"{one.state:<{_HEAD}} {harmless(one.name)} (pid {one.pid}){since}{why}")


def _since(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _asked(one: Asked) -> Text:
    stands = ", paused," if one.paused else ""
    left = "" if one.left is None else f" in {one.left:.0f} s"
    text = f"{harmless(one.name)} ({some_pids(one.pids)}){stands} {unanswered(one.then)}{left}: "
    return Text.assemble((f"asked  {one.question}: ", "bold"), text, "|".join(map(harmless, one.choices)))


def _choice(view: View) -> Iterable[Text]:
    if not view.takes:
        yield Text(f"rule {harmless(view.rule)} takes nobody: {harmless(view.refusal)}")
        return
    verb = "takes" if view.acts else "would take"
    style = "red" if view.acts else ""
    yield Text(f"rule {harmless(view.rule)} {verb} {harmless(view.takes)}, {size(view.need)} needed", style)
    yield Text(f"  {harmless(view.why)}")


def _first(place: int, one: First) -> Text:
    pid = f" (pid {one.pid})" if one.pid else ""
    return Text(f"{place:3}. {size(one.freed):>9}  {harmless(one.name)}{pid}: {harmless(one.why)}")


def _event(one: Happened) -> Text:
    return Text.assemble((strftime("%H:%M:%S ", localtime(one.at)), "dim"), one.text)
