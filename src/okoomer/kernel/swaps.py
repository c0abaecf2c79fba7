"""/proc/swaps: which part of swap lies on zram."""

from __future__ import annotations

from okoomer.kernel.files import whole


def parse(text: bytes) -> tuple[int, int]:
    """Total and free bytes of the swap areas on zram devices.

    Raises:
        ValueError, IndexError: A line has not the fields `Filename Type Size Used Priority`.
    """
    total = free = 0
    for line in text.splitlines()[1:]:
        name, kind, size, used, _priority = line.split()
        # A swap file may have any name; a device is a partition, whole or not.
        if kind == b"partition" and name.rsplit(b"/", 1)[-1].startswith(b"zram"):
            total += max(0, whole(size)) * 1024
            free += max(0, whole(size) - whole(used)) * 1024
    return total, free
