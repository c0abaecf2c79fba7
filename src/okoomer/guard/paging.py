"""Putting those who stand still into swap, and fetching them back: as the kernel does it page by page when it must, but
in good time, in the order of addresses, and of nobody else. It takes as long as the disk takes, so it is done beside
the loop, each of the two once at a time; and so slowly that whoever else wants something of that disk hardly waits.

What was written to swap stays in memory until somebody looks for room, and until then does not count as available.
MADV_PAGEOUT takes no more than what is mapped; so it is mapped again, by reading it while it is there, and put out once
more, when there is nothing to be written. To have its cgroup give up as much (memory.reclaim) would not do: the kernel
takes what it comes to, and if that is something else it writes a great deal of that first.
"""

from __future__ import annotations

import posix as os
from _thread import start_new_thread
from errno import EINVAL, ENOMEM
from time import sleep

from okoomer.guard.stop import lives
from okoomer.kernel import control, meminfo
from okoomer.kernel.cgroup import mount
from okoomer.kernel.clock import monotonic
from okoomer.kernel.files import read
from okoomer.kernel.process import PAGE, resident
from okoomer.kernel.syscalls import MADV_PAGEOUT, MADV_WILLNEED, process_madvise, set_name, touch
from okoomer.policy.metrics import effective_swap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from okoomer.facts import Memory, Snapshot, Swap
    from okoomer.guard.missed import Missed

    Key = tuple[int, int]

#: Bytes and seconds in one go, so that what has become wrong meanwhile is not done.
AT_ONCE, SECONDS = 64 << 20, 1.0
#: Bytes that may be on their way to a disk at most, and seconds between two looks at that.
PENDING, GLIMPSE = 3 << 20, 0.02
#: The share of swap that stays free, so that nobody ends for want of it.
SPARE = 0.15
#: Bytes that are written before their cgroup is told to give them up, where that is needed.
GIVEN_UP = 4 << 20
#: Bytes that the kernel is asked for at once, of whoever has not used them.
ASKED = 256 << 10
#: Seconds in which a page is read that is still in memory, or comes from a disk that has nothing else to do.
AT_HAND = 0.005
#: Bytes that may be on their way to the disk while somebody is paused for a moment, or asked.
PIECE = 1 << 20
#: The share of memory that has to stay available while something is fetched, and seconds for one process at most.
LEFT, BACK_SECONDS = 1 / 16, 60.0
#: Seconds between two looks at who is to be fetched while it is watched who misses something.
PAUSE = 0.1
#: Bytes of a range that are asked for by one call; of one that reserves much more than it has, a share of it where
#: there is nothing.
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
        self._halted = False
        self._stride = CHUNK
        #: What is in swap and still in memory: whose, of which cgroup, where, and so many bytes.
        self._sent: list[tuple[Key, str, int, int, int]] = []
        self._written: dict[str, int] = {}
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
        self._halted = False
        self._begin("okoomer-out", lambda: self._put_out(keys, min(wanted, AT_ONCE)))

    def halt(self) -> None:
        """Puts nothing out any more: who is to be, runs again, and comes back to what was put out."""
        self._halted = True
        self._at = {}

    def sweep(self, target: int) -> None:
        """Begins to set memory free that nobody has used for long, as the kernel would if there were a need, until so
        many bytes are available, or what it takes for that has to wait for a disk: the kernel counts what is free, and
        until the first of it is written it sends ever more after it, thirty times what it is asked for. No more than
        its time allows; nothing where the kernel cannot be asked to (Linux 5.19)."""
        self._begin("okoomer-out", lambda: self._sweep(target))

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
            except (OSError, ValueError, IndexError) as error:
                self.trouble = f"/proc/meminfo: {error}"  # the next go tries again
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
        self._sent = [piece for piece in self._sent if piece[0] in there]
        for key, cgroup in keys:
            self._stride = CHUNK
            for pidfd, start, length in self._ranges(key, self._at.get(key, 0), self._strides):
                if wanted <= 0 or self._halted or monotonic() >= until:
                    break
                before = resident(self._proc, key[0])
                if not self._advise(pidfd, start, length, MADV_PAGEOUT):
                    break
                self._at[key] = start + length
                out = max(0, before - resident(self._proc, key[0]))
                self._stride = CHUNK if out else self._stride * 2
                if out:
                    wanted -= out
                    self.written += out
                    self._sent.append((key, cgroup, start, length, out))
                    self._free(self._await(until, self._ahead), until, self._ahead)
        if not self._halted:
            self._free(self._await(until, 0), until, 0)

    def _strides(self, size: int) -> int:
        return min(self._stride, share(size))

    def _free(self, swap: Swap, until: float, ahead: int) -> None:
        """Has what was sent to swap leave memory, but for the last so many bytes, which may be on their way yet."""
        while self._sent and sum(piece[4] for piece in self._sent) > ahead and not self._halted and monotonic() < until:
            key, cgroup, start, length, out = self._sent.pop(0)
            if swap.free * 2 <= swap.total:
                # Whatever is read now loses its place in swap, and would be written once more.
                self._written[cgroup] = self._written.get(cgroup, 0) + out
                if self._written[cgroup] >= GIVEN_UP:
                    self._give_up(cgroup, self._written.pop(cgroup))
            elif swap.cached >= out // 2:  # else it has left it already
                for at in range(start, start + length, CHUNK):
                    self._forget(key, at, min(CHUNK, start + length - at))

    def _forget(self, key: Key, start: int, length: int) -> None:
        """A range of a process that is in swap and still in memory leaves that. For what it does not have mapped the
        kernel takes no advice; so it is mapped, by reading it, and is then what it is in swap."""
        for pidfd in self._opened(key):
            began = monotonic()
            if touch(key[0], start, PAGE, PAGE) and monotonic() - began < AT_HAND:
                touch(key[0], start, length, PAGE)
                self._advise(pidfd, start, length, MADV_PAGEOUT)

    def _sweep(self, target: int) -> None:
        mounted = mount(self._proc)
        if not mounted:
            return
        until, begun = monotonic() + SECONDS, None
        try:
            reclaim = os.open(f"{mounted}/memory.reclaim", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            while monotonic() < until:
                memory, swap = self._memory()
                begun = swap.free if begun is None else begun
                if memory.available >= target or min(begun - swap.free, memory.writeback) > self._ahead:
                    break
                os.write(reclaim, b"%d" % ASKED)
        except OSError:
            pass  # there is no more to be had
        finally:
            os.close(reclaim)

    def _await(self, until: float, most: int) -> Swap:
        """Returns when no more than that is on its way to the disk: swap as it is then."""
        while True:
            memory, swap = self._memory()
            if memory.writeback <= most or monotonic() >= until:
                return swap
            sleep(GLIMPSE)

    def _memory(self) -> tuple[Memory, Swap]:
        return meminfo.parse(read(f"{self._proc}/meminfo"))

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
        for pidfd, start, length in self._ranges(key, 0, share):
            if key not in self._fetching or monotonic() >= until or not self._fits():
                break
            # All of a piece is asked for at once, which a disk does in one go; then it is waited for.
            if not self._advise(pidfd, start, length, MADV_WILLNEED):
                break
            touch(key[0], start, length, PAGE)

    def _fits(self) -> bool:
        """Whether there is room for more."""
        try:
            memory, _ = self._memory()
        except (OSError, ValueError, IndexError):
            return False
        return memory.available >= LEFT * memory.total

    def _ranges(self, key: Key, begin: int, piece: Callable[[int], int]) -> Iterator[tuple[int, int, int]]:
        """Pieces of a process's own memory from an address on: a descriptor of the process, address and length.

        Args:
            piece: Gives the length of the next one, of a range of so many bytes.
        """
        for pidfd in self._opened(key):
            try:
                ranges = own(read(f"{self._proc}/{key[0]}/maps", MAPS))
            except OSError as error:
                self.trouble = f"/proc/PID/maps: {error.strerror}"
                return
            for start, end in ranges:
                at = max(start, begin)
                while at < end:
                    length = min(piece(end - start), end - at)
                    yield pidfd, at, length
                    at += length

    def _opened(self, key: Key) -> Iterator[int]:
        """A descriptor of a process, as long as it is looked at; none if it is gone."""
        try:
            pidfd = os.pidfd_open(key[0])
        except OSError:
            return
        try:
            if lives(self._proc, *key):
                yield pidfd
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


def share(size: int) -> int:
    """The length of a piece of a range."""
    return CHUNK if size <= HUGE else size // PART // PAGE * PAGE


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
