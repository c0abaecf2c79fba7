"""What is said to the bus itself."""

from __future__ import annotations

from jeepney import DBusAddress, MatchRule, Message, new_method_call  # type: ignore[import-untyped]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BUS, BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
#: RequestName: the flag that wants no place in the queue, and the answers that the name is ours, and somebody else's.
DO_NOT_QUEUE, OWNED, TAKEN = 4, (1, 4), 3


def bus_call(member: str, signature: str | None = None, body: tuple[Any, ...] = ()) -> Message:
    """A call of the bus itself."""
    return new_method_call(DBusAddress(BUS_PATH, BUS, BUS), member, signature, body)


def owner_rule(name: str) -> MatchRule:
    """Hears when a name has another owner."""
    rule = MatchRule(type="signal", sender=BUS, interface=BUS, member="NameOwnerChanged", path=BUS_PATH)
    rule.add_arg_condition(0, name)
    return rule
