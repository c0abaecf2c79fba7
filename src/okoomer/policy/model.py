"""A policy as data: what the language compiles to and the engine runs."""

from __future__ import annotations

from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Condition: TypeAlias = "Comparison | Held | And | Or | Not"


class Comparison(Record):
    """`metric operator threshold [over window]`.

    `threshold` is in the metric's own unit (bytes, seconds, share 0..1, bytes or events per second), or, with `share`,
    a share 0..1 of the metric's total. `over` is the window in seconds for stalls and flows, 0 for levels.
    """

    metric: str
    operator: str
    threshold: float
    share: bool = False
    over: float = 0.0


class Held(Record):
    """`condition for seconds`: true once the condition has been true that long without a break."""

    condition: Condition
    seconds: float


class And(Record):
    """True when all parts are."""

    parts: tuple[Condition, ...]


class Or(Record):
    """True when one part is."""

    parts: tuple[Condition, ...]


class Not(Record):
    """True when the part is false; unknown when the part is unknown."""

    part: Condition


class Selector(Record):
    """`kind:pattern`, and the pattern compiled (see policy.select)."""

    kind: str
    pattern: str
    code: tuple[int, ...] = ()


class Step(Record):
    """One rung of the ladder and how long to wait on it, in seconds, before the next."""

    kind: str
    seconds: float = 0.0


class Amount(Record):
    """A size: bytes, or with `share` a share 0..1 of memory's total."""

    value: float
    share: bool = False


class Rule(Record):
    """One rule. `when_text` is the condition as its author wrote it; `line` is where the rule begins in its file."""

    name: str
    when: Condition
    when_text: str
    until: Condition | None = None
    until_text: str = ""
    unit: str = "family"
    rank: str = "freed"
    prefer: tuple[Selector, ...] = ()
    avoid: tuple[Selector, ...] = ()
    spare: tuple[Selector, ...] = ()
    steps: tuple[Step, ...] = (Step("kill"),)
    rest: float = 0.0
    target: Amount | None = None
    least: Amount | None = None
    line: int = 0

    @property
    def only_warns(self) -> bool:
        """Whether it ends nobody, so that it stands in no other rule's way."""
        return all(step.kind == "warn" for step in self.steps)


class Policy(Record):
    """Rules in order of urgency, most urgent first, and the selectors that hold for all of them."""

    name: str
    rules: tuple[Rule, ...]
    prefer: tuple[Selector, ...] = ()
    avoid: tuple[Selector, ...] = ()
    spare: tuple[Selector, ...] = ()
    supervisors: tuple[Selector, ...] = ()


UNITS = ("process", "family")
RANKS = ("freed", "rss", "growth", "oom_score", "swap")
STEPS = ("warn", "term", "kill")
SELECTORS = ("name", "exe", "cmdline", "user", "unit", "cgroup")

CLASSES: dict[str, type[Record]] = {
    kind.__name__: kind
    for kind in (Comparison, Held, And, Or, Not, Selector, Step, Amount, Rule, Policy)
}  # fmt: skip
