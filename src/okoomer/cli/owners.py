"""Who owns names on a bus. Nobody is called, so nothing is started by it."""

from __future__ import annotations

from typing import Any

from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]

from okoomer.bus.daemon import bus_call

#: Seconds for an answer of the bus itself, also when it is to let us in: who asks may do so because memory is short.
PATIENCE = 5.0


def connect(address: str) -> DBusConnection:
    """A connection to a bus: "SYSTEM", "SESSION" or an address.

    Raises:
        OSError: It cannot be used; the text says why.
    """
    try:
        return open_dbus_connection(address, auth_timeout=PATIENCE)
    except Exception as error:  # jeepney raises many kinds
        raise OSError(getattr(error, "strerror", None) or str(error) or type(error).__name__) from error


class Owners:
    """See the module.

    Raises:
        OSError: The bus cannot be used, or has gone; so do all that ask it something.
    """

    def __init__(self, address: str) -> None:
        self._connection = connect(address)

    def close(self) -> None:
        self._connection.close()

    def owned(self, name: str) -> bool:
        """Whether somebody owns a name."""
        return self._ask("NameHasOwner", name) is True

    def pid(self, name: str) -> int:
        """The process of a name's owner, 0 if there is none."""
        return int(self._ask("GetConnectionUnixProcessID", name) or 0)

    def startable(self, name: str) -> bool:
        """Whether a name is owned by somebody as soon as it is called."""
        return name in (self._ask("ListActivatableNames") or ())

    def _ask(self, member: str, *words: str) -> Any:
        message = bus_call(member, "s" * len(words) or None, words)
        answer = self._connection.send_and_get_reply(message, timeout=PATIENCE)
        # An error says that there is no such name.
        return answer.body[0] if answer.body and answer.header.message_type.name == "method_return" else None
