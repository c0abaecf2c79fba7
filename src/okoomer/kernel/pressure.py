"""Pressure stall information: the files of /proc/pressure and of cgroups, and triggers on them.

Documentation/accounting/psi.rst. The averages are renewed every two seconds only; the totals are exact at each read.
"""

from __future__ import annotations

import posix as os
from errno import EINVAL

from okoomer.facts import Pressure, Stall
from okoomer.kernel.files import whole


def parse(text: bytes) -> Pressure:
    """A pressure file: averages become shares of time 0..1, totals seconds.

    Raises:
        ValueError, IndexError: It is not a pressure file.
    """
    lines = {}
    for line in text.splitlines():
        name, *fields = line.split()
        avg10, avg60, avg300, total = (field.split(b"=", 1)[1] for field in fields)
        lines[name] = Stall(_share(avg10), _share(avg60), _share(avg300), whole(total) / 1e6)
    if b"some" not in lines:
        raise ValueError("no line 'some'")
    return Pressure(lines[b"some"], lines.get(b"full"))


def _share(percent: bytes) -> float:
    return max(0.0, min(float(percent) / 100, 1.0))


def open_trigger(path: str, line: str, stall: float, window: float) -> int | None:
    """Arms a trigger: a descriptor that polls POLLPRI once a window in which `line` stalled longer than `stall`.

    Without CAP_SYS_RESOURCE the kernel takes only windows in multiples of 2 s, so where `window` is refused the next
    such multiple is tried, with the stall scaled. POLLERR on the descriptor means that its cgroup is gone.

    Args:
        path: A pressure file. One that is not on procfs or cgroupfs (bind-mounted, say) is never written to.
        line: `some` or `full`.
        stall, window: Seconds; the kernel takes windows of 0.5 to 10 s.

    Returns:
        The descriptor, or None where this kernel gives no trigger.
    """
    try:
        if os.stat(path).st_dev not in _kernel_devices():
            return None
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    doubled = max(2.0, 2.0 * (-(-window // 2.0)))
    for span in (window, doubled):
        # The kernel drops the last byte, whatever it is: it has to be there.
        text = f"{line} {round(stall * span / window * 1e6)} {round(span * 1e6)}\n"
        try:
            os.write(fd, text.encode())
            return fd
        except OSError as error:
            if error.errno != EINVAL:
                break
    os.close(fd)
    return None


def _kernel_devices() -> set[int]:
    devices = set()
    for path in ("/proc/self/stat", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/unified/cgroup.procs"):
        try:
            devices.add(os.stat(path).st_dev)
        except OSError:
            continue
    return devices
