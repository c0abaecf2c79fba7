"""`okoomer pressure`: which cgroups are stalled, and, line by line, how stalls come and go."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from okoomer.cli import place
from okoomer.cli.errors import NO, BadInput, CannotHere, Complaint
from okoomer.events.text import harmless
from okoomer.facts import Pressure, Stall
from okoomer.kernel import cgroup, clock
from okoomer.kernel.files import Source
from okoomer.kernel.machine import LIVE
from okoomer.kernel.pressure import parse
from okoomer.record import Record

RESOURCES = ("memory", "io", "cpu")
SYSTEM_WIDE = "SYSTEM_WIDE"
SPANS = ("avg10", "avg60", "avg300")
#: What a line of the log tells: a resource and a line of its pressure file.
TOLD = (("cpu", "some"), ("io", "some"), ("io", "full"), ("memory", "some"), ("memory", "full"))
NO_PSI = "the kernel gives no pressure information (see okoomer doctor)"


class Gone(Complaint):
    """What was watched is no more."""

    exit_code = NO


class Reading(Record):
    """The stalled seconds so far of everything in `TOLD`, None where there is no such account, and when each was read,
    in seconds of the monotonic clock. A read may take long where it matters most, so each has its own time."""

    totals: tuple[float | None, ...]
    times: tuple[float, ...]


def _interval(_ctx: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    # Written so that what is no number is refused, too.
    if value is not None and not 0.1 <= value <= 86400:
        raise click.BadParameter(f"{value:g} is not in the range 0.1 to 86400 seconds")
    return value


@click.command()
@click.option("-m", "--metrics", "resource", type=click.Choice(RESOURCES), help="Whose table. Default: memory.")
@click.option("--live/--once", default=None, help="Draw the table again and again. Default: on a terminal.")
@click.option("--log", "logged", is_flag=True, help="A line for each interval instead of the table.")
@click.option(
    "-i",
    "--interval",
    type=float,
    callback=_interval,
    metavar="SECONDS",
    help="From line to line or table to table, 0.1 or more. Default: 2.",
)
@click.option("-t", "--target", metavar="CGROUP", help="With --log: a cgroup's path. Default: the whole machine.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N lines or tables.")
@place.json_option
def command(
    resource: str | None,
    live: bool | None,
    logged: bool,
    interval: float | None,
    target: str | None,
    count: int | None,
    as_json: bool,
) -> None:
    """Show how the machine and each cgroup are stalled, the most stalled first.

    The table has the kernel's averages over 10, 60 and 300 s, in percent of time. On a terminal it is live until
    Ctrl-C; --once, or a pipe, gets it once. With --log each line tells of the time since the line before, from exact
    totals; Ctrl-C, SIGTERM or --count ends it with the peaks and totals. A cgroup that vanishes ends it with 1.

    \b
    Example:
      okoomer pressure -m io
      okoomer pressure --log -i 1
      okoomer pressure --log -t /user.slice --json
    """
    if logged:
        if resource:
            raise click.UsageError("-m is for the table; --log tells of memory, io and cpu")
        if live is not None:
            raise click.UsageError(f"{'--live' if live else '--once'} is for the table")
        log(SYSTEM_WIDE if target is None else target, interval or 2.0, count, as_json)
        return
    if target is not None:
        raise click.UsageError("-t is for --log")
    if live and as_json:
        raise click.UsageError("--live is for people; --log --json is a stream of objects")
    if live is None:
        live = sys.stdout.isatty() and not as_json
    if not live:
        for option, given in (("-i", interval), ("--count", count)):
            if given is not None:
                raise click.UsageError(f"{option} is for --log or --live")
        show(resource or "memory", as_json)
        return
    from okoomer.cli.pressure_live import draw

    with told_to_stop() as wait:
        draw(lambda: picture(*look(resource or "memory")), wait, interval or 2.0, count)


# --- the table ------------------------------------------------------------------------------------------------------


class Look(NamedTuple):
    """The pressure on a resource: of the machine, and of the cgroups of the hierarchy at `mount`, in order."""

    resource: str
    mount: str
    system: Pressure
    rows: list[tuple[str, Pressure]]


def look(resource: str) -> Look:
    """The pressure on a resource now.

    Raises:
        CannotHere: There is no unified hierarchy, or no pressure.
    """
    machine = Source(f"{LIVE.proc}/pressure/{resource}", parse)
    system = machine.read()
    machine.close()
    if system is None:
        raise CannotHere(machine.trouble or NO_PSI)
    mount = cgroup.mount(LIVE.proc)
    if mount is None:
        raise CannotHere("no unified cgroup hierarchy is mounted, and cgroups of version 1 tell of no pressure")
    return Look(resource, mount, system, ordered(stalled_cgroups(mount, resource), resource))


def show(resource: str, as_json: bool) -> None:
    """Prints the table of a resource.

    Raises:
        CannotHere: There is no unified hierarchy, or no pressure.
    """
    found = look(resource)
    if as_json:
        answer = {
            "resource": resource,
            "mount": found.mount,
            "system": _plain(found.system),
            "cgroups": [{"path": path} | _plain(pressure) for path, pressure in found.rows],
        }
        click.echo(json.dumps(answer))
    else:
        click.echo("\n".join(picture(*found)))


def picture(resource: str, mount: str, system: Pressure, rows: list[tuple[str, Pressure]]) -> list[str]:
    """The lines of the table, and above them what it is a table of."""
    head = f"{resource} pressure in percent of time; cgroups of {harmless(mount)}"
    return [head, *table([(SYSTEM_WIDE, system), *rows])]


def stalled_cgroups(mount: str, resource: str) -> list[tuple[str, Pressure]]:
    """The pressure of each cgroup that keeps such an account, by path; the hierarchy's true root is the machine."""
    paths = [*(() if cgroup.is_whole(mount) else ("/",)), *cgroup.below(mount)]
    found = ((path, cgroup.stalled(mount, path, resource)) for path in paths)
    return [(path, pressure) for path, pressure in found if pressure]


def ordered(rows: list[tuple[str, Pressure]], resource: str) -> list[tuple[str, Pressure]]:
    """The most stalled first: by the last 10 s, then 60, then 300. Of memory and io, `full` says most; of cpu it is
    `some`, for `full` is not kept everywhere."""

    def key(row: tuple[str, Pressure]) -> tuple[list[float], str]:
        path, pressure = row
        full = pressure.full or Stall(0.0, 0.0, 0.0, 0.0)
        first, second = (pressure.some, full) if resource == "cpu" else (full, pressure.some)
        return [-getattr(stall, span) for span in SPANS for stall in (first, second)], path

    return sorted(rows, key=key)


def table(rows: list[tuple[str, Pressure]]) -> list[str]:
    """The lines of the table: what is absent is a dash."""
    lines = [" ".join(["some", *(f"{span:>6}" for span in SPANS), "|", "full", *(f"{s:>6}" for s in SPANS), "| path"])]
    for path, pressure in rows:
        some, full = (
            [f"{getattr(stall, span) * 100:6.2f}" if stall else f"{'-':>6}" for span in SPANS]
            for stall in (pressure.some, pressure.full)
        )
        lines.append(" ".join(["    ", *some, "|", "    ", *full, "|", harmless(path)]))
    return lines


def _plain(pressure: Pressure) -> dict[str, dict[str, float] | None]:
    """Percentages and stalled seconds, as JSON has them."""
    return {
        name: {span: round(getattr(stall, span) * 100, 2) for span in SPANS} | {"total": stall.total} if stall else None
        for name, stall in (("some", pressure.some), ("full", pressure.full))
    }


# --- the log --------------------------------------------------------------------------------------------------------


def log(target: str, interval: float, count: int | None, as_json: bool) -> None:
    """Prints lines about the machine or a cgroup until it is told to stop.

    Raises:
        BadInput, CannotHere: There is no such cgroup, or no pressure.
        Gone: The cgroup has vanished meanwhile.
    """
    read = reader(target)
    if not as_json:
        click.echo(f"pressure of {harmless(target)} in percent of the time since the line before")
    with told_to_stop() as wait:
        for text in watch(read, wait, interval, count, as_json):
            click.echo(text)


def reader(target: str) -> Callable[[], Reading]:
    """What reads the totals of a cgroup, or of the machine if the target is `SYSTEM_WIDE`; it raises `Gone` once
    there is nothing to read any more. The files stay open: a new cgroup of the same name is not taken for the old.

    Raises:
        BadInput, CannotHere: There is no such cgroup, or no pressure.
    """
    if target == SYSTEM_WIDE:
        sources = {resource: Source(f"{LIVE.proc}/pressure/{resource}", parse) for resource in RESOURCES}
    else:
        mount = cgroup.mount(LIVE.proc)
        if mount is None:
            raise CannotHere("no unified cgroup hierarchy is mounted, and cgroups of version 1 tell of no pressure")
        path = "/" + target.removeprefix(mount).strip("/")
        if not target or not Path(mount + path).is_dir():
            raise BadInput(
                f"-t {harmless(target)}: no such cgroup in {harmless(mount)}; expected a path like /user.slice"
            )
        sources = {resource: Source(f"{mount}{path}/{resource}.pressure", parse) for resource in RESOURCES}

    known: set[str] = set()

    def read() -> Reading:
        found: dict[str, tuple[Pressure | None, float]] = {}
        for resource, source in sources.items():
            found[resource] = source.read(), clock.monotonic()
            if source.trouble:
                raise CannotHere(source.trouble)
        told = {resource for resource, (pressure, _) in found.items() if pressure}
        if not told or not known <= told:
            raise Gone(f"{harmless(target)} is gone, or tells of no pressure any more")
        known.update(told)
        stalls = [getattr(found[resource][0], line, None) for resource, line in TOLD]
        return Reading(
            tuple(stall.total if stall else None for stall in stalls),
            tuple(found[resource][1] for resource, _ in TOLD),
        )

    try:
        read()
    except Gone:
        missing = f"{harmless(target)} tells of no pressure (cgroup.pressure is 0, or psi=0)"
        raise CannotHere(NO_PSI if target == SYSTEM_WIDE else missing) from None
    return read


def watch(
    read: Callable[[], Reading],
    wait: Callable[[float], bool],
    interval: float,
    count: int | None,
    as_json: bool,
    monotonic: Callable[[], float] = clock.monotonic,
    now: Callable[[], float] = time.time,
) -> Iterator[str]:
    """The lines of the log, and at its end the peaks and totals.

    Args:
        wait: Waits so many seconds, or less: true once it is told to stop.
        interval: Seconds from line to line. A line that comes late tells of more time, and is not made up for.
        count: So many lines at most.
        monotonic, now: The clock that intervals are measured with, and Unix time.

    Raises:
        Gone: After the last line, if what was watched has vanished.
    """
    first = last = read()
    peaks: tuple[float | None, ...] = (None,) * len(TOLD)
    lines, gone = 0, None
    if not as_json:
        yield _row("time", ["seconds", *map(" ".join, TOLD)])
    due = monotonic()
    while count is None or lines < count:
        due += interval
        if due <= monotonic():
            due = monotonic() + interval
        stop = wait(max(0.0, due - monotonic()))
        try:
            reading = read()
        except Gone as error:
            gone = error
            break
        if stop:
            last = reading  # a part of an interval: in the totals, but no peak, which a moment would exaggerate
            break
        parts = shares(last, reading)
        peaks = tuple(max((v for v in pair if v is not None), default=None) for pair in zip(peaks, parts, strict=True))
        seconds = reading.times[-1] - last.times[-1]
        last, lines = reading, lines + 1
        if as_json:
            yield json.dumps({"at": round(now(), 3), "seconds": round(seconds, 3)} | _nested(parts, 100))
        else:
            at = time.strftime("%H:%M:%S", time.localtime(now()))
            yield _row(at, [f"{seconds:.2f}", *_cells(parts, 100)])
    yield from _end(first, last, peaks, lines, as_json)
    if gone:
        raise gone


def shares(earlier: Reading, later: Reading) -> tuple[float | None, ...]:
    """The share of time 0..1 between two readings that each thing was stalled."""
    found: list[float | None] = []
    for before, after, start, end in zip(earlier.totals, later.totals, earlier.times, later.times, strict=True):
        if before is None or after is None:
            found.append(None)
        else:
            found.append(min(max(0.0, after - before) / (end - start), 1.0) if end > start else 0.0)
    return tuple(found)


def _end(first: Reading, last: Reading, peaks: tuple[float | None, ...], lines: int, as_json: bool) -> Iterator[str]:
    seconds = last.times[-1] - first.times[-1]
    average = shares(first, last)
    stalled = tuple(
        None if before is None or after is None else max(0.0, after - before)
        for before, after in zip(first.totals, last.totals, strict=True)
    )
    if as_json:
        head = {"lines": lines, "seconds": round(seconds, 3)}
        parts = {"peak": _nested(peaks, 100), "average": _nested(average, 100), "stalled": _nested(stalled, 1)}
        yield json.dumps(head | parts)
    else:
        yield _row("peak", ["", *_cells(peaks, 100)])
        yield _row("average", [f"{seconds:.2f}", *_cells(average, 100)])
        yield _row("stalled s", ["", *_cells(stalled, 1)])


def _nested(values: tuple[float | None, ...], factor: int) -> dict[str, dict[str, float | None]]:
    """Values by resource and line, as JSON has them."""
    found: dict[str, dict[str, float | None]] = {}
    for (resource, line), value in zip(TOLD, values, strict=True):
        found.setdefault(resource, {})[line] = None if value is None else round(value * factor, 3)
    return found


def _cells(values: tuple[float | None, ...], factor: int) -> list[str]:
    return ["-" if value is None else f"{value * factor:.2f}" for value in values]


def _row(label: str, cells: list[str]) -> str:
    return f"{label:9}" + " ".join(f"{cell:>11}" for cell in cells)


@contextmanager
def told_to_stop() -> Iterator[Callable[[float], bool]]:
    """Gives what waits so many seconds and is true if SIGINT or SIGTERM came: neither breaks a line in two."""
    signals = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield lambda seconds: signal.sigtimedwait(signals, seconds) is not None
    finally:
        while signal.sigtimedwait(signals, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
