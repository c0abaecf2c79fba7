"""How long nothing can happen, and which cgroups need not be looked at meanwhile."""

from __future__ import annotations

from okoomer.policy.judge import OPERATORS
from okoomer.policy.metrics import AVERAGE, CANARY, LEVEL, METRICS, STALL, TREND
from okoomer.policy.model import And, Comparison, Held, Not, Somewhere
from okoomer.policy.readings import SETTLING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from okoomer.policy.judge import Group, Judge, Node, State, Tree
    from okoomer.policy.metrics import Metric
    from okoomer.policy.places import Track

#: Bytes per second by which memory can fall at the fastest that is plausible: several cores faulting huge pages in.
#: A core clears some 10 GB/s; earlyoom assumes 6, and ramps of 10 GB/s were the fastest to be measured here.
FILL_RATE = 10 * 1024**3
#: The same for swap: what the fastest disks and zram take.
SWAP_FILL_RATE = 4 * 1024**3
#: Seconds after which a reading that may jump at any time (flows, averages, ratios, forecasts, and levels that are
#: sudden) is looked at again; and, of the machine, while a stall is on, or nobody would tell of one: what shows that it
#: thrashes may show for half a second only.
GLANCE, CLOSELY = 0.5, 0.1
#: What grows by this share of what a rule asks for may soon grow by all of it, and is looked at closely.
STIRRING = 0.125
#: The same for averages of a cgroup, which the kernel renews every two seconds; and the longest between two looks for
#: the sake of cgroups, since there may be a new one at any time.
SCOPE_GLANCE = 1.0

#: What on the machine moves whenever a total of a cgroup does (see Readings.calm_since).
GROWS_WITH = {
    "cgroup.stall.some": ("memory",),
    "cgroup.stall.full": ("memory",),
    "cgroup.scan": ("scan",),
    "cgroup.refault": ("refault",),
    "cgroup.thrash": ("refault", "steal"),
}


class Ahead:
    """Bounds of what is to come.

    With `triggers` somebody else (the kernel's pressure triggers) tells when a stall begins, so that it need not be
    allowed for one that begins unseen. `fill_rate` is by how much memory can fall, at most FILL_RATE. `own_pressure`:
    psi.memory is not the machine's.
    """

    def __init__(self, judge: Judge, triggers: bool) -> None:
        self.triggers = triggers
        self.fill_rate = float(FILL_RATE)
        self.own_pressure = False
        self._judge = judge

    # --- how long nothing can happen ----------------------------------------------------------------------------

    def soonest(self, node: Node, common: State, group: Group | None, wanted: bool = True) -> float:
        """Seconds before which a condition cannot become true, or false where that is `wanted`; inf if it is about
        something absent.

        Args:
            common: Holds what is remembered of the fixed nodes.
            group: The cgroups that it is about, if any: it may become so for any for which nothing has fired.
        """
        if node.plain:
            return self._plain((node,), node, group, min, wanted)
        condition = node.condition
        if isinstance(condition, Comparison):
            return self._comparison(condition, None, wanted)
        if isinstance(condition, Held):
            states = (common,) if node.fixed or not group else group.timed.values()
            begun = [one for one in states if node in one.since and (node.fixed or not one.fired)]
            inner = self.soonest(node.parts[0], common, group, wanted)
            bound = float("inf") if begun and node.fixed else inner + (condition.seconds if wanted else 0.0)
            for state in begun:
                left = condition.seconds - (self._judge.readings.snapshot.time - state.since[node])
                if not wanted and left > 1e-9:
                    return 0.0
                bound = min(bound, max(0.0, left) if wanted else inner)
            return bound
        if isinstance(condition, Not):
            return self.soonest(node.parts[0], common, group, not wanted)
        if isinstance(condition, Somewhere):
            return min(SCOPE_GLANCE, self.soonest(node.parts[0], common, node.group, wanted))
        last_of = max if isinstance(condition, And) is wanted else min
        plain = [part for part in node.parts if part.plain]
        bounds = [self.soonest(part, common, group, wanted) for part in node.parts if not part.plain]
        if plain:
            # What is about one cgroup has to be so of the same one.
            bounds.append(self._plain(plain, node, group, last_of, wanted))
        return last_of(bounds)

    def _plain(
        self,
        parts: Sequence[Node],
        keeper: Node,
        group: Group | None,
        last_of: Callable[[Iterable[float]], float],
        wanted: bool,
    ) -> float:
        """The same of what is about nothing but the readings of one cgroup. A new one may be there at any time."""
        assert group
        place = group.place
        if not place.read_now:
            return last_of(self._unread(part, wanted) for part in parts)
        (version, key), now = keeper.bounds_at, (group.stamp, group.turns, self.triggers, self.fill_rate)
        if version != place.version or key != now:
            fresh = place.moved if version == place.version - 1 and key == now else place.tracks.values()
            if fresh is place.moved:
                for inode in place.gone:
                    keeper.bounds.pop(inode, None)
            else:
                keeper.bounds.clear()
            for track in fresh:
                if not group.states[track.inode].fired:
                    keeper.bounds[track.inode] = last_of([self._of_track(part, track, wanted) for part in parts])
            keeper.bounds_at = place.version, now
        return min(SCOPE_GLANCE, min(keeper.bounds.values(), default=SCOPE_GLANCE))

    def _of_track(self, node: Node, track: Track | None, wanted: bool) -> float:
        condition = node.condition
        if isinstance(condition, Comparison):
            return self._comparison(condition, track, wanted)
        if isinstance(condition, Not):
            return self._of_track(node.parts[0], track, not wanted)
        last_of = max if isinstance(condition, And) is wanted else min
        return last_of(self._of_track(part, track, wanted) for part in node.parts)

    def _unread(self, node: Node, wanted: bool) -> float:
        """Of what was not read now nothing is known, but that what stands still does so."""
        condition = node.condition
        if isinstance(condition, Comparison):
            truth = self._still(node)
            if truth is None or truth is wanted:
                return 0.0
            metric = METRICS[condition.metric]
            if metric.kind == STALL and not self._is_told(metric):
                return min(SCOPE_GLANCE, condition.threshold * condition.over)
            return SCOPE_GLANCE
        if isinstance(condition, Not):
            return self._unread(node.parts[0], not wanted)
        last_of = max if isinstance(condition, And) is wanted else min
        return last_of(self._unread(part, wanted) for part in node.parts)

    def _comparison(self, comparison: Comparison, track: Track | None, wanted: bool) -> float:
        readings, metric = self._judge.readings, METRICS[comparison.metric]
        value, threshold = self._judge.value(comparison, track), readings.threshold(comparison)
        glance = GLANCE if self.triggers or metric.of_cgroup else CLOSELY
        if value is None:
            if not metric.windowed or (metric.of_cgroup and track is None):
                return float("inf")
            offered = track.readings.get(metric.name) if track else metric.read(readings.snapshot)
            return glance if offered is not None else float("inf")
        if OPERATORS[comparison.operator](value, threshold) is wanted:
            return 0.0
        distance = abs(value - threshold)
        if metric.kind == LEVEL and not metric.sudden:
            swap = metric.name.startswith(("swap.", "cgroup.swap"))
            return distance / min(self.fill_rate, SWAP_FILL_RATE if swap else FILL_RATE)
        rising = (comparison.operator in (">", ">=")) is wanted
        if metric.stalls and rising and self._is_told(metric):
            return SCOPE_GLANCE if metric.of_cgroup else float("inf")
        # A stall cannot grow faster than time passes.
        if metric.kind == STALL and rising:
            return distance * comparison.over
        # Nor can anybody be late any sooner; but only who is asked is late at all, which takes a look.
        if metric.name == CANARY and rising:
            return min(distance, glance)
        if metric.kind == TREND and rising and value > threshold * STIRRING:
            return min(glance, CLOSELY)
        return SCOPE_GLANCE if metric.of_cgroup and metric.kind == AVERAGE else glance

    def _is_told(self, metric: Metric) -> bool:
        """Whether somebody tells when such a stall begins. What stalls in a cgroup stalls on the machine."""
        return self.triggers and metric.name.startswith(("psi.memory.", "cgroup.psi.memory.", "cgroup.stall."))

    # --- what has to be read ------------------------------------------------------------------------------------

    def needs(self, trees: Iterable[Tree], common: State) -> bool:
        """Whether the cgroups that a quiet rule is about have to be read to judge it now, or ever: it could be true
        whatever they are like, or what they are like now will count in a hold or a window.

        Args:
            trees: Its `when`, then its `until`.
        """
        first = True
        for tree in trees:
            for node in tree.nodes:
                condition = node.condition
                if not node.scoped:
                    continue
                if isinstance(condition, Held) and self._may(node.parts[0], common)[0]:
                    return True
                windowed = isinstance(condition, Comparison) and METRICS[condition.metric].windowed
                if windowed and self._still(node) is None:
                    return True
            if first and self._may(tree.root, common)[0]:
                return True
            first = False
        return False

    def _may(self, node: Node, common: State) -> tuple[bool, bool]:
        """Whether a condition can be true, and false, whatever its cgroups are like where nobody has read them."""
        condition = node.condition
        if isinstance(condition, Comparison):
            if node.place:
                still = self._still(node)
                return (True, True) if still is None else (still, not still)
            truth = self._judge.holds(condition)
            return truth is True, truth is False
        if isinstance(condition, Held):
            true, false = self._may(node.parts[0], common)
            if node.scoped or not true:
                # What it waits for is in doubt, or cannot be.
                return true, true or false
            since = common.since.get(node)
            now = self._judge.readings.snapshot.time
            held = 0.0 if since is None else now - since
            return held + 1e-9 >= condition.seconds, held + 1e-9 < condition.seconds
        if isinstance(condition, Not):
            true, false = self._may(node.parts[0], common)
            return false, true
        if isinstance(condition, Somewhere):
            # There may be none.
            return self._may(node.parts[0], common)[0], True
        found = [self._may(part, common) for part in node.parts]
        if isinstance(condition, And):
            return all(true for true, _ in found), any(false for _, false in found)
        return any(true for true, _ in found), all(false for _, false in found)

    def _still(self, node: Node) -> bool | None:
        """Whether a comparison is true of no or of every cgroup, and stays so because nothing moves on the whole
        machine; None if nobody can say without reading them."""
        comparison, place = node.condition, node.place
        assert isinstance(comparison, Comparison) and place
        metric = METRICS[comparison.metric]
        since = self._calm_since(metric)
        if since is None or place.read_at == float("-inf"):
            return None
        if metric.windowed:
            return OPERATORS[comparison.operator](0.0, comparison.threshold) if place.still else None
        if comparison.operator not in (">", ">=") or place.read_at < since + SETTLING:
            return None
        if node.risen_at != place.version:
            holds = [self._judge.holds(comparison, track) for track in place.tracks.values()]
            node.risen, node.risen_at = True in holds, place.version
        return None if node.risen else False

    def _calm_since(self, metric: Metric) -> float | None:
        """Since when nothing can have made a metric of a cgroup grow, if nothing has now."""
        names = (metric.name.split(".")[2],) if metric.name.startswith("cgroup.psi.") else GROWS_WITH.get(metric.name)
        if not names or ("memory" in names and self.own_pressure):
            return None
        since = [self._judge.readings.calm_since(name) for name in names]
        return None if None in since else max(one for one in since if one is not None)
