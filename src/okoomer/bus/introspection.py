"""Introspection XML (org.freedesktop.DBus.Introspectable), from the tables that calls are dispatched by."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from okoomer.bus.service import Interface

_DOCTYPE = (
    '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
    ' "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n'
)
_STANDARD = """\
  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect">
      <arg type="s" name="xml" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
    <method name="GetMachineId">
      <arg type="s" name="id" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg type="s" name="interface" direction="in"/>
      <arg type="s" name="property" direction="in"/>
      <arg type="v" name="value" direction="out"/>
    </method>
    <method name="GetAll">
      <arg type="s" name="interface" direction="in"/>
      <arg type="a{sv}" name="properties" direction="out"/>
    </method>
    <method name="Set">
      <arg type="s" name="interface" direction="in"/>
      <arg type="s" name="property" direction="in"/>
      <arg type="v" name="value" direction="in"/>
    </method>
    <signal name="PropertiesChanged">
      <arg type="s" name="interface"/>
      <arg type="a{sv}" name="changed"/>
      <arg type="as" name="invalidated"/>
    </signal>
  </interface>
"""


def arguments(text: str) -> list[tuple[str, str]]:
    """The types and names in "u question, s word": each argument is one type, and may have a name behind it."""
    found = []
    for one in text.split(","):
        kind, _, name = one.strip().partition(" ")
        if kind:
            found.append((kind, name.strip()))
    return found


def signature(text: str) -> str:
    """The types alone."""
    return "".join(kind for kind, _ in arguments(text))


def described(interface: Interface) -> str:
    """The XML of one interface."""
    lines = [f'  <interface name="{interface.name}">']
    for member, (taken, given, _) in interface.methods.items():
        args = _args(taken, ' direction="in"') + _args(given, ' direction="out"')
        lines += _element("method", member, args)
    for member, text in interface.signals.items():
        lines += _element("signal", member, _args(text))
    for name, (kind, _) in interface.properties.items():
        if name in interface.changing:
            lines.append(f'    <property type="{kind}" name="{name}" access="read"/>')
            continue
        said = "const" if name in interface.constant else "false"
        lines += [
            f'    <property type="{kind}" name="{name}" access="read">',
            f'      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="{said}"/>',
            "    </property>",
        ]
    return "\n".join([*lines, "  </interface>"]) + "\n"


def document(interfaces: Iterable[Interface], below: Iterable[str]) -> str:
    """What an object answers: its interfaces, and the nodes below it."""
    own = "".join(map(described, interfaces))
    nodes = "".join(f'  <node name="{name}"/>\n' for name in below)
    return f"{_DOCTYPE}<node>\n{_STANDARD if own else ''}{own}{nodes}</node>\n"


def _args(text: str, direction: str = "") -> list[str]:
    return [
        f'      <arg type="{kind}"' + (f' name="{name}"' if name else "") + f"{direction}/>"
        for kind, name in arguments(text)
    ]


def _element(kind: str, name: str, args: list[str]) -> list[str]:
    opened = f'    <{kind} name="{name}"'
    return [f"{opened}>", *args, f"    </{kind}>"] if args else [f"{opened}/>"]
