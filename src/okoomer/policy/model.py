"""A policy as data: what the language compiles to and the engine runs."""

from __future__ import annotations

from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Condition: TypeAlias = "Comparison | Held | And | Or | Not | Somewhere"


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


class Scope(Record):
    """Which cgroups: `text` as written, and each path that it stands for as components from the root down, of which
    each is its text and, where that is a pattern, the pattern compiled (policy.select), else b"". The root has no
    components. With `relative` the paths begin at the cgroup that a rule is about. With a `tag` only those count that
    have an extended attribute of this name.
    """

    text: str
    paths: tuple[tuple[tuple[str, bytes], ...], ...]
    relative: bool = False
    tag: str = ""


class Somewhere(Record):
    """`any in "scope" (condition)`: true when the condition is true of one of the cgroups. Each of them has hold times
    of its own."""

    scope: Scope
    condition: Condition


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
    """A command that is run when something happens, by the courier, or as a `user` (by name); after `seconds` it is
    ended."""

    on: str
    command: tuple[str, ...]
    seconds: float = 20.0
    user: str = ""


class Amount(Record):
    """A size: bytes, or with `share` a share 0..1 of memory's total."""

    value: float
    share: bool = False


class Step(Record):
    """One rung of the ladder and how long to wait on it, in seconds, before the next; `command` is what `run` runs,
    `amount` what `shrink` takes away, or the share of one processor that `slow` leaves. With `times` a pause is no more
    than that: the unit runs again and the act is over, until it has been paused so by its rule so many times, one soon
    after the other (tentative.ANEW); then the next step comes instead."""

    kind: str
    seconds: float = 0.0
    command: tuple[str, ...] = ()
    amount: Amount | None = None
    times: int = 0


class Ratios(Record):
    """When rank size_or_growth takes somebody for its size or its growth: who has `dominant` (0..1) of what all have;
    else who is among the largest (above the `percentile`, 0..1) and is `growth` times its own moving average."""

    dominant: float = 0.5
    percentile: float = 0.8
    growth: float = 1.25


class Rule(Record):
    """One rule. `when_text` is the condition as its author wrote it; `line` is where the rule begins in its file.

    With a `scope` it is judged for each cgroup in it by itself. Units that are cgroups are sought `among` those, by
    default in the scope, or in the whole hierarchy; `descend` says how deep (see DESCENTS). `managed` is the setting of
    systemd units (see MANAGED) for whose cgroups this rule is a pattern: by itself it never fires. While it has fired
    memory is as short as `level` says (see events.model.Level); a rule with a level needs no steps.

    With `by` ("user" or "app") it takes only of those who hold more than their `share`, the one furthest over it first;
    without a share of the one who holds most (see policy.share).
    """

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
    scope: Scope | None = None
    among: Scope | None = None
    descend: str = "leaves"
    least_swap: Amount | None = None
    ratios: Ratios = Ratios()
    managed: str = ""
    level: int = 0
    by: str = ""
    share: Amount | None = None

    @property
    def kinds(self) -> frozenset[str]:
        """Of which kinds its steps are."""
        return frozenset(step.kind for step in self.steps)

    @property
    def only_warns(self) -> bool:
        """Whether it ends nobody, so that it stands in no other rule's way."""
        return all(step.kind in ("warn", "shrink", "turns") for step in self.steps)

    @property
    def takes_turns(self) -> bool:
        """Whether there is load control while it has fired."""
        return any(step.kind == "turns" for step in self.steps)

    @property
    def tentative(self) -> bool:
        """Whether its first answer takes nothing from anybody, and so may rest on weak evidence: then only who grows
        is taken, and nobody whom a moment's pause could harm."""
        return any(step.times for step in self.steps)

    @property
    def chooses(self) -> bool:
        """Whether somebody is chosen by its rank: not where it only warns, nor where the kernel chooses among all."""
        ends = ("run", "slow", "pause", "ask", "term", "kill", *(("oom",) if self.unit in ("auto", "cgroup") else ()))
        return any(step.kind in ends for step in self.steps)

    @property
    def of_cgroups(self) -> bool:
        """Whether whole cgroups are ranked, by what the kernel accounts to them."""
        return self.unit == "cgroup"


class Policy(Record):
    """Rules in order of urgency, most urgent first, and what holds for all of them.

    `hooks` are run and `notify` (names of events) is announced on the system bus by the courier. Every `report` seconds
    the state of memory is told; 0 is never. `pressure` is the file that psi.memory.* is read from, if not the
    machine's. With `prime` whom it would take first is first for the kernel's own killer, too, while memory is short.
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
    prime: bool = False

    @property
    def kinds(self) -> frozenset[str]:
        """Of which kinds the steps of its rules are."""
        return frozenset[str]().union(*(rule.kinds for rule in self.rules))

    @property
    def managed(self) -> bool:
        """Whether it has patterns for units, so that systemd is to be asked what those have set."""
        return any(rule.managed for rule in self.rules)

    @property
    def of_cgroups(self) -> bool:
        """Whether cgroups have to be read or ended for it. What that takes is loaded for such policies only."""
        selectors = [*self.prefer, *self.avoid, *self.spare, *self.supervisors]
        for rule in self.rules:
            if rule.scope or rule.among or rule.managed or rule.unit in ("cgroup", "auto"):
                return True
            if _is_somewhere(rule.when) or (rule.until and _is_somewhere(rule.until)):
                return True
            selectors += [*rule.prefer, *rule.avoid, *rule.spare]
        return any(selector.kind == "tag" for selector in selectors)

    @property
    def plain_hooks(self) -> tuple[tuple[str, tuple[str, ...], float, str], ...]:
        """The hooks as the courier takes them, which knows no policy: event, command, seconds, and user."""
        return tuple((hook.on, hook.command, hook.seconds, hook.user) for hook in self.hooks)

    @property
    def runs(self) -> bool:
        """Whether it wants commands run, things announced or others asked, so that it needs a courier."""
        return bool(self.hooks or self.notify or self.needs_rights)

    @property
    def needs_rights(self) -> bool:
        """Whether some of that can only be done with the guard's own rights: commands of an act, commands as somebody
        else, units of systemd."""
        return bool(
            any(hook.user for hook in self.hooks)
            or self.instead
            or self.managed
            or any(rule.instead for rule in self.rules)
            or self.kinds & {"run", "prekill"}
        )


def _is_somewhere(condition: Condition) -> bool:
    if isinstance(condition, (And, Or)):
        return any(map(_is_somewhere, condition.parts))
    if isinstance(condition, Held):
        return _is_somewhere(condition.condition)
    return _is_somewhere(condition.part) if isinstance(condition, Not) else isinstance(condition, Somewhere)


#: Whose holdings are summed up.
HOLDERS = ("user", "app")
UNITS = ("process", "group", "family", "auto", "cgroup")
RANKS = ("freed", "rss", "growth", "oom_score", "badness", "swap")
#: What only a cgroup has; of these ranks and of freed, rss, growth and swap cgroups can be.
CGROUP_RANKS = ("size_or_growth", "swap_unprotected", "pressure", "io_pressure", "pgscan", "io_cost")
#: How units are sought below the cgroups they are sought among: those themselves; of their children the best, of its
#: children the best, down to one that has none; or among all that have none, wherever they lie. One that ends as a
#: whole (memory.oom.group) counts as having none.
DESCENTS = ("no", "best", "leaves")
#: Settings of systemd units that a rule can be a pattern for (systemd.resource-control(5)); OOMRules is followed by a
#: colon and the name of a rule.
MANAGED = ("ManagedOOMSwap", "ManagedOOMMemoryPressure", "OOMRules")
#: Of these the unit is points, of the others bytes.
POINTED = ("oom_score", "badness")
STEPS = ("warn", "shrink", "turns", "run", "prekill", "slow", "pause", "ask", "term", "oom", "kill")
#: The names of levels, and what they are on the scale of org.freedesktop.LowMemoryMonitor.
LEVELS = {"low": 50, "medium": 100, "critical": 255}
SELECTORS = (
    "name", "exe", "cmdline", "environ", "cwd", "user", "unit", "cgroup", "cgroup1", "container", "pod", "tag",
)  # fmt: skip
#: What can be told besides: the command line of a victim, which may have to come from swap, and each time that the
#: kernel's own killer was at work, and oomd's line in the kernel's log for each kill.
TOLD = ("cmdline", "kernel_kills", "kmsg")
#: What a hook can be run on and what can be announced: events, and `killed`, a SIGKILL among the signals.
HAPPENINGS = (
    "warned", "level", "question", "closed", "paused", "resumed", "limited", "slowed", "eased", "chosen",
    "signalled", "killed", "died", "stuck", "refused",
)  # fmt: skip

CLASSES: dict[str, type[Record]] = {
    kind.__name__: kind
    for kind in (
        Comparison, Held, And, Or, Not, Scope, Somewhere, Selector, Points, Instead, Hook, Step, Amount, Ratios, Rule,
        Policy,
    )
}  # fmt: skip
