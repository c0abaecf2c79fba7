"""Starting a small process that stays beside the guard, from the front: a shell, which does what takes no more than
that and then becomes the program, in a session of its own."""

from __future__ import annotations

import os

_SHELL = "/bin/sh"
#: Where the package is, for programs that have no way of their own to find it.
PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def start(name: str, script: str, arguments: list[str], standard_input: int) -> None:
    """Starts it; it inherits no more than the descriptors that may be.

    Args:
        name: What the shell calls itself.
        script: What the shell does, with the arguments as $1 and so on.
        standard_input: A descriptor.

    Raises:
        OSError: It cannot be started.
    """
    os.posix_spawn(
        _SHELL,
        ["sh", "-c", script, name, *arguments],
        {},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, standard_input, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
        ],
        setsid=True,
        setsigmask=(),
    )
