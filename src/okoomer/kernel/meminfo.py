"""/proc/meminfo."""

from __future__ import annotations

from okoomer.facts import Memory, Swap
from okoomer.kernel.files import number_after


def parse(text: bytes) -> tuple[Memory, Swap]:
    """Memory and swap from /proc/meminfo. Figures that cannot be are cut to what can: kernels have reported
    MemAvailable above MemTotal, and numbers just below 2**64 where a counter had fallen below 0.

    Raises:
        ValueError, IndexError: MemTotal or MemFree is missing, or a figure is not a number.
    """

    def size(key: bytes) -> int | None:
        kibibytes = number_after(text, key)
        return None if kibibytes is None else kibibytes * 1024

    total, free = size(b"MemTotal:"), size(b"\nMemFree:")
    if total is None or total <= 0 or free is None:
        raise ValueError("no MemTotal or MemFree")
    cached, buffers, shmem = size(b"\nCached:") or 0, size(b"\nBuffers:") or 0, size(b"\nShmem:") or 0
    available = size(b"\nMemAvailable:")
    if available is None:  # before Linux 3.14: what a file cache could give, tmpfs excepted
        available = free + cached + buffers - shmem

    def within(value: int | None, limit: int) -> int:
        return max(0, min(value or 0, limit))

    swap_total = max(0, size(b"\nSwapTotal:") or 0)
    memory = Memory(
        total=total,
        free=within(free, total),
        available=within(available, total),
        anon=within(size(b"\nAnonPages:"), total),
        file=within(cached + buffers - shmem, total),
        shmem=within(shmem, total),
        slab_unreclaimable=within(size(b"\nSUnreclaim:"), total),
        hugetlb=within(size(b"\nHugetlb:"), total),
        writeback=within(size(b"\nWriteback:"), total),
    )
    swap_free = within(size(b"\nSwapFree:"), swap_total)
    swap_cached = within(size(b"\nSwapCached:"), swap_total - swap_free)
    return memory, Swap(swap_total, swap_free, cached=swap_cached)
