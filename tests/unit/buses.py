"""A private system bus, and somebody who listens there as systembus-notify does."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from jeepney import Message, MessageType  # type: ignore[import-untyped]
from jeepney.bus_messages import MatchRule, message_bus  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]

DAEMON = shutil.which("dbus-daemon")

#: The policy of the usual system bus: signals may be sent and heard by all, names are owned by nobody.
CONFIG = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  </policy>
  INCLUDED
</busconfig>
"""


class Daemon:
    """The real dbus-daemon as a system bus, at a socket of its own; `included` are files of more policies."""

    def __init__(self, directory: Path, *included: Path) -> None:
        self.socket = directory / "bus"
        self.address = f"unix:path={self.socket}"
        self._config = directory / "bus.conf"
        more = "".join(f"<include>{path}</include>" for path in included)
        self._config.write_text(CONFIG.strip().replace("SOCKET", str(self.socket)).replace("INCLUDED", more))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; on return it takes connections."""
        assert DAEMON and self._process is None
        command = [DAEMON, f"--config-file={self._config}", "--nofork", "--nopidfile", "--print-address=1"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        assert self._process.stdout
        with self._process.stdout as out:
            assert self.address.encode() in out.readline()

    def stop(self) -> None:
        """Ends it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        assert self._process
        os.kill(self._process.pid, number)


@dataclass(frozen=True)
class Heard:
    """One announcement."""

    path: str
    signature: str
    words: tuple[str, ...]
    at: float


class Listener:
    """Hears what systembus-notify would, by its own match rule, and when."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self._connection: DBusConnection = open_dbus_connection("SYSTEM", auth_timeout=60)
        rule = MatchRule(type="signal", interface="net.nuetzlich.SystemNotifications", member="Notify")
        self._connection.send_and_get_reply(message_bus.AddMatch(rule), timeout=20)
        self._over = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._over:
            try:
                message: Message = self._connection.receive(timeout=0.1)
            except TimeoutError:
                continue
            except OSError:
                return
            fields = {field.name: value for field, value in message.header.fields.items()}
            if message.header.message_type is MessageType.signal and fields.get("member") == "Notify":
                self.heard.append(
                    Heard(fields["path"], fields.get("signature", ""), tuple(message.body), time.monotonic())
                )

    def close(self) -> None:
        self._over = True
        self._thread.join()
        self._connection.close()
