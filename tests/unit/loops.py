"""The loop of a courier or an agent, on a thread of the test; and a client of a bus."""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jeepney import (  # type: ignore[import-untyped]
    DBusAddress,
    HeaderFields,
    MatchRule,
    Message,
    MessageType,
    new_method_call,
)
from jeepney.bus_messages import message_bus  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]

from tests.unit.buses import Daemon
from tests.unit.couriers import until

DBUS = Path(__file__).parents[2] / "dbus"
POLICIES = (DBUS / "org.freedesktop.LowMemoryMonitor.conf", DBUS / "org.okoomer.Okoomer1.conf")


NOBODY = 65534


@contextlib.contextmanager
def public(*policies: Path) -> Iterator[Daemon]:
    """A system bus that other users reach, too."""
    directory = Path(tempfile.mkdtemp(prefix="okoomer-bus-"))
    directory.chmod(0o755)
    daemon = Daemon(directory, *policies)
    before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = daemon.address
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()
        os.environ.pop("DBUS_SYSTEM_BUS_ADDRESS")
        if before is not None:
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before
        shutil.rmtree(directory)


def sent_by(user: int, daemon: Daemon, *words: str) -> str:
    """What dbus-send prints if a user calls something, be it an error."""
    command = ["dbus-send", f"--bus={daemon.address}", "--print-reply", *words]
    run = subprocess.run(command, capture_output=True, text=True, user=user, timeout=60, check=False)
    return run.stdout + run.stderr


class Complaints:
    """What was said, each once until it was over."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._known: set[str] = set()

    def __call__(self, about: str, text: str) -> None:
        if about not in self._known:
            self._known.add(about)
            self.said.append(text)

    def over(self, about: str) -> None:
        self._known.discard(about)


class Loop:
    """Turns parties (connections first) until it is left, as courier/main.py does."""

    def __init__(self, *parties: Any) -> None:
        self.parties = list(parties)
        #: How often it woke, and the seconds that its longest turns took.
        self.turns = 0
        self._longest = [0.0] * 5
        self._jobs: list[Callable[[], None]] = []
        self._over = False
        self._error: BaseException | None = None
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        os.write(self._waker, b"x")
        self._thread.join(60)
        for party in reversed(self.parties):
            party.close()
        for fd in (self._woken, self._waker):
            os.close(fd)
        assert kind or not self._error, self._error

    @property
    def long(self) -> float:
        """Seconds that as many as five turns took at least. What else runs on a machine holds up one or two; whoever
        waits for somebody, or does too much at a time, does so again and again."""
        return self._longest[0]

    def do(self, job: Callable[[], Any]) -> Any:
        """Does something between two turns, and waits for its result."""
        done, result = threading.Event(), list[Any]()

        def run() -> None:
            try:
                result.append(job())
            finally:
                done.set()

        self._jobs.append(run)
        os.write(self._waker, b"x")
        assert done.wait(60) and result, self._error
        return result[0]

    def _run(self) -> None:
        try:
            while not self._over:
                self._turn()
        except BaseException as error:
            self._error = error
            raise

    def _turn(self) -> None:
        poller, now = select.poll(), time.monotonic()
        poller.register(self._woken, select.POLLIN)
        wait = float("inf")
        for party in self.parties:
            wait = min(wait, party.wait(now))
            for fd, events in party.wants():
                poller.register(fd, events)
        ready = dict(poller.poll(None if wait == float("inf") else int(wait * 1000) + 1))
        began = time.monotonic()
        self.turns += 1
        if self._woken in ready:
            os.read(self._woken, 4096)
        while self._jobs:
            self._jobs.pop(0)()
        for party in self.parties:
            party.turn(ready, time.monotonic())
        heapq.heappushpop(self._longest, time.monotonic() - began)


class Client:
    """Somebody on the bus who calls an object and hears its signals."""

    def __init__(self, bus: str, name: str, path: str, interface: str = "") -> None:
        self.address = DBusAddress(path, bus_name=name, interface=interface or name)
        self.connection: DBusConnection = open_dbus_connection(bus, auth_timeout=60)
        self.name = str(self.connection.unique_name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def waits(self) -> None:
        """Until somebody has the name."""
        asked = message_bus.NameHasOwner(self.address.bus_name)
        until(lambda: self.connection.send_and_get_reply(asked, timeout=20).body[0])

    def hears(self, **rule: Any) -> None:
        """From now on it hears signals."""
        rule = rule or {"interface": self.address.interface, "path": self.address.object_path}
        self.connection.send_and_get_reply(message_bus.AddMatch(MatchRule(type="signal", **rule)), timeout=20)

    def call(self, member: str, kinds: str = "", *body: Any, timeout: float = 20.0, **other: Any) -> Message:
        """The answer to a call; other are `interface`, `path`."""
        address = DBusAddress(
            other.get("path", self.address.object_path),
            bus_name=self.address.bus_name,
            interface=other.get("interface", self.address.interface),
        )
        message = new_method_call(address, member, kinds or None, body)
        return self.connection.send_and_get_reply(message, timeout=timeout)

    def got(self, member: str, kinds: str = "", *body: Any, **other: Any) -> Any:
        """What a call gave."""
        answer = self.call(member, kinds, *body, **other)
        assert answer.header.message_type is MessageType.method_return, answer.body
        return answer.body[0] if len(answer.body) == 1 else answer.body

    def error(self, member: str, kinds: str = "", *body: Any, **other: Any) -> tuple[str, str]:
        """With what a call failed: the error's name and its text."""
        answer = self.call(member, kinds, *body, **other)
        assert answer.header.message_type is MessageType.error, answer.body
        return str(answer.header.fields[HeaderFields.error_name]), str(answer.body[0])

    def answer(self) -> Any:
        """The next answer to a call that was sent without waiting: its body."""
        while True:
            message = self.connection.receive(timeout=20)
            if message.header.message_type is not MessageType.signal:
                return message.body

    def send(self, member: str, kinds: str = "", *body: Any) -> None:
        """Calls without waiting."""
        self.connection.send(new_method_call(self.address, member, kinds or None, body))

    def property(self, name: str) -> Any:
        """A property's value."""
        return self.got("Get", "ss", self.address.interface, name, interface="org.freedesktop.DBus.Properties")[1]

    def signals(self, count: int, timeout: float = 20.0) -> list[tuple[str, Any]]:
        """The next signals but the bus's own: member and body. Fewer if they do not come in time."""
        found: list[tuple[str, Any]] = []
        deadline = time.monotonic() + timeout
        while len(found) < count and (left := deadline - time.monotonic()) > 0:
            try:
                message = self.connection.receive(timeout=left)
            except TimeoutError:
                break
            fields = message.header.fields
            if message.header.message_type is MessageType.signal and fields[HeaderFields.sender] != (
                "org.freedesktop.DBus"
            ):
                found.append((fields[HeaderFields.member], message.body))
        return found
