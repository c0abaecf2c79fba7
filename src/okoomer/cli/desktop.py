"""`okoomer desktop`: the agent in a person's session."""

from __future__ import annotations

import compileall
import os
from pathlib import Path

import click
from jeepney.bus import get_bus  # type: ignore[import-untyped]

import okoomer
from okoomer.cli.errors import BadInput, CannotHere
from okoomer.courier.launch import third_party
from okoomer.desktop.launch import launch
from okoomer.kernel.syscalls import disable_huge_pages


@click.command()
def command() -> None:
    """Show in this session what okoomer does, as notifications, and take the answers to its questions.

    It runs until the session ends, and is started by okoomer-desktop.service or by the session's autostart. It says
    what other daemons announce as well, so systembus-notify need not run beside it.

    \b
    Example:
      okoomer desktop                  in a terminal of the session, to try it
    """
    session = session_bus()
    disable_huge_pages()  # a page of 2 MiB for a few kilobytes
    # An agent that has to compile itself keeps 1 MiB of the compiler's leavings for life.
    for part in ("bus", "desktop", "events"):
        compileall.compile_dir(Path(okoomer.__file__).parent / part, quiet=2)
    launch(session, third_party())


def session_bus() -> str:
    """The address of this session's bus.

    Raises:
        BadInput: What the environment says is none.
        CannotHere: There is none.
    """
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    if not address:
        path = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}", "bus")
        if not path.exists():
            raise CannotHere(
                f"there is no session's bus: DBUS_SESSION_BUS_ADDRESS is not set, and there is no {path}; "
                "start okoomer desktop in a session"
            )
        address = f"unix:path={path}"
    try:
        get_bus(address)
    except (ValueError, KeyError, RuntimeError, StopIteration) as error:
        raise BadInput(
            f"DBUS_SESSION_BUS_ADDRESS: {address!r} is no address of a bus, such as unix:path=/run/user/1000/bus"
        ) from error
    return address
