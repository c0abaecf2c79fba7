"""What the guard needs to know of paths.

The guard uses `posix`, which is built in and has the system calls; `os`, which wraps it, would cost 0.3 MiB for life
with what it imports, for the few lines that are here.
"""

from __future__ import annotations

import posix as os
import sys
from _stat import S_ISDIR


def exists(path: str) -> bool:
    """Whether there is something at a path that can be looked at."""
    try:
        os.stat(path)
    except (OSError, ValueError):
        return False
    return True


def is_directory(path: str) -> bool:
    """Whether there is a directory at a path."""
    try:
        return S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def encoded(path: str) -> bytes:
    """The bytes of a path, whatever they are (PEP 383)."""
    return path.encode(sys.getfilesystemencoding(), "surrogateescape")


def decoded(path: bytes) -> str:
    """The path of which these are the bytes: what is no text in them survives."""
    return path.decode(sys.getfilesystemencoding(), "surrogateescape")


def variable(name: str) -> str:
    """A variable of the environment that the process was started with, "" if it is not there."""
    return decoded(os.environ.get(encoded(name), b""))
