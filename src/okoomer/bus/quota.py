"""How many messages of others are looked at in a second, of each sender and of all together; and how many calls each
user has."""

from __future__ import annotations

#: Messages a second of one sender, and of all; so many of a sender are heard even where all together say too much;
#: so many a second are at least refused in words.
EACH, ALL, FEW, TOLD = 200, 2000, 8, 50
#: So many bytes count as one message more.
LENGTH = 1024


class Quota:
    """Counts by the second. A flood by one sender costs one look at the head of each of its messages; a flood by many
    leaves the first few of each other sender."""

    def __init__(self) -> None:
        self._second = -1
        self._used: dict[str, int] = {}
        self._all = 0
        self._told = 0

    def admits(self, sender: str, length: int, now: float) -> bool:
        """Whether a message of so many bytes is looked at."""
        second = int(now)
        if second != self._second:
            self._second, self._all, self._told = second, 0, 0
            self._used.clear()
        cost = 1 + length // LENGTH
        used = self._used[sender] = self._used.get(sender, 0) + cost
        if used > EACH or (self._all >= ALL and used > FEW):
            return False
        self._all += cost
        return True

    def tells(self) -> bool:
        """Whether a sender that was not admitted is told so. Not always: an answer costs more than a message."""
        self._told += 1
        return self._told <= TOLD


#: Calls a second of one user, however many connections he has, and at once. Two of them together cannot take up what
#: may be asked of the guard (courier/line.py).
RATE, AT_ONCE = 16.0, 32.0
#: From so many users on, those are forgotten who have all their calls again.
USERS = 256


class Share:
    """What each user may yet call."""

    def __init__(self) -> None:
        self._left: dict[int, tuple[float, float]] = {}

    def admits(self, user: int, now: float) -> bool:
        """Whether one more call of a user is answered."""
        if len(self._left) >= USERS:
            self._left = {each: found for each, found in self._left.items() if _filled(*found, now) < AT_ONCE}
        left = _filled(*self._left.get(user, (AT_ONCE, now)), now)
        admitted = left >= 1.0
        self._left[user] = left - admitted, now
        return admitted


def _filled(left: float, at: float, now: float) -> float:
    return min(AT_ONCE, left + max(0.0, now - at) * RATE)
