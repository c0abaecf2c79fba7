"""A session's bus of our own, a notification server there that does what the test says, somebody on the system bus in
okoomer's place, and the agent between them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jeepney import (  # type: ignore[import-untyped]
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    new_error,
    new_method_return,
    new_signal,
)
from jeepney.bus_messages import message_bus  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]

from tests.unit.buses import Daemon

ROOT = Path(__file__).parents[2]
#: Who may own okoomer's name, as it is shipped.
POLICY = ROOT / "dbus/org.okoomer.Okoomer1.conf"

SESSION = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


class Session(Daemon):
    """The real dbus-daemon as a session's bus."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._config.write_text(SESSION.strip().replace("SOCKET", str(self.socket)))


class Peer:
    """Somebody with a name on a bus, on a thread of his own: his methods answer, and he can send signals."""

    name = path = ""

    def __init__(self, address: str) -> None:
        self.hangs = False
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._connection: DBusConnection = open_dbus_connection(address, auth_timeout=60)
        self.unique = str(self._connection.unique_name)
        [owned] = self._connection.send_and_get_reply(message_bus.RequestName(self.name), timeout=20).body
        assert owned == 1, owned
        self._over = False
        # Whatever is sent because of a call comes to the other end after its answer.
        self._sending = threading.RLock()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over:
            try:
                message: Message = self._connection.receive(timeout=0.05)
            except TimeoutError:
                continue
            except OSError:
                return
            if message.header.message_type is MessageType.method_call:
                try:
                    with self._sending:
                        self._take(message)
                except OSError:
                    return  # the bus has gone

    def _take(self, message: Message) -> None:
        member = message.header.fields[HeaderFields.member]
        self.calls.append((member, message.body))
        if not self.hangs:
            signature, body = self.answer(member, message.body)
            self._connection.send(
                new_error(message, signature, "s", body)
                if "." in signature
                else new_method_return(message, signature or None, body)
            )

    def answer(self, member: str, body: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        """The signature and body of an answer; or the name of an error, and a text."""
        raise NotImplementedError

    def emit(self, member: str, signature: str, *body: Any, to: str = "") -> None:
        message = new_signal(DBusAddress(self.path, interface=self.name), member, signature, body)
        if to:
            message.header.fields[HeaderFields.destination] = to
        with self._sending:
            self._connection.send(message)

    def called(self, member: str) -> list[tuple[Any, ...]]:
        return [body for name, body in list(self.calls) if name == member]

    def close(self) -> None:
        """Leaves the bus."""
        if not self._over:
            self._over = True
            self._thread.join()
            self._connection.close()


class Server(Peer):
    """A notification server. `shown` are the notifications on its screen by number: arguments of Notify."""

    name, path = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"

    def __init__(self, address: str, capabilities: tuple[str, ...] = ("actions", "body", "body-markup")) -> None:
        self.capabilities = capabilities
        self.shown: dict[int, tuple[Any, ...]] = {}
        self._last = 0
        super().__init__(address)

    def answer(self, member: str, body: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        if member == "GetCapabilities":
            return "as", (list(self.capabilities),)
        if member == "Notify":
            number = body[1]
            if number not in self.shown:
                number = self._last = self._last + 1
            self.shown[number] = body
            return "u", (number,)
        if member == "CloseNotification":
            if self.shown.pop(body[0], None):
                self.emit("NotificationClosed", "uu", body[0], 3)
            return "", ()
        return "org.freedesktop.DBus.Error.UnknownMethod", (member,)

    def texts(self) -> list[tuple[str, str]]:
        """Summaries and bodies on the screen."""
        return [(body[3], body[4]) for body in list(self.shown.values())]

    def press(self, number: int, key: str, closes: bool = False) -> None:
        """The person presses a button; some servers then close what it was on."""
        self.emit("ActionInvoked", "us", number, key)
        if closes:
            self.dismiss(number)

    def dismiss(self, number: int, why: int = 2) -> None:
        with self._sending:
            self.shown.pop(number, None)
            self.emit("NotificationClosed", "uu", number, why)


class Okoomer(Peer):
    """okoomer's courier, as far as an agent knows it."""

    name, path = "org.okoomer.Okoomer1", "/org/okoomer/Okoomer1"

    def __init__(self, address: str = "SYSTEM", questions: dict[int, dict[str, Any]] | None = None) -> None:
        # Those that are open already: an agent asks for them as soon as the name has an owner.
        self.questions = questions or {}
        self.history: list[str] = []
        self.refusal = ""
        super().__init__(address)

    def answer(self, member: str, body: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        if member in ("Answer", "Pause", "Resume") and self.refusal:
            return f"{self.name}.Error.{self.refusal}", ("no, since it is so",)
        if member in ("Attend", "Answer", "Pause", "Resume"):
            return "", ()
        if member == "History":
            return "as", (self.history,)
        if member == "Get" and body == (self.name, "Questions"):
            return "v", (("a{ua{sv}}", {number: typed(details) for number, details in self.questions.items()}),)
        return "org.freedesktop.DBus.Error.UnknownMethod", (member,)

    def tell(self, member: str, **details: Any) -> None:
        self.emit(member, "a{sv}", typed(details))

    def ask(self, number: int, **details: Any) -> None:
        with self._sending:
            self.questions[number] = details
            self.emit("Question", "ua{sv}", number, typed(details))

    def over(self, number: int, how: str = "late", answer: str = "") -> None:
        with self._sending:
            self.questions.pop(number, None)
            self.emit("Closed", "uss", number, how, answer)


def typed(details: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Details as a{sv}, with the types that docs/dbus.md gives them."""
    return {key: _typed(key, value) for key, value in details.items()}


def _typed(key: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, bool):
        return "b", value
    if isinstance(value, str):
        return "s", value
    if isinstance(value, (list, tuple)):
        return ("au" if key == "pids" else "as"), list(value)
    if isinstance(value, float):
        return "d", value
    return ("i" if key == "user" else "u" if key == "pid" else "t"), value


def question(**changes: Any) -> dict[str, Any]:
    """The details of a question about a process of root's, which is who runs the tests."""
    asked = {
        "rule": "low", "name": "make", "pids": [42, 43], "user": os.geteuid(), "cgroup": "/user.slice", "seconds": 20.0,
        "until": time.time() + 20, "choices": ["resume", "end", "limit"], "then": "term", "freed": 3435973837,
        "available": 220200960, "paused": True, "limit": 536870912, "why": "it grows fastest",
    }  # fmt: skip
    return {**asked, **changes}


class AgentProcess:
    """The agent as `okoomer desktop` starts it. Takes the buses from the environment, changed by `environment`."""

    def __init__(self, **environment: str) -> None:
        program = "from okoomer.cli.desktop import command; command()"
        self._words = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **environment},
            stderr=self._words,
            start_new_session=True,
        )

    @property
    def words(self) -> str:
        """What it has said by now."""
        return os.pread(self._words.fileno(), 1 << 20, 0).decode()

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self, seconds: float = 60.0) -> tuple[int, str]:
        """Ends it; its exit code and what it has said."""
        self.process.terminate()
        return self.ended(seconds)

    def ended(self, seconds: float = 60.0) -> tuple[int, str]:
        """When it ends by itself."""
        try:
            code = self.process.wait(seconds)
            return code, self.words
        finally:
            self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._words.close()


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Waits for something.

    Raises:
        TimeoutError: It did not come.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)
