"""The recent past of a reading, from which stalls, flows and the forecast are taken.

Bounded: whatever the rate of sampling, a series keeps at most about `POINTS` points over its window.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
else:
    from _collections import deque

POINTS = 40
#: So many of all pairs of samples have to agree on a slope. Of readings that only waver two in three agree by chance;
#: of one step, up or down, never more than half.
AGREED = 0.75


class Series:
    """Samples (time in seconds, value) of one reading over one window: each window is sampled as finely as it needs.

    With `growing` the reading is a total: where it went back (a device was removed) the past no longer counts.
    """

    def __init__(self, window: float, growing: bool) -> None:
        self.window = window
        self._growing = growing
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, time: float, value: float) -> None:
        samples = self._samples
        if samples and (time <= samples[-1][0] or (self._growing and value < samples[-1][1])):
            samples.clear()
        if len(samples) >= 2 and time - samples[-2][0] < self.window / POINTS:
            samples.pop()  # too close to its neighbour to matter: the newest sample takes its place
        samples.append((time, value))
        # The newest sample that is a whole window old stays: it is the base of the difference.
        while len(samples) >= 2 and samples[1][0] <= time - self.window:
            samples.popleft()

    def clear(self) -> None:
        self._samples.clear()

    @property
    def still(self) -> bool:
        """Whether its rate stays as it is for as long as the reading does: nothing has grown since the oldest sample,
        or there is no reading."""
        samples = self._samples
        return not samples or (self._growing and len(samples) > 1 and samples[0][1] == samples[-1][1])

    def rate(self) -> float | None:
        """Growth per second over the window, None before there are two samples.

        Sampling is sparse while nothing happens, so two bounds are taken and the greater one counts: the average
        since the last sample before the window, and what surely lies inside the window. Neither counts growth that
        may have been earlier than the samples say.
        """
        samples, window = self._samples, self.window
        if len(samples) < 2:
            return None
        now, last = samples[-1]
        start = now - window
        base_time, base = samples[0]
        inside = last
        for time, value in samples:
            if time > start + 1e-9:
                inside = value
                break
            base_time, base = time, value
        average: float = (last - base) / max(now - base_time, window)
        # What may shrink as well has no such bound.
        return max(average, (last - inside) / window) if self._growing else average

    def slope(self) -> float | None:
        """The slope per second between all pairs of samples in the window on which three quarters of them agree: so
        many are at least as steep, and go the same way. One odd sample does not move it, and what only wavers, or has
        made one step, has none. None before the samples cover half the window."""
        if not self._samples:
            return None
        now = self._samples[-1][0]
        samples = [sample for sample in self._samples if sample[0] >= now - self.window]
        if now - samples[0][0] < self.window / 2:
            return None
        # Few of many samples: a hundred pairs or so, not eight hundred.
        samples = samples[:: -(1 + len(samples) // 14)]
        slopes = sorted(
            (samples[i][1] - samples[j][1]) / (samples[i][0] - samples[j][0])
            for i in range(len(samples))
            for j in range(i + 1, len(samples))
        )
        if not slopes:
            return None
        # The one that three quarters do not exceed on their way down, or up.
        most = int(AGREED * (len(slopes) - 1) + 0.5)
        return min(slopes[most], 0.0) or max(slopes[-1 - most], 0.0)
