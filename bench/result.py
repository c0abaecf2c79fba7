"""What a benchmark returns, as a table and as JSON."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass, field

from rich.table import Table

SUBJECT = "okoomer"


@dataclass
class Measure:
    """Samples of one quantity for each contestant; less is better, infinite is "not in time"."""

    name: str
    unit: str
    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, who: str, value: float) -> None:
        self.samples[who].append(value)

    def median(self, who: str) -> float:
        return statistics.median(self.samples[who])

    def cell(self, who: str) -> str:
        """Median and, of several samples, the worst."""
        if not self.samples.get(who):
            return ""
        if len(self.samples[who]) == 1:
            return _figure(self.median(who))
        return f"{_figure(self.median(who))} ({_figure(max(self.samples[who]))})"

    def ratio(self, peer: str) -> str:
        """okoomer's median to the peer's."""
        if peer == SUBJECT or not self.samples.get(SUBJECT) or not self.samples.get(peer):
            return ""
        mine, theirs = self.median(SUBJECT), self.median(peer)
        if math.isinf(mine) or math.isinf(theirs) or theirs == 0:
            return ""
        return f"{mine / theirs:.2f}"

    def as_json(self) -> dict[str, object]:
        samples = {
            who: [None if math.isinf(value) else value for value in values] for who, values in self.samples.items()
        }
        return {"name": self.name, "unit": self.unit, "samples": samples}


def _figure(value: float) -> str:
    if math.isinf(value):
        return "never"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def table(title: str, measures: list[Measure]) -> Table:
    """Median (worst) of each contestant, and okoomer's ratio to each peer."""
    names = list(dict.fromkeys(who for measure in measures for who in measure.samples))
    peers = [who for who in names if who != SUBJECT] if SUBJECT in names else []
    result = Table(title=f"{title}: median (worst)", title_justify="left")
    result.add_column("measure")
    result.add_column("unit")
    for name in names:
        result.add_column(name, justify="right")
    for peer in peers:
        result.add_column(f"/ {peer}", justify="right")
    for measure in measures:
        cells = [measure.cell(name) for name in names] + [measure.ratio(peer) for peer in peers]
        result.add_row(measure.name, measure.unit, *cells)
    return result
