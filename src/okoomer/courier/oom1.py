"""org.freedesktop.oom1 on the system bus, as systemd-oomd offers it: what oomctl shows, and a signal for each cgroup
that was killed as a whole. On a thread of its own: only that waits for the bus."""

from __future__ import annotations

import os
import sys
from _collections import deque  # type: ignore[import-not-found]
from _socket import SCM_RIGHTS, SOL_SOCKET
from _thread import start_new_thread
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl
from itertools import count
from select import POLLIN, poll
from time import monotonic, time

from okoomer.bus.frames import Frames
from okoomer.courier.bus import PATIENCE
from okoomer.courier.dump import Kill, Limits, dump
from okoomer.courier.managed import Setting
from okoomer.events.text import harmless
from okoomer.say import Once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from socket import socket
    from typing import Any

    from jeepney import Message  # type: ignore[import-untyped]

NAME, PATH, INTERFACE = "org.freedesktop.oom1", "/org/freedesktop/oom1", "org.freedesktop.oom1.Manager"
#: Bytes of a message to us; nobody has anything longer to say, and what is longer is passed over.
LONGEST = 1 << 16
#: So many kills wait for a bus that is not there.
WAITING = 64
#: Seconds that a text is good for, and between tries to reach the bus: at first, and at most.
FRESH, SOON, LATE = 0.5, 1.0, 30.0
_OWNED = (1, 4)

_DOCTYPE = (
    '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"'
    ' "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n'
)
_MANAGER = (
    f'<node><interface name="{INTERFACE}">'
    '<method name="DumpByFileDescriptor"><arg type="h" name="fd" direction="out"/></method>'
    '<signal name="Killed"><arg type="s" name="cgroup"/><arg type="s" name="reason"/></signal>'
    "</interface></node>\n"
)


class Manager:
    """See the module.

    Args:
        directory: Where jeepney is (see launch.third_party).
        limits: What is told of the configuration.
        hierarchy: Where the cgroups are mounted.
    """

    def __init__(self, directory: str, limits: Limits, hierarchy: str) -> None:
        self._directory = directory
        self.limits = limits
        #: What units have set; renewed as a whole.
        self.settings: Sequence[Setting] = ()
        self._hierarchy = hierarchy
        self._last: Kill | None = None
        self._kills: deque[Kill] = deque(maxlen=WAITING)
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._once = Once()
        self._socket: socket | None = None
        self._serial = count(1)
        self._asked = 0
        self._text = (float("-inf"), b"")
        start_new_thread(self._run, ())

    def killed(self, cgroup: str, reason: str) -> None:
        """Tells of a cgroup that was killed as a whole, and returns at once."""
        self._last = Kill(cgroup, reason, time())
        self._kills.append(self._last)
        os.eventfd_write(self._bell, 1)

    @property
    def busy(self) -> bool:
        """Whether a kill is still to be told of."""
        return bool(self._kills) and self._socket is not None

    def _run(self) -> None:
        pause = SOON
        poller = poll()
        poller.register(self._bell, POLLIN)
        while True:
            began = monotonic()
            try:
                self._serve()
            except Exception as error:
                # Whatever a strange bus makes jeepney raise, the thread goes on.
                why = getattr(error, "strerror", None) or str(error) or type(error).__name__
                self._once("bus", f"{NAME} is not offered on the system bus: {harmless(why)}")
            finally:
                if self._socket is not None:
                    self._socket.close()
                    self._socket = None
            pause = SOON if monotonic() - began > LATE else min(LATE, pause * 2)
            poller.poll(int(pause * 1000))
            self._silence()

    def _silence(self) -> None:
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            pass

    def _serve(self) -> None:
        """Joins the bus and serves until it ends.

        Raises:
            ImportError, OSError, ValueError, RuntimeError: It does not let us in, or has gone.
        """
        if self._directory and self._directory not in sys.path:
            sys.path.append(self._directory)
        from jeepney import Message
        from jeepney.bus import get_bus  # type: ignore[import-untyped]
        from jeepney.bus_messages import message_bus  # type: ignore[import-untyped]
        from jeepney.io.blocking import prep_socket  # type: ignore[import-untyped]

        self._socket = prep_socket(get_bus("SYSTEM"), enable_fds=True, timeout=PATIENCE)
        self._send(message_bus.Hello())
        self._asked = self._send(message_bus.RequestName(NAME))
        frames, poller = Frames(LONGEST), poll()
        poller.register(self._socket.fileno(), POLLIN)
        poller.register(self._bell, POLLIN)
        self._socket.setblocking(False)
        while True:
            self._tell()
            poller.poll()
            self._silence()
            try:
                data = self._socket.recv(LONGEST)
            except BlockingIOError:
                continue
            if not data:
                raise ConnectionResetError("the bus has closed the connection")
            for raw in frames.add(data):
                try:
                    message = Message.from_buffer(raw)
                except Exception:
                    continue  # with descriptors for us, or in no form that is known
                self._hear(message)

    def _tell(self) -> None:
        from jeepney import DBusAddress, new_signal

        while self._kills:
            kill = self._kills[0]
            address = DBusAddress(PATH, interface=INTERFACE)
            self._send(new_signal(address, "Killed", "ss", (_sayable(kill.cgroup), _sayable(kill.reason))))
            self._kills.popleft()

    def _hear(self, message: Message) -> None:
        from jeepney import HeaderFields, MessageType

        fields, kind = message.header.fields, message.header.message_type
        if kind is MessageType.method_call:
            self._answer(message)
        elif fields.get(HeaderFields.reply_serial) == self._asked:
            if kind is MessageType.error:
                raise PermissionError(0, str(message.body[0]) if message.body else "the name is refused")
            if message.body[0] in _OWNED:
                self._once.over("bus")
            else:
                self._once("bus", f"{NAME} is somebody else's; it is waited for")

    def _answer(self, message: Message) -> None:
        from jeepney import HeaderFields, MessageFlag, new_error, new_method_return

        fields = message.header.fields
        path, member = fields.get(HeaderFields.path, ""), fields.get(HeaderFields.member, "")
        interface = fields.get(HeaderFields.interface, "")
        if message.header.flags & MessageFlag.no_reply_expected:
            return
        if member == "DumpByFileDescriptor" and path == PATH and interface in ("", INTERFACE):
            fd = self._dumped()
            try:
                self._send(new_method_return(message, "h", (fd,)))
            finally:
                os.close(fd)
        elif member == "Ping" and interface in ("", "org.freedesktop.DBus.Peer"):
            self._send(new_method_return(message))
        elif member == "Introspect" and interface in ("", "org.freedesktop.DBus.Introspectable"):
            self._send(new_method_return(message, "s", (_introspection(path),)))
        elif member == "GetAll" and interface in ("", "org.freedesktop.DBus.Properties"):
            self._send(new_method_return(message, "a{sv}", ({},)))
        else:
            name = "org.freedesktop.DBus.Error.UnknownMethod"
            self._send(new_error(message, name, "s", (f"there is no {_sayable(member)} here",)))

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

    def _send(self, message: Message) -> int:
        """Sends a message, within PATIENCE; its serial number."""
        from array import array

        serial, fds = next(self._serial), array("i")
        data = message.serialise(serial=serial, fds=fds)
        assert self._socket is not None
        self._socket.settimeout(PATIENCE)
        try:
            rights: list[Any] = [(SOL_SOCKET, SCM_RIGHTS, fds.tobytes())] if fds else []
            sent = self._socket.sendmsg([data], rights)
            self._socket.sendall(data[sent:])
        finally:
            self._socket.setblocking(False)
        return serial


def _sayable(text: str) -> str:
    """Text that the bus takes: no NUL and no half of a character."""
    return str(text).replace("\0", " ").encode("utf-8", "backslashreplace").decode()


def _introspection(path: str) -> str:
    if path == PATH:
        return _DOCTYPE + _MANAGER
    above = "/" if path == "/" else f"{path}/"
    if not PATH.startswith(above):
        return f"{_DOCTYPE}<node/>\n"
    return f'{_DOCTYPE}<node><node name="{PATH[len(above) :].partition("/")[0]}"/></node>\n'
