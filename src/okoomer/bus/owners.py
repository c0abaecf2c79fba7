"""Who owns the names that somebody wants to know of."""

from __future__ import annotations

from okoomer.bus.daemon import bus_call, owner_rule
from okoomer.bus.frames import RETURN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from jeepney import MatchRule, Message  # type: ignore[import-untyped]

    class Speaks(Protocol):
        """See connection.Connection."""

        up: bool

        def send(self, message: Message) -> int: ...
        def call(self, message: Message, answered: Callable[[Message | None], None]) -> None: ...
        def add_match(self, rule: MatchRule) -> None: ...


class Owner:
    """Who owns one name, and who wants to know."""

    def __init__(self) -> None:
        self.name = ""
        self.changed: list[Callable[[str], None]] = []


class Owners:
    """The names, for one connection after the other."""

    def __init__(self, connection: Speaks) -> None:
        self._connection = connection
        self._owners: dict[str, Owner] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._owners

    def of(self, name: str) -> str:
        """Who owns a name, "" if nobody does or it is not known."""
        found = self._owners.get(name)
        return found.name if found else ""

    def watch(self, name: str, changed: Callable[[str], None] | None) -> None:
        """Follows a name; see Connection.watch."""
        known = name in self._owners
        owner = self._owners.setdefault(name, Owner())
        if changed:
            owner.changed.append(changed)
        if self._connection.up:
            self._ask(name, added=known)

    def forget(self, name: str) -> None:
        """Ends that."""
        if self._owners.pop(name, None) is not None and self._connection.up:
            self._connection.send(bus_call("RemoveMatch", "s", (owner_rule(name).serialise(),)))

    def joined(self) -> None:
        """There is a bus: who owns them there?"""
        for name in self._owners:
            self._ask(name)

    def left(self) -> None:
        """The bus has gone, and all owners with it."""
        for name in list(self._owners):
            self.changed(name, "")

    def changed(self, name: str, unique: str, always: bool = False) -> None:
        """A name has another owner."""
        owner = self._owners.get(name)
        if owner is None or (owner.name == unique and not always):
            return
        owner.name = unique
        for told in list(owner.changed):
            told(unique)

    def _ask(self, name: str, added: bool = False) -> None:
        def answered(answer: Message | None) -> None:
            if answer is not None:
                owned = answer.header.message_type.value == RETURN
                self.changed(name, str(answer.body[0]) if owned else "", always=True)

        if not added:
            self._connection.add_match(owner_rule(name))
        self._connection.call(bus_call("GetNameOwner", "s", (name,)), answered)
