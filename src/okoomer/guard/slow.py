"""Slowing a unit down: its cgroup may have what it holds, and whoever wants more in it has to wait for each page while
the kernel takes another one back from it (memory.high). Nobody ends by it.

Processors are left alone unless the rule names a share of one (cpu.max): whoever has to wait for memory hardly
computes, and a quota may stop somebody who holds what others wait for.

What stood in the files is noted before it is changed (see guard.note) and put back when the unit is to be slowed no
more, unless somebody has written something else since: then that stays. A limit that is lower already stays too.
"""

from __future__ import annotations

import posix as os
from _thread import allocate_lock, start_new_thread
from errno import EALREADY, EBUSY, ENODATA, EPERM
from time import sleep

from okoomer.events.model import Eased, Slowed
from okoomer.guard.ceiling import HIGH, TOLD, enclosing, entered
from okoomer.guard.excused import Excused
from okoomer.guard.undo import set_back
from okoomer.kernel import clock, control
from okoomer.kernel.cgroup import mount
from okoomer.kernel.files import whole
from okoomer.kernel.syscalls import set_name
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import TypeAlias

    from okoomer.facts import Process
    from okoomer.guard.note import Note
    from okoomer.record import Record

    #: A file, what it said, what it says for now, and where that is noted.
    Setting: TypeAlias = tuple[str, str, str, int]

CPU = "cpu.max"
#: A unit is at its limit if it has less than this share left of it.
CLOSE = 0.02
#: The least quota that the kernel takes, in microseconds.
QUOTA = 1000
#: Seconds to wait at the guard's end for what is being written.
FAREWELL, GLIMPSE = 1.0, 0.01


class Slow:
    """A cgroup that is slowed down until that is `over`. Another thread writes what slows it, which takes as long as
    the kernel takes to get the cgroup below its limit.

    Args:
        told: What was said of it.
        folder, inode: The whole path of its directory, and which of that name.
        directory: A descriptor of that, which is this one's from now on.
        settings: As they are noted.
        since: On the clock of snapshots.
    """

    def __init__(
        self, told: Slowed, note: Note, folder: str, inode: int, directory: int, settings: list[Setting], since: float
    ) -> None:
        self.told = told
        self.since = since
        self.over = False
        #: Why the kernel has not taken it.
        self.refused = ""
        self._note = note
        self._folder = folder
        self._inode = inode
        self._directory = directory
        self._settings = settings
        self._lock = allocate_lock()
        self._written = False

    @property
    def undone(self) -> bool:
        """Whether all is as it was."""
        return not self._settings

    def presses(self) -> bool:
        """Whether it is at its limit, so that it would grow without it."""
        held = control.amount(self._directory, "memory.current") if self._directory >= 0 else None
        return held is not None and held >= self.told.bytes * (1 - CLOSE)

    def begin(self) -> None:
        """Has it slowed down.

        Raises:
            OSError: A file must not be written, or nobody can wait for it.
        """
        fds: list[int] = []
        try:
            for file, *_ in self._settings:
                # That it may be written is known here.
                fds.append(os.open(file, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._directory))
            start_new_thread(self._write, (fds,))
        except (OSError, RuntimeError) as error:
            for fd in fds:
                os.close(fd)
            self._written = self.over = True
            self._undo()
            self._leave()
            raise error if isinstance(error, OSError) else OSError(EPERM, f"nobody can wait for it: {error}") from None

    def end(self, here: bool = False) -> None:
        """Has it slowed no more. What could be held up is done by another thread, unless it is to be done `here`."""
        if self.over:
            return
        with self._lock:
            self.over, written = True, self._written
            if not written:
                # Its thread may be held up, and undoes all once it is through. To lift a limit holds up nobody.
                for file, before, ours, _ in self._settings:
                    if before.startswith("max"):
                        set_back(self._folder, self._inode, file, before, ours)
        self._leave()
        if not written:
            return
        try:
            if here or all(before.startswith("max") for _, before, _, _ in self._settings):
                self._undo()
            else:
                start_new_thread(self._undo, ())
        except (OSError, RuntimeError):
            self._undo()

    def _leave(self) -> None:
        os.close(self._directory)
        self._directory = -1

    def _write(self, fds: list[int]) -> None:
        set_name("okoomer-slow")
        for fd, (file, _, ours, _) in zip(fds, self._settings, strict=True):
            try:
                if not self.over:
                    os.write(fd, ours.encode())
            except OSError as error:
                self.refused = f"{file}: {error.strerror}"
            finally:
                os.close(fd)
        with self._lock:
            self._written = True
            over = self.over
        if over or self.refused:
            self._undo()

    def _undo(self) -> None:
        with self._lock:
            for file, before, ours, slot in reversed(self._settings):
                set_back(self._folder, self._inode, file, before, ours)
                self._note.clear(slot)
            self._settings = []


class Slows:
    """Slows units down, and tells of it.

    Args:
        proc: Where /proc is.
        note: Of all that has to be undone.
        never: Whose cgroup is never slowed down: ourselves, and whoever works for us.
        emit: Takes the events.
        excuses: Whether the stall of who is slowed can be told from that of others: not where pressure is read from
            another file than the machine's.
    """

    def __init__(
        self,
        proc: str,
        note: Note,
        never: Callable[[], Collection[int]],
        emit: Callable[[Record], None],
        excuses: Callable[[], bool] = lambda: True,
    ) -> None:
        self._proc = proc
        self._note = note
        self._never = never
        self._emit = emit
        self.excused = Excused(proc, never, excuses)
        #: Who was slowed last.
        self.latest: Slow | None = None

    def begin(self, wanted: Slowed, processes: list[Process], inode: int, now: float) -> Slow:
        """Slows a unit down.

        Args:
            wanted: What is to be said of it, as far as that is known: by which rule, whose the unit is, which cgroup it
                is as a whole, "" if it is processes only, for how long, and the share of one processor that is left
                to it, 0 for as much as before.
            processes: The unit; if it is a cgroup, those that are known of it.
            inode: Which cgroup of that path; 0 is whichever there is.
            now: On the clock of snapshots.

        Raises:
            OSError: It cannot be slowed down, and why.
        """
        if self.latest and not self.latest.undone:
            raise OSError(EBUSY, "another one is slowed down still")
        unit = wanted.cgroup
        found = (unit, entered(self._proc, unit, inode)) if unit else enclosing(self._proc, processes)
        if found is None:
            raise OSError(ENODATA, "it is not all of a cgroup")
        path, directory = found
        folder = (mount(self._proc) or "") + path
        settings: list[Setting] = []
        try:
            if not self._is_free(directory):
                raise PermissionError(EPERM, "okoomer or the init process is in it")
            inode = os.fstat(directory).st_ino
            held = self._high(directory)
            texts = [(HIGH, *held), *_processors(directory, wanted.cpu)]
            for file, before, ours in texts:
                settings.append((file, before, ours, self._note.add_setting(folder, inode, file, before, ours)))
        except OSError:
            for *_, slot in settings:
                self._note.clear(slot)
            os.close(directory)
            raise
        pids = tuple(process.pid for process in processes[:TOLD])
        cpu = wanted.cpu if len(settings) > 1 else 0.0
        told = replace(wanted, pids=pids, cgroup=path, bytes=int(held[1]), cpu=cpu)
        slow = Slow(told, self._note, folder, inode, directory, settings, now)
        slow.begin()
        self.latest = slow
        self.excused.begin(path)
        self._emit(told)
        return slow

    def end(self, slow: Slow, why: str, now: float, here: bool = False) -> None:
        """Slows a unit no more, and tells of it; `here` as in Slow.end."""
        if slow.over:
            return
        slow.end(here)
        self.excused.end()
        told = slow.told
        self._emit(Eased(told.rule, told.name, told.pids, told.user, told.cgroup, now - slow.since, why))

    def close(self) -> None:
        """Waits, but not for long, until all is as it was. What is not by then stays in the note."""
        until = clock.monotonic() + FAREWELL
        while self.latest and not self.latest.undone and clock.monotonic() < until:
            sleep(GLIMPSE)

    @property
    def slowed(self) -> Slowed | None:
        """Who is slowed down now."""
        return self.latest.told if self.latest and not self.latest.over else None

    def _is_free(self, directory: int) -> bool:
        return frozenset(self._never()).isdisjoint(control.members(directory))

    @staticmethod
    def _high(directory: int) -> tuple[str, str]:
        """What memory.high says, and what it is to say.

        Raises:
            OSError: There is none, or it is lower already.
        """
        before = control.get(directory, HIGH, 32).strip()
        held = control.amount(directory, "memory.current")
        if held is None:
            raise OSError(ENODATA, "what it holds cannot be read")
        if before.isdigit() and whole(before) <= held:
            raise OSError(EALREADY, "it is at a limit of its own already")
        return before.decode("ascii", "replace"), str(held)


def _processors(directory: int, share: float) -> list[tuple[str, str, str]]:
    """What cpu.max says, and what it is to say; nothing if it is lower already, or not offered there."""
    try:
        before = control.get(directory, CPU, 64).strip() if share else b""
        quota, period = before.split()
        least = max(QUOTA, int(share * whole(period)))
        if quota.isdigit() and whole(quota) <= least:
            return []
        return [(CPU, before.decode("ascii", "replace"), f"{least} {whole(period)}")]
    except (OSError, ValueError):
        return []
