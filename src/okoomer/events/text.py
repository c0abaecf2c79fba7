"""Events as text: JSON for programs, a sentence for people. Whatever a process calls itself comes out harmless."""

from __future__ import annotations

from _codecs import unicode_escape_encode
from _json import encode_basestring_ascii

from okoomer.events import model
from okoomer.record import Record
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


#: What counts as printable but cannot be seen: joiners, fillers and blanks (DerivedCoreProperties.txt,
#: Default_Ignorable_Code_Point). Two ranges of selectors of variants come to it.
_UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"


def harmless(text: str) -> str:
    """Text without anything that could forge a line, colour a terminal or hide itself: what does not print is
    written as an escape, and so is the backslash, so that no two texts look alike. The codec is called by itself: to
    look it up by its name would load a module, perhaps in an emergency."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(c if _plain(c) else unicode_escape_encode(c)[0].decode("ascii") for c in text)


def _plain(c: str) -> bool:
    seen = (
        c.isprintable() and c not in _UNSEEN and not "\ufe00" <= c <= "\ufe0f" and not "\U000e0100" <= c <= "\U000e01ef"
    )
    return seen and c != "\\"


def to_json(value: Any) -> str:
    """JSON of plain values and records, in ASCII and on one line. What is infinite or unknown is null."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return str(encode_basestring_ascii(value))
    if isinstance(value, (int, float)):
        return repr(value) if value == value and abs(value) != float("inf") else "null"
    if isinstance(value, Record):
        return to_json(dict(zip(value._fields, value, strict=True)))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{to_json(str(key))}: {to_json(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(to_json(item) for item in value) + "]"


def as_fields(event: Record) -> dict[str, Any]:
    """An event as what JSON shows of it: `values` as an object by metric."""
    fields = dict(zip(event._fields, event, strict=True))
    if "values" in fields:
        fields["values"] = dict(fields["values"])
    return fields


def line(event: Record, at: float, sequence: int) -> str:
    """An event as one JSON object: when (Unix time), which, and its fields."""
    head = {"at": round(at, 6), "sequence": sequence, "event": type(event).__name__.lower()}
    return to_json(head | as_fields(event))


#: Metrics of a cgroup (cgroup.NAME) that are plain numbers, and that are bytes each second; the others are like the
#: machine's.
_PLAIN, _FLOWS = ("events", "dying", "populated", "processes", "io"), ("growth", "scan", "refault")


def reading(metric: str, value: float | None) -> str:
    """A metric's value for people."""
    if value is None:
        return f"{metric} unknown"
    family, *rest = metric.split(".")
    if family == "cgroup":
        family = rest[0]
    if family in ("psi", "stall") or metric.endswith((".thrash", ".busy", ".circle")):
        return f"{metric} {value:.1%}"
    if family in ("forecast", "age"):
        return f"{metric} {value:.0f} s" if value < 1e9 else f"{metric} never"
    if family == "canary":
        return f"{metric} {value * 1000:.0f} ms" if value < 1e9 else f"{metric} unanswered"
    if family in _PLAIN or metric in ("zram.ratio", "vm.major_faults", "vm.oom_kills"):
        return f"{metric} {value:.1f}"
    return f"{metric} {size(value)}" + ("/s" if family in ("vm", *_FLOWS) or metric == "mem.growth" else "")


def readings(values: tuple[tuple[str, float | None], ...]) -> str:
    return ", ".join(reading(harmless(metric), value) for metric, value in values)


def some_pids(pids: tuple[int, ...]) -> str:
    """Pids for people: all of a few, else how many."""
    if not pids:
        return "no process"
    if len(pids) <= 4:
        return "pid " + " ".join(map(str, pids))
    return f"pid {pids[0]} and {len(pids) - 1} more"


def outcome(status: int) -> str:
    """How a command ended, for people: what `Ran` has as its status."""
    if status == model.NOT_STARTED:
        return "could not be started"
    return f"was ended by signal {-status}" if status < 0 else f"ended with {status}"


#: Seconds of a forecast that people are not told of: it is as good as never.
_FAR = 3600.0
_LEVELS = {model.LOW: "low", model.MEDIUM: "medium", model.SEVERE: "critical"}
_CLOSED = {
    model.LATE: "nobody has answered",
    model.OVER: "memory came back",
    model.URGENT: "a more urgent rule cannot wait",
    model.GONE: "the unit has ended",
    model.STOPPED: "okoomer ends",
}


def _forecast(left: float | None) -> str:
    return f", at this rate memory is full in {left:.0f} s" if left is not None and left < _FAR else ""


def _about(e: Any) -> str:
    """Of a warning who it is about, where the text does not say so, and how long is left."""
    who = f"; {harmless(e.name)} (pid {e.pid}) grows most" if e.name and not e.act else ""
    return who + _forecast(e.left)


def _level(e: Any) -> tuple[int, str]:
    if e.level == model.NORMAL:
        return model.NOTICE, f"memory is not short any more: {size(e.available)} available"
    name = _LEVELS.get(e.level, str(e.level))
    rules = ", ".join(map(harmless, e.rules))
    return model.INFO, f"memory is short ({name}): {size(e.available)} available{_forecast(e.left)}: {rules}"


def _question(e: Any) -> str:
    choices = [f"{word} ({size(e.limit)})" if word == model.LIMIT else word for word in e.choices]
    state = "is paused" if e.paused else "runs on"
    return (
        f"question {e.question} by rule {harmless(e.rule)}: what is to become of {harmless(e.name)} "
        f"({some_pids(e.pids)}), which {state}? {', '.join(map(harmless, choices))}; "
        f"{harmless(e.then)} if nobody answers within {e.seconds:g} s; {harmless(e.why)}"
    )


def ended(how: str, answer: str, user: int) -> str:
    """How a question came to its end, by the fields of model.Closed."""
    if how != model.ANSWERED:
        return _CLOSED.get(how, harmless(how))
    return f"user {user} answers {harmless(answer)}" if user >= 0 else f"the answer is {harmless(answer)}"


def sentence(event: Record) -> tuple[int, str]:
    """An event as its syslog priority and one line for people."""
    e: Any = event
    kind = type(event)
    if kind is model.Started:
        swap = size(e.swap) if e.swap else "none"
        mode = " (dry run: nobody is touched)" if e.dry_run else ""
        return model.NOTICE, (
            f"okoomer {harmless(e.version)} guards {size(e.memory)} of memory, swap {swap}, "
            f"by policy {harmless(e.policy)}: {', '.join(map(harmless, e.rules))}{mode}"
        )
    if kind is model.Stopped:
        return model.NOTICE, f"stopped by {harmless(e.signal)}"
    if kind is model.RuleChanged:
        priority = model.WARNING if e.state == "fired" else model.INFO
        where = f" in {harmless(e.target)}" if e.target else ""
        return priority, f"rule {harmless(e.rule)} {harmless(e.state)}{where}: {readings(e.values)}"
    if kind is model.Warned:
        return model.WARNING, f"rule {harmless(e.rule)} warns: {harmless(e.text)}{_about(e)}"
    if kind is model.Level:
        return _level(e)
    if kind is model.Question:
        return model.WARNING, _question(e)
    if kind is model.Closed:
        return model.NOTICE, f"question {e.question} is over: {ended(e.how, e.answer, e.user)}"
    if kind is model.Paused:
        what = "its cgroup is frozen" if e.frozen else some_pids(e.pids)
        lost = f", but not {some_pids(e.lost)}" if e.lost else ""
        return model.WARNING, f"{harmless(e.name)} ({what}) stands still by {harmless(e.by)}{lost}"
    if kind is model.Resumed:
        return model.NOTICE, (
            f"{harmless(e.name)} ({some_pids(e.pids)}) goes on after {e.seconds:.1f} s: {harmless(e.why)}"
        )
    if kind is model.Limited:
        return model.NOTICE, (
            f"{harmless(e.name)} ({some_pids(e.pids)}) gets no more than {size(e.bytes)} ({harmless(e.means)})"
        )
    if kind is model.Slowed:
        cpu = f" and {e.cpu:.0%} of a processor" if e.cpu else ""
        return model.WARNING, (
            f"{harmless(e.name)} ({some_pids(e.pids)}) is slowed down at {size(e.bytes)}{cpu} for {e.seconds:.1f} s"
        )
    if kind is model.Eased:
        who = f"{harmless(e.name)} ({some_pids(e.pids)})"
        return model.NOTICE, f"{who} is slowed down no more after {e.seconds:.1f} s: {harmless(e.why)}"
    if kind is model.Chosen:
        done = "would take" if e.dry_run else "takes"
        where = f" in {harmless(e.target)}" if e.target else ""
        return model.WARNING, (
            f"rule {harmless(e.rule)}{where} {done} {harmless(e.name)} ({some_pids(e.pids)}): {harmless(e.why)}; "
            f"{size(e.need)} needed; {harmless(e.reason)}: {readings(e.values)}"
        )
    if kind is model.TakenOver:
        where = f" in {harmless(e.target)}" if e.target else ""
        return model.WARNING, (
            f"rule {harmless(e.rule)}{where} goes on with {harmless(e.name)} ({some_pids(e.pids)}) in the place of "
            f"{harmless(e.before)}: {harmless(e.reason)}: {readings(e.values)}"
        )
    if kind is model.Refused:
        where = f" in {harmless(e.target)}" if e.target else ""
        return model.WARNING, f"rule {harmless(e.rule)} fired{where}, but nobody's end would help: {harmless(e.why)}"
    if kind is model.Recovered:
        done = "the victim may go on" if e.asked else "nobody was ended"
        return model.NOTICE, f"rule {harmless(e.rule)}: memory came back, {done}"
    if kind is model.Signalled:
        lost = f", not to {some_pids(e.lost)}" if e.lost else ""
        return model.WARNING, f"{harmless(e.signal)} to {harmless(e.name)} ({some_pids(e.pids)}){lost}"
    if kind is model.Died:
        return model.NOTICE, (
            f"{harmless(e.name)} ({some_pids(e.pids)}) is gone after {e.seconds:.3f} s, {size(e.came_back)} came back"
        )
    if kind is model.Stuck:
        return model.WARNING, (
            f"{harmless(e.name)} ({some_pids(e.pids)}) is set aside after {e.seconds:.1f} s: {harmless(e.why)}"
        )
    if kind is model.Shrunk:
        what = f"rule {harmless(e.rule)} shrinks {harmless(e.cgroup)}"
        if e.why:
            return model.INFO, f"{what}: {harmless(e.why)}"
        return model.INFO, f"{what}: {size(e.got)} of {size(e.asked)} came back in {e.seconds:.3f} s"
    if kind is model.Primed:
        who = f"{harmless(e.name)} (pid {e.pid})"
        if e.adjustment:
            return model.INFO, f"the kernel's own killer would take {who} first, too (oom_score_adj {e.adjustment})"
        return model.INFO, f"{who} has its own oom_score_adj again"
    if kind is model.Trouble:
        return (model.NOTICE if e.over else model.WARNING), ("again well: " if e.over else "") + harmless(e.text)
    if kind is model.Changed:
        return model.NOTICE, harmless(e.text)
    if kind is model.KernelKilled:
        who = "a process" if e.count == 1 else f"{e.count} processes"
        return model.WARNING, f"the kernel's own killer has ended {who} (its log, dmesg, says whom and why)"
    if kind is model.Report:
        share = e.available / e.total if e.total else 0.0
        swap = f"swap {size(e.swap_free)} of {size(e.swap_total)} free" if e.swap_total else "no swap"
        return model.INFO, f"{size(e.available)} of {size(e.total)} available ({share:.0%}), {swap}"
    if kind is model.Run:
        words = " ".join(map(harmless, e.command))
        return model.NOTICE, f"rule {harmless(e.rule)} runs {words} for {harmless(e.name)} (pid {e.pid})"
    if kind is model.Ran:
        priority = model.WARNING if e.status else model.INFO
        return priority, f"what was run (request {e.request}) {outcome(e.status)} after {e.seconds:.3f} s"
    if kind is model.Late:
        done = f"the watchdog killed {harmless(e.name)} (pid {e.pid})" if e.pid else "the watchdog killed nobody"
        return model.ALERT, f"the loop hung for {e.seconds:.1f} s; {done}"
    raise TypeError(f"not an event: {kind.__name__}")
