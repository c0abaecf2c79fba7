"""The typed events: one for each thing that happens. Sizes are bytes, times seconds."""

from __future__ import annotations

from okoomer.record import Record

#: sd-daemon(3) and syslog(3).
EMERGENCY, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG = range(8)


class Started(Record):
    """The guard is ready. `lacks` are sentences on what it cannot do here, none on a complete machine."""

    version: str
    pid: int
    policy: str
    source: str
    rules: tuple[str, ...]
    memory: int
    swap: int
    triggers: bool
    locked: bool
    dry_run: bool
    lacks: tuple[str, ...]


class Stopped(Record):
    """The guard ends because it was told to."""

    signal: str


class RuleChanged(Record):
    """A rule went quiet, holds or fired."""

    rule: str
    state: str
    values: tuple[tuple[str, float | None], ...]


class Warned(Record):
    """A rule's step `warn`."""

    rule: str
    text: str


class Ranked(Record):
    """One line of a ranking."""

    kind: str
    name: str
    pids: tuple[int, ...]
    score: float
    freed: int
    why: str


class Chosen(Record):
    """A rule acts on a unit. `scan_cpu_seconds` is what scan and choice cost, `seconds` what they took."""

    rule: str
    when: str
    reason: str
    values: tuple[tuple[str, float | None], ...]
    kind: str
    name: str
    pids: tuple[int, ...]
    command: str
    freed: int
    need: int
    why: str
    steps: tuple[str, ...]
    ranking: tuple[Ranked, ...]
    processes: int
    scan_cpu_seconds: float
    seconds: float
    dry_run: bool


class Refused(Record):
    """A rule fired but there is nobody whose end would help; said once an episode."""

    rule: str
    why: str
    ranking: tuple[Ranked, ...]


class Recovered(Record):
    """The rule no longer holds before its last step: the victim stays, `asked` if it has had a SIGTERM."""

    rule: str
    asked: bool


class Signalled(Record):
    """A signal went to the processes of a unit; `lost` are pids that had gone or were refused."""

    rule: str
    signal: str
    name: str
    pids: tuple[int, ...]
    lost: tuple[int, ...]


class Died(Record):
    """All processes of a unit are gone, so long after the last signal; `came_back` is what became available."""

    rule: str
    name: str
    pids: tuple[int, ...]
    seconds: float
    came_back: int


class Stuck(Record):
    """Processes that would not die are set aside and the next is taken."""

    rule: str
    name: str
    pids: tuple[int, ...]
    seconds: float
    why: str


class Trouble(Record):
    """Something cannot be read or done; said once until it changes. `over` when it is right again."""

    text: str
    over: bool = False


class Changed(Record):
    """The machine changed: swap came or went, it was suspended."""

    text: str


class Late(Record):
    """The loop hung for so many seconds; `pid` is whom the watchdog killed, or 0."""

    seconds: float
    pid: int
    name: str


EVENTS: dict[str, type[Record]] = {
    kind.__name__: kind
    for kind in (
        Started, Stopped, RuleChanged, Warned, Chosen, Refused, Recovered, Signalled, Died, Stuck, Trouble, Changed,
        Late,
    )
}  # fmt: skip
