"""What one run showed, as raw as it can be kept: one JSON line.

All times are seconds of the guest's monotonic clock since the incident began, all sizes MiB.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

import msgspec


class Swap(StrEnum):
    """Where the guest can put what does not fit; the sizes are in stage.py."""

    NONE = "none"
    ZRAM = "zram"
    DISK = "disk"


class Role(StrEnum):
    """What a process is in a scenario, and so what its death costs."""

    CULPRIT = "culprit"  # nothing
    WORKER = "worker"  # the work that it had done
    INNOCENT = "innocent"
    SESSION = "session"  # with it goes all that a person had open


class By(StrEnum):
    """Who sent a signal."""

    DAEMON = "daemon"
    KERNEL = "kernel"
    OTHER = "other"


class Ending(StrEnum):
    DONE = "done"
    LIMIT = "limit"  # the guest was still at it when its time was up
    GONE = "gone"  # its kernel or the machine ended
    FAILED = "failed"  # the scenario could not be set up; no result


class Kill(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first fatal signal that a process got."""

    at: float
    signal: int
    by: By
    comm: str
    pid: int
    role: Role
    mib: float = 0


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """About a second of the screen's canary: how many of its ticks were done, and their median lateness."""

    at: float
    ticks: int
    median_s: float


class Late(msgspec.Struct, frozen=True, array_like=True):
    """Something that was to be done at ``at`` and was done ``late_s`` seconds later."""

    at: float
    late_s: float


class Served(msgspec.Struct, frozen=True, array_like=True):
    """The requests that a service answered in the second from ``at``."""

    at: float
    count: int


class Memory(msgspec.Struct, frozen=True, array_like=True):
    """A sample; the stall is in seconds since the incident began."""

    at: float
    available: float
    swap_free: float
    some_s: float
    full_s: float


class Work(msgspec.Struct, frozen=True, array_like=True):
    """How far a worker has come, in seconds of work; the voice is that of who has started it."""

    at: float
    name: str
    done_s: float
    total_s: float
    voice: str = ""


class Pause(msgspec.Struct, frozen=True, array_like=True):
    """Somebody whom the daemon had stand still; None seconds if it never said that he ran again."""

    at: float
    name: str
    role: Role
    seconds: float | None


class Cost(msgspec.Struct, frozen=True):
    """What the daemon took: memory at the end of the run, the rest from the incident's begin on."""

    rss: float
    peak_rss: float
    anon: float
    cpu_s: float
    switches: int
    major_faults: int
    waited_s: float
    """How long it was ready to run and did not."""


class Seen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was seen of a run from outside, and what the canaries in the guest said."""

    ending: Ending
    end: float = 0
    """When listening ended."""
    over: float | None = None
    """When the scenario was over; None if it never was."""
    kills: list[Kill] = []
    screen: list[Beat] = []
    screen_late: list[Late] = []
    login: list[Late] = []
    service: list[Served] = []
    memory: list[Memory] = []
    work: list[Work] = []
    """The last that each worker said."""
    pauses: list[Pause] = []
    notes: list[str] = []
    """What the script and its programs said of the outcome, such as "finished 30 of 32"."""
    said: list[str] = []
    """What the daemon said last, each line with its time."""
    reasons: list[float] = []
    """When the daemon gave a reason that a program can read."""
    cost: Cost | None = None
    noise_s: float = 0
    """The worst lateness of the recorder, which nothing in the guest can delay: that much is the host's noise."""
    versions: dict[str, str] = {}


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    scenario: str
    swap: Swap
    daemon: str
    repeat: int = 1
    point: str = ""
    """Of a sweep."""
    key: str
    """Equal keys: equal programs, scripts, settings and machine."""
    began: str
    """UTC."""
    took_s: float
    """Of the host, with everything."""
    seen: Seen

    @property
    def cell(self) -> tuple[str, Swap, str, str]:
        return (self.scenario, self.swap, self.daemon, self.point)


def read(path: Path) -> list[Run]:
    """The runs in a file of JSON lines; none if there is no file. A half-written last line is no run."""
    if not path.exists():
        return []
    return list(_decoded(path.read_bytes().splitlines(keepends=True)))


def _decoded(lines: Iterable[bytes]) -> Iterator[Run]:
    decoder = msgspec.json.Decoder(Run)
    for line in lines:
        if line.endswith(b"\n") and line.strip():
            yield decoder.decode(line)


def encoded(run: Run) -> bytes:
    return msgspec.json.encode(run) + b"\n"
