"""The parts of a courier: what it offers besides what the policy asks for, and what that needs of a bus. Each is loaded
where it is wanted."""

from __future__ import annotations

import sys
from time import monotonic

from okoomer.courier.services import ALWAYS, NEVER
from okoomer.say import Once, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeAlias

    from okoomer.bus.service import Service
    from okoomer.courier.dump import Limits
    from okoomer.courier.line import Answered
    from okoomer.courier.main import Hears, Party
    from okoomer.courier.oom1 import Manager
    from okoomer.courier.runs import Runs
    from okoomer.courier.services import Services
    from okoomer.courier.shout import SystemNotifications

    Asks: TypeAlias = Callable[[str, Answered], None]

    class Part(Party, Hears, Protocol):
        """Both."""


#: The socket of Watch, in the courier's directory.
WATCH = "pressure"


class Parts:
    """The parts, and the one connection to the system bus that they share.

    Args:
        directory: Where the packages of others are, "" if there are none.
    """

    def __init__(self, directory: str) -> None:
        if directory and directory not in sys.path:
            sys.path.append(directory)
        #: Backwards is the order to close them in: some have last words for the bus, which is before them.
        self.parties: list[Party] = []
        self.hearers: list[Hears] = []
        self._bus: Service | None = None

    def offer(
        self, services: Services, runtime_dir: str, ask: Asks, runs: Runs, alone: bool
    ) -> SystemNotifications | None:
        """Adds what a configuration offers; whoever announces, if anything may.

        Args:
            runtime_dir: Where sockets are, "" for nowhere.
            ask: Asks the guard for something (see line.Line.ask).
            runs: Runs programs.
            alone: This courier is a service of its own, and tells the service manager when it is there.
        """
        shout = None
        if services.low_memory_monitor or services.okoomer1 or services.system_notifications != NEVER:
            try:
                shout = self._on_the_bus(services, ask)
            except ImportError as error:
                say(f"nothing is offered on the bus: {error}")
        if services.pressure_watch and runtime_dir:
            from okoomer.courier.watch import Watch

            self._add(Watch(f"{runtime_dir}/{WATCH}"))
        if services.metrics:
            from okoomer.courier.metrics import Metrics

            self._add(Metrics(services.metrics, ask))
        if services.wall or services.mail:
            from okoomer.courier.wall import Wall

            self._add(Wall(services.wall, services.mail, runs))
        if alone:
            from okoomer.courier.ready import Ready

            self.parties.append(Ready(self._bus.connection if self._bus else None, monotonic()))
        return shout

    def announcer(self) -> SystemNotifications | None:
        """Adds what a policy's own announcements take; None if there is no way to announce."""
        from okoomer.courier.shout import SystemNotifications

        try:
            shout = SystemNotifications(self.bus(), ALWAYS)
        except ImportError as error:
            say(f"nothing can be announced: {error}")
            return None
        self.parties.append(shout)
        return shout

    def manager(self, limits: Limits, hierarchy: str) -> Manager | None:
        """Adds what systemd-oomd offers; None if there is no way to. `hierarchy` is where the cgroups are mounted."""
        try:
            bus = self.bus()
        except ImportError as error:
            say(f"oomctl is not answered: {error}")
            return None
        from okoomer.courier.oom1 import Manager

        return Manager(bus, limits, hierarchy)

    def bus(self) -> Service:
        """The system bus, which is joined when it is first wanted.

        Raises:
            ImportError: There is no jeepney.
        """
        if self._bus is None:
            from okoomer.bus.connection import Connection
            from okoomer.bus.service import Service

            self._bus = Service(Connection("SYSTEM", Once()))
            self.parties.append(self._bus.connection)
        return self._bus

    def _on_the_bus(self, services: Services, ask: Asks) -> SystemNotifications | None:
        bus = self.bus()
        attended: Callable[[], bool] = bool
        if services.low_memory_monitor:
            from okoomer.courier.low_memory import LowMemory

            self._add(LowMemory(bus))
        if services.okoomer1:
            from okoomer.courier.history import History
            from okoomer.courier.okoomer1 import Okoomer1

            offered = Okoomer1(bus, ask, History())
            self._add(offered)

            def attended() -> bool:
                return offered.attended

        if services.system_notifications == NEVER:
            return None
        from okoomer.courier.shout import SystemNotifications

        shout = SystemNotifications(bus, services.system_notifications, attended)
        self._add(shout)
        return shout

    def _add(self, part: Part) -> None:
        self.parties.append(part)
        self.hearers.append(part)
