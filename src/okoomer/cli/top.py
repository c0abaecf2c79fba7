"""`okoomer top`: what the guard sees, whom it would take and what stands still, again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from okoomer.cli import place
from okoomer.cli.decide import Decider, Decision
from okoomer.cli.errors import CannotHere
from okoomer.cli.pressure import told_to_stop
from okoomer.cli.reach import Guard, meaning
from okoomer.cli.status import reached
from okoomer.cli.top_events import Events
from okoomer.cli.top_view import Asked, First, Someone, View
from okoomer.events.text import to_json
from okoomer.facts import Pressure, Snapshot
from okoomer.guard.launch import kept
from okoomer.guard.sense import Sense
from okoomer.kernel.machine import LIVE
from okoomer.kernel.process import ticks
from okoomer.policy.engine import FIRED, QUIET
from okoomer.policy.metrics import FORECAST, available, effective_swap

#: To choose takes looking at all processes: at most one part in so many of the time goes into that.
THRIFT = 30


def _interval(_ctx: click.Context, _option: click.Parameter, value: float) -> float:
    if not 0.1 <= value <= 86400:  # what is no number is refused, too
        raise click.BadParameter(f"{value:g} is not in the range 0.1 to 86400 seconds")
    return value


@click.command()
@click.option(
    "-i",
    "--interval",
    type=float,
    default=1.0,
    callback=_interval,
    metavar="SECONDS",
    help="From view to view, 0.1 or more. Default: 1.",
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N views.")
@place.policy_option
@place.json_option
@place.runtime_option
def command(interval: float, count: int | None, policy: str | None, as_json: bool, runtime_dir: str | None) -> None:
    """Watch the machine's memory and the guard, live.

    Shows memory, swap and stalls, how short memory is, who is paused, waits or is limited and why, what is asked,
    whom the guard would take, and what happened last. Without a guard it is what one would see. It needs a terminal,
    or gives one object a line with --json. Keys: q quits, up and down choose somebody, p pauses him, r resumes him,
    e ends whoever is asked about.

    \b
    Example:
      okoomer top
      okoomer top --json --count 3
    """
    if not as_json and not sys.stdout.isatty():
        raise CannotHere("top draws on a terminal, and there is none; okoomer top --json gives one object a line")
    watch = Watch(policy, runtime_dir)
    try:
        if as_json:
            stream(watch.look, interval, count)
        else:
            from okoomer.cli.top_live import live  # what draws is slow to load

            live(watch.look, watch.do, interval, count)
    finally:
        watch.close()


def stream(look: Callable[[], View], interval: float, count: int | None) -> None:
    """One JSON object a line, until told to stop."""
    told = 0
    with told_to_stop() as wait:
        while True:
            click.echo(to_json(look()))
            told += 1
            if told == count or wait(interval):
                return


class Watch:
    """Looks at the machine and asks its guard again and again.

    Args:
        policy: The policy that is named, else the one in force counts.
        runtime_dir: The directory of the guard that is named.

    Raises:
        PolicyError: What is named is no policy.
    """

    def __init__(self, policy: str | None, runtime_dir: str | None) -> None:
        self._named, self._given = policy, runtime_dir
        self._directory = place.runtime_dir(runtime_dir)
        self._events = Events(self._directory)
        self._sense = Sense(LIVE)
        self._guard = place.running(self._directory)
        self._to: Guard | None = None
        self._last: Snapshot | None = None
        self._go_by()

    def _go_by(self) -> None:
        policy, self._source = place.policy_in_force(self._named, self._directory)
        self._decider = Decider(policy)
        self._decision: Decision | None = None
        self._due = 0.0

    def close(self) -> None:
        """Gives back the line to the guard."""
        if self._to:
            self._to.close()
        self._to = None

    def look(self) -> View:
        """What there is to see now.

        Raises:
            Unreadable: Not even memory can be read.
            OSError: The processes cannot be listed.
        """
        guard = place.running(self._directory)
        if guard != self._guard:
            self._guard = guard
            self.close()
            self._go_by()
        elif self._named is None and guard is not None and kept(self._directory) not in (None, self._decider.policy):
            self._go_by()  # it was told to load its policy again
        snapshot = self._sense.snapshot()
        decision = self._decide(snapshot)
        some, full = _stalls(self._last, snapshot)
        self._last = snapshot
        state, unknown = self._state()
        trouble = self._events.read() if guard is not None else ""
        choice, by, policy = decision.choice, decision.by, self._decider.policy
        assert choice and by
        victim, levels = choice.victim, zip(policy.rules, decision.verdict.rules, strict=True)
        level = max((rule.level for rule, judged in levels if judged.state == FIRED), default=0)
        left = state["left"] if "left" in state else self._decider.engine.value(FORECAST)
        return View(
            at=round(time.time(), 3),
            guard=guard,
            policy=self._source,
            total=snapshot.memory.total,
            available=available(snapshot),
            swap_total=snapshot.swap.total,
            swap_free=snapshot.swap.free,
            effective=effective_swap(snapshot),
            some=some,
            full=full,
            level=int(state.get("level", level)),
            left=left if left is not None and left < 3600 else None,
            late=state.get("canary"),
            rules=tuple((one.name, one.state) for one in decision.verdict.rules if one.state != QUIET),
            standing=self._standing(state),
            questions=tuple(map(_asked, state.get("questions", ()))),
            rule=by.name,
            acts=decision.rule is not None and not decision.rule.only_warns,
            takes=victim.name if victim else "",
            why=victim.why if victim else "",
            need=choice.need,
            refusal=choice.refusal,
            ranking=tuple(
                First(one.name, pid, ticks("/proc", pid) if pid else 0, one.freed, one.why)
                for one in choice.ranking
                for pid in (one.pids[:1] or (0,))
            ),
            events=self._events.latest[-20:],
            unknown=unknown or trouble,
        )

    def _decide(self, snapshot: Snapshot) -> Decision:
        """The decision at this instant; that of a moment ago where there are so many processes that it costs much."""
        if self._decision is None or snapshot.time >= self._due:
            began = time.thread_time()
            self._decision = self._decider.decide(LIVE, snapshot, always=True)
            self._due = snapshot.time + THRIFT * (time.thread_time() - began)
        return self._decision

    def _state(self) -> tuple[dict[str, Any], str]:
        """What the guard says of itself, and why it says nothing, or ''."""
        try:
            self._to = self._to or reached(self._given, self._directory)
            return (self._to.state() if self._to else {}), ""
        except CannotHere as error:
            self.close()
            return {}, f"who is paused and what is asked is not known: {error.format_message()}"

    def _standing(self, state: dict[str, Any]) -> tuple[Someone, ...]:
        by, waits = self._events.by, dict(state.get("turns", ()))
        found = [
            Someone("waits", pid, start, str(name), seconds, str(waits[pid]))
            if pid in waits
            else Someone("paused", pid, start, str(name), seconds, by.get(pid, ""))
            for pid, start, name, _user, seconds in state.get("paused", ())
        ]
        now = time.time()
        slowed = self._events.slowed
        for pid, name in filter(None, map(_named, state.get("slowed", ()))):
            _, at, text = slowed.get(pid, (name, None, ""))
            found.append(Someone("slowed", pid, ticks("/proc", pid), name, at and max(0.0, now - at), text))
        if primed := _named(state.get("primed")):
            pid, name = primed
            found.append(Someone("primed", pid, ticks("/proc", pid), name, None, "by the kernel's own killer, too"))
        for pid, (name, at, text) in self._events.limited.items():
            found.append(Someone("limited", pid, ticks("/proc", pid), name, max(0.0, now - at), text))
        return tuple(found)

    def do(self, key: str, view: View, who: tuple[str, int, int] | None) -> str:
        """Does what a key is for, and says what came of it.

        Args:
            key: p, r or e.
            who: Who is chosen: name, pid and start.
        """
        try:
            to = self._to or reached(self._given, self._directory)
            if to is None:
                return "no guard runs here that could be asked"
            self._to = to
            if key == "e":
                return _end(to, view, who[1] if who else 0)
            if who is None:
                return "nobody is chosen (up and down)"
            name, pid, start = who
            status, text = (to.pause if key == "p" else to.resume)(pid, start)
        except CannotHere as error:
            self.close()
            return error.format_message()
        done = f"{name} (pid {pid}) {'is paused' if key == 'p' else 'runs again'}"
        return done if status == "ok" else f"{name} (pid {pid}): {meaning(status, text)}"


def _end(to: Guard, view: View, pid: int) -> str:
    """Answers the question about a process, or the only one, with its end."""
    about = [one for one in view.questions if pid in one.pids]
    asked = about or (list(view.questions) if len(view.questions) == 1 else [])
    if not asked:
        return "nothing is asked" if not view.questions else "choose whom the question is about (up and down)"
    status, text = to.answer(asked[0].question, "end", 0)
    return f"{asked[0].name} is ended" if status == "ok" else f"{asked[0].name}: {meaning(status, text)}"


def _stalls(last: Snapshot | None, now: Snapshot) -> tuple[float | None, float | None]:
    """Shares of the time since the last look in which some, and all, waited for memory."""
    before, after = last and last.memory_pressure, now.memory_pressure
    passed = now.time - last.time if last else 0.0
    if not before or not after or passed <= 0:
        return (None, None) if not after else _averages(after)
    some = (after.some.total - before.some.total) / passed
    full = (after.full.total - before.full.total) / passed if after.full and before.full else None
    return min(1.0, max(0.0, some)), None if full is None else min(1.0, max(0.0, full))


def _averages(pressure: Pressure) -> tuple[float, float | None]:
    return pressure.some.avg10, pressure.full.avg10 if pressure.full else None


def _named(one: Any) -> tuple[int, str] | None:
    """The pid and the name with which a list of the guard's begins, if it does."""
    if not isinstance(one, list) or len(one) < 2 or not isinstance(one[0], int):
        return None
    return one[0], str(one[1])


def _asked(question: dict[str, Any]) -> Asked:
    left = question.get("left")
    return Asked(
        question=int(question["question"]),
        name=str(question.get("name", "")),
        pids=tuple(int(pid) for pid in question.get("pids") or ()),
        paused=bool(question.get("paused")),
        choices=tuple(map(str, question.get("choices") or ())),
        then=str(question.get("then", "")),
        left=None if left is None else float(left),
    )
