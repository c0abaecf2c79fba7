"""org.freedesktop.oom1 on the system bus, as systemd-oomd offers it: what oomctl shows, and a signal for each cgroup
that was killed as a whole."""

from __future__ import annotations

import os
from _collections import deque  # type: ignore[import-not-found]
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl
from time import monotonic, time

from okoomer.bus.service import Interface, sayable
from okoomer.courier.dump import Kill, Limits, dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from okoomer.bus.service import Call, Service
    from okoomer.courier.managed import Setting

NAME, PATH, INTERFACE = "org.freedesktop.oom1", "/org/freedesktop/oom1", "org.freedesktop.oom1.Manager"
#: So many kills wait for a bus that is not there.
WAITING = 64
#: Seconds that a text is good for.
FRESH = 0.5


class Manager:
    """See the module.

    Args:
        bus: The system bus.
        limits: What is told of the configuration.
        hierarchy: Where the cgroups are mounted.
    """

    def __init__(self, bus: Service, limits: Limits, hierarchy: str) -> None:
        self._bus = bus
        self.limits = limits
        #: What units have set; renewed as a whole.
        self.settings: Sequence[Setting] = ()
        self._hierarchy = hierarchy
        self._last: Kill | None = None
        self._kills: deque[Kill] = deque(maxlen=WAITING)
        self._text = (float("-inf"), b"")
        methods = {"DumpByFileDescriptor": ("", "h fd", self._dump)}
        bus.serve(PATH, Interface(INTERFACE, methods, signals={"Killed": "s cgroup, s reason"}))
        bus.own(NAME)
        # After the name was asked for: what is told before it is ours is heard by nobody who goes by it.
        bus.connection.on_up.append(self._tell)

    def killed(self, cgroup: str, reason: str) -> None:
        """Tells of a cgroup that was killed as a whole, as soon as there is a bus."""
        self._last = Kill(cgroup, reason, time())
        self._kills.append(self._last)
        if self._bus.connection.up:
            self._tell()

    @property
    def busy(self) -> bool:
        """Whether a kill is still to be told of, and there is a bus for it."""
        return bool(self._kills) and self._bus.connection.reached

    def _tell(self) -> None:
        while self._kills:
            kill = self._kills.popleft()
            self._bus.emit(PATH, INTERFACE, "Killed", "ss", (sayable(kill.cgroup), sayable(kill.reason)))

    def _dump(self, call: Call) -> None:
        fd = self._dumped()
        try:
            call.answer(fd)
        finally:
            os.close(fd)

    def _dumped(self) -> int:
        """A descriptor of the text, from its beginning; nobody can change it."""
        now = monotonic()
        if now > self._text[0] + FRESH:
            text = dump(self.limits, self.settings, self._hierarchy, self._last)
            self._text = (now, text.encode("utf-8", "backslashreplace"))
        fd = os.memfd_create("okoomer-oomd", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.write(fd, self._text[1])
            os.lseek(fd, 0, os.SEEK_SET)
            fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
        except BaseException:
            os.close(fd)
            raise
        return fd
