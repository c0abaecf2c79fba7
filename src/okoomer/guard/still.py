"""What stands still by our doing: each process and each cgroup once, with its note, whoever holds it.

Where one cannot be let run now, since there is no descriptor to be had or whatever else, it stays noted and it is tried
again, until it runs or is gone.
"""

from __future__ import annotations

import posix as os

from okoomer.events.model import Trouble
from okoomer.guard.stop import stop, thaw, wake
from okoomer.kernel import control
from okoomer.kernel.watch import watch, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.guard.note import Note
    from okoomer.record import Record

    Key = tuple[int, int]


class Still:
    """See the module. A process is known by pid and start time in clock ticks, a cgroup by its inode.

    Args:
        emit: Takes the events.
    """

    def __init__(self, proc: str, note: Note, emit: Callable[[Record], None]) -> None:
        self._proc = proc
        self._note = note
        self._emit = emit
        self._slots: dict[Key | int, int] = {}
        #: Of each cgroup, what knows whether others write to its file as well; -1 for nothing.
        self._watches: dict[int, int] = {}
        #: Who could not be let run, and whether by force; a cgroup with a descriptor of its directory.
        self._owed: dict[Key, bool] = {}
        self._frozen: dict[int, tuple[int, bool]] = {}
        self._told = False

    def __contains__(self, key: Key | int) -> bool:
        return key in self._slots

    @property
    def owes(self) -> bool:
        """Whether somebody could not be let run."""
        return bool(self._owed or self._frozen)

    # --- standing still -----------------------------------------------------------------------------------------

    def stop(self, key: Key) -> bool:
        """Whether a process stands still now, and by our doing."""
        if key in self._slots:
            self._owed.pop(key, None)
            return True
        slot = -1

        def noted() -> None:
            nonlocal slot
            slot = self._note.add(*key)

        try:
            stop(self._proc, *key, noted)
        except (OSError, ValueError, IndexError):
            if slot >= 0:
                self._note.clear(slot)
            return False
        self._slots[key] = slot
        return True

    def freeze(self, path: str, directory: int, inode: int) -> bool:
        """Whether a cgroup is frozen now, and by our doing.

        Args:
            path: The whole path of its directory.
            directory: A descriptor of that.
        """
        if inode in self._slots:
            self._forget_frozen(inode)
            return True
        try:
            slot = self._note.add_setting(path, inode, "cgroup.freeze", "0", "1")
        except OSError:
            return False
        try:
            control.put(directory, "cgroup.freeze", b"1")
        except OSError:
            self._note.clear(slot)
            return False
        self._slots[inode] = slot
        try:
            self._watches[inode] = watch(directory, "cgroup.freeze")
        except OSError:
            pass  # then what others write there is not known
        return True

    # --- and running again --------------------------------------------------------------------------------------

    def run(self, key: Key, ending: bool = False) -> None:
        """Lets a process run, if nobody else has stopped it meanwhile.

        Args:
            ending: Whoever has stopped it: it has been asked to end.
        """
        try:
            wake(self._proc, *key, ending)
        except OSError as error:
            self._owed[key] = ending
            self._tell(f"{key[0]} stands still and cannot be resumed: {error.strerror}; it is tried again")
            return
        self._owed.pop(key, None)
        self._note.clear(self._slots.pop(key))

    def thaw(self, inode: int, directory: int, ending: bool = False) -> None:
        """Lets a cgroup run, if nobody else has written to its file meanwhile: then it is as he wants it.

        Args:
            directory: A descriptor of it.
            ending: Whatever others have written: it has been asked to end.
        """
        seen = self._watches.get(inode, -1)
        others = seen >= 0 and written(seen)
        if (not others or ending) and not thaw(directory) and control.populated(directory) is not False:
            self._tell("a cgroup is frozen and cannot be thawed; it is tried again")
            if seen >= 0:
                written(seen)  # that was us
            if inode not in self._frozen:
                self._frozen[inode] = os.dup(directory), ending
            return
        self._note.clear(self._slots.pop(inode))
        if seen >= 0:
            os.close(self._watches.pop(inode))

    def again(self) -> None:
        """Tries once more."""
        for key, ending in [*self._owed.items()]:
            self.run(key, ending)
        for inode, (directory, ending) in [*self._frozen.items()]:
            self.thaw(inode, directory, ending)
            if inode not in self._slots:
                self._forget_frozen(inode)

    def _forget_frozen(self, inode: int) -> None:
        if inode in self._frozen:
            os.close(self._frozen.pop(inode)[0])

    def _tell(self, text: str) -> None:
        if not self._told:
            self._told = True
            self._emit(Trouble(text))
