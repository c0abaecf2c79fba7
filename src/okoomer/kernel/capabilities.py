"""Doing without a right that a thread has (capabilities(7)): some files of the kernel mean more to it when whoever
writes them has a capability. The C library's capget and capset speak of the calling thread only."""

from __future__ import annotations

from _struct import pack, unpack

from okoomer.kernel.syscalls import Byte, function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: include/uapi/linux/capability.h
CAP_SYS_RESOURCE = 24
_VERSION, _WORDS = 0x20080522, "=6I"


def without(capability: int, do: Callable[[], None]) -> None:
    """Does something without a capability of less than 32, if the thread has it, and as far as the C library can."""
    try:
        get, put = function("capget"), function("capset")
    except OSError:
        do()
        return
    header, found = pack("=Ii", _VERSION, 0), (Byte * 24)()
    has = b""
    if get(header, found) == 0:
        words = [*unpack(_WORDS, bytes(found))]
        if words[0] >> capability & 1:
            has = bytes(found)
            words[0] &= ~(1 << capability)
            put(header, pack(_WORDS, *words))
    try:
        do()
    finally:
        if has:
            put(header, has)
