"""How available memory falls: whether it pays to look at jobs again, and whether it will be short in a moment though it
is not yet.
"""

from __future__ import annotations

#: The share of memory by which less is available when it falls, and by which it may have risen before for nothing.
FALL, RISE = 1 / 128, 1 / 64
#: Seconds over which its pace is taken, at the least, as a rule, and where it is looked at rarely.
SHORTEST, USUAL, LONGEST = 0.2, 1.0, 4.0
#: Seconds ahead for which it is taken to fall on: as far as those who take turns are looked at, and a first look.
AHEAD = 4.5
#: Seconds for which it is short after it was in sight.
LASTING = 2.0


class Fall:
    """See the module. All in bytes and seconds."""

    def __init__(self) -> None:
        self._past: list[tuple[float, int]] = []
        self._from = 0
        self._short_until = float("-inf")
        self._step = 0
        #: By how much it falls each second.
        self.rate = 0.0

    def take(self, now: float, left: int, total: int) -> None:
        """Takes in what is available of all memory."""
        self._past = [(at, was) for at, was in self._past if now - LONGEST <= at < now]
        since = next(
            (one for one in self._past if one[0] >= now - USUAL), self._past[-1] if self._past else (now, left)
        )
        if now - since[0] >= SHORTEST:
            self.rate = (since[1] - left) / (now - since[0])
        elif not self._past:
            self.rate = 0.0
        self._past.append((now, left))
        self._from = max(self._from, left - int(total * RISE))
        self._step = int(total * FALL)

    def short(self, now: float, level: float) -> bool:
        """Whether less than so much will be left in a moment, or would have been a moment ago."""
        if self._past and self.rate > 0 and self._past[-1][1] - self.rate * AHEAD < level:
            self._short_until = now + LASTING
        return now < self._short_until

    @property
    def fallen(self) -> bool:
        """Whether less is available than when jobs were looked at last."""
        return bool(self._past) and self._past[-1][1] < self._from - self._step

    def looked(self) -> None:
        """Jobs are looked at now."""
        self._from = self._past[-1][1] if self._past else 0
