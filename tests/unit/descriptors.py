"""What this process has open."""

from __future__ import annotations

import gc
from pathlib import Path

#: The numbers of all that are open, and what they are of.
Descriptors = set[tuple[str, str]]


def descriptors() -> Descriptors:
    """All that is open now."""
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.add((fd.name, str(fd.readlink())))
        except OSError:
            continue  # the one that listed them
    return found


def left_open(before: Descriptors) -> Descriptors:
    """What has been opened since and not closed. Cycles of objects that nobody reaches any more may hold some for a
    while, older ones as well: so whoever only counts, counts wrong."""
    if descriptors() - before:
        gc.collect()
    return descriptors() - before
