"""The parts of a courier that offer something besides what the policy asks for: each is loaded where it is wanted."""

from __future__ import annotations

import sys
from time import monotonic

from okoomer.courier.services import NEVER
from okoomer.say import Once, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeAlias

    from okoomer.bus.connection import Connection
    from okoomer.courier.line import Answered
    from okoomer.courier.main import Hears, Party
    from okoomer.courier.runs import Runs
    from okoomer.courier.services import Services
    from okoomer.courier.shout import SystemNotifications

    Asks: TypeAlias = Callable[[str, Answered], None]

    class Part(Party, Hears, Protocol):
        """Both."""


#: The socket of Watch, in the courier's directory.
WATCH = "pressure"


class Parts:
    """The parts as a configuration has them.

    Args:
        runtime_dir: Where sockets are, "" for nowhere.
        directory: Where the packages of others are, "" if there are none.
        ask: Asks the guard for something (see line.Line.ask).
        runs: Runs programs.
        alone: This courier is a service of its own, and tells the service manager when it is there.
    """

    def __init__(
        self, services: Services, runtime_dir: str, directory: str, ask: Asks, runs: Runs, alone: bool
    ) -> None:
        if directory and directory not in sys.path:
            sys.path.append(directory)
        self.parties: list[Party] = []
        self.hearers: list[Hears] = []
        #: Announces, if anything may.
        self.shout: SystemNotifications | None = None
        bus = None
        if services.low_memory_monitor or services.okoomer1 or services.system_notifications != NEVER:
            try:
                bus = self._on_the_bus(services, ask)
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

            self.parties.append(Ready(bus, monotonic()))

    def _on_the_bus(self, services: Services, ask: Asks) -> Connection:
        from okoomer.bus.connection import Connection
        from okoomer.bus.service import Service

        connection = Connection("SYSTEM", Once())
        self.parties.append(connection)
        bus = Service(connection)
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

        if services.system_notifications != NEVER:
            from okoomer.courier.shout import SystemNotifications

            self.shout = SystemNotifications(bus, services.system_notifications, attended)
            self._add(self.shout)
        return connection

    def _add(self, part: Part) -> None:
        self.parties.append(part)
        self.hearers.append(part)
