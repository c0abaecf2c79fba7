"""Events in earlyoom's words: a guard that was called by that name tells what happens in the lines, and on the streams,
that the scripts and the people around earlyoom look for."""

from __future__ import annotations

from time import monotonic

from okoomer.events import model
from okoomer.events.text import harmless, outcome, sentence
from okoomer.record import Record
from okoomer.units import MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    #: Stream (1 or 2), style, and the text without an end of line.
    Line: TypeAlias = tuple[int, str, str]

#: How a line is meant: it decides the colour on a terminal and the priority in the system's log. What begins a log is
#: PLAIN, and goes to its stream whatever else is wanted.
PLAIN, INFO, WARN, DEBUG = "", "info", "warn", "debug"
#: So many bytes of a command line are told.
CMDLINE = 255
#: The rule that kills at once; whatever else acts stands for the limits of SIGTERM.
KILL = "kill"


class Limits(Record):
    """What the first lines say: `memory` all there is, `user` what programs can have of it (MemAvailable and
    AnonPages), `swap` all of it, in bytes; and at or below which percentages a signal is sent."""

    memory: int
    user: int
    swap: int
    mem_term: float
    mem_kill: float
    swap_term: float
    swap_kill: float
    debug: bool = False


class Voice:
    """Takes events, gives lines.

    Args:
        now: Seconds on a clock that only goes forward.
    """

    def __init__(self, limits: Limits, now: Callable[[], float] = monotonic) -> None:
        self._limits = limits
        self._now = now
        self._report = model.Report(limits.memory, limits.user, 0, limits.swap, limits.swap)
        #: Rules that have fired, and what each had read when it did.
        self._fired: set[str] = set()
        self._values: dict[str, tuple[tuple[str, float | None], ...]] = {}
        #: The state that was told last while memory is short, and that no act has followed yet.
        self._low = ""
        #: The victim as long as something is done about it.
        self._chosen: model.Chosen | None = None
        self._signalled: tuple[float, float] | None = None
        self._reached = False
        self._program = ""

    def __call__(self, event: Record) -> list[Line]:
        """The lines of one event, none of most."""
        lines = _LINES.get(type(event))
        if lines:
            return lines(self, event)
        return [(1, DEBUG, sentence(event)[1])] if self._limits.debug else []

    # --- the state of memory ------------------------------------------------------------------------------------

    def _start(self, _event: model.Started) -> list[Line]:
        is_at = self._limits
        return [
            (2, PLAIN, text)
            for text in (
                f"mem total: {is_at.memory // MIB:4d} MiB, user mem total: {is_at.user // MIB:4d} MiB, "
                f"swap total: {is_at.swap // MIB:4d} MiB",
                f"sending SIGTERM when mem avail <= {is_at.mem_term:5.2f}% and swap free <= {is_at.swap_term:5.2f}%,",
                f"        SIGKILL when mem avail <= {is_at.mem_kill:5.2f}% and swap free <= {is_at.swap_kill:5.2f}%",
            )
        ]

    def _state(self, report: model.Report) -> list[Line]:
        self._report = report
        if not self._fired:
            self._low = ""
            return [(1, INFO, state(report))]
        # While a victim is waited for nothing is reported.
        return [] if self._chosen else self._state_if_new(report)

    def _state_if_new(self, report: model.Report) -> list[Line]:
        text = state(report)
        if text == self._low:
            return []
        self._low = text
        return [(2, WARN, text)]

    def _rule(self, event: model.RuleChanged) -> list[Line]:
        if event.state == "fired":
            self._fired.add(event.rule)
            self._values[event.rule] = event.values
        else:
            self._fired.discard(event.rule)
        if not self._fired:
            self._low = ""
        return [(1, DEBUG, sentence(event)[1])] if self._limits.debug else []

    def _short(self, rule: str, values: tuple[tuple[str, float | None], ...]) -> list[Line]:
        """That memory is short: as it stood when the rule was judged, and below which limits that is."""
        read, last = dict(values), self._report
        found, swap_free = read.get("mem.available.user"), read.get("swap.free")
        available = last.available if found is None else int(found)
        seen = model.Report(
            last.total,
            available,
            # What is gone since the last report has mostly become programs' own.
            max(0, last.available + last.anon - available),
            last.swap_total,
            last.swap_free if swap_free is None else int(swap_free),
        )
        is_at = self._limits
        name, mem, swap = (
            ("SIGKILL", is_at.mem_kill, is_at.swap_kill)
            if rule == KILL
            else ("SIGTERM", is_at.mem_term, is_at.swap_term)
        )
        lines = self._state_if_new(seen)
        self._low = ""
        return [
            *lines,
            (2, WARN, f"low memory! at or below {name} limits: mem {mem:5.2f}%, swap {swap:5.2f}%"),
        ]

    # --- acts ---------------------------------------------------------------------------------------------------

    def _choice(self, chosen: model.Chosen) -> list[Line]:
        self._chosen, self._signalled, self._reached = chosen, None, False
        lines = self._short(chosen.rule, chosen.values)
        if chosen.dry_run:
            self._chosen = None
            if "oom" not in chosen.steps:
                lines.append(_sending("SIGTERM" if "term" in chosen.steps else "SIGKILL", chosen))
            lines.append((2, WARN, "dryrun, not actually sending any signal"))
        return lines

    def _nobody(self, event: model.Refused) -> list[Line]:
        lines = self._short(event.rule, self._values.get(event.rule, ()))
        return [*lines, (2, WARN, "Could not find a process to kill. Sleeping 1 second.")]

    def _recovery(self, event: model.Recovered) -> list[Line]:
        lines = [] if self._chosen else self._short(event.rule, self._values.get(event.rule, ()))
        pid = self._victim(())
        self._chosen = None
        if event.asked:
            return [(2, WARN, f"memory situation has recovered while waiting for process {pid}")]
        return [*lines, (2, WARN, "memory situation has recovered while selecting victim")]

    def _signal(self, event: model.Signalled) -> list[Line]:
        chosen, now = self._chosen, self._now()
        self._reached = self._reached or bool(event.pids)
        if not event.signal.startswith("SIG"):
            self._chosen = None
            return [(1, INFO, "trigger_kernel_oom: successfully triggered kernel OOM killer")]
        if self._signalled:
            first = self._signalled[0]
            self._signalled = first, now
            return [(2, WARN, f"escalating to {harmless(event.signal)} after {now - first:.3f} seconds")]
        self._signalled = now, now
        if chosen is None:
            return [(2, WARN, sentence(event)[1])]
        lines = [_sending(event.signal, chosen)]
        if chosen.kind == "group":
            group = chosen.group or self._victim(event.pids)
            lines.append((2, WARN, f"killing whole process group {group} (-g flag is active)"))
        return lines

    def _death(self, event: model.Died) -> list[Line]:
        # What is told is the time since the first signal, and the event knows that since the last.
        earlier = self._signalled[1] - self._signalled[0] if self._signalled else 0.0
        pid = self._victim(event.pids)
        self._chosen = None
        return [(2, WARN, f"process {pid} exited after {earlier + event.seconds:.3f} seconds")]

    def _set_aside(self, event: model.Stuck) -> list[Line]:
        pid = self._victim(event.pids)
        self._chosen = None
        if not self._reached:
            return [(2, WARN, f"kill failed: {harmless(event.why)}")]
        return [(2, WARN, f"process {pid} did not exit"), (2, WARN, "kill failed: Timer expired")]

    def _victim(self, pids: tuple[int, ...]) -> int:
        pids = (self._chosen.pids if self._chosen else ()) or pids
        return pids[0] if pids else 0

    # --- the rest -----------------------------------------------------------------------------------------------

    def _run(self, event: model.Run) -> list[Line]:
        self._program = event.command[0] if event.command else ""
        return [(1, DEBUG, sentence(event)[1])] if self._limits.debug else []

    def _ran(self, event: model.Ran) -> list[Line]:
        if event.status == model.NOT_STARTED:
            return [(2, WARN, f"{harmless(self._program)} {outcome(event.status)}")]
        return [(1, DEBUG, sentence(event)[1])] if self._limits.debug else []

    def _alarm(self, event: Record) -> list[Line]:
        """What earlyoom cannot know, in our own words."""
        return [(2, WARN, sentence(event)[1])]


_LINES: dict[type[Record], Callable[[Voice, Any], list[Line]]] = {
    model.Started: Voice._start,
    model.Report: Voice._state,
    model.RuleChanged: Voice._rule,
    model.Chosen: Voice._choice,
    model.Refused: Voice._nobody,
    model.Recovered: Voice._recovery,
    model.Signalled: Voice._signal,
    model.Died: Voice._death,
    model.Stuck: Voice._set_aside,
    model.Run: Voice._run,
    model.Ran: Voice._ran,
    model.Warned: Voice._alarm,
    model.Trouble: Voice._alarm,
    model.Late: Voice._alarm,
}


def state(report: model.Report) -> str:
    """Memory and swap in one line; shares are of what programs can have."""
    user = report.available + report.anon
    memory = report.available * 100 / user if user else 0.0
    swap = report.swap_free * 100 / report.swap_total if report.swap_total else 0.0
    return (
        f"mem avail: {report.available // MIB:5d} of {user // MIB:5d} MiB ({memory:5.2f}%), "
        f"swap free: {report.swap_free // MIB:4d} of {report.swap_total // MIB:4d} MiB ({swap:5.2f}%)"
    )


def _sending(signal: str, chosen: model.Chosen) -> Line:
    pid = chosen.pids[0] if chosen.pids else 0
    text = (
        f'sending {harmless(signal)} to process {pid} uid {chosen.user} "{harmless(chosen.root or chosen.name)}": '
        f"oom_score {chosen.oom_score}, oom_score_adj {chosen.adjustment}, VmRSS {chosen.rss // MIB} MiB, "
        f'cmdline "{harmless(beginning(chosen.command))}"'
    )
    return 2, WARN, text


def beginning(command: str) -> str:
    """As much of a command line as is told, and no half of a character."""
    return command.encode("utf-8", "backslashreplace")[:CMDLINE].decode("utf-8", "ignore")
