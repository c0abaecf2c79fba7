"""/proc/vmstat: how much was moved since boot."""

from __future__ import annotations

from okoomer.facts import Paging
from okoomer.kernel.files import number_after

PAGE = 4096


def parse(text: bytes) -> Paging:
    """Counters of /proc/vmstat, pages as bytes. A counter that this kernel lacks is 0 and stays so.

    Raises:
        ValueError, IndexError: There is no such counter at all, or one is not a number.
    """

    def count(*keys: bytes) -> int:
        for key in keys:
            number = number_after(text, b"\n" + key + b" ")
            if number is not None:
                return number
        return 0

    if b"\npswpin " not in text and b"\npgmajfault " not in text:
        raise ValueError("no counters")
    return Paging(
        swapin=PAGE * count(b"pswpin"),
        swapout=PAGE * count(b"pswpout"),
        refault_anon=PAGE * count(b"workingset_refault_anon"),
        # Linux before 5.9 counts only files, under the shorter name.
        refault_file=PAGE * count(b"workingset_refault_file", b"workingset_refault"),
        scan_kswapd=PAGE * count(b"pgscan_kswapd"),
        scan_direct=PAGE * count(b"pgscan_direct"),
        steal=PAGE * (count(b"pgsteal_kswapd") + count(b"pgsteal_direct")),
        activated=PAGE * count(b"pgactivate"),
        major_faults=count(b"pgmajfault"),
        oom_kills=count(b"oom_kill"),
    )
