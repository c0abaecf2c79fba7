"""/proc/spl/kstat/zfs/arcstats: the cache of ZFS, which the kernel counts as used memory."""

from __future__ import annotations

from okoomer.facts import Arc
from okoomer.kernel.files import whole


def parse(text: bytes) -> Arc:
    """Size and minimum in bytes. Lines are `name type data`; type 4 is an unsigned number.

    Raises:
        ValueError: One of the two is missing.
    """
    return Arc(_field(text, b"size"), _field(text, b"c_min"))


def _field(text: bytes, name: bytes) -> int:
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0] == name:
            return whole(fields[2])
    raise ValueError(f"no {name.decode()}")
