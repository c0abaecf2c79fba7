"""What is known of the cgroups that a scope names, and the recent past of what is asked of each.

Most cgroups do nothing most of the time. One whose readings stand still, and whose windows have seen nothing else, is
passed over at the price of a comparison; its past is made good when it moves.
"""

from __future__ import annotations

from okoomer.policy.metrics import METRICS, PORTION
from okoomer.policy.readings import WHOLE, Windows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from okoomer.facts import Cgroup
    from okoomer.policy.metrics import Metric
    from okoomer.policy.model import Comparison

    Omitted: TypeAlias = "dict[str, tuple[float | None, float]]"

#: So many cgroups of one scope are judged; those beyond are as if they were not there.
MOST = 16384


class Track:
    """One cgroup of a place. A later one of the same name is another."""

    __slots__ = ("added", "cgroup", "inode", "omitted", "readings", "still", "values", "windows")

    def __init__(self, cgroup: Cgroup, windows: Windows) -> None:
        self.cgroup = cgroup
        self.inode = cgroup.inode
        self.windows = windows
        self.readings: dict[str, float | None] = {}
        #: By metric that omits some of what its total grows by: the total itself, and when last something was omitted.
        self.omitted: Omitted = {}
        #: What was worked out of the present readings, by metric and window.
        self.values: dict[tuple[str, float], float | None] = {}
        #: When a sample was last added to the windows.
        self.added = float("-inf")
        #: Whether all values stay as they are for as long as the readings do.
        self.still = False

    def value(self, metric: Metric, over: float) -> float | None:
        """The present value of a metric `cgroup.*`, None before it is known."""
        if not metric.windowed:
            return self.readings.get(metric.name)
        key = metric.name, over
        if key not in self.values:
            self.values[key] = self.windows.value(metric, over)
        return self.values[key]


class Place:
    """The cgroups of one scope.

    After each look `moved` are those that have to be judged again, and `gone` the inodes of those that are no more.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tracks: dict[int, Track] = {}
        self.moved: list[Track] = []
        self.gone: list[int] = []
        #: Counts the readings, and the readings in which something was new.
        self.looks = self.version = 0
        #: When it was last read, and until when what was read is known to be true.
        self.read_at = self.known_until = float("-inf")
        #: Whether it was read now; whether it was to be, and could not.
        self.read_now, self.lost = False, False
        self._metrics: dict[str, Metric] = {}
        self._watched: dict[tuple[str, float], Metric] = {}

    def watch(self, comparison: Comparison) -> None:
        """Keeps what a comparison needs."""
        metric = METRICS[comparison.metric]
        if metric.name not in self._metrics:
            self._metrics[metric.name] = metric
            self._unsettle()
        if metric.windowed and (metric.name, comparison.over) not in self._watched:
            self._watched[metric.name, comparison.over] = metric
            for track in self.tracks.values():
                track.windows.watch(metric, comparison.over)
            self._unsettle()

    @property
    def still(self) -> bool:
        """Whether it is known, and stays as it is for as long as the readings do."""
        return self.read_at > float("-inf") and all(track.still for track in self.moved)

    def take(self, time: float, cgroups: tuple[Cgroup, ...]) -> None:
        """The cgroups that the scope names now."""
        before, self.known_until, self.read_at = self.known_until, time, time
        self.read_now, self.lost = True, False
        self.looks += 1
        tracks, moved, gone, new = self.tracks, [], [], False
        cgroups = cgroups[:MOST]
        for cgroup in cgroups:
            track = tracks.get(cgroup.inode)
            if track is not None and track.still and cgroup is track.cgroup:
                continue
            if track is not None and track.cgroup.path != cgroup.path:
                gone.append(track.inode)
                track = None
            if track is None:
                windows = Windows((metric, window) for (_, window), metric in self._watched.items())
                track = tracks[cgroup.inode] = Track(cgroup, windows)
                new = True
            if self._takes(track, cgroup, before, time):
                moved.append(track)
        if new or len(tracks) != len(cgroups):
            there = {cgroup.inode for cgroup in cgroups}
            for inode in [inode for inode in tracks if inode not in there]:
                gone.append(inode)
                del tracks[inode]
        self.moved, self.gone = moved, gone
        self.version += bool(moved or gone)

    def _takes(self, track: Track, cgroup: Cgroup, before: float, time: float) -> bool:
        """Whether a reading says anything new of a cgroup."""
        readings, omitted = self._read(track, cgroup, before, time)
        track.cgroup = cgroup
        if track.still:
            if readings == track.readings and omitted == track.omitted:
                return False
            if before > track.added:
                track.windows.add(before, track.readings)
        track.readings, track.omitted = readings, omitted
        track.values.clear()
        track.windows.add(time, readings)
        track.added, track.still = time, track.windows.still
        return True

    def _read(
        self, track: Track, cgroup: Cgroup, before: float, time: float
    ) -> tuple[dict[str, float | None], Omitted]:
        readings: dict[str, float | None] = {}
        omitted: Omitted = {}
        for name, metric in self._metrics.items():
            value = metric.read(cgroup)
            if metric.omits:
                last, omitted_at = track.omitted.get(name, (None, float("-inf")))
                counted = track.readings.get(name) or 0.0
                if value is None or last is None or value < last:
                    counted = 0.0
                elif value > last and metric.omits(cgroup):
                    omitted_at = time
                elif omitted_at < before:
                    # Else part of it is from the time in which it still was to be omitted.
                    counted += value - last
                omitted[name] = value, omitted_at
                value = None if value is None else counted
            elif metric.kind == PORTION and metric.total:
                readings[name + WHOLE] = metric.total(cgroup)
            readings[name] = value
        return readings, omitted

    def pass_by(self, time: float) -> None:
        """It was not read, since what was known of it, as far as that matters, is still true."""
        self.known_until = time
        self.read_now = False
        self.moved, self.gone = [], []

    def lose(self) -> None:
        """It was to be read and could not."""
        self.read_now, self.lost = False, True
        self.tracks, self.moved, self.gone = {}, [], []
        self.looks += 1
        self.version += 1
        self.read_at = float("-inf")

    def forget(self) -> None:
        """What was read until now says nothing of what is to come."""
        for track in self.tracks.values():
            track.windows.clear()
            track.values.clear()
        self._unsettle()

    def _unsettle(self) -> None:
        for track in self.tracks.values():
            track.still = False
        self.moved = list(self.tracks.values())
        self.read_at = float("-inf")
