"""Sizes for people."""

KIB, MIB, GIB = 1024, 1024**2, 1024**3


def size(value: float) -> str:
    """Bytes as text: `1.4 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
