"""Wakes the loop when one of those who run ends, so that the next one gets its turn."""

from __future__ import annotations

import posix as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from okoomer.guard.wake import Wake
    from okoomer.policy.jobs import Key

#: So many are watched at the most.
WATCHED = 64


class Ends:
    """See the module."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._fds: dict[Key, int] = {}
        self._over: list[Key] = []

    def watch(self, keys: Collection[Key]) -> None:
        """These and no others are watched from now on."""
        for key in [key for key in self._fds if key not in keys]:
            self.drop(key)
        for key in keys:
            if key not in self._fds and len(self._fds) < WATCHED:
                try:
                    self._fds[key] = fd = os.pidfd_open(key[0])
                except OSError:
                    continue
                self._wake.on(fd, self._noted(key))

    def take(self) -> bool:
        """Whether somebody has ended since this was asked last."""
        some = bool(self._over)
        for key in self._over:
            self.drop(key)
        self._over.clear()
        return some

    def drop(self, key: Key) -> None:
        """One is watched no longer."""
        fd = self._fds.pop(key, -1)
        if fd >= 0:
            self._wake.off(fd)
            os.close(fd)

    def _noted(self, key: Key) -> Callable[[], None]:
        return lambda: self._over.append(key)
