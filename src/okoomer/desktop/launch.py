"""Becoming the agent, from the front: the parsers and all that it does not need are left behind."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

#: Without the site module and its directories, as the guard is started (guard/main.py).
_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[3]); from okoomer.desktop.main import main; main(*sys.argv[1:3])"


def launch(session: str, third_party: str) -> NoReturn:
    """Replaces the present process by the agent.

    Args:
        session: The address of the session's bus.
        third_party: The directory that holds jeepney, "" if it is found anyway.

    Raises:
        OSError: It cannot be executed.
    """
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, session, third_party, package])
