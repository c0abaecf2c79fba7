"""`python -m lab`: one cell, or all. Exit codes: 0 done, 1 a run failed, 2 bad input, 3 cannot run a guest here."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from lab import beside, matrix, stage, summary
from lab.daemons import EVERYBODY, contestant
from lab.matrix import Cell
from lab.run import Ending, Run, Swap, encoded, read
from lab.scenarios import SCENARIOS
from tests.vm import cache
from tests.vm.host import HostError
from tests.vm.qemu import QemuError

CHECKOUT = Path(__file__).parents[1]
OUT = CHECKOUT / "out" / "lab"
PUBLISHED = CHECKOUT / "lab" / "results" / "runs.jsonl"
DISK_MIB = 3000  # the image, a guest's disks, and what builds them


class Known(click.ParamType[str]):
    """A name from a table; whoever asks for another is told which there are."""

    def __init__(self, name: str, table: Mapping[str, object]) -> None:
        self.name = name
        self.table = table

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.table:
            self.fail(f"there is no {self.name} {value!r}; there are {', '.join(self.table)}", param, ctx)
        return str(value)


@contextmanager
def _guests() -> Iterator[None]:
    """What a machine lacks that cannot run guests is one line and exit code 3."""
    try:
        root = cache.root()
        while not root.exists():
            root = root.parent
        if (free := shutil.disk_usage(root).free >> 20) < DISK_MIB:
            raise HostError(
                f"{root} has {free} MiB left, and guests take up to {DISK_MIB}: make room, or set OKOOMER_CACHE"
            )
        yield
    except (HostError, QemuError, OSError) as error:
        print(f"lab: {str(error).splitlines()[0]}", file=sys.stderr)
        sys.exit(3)


@click.group()
def lab() -> None:
    """Measure OOM daemons where memory truly runs out: in a virtual machine, all in the same."""
    # As Ctrl-C does: whatever runs is ended and cleared away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@lab.command()
@click.argument("scenario", type=Known("scenario", SCENARIOS))
@click.argument("daemon", type=Known("daemon", EVERYBODY))
@click.option("--swap", type=click.Choice([swap.value for swap in Swap]), help="Default: the scenario's first.")
@click.option("--repeat", default=1, help="Its number among the repeats.", show_default=True)
@click.option("--point", default="", help="A point of the daemon's sweep.")
@click.option("--json", "as_json", is_flag=True, help="All that was seen, as one line.")
def run(scenario: str, daemon: str, swap: str | None, repeat: int, point: str, as_json: bool) -> None:
    """Run one SCENARIO with one DAEMON, and say what happened."""
    try:
        contestant(daemon, point)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--point") from None
    layout = Swap(swap) if swap else SCENARIOS[scenario].swaps[0]
    with _guests():
        done = stage.play(Cell(scenario, layout, daemon, repeat, point))
    if as_json:
        sys.stdout.buffer.write(encoded(done))
    else:
        Console().print(summary.of_run(done))
    if done.seen.ending is Ending.FAILED:
        sys.exit(1)


@lab.command("matrix")
@click.option("--quick", is_flag=True, help="What matters most, for okoomer and three peers.")
@click.option("--jobs", default=len(os.sched_getaffinity(0)), show_default=True, help="Guests at a time.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=OUT, show_default=True)
@click.option("--only", default="", metavar="REGEX", help="Cells with this in their name, such as 'S6 ' or ' oomd #1'.")
@click.option("--list", "listing", is_flag=True, help="Say which cells are missing, and run nothing.")
def matrix_command(quick: bool, jobs: int, out: Path, only: str, listing: bool) -> None:
    """Run every cell that is missing, or was made with another version of anything in it; then write the page."""
    runs = out / "runs.jsonl"
    with _guests():
        cells = [cell for cell in (matrix.quick() if quick else matrix.full()) if re.search(only, str(cell))]
        missing = matrix.missing(cells, read(runs), stage.key)
        print(f"{len(missing)} of {len(cells)} cells are missing", flush=True)
        if listing:
            print("\n".join(map(str, missing)))
            return
        failed = matrix.fill(missing, runs, jobs, lambda text: print(text, flush=True))
        matrix.compact(runs)
    _write_page(out / "scoreboard.html", read(runs))
    if failed:
        sys.exit(1)


@lab.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=OUT, show_default=True)
def publish(out: Path) -> None:
    """Make the runs in OUT the published ones: raw data, docs/scoreboard.md and docs/scoreboard.html."""
    from lab import table

    runs = out / "runs.jsonl"
    if not read(runs):
        print(f"lab: {runs} has no runs; `make lab` makes them", file=sys.stderr)
        sys.exit(2)
    matrix.compact(runs)
    PUBLISHED.parent.mkdir(exist_ok=True)
    shutil.copyfile(runs, PUBLISHED)
    (CHECKOUT / "docs/scoreboard.md").write_text(table.markdown(read(runs)), encoding="utf-8")
    _write_page(CHECKOUT / "docs/scoreboard.html", read(runs))


@lab.command()
@click.argument("recording", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.argument("picture", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--end", type=click.FloatRange(min=1), help="Where the axis of time ends, in seconds.")
def draw(recording: Path, picture: Path, end: float | None) -> None:
    """Draw the last run in RECORDING, which `run --json` printed, as PICTURE (SVG): what there was, who waited, and how
    late the screen was."""
    from lab.picture import svg

    try:
        runs = read(recording)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{recording} has something else than runs: {error}", param_hint="RECORDING") from None
    if not runs or not runs[-1].seen.memory:
        raise click.BadParameter(f"{recording} has no run that was seen", param_hint="RECORDING")
    picture.write_text(svg(runs[-1], end), encoding="utf-8")


@lab.command("beside")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=OUT, show_default=True)
def beside_command(out: Path) -> None:
    """Print the table of the scenes that only some daemons play, from the runs in OUT."""
    print(beside.table(read(out / "runs.jsonl")), end="")


def _write_page(path: Path, runs: list[Run]) -> None:
    from lab import page  # the charts' library takes a second to import, in which a guest would wait

    path.write_text(page.html(runs), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    try:
        lab.main(prog_name="python -m lab")
    except KeyboardInterrupt:
        sys.exit(130)
