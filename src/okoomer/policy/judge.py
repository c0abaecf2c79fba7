"""Whether a condition is true, unknown or false: of the machine, or of each cgroup that a scope names.

A condition becomes a tree whose nodes remember what has been judged. A node is fixed when it does not depend on which
of a scope's cgroups it is about: fixed nodes are judged once at each instant, the others once for each cgroup that has
moved.
"""

from __future__ import annotations

from okoomer.policy.metrics import METRICS
from okoomer.policy.model import Comparison, Held, Not, Or, Somewhere

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from okoomer.policy.model import Condition
    from okoomer.policy.places import Place, Track
    from okoomer.policy.readings import Readings


class Node:
    """A part of a condition. `place` are the cgroups that it is about, if it is about any."""

    __slots__ = (
        "bounds", "bounds_at", "condition", "fixed", "group", "inner", "parts", "place", "plain", "risen", "risen_at",
        "scoped", "truth",
    )  # fmt: skip

    def __init__(self, condition: Condition, parts: tuple[Node, ...], place: Place | None, fixed: bool) -> None:
        self.condition = condition
        self.parts = parts
        self.place = place
        self.fixed = fixed
        #: As last judged, if it is fixed.
        self.truth: bool | None = None
        #: Of `any in`: what is judged for each cgroup, and the fixed nodes in that.
        self.group: Group | None = None
        self.inner: tuple[Node, ...] = ()
        #: Whether cgroups come into it, and whether it is about nothing but the present readings of one.
        self.scoped: bool = place is not None or any(part.scoped for part in parts)
        self.plain: bool = not fixed and not isinstance(condition, Held) and all(part.plain for part in parts)
        #: By cgroup the seconds before which its plain parts cannot change, and what those were reckoned from.
        self.bounds: dict[int, float] = {}
        self.bounds_at: tuple[int, object] = (-1, None)
        #: Whether it is true of any cgroup, and as of which version of their place.
        self.risen, self.risen_at = False, -1

    def walk(self) -> Iterator[Node]:
        """It and all nodes below it."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def free(self) -> Iterator[Comparison]:
        """The comparisons below it that are about the cgroup which it is judged for."""
        if self.fixed:
            return
        if isinstance(self.condition, Comparison):
            yield self.condition
        for part in self.parts:
            yield from part.free()


class Tree:
    """A condition as nodes; `fixed` are the topmost fixed ones, in the order in which they have to be judged."""

    def __init__(self, condition: Condition, place: Place | None, place_of: Callable[[str], Place]) -> None:
        self.fixed: list[Node] = []
        self.root = self._node(condition, place, place_of)
        if self.root.fixed:
            self.fixed.append(self.root)
        self.nodes = tuple(self.root.walk())

    def _node(self, condition: Condition, place: Place | None, place_of: Callable[[str], Place]) -> Node:
        if isinstance(condition, Comparison):
            about = place if METRICS[condition.metric].of_cgroup else None
            return Node(condition, (), about, about is None)
        if isinstance(condition, Somewhere):
            there = place_of(condition.scope.text)
            before = len(self.fixed)
            inner = self._node(condition.condition, there, place_of)
            if inner.fixed:
                self.fixed.append(inner)
            node = Node(condition, (inner,), there, True)
            node.group, node.inner = Group(there, inner), tuple(self.fixed[before:])
            return node
        within: tuple[Condition, ...]
        if isinstance(condition, (Held, Not)):
            within = (condition.condition if isinstance(condition, Held) else condition.part,)
        else:
            within = condition.parts
        parts = tuple(self._node(part, place, place_of) for part in within)
        fixed = all(part.fixed for part in parts)
        if not fixed:
            self.fixed += [part for part in parts if part.fixed]
        return Node(condition, parts, None if fixed else place, fixed)


class State:
    """What is remembered of a rule or an `any in`, for the machine or for one cgroup: since when held conditions are
    true, whether one of them is on its way, whether it is true or has fired, and until when it rests."""

    __slots__ = ("again", "began", "fired", "holding", "rested", "severity", "since", "track", "truth")

    def __init__(self, track: Track | None = None) -> None:
        self.track = track
        self.since: dict[Node, float] = {}
        self.holding = False
        self.fired = False
        #: Whether it turns at the next look even if nothing moves: it is well, and as bad as before.
        self.again = False
        self.truth: bool | None = None
        self.rested = float("-inf")
        #: When it fired.
        self.began = float("inf")
        #: How far its stalls, and its other figures, are beyond what they are compared with: 1.0 is there.
        self.severity = (0.0, 0.0)

    @property
    def path(self) -> str:
        return self.track.cgroup.path if self.track else ""


class Group:
    """The states for each cgroup of a place, by inode, under the condition that begins at a node."""

    def __init__(self, place: Place, root: Node) -> None:
        self.place = place
        self.root = root
        self.states: dict[int, State] = {}
        #: Those that may change though nothing moves.
        self.timed: dict[int, State] = {}
        self.stamp: object = None
        self.look = -1
        #: Counts each time that something has fired, or has no longer, for one of them.
        self.turns = 0
        self._furthest: State | None = None
        self._furthest_at: object = None

    def due(self, stamp: object) -> list[State]:
        """Those that have to be judged again, after the gone are forgotten and the new are there.

        Args:
            stamp: All that they depend on besides their cgroups.
        """
        place, states = self.place, self.states
        if self.look == place.looks and stamp == self.stamp:
            return list(self.timed.values())
        incremental, everybody = self.look == place.looks - 1, stamp != self.stamp
        self.look, self.stamp = place.looks, stamp
        if incremental:
            for inode in place.gone:
                states.pop(inode, None)
                self.timed.pop(inode, None)
            for track in place.moved:
                if track.inode not in states:
                    states[track.inode] = State(track)
            if not everybody:
                if not self.timed:
                    return [states[track.inode] for track in place.moved]
                moved = {track.inode for track in place.moved} | self.timed.keys()
                return [states[inode] for inode in moved]
        else:
            tracks = place.tracks
            for inode in [inode for inode, state in states.items() if state.track is not tracks.get(inode)]:
                del states[inode]
                self.timed.pop(inode, None)
            for inode, track in tracks.items():
                if inode not in states:
                    states[inode] = State(track)
        return list(states.values())

    def judged(self, state: State) -> None:
        """A state has been judged."""
        assert state.track
        if state.since or state.again:
            self.timed[state.track.inode] = state
        else:
            self.timed.pop(state.track.inode, None)

    def furthest(self, judge: Judge) -> State | None:
        """Whose readings are furthest beyond what the condition compares them with; None if nobody has looked."""
        place = self.place
        if not place.read_now:
            return None
        at = place.version, self.stamp
        last, self._furthest_at = self._furthest_at, at
        if at != last:
            moved = place.moved if last == (place.version - 1, self.stamp) else place.tracks.values()
            judge.weigh(self.root, [self.states[track.inode] for track in moved])
            true = [one for one in self.states.values() if one.truth]
            self._furthest = min(true or self.states.values(), key=_order, default=None)
        return self._furthest

    def forget_holds(self) -> None:
        """Nothing has been true for any time; all have to be judged again."""
        for state in self.states.values():
            state.since.clear()
        self.timed.clear()
        self.stamp = None

    def clear(self) -> None:
        """There are none."""
        self.states.clear()
        self.timed.clear()


class Judge:
    """Judges by what is known now."""

    def __init__(self, readings: Readings) -> None:
        self.readings = readings

    def settle(self, tree: Tree, state: State) -> None:
        """Judges the fixed nodes of a condition; `state` is the rule's own."""
        for node in tree.fixed:
            node.truth = self.truth(node, state, None)

    def truth(self, node: Node, state: State, track: Track | None) -> bool | None:
        """Whether a part of a condition is true, of a cgroup where `track` is given."""
        if node.fixed and track is not None:
            return node.truth
        condition = node.condition
        if isinstance(condition, Comparison):
            return self.holds(condition, track)
        if isinstance(condition, Held):
            # Each part is judged at each step, whatever the others say, so that no hold time is ever stale.
            inner = self.truth(node.parts[0], state, track)
            if inner is not True:
                state.since.pop(node, None)
                return inner
            now = self.readings.snapshot.time
            held = now - state.since.setdefault(node, now)
            if held + 1e-9 >= condition.seconds:
                return True
            state.holding = True
            return False
        if isinstance(condition, Not):
            inner = self.truth(node.parts[0], state, track)
            return None if inner is None else not inner
        if isinstance(condition, Somewhere):
            return self._somewhere(node, state)
        truths = [self.truth(part, state, track) for part in node.parts]
        decisive = isinstance(condition, Or)
        if decisive in truths:
            return decisive
        return None if None in truths else not decisive

    def holds(self, comparison: Comparison, track: Track | None = None) -> bool | None:
        """Whether a comparison holds at present; None if it is about something that is not offered here."""
        value = self.value(comparison, track)
        if value is None:
            return None
        return OPERATORS[comparison.operator](value, self.readings.threshold(comparison))

    def value(self, comparison: Comparison, track: Track | None) -> float | None:
        """What a comparison compares: of the machine, or of a cgroup."""
        metric = METRICS[comparison.metric]
        if not metric.of_cgroup:
            return self.readings.value(metric.name, comparison.over)
        return track.value(metric, comparison.over) if track else None

    def stamp(self, fixed: tuple[Node, ...] | list[Node]) -> object:
        """What conditions of cgroups depend on besides their cgroups."""
        snapshot = self.readings.snapshot
        return snapshot.memory.total, snapshot.swap.total, [node.truth for node in fixed]

    def _somewhere(self, node: Node, state: State) -> bool | None:
        group = node.group
        assert group
        if group.place.lost:
            group.clear()
        if not group.place.read_now:
            return None
        for one in group.due(self.stamp(node.inner)):
            one.holding = False
            one.truth = self.truth(node.parts[0], one, one.track)
            group.judged(one)
        if any(one.holding for one in group.timed.values()):
            state.holding = True
        truths = [one.truth for one in group.states.values()]
        if True in truths:
            return True
        return None if None in truths else False

    def weigh(self, root: Node, states: Iterable[State]) -> None:
        """Finds how far cgroups have come."""
        for one in states:
            if one.track:
                one.severity = self._severity(root, one.track)

    def sorted(self, root: Node, states: Collection[State]) -> list[State]:
        """The states of cgroups, the worst first."""
        self.weigh(root, states)
        return sorted(states, key=_order)

    def _severity(self, node: Node, track: Track) -> tuple[float, float]:
        """How far the stalls of a cgroup, and its other figures, are beyond what a condition compares them with; the
        furthest counts. What is compared with nothing says nothing."""
        stalls = others = 0.0
        for condition in node.free():
            value, threshold = self.value(condition, track), self.readings.threshold(condition)
            if value is None or threshold <= 0:
                continue
            if condition.operator in (">", ">="):
                ratio = value / threshold
            else:
                ratio = threshold / value if value > 0 else float("inf")
            if METRICS[condition.metric].stalls:
                stalls = max(stalls, ratio)
            else:
                others = max(others, ratio)
        return stalls, others


def _order(state: State) -> tuple[tuple[float, float], float, str]:
    """Sorts the worst first: who is furthest beyond, else for the longest, else by path."""
    stalls, others = state.severity
    return (-stalls, -others), state.began, state.path


OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda value, threshold: value < threshold,
    "<=": lambda value, threshold: value <= threshold,
    ">": lambda value, threshold: value > threshold,
    ">=": lambda value, threshold: value >= threshold,
}
