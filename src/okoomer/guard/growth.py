"""Earlier scans, from which a later one tells who has grown since."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.guard.scan import Scan

#: A scan is kept when available memory fell by FALL of all since the last, or by a fifth of that in AGE seconds; growth
#: over less than SHORTEST seconds says little.
AGE, FALL, SHORTEST = 10.0, 0.05, 1.0


class Growth:
    """The last two scans that were kept, each with the bytes that were available then."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[Scan, int], ...] = ()

    def earlier(self, now: float) -> Scan | None:
        """The newest scan that is old enough to tell growth from.

        Args:
            now: Seconds since boot.
        """
        return next((kept for kept, _ in reversed(self._kept) if now - kept.time >= SHORTEST), None)

    def due(self, now: float, left: int, total: int) -> bool:
        """Whether another scan should be kept, with `left` bytes of `total` available."""
        if not self._kept:
            return True
        kept, then = self._kept[-1]
        if left > then:
            # It has recovered: a fall from here is the next one.
            self._kept = (*self._kept[:-1], (kept, left))
            return False
        age = now - kept.time
        return age >= SHORTEST and (then - left) / total >= (FALL if age < AGE else FALL / 5)

    def keep(self, found: Scan, left: int) -> None:
        """Keeps a scan, with the bytes that were available."""
        self._kept = (*self._kept[-1:], (found, left))

    def forget(self) -> None:
        """What was before says nothing any more."""
        self._kept = ()
