"""/proc/swaps: which part of swap lies on zram."""

from __future__ import annotations


def parse(text: bytes) -> tuple[int, int]:
    """Total and free bytes of the swap areas on zram devices.

    Raises:
        ValueError, IndexError: A line has not the fields `Filename Type Size Used Priority`.
    """
    total = free = 0
    for line in text.splitlines()[1:]:
        name, _kind, size, used, _priority = line.split()
        if name.rsplit(b"/", 1)[-1].startswith(b"zram"):
            total += int(size) * 1024
            free += (int(size) - int(used)) * 1024
    return total, free
