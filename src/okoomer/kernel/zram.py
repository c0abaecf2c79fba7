"""/sys/block/zram*: compressed block devices in memory."""

from __future__ import annotations

import posix as os

from okoomer.facts import Zram
from okoomer.kernel.files import read, whole


def devices(sys: str) -> list[str]:
    """Directories of the zram devices below a /sys."""
    try:
        return sorted(f"{sys}/block/{name}" for name in os.listdir(f"{sys}/block") if name.startswith("zram"))
    except OSError:
        return []


def read_all(directories: list[str]) -> Zram | None:
    """All set-up devices together, or None where there is none. A device that vanishes meanwhile is left out."""
    size = stored = used = 0
    for directory in directories:
        try:
            disk_size = whole(read(f"{directory}/disksize"))
            original, _compressed, total, *_rest = read(f"{directory}/mm_stat").split()
            size, stored, used = size + disk_size, stored + whole(original), used + whole(total)
        except (OSError, ValueError):
            continue
    return Zram(size, stored, used) if size else None
