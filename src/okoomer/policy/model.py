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
    """`kind:pattern`, where all of a text must match, or `kind~pattern`, where a part of it must; and the pattern
    compiled (see policy.select)."""

    kind: str
    pattern: str
    code: bytes = b""
    part: bool = False

    @property
    def written(self) -> str:
        """As its author wrote it."""
        return f"{self.kind}{'~' if self.part else ':'}{self.pattern}"


class Points(Record):
    """What a selector adds to the score of a process that it names: bytes, or with rank badness plain points."""

    value: float
    selector: Selector


class Instead(Record):
    """A command that asks those whom a selector names to end, in place of SIGTERM."""

    selector: Selector
    command: tuple[str, ...]


class Hook(Record):
    """A command that is run when something happens, by the courier; after `seconds` it is ended."""

    on: str
    command: tuple[str, ...]
    seconds: float = 20.0


class Step(Record):
    """One rung of the ladder and how long to wait on it, in seconds, before the next; `command` is what `run` runs."""

    kind: str
    seconds: float = 0.0
    command: tuple[str, ...] = ()


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
    points: tuple[Points, ...] = ()
    instead: tuple[Instead, ...] = ()
    steps: tuple[Step, ...] = (Step("kill"),)
    rest: float = 0.0
    target: Amount | None = None
    least: Amount | None = None
    least_score: float = 0.0
    raised: bool = True
    line: int = 0

    @property
    def only_warns(self) -> bool:
        """Whether it ends nobody, so that it stands in no other rule's way."""
        return all(step.kind == "warn" for step in self.steps)

    @property
    def chooses(self) -> bool:
        """Whether somebody is chosen by its rank: not where it only warns, nor where the kernel chooses."""
        return any(step.kind in ("run", "term", "kill") for step in self.steps)


class Policy(Record):
    """Rules in order of urgency, most urgent first, and what holds for all of them.

    `hooks` are run and `notify` (names of events) is announced on the system bus by the courier. Every `report` seconds
    the state of memory is told; 0 is never. `pressure` is the file that psi.memory.* is read from, if not the
    machine's.
    """

    name: str
    rules: tuple[Rule, ...]
    prefer: tuple[Selector, ...] = ()
    avoid: tuple[Selector, ...] = ()
    spare: tuple[Selector, ...] = ()
    supervisors: tuple[Selector, ...] = ()
    points: tuple[Points, ...] = ()
    instead: tuple[Instead, ...] = ()
    hooks: tuple[Hook, ...] = ()
    notify: tuple[str, ...] = ()
    report: float = 0.0
    pressure: str = ""
    tell: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether it wants commands run or things announced, so that it needs a courier."""
        return bool(
            self.hooks
            or self.notify
            or self.instead
            or any(rule.instead or any(step.kind == "run" for step in rule.steps) for rule in self.rules)
        )


UNITS = ("process", "group", "family")
RANKS = ("freed", "rss", "growth", "oom_score", "badness", "swap")
#: Of these the unit is points, of the others bytes.
POINTED = ("oom_score", "badness")
STEPS = ("warn", "run", "term", "oom", "kill")
SELECTORS = ("name", "exe", "cmdline", "environ", "cwd", "user", "unit", "cgroup", "cgroup1")
#: What can be told besides: the command line of a victim, which may have to come from swap, and each time that the
#: kernel's own killer was at work.
TOLD = ("cmdline", "kernel_kills")
#: What a hook can be run on and what can be announced: events, and `killed`, a SIGKILL among the signals.
HAPPENINGS = ("warned", "chosen", "signalled", "killed", "died", "stuck", "refused")

CLASSES: dict[str, type[Record]] = {
    kind.__name__: kind
    for kind in (Comparison, Held, And, Or, Not, Selector, Points, Instead, Hook, Step, Amount, Rule, Policy)
}  # fmt: skip
