"""Compiled files for the processes that stay: one that has to compile itself keeps 1 MiB of the compiler's leavings for
life. Whether the front has left compiled files behind by importing them depends on its environment."""

from __future__ import annotations

import compileall
import os
from pathlib import Path

import okoomer
from okoomer.guard.launch import LEAN


def compile_all() -> None:
    """Compiles whatever has changed since it was compiled: for the courier as it is, for the guard without docstrings.
    Where nothing can be written that would be in vain."""
    package = Path(okoomer.__file__).parent
    if os.access(package, os.W_OK):
        for level in (0, LEAN):
            compileall.compile_dir(package, quiet=2, optimize=level)
