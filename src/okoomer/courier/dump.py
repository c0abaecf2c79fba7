"""What `oomctl` shows: the limits, the cgroups that are watched and how they fare, in the words that it is known by."""

from __future__ import annotations

import os
from time import localtime, strftime

from okoomer.courier.managed import PRESSURE, SWAP, Setting
from okoomer.events.text import harmless
from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Bytes of a file that are read.
ROOM = 1 << 16


class Limits(Record):
    """What holds where a unit sets nothing, as texts: shares such as "90.00%" and a time such as "30s"."""

    swap: str
    pressure: str
    duration: str
    dry_run: bool = False


class Kill(Record):
    """A cgroup that was killed as a whole, why, and when (Unix time)."""

    cgroup: str
    reason: str
    at: float


def dump(limits: Limits, settings: Sequence[Setting], hierarchy: str, last: Kill | None, proc: str = "/proc") -> str:
    """The text.

    Args:
        settings: What units have set, by path.
        hierarchy: Where the cgroups are mounted.
        last: The last kill.
    """
    swap = [setting for setting in settings if setting.what == SWAP]
    pressure = [setting for setting in settings if setting.what == PRESSURE]
    rules = [setting for setting in settings if setting.what not in (SWAP, PRESSURE)]
    lines = [
        f"Dry Run: {'yes' if limits.dry_run else 'no'}",
        f"Swap Used Limit: {limits.swap}",
        f"Default Memory Pressure Limit: {limits.pressure}",
        f"Default Memory Pressure Duration: {limits.duration}",
        "System Context:",
        *_system(proc),
        "Swap Monitored CGroups:",
    ]
    for setting in swap:
        lines += [f"\tPath: {harmless(setting.path)}", f"\t\tSwap Usage: {_swap(hierarchy, setting.path)}"]
    lines.append("Memory Pressure Monitored CGroups:")
    for setting in pressure:
        lines += _pressure(limits, setting, hierarchy)
    if rules:
        lines.append("OOM Rules Monitored CGroups:")
    for setting in rules:
        lines += [f"\tPath: {harmless(setting.path)}", f"\t\tRule: {setting.what.partition(':')[2]}"]
    if last:
        at = strftime("%Y-%m-%d %H:%M:%S", localtime(last.at))
        lines.append(f"Last Kill: {harmless(last.cgroup)} at {at}, {harmless(last.reason)}")
    return "\n".join(lines) + "\n"


def _system(proc: str) -> list[str]:
    fields = {}
    for line in _read(f"{proc}/meminfo").splitlines():
        name, _, value = line.partition(":")
        number = value.split()[:1]
        if number and number[0].isdecimal():
            fields[name] = int(number[0]) * 1024
    memory, swap = fields.get("MemTotal", 0), fields.get("SwapTotal", 0)
    return [
        f"\tMemory: Used: {amount(memory - fields.get('MemAvailable', 0))} Total: {amount(memory)}",
        f"\tSwap: Used: {amount(swap - fields.get('SwapFree', 0))} Total: {amount(swap)}",
    ]


def _swap(hierarchy: str, path: str) -> str:
    return "(see System Context)" if path == "/" else _size(f"{hierarchy}{path}/memory.swap.current")


def _pressure(limits: Limits, setting: Setting, hierarchy: str) -> list[str]:
    directory = hierarchy + setting.path.rstrip("/")
    limit = limits.pressure if setting.limit is None else f"{setting.limit * 100:.2f}%"
    duration = limits.duration if setting.seconds is None else f"{setting.seconds:g}s"
    lines = [
        f"\tPath: {harmless(setting.path)}",
        f"\t\tMemory Pressure Limit: {limit}",
        f"\t\tMemory Pressure Duration: {duration}",
    ]
    stalls = _read(f"{directory}/memory.pressure") or _read("/proc/pressure/memory" if setting.path == "/" else "")
    for line in stalls.splitlines():
        kind, *pairs = line.split()
        if kind == "full":
            values = dict(pair.partition("=")[::2] for pair in pairs)
            total = int(values["total"]) if values.get("total", "").isdecimal() else 0
            averages = " ".join(f"Avg{time}: {values.get(f'avg{time}', '0.00')}" for time in (10, 60, 300))
            lines.append(f"\t\tPressure: {averages} Total: {total / 1e6:.3f}s")
    if setting.path != "/":
        lines.append(f"\t\tCurrent Memory Usage: {_size(f'{directory}/memory.current')}")
        lines.append(f"\t\tMemory Min: {_size(f'{directory}/memory.min')}")
        lines.append(f"\t\tMemory Low: {_size(f'{directory}/memory.low')}")
    words = _read(f"{directory}/memory.stat").split()
    scanned = dict(zip(words[::2], words[1::2], strict=False)).get("pgscan", "unknown")
    lines.append(f"\t\tPgscan: {scanned}")
    return lines


def _size(path: str) -> str:
    value = _read(path).strip()
    return amount(int(value)) if value.isdecimal() else value or "unknown"


def amount(size: int) -> str:
    """Bytes as systemd writes them: 1.9G."""
    value, unit = float(size), "B"
    for bigger in "KMGTPE":
        if value < 1024:
            break
        value, unit = value / 1024, bigger
    return f"{size}B" if unit == "B" else f"{int(value * 10) / 10:.1f}{unit}"


def _read(path: str) -> str:
    if not path:
        return ""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return ""
    try:
        return os.read(fd, ROOM).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
