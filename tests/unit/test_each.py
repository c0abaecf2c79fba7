"""Several processes as one victim, with what each of them is told in its order."""

from __future__ import annotations

from errno import EOPNOTSUPP, EPERM, ESRCH
from signal import SIGKILL, SIGTERM

import pytest

from okoomer.guard.each import Each


class Told:
    """A process that notes what it is told, or an error in the place of a signal."""

    def __init__(self, pid: int, notes: list[tuple[int, int | str]], error: int = 0) -> None:
        self.pid = self.pidfd = pid
        self._notes, self._error = notes, error

    def signal(self, number: int) -> None:
        if self._error:
            raise OSError(self._error, "no")
        self._notes.append((self.pid, number))

    def hasten(self) -> None:
        self._notes.append((self.pid, "hastened"))

    def dead(self) -> bool:
        return self._error == ESRCH

    def close(self) -> None:
        self._notes.append((self.pid, "closed"))


def test_nobody_goes_first_before_all_have_to_go() -> None:
    notes: list[tuple[int, int | str]] = []
    each = Each([Told(1, notes), Told(2, notes, EPERM), Told(3, notes, ESRCH), Told(4, notes)])
    assert each.signal(SIGKILL) == ((1, 4), EPERM)
    assert notes == [(1, SIGKILL), (4, SIGKILL), (1, "hastened"), (4, "hastened")]
    assert each.left() == (1, 2, 4) and each.pidfds() == [1, 2, 4] and not each.dead()


def test_who_is_asked_to_end_keeps_his_place() -> None:
    notes: list[tuple[int, int | str]] = []
    each = Each([Told(1, notes), Told(2, notes, ESRCH)])
    assert each.signal(SIGTERM) == ((1,), 0)
    each.close()
    assert notes == [(1, SIGTERM), (1, "closed"), (2, "closed")]


def test_processes_have_no_limit_of_their_own() -> None:
    with pytest.raises(OSError) as refused:
        Each([]).exhaust()
    assert refused.value.errno == EOPNOTSUPP and Each([]).dead()
