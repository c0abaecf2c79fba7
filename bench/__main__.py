"""`python -m bench [NAME...]`: run benchmarks, print one table each. Needs root; kills only inside boxes."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from bench import cgroups, death, footprint, ramps, reaction, roles, scan, tellers, telling
from bench.daemons import Daemon, contestants
from bench.result import SUBJECT, Measure, table

BENCHES: dict[str, Callable[[list[Daemon], int | None], list[Measure]]] = {
    "reaction": reaction.run,
    "ramps": ramps.run,
    "scan": scan.run,
    "footprint": footprint.run,
    "death": death.run,
    "roles": roles.run,
    "cgroups": cgroups.run,
    "telling": telling.run,
    "tellers": tellers.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure okoomer beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; all by default")
    parser.add_argument("--trials", type=int, help="instead of each benchmark's own number")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples to FILE")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if os.geteuid():
        print("the boxes need root", file=sys.stderr)
        return 3
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the boxes are cleared away
    console = Console(width=None if sys.stdout.isatty() else 140)
    results: dict[str, list[Measure]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        daemons = contestants(Path(work))
        if SUBJECT not in [daemon.name for daemon in daemons]:
            console.print("okoomer is not installed here: its peers alone")
        for name in arguments.names or BENCHES:
            results[name] = BENCHES[name](daemons, arguments.trials)
            console.print(table(name, results[name]))
    if arguments.json:
        samples = {name: [measure.as_json() for measure in measures] for name, measures in results.items()}
        arguments.json.write_text(json.dumps(samples, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
