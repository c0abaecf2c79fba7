"""The entry point: in whose role okoomer was called. Each role imports only what it needs: one that takes another
daemon's place has to be there as fast as that."""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

#: Other daemons whose place okoomer takes, if it is called by their names or with such a name as its first word. Each
#: is a module of this package; its `main` takes the arguments and gives the exit code.
ROLES = ("earlyoom", "nohang", "systemd-oomd")


def main() -> NoReturn:
    """Runs the command line of this process; does not return."""
    words = [sys.argv[0].rpartition("/")[2], *sys.argv[1:]]
    role = next((word for word in words[:2] if word in ROLES), "")
    if role:
        sys.exit(importlib.import_module(f"okoomer.cli.{role.replace('-', '_')}").main(words[words.index(role) + 1 :]))
    from okoomer.cli.commands import run

    run()
