"""Reading a note that somebody has left (see guard.note)."""

from __future__ import annotations

import posix as os
from _stat import S_ISREG
from errno import ELOOP

from okoomer.guard.note import (
    ADJUSTMENTS,
    END,
    HEADER,
    MAGIC,
    PROCESS,
    PROCESSES,
    SETTINGS,
    SIZE,
    boot,
    checked,
    place,
)
from okoomer.kernel.paths import decoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: A guard of before notes only who stands still, processes as now and then frozen cgroups: inode and directory.
OLD = b"okoomer-paused 1"
OLD_CGROUPS, OLD_CGROUP = 4, 4224


class Left:
    """A note as somebody has left it. What is damaged in it, or of another boot, says nothing.

    Attributes:
        owner: The guard that wrote it, as `owner` has it; "" if that is not known.
        processes: Who stands still: pid and start time in clock ticks.
        adjustments: Whose oom_score_adj was changed: pid, start time, what it was, what was written, and since when
            those were born who may have inherited that.
        settings: Which cgroups' files were: directory, inode, file, what it said, what was written.
    """

    def __init__(self, path: str, proc: str = "/proc") -> None:
        self.owner = ""
        self.processes: list[tuple[int, int]] = []
        self.adjustments: list[tuple[int, int, int, int, int]] = []
        self.settings: list[tuple[str, int, str, str, str]] = []
        #: A descriptor of the file; -1 if there is none that may be believed.
        self.fd = -1
        try:
            self.fd = _open(path)
            text = os.pread(self.fd, SIZE, 0)
        except OSError:
            return
        first, _, _ = text[:HEADER].partition(b"\n")
        magic = first[: len(MAGIC)]
        words = first[len(MAGIC) + 1 :].split()
        if magic not in (MAGIC, OLD) or len(words) != 3 or words[0] != boot(proc):
            return
        if not (words[1].isdigit() and words[2].isdigit()):
            return
        self.owner = b" ".join(words[1:]).decode()
        self.processes = [*_processes(text)]
        if magic == OLD:
            self.settings = [*_frozen(text)]
        else:
            self.adjustments = [*_adjustments(text)]
            self.settings = [*_settings(text)]

    def clear(self) -> None:
        """Nobody has to look at it again."""
        # Not by its name: that may be a newer guard's by now. Nor is it made shorter: whoever has it mapped would end.
        try:
            if self.fd >= 0:
                os.pwrite(self.fd, b" " * HEADER, 0)
        except OSError:
            pass  # then whoever looks finds that all is as it was

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _open(path: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(fd)
    if not S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()):
        os.close(fd)
        raise OSError(ELOOP, "it is no file of ours")
    return fd


def _processes(text: bytes) -> Iterator[tuple[int, int]]:
    for slot in range(PROCESSES):
        words = _words(text, *place(slot)).split(b" ")
        if len(words) == 2 and _is_process(words):
            yield int(words[0]), int(words[1])


def _adjustments(text: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    for slot in range(PROCESSES, PROCESSES + ADJUSTMENTS):
        words = _proven(_words(text, *place(slot))).split(b" ")
        if len(words) == 5 and _is_process(words) and all(word.lstrip(b"-").isdigit() for word in words):
            pid, start, adj, ours, since = map(int, words)
            yield pid, start, adj, ours, since


def _settings(text: bytes) -> Iterator[tuple[str, int, str, str, str]]:
    first = PROCESSES + ADJUSTMENTS
    for slot in range(first, first + SETTINGS):
        words = _proven(_words(text, *place(slot)), b"\n").split(b"\n", 4)
        if len(words) == 5 and words[0].isdigit() and words[4].startswith(b"/"):
            file, said, ours, directory = map(decoded, words[1:])
            yield directory, int(words[0]), file, said, ours


def _frozen(text: bytes) -> Iterator[tuple[str, int, str, str, str]]:
    """What an older guard has frozen."""
    for number in range(OLD_CGROUPS):
        words = _words(text, HEADER + PROCESSES * PROCESS + number * OLD_CGROUP, OLD_CGROUP).split(b" ", 1)
        if len(words) == 2 and words[0].isdigit() and words[1].startswith(b"/"):
            yield decoded(words[1]), int(words[0]), "cgroup.freeze", "0", "1"


def _words(text: bytes, at: int, length: int) -> bytes:
    found = text[at : at + length]
    if len(found) < length or not found.endswith(END):
        return b""
    return found[: -len(END)].lstrip(b" ")


def _proven(text: bytes, separator: bytes = b" ") -> bytes:
    found, _, _ = text.rpartition(separator)
    return found if found and checked(found, separator) == text else b""


def _is_process(words: list[bytes]) -> bool:
    return words[0].isdigit() and words[1].isdigit() and 1 < int(words[0]) < 2**31
