"""The agent's process."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(session: str, third_party: str) -> NoReturn:
    """Runs the agent of one session; see launch."""
    if third_party and third_party not in sys.path:
        sys.path.append(third_party)
    from okoomer.desktop.agent import Agent

    os.chdir("/")
    _name("okoomer-desktop")
    os._exit(Agent(session, os.geteuid()).run())


def _name(name: str) -> None:
    try:
        with open("/proc/self/comm", "wb", buffering=0) as file:
            file.write(name.encode())
    except OSError:
        pass  # a name is a courtesy
