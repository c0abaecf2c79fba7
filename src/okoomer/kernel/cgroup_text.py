"""The small files of a cgroup (Documentation/admin-guide/cgroup-v2.rst): their texts as numbers.

Each raises ValueError or IndexError where a text makes no sense; what a kernel does not offer is None.
"""

from __future__ import annotations

import posix as os

from okoomer.kernel.files import number_after, whole
from okoomer.record import Record

PAGE = os.sysconf("SC_PAGE_SIZE")
#: Device time that a read, a byte read, a write, a byte written, a discard and a byte discarded cost, as oomd reckons
#: it: of a disk that turns, and of one that does not.
TURNING = (1.31e-3, 1.13e-7, 2.58e-1, 5.04e-7, 0.0, 0.0)
SOLID = (1.21e-2, 6.25e-7, 1.07e-3, 2.61e-7, 2.37e-2, 9.10e-10)
COUNTERS = (b"rios", b"rbytes", b"wios", b"wbytes", b"dios", b"dbytes")


class Accounts(Record):
    """memory.stat, in bytes."""

    anon: int | None
    file: int | None
    shmem: int | None
    scan: int | None
    steal: int | None
    refault: int | None


def number(text: bytes) -> int:
    """A file that holds one number."""
    return whole(text)


def limit(text: bytes) -> int | None:
    """memory.high or memory.max: None is no limit."""
    return None if text.strip() == b"max" else whole(text)


def protected(text: bytes) -> int:
    """memory.min or memory.low: `max` is all that can be."""
    return 2**63 - 1 if text.strip() == b"max" else whole(text)


def flag(text: bytes) -> bool:
    """A file that holds 0 or 1."""
    return whole(text) != 0


def accounts(text: bytes) -> Accounts:
    """memory.stat."""
    text = b"\n" + text
    anon = number_after(text, b"\nanon ")
    if anon is None and b"\nfile " not in text:
        raise ValueError("no sizes")

    def pages(*keys: bytes) -> int | None:
        found = [number_after(text, b"\n" + key + b" ") for key in keys]
        counts = [count for count in found if count is not None]
        return PAGE * sum(counts) if counts else None

    return Accounts(
        anon,
        number_after(text, b"\nfile "),
        number_after(text, b"\nshmem "),
        # Linux before 4.20 has no sums.
        _first(pages(b"pgscan"), pages(b"pgscan_kswapd", b"pgscan_direct")),
        _first(pages(b"pgsteal"), pages(b"pgsteal_kswapd", b"pgsteal_direct")),
        # Linux before 5.9 counts only files, under the shorter name.
        _first(pages(b"workingset_refault_anon", b"workingset_refault_file"), pages(b"workingset_refault")),
    )


def _first(preferred: int | None, otherwise: int | None) -> int | None:
    return otherwise if preferred is None else preferred


def counts(text: bytes) -> tuple[tuple[str, int], ...]:
    """memory.events or cgroup.events: what happened, and how often."""
    found = []
    for line in text.splitlines():
        key, value = line.split()
        found.append((key.decode("ascii", "backslashreplace"), whole(value)))
    return tuple(found)


def dying(text: bytes) -> int | None:
    """cgroup.stat: the removed cgroups below that still hold memory."""
    return number_after(b"\n" + text, b"\nnr_dying_descendants ")


def flows(text: bytes) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """io.stat: for each device, as `major:minor`, the counts of `COUNTERS`; one that is not offered is 0."""
    found = []
    for line in text.splitlines():
        device, *fields = line.split()
        if b":" not in device:
            raise ValueError("no device")
        values = dict.fromkeys(COUNTERS, 0)
        for field in fields:
            key, _, value = field.partition(b"=")
            if key in values:
                values[key] = whole(value)
        found.append((device.decode("ascii", "backslashreplace"), tuple(values.values())))
    return tuple(found)


def cost(counted: tuple[int, ...], turning: bool) -> float:
    """The device time that the counts of one device cost."""
    return sum(count * each for count, each in zip(counted, TURNING if turning else SOLID, strict=True))
