"""The kernel's log, for those who look for a kill there."""

from __future__ import annotations

import posix as os

from okoomer.events.oomd import Kills
from okoomer.kernel import pressure
from okoomer.kernel.cgroup import mount
from okoomer.kernel.files import read, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.events.oomd import Account
    from okoomer.record import Record

PATH = "/dev/kmsg"


class Kmsg:
    """oomd's line for each kill.

    Args:
        proc: Where the unified hierarchy is mounted stands there.

    Raises:
        OSError: The kernel's log cannot be written.
    """

    def __init__(self, proc: str, path: str = PATH) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        mounted = mount(proc)
        self._kills = Kills(lambda cgroup: account(mounted, cgroup))

    def __call__(self, event: Record) -> None:
        """Writes what an event is worth."""
        line = self._kills(event)
        if line:
            try:
                os.write(self._fd, line.encode("utf-8", "backslashreplace") + b"\n")
            except OSError:
                pass  # it takes so many lines a second from each

    def close(self) -> None:
        os.close(self._fd)


def account(mounted: str | None, cgroup: str) -> Account:
    """What a cgroup has, and how all its tasks waited for memory; 0 where that is not told."""
    memory, stalls = 0, (0.0, 0.0, 0.0)
    if mounted is None or not cgroup:
        return memory, stalls
    try:
        memory = whole(read(f"{mounted}{cgroup}/memory.current", 32))
    except (OSError, ValueError):
        pass
    try:
        full = pressure.parse(read(f"{mounted}{cgroup}/memory.pressure")).full
    except (OSError, ValueError, IndexError):
        full = None
    return memory, (full.avg10, full.avg60, full.avg300) if full else stalls
