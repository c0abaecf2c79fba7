"""The engine: snapshots in, verdicts out. A pure state machine without clock, file or global.

The guard, `why --machine`, `check` and every test run this one; there is no other place where a condition is judged.
Truth has three values: a condition about something that this machine does not offer is unknown, and a rule acts only
on what is true.

A rule with a scope is judged for each of its cgroups by itself, and what is remembered of one (how long something has
held, whether it has fired, until when it rests) never passes to another, nor to a later one of the same name.
"""

from __future__ import annotations

from okoomer.policy.ahead import CLOSELY, FILL_RATE, GLANCE, SCOPE_GLANCE, SWAP_FILL_RATE, Ahead
from okoomer.policy.judge import Group, Judge, State, Tree
from okoomer.policy.metrics import CANARY, METRICS
from okoomer.policy.model import Comparison, Held, Not, Somewhere
from okoomer.policy.places import Place
from okoomer.policy.readings import FORECAST_WINDOW, Readings
from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterator

    from okoomer.facts import Cgroup, Snapshot
    from okoomer.policy.model import Condition, Policy, Rule
    from okoomer.policy.places import Track

__all__ = (
    "CLOSELY", "FILL_RATE", "FIRED", "FORECAST_WINDOW", "GLANCE", "HOLDING", "QUIET", "SCOPE_GLANCE",
    "SWAP_FILL_RATE", "Engine", "RuleVerdict", "Verdict", "comparisons", "inside",
)  # fmt: skip

QUIET, HOLDING, FIRED = "quiet", "holding", "fired"
#: A rule without steps does nothing but say how short memory is, so that it may say so this many seconds late; and if
#: memory falls so fast that another look in between would matter, it leaves those who listen no time anyway.
LEISURE, HASTE = 2.0, 2.0
#: And one that has others take turns looks ahead by itself, so that it may begin so many seconds late.
SOON = 0.1
#: Seconds before a rule about the canary can fire at which asking it begins: as long as what it says counts.
HEED = 2.0


class RuleVerdict(Record):
    """A rule at one instant; `values` are its metrics with their readings in bytes, seconds and shares.

    `target` is the path of the cgroup whose state and values these are: of all that the rule is about, the one that
    has come furthest. `fired` are the paths of those for which it has fired, that one first.
    """

    name: str
    state: str
    values: tuple[tuple[str, float | None], ...]
    target: str = ""
    fired: tuple[str, ...] = ()


class Verdict(Record):
    """What the policy says of one snapshot.

    `act` is the index of the rule that acts, `target` the cgroup that it acts about if it has a scope; `warnings` are
    the rules that only warn and do so now, each with its cgroup. `soonest` is the seconds before which no rule that has
    not fired can fire, however fast memory fills, or which are soon enough for one that has no steps. `asks`: how late
    the canary is may matter soon, so somebody should ask it now.
    """

    time: float
    rules: tuple[RuleVerdict, ...]
    act: int | None
    warnings: tuple[tuple[int, Cgroup | None], ...]
    soonest: float
    target: Cgroup | None = None
    asks: bool = False


class Engine:
    """Runs a policy over successive snapshots.

    With `triggers` somebody else (the kernel's pressure triggers) tells when a stall begins, so `soonest` need not
    allow for one that begins unseen.
    """

    def __init__(self, policy: Policy, triggers: bool = False) -> None:
        self._readings = Readings()
        self._judge = Judge(self._readings)
        self._ahead = Ahead(self._judge, triggers)
        self._places: dict[str, Place] = {}
        self._rules: list[_RuleState] = []
        #: What `wanted` has taken in already.
        self._taken: Snapshot | None = None
        self.adopt(policy)

    def adopt(self, policy: Policy) -> None:
        """Goes by another policy from now on. What is remembered of rules that are in both stays."""
        before = {state.rule: state for state in self._rules}
        self.policy = policy
        self._ahead.own_pressure = bool(policy.pressure)
        self._rules = [
            before.pop(rule) if rule in before else _RuleState(rule, self._place_of) for rule in policy.rules
        ]
        named = {place.text for state in self._rules for place in state.places}
        self._places = {text: place for text, place in self._places.items() if text in named}
        for state in self._rules:
            for node in state.comparisons:
                assert isinstance(node.condition, Comparison)
                if node.place:
                    node.place.watch(node.condition)
                elif not METRICS[node.condition.metric].of_cgroup:
                    self._readings.watch(node.condition)

    @property
    def triggers(self) -> bool:
        return self._ahead.triggers

    @triggers.setter
    def triggers(self, there: bool) -> None:
        self._ahead.triggers = there

    @property
    def fill_rate(self) -> float:
        """Bytes per second by which memory of this machine can fall, at most FILL_RATE."""
        return self._ahead.fill_rate

    @fill_rate.setter
    def fill_rate(self, rate: float) -> None:
        self._ahead.fill_rate = rate

    def wanted(self, snapshot: Snapshot) -> frozenset[str]:
        """The texts of the scopes that have to be read to judge an instant, of which the snapshot tells only what the
        machine is like; the next `step` is about the same instant. Of the others nothing can come now, and nothing
        that would have to be remembered."""
        self._take(snapshot)
        self._taken = snapshot
        return self._wanted()

    def step(self, snapshot: Snapshot, acting: bool = False, passed_over: Container[object] = ()) -> Verdict:
        """The verdict on the next snapshot.

        Args:
            snapshot: Its time must not be before that of the last one.
            acting: An act is in flight: no rule starts another, and rests begin when it ends.
            passed_over: Rules that found nobody worth ending a moment ago: less urgent ones may. Instead of an index it
                can be one and the inode of a cgroup: then the rule may act about others.
        """
        taken, self._taken = self._taken, None
        if taken is None or (taken.time, taken.memory) != (snapshot.time, snapshot.memory):
            self._take(snapshot)
        self._look(snapshot)
        verdicts, act, target, warnings, soonest, asks = [], None, None, [], float("inf"), False
        for index, state in enumerate(self._rules):
            rule = state.rule
            if rule.managed:
                verdicts.append(RuleVerdict(rule.name, QUIET, ()))
                continue
            state.judge(self._judge)
            fired = state.fired(self._judge)
            for one in fired if rule.steps else ():
                rested = snapshot.time >= one.rested
                cgroup = one.track.cgroup if one.track else None
                if state.warns and rested:
                    # A warning stands in nobody's way, and without a rest it is given once.
                    warnings.append((index, cgroup))
                    one.rested = snapshot.time + rule.rest if rule.rest else float("inf")
                elif not state.warns and acting:
                    one.rested = snapshot.time + rule.rest
                elif not state.warns and rested and act is None and not _is_among(passed_over, index, cgroup):
                    act, target = index, cgroup
                    one.rested = snapshot.time + rule.rest
            verdicts.append(self._said(state, fired))
            ahead = self._soonest(state)
            soonest = min(soonest, ahead)
            asks = asks or (state.of_canary and (bool(fired) or ahead <= HEED))
        return Verdict(snapshot.time, tuple(verdicts), act, tuple(warnings), soonest, target, asks)

    def forgo(self, index: int, target: Cgroup | None) -> None:
        """The act of the last verdict was not begun: its rule need not rest from it."""
        state = self._rules[index]
        one = state.group.states.get(target.inode) if state.group and target else state.common
        if one:
            one.rested = float("-inf")

    def value(self, metric: str, over: float = 0.0) -> float | None:
        """The present value of a metric of the machine: bytes, shares, seconds, or per second over a window."""
        return self._readings.value(metric, over)

    def holding(self, rule: Rule, target: Cgroup | None = None) -> Iterator[Comparison]:
        """The comparisons of a rule's `when` that hold at present, of a cgroup where the rule has a scope; those of an
        `any in` if they hold for any of its cgroups."""
        state = next(state for state in self._rules if state.rule == rule)
        track = state.group.place.tracks.get(target.inode) if state.group and target else None
        for node in state.when.nodes:
            if isinstance(node.condition, Comparison):
                within = state.within.get(node)
                tracks = [one.track for one in within.states.values()] if within else [track]
                if any(self._judge.holds(node.condition, one) for one in tracks):
                    yield node.condition

    # --- what is read -------------------------------------------------------------------------------------------

    def _place_of(self, text: str) -> Place:
        if text not in self._places:
            self._places[text] = Place(text)
        return self._places[text]

    def _take(self, snapshot: Snapshot) -> None:
        if self._readings.take(snapshot):
            for place in self._places.values():
                place.forget()
            for state in self._rules:
                state.forget_holds()

    def _wanted(self) -> frozenset[str]:
        wanted: set[str] = set()
        for state in self._rules:
            if not state.places or state.rule.managed or all(place.text in wanted for place in state.places):
                continue
            if state.is_under_way or self._ahead.needs(state.trees, state.common):
                wanted.update(place.text for place in state.places)
        return frozenset(wanted)

    def _look(self, snapshot: Snapshot) -> None:
        scoped = dict(snapshot.scoped)
        absent = [text for text in self._places if text not in scoped]
        wanted = self._wanted() if absent else frozenset()
        for text, place in self._places.items():
            if text in scoped:
                place.take(snapshot.time, scoped[text])
            elif text in wanted:
                place.lose()
            else:
                place.pass_by(snapshot.time)

    # --- what is said -------------------------------------------------------------------------------------------

    def _said(self, state: _RuleState, fired: list[State]) -> RuleVerdict:
        name, common = state.rule.name, state.common
        if state.group is None:
            said = FIRED if common.fired else HOLDING if common.holding else QUIET
            return RuleVerdict(name, said, self._values(state, None))
        holding = [one for one in state.group.timed.values() if one.holding]
        said = FIRED if fired else HOLDING if holding or common.holding else QUIET
        shown = fired[0] if fired else state.furthest(self._judge, holding)
        values = self._values(state, shown.track if shown else None)
        return RuleVerdict(name, said, values, shown.path if shown else "", tuple(one.path for one in fired))

    def _values(self, state: _RuleState, track: Track | None) -> tuple[tuple[str, float | None], ...]:
        values: dict[str, float | None] = {}
        for node in state.comparisons:
            comparison, within = node.condition, state.within.get(node)
            assert isinstance(comparison, Comparison)
            if comparison.metric not in values:
                one = within.furthest(self._judge) if within else None
                about = (one.track if one else None) if within else track
                values[comparison.metric] = self._judge.value(comparison, about)
        return tuple(values.items())

    def _soonest(self, state: _RuleState) -> float:
        if state.group is None and state.common.fired:
            return float("inf")
        soonest = self._ahead.soonest(state.when.root, state.common, state.group)
        if state.rule.takes_turns:
            return max(SOON, soonest)
        if state.rule.steps or state.common.holding or state.is_under_way:
            return soonest
        return max(LEISURE, HASTE * soonest)


class _RuleState:
    """What the engine remembers of one rule: of the machine in `common`; with a scope, of each cgroup in `group`."""

    def __init__(self, rule: Rule, place_of: Callable[[str], Place]) -> None:
        self.rule = rule
        self.warns = rule.only_warns
        place = place_of(rule.scope.text) if rule.scope else None
        self.when = Tree(rule.when, place, place_of)
        self.group = Group(place, self.when.root) if place else None
        self.until = Tree(rule.until, place, place_of) if rule.until is not None else None
        self.trees = (self.when, self.until) if self.until else (self.when,)
        self.common = State()
        self._fired: dict[int, State] = {}
        nodes = [node for tree in self.trees for node in tree.nodes]
        self.comparisons = [node for node in nodes if isinstance(node.condition, Comparison)]
        self.of_canary = names_canary(rule)
        #: By comparison the innermost `any in` that it stands in.
        self.within = {leaf: node.group for node in nodes if node.group for leaf in node.walk()}
        self._groups = list(dict.fromkeys((*([self.group] if self.group else ()), *self.within.values())))
        self.places = [group.place for group in self._groups]

    @property
    def is_under_way(self) -> bool:
        """Whether it has fired, or may for a cgroup though nothing moves, as when a hold has begun."""
        return self.common.fired or bool(self._fired) or any(group.timed for group in self._groups)

    def judge(self, judge: Judge) -> None:
        """Judges all that may have changed."""
        when, until, common, group = self.when, self.until, self.common, self.group
        if until:
            judge.settle(until, common)
        common.holding = False
        judge.settle(when, common)
        now = judge.readings.snapshot.time
        if group is None:
            self._turn(common, when.root.truth is True, until is not None and until.root.truth is True, now)
            return
        if group.place.lost:
            group.clear()
            self._fired.clear()
        if not group.place.read_now:
            return
        for one in group.due(judge.stamp([node for tree in self.trees for node in tree.fixed])):
            well = until is not None and judge.truth(until.root, one, one.track) is True
            one.holding = False
            true = judge.truth(when.root, one, one.track) is True
            self._turn(one, true, well, now)
            one.again = well if one.fired else true
            group.judged(one)
        if self._fired:
            self._fired = {inode: one for inode, one in self._fired.items() if group.states.get(inode) is one}

    def _turn(self, one: State, true: bool, well: bool, now: float) -> None:
        # Hysteresis: what has fired goes on until the machine is well again, not merely better.
        fired = not well if one.fired and self.until else true
        if fired == one.fired:
            return
        one.fired = fired
        one.began = now if fired else float("inf")
        if self.warns and not self.rule.rest and not fired:
            one.rested = float("-inf")
        if self.group and one.track:
            self.group.turns += 1
            if fired:
                self._fired[one.track.inode] = one
            else:
                self._fired.pop(one.track.inode, None)

    def fired(self, judge: Judge) -> list[State]:
        """For whom it has fired, the worst first."""
        if self.group is None:
            return [self.common] if self.common.fired else []
        return judge.sorted(self.when.root, self._fired.values()) if self._fired else []

    def furthest(self, judge: Judge, among: Collection[State]) -> State | None:
        """Who has come furthest, of some, or of all if those are none and somebody has looked."""
        group = self.group
        assert group
        if among:
            return judge.sorted(self.when.root, among)[0]
        return group.furthest(judge)

    def forget_holds(self) -> None:
        """Nothing has been true for any time."""
        self.common.since.clear()
        for group in self._groups:
            group.forget_holds()


def _is_among(passed_over: Container[object], index: int, cgroup: Cgroup | None) -> bool:
    return index in passed_over or (cgroup is not None and (index, cgroup.inode) in passed_over)


def names_canary(rule: Rule) -> bool:
    """Whether it matters to a rule how late the canary is."""
    return any(comparison.metric == CANARY for comparison in comparisons(rule))


def comparisons(rule: Rule) -> Iterator[Comparison]:
    """All comparisons of a rule, those of `until` last."""
    yield from inside(rule.when)
    if rule.until:
        yield from inside(rule.until)


def inside(condition: Condition) -> Iterator[Comparison]:
    """All comparisons of a condition, in the order in which they are written."""
    if isinstance(condition, Comparison):
        yield condition
    elif isinstance(condition, (Held, Somewhere)):
        yield from inside(condition.condition)
    elif isinstance(condition, Not):
        yield from inside(condition.part)
    else:
        for part in condition.parts:
            yield from inside(part)
