"""What explains a difference: the fewest things that okoomer does on purpose otherwise than its peer.

A peer is described once, by a function that decides on a world as that peer does. Each thing that is different on
purpose has a name, and the function can be asked to decide with any of them done as okoomer does it. With none it has
to say what the peer did, always; a difference is explained by the fewest with which it says what okoomer says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

Mended = frozenset[str]


@dataclass(frozen=True)
class Outcome:
    """What a daemon makes of a world: "refuses" its options, "rests", or "acts" with a signal on a process (None: it
    finds nobody)."""

    does: str
    signal: str = ""
    pid: int | None = None


@dataclass
class Tally:
    """What has been counted: outcomes of both, explanations, and what is left without one."""

    outcomes: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)

    def add(
        self, world: str, peer: Outcome, ours: Outcome, decide: Callable[[Mended], Outcome], names: Sequence[str]
    ) -> None:
        """Counts one world.

        Args:
            world: The world in words, for whom it may concern.
            decide: What the peer would do with some things mended.
            names: Of all things that are different on purpose.
        """
        self.outcomes["alike" if peer == ours else "different"] += 1
        self.outcomes[f"okoomer {_told(ours)}"] += 1
        if decide(frozenset()) != peer:
            self.unexplained.append(f"{peer}, described as {decide(frozenset())}; okoomer: {ours}; {world}")
        elif (found := decide(frozenset(names))) != ours:
            self.unexplained.append(f"{peer}; okoomer: {ours}, described as {found}; {world}")
        elif peer != ours:
            mended = next(some for some in _subsets(names) if decide(some) == ours)
            self.explained[" and ".join(sorted(mended))] += 1

    def told(self) -> str:
        """All counts, and the first of what is not explained."""
        lines = [f"{self.outcomes.total() // 2} worlds"]
        lines += [f"  {count:5} {what}" for what, count in self.outcomes.most_common()]
        lines += ["explained:", *(f"  {count:5} {what}" for what, count in self.explained.most_common())]
        lines += [f"without explanation: {len(self.unexplained)}", *self.unexplained[:8]]
        return "\n".join(lines)


def _told(outcome: Outcome) -> str:
    if outcome.does != "acts":
        return outcome.does
    return f"sends {outcome.signal}" if outcome.pid else "finds nobody"


def _subsets(names: Iterable[str]) -> Iterator[Mended]:
    known = list(names)
    for size in range(1, len(known) + 1):
        yield from map(frozenset, combinations(known, size))
