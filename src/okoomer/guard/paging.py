"""Putting those who stand still into swap, and fetching them back: as the kernel does it page by page when it must, but
in good time, in the order of addresses, and of nobody else. It takes as long as the disk takes, so it is done beside
the loop, each of the two once at a time; and so slowly that whoever else wants something of that disk hardly waits.

What was written to swap stays in memory until somebody looks for room, and until then does not count as available. So
the cgroup that it belongs to is told to give up as much (memory.reclaim), which takes what is written already.
"""

from __future__ import annotations

import posix as os
from _thread import start_new_thread
from errno import EINVAL, ENOMEM
from time import sleep

from okoomer.guard.stop import lives
from okoomer.kernel import control
from okoomer.kernel.cgroup import mount
from okoomer.kernel.clock import monotonic
from okoomer.kernel.files import number_after, read
from okoomer.kernel.process import PAGE, resident
from okoomer.kernel.syscalls import MADV_PAGEOUT, MADV_WILLNEED, process_madvise, set_name, touch
from okoomer.policy.metrics import effective_swap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from okoomer.facts import Snapshot
    from okoomer.guard.missed import Missed

    Key = tuple[int, int]

#: Bytes and seconds in one go, so that what has become wrong meanwhile is not done.
AT_ONCE, SECONDS = 64 << 20, 1.0
#: Bytes that may be on their way to a disk at most, and seconds between two looks at that.
PENDING, GLIMPSE = 3 << 20, 0.04
#: The share of swap that stays free, so that nobody ends for want of it.
SPARE = 0.15
#: Bytes that are written before their cgroup is told to give them up.
GIVEN_UP = 4 << 20
#: Bytes that the kernel is asked for at once, of whoever has not used them, and that may be on their way then. It may
#: be wrong about what is used soon, and whoever has to read that again is to find a disk that is not busy.
PIECE = 1 << 20
#: The share of memory that has to stay available while something is fetched, and seconds for one process at most.
LEFT, BACK_SECONDS = 1 / 16, 60.0
#: Seconds between two looks at who is to be fetched while it is watched who misses something.
PAUSE = 0.1
#: Bytes of a range that are asked for by one call; of one that reserves much more than it has, a share of it.
CHUNK, PART, HUGE = 1 << 20, 512, 1 << 30
#: Errors of one range.
PASSING = (EINVAL, ENOMEM)
#: How nice these are: those who run come first.
LATER = 5
#: Bytes of /proc/PID/maps that are read.
MAPS = 1 << 20


def spare_swap(snapshot: Snapshot) -> int:
    """The bytes of swap that may be filled with those who stand still; less than 0 if they have too much already."""
    return min(effective_swap(snapshot), snapshot.swap.free) - int(SPARE * snapshot.swap.total)


class Paging:
    """See the module.

    Args:
        proc: Where /proc is.
        ahead: Bytes that may be on their way to a disk before the next are sent after them.
        missed: Knows who misses what he has in swap, for those who watch.
    """

    def __init__(self, proc: str, ahead: int = PENDING, missed: Missed | None = None) -> None:
        self._proc = proc
        self._ahead = ahead
        self._missed = missed
        self._watched = float("-inf")
        self._busy: set[str] = set()
        #: Where the next go begins, by process: what lies before has been put out.
        self._at: dict[Key, int] = {}
        #: Who is to be fetched.
        self._wanted: list[Key] = []
        self._fetching: set[Key] = set()
        #: Bytes that have left memory so far.
        self.written = 0
        #: Why nothing comes of it, or ''.
        self.trouble = ""

    def put_out(self, members: Iterable[Key], wanted: int, cgroup: Callable[[Key], str] = lambda key: "") -> None:
        """Begins to put so many bytes of these processes, the first ones first, into swap.

        Args:
            cgroup: Tells where a process belongs.
        """
        keys = [(key, cgroup(key)) for key in members]
        self._fetching.difference_update(key for key, _ in keys)
        self._begin("okoomer-out", lambda: self._put_out(keys, min(wanted, AT_ONCE)))

    def sweep(self, wanted: int) -> None:
        """Begins to put so many bytes of whoever has not used them for longest into swap, as the kernel would if there
        were a need. No more than its time allows; nothing where the kernel cannot be asked to (Linux 5.19)."""
        self._begin("okoomer-out", lambda: self._sweep(wanted))

    def fetch(self, members: Iterable[Key]) -> None:
        """Begins to fetch what these processes have in swap, after whatever is fetched already."""
        for key in members:
            self._at.pop(key, None)
            self._wanted.append(key)
            self._fetching.add(key)
        self._begin("okoomer-back", self._fetch)

    def watch(self, seconds: float) -> None:
        """For so long from now on whoever misses what he has in swap is fetched, too, as long as there is room."""
        self._watched = monotonic() + seconds
        if seconds > 0:
            self._begin("okoomer-back", self._fetch)

    def fetched(self, members: Iterable[Key]) -> bool:
        """Whether all of these are there, as far as they ever will be."""
        if self._wanted:
            self._begin("okoomer-back", self._fetch)  # it may just have come to its end when they were added
        return self._fetching.isdisjoint(members)

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        if name in self._busy:
            return
        self._busy.add(name)

        def run() -> None:
            set_name(name)
            os.setpriority(os.PRIO_PROCESS, 0, LATER)  # of this thread alone
            try:
                work()
            finally:
                self._busy.discard(name)

        try:
            start_new_thread(run, ())
        except (OSError, RuntimeError):
            self._busy.discard(name)

    def _put_out(self, keys: list[tuple[Key, str]], wanted: int) -> None:
        until = monotonic() + SECONDS
        there = {key for key, _ in keys}
        self._at = {key: at for key, at in self._at.items() if key in there}
        written: dict[str, int] = {}
        for key, cgroup in keys:
            before = resident(self._proc, key[0])
            for pidfd, start, length in self._ranges(key, self._at.get(key, 0)):
                if wanted <= 0 or monotonic() >= until:
                    break
                if not self._advise(pidfd, start, length, MADV_PAGEOUT):
                    break
                self._at[key] = start + length
                after = resident(self._proc, key[0])
                wanted -= max(0, before - after)
                self.written += max(0, before - after)
                written[cgroup] = written.get(cgroup, 0) + max(0, before - after)
                before = after
                self._await(until)
                if written[cgroup] >= GIVEN_UP:
                    self._give_up(cgroup, written.pop(cgroup))
        for cgroup, amount in written.items():
            self._give_up(cgroup, amount)

    def _sweep(self, wanted: int) -> None:
        mounted = mount(self._proc)
        if not mounted:
            return
        until = monotonic() + SECONDS
        try:
            reclaim = os.open(f"{mounted}/memory.reclaim", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            while wanted > 0 and monotonic() < until:
                os.write(reclaim, b"%d" % PIECE)
                wanted -= PIECE
                self._await(until)
        except OSError:
            pass  # there is no more to be had
        finally:
            os.close(reclaim)

    def _await(self, until: float) -> None:
        """Returns when little is on its way to the disk."""
        while monotonic() < until:
            found = number_after(read(f"{self._proc}/meminfo"), b"\nWriteback:")
            if found is None or found << 10 <= self._ahead:
                return
            sleep(GLIMPSE)

    def _give_up(self, cgroup: str, amount: int) -> None:
        """Has a cgroup give up so many bytes, which are in swap already."""
        mounted = mount(self._proc)
        if not (mounted and amount and cgroup.strip("/")):
            return
        try:
            directory = control.enter(mounted, cgroup, 0)
        except OSError:
            return
        try:
            control.put(directory, "memory.reclaim", b"%d" % amount)
        except OSError:
            pass  # less could be had, or this kernel has no such file: then it is taken when it is needed
        finally:
            os.close(directory)

    def _fetch(self) -> None:
        while self._wanted or (self._missed and monotonic() < self._watched):
            if self._wanted:
                key = self._wanted.pop(0)
                self._bring(key)
                self._fetching.discard(key)
            elif self._missed and monotonic() >= self._missed.due:
                self.fetch(self._missed.look(monotonic()))
            else:
                sleep(PAUSE)

    def _bring(self, key: Key) -> None:
        until = monotonic() + BACK_SECONDS
        for pidfd, start, length in self._ranges(key, 0):
            if key not in self._fetching or monotonic() >= until or not self._fits():
                break
            # All of a piece is asked for at once, which a disk does in one go; then it is waited for.
            if not self._advise(pidfd, start, length, MADV_WILLNEED):
                break
            touch(key[0], start, length, PAGE)

    def _fits(self) -> bool:
        """Whether there is room for more."""
        try:
            text = read(f"{self._proc}/meminfo")
            total, left = number_after(text, b"MemTotal:"), number_after(text, b"\nMemAvailable:")
        except (OSError, ValueError, IndexError):
            return False
        return total is None or left is None or left >= LEFT * total

    def _ranges(self, key: Key, begin: int) -> Iterator[tuple[int, int, int]]:
        """Pieces of a process's own memory from an address on: a descriptor of the process, address and length."""
        try:
            pidfd = os.pidfd_open(key[0])
        except OSError:
            return
        try:
            if not lives(self._proc, *key):
                return
            for start, end in own(read(f"{self._proc}/{key[0]}/maps", MAPS)):
                chunk = CHUNK if end - start <= HUGE else (end - start) // PART // PAGE * PAGE
                for at in range(max(start, begin), end, chunk):
                    yield pidfd, at, min(chunk, end - at)
        except OSError as error:
            self.trouble = f"/proc/PID/maps: {error.strerror}"
        finally:
            os.close(pidfd)

    def _advise(self, pidfd: int, start: int, length: int, advice: int) -> bool:
        """Whether to go on with this process."""
        try:
            process_madvise(pidfd, start, length, advice)
        except OSError as error:
            # A range that is locked or was unmapped meanwhile hinders nobody else.
            if error.errno in PASSING:
                return True
            self.trouble = str(error.strerror)
            return False
        return True


def own(maps: bytes) -> Iterator[tuple[int, int]]:
    """Where a process has memory of its own, from /proc/PID/maps: what is private and can be written."""
    for line in maps.splitlines():
        words = line.split(None, 2)
        if len(words) < 3 or words[1][:2] != b"rw" or words[1][3:4] != b"p":
            continue
        start, _, end = words[0].partition(b"-")
        try:
            yield int(start, 16), int(end, 16)
        except ValueError:
            continue
