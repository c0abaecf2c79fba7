"""The kernel's OOM killer and nobody else: what every daemon has to be better than."""

from .model import Daemon, Setting, guest_files, setup

# The kernel writes its record for programs: keys and values on one line.
RECORD = r"oom-kill:constraint=(?P<why>\w+),.*task=(?P<victim>.*),pid="
SAID = "kmsg oom-kill:\n"
LRU_GEN = "/sys/kernel/mm/lru_gen"
MGLRU = f"""\
echo y >{LRU_GEN}/enabled
echo "${{setting:-1000}}" >{LRU_GEN}/min_ttl_ms
grep -qx 0x0007 {LRU_GEN}/enabled
grep -qx "${{setting:-1000}}" {LRU_GEN}/min_ttl_ms
"""

NONE = Daemon(
    name="none",
    title="kernel alone",
    settings="No daemon. The kernel as Debian configures it, without MGLRU.",
    unit="",
    packages=(),
    files=lambda: guest_files(),
    setup=setup(SAID),
    start="",
    version="uname -sr",
    reason=RECORD,
)

NONE_MGLRU = Daemon(
    name="none-mglru",
    title="kernel, MGLRU",
    settings="No daemon. MGLRU is on, and what was used in the last second is not evicted: the kernel's killer comes "
    "instead. 1000 ms is what the kernel's documentation suggests (admin-guide/mm/multigen_lru.rst).",
    unit="",
    packages=(),
    files=lambda: guest_files(),
    setup=setup(SAID + MGLRU),
    start="",
    version="uname -sr",
    reason=RECORD,
    sweep=tuple(Setting(f"min_ttl {ms} ms", str(ms)) for ms in (100, 300, 1000, 3000, 10000)),
)
