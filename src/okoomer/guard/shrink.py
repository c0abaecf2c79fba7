"""Taking memory away from a cgroup without ending anybody: the kernel reclaims it there and then (memory.reclaim). That
takes as long as it takes, so it is done beside the loop, one cgroup at a time."""

from __future__ import annotations

import posix as os
from _thread import start_new_thread

from okoomer.events.model import Shrunk
from okoomer.kernel import control
from okoomer.kernel.cgroup import mount
from okoomer.kernel.clock import monotonic
from okoomer.kernel.syscalls import set_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.facts import Cgroup
    from okoomer.policy.model import Amount
    from okoomer.record import Record

#: No more than this share of a cgroup is taken at once.
AT_ONCE = 0.25


class Shrinks:
    """Shrinks cgroups.

    Args:
        proc: Where the unified hierarchy is mounted stands there.
        emit: Takes the events, also from another thread.
    """

    def __init__(self, proc: str, emit: Callable[[Record], None]) -> None:
        self._proc = proc
        self._emit = emit
        self._busy = False

    def begin(self, rule: str, cgroup: Cgroup, amount: Amount) -> bool:
        """Begins to take an amount from a cgroup: bytes, or a share of what it has. False while another is shrunk; a
        rule that still holds will ask again."""
        if self._busy:
            return False
        self._busy = True
        try:
            directory = control.enter(mount(self._proc) or "", cgroup.path, cgroup.inode)
        except OSError:
            self._busy = False  # it is gone, and its memory too
            return False
        try:
            start_new_thread(self._run, (rule, cgroup.path, directory, amount))
        except (OSError, RuntimeError):
            self._busy = False
            os.close(directory)
            return False
        return True

    def _run(self, rule: str, path: str, directory: int, amount: Amount) -> None:
        set_name("okoomer-shrink")
        try:
            self._emit(shrink(rule, path, directory, amount))
        finally:
            os.close(directory)
            self._busy = False


def shrink(rule: str, path: str, directory: int, amount: Amount) -> Shrunk:
    """Takes an amount away from a cgroup, and tells what came of it. It waits as long as the kernel takes."""
    began, before = monotonic(), control.amount(directory, "memory.current")
    if before is None:
        return Shrunk(rule, path, 0, 0, 0.0, "what it has cannot be read")
    asked = portion(amount, before, kept(directory))
    if not asked:
        return Shrunk(rule, path, 0, 0, 0.0, "all that it has is protected")
    try:
        control.put(directory, "memory.reclaim", b"%d" % asked)
    except BlockingIOError:
        pass  # less could be had than was asked for
    except FileNotFoundError:
        return Shrunk(rule, path, asked, 0, 0.0, "this kernel has no memory.reclaim (Linux 5.19)")
    except OSError as error:
        return Shrunk(rule, path, asked, 0, monotonic() - began, f"memory.reclaim: {error.strerror}")
    after = control.amount(directory, "memory.current")
    got = max(0, before - after) if after is not None else 0
    return Shrunk(rule, path, asked, got, monotonic() - began)


def portion(amount: Amount, has: int, protected: int) -> int:
    """The bytes that are taken from a cgroup: at most a quarter of what it has, and nothing that is protected."""
    wanted = amount.value * has if amount.share else amount.value
    return max(0, int(min(wanted, AT_ONCE * has, has - protected)))


def kept(directory: int) -> int:
    """What a cgroup is to keep in any case (memory.min and memory.low)."""
    return max(control.amount(directory, name) or _all(directory, name) for name in ("memory.min", "memory.low"))


def _all(directory: int, name: str) -> int:
    # `max` protects whatever it has.
    try:
        return 1 << 62 if control.get(directory, name, 32).startswith(b"max") else 0
    except OSError:
        return 0
