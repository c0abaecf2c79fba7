"""`okoomer sort`: the processes in a table, whose end would give most memory back on top."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable

import click
from rich.cells import cell_len

from okoomer.cli import place
from okoomer.events.text import harmless
from okoomer.kernel import clock, process
from okoomer.kernel.files import read
from okoomer.kernel.machine import LIVE
from okoomer.record import Record, replace
from okoomer.units import MIB


class Row(Record):
    """One process. Sizes in bytes, `age` in seconds; `freed` is what its end would give back: anonymous memory, swap,
    and shared memory beyond what anybody else maps. `command` is empty until it is asked for."""

    pid: int
    name: str
    user: int
    oom_score: int
    adjustment: int
    rss: int
    swap: int
    anon: int
    file: int
    shmem: int
    freed: int
    age: float
    threads: int
    command: str = ""


class Column(Record):
    """A column and key of the table: its value, what stands behind a number (None: it is text), and whether the least
    comes first. `name` is what JSON calls it."""

    name: str
    value: Callable[[Row], int | str]
    unit: str | None = ""
    ascending: bool = False


COLUMNS = {
    "oom_score": Column("oom_score", lambda row: row.oom_score),
    "oom_score_adj": Column("oom_score_adj", lambda row: row.adjustment),
    "UID": Column("uid", lambda row: row.user),
    "PID": Column("pid", lambda row: row.pid, ascending=True),
    "Name": Column("name", lambda row: row.name, unit=None, ascending=True),
    "VmRSS": Column("rss", lambda row: row.rss, unit=" M"),
    "VmSwap": Column("swap", lambda row: row.swap, unit=" M"),
    "freed": Column("freed", lambda row: row.freed, unit=" M"),
    "anon": Column("anon", lambda row: row.anon, unit=" M"),
    "file": Column("file", lambda row: row.file, unit=" M"),
    "shmem": Column("shmem", lambda row: row.shmem, unit=" M"),
    "age": Column("age", lambda row: int(row.age), unit=" s"),
    "threads": Column("threads", lambda row: row.threads),
    "cmdline": Column("cmdline", lambda row: row.command, unit=None, ascending=True),
}
#: Those that are always shown, before the command line; any other is added while it is the key.
SHOWN = ("oom_score", "oom_score_adj", "UID", "PID", "Name", "VmRSS", "VmSwap", "freed")


@click.command()
@click.option("-n", "--num", type=click.IntRange(min=0), metavar="NUM", help="So many processes at most.")
@click.option(
    "-l",
    "--len",
    "length",
    type=click.IntRange(min=0),
    metavar="LENGTH",
    help="So much of each command line at most; 0 hides it, and then none is read. "
    "Default: all of it, or what fits on the terminal.",
)
@click.option(
    "-s",
    "--sort",
    "key",
    type=click.Choice(list(COLUMNS), case_sensitive=False),
    default="freed",
    metavar="KEY",
    help=f"The column to sort by, freed if none is named: {', '.join(COLUMNS)}. "
    "Greatest first; PID, Name and cmdline from the least on.",
)
@place.json_option
def command(num: int | None, length: int | None, key: str, as_json: bool) -> None:
    """Show the processes, sorted by what their end would give back.

    `freed` is anonymous memory, swap, and shared memory that nobody else maps. Sizes are in MiB; in JSON they are
    bytes. PID 1, the kernel's own threads and zombies are left out.

    \b
    Example:
      okoomer sort -n 10
      okoomer sort -s oom_score        in the kernel's own order
      okoomer sort -s VmSwap -l 0      who is in swap; reads no command lines
    """
    rows = processes(LIVE.proc, clock.since_boot())
    seen = len(rows)
    if key == "cmdline":
        rows = [with_command(LIVE.proc, row) for row in rows]
    rows = ordered(rows, key)[:num]
    if key != "cmdline" and length != 0:
        rows = [with_command(LIVE.proc, row) for row in rows]
    if as_json:
        click.echo(json.dumps({"sort": key, "seen": seen, "processes": [as_plain(row, length) for row in rows]}))
        return
    width = shutil.get_terminal_size().columns if length is None and sys.stdout.isatty() else None
    click.echo("\n".join(table(rows, key, length, width)))


def processes(proc: str, now: float) -> list[Row]:
    """All processes but PID 1, the kernel's threads and zombies, without their command lines. Four small files of each
    are read. Who goes away meanwhile is left out.

    Args:
        proc: Where /proc is.
        now: Seconds since boot.

    Raises:
        OSError: /proc cannot be listed.
    """
    found = [row for pid in process.pids(proc) if (row := look(proc, int(pid), now))]
    shared = sorted((row.shmem for row in found), reverse=True)[:2]
    greatest, second = (*shared, 0, 0)[:2]
    rows = []
    for row in found:
        others = second if row.shmem == greatest else greatest
        freed = row.anon + row.swap + max(0, row.shmem - others)
        if row.pid != 1:
            rows.append(replace(row, freed=freed))
    return rows


def look(proc: str, pid: int, now: float) -> Row | None:
    """One process, `freed` still 0; None for what has no memory: a kernel thread, a zombie, one that is gone."""
    try:
        stat = process.stat(proc, pid)
        if stat.kernel_thread or stat.state == "X" or (stat.state == "Z" and stat.threads < 2):
            return None
        status = process.parse_status(process.status(proc, process.source(proc, pid, stat)))
    except (OSError, ValueError, IndexError):
        return None
    return Row(
        pid=pid,
        name=stat.name,
        user=status.user,
        oom_score=process.number(proc, pid, "oom_score"),
        adjustment=process.number(proc, pid, "oom_score_adj"),
        rss=status.anon + status.file + status.shmem,
        swap=status.swap,
        anon=status.anon,
        file=status.file,
        shmem=status.shmem,
        freed=0,
        age=max(0.0, now - stat.started),
        threads=stat.threads,
    )


def with_command(proc: str, row: Row) -> Row:
    """The row with the process's command line, however long, spaces between the arguments."""
    path = f"{proc}/{row.pid}/cmdline"
    try:
        text = read(path)
        if len(text) == 4096:
            with open(path, "rb") as file:  # noqa: PTH123
                text = file.read()
    except OSError:
        return row
    return replace(row, command=process.text_of(text.replace(b"\0", b" ").strip()))


def ordered(rows: list[Row], key: str) -> list[Row]:
    """The rows by a column; among equals, who frees more comes first, then the lower PID."""
    column = COLUMNS[key]
    by_freed = sorted(rows, key=lambda row: (-row.freed, row.pid))
    if column.unit is None:
        return sorted(by_freed, key=lambda row: str(column.value(row)))
    return sorted(by_freed, key=lambda row: int(column.value(row)), reverse=not column.ascending)


def as_plain(row: Row, length: int | None) -> dict[str, int | str]:
    """A row as JSON has it, sizes in bytes, without the command line if that is hidden."""
    plain = {column.name: column.value(row) for column in COLUMNS.values()}
    command_line = str(plain.pop("cmdline"))
    return plain if length == 0 else plain | {"cmdline": command_line[:length]}


def table(rows: list[Row], key: str, length: int | None, width: int | None) -> list[str]:
    """The lines of the table, numbers to the right.

    Args:
        length: Cells of each command line at most; 0 leaves the column out.
        width: Cells of a line at most, where there is such a limit; the command line gives way.
    """
    titles = [*SHOWN, *({key} - {*SHOWN, "cmdline"})]
    lines = [""] * (len(rows) + 1)
    for title in titles:
        column = COLUMNS[title]
        cells = [title, *(_cell(column, row) for row in rows)]
        widest = max(map(cell_len, cells))
        for index, cell in enumerate(cells):
            gap = " " * (widest - cell_len(cell))
            lines[index] += (" " if lines[index] else "") + (cell + gap if column.unit is None else gap + cell)
    if length != 0:
        room = length
        if width is not None:
            room = max(0, width - cell_len(lines[0]) - 1)
        for index, text in enumerate(["cmdline", *(row.command for row in rows)]):
            lines[index] += " " + (fitting(text, room) if index else text)
    return [line.rstrip() for line in lines]


def _cell(column: Column, row: Row) -> str:
    value = column.value(row)
    if isinstance(value, str):
        return harmless(value)
    return f"{round(value / MIB) if column.unit == ' M' else value}{column.unit}"


def fitting(text: str, room: int | None) -> str:
    """Text made harmless, and as much of it as fits into `room` cells; no escape is cut in two."""
    if room is None:
        return harmless(text)
    cut = text[:room]
    if cut.isascii() and harmless(cut) == cut:
        return cut
    kept = ""
    for c in cut:
        piece = harmless(c)
        room -= cell_len(piece)
        if room < 0:
            break
        kept += piece
    return kept
